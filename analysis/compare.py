"""Two sets of runs side by side: each verdict, each alpha and the risks, in one set and in the other.

Problems are matched by the config keys that tell problems apart (`load.problem_columns`), but not by the keys that the
two sets were chosen by. So `learner.trained=hidden` against `learner.trained=ntk` compares problems that are alike in
all else.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from analysis.exhibits.base import Note
from analysis.filters import ALIASES
from analysis.load import problem_columns, problem_keys
from analysis.tune import CELL
from analysis.verdict import Analysis, interval_text
from ovpnet.spec.errors import OvpnetError
from ovpnet.terminal.words import some


def matched(a: Analysis, b: Analysis, chosen: Iterable[str] = ()) -> pd.DataFrame:
    """Return the problems of both sets: columns problem (a's label), problem_a, problem_b.

    `chosen`: keys (or their short names) that the sets were filtered by, and need not share. If a problem of one set
    matches several of the other, each pair is a row. Raises OvpnetError if none match.
    """
    first = pd.concat([side.runs.drop_duplicates("problem") for side in (a, b)], keys=["a", "b"], names=["side", None])
    unshared = {ALIASES.get(key, key) for key in chosen}
    groups = {key.partition(".")[0] for key in unshared if key.endswith((".name", ".family", ".kind"))}
    shared = [name for name in problem_columns(first) if name not in unshared and name.partition(".")[0] not in groups]
    keys = problem_keys(first)[shared].agg("\n".join, axis=1)
    table = pd.DataFrame({"key": keys, "problem": first["problem"]})
    pairs = table.loc["a"].merge(table.loc["b"], on="key", suffixes=("_a", "_b"))
    if pairs.empty:
        ours, theirs = (some(map(str, side.verdicts["problem"]), 3, "; ") for side in (a, b))
        raise OvpnetError("no problem of A is one of B: they differ in more than they were chosen by; A has "
                          f"{ours}; B has {theirs}")
    return pairs.assign(problem=pairs["problem_a"])[["problem", "problem_a", "problem_b"]]


def verdicts(a: Analysis, b: Analysis, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the verdict and the exponent of each pair of problems (from `matched`).

    Columns: problem_a, problem_b, verdict_a, verdict_b, changed, alpha_a, alpha_b, difference = alpha_b - alpha_a with
    its 95% interval low, high. The interval is MOVER's (Zou and Donner 2008). It is made for two independent estimates
    with intervals of their own, which need not be symmetric. If both sets share seeds and so data, it errs on the wide
    side. Infinite ends stay infinite; ends are nan if a law is missing.
    """
    rows = []
    sides = [side.verdicts.set_index("problem") for side in (a, b)]
    for pair in pairs.itertuples():
        ours, theirs = sides[0].loc[pair.problem_a], sides[1].loc[pair.problem_b]
        low, high = mover((theirs["alpha"], theirs["alpha_low"], theirs["alpha_high"]),
                          (ours["alpha"], ours["alpha_low"], ours["alpha_high"]))
        rows.append((pair.problem_a, pair.problem_b, ours["verdict"], theirs["verdict"],
                     bool(ours["verdict"] != theirs["verdict"]), ours["alpha"], theirs["alpha"],
                     theirs["alpha"] - ours["alpha"], low, high))
    return pd.DataFrame(rows, columns=["problem_a", "problem_b", "verdict_a", "verdict_b", "changed", "alpha_a",
                                       "alpha_b", "difference", "low", "high"])


def mover(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float]:
    """Return the interval of first - second, each (estimate, low, high), from their own intervals.

    >>> mover((1.0, 0.0, 2.0), (0.0, -1.0, 1.0))
    (-0.41421356237309515, 2.414213562373095)
    """
    (x, x_low, x_high), (y, y_low, y_high) = first, second
    return x - y - math.hypot(x - x_low, y_high - y), x - y + math.hypot(x_high - x, y - y_low)


def risks(a: Analysis, b: Analysis, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the best-tuned test risk of each pair, one row per width and N that both have.

    Columns: problem_a, problem_b, width, samples, risk_a, risk_b (means over seeds), difference = b - a, and its
    standard error se over the `seeds` that both have. Their data are the same, so it is a paired comparison; se is nan
    with one seed.
    """
    parts = []
    for pair in pairs.itertuples():
        ours, theirs = (side.best.loc[side.best["problem"].eq(problem), [*CELL[1:], "seed", "test_risk"]]
                        for side, problem in ((a, pair.problem_a), (b, pair.problem_b)))
        both = ours.merge(theirs, on=[*CELL[1:], "seed"], suffixes=("_a", "_b"))
        both = both[np.isfinite(both[["test_risk_a", "test_risk_b"]]).all(axis=1)]
        both = both.assign(difference=both["test_risk_b"] - both["test_risk_a"])
        table = both.groupby(CELL[1:], as_index=False).agg(
            risk_a=("test_risk_a", "mean"), risk_b=("test_risk_b", "mean"), difference=("difference", "mean"),
            se=("difference", "sem"), seeds=("seed", "size"))
        parts.append(table.assign(problem_a=pair.problem_a, problem_b=pair.problem_b))
    columns = ["problem_a", "problem_b", *CELL[1:], "risk_a", "risk_b", "difference", "se", "seeds"]
    return pd.concat(parts, ignore_index=True)[columns]


def notes(verdicts: pd.DataFrame, risks: pd.DataFrame) -> Iterator[Note]:
    """Yield in words what each pair of problems shows. The tables are those of the functions of their names."""
    for number, row in enumerate(verdicts.itertuples(), start=1):
        same = row.problem_a == row.problem_b
        said = [] if same else [("B", row.problem_b)]
        said.append(("verdict", f"{row.verdict_a} in A, {row.verdict_b} in B" if row.changed else
                     f"{row.verdict_a}, in both"))
        if not pd.isna(row.difference):
            said.append(("alpha", f"{row.alpha_a:z.2f} in A, {row.alpha_b:z.2f} in B; B - A = {row.difference:z.2f}, "
                                  f"95% {interval_text(row.low, row.high)}"))
        cells = risks[risks["problem_a"].eq(row.problem_a) & risks["problem_b"].eq(row.problem_b)]
        known = cells[cells["se"].notna()]
        lower, higher = (int((sign * known["difference"] > 2 * known["se"]).sum()) for sign in (-1, 1))
        said.append(("best-tuned test risk", "no width, N and seed is in both" if cells.empty else
                     f"over {len(cells)} widths and N that both have, B's is lower by more than "
                     f"2 s.e. at {lower}, higher at {higher}"))
        yield Note(row.problem_a if same else f"A: {row.problem_a}", said, number=number)
