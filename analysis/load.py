"""Read a store: leave out what cannot be used, tell problems apart, judge stored runs at another epsilon."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.filters import as_text, config_columns, select
from ovpnet.spec.choices import LEARNERS
from ovpnet.spec.diagnostic import DIAGNOSTICS
from ovpnet.spec.errors import ConfigError, StoreError
from ovpnet.spec.identity import SCHEMA_VERSION, not_identity
from ovpnet.terminal.commands import as_typed
from ovpnet.terminal.words import some

if TYPE_CHECKING:
    import pyarrow as pa

    from ovpnet.record.store import Store

# The keys that vary inside a problem: width and samples are its axes, seeds repeat it, lr and weight_decay are tuned.
WITHIN_PROBLEM = ("width", "samples", "seed", "lr", "weight_decay")

INFINITE_LEARNERS = tuple(name for name in LEARNERS.names() if LEARNERS[name].infinite)

# The width that the rows of infinitely wide learners have (ovpnet.spec.config.canonical).
INFINITE = 0

LABEL_KEYS = ("learner.name", "learner.trained", "algorithm.name", "epsilon")


# Columns that the analysis needs, of every row and of rows with results.
TEXTS = ("run_id", "status", "concept.name", "concept.family", "learner.name", "learner.trained", "algorithm.name",
         "epsilon_unit")
NUMBERS = (*WITHIN_PROBLEM, "epsilon")
WHOLE_NUMBERS = ("width", "samples", "seed")
MOST_WHOLE = 2.0**53  # beyond it floats, which odd files hold, are no whole numbers any more
GOALS = ("opt", "threshold", "second_moment", "epsilon_absolute")  # of runs that were done or diverged
RISKS = ("test_risk", "validation_risk")  # of runs that were done
OTHER_RESULTS = ("test_risk_se", "excess_risk", "excess_risk_se", "train_seconds")  # may be missing


@dataclass(frozen=True)
class Stored:
    """The content of a store: `runs` (one row per run, with the column `problem`), and sentences on what was skipped.
    """

    runs: pd.DataFrame
    skipped: list[str]
    store: "Store"



    def curves_of(self, run_ids: Collection[str], columns: Sequence[str]) -> pd.DataFrame:
        """Return run_id, step and those of `columns` that the store has, of these runs' learning curves.

        A million runs have more points than memory, so ask only for the columns that are shown.
        """
        return self.store.curves(run_ids, columns)


def load(path: str | Path, filters: Sequence[str] = (), epsilons: Sequence[float] = ()) -> Stored:
    """Read the store at `path` and filter its runs; judge them again at each of `epsilons`, if there are any.

    Files and rows that make no sense are left out and named in `skipped`. Learning curves are read when they are asked
    for. Raises StoreError if there is nothing to read or no run finished, ConfigError for a filter with an unknown key
    or value.
    """
    if not Path(path).is_dir():
        raise StoreError(f"no store at {path}. Train something first ({as_typed('train')}), or name another "
                         "directory with --store")
    from ovpnet.record.store import Store  # pyarrow is slow to import, and --help needs none

    store = Store(path)
    runs, unusable = usable(store.runs(refuse=refuse))
    skipped = [*store.skipped, *unusable]
    if runs.empty:
        raise StoreError(f"the store at {path} holds no runs{''.join(f'; {each}' for each in skipped)}. Train "
                         f"something first ({as_typed('train')}), or name another directory with --store")
    runs = select(runs, filters)
    if runs["status"].eq("failed").all():
        raise StoreError(f"{_all_failed(runs)}. Tracebacks: {as_typed('launch status')} --failed --store {path}; the "
                         "same sweep again trains them again")
    if epsilons:
        runs = pd.concat([judge(runs, epsilon) for epsilon in dict.fromkeys(epsilons)], ignore_index=True)
    return Stored(with_problem(runs), skipped, store)


# --- what cannot be used -----------------------------------------------------------------------------


def refuse(schema: "pa.Schema") -> str | None:
    """Return why the analysis can use no run of a file with this schema; None if it can."""
    from ovpnet.record.store import NUMBER, TEXT, wrong_columns

    needed = dict.fromkeys(TEXTS, TEXT) | dict.fromkeys(NUMBERS, NUMBER)
    if set(schema.names) & {*GOALS, *RISKS}:  # else all of its runs failed
        needed |= dict.fromkeys((*GOALS, *RISKS), NUMBER)
    return wrong_columns(schema, needed | {name: NUMBER for name in OTHER_RESULTS if name in schema.names})


def usable(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows that can be used, and a sentence for each reason why others were left out.

    A row must say what was run and, unless it failed, what came out. Results that no row has (all failed) are columns
    of nan.
    """
    if runs.empty:
        return runs, []
    runs = runs.reindex(columns=list(dict.fromkeys([*runs.columns, *GOALS, *RISKS, *OTHER_RESULTS])))
    # A column of nulls alone has no type of its own.
    runs = runs.astype(dict.fromkeys((*GOALS, *RISKS, *OTHER_RESULTS), float))
    done, finished = runs["status"].eq("done"), runs["status"].isin(["done", "diverged"])
    wrong = {f"{name} is missing": runs[name].isna() for name in TEXTS}
    wrong["status is none of done, diverged, failed"] = ~(finished | runs["status"].eq("failed"))
    wrong |= {f"{name} is no finite number": ~_finite(runs[name]) for name in NUMBERS}
    wrong |= {f"{name} is no whole number": runs[name].astype(float).mod(1).ne(0) for name in WHOLE_NUMBERS}
    wrong |= {f"{name} is too large": runs[name].astype(float).abs().gt(MOST_WHOLE) for name in WHOLE_NUMBERS}
    if "schema_version" in runs:
        wrong["they were written by a newer ovpnet; upgrade this one"] = runs["schema_version"].gt(SCHEMA_VERSION)
    wrong["width is 0, of a learner of finite width"] = (
        runs["width"].astype(float).eq(INFINITE) & ~runs["learner.name"].isin(INFINITE_LEARNERS))
    wrong["width is negative"] = runs["width"].astype(float).lt(0)
    wrong["samples is not positive"] = runs["samples"].astype(float).le(0)
    wrong |= {f"{name} is no finite number": finished & ~_finite(runs[name]) for name in GOALS}
    wrong |= {f"{name} is no finite number": done & ~_finite(runs[name]) for name in RISKS}
    kept, messages = pd.Series(True, index=runs.index), []
    for why, rows in wrong.items():
        found = rows & kept
        if found.any():
            named = runs.loc[found, "run_id"].dropna()
            which = f" ({some(named, 3)})" if len(named) else ""
            messages.append(f"skipped {found.sum()} rows of runs{which}: {why}")
            kept &= ~found
    return runs[kept].astype(dict.fromkeys(WHOLE_NUMBERS, "int64")), messages


def _finite(column: pd.Series) -> pd.Series:
    return np.isfinite(column.astype(float))


def _all_failed(runs: pd.DataFrame) -> str:
    errors = runs.get("error", pd.Series(dtype=object)).dropna().value_counts()
    told = f": {errors.index[0]} ({errors.iloc[0]} runs)" if len(errors) else ""
    return f"all {len(runs)} runs failed{told}"


# --- problems ----------------------------------------------------------------------------------------


def problem_columns(runs: pd.DataFrame) -> list[str]:
    """Return the config keys that tell one problem from another.

    They are the run's identity without WITHIN_PROBLEM and the diagnostics, and `epochs`.
    """
    excluded = set(not_identity()) - {"epochs"} | {"diagnostics"} | set(WITHIN_PROBLEM)
    return [name for name in config_columns(runs) if name not in excluded and name.split(".")[0] not in excluded]


def with_problem(runs: pd.DataFrame) -> pd.DataFrame:
    """Return `runs` in a canonical order, one row per member of a problem, with the column `problem`.

    `problem` is a readable label, unique to each problem. A member is (problem, width, samples, seed, lr,
    weight_decay). It may be there twice, say at two epsilons that are now judged as one, or with and without
    diagnostics. Then the rows with the most diagnostics that did not fail come first, and the newest of them is kept.
    The number of steps is no part of a problem if it follows from the samples (epochs, one-pass SGD) or from other
    keys. The latter is so for the rounds of Algorithms 2 and 3, which depend on m.
    """
    keys = problem_keys(runs)
    number = keys.groupby(list(keys), dropna=False).ngroup()
    labels = _labels(runs, keys, number)
    measured = runs.reindex(columns=[f"diagnostics.{kind}" for kind in DIAGNOSTICS.names()]).eq(True).sum(axis=1)
    order = runs[[*WITHIN_PROBLEM, "finished_at", "run_id"]].assign(
        _problem=number.map(labels.rank()), _failed=runs["status"].eq("failed"), _measured=measured)
    order = order.sort_values(["_problem", *WITHIN_PROBLEM, "_failed", "_measured", "finished_at", "run_id"],
                              ascending=[True] * (2 + len(WITHIN_PROBLEM)) + [False, False, True])
    kept = order.index[~order.duplicated(["_problem", *WITHIN_PROBLEM])]
    return runs.loc[kept].assign(problem=number.map(labels)[kept]).reset_index(drop=True)


def steps_follow(runs: pd.DataFrame) -> pd.Series:
    """Return whether each run's number of steps follows from other keys."""
    follows = pd.Series(False, index=runs.index)
    if "epochs" in runs:
        follows |= runs["epochs"].notna()
    if "algorithm.sampling" in runs:
        follows |= runs["algorithm.sampling"].eq("one_pass")
    if "algorithm.inner_steps" in runs:
        follows |= runs["algorithm.inner_steps"].notna()
    return follows


def problem_keys(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that tell problems apart, as text, one row per run. (Stored values have mixed types and
    nulls.)"""
    keys = pd.DataFrame({name: _texts(runs[name]) for name in problem_columns(runs)}, index=runs.index, dtype=object)
    if "steps" in keys:
        keys["steps"] = keys["steps"].mask(steps_follow(runs), "null")
    return keys


def _texts(column: pd.Series) -> np.ndarray:
    """Return `as_text` of each value, of which few are distinct."""
    codes, distinct = pd.factorize(column, use_na_sentinel=False)
    return np.array([as_text(value) for value in distinct], dtype=object)[codes]


def _labels(runs: pd.DataFrame, keys: pd.DataFrame, number: pd.Series) -> pd.Series:
    """Return a label per problem number: concept, learner, trained part, algorithm and epsilon, then other differences.
    """
    problems = keys.groupby(number).first().assign(concept=runs["concept.name"].groupby(number).min())
    base = problems.apply(_base_label, axis=1)
    labels = base.copy()
    for _, group in problems.groupby(base):
        for name in keys.columns.difference(LABEL_KEYS, sort=False):
            if group[name].nunique() > 1 and not _told_by_its_option(group, name):
                labels[group.index] += f", {name}=" + group[name]
    return labels


def _told_by_its_option(group: pd.DataFrame, name: str) -> bool:
    """Return whether the name of the config group's option (regularizer.name) implies the key (regularizer.W)."""
    option = f"{name.partition('.')[0]}.name"
    return option in group and option != name and bool(group.groupby(option)[name].nunique().eq(1).all())


def _base_label(problem: pd.Series) -> str:
    learner = f"{problem['learner.name']} ({problem['learner.trained']})"
    return f"{problem['concept']}, {learner}, {problem['algorithm.name']}, epsilon={problem['epsilon']}"


def width_text(width: int) -> str:
    """Return a width as people read it."""
    return "infinity" if width == INFINITE else str(width)


# --- judging -----------------------------------------------------------------------------------------


def judge(runs: pd.DataFrame, epsilon: float) -> pd.DataFrame:
    """Return `runs` judged at another epsilon, with no training.

    It replaces epsilon, epsilon_absolute, threshold and reached, and keeps the old epsilon as `trained_epsilon`.
    `epsilon` is in each run's own epsilon_unit: a fraction of second_moment = E||y||^2 (`relative`) or in units of the
    loss (`absolute`). reached_step and reached_samples belong to the old epsilon and become null. Raises ConfigError
    unless epsilon is positive and finite.
    """
    if not 0 < epsilon < np.inf:
        raise ConfigError("epsilon", epsilon, "must be greater than 0, and finite")
    unit = runs["second_moment"].where(runs["epsilon_unit"].eq("relative"), 1.0)
    absolute = epsilon * unit
    threshold = runs["opt"] + absolute
    return runs.assign(epsilon=epsilon, trained_epsilon=runs["epsilon"], epsilon_absolute=absolute, threshold=threshold,
                       reached=runs["test_risk"].le(threshold), reached_step=pd.NA, reached_samples=pd.NA)
