"""Rows of a store as tidy tables, filtered and re-judged."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ovpnet.config import NOT_IDENTITY, SCHEMAS, Config
from ovpnet.errors import ConfigError, StoreError
from ovpnet.store import Store

# `concept=figure1` filters by the column that names the choice.
ALIASES = {"concept": "concept.name", "inputs": "inputs.family", "noise": "noise.kind", "loss": "loss.name",
           "learner": "learner.name", "algorithm": "algorithm.name", "regularizer": "regularizer.name"}

# Columns that vary within a problem: what N_eps is a function of, and what is tuned.
SWEPT = ("width", "samples", "seed", "lr", "weight_decay")


def load(store: Path, filters: Sequence[str] = ()) -> tuple[pd.DataFrame, list[str]]:
    """Runs of a store that pass every filter KEY=VALUE[,VALUE...], and what was skipped.

    A column `problem` numbers the problems: sets of runs that differ only in width, samples, seed, lr and weight
    decay. Raises StoreError for a store without runs, ConfigError for a filter that fits nothing.
    """
    source = Store(store)
    runs = source.runs()
    if runs.empty:
        raise StoreError(f"store={store}: no runs there; train some first, or give another --store: "
                         "python -m ovpnet.train -m experiment=quickstart")
    for each in filters:
        runs = _filtered(runs, each)
    return numbered(runs), source.skipped


def numbered(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with their `budget` (how long each trains) and the number of their `problem`."""
    runs = runs.assign(budget=_budget(runs))
    columns = problem_columns(runs)
    problem = runs.groupby(columns, dropna=False, sort=True).ngroup()
    return runs.assign(problem=problem).sort_values(["problem", *SWEPT], kind="stable").reset_index(drop=True)


def problem_columns(runs: pd.DataFrame) -> list[str]:
    """Columns that say what is learned, by what and how: two runs of a problem agree on all of them."""
    groups = {*SCHEMAS, "test", "opt"}
    leaves = set(Config.__dataclass_fields__) - groups
    left_out = {*SWEPT, *NOT_IDENTITY, "steps"}
    config = [name for name in runs if name in leaves or ("." in name and name.partition(".")[0] in groups)]
    return [*(name for name in config if name not in left_out and name.partition(".")[0] not in left_out), "budget"]


def rejudged(runs: pd.DataFrame, epsilon: float, unit: str) -> pd.DataFrame:
    """The runs judged at another epsilon, `relative` to E||y||^2 or `absolute`, without training anything."""
    if not epsilon > 0:
        raise ConfigError("epsilon", epsilon, "must be greater than 0")
    absolute = epsilon * (runs["second_moment"] if unit == "relative" else 1.0)
    threshold = runs["opt"] + absolute
    return numbered(runs.assign(epsilon=epsilon, epsilon_unit=unit, epsilon_absolute=absolute, threshold=threshold,
                                reached=runs["test_risk"] <= threshold))


def label(row: pd.Series) -> str:
    """Short name of a problem, from any of its rows."""
    trained = "" if row["learner.trained"] == "hidden" else f"({row['learner.trained']})"
    epsilon = f"{row['epsilon']:.0%} of E|y|²" if row["epsilon_unit"] == "relative" else f"{row['epsilon']:g}"
    return f"{row['concept.name']}: {row['learner.name']}{trained}, {row['algorithm.name']}, eps = {epsilon}"


def _budget(runs: pd.DataFrame) -> pd.Series:
    """Runs that train for so many epochs, or in one pass, are comparable over N though their steps differ."""
    steps = runs["steps"].map("{:.0f} steps".format)
    epochs = pd.to_numeric(runs["epochs"]).map("{:g} epochs".format).where(runs["epochs"].notna(), steps)
    return epochs.mask(runs["algorithm.sampling"] == "one_pass", "one pass")


def _filtered(runs: pd.DataFrame, text: str) -> pd.DataFrame:
    name, separator, values = text.partition("=")
    column = ALIASES.get(name, name)
    if not separator or column not in runs:
        raise ConfigError(name, values, f"no such column; allowed: {', '.join(sorted({*runs.columns, *ALIASES}))}")
    wanted = [_parsed(value) for value in values.split(",")]
    kept = runs[runs[column].map(lambda value: any(_equal(value, each) for each in wanted))]
    if kept.empty:
        there = ", ".join(str(value) for value in sorted(runs[column].dropna().unique())[:20])
        raise ConfigError(name, values, f"no run has it; there are: {there or 'none'}")
    return kept


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _equal(value: object, wanted: object) -> bool:
    if isinstance(value, float) and isinstance(wanted, int | float):
        return bool(np.isclose(value, wanted, rtol=1e-9))
    return value == wanted or str(value) == str(wanted)
