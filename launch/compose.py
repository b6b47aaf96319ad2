"""The configs of a sweep, from the overrides of its jobs."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from ovpnet.config import Config, resolve
from ovpnet.errors import OvpnetError


def compose(loader: ConfigLoader, master: DictConfig, jobs: Sequence[Sequence[str]]) -> list[Config]:
    """Checked configs of the jobs, each a list of overrides.

    Hydra takes tens of milliseconds to compose one config, so it composes one for each choice of config
    groups; plain values (width=256) are then set in it, type-checked by the same structured config.
    Raises ConfigError, or Hydra's own errors, for the first job that is not valid.
    """
    parser = OverridesParser.create(config_loader=loader)
    parsed = {text: parser.parse_override(text) for text in {text for job in jobs for text in job}}
    # Asked once a key: the loader copies all of Hydra's config to answer.
    groups = {key for key in {each.key_or_group for each in parsed.values()} if loader.get_group_options(key)}
    plain = {text for text, override in parsed.items() if _sets_a_value(override, groups)}
    bases: dict[tuple[tuple[str, ...], tuple[str, ...]], DictConfig] = {}
    configs = []
    for job in jobs:
        values = [text for text in job if text in plain]
        rest = tuple(text for text in job if text not in plain)
        # Jobs that set the same keys overwrite each other's values, so they can share one config object.
        key = rest, tuple(parsed[text].key_or_group for text in values)
        if key not in bases:
            bases[key] = loader.load_sweep_config(master, list(job))
            with open_dict(bases[key]):
                del bases[key]["hydra"]
        for text in values:
            _set(bases[key], parsed[text])
        configs.append(resolve(bases[key]))
    return configs


def _sets_a_value(override: Override, groups: AbstractSet[str]) -> bool:
    """Whether the override is a plain KEY=VALUE that does not choose a config file."""
    special = override.is_add() or override.is_force_add() or override.is_delete() or override.package
    return not special and override.key_or_group not in groups


def _set(config: DictConfig, override: Override) -> None:
    try:
        OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
    except OmegaConfBaseException as error:
        raise OvpnetError(f"{override.input_line}: {str(error).splitlines()[0]}") from error
