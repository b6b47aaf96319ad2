"""Reading the store: problems, filters, and judging stored runs at another epsilon."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ovpnet.config import NOT_IDENTITY, Config
from ovpnet.errors import ConfigError, OvpnetError, StoreError

ALIASES = {"concept": "concept.name", "inputs": "inputs.family", "noise": "noise.kind", "loss": "loss.name",
           "learner": "learner.name", "algorithm": "algorithm.name", "regularizer": "regularizer.name",
           "diagnostics": "diagnostics.name"}

# What varies inside a problem: width and samples are its axes, seeds repeat it, lr and weight_decay are tuned away.
WITHIN_PROBLEM = ("width", "samples", "seed", "lr", "weight_decay")

# Undotted columns that are config keys; every dotted column is one.
TOP_LEVEL_KEYS = {item.name for item in fields(Config) if not is_dataclass(item.type)}

# The width that the rows of infinitely wide learners have (ovpnet.config.canonical).
INFINITE = 0

# The switches of the config group `diagnostics`.
DIAGNOSTICS = ("norms", "approximations", "saddles")

LABEL_KEYS = ("learner.name", "learner.trained", "algorithm.name", "epsilon")


@dataclass(frozen=True)
class Stored:
    """What the store holds: `runs` (one row a run, with the column `problem`), its `curves`, and what was skipped."""

    runs: pd.DataFrame
    curves: pd.DataFrame
    skipped: list[str]


def load(path: str | Path, filters: Sequence[str] = (), epsilons: Sequence[float] = ()) -> Stored:
    """Read, filter and (with `epsilons`) re-judge the store at `path`: at several epsilons, each run at each of them.
    Raises StoreError when there is nothing to read, ConfigError for a filter with an unknown key or value."""
    if not Path(path).is_dir():
        raise StoreError(f"no store at {path}. Train something first (python -m ovpnet.train), or name another "
                         "directory with --store")
    from ovpnet.store import Store  # pyarrow is slow to import: --help and a mistyped directory need not wait for it

    store = Store(path)
    runs = store.runs()
    if runs.empty:
        skipped = "".join(f"; {each}" for each in store.skipped)
        raise StoreError(f"the store at {path} holds no runs{skipped}. Train something first "
                         "(python -m ovpnet.train), or name another directory with --store")
    runs = select(runs, filters)
    if epsilons:
        runs = pd.concat([judge(runs, epsilon) for epsilon in dict.fromkeys(epsilons)], ignore_index=True)
    runs = with_problem(runs)
    curves = store.curves()
    if not curves.empty:
        curves = curves[curves["run_id"].isin(runs["run_id"])]
    return Stored(runs, curves, list(dict.fromkeys(store.skipped)))


# --- problems ----------------------------------------------------------------------------------------


def config_columns(runs: pd.DataFrame) -> list[str]:
    """The columns of `runs` that are config keys."""
    return [name for name in runs.columns if "." in name or name in TOP_LEVEL_KEYS]


def problem_columns(runs: pd.DataFrame) -> list[str]:
    """The config keys that tell one problem from another: the run's identity less WITHIN_PROBLEM and
    what is measured besides, and `epochs`."""
    excluded = set(NOT_IDENTITY) - {"epochs"} | {"diagnostics"} | set(WITHIN_PROBLEM)
    return [name for name in config_columns(runs) if name not in excluded and name.split(".")[0] not in excluded]


def with_problem(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs` in a canonical order, one row per member of a problem, with the column `problem`: a readable label,
    unique to each problem.

    A member (problem, width, samples, seed, lr, weight_decay) asked for twice, say at two epsilons that are now judged
    as one, or with and without diagnostics, keeps its newest row that did not fail, among those with the most
    diagnostics. The number of steps is no part of a problem where it
    follows from the samples (epochs, one-pass SGD) or other keys (rounds of Algorithms 2 and 3, which depend on m).
    """
    keys = problem_keys(runs)
    number = keys.groupby(list(keys), dropna=False).ngroup()
    runs = runs.assign(problem=number.map(_labels(runs, keys, number)))
    measured = runs.reindex(columns=[f"diagnostics.{kind}" for kind in DIAGNOSTICS]).eq(True).sum(axis=1)
    order = runs.assign(_failed=runs["status"].eq("failed"), _measured=measured).sort_values(
        ["problem", *WITHIN_PROBLEM, "_failed", "_measured", "finished_at", "run_id"],
        ascending=[True] * (2 + len(WITHIN_PROBLEM)) + [False, False, True])
    kept = order.drop(columns=["_failed", "_measured"]).drop_duplicates(["problem", *WITHIN_PROBLEM])
    return kept.reset_index(drop=True)


def _steps_follow(runs: pd.DataFrame) -> pd.Series:
    follows = pd.Series(False, index=runs.index)
    if "epochs" in runs:
        follows |= runs["epochs"].notna()
    if "algorithm.sampling" in runs:
        follows |= runs["algorithm.sampling"].eq("one_pass")
    if "algorithm.inner_steps" in runs:
        follows |= runs["algorithm.inner_steps"].notna()
    return follows


def problem_keys(runs: pd.DataFrame) -> pd.DataFrame:
    """What tells problems apart, as text (stored values have mixed types and nulls), one row a run."""
    keys = runs[problem_columns(runs)].apply(lambda column: column.map(_text))
    if "steps" in keys:
        keys["steps"] = keys["steps"].mask(_steps_follow(runs), "null")
    return keys


def _labels(runs: pd.DataFrame, keys: pd.DataFrame, number: pd.Series) -> pd.Series:
    """A label per problem number: concept, learner, trained part, algorithm and epsilon, then what else differs."""
    problems = keys.groupby(number).first().assign(concept=runs["concept.name"].groupby(number).min())
    base = problems.apply(_base_label, axis=1)
    labels = base.copy()
    for _, group in problems.groupby(base):
        for name in keys.columns.difference(LABEL_KEYS, sort=False):
            if group[name].nunique() > 1 and not _told_by_its_option(group, name):
                labels[group.index] += f", {name}=" + group[name]
    return labels


def _told_by_its_option(group: pd.DataFrame, name: str) -> bool:
    """Whether the config group's `name` (regularizer.name) says what the key is (regularizer.W)."""
    option = f"{name.partition('.')[0]}.name"
    return option in group and option != name and bool(group.groupby(option)[name].nunique().eq(1).all())


def _base_label(problem: pd.Series) -> str:
    learner = f"{problem['learner.name']} ({problem['learner.trained']})"
    return f"{problem['concept']}, {learner}, {problem['algorithm.name']}, epsilon={problem['epsilon']}"


def _text(value: Any) -> str:
    if value is None or (not isinstance(value, str) and pd.isna(value)):
        return "null"
    if isinstance(value, float):
        return f"{value:.12g}"
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


# --- filters -----------------------------------------------------------------------------------------


def select(runs: pd.DataFrame, filters: Sequence[str]) -> pd.DataFrame:
    """The runs that match every filter `key=value[,value...]`, keys and values as in a Hydra override.

    Raises ConfigError for an unknown key, a value that no run has, or filters that together match nothing.
    """
    kept = pd.Series(True, index=runs.index)
    for expression in filters:
        key, values = _parse(expression, runs)
        column = ALIASES.get(key, key)
        matches = pd.Series(False, index=runs.index)
        for value in values:
            found = runs[column].map(lambda stored, wanted=value: _equal(stored, wanted))
            if not found.any():
                raise ConfigError(key, value, f"no run has it; the store has {_values(runs[column])}")
            matches |= found
        kept &= matches
    if not kept.any():
        raise OvpnetError(f"{' '.join(filters)}: each value occurs, but no run has all of them; drop a filter")
    return runs[kept]


def _parse(expression: str, runs: pd.DataFrame) -> tuple[str, list[str]]:
    key, equals, text = expression.partition("=")
    allowed = [*ALIASES, "status", *config_columns(runs)]
    if not equals or not text:
        raise OvpnetError(f"{expression}: a filter is written key=value or key=value,value; keys: {', '.join(allowed)}")
    if key not in allowed or ALIASES.get(key, key) not in runs:
        raise ConfigError(key, text, f"unknown key; allowed: {', '.join(allowed)}")
    return key, _split(text)


def _split(text: str) -> list[str]:
    """Split at the commas outside brackets, so that a list stays one value."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _equal(stored: Any, wanted: str) -> bool:
    """Whether a stored value is the one written in a filter: numbers by value, lists by their items."""
    if _text(stored) == wanted:
        return True
    if isinstance(stored, str):
        return stored.startswith("[") and _items(stored) == _items(wanted)
    try:
        return float(stored) == float(wanted)
    except (TypeError, ValueError):
        return False


def _items(text: str) -> list[str]:
    return [item.strip(" \"'") for item in text.strip("[]").split(",")]


def _values(column: pd.Series, most: int = 20) -> str:
    distinct = column.dropna().drop_duplicates().sort_values()
    texts = [_text(value) for value in distinct[:most]] + ["null"] * bool(column.isna().any())
    return ", ".join(texts) + (", ..." if len(distinct) > most else "")


def width_text(width: int) -> str:
    """A width for people."""
    return "infinity" if width == INFINITE else str(width)


# --- judging -----------------------------------------------------------------------------------------


def judge(runs: pd.DataFrame, epsilon: float) -> pd.DataFrame:
    """`runs` judged at another epsilon, with no training: replaces epsilon, epsilon_absolute, threshold and reached.

    `epsilon` is in each run's own epsilon_unit: a fraction of second_moment = E||y||^2 (`relative`) or in units of the
    loss (`absolute`). reached_step and reached_samples belong to the old epsilon and become null.
    Raises ConfigError unless epsilon > 0.
    """
    if not epsilon > 0:
        raise ConfigError("epsilon", epsilon, "must be greater than 0")
    unit = runs["second_moment"].where(runs["epsilon_unit"].eq("relative"), 1.0)
    absolute = epsilon * unit
    threshold = runs["opt"] + absolute
    return runs.assign(epsilon=epsilon, epsilon_absolute=absolute, threshold=threshold,
                       reached=runs["test_risk"].le(threshold), reached_step=pd.NA, reached_samples=pd.NA)


def decode(value: Any) -> Any:
    """A stored config value as Python's: JSON lists become lists, nulls None, whole numbers int."""
    if isinstance(value, str):
        return json.loads(value) if value.startswith("[") else value
    if value is None or pd.isna(value):
        return None
    if hasattr(value, "item"):
        value = value.item()
    return int(value) if isinstance(value, float) and value.is_integer() else value
