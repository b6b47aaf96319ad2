"""Compose the configs of a sweep from the overrides of its jobs.

Hydra takes tens of milliseconds to compose one config, so it composes one for each choice of config groups. Plain
values (width=256) are set in copies of it, and the same structured config gives each of them its type once. Configs
share the nodes (concept, algorithm, ...) that are equal, so no one may change a node of a config in place.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, replace
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from ovpnet.spec.config import Config
from ovpnet.spec.errors import OvpnetError
from ovpnet.spec.rules import canonical, check_bounds, check_combinations
from ovpnet.spec.schemas import chosen, resolve

_INTEGER = re.compile(r"([^=]+)=(0|-?[1-9]\d*)")
# An interpolation of another key, whose value may differ between jobs; one of the environment is the same for all.
_INTERPOLATION = re.compile(r"\$\{(?!oc\.env:)")


def compose(loader: ConfigLoader, master: DictConfig, jobs: Sequence[Sequence[str]]) -> list[Config]:
    """Return the checked configs of the jobs, each a list of overrides.

    Raises ConfigError, or Hydra's own errors, for the first job that is not valid.
    """
    parsed = _parsed(OverridesParser.create(config_loader=loader), {text for job in jobs for text in job})
    # The loader is asked once per key, since it copies all of Hydra's config to answer.
    groups = {key for key in {each.key_or_group for each in parsed.values()} if loader.get_group_options(key)}
    plain = {text: each.key_or_group for text, each in parsed.items() if _sets_a_value(each, groups)}
    choices: dict[tuple[tuple[str, ...], tuple[str, ...]], _Choice] = {}
    configs = []
    for job in jobs:
        values = tuple([text for text in job if text in plain])
        rest = tuple([text for text in job if text not in plain])
        key = rest, tuple([plain[text] for text in values])
        choice = choices.get(key)
        if choice is None:
            choice = choices[key] = _Choice(loader.load_sweep_config(master, list(job)), key[1], parsed)
        configs.append(choice.config(values))
    return configs


def _parsed(parser: OverridesParser, texts: Iterable[str]) -> dict[str, Override]:
    """Return the overrides by their texts.

    Hydra's grammar takes 0.3 ms for each override, so it reads only one of the integers of a key.
    """
    parsed: dict[str, Override] = {}
    integers: dict[str, Override] = {}
    for text in texts:
        integer = _INTEGER.fullmatch(text)
        if integer is None:
            parsed[text] = parser.parse_override(text)
            continue
        key, value = integer.groups()
        if key not in integers:
            integers[key] = parser.parse_override(text)
        parsed[text] = replace(integers[key], _value=int(value), input_line=text)
    return parsed


def _sets_a_value(override: Override, groups: AbstractSet[str]) -> bool:
    """Return whether the override is a plain KEY=VALUE: it chooses no config file and depends on no other key."""
    key, text = override.key_or_group, override.input_line or ""
    special = override.is_add() or override.is_force_add() or override.is_delete() or override.package
    node = isinstance(override.value(), dict) or key.count(".") > 1
    return not (special or node or key in groups or "${" in text or "???" in text)


class _Choice:
    """Jobs that choose the same config groups and set values of the same keys; `composed` is one of them."""

    def __init__(self, composed: DictConfig, keys: Sequence[str], parsed: Mapping[str, Override]):
        with open_dict(composed):
            del composed["hydra"]
        resolve(composed)  # refuses keys that no node has, and missing values
        self.composed, self.parsed = composed, parsed
        self.depends = bool(_INTERPOLATION.search(OmegaConf.to_yaml(composed)))
        config = OmegaConf.to_object(composed)
        self.base = {item.name: chosen(item.name, getattr(config, item.name)) for item in fields(Config)}
        # Per node, the overrides of a job that set in it: their places in the job and the names that they set. "" is
        # the config itself.
        self.places: dict[str, list[tuple[int, str]]] = {"": []}
        for place, key in enumerate(keys):
            node, _, name = key.rpartition(".")
            self.places.setdefault(node, []).append((place, name))
        self.own = self.places.pop("")
        self.values: dict[str, Any] = {}  # by override
        self.nodes: dict[tuple[str, ...], Any] = {}  # by the overrides that set in them

    def config(self, job: Sequence[str]) -> Config:
        """Return the checked config of a job's plain overrides."""
        new = [text for text in job if text not in self.values]
        for text in new:
            self.values[text] = _typed(self.composed, self.parsed[text])
        if self.depends:
            for text in job:
                _typed(self.composed, self.parsed[text])
            return resolve(self.composed)
        changed = {name: self.values[job[place]] for place, name in self.own}
        for name, places in self.places.items():
            changed[name] = self._node(name, places, job)
        config = Config(**{**self.base, **changed})
        if new:
            check_bounds(config, {self.parsed[text].key_or_group for text in new})
        check_combinations(config)
        return canonical(config)

    def _node(self, name: str, places: Sequence[tuple[int, str]], job: Sequence[str]) -> Any:
        texts = tuple([job[place] for place, _ in places])
        node = self.nodes.get(texts)
        if node is None:
            values = {key: self.values[job[place]] for place, key in places}
            node = self.nodes[texts] = chosen(name, replace(self.base[name], **values))
        return node


def _typed(config: DictConfig, override: Override) -> Any:
    """Set the override in `config`; return its value with the type of its key. Raises OvpnetError."""
    try:
        OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
    except OmegaConfBaseException as error:
        raise OvpnetError(f"{override.input_line}: {str(error).splitlines()[0]}") from error
    value = OmegaConf.select(config, override.key_or_group)
    return OmegaConf.to_object(value) if isinstance(value, ListConfig) else value
