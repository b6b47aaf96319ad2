"""Write the exact command that trains what a verdict still lacks."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import pandas as pd

from analysis.filters import ALIASES, decode
from analysis.load import WITHIN_PROBLEM, problem_columns, steps_follow
from ovpnet.spec import schemas
from ovpnet.spec.config import Config
from ovpnet.spec.identity import flat
from ovpnet.terminal.commands import as_typed

MOST_LISTED = 10  # more seeds than these are written as a range


def command(runs: pd.DataFrame, **changed: Iterable[float]) -> str:
    """Return the `ovpnet train -m ...` line that sweeps one problem, with the axes in `changed` replaced.

    The other axes are its own widths, samples, seeds, lr and weight_decay; `runs` are rows of the problem. Runs that
    the store already has are not trained again, so the line asks for the whole grid.
    """
    return commands(runs, [changed])[0]


def commands(runs: pd.DataFrame, changes: Iterable[Mapping[str, Iterable[float]]]) -> list[str]:
    """Return `command` for several changes of the axes; the problem's other overrides are found once."""
    overrides = [*problem_overrides(runs), *_study(runs)]
    lines = []
    for changed in changes:
        axes = {name: sorted(changed.get(name, runs[name].unique())) for name in WITHIN_PROBLEM}
        words = [_axis(name, values) for name, values in axes.items()]
        lines.append(" ".join([as_typed("train -m"), *overrides, *words]))
    return lines


def _study(runs: pd.DataFrame) -> list[str]:
    """Return the override of the study that all runs are of, so that a verdict over it counts the new runs, too."""
    names = runs["study"].dropna().unique() if "study" in runs else []
    if len(names) != 1 or names[0] == Config.__dataclass_fields__["study"].default:
        return []
    simple = re.fullmatch(r"[A-Za-z_][\w-]*", names[0])  # else in Hydra's own quotes: a comma would be a sweep
    quoted = names[0] if simple else "'" + names[0].replace("\\", "\\\\").replace("'", "\\'") + "'"
    return [shlex.quote(f"study={quoted}")]


def _axis(name: str, values: list[float]) -> str:
    if len(values) > MOST_LISTED and values == list(range(len(values))):
        return shlex.quote(f"{name}=range({len(values)})")
    return f"{name}={','.join(_number(value) for value in values)}"


def problem_overrides(runs: pd.DataFrame) -> list[str]:
    """Return the overrides that turn the default config into this problem: its choices, then keys that still differ.

    It assumes that a config group's option is called by its name, family or kind, as all in conf/ are. If conf/ does
    not have an option, all its keys are written out.
    """
    row = runs.iloc[-1]
    # A concept's name is only a label, which a person may change; its file is called by its family.
    columns = ALIASES | {"concept": "concept.family"}
    choices = [f"{group}={row[column]}" for group, column in columns.items() if column in row and pd.notna(row[column])]
    wanted = {name: decode(row[name]) for name in problem_columns(runs)}
    if steps_follow(runs).iloc[-1]:
        wanted["steps"] = None
    if "trained_epsilon" in runs:  # judged at another epsilon; most are in the store under the one of most runs
        wanted["epsilon"] = decode(runs["trained_epsilon"].mode()[0])
    default = _composed(tuple(choices))
    kept = _needed(choices, default, columns)
    different = [f"{name}={_value(value)}" for name, value in wanted.items()
                 if (value is not None or name in default) and default.get(name) != value]
    return [shlex.quote(word) for word in [*kept, *different]]


@cache
def _composed(choices: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the flat default config under these choices; empty if conf/ has no such option.

    Hydra takes half a second, and the problems of a store share their choices.
    """
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    schemas.register_schemas()
    try:
        with initialize_config_dir(str(schemas.conf_dir()), version_base="1.3"):
            config = OmegaConf.to_object(compose("config", overrides=list(choices)))
            assert isinstance(config, Config)
            return flat(config)
    except HydraException:
        return {}


def _needed(choices: list[str], composed: Mapping[str, Any], columns: Mapping[str, str]) -> list[str]:
    """Return the choices without which the config would not be `composed`.

    They are those that are no default, and defaults that another choice changes (algorithm=algorithm2 takes
    regularizer=table1).
    """
    if not composed:
        return choices
    options = dict(choice.split("=") for choice in choices)
    kept = {group: option for group, option in options.items() if _default_choices().get(group) != option}
    without = _composed(tuple(f"{group}={option}" for group, option in kept.items()))
    return [f"{group}={option}" for group, option in options.items()
            if group in kept or without.get(columns[group]) != composed.get(columns[group])]


def _default_choices() -> dict[str, str]:
    from omegaconf import OmegaConf

    defaults = OmegaConf.to_container(OmegaConf.load(schemas.conf_dir() / "config.yaml"))["defaults"]  # type: ignore
    return {group: option for entry in defaults if isinstance(entry, dict) for group, option in entry.items()}


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return "[" + ",".join(_value(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value)


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:.12g}"
