"""The command line that trains more of a problem."""

import json
import math
import shlex
from collections.abc import Mapping

import pandas as pd
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from analysis.load import SWEPT, problem_columns
from ovpnet.config import Config, conf_dir, flat, register_schemas

# The column that names the chosen file of each config group.
CHOICES = {"concept": "concept.family", "inputs": "inputs.family", "noise": "noise.kind", "loss": "loss.name",
           "learner": "learner.name", "algorithm": "algorithm.name", "regularizer": "regularizer.name"}


def command(runs: pd.DataFrame, changes: Mapping[str, str]) -> str:
    """`python -m ovpnet.train -m ...` that sweeps the runs of one problem again, with the changed sweeps.

    Only what differs from the defaults is written; `changes` are sweeps such as {"seed": "range(8)"}.
    """
    row = runs.iloc[0]
    choices = [f"{group}={row[column]}" for group, column in CHOICES.items()]
    defaults, chosen = _composed([]), _composed(choices)
    written = [each for each in choices if defaults[CHOICES[each.partition("=")[0]]] != each.partition("=")[2]]
    for name in [*(name for name in problem_columns(runs) if name not in ("budget", "steps")), "steps", "epochs"]:
        if name in chosen and not _same(row[name], chosen[name]) and name not in CHOICES.values():
            # steps that epochs or one pass amount to are not given beside them
            if name == "steps" and row["budget"] != f"{row['steps']:.0f} steps":
                written.append("steps=null")
            elif not _missing(row[name]):
                written.append(f"{name}={_value(row[name])}")
    sweeps = {name: ",".join(_value(value) for value in sorted(runs[name].unique())) for name in SWEPT}
    sweeps = {name: values for name, values in sweeps.items() if values != _value(chosen[name])} | dict(changes)
    swept = [f"{name}={values}" for name, values in sweeps.items()]
    return " ".join(["python -m ovpnet.train -m", *(shlex.quote(each) for each in [*written, *swept])])


def _composed(overrides: list[str]) -> dict[str, object]:
    """Flat config of these choices, unchecked (a choice may need others to be valid)."""
    register_schemas()
    with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        config = OmegaConf.to_object(compose("config", overrides))
    assert isinstance(config, Config)
    return flat(config)


def _same(stored: object, value: object) -> bool:
    if isinstance(value, list):
        return stored == json.dumps(value)
    if isinstance(value, float) and isinstance(stored, float):
        return math.isclose(stored, value)
    return (_missing(stored) and value is None) or stored == value


def _missing(value: object) -> bool:
    return value is None or bool(pd.isna(value))


def _value(value: object) -> str:
    if isinstance(value, str):
        return value.replace('"', "").replace(" ", "")
    return f"{value:g}" if isinstance(value, float) else str(value)
