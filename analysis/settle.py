"""Find what an open verdict lacks: runs, widths, seeds, or a better grid of samples; how much of it, and the command.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis import rerun
from analysis.complexity import by_width
from analysis.power import ENOUGH, MOST_SEEDS, Estimates, Grid, power, seeds_needed, wider
from analysis.scaling import ScalingLaw

COLUMNS = ["problem", "change", "seeds", "widths", "samples", "new_runs", "cost", "power", "command"]
HALVINGS = (1, 2, 3)
MORE_WIDTHS = (1, 2)


def no_plans() -> pd.DataFrame:
    """Return `plans` with no row."""
    return pd.DataFrame(columns=COLUMNS)


@dataclass(frozen=True)
class Lack:
    """The reason why a problem is open, and the command that would settle it; `plans`: the ways considered, if any."""

    why: str
    next: str
    plans: pd.DataFrame = field(default_factory=no_plans)


def lacking(runs: pd.DataFrame, intervals: pd.DataFrame) -> Lack | None:
    """Return what keeps a law from being fitted; None if it can be."""
    if intervals.empty:
        return Lack(f"none of the {len(runs)} runs finished", rerun.command(runs))
    widths = sorted(intervals["width"].unique())
    if len(widths) < 2:
        more = [widths[0] * factor for factor in (1, 4, 16)]
        return Lack(f"a law needs at least 2 widths; there is {widths[0]} alone", rerun.command(runs, width=more))
    if intervals["seed"].nunique() < 2:
        return Lack("an interval needs at least 2 seeds; there is 1", rerun.command(runs, seed=_seeds(runs, 5)))
    return None


def open_because(runs: pd.DataFrame, intervals: pd.DataFrame, law: ScalingLaw, delta: float, found: str) -> Lack:
    """Return why a fitted law leaves the verdict open; `found`: the interval of alpha as text."""
    beyond = _beyond_the_grid(runs, intervals)
    if beyond:
        reasons, samples = beyond
        return Lack(f"censored: {'; '.join(reasons)}; the 95% interval of alpha is {found}",
                     rerun.command(runs, samples=samples))
    why = f"the 95% interval of alpha, {found}, is neither inside ({-delta:g}, {delta:g}) nor outside it"
    table = plans(runs, intervals, law, delta)
    settling = table[table["power"].ge(ENOUGH)]
    if settling.empty:
        best, near = table.loc[table["power"].idxmax()], math.copysign(delta, law.alpha)
        return Lack(f"{why}: alpha = {law.alpha:.2f} is too near {near:g} to be told from it with up to {MOST_SEEDS} "
                    "seeds, if it is as estimated", str(best["command"]), table)
    chosen = settling.loc[settling["cost"].idxmin()]
    reason = {"samples": "the grid of samples is too coarse", "widths": "the widths are too close",
              }.get(chosen["change"].split(" and ")[-1], f"too few seeds ({intervals['seed'].nunique()})")
    ways = ", or ".join(_way(row) for row in settling.sort_values("cost").to_dict("records")
                        if row["change"] in (chosen["change"], "seeds", "widths", "samples"))
    return Lack(f"{why}: {reason}; if alpha is as estimated, what settles it: {ways}", str(chosen["command"]), table)


def plans(runs: pd.DataFrame, intervals: pd.DataFrame, law: ScalingLaw, delta: float) -> pd.DataFrame:
    """Return ways to settle the verdict of one problem, one row per way, at the parameters that were estimated.

    Columns: problem, change, seeds, widths and samples (lists of all that there would be), new_runs, cost, power,
    command. change ("seeds", "samples", "widths", "seeds and samples") says what there would be more of. cost is the
    sum of m over the new runs, since training time is proportional to it. power is the probability that the verdict is
    then decided (`power.power`). It is below ENOUGH if even the most that is considered does not settle the verdict.
    """
    now = Grid(intervals["seed"].nunique(), tuple(int(width) for width in np.sort(intervals["width"].unique())),
               _grid_step(intervals))
    estimates = Estimates.of(law.alpha, law.alpha_se, law.sigma, now)
    seeds = seeds_needed(estimates, now, delta)
    ways = [("seeds", Grid(seeds or 4 * now.seeds, now.widths, now.step), 0)]
    for halvings in HALVINGS:
        finer = Grid(now.seeds, now.widths, now.step / 2**halvings)
        enough = seeds_needed(estimates, finer, delta)
        if enough:
            ways.append(("samples" if enough == now.seeds else "seeds and samples",
                         Grid(enough, now.widths, finer.step), halvings))
    ways += [("widths", Grid(now.seeds, wider(now.widths, more), now.step), 0) for more in MORE_WIDTHS]
    rows = []
    for change, grid, halvings in ways:
        axes = {"seed": _seeds(runs, grid.seeds), "width": list(grid.widths),
                "samples": _finer(runs, intervals, halvings)}
        new, cost = _new(runs, axes)
        rows.append((runs["problem"].iloc[0], change, axes["seed"], axes["width"], axes["samples"], new, cost,
                     power(estimates, grid, delta), axes))
    table = pd.DataFrame(rows, columns=COLUMNS)
    # Of several ways with the same change, keep the cheapest that settles it, else the cheapest.
    table["settles"] = table["power"].ge(ENOUGH)
    table = table.sort_values(["settles", "cost"], ascending=[False, True], kind="stable").drop_duplicates("change")
    table["command"] = rerun.commands(runs, table["command"])
    return table[COLUMNS].reset_index(drop=True)








def _way(row: dict[str, object]) -> str:
    counts = {name: len(row[name]) for name in ("seeds", "widths", "samples")}  # type: ignore[arg-type]
    what = {"seeds": f"{counts['seeds']} seeds", "samples": f"{counts['samples']} N",
            "widths": f"{counts['widths']} widths",
            "seeds and samples": f"{counts['seeds']} seeds and {counts['samples']} N"}[str(row["change"])]
    return f"{what} ({row['new_runs']} more runs, with probability {row['power']:.2f})"


def _beyond_the_grid(runs: pd.DataFrame, intervals: pd.DataFrame) -> tuple[list[str], list[int]] | None:
    """Return the reasons, and the grid to run, if at some width at least half the seeds are beyond the grid of samples.
    """
    table = by_width(intervals)
    left, right = 2 * table["left"] >= table["seeds"], 2 * table["right"] >= table["seeds"]
    unknown, left, right = table[left & right], table[left & ~right], table[right & ~left]
    samples = sorted(int(each) for each in runs["samples"].unique())
    smaller, larger = [each for each in (samples[0] // 4, samples[0] // 2) if each], [2 * samples[-1], 4 * samples[-1]]
    reasons, more = [], []
    if len(unknown):
        reasons.append(f"which N from {samples[0]} to {samples[-1]} pass at width {_listing(unknown['width'])} says "
                       "nothing of where N_eps lies")
        more += smaller + larger
    if len(right):
        reasons.append(f"no N up to {samples[-1]} passes at width {_listing(right['width'])}")
        more += larger
    if len(left):
        reasons.append(f"the smallest N ({samples[0]}) already passes at width {_listing(left['width'])}")
        more += smaller
    return (reasons, sorted({*samples, *more})) if reasons else None


def _grid_step(intervals: pd.DataFrame) -> float:
    """Return the typical log ratio of neighbouring N around N_eps; 0 if every seed is censored."""
    known = intervals[intervals["censored"].eq("")]
    return float(np.log(known["high"] / known["low"]).median()) if len(known) else 0.0


def _finer(runs: pd.DataFrame, intervals: pd.DataFrame, halvings: int) -> list[int]:
    """Return the grid of samples with every step that holds some N_eps cut into 2^halvings, evenly in log N."""
    known = intervals[intervals["censored"].eq("")]
    parts = np.arange(1, 2**halvings) / 2**halvings
    between = np.exp(np.log(known["low"].to_numpy())[:, None] * (1 - parts)
                     + np.log(known["high"].to_numpy())[:, None] * parts)
    return sorted({int(each) for each in runs["samples"].unique()} | {round(each) for each in between.ravel()})


def _seeds(runs: pd.DataFrame, wanted: int) -> list[int]:
    """Return the seeds there are, and the smallest unused ones, `wanted` in all."""
    present = {int(seed) for seed in runs["seed"].unique()}
    unused = (seed for seed in range(wanted + len(present)) if seed not in present)
    return sorted([*present, *(next(unused) for _ in range(max(wanted - len(present), 0)))])


def _new(runs: pd.DataFrame, axes: dict[str, list[int]]) -> tuple[int, int]:
    """Return the number of runs that the grid of `axes` adds to `runs`, and the sum of their widths.

    Failed runs are trained again.
    """
    settings = len(runs[["lr", "weight_decay"]].drop_duplicates())
    present = runs[runs["status"].ne("failed")].drop_duplicates(["width", "samples", "seed", "lr", "weight_decay"])
    present = present[present["width"].isin(axes["width"]) & present["samples"].isin(axes["samples"])]
    each = len(axes["seed"]) * len(axes["samples"]) * settings
    return each * len(axes["width"]) - len(present), each * sum(axes["width"]) - int(present["width"].sum())


def _listing(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
