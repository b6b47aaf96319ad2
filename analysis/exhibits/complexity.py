"""N_eps against the width m: an interval per seed, their geometric mean, the law with its band."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis import scaling
from analysis.complexity import by_width
from analysis.exhibits.base import Axis, Band, Chart, Mark, Part, Plot, Rule, Series, Table, columns
from analysis.exhibits.registry import FIGURES, PAGE, WANDB, Exhibit
from analysis.exhibits.verdicts import exponent_text
from analysis.load import width_text
from analysis.scaling import ScalingLaw
from analysis.style import BLUE, ORANGE
from analysis.verdict import LIMIT, OPEN, Finding

MOST_SEEDS = 24  # bars at each width
SLOPES = (0.0, 0.5, 1.0)  # of reference
ARROW = 1.3  # length of a censored seed's arrow, as a factor


class Complexity(Exhibit):
    """A chart per problem, and a table over seeds."""

    name = "complexity"
    title = "Sample complexity"
    about = ("A bar is the interval that the grid of samples leaves for N_{ε} of one seed. It reaches from the largest "
             "N that fails to the smallest that passes. An arrow is a seed that lies beyond the grid. The geometric "
             f"mean is left out if a seed does. At most {MOST_SEEDS} seeds are drawn; the law and the table count all.")
    place = 20
    media = (PAGE, FIGURES, WANDB)

    def of_problem(self, problem: str) -> Iterator[Chart]:
        finding, intervals = self.evidence.analysis.findings[problem], self.evidence.analysis.intervals
        if finding.verdict != LIMIT:
            yield chart(finding, intervals[intervals["problem"].eq(problem)])

    def of_all(self) -> Iterator[Part]:
        table = by_width(self.evidence.analysis.intervals)
        yield Table(table, columns(table, n_eps="geometric mean", low="all above", high="all at most",
                                   left="smallest N passes", right="no N passes", non_monotone="not monotone"),
                    "N_{ε} over seeds")


def chart(finding: Finding, intervals: pd.DataFrame) -> Chart:
    """Return the chart of N_eps against m of one problem; `intervals` are its rows of `sample_complexity`."""
    widths = np.sort(intervals["width"].unique()).astype(float)
    law = finding.law
    limits = _limits(widths, intervals, law)
    x = Axis("width m", "log", widths, limits=(widths[0] / 1.5, widths[-1] * 1.5))
    y = Axis("sample complexity N_{ε}(m)", "log", limits=limits)
    marks = [*_references(widths, intervals, law), *_law(law, widths, intervals), *_seeds(intervals),
             *_means(intervals)]
    exponent = exponent_text(law)
    subject = "Verdict: inconclusive" if finding.verdict == OPEN else f"N_{{ε}} {finding.verdict}"
    return Chart("complexity", "Sample complexity against the width",
                 "N_eps of every seed against the width m, with the fitted law. "
                 f"{finding.verdict}: {finding.why}.", [Plot(x, y, marks)], finding.problem,
                 finding=f"{subject}  ({exponent})" if exponent else subject)


def _limits(widths: np.ndarray, intervals: pd.DataFrame, law: ScalingLaw | None) -> tuple[float, float]:
    ends = intervals[["low", "high"]].to_numpy(float).ravel()
    ends = ends[np.isfinite(ends) & (ends > 0)]
    if not len(ends):  # every seed contradicts itself: nothing is known of its N_eps
        ends = np.ones(1)
    # Room for arrows; and at least a factor of 4 in all, lest one step of the grid fill the plot.
    margin = max(1.6, 2 / math.sqrt(ends.max() / ends.min()))
    low, high = ends.min() / margin, ends.max() * margin
    if law:  # follow the law beyond a censored grid, but not out of sight of the data
        low = max(low / 10, min(low, _at(law, widths).min()))
        high = min(high * 10, max(high, _at(law, widths).max()))
    return float(low), float(high)


def _at(law: ScalingLaw, widths: np.ndarray) -> np.ndarray:
    return np.exp(law.log_n + law.alpha * (np.log(widths) - law.log_m))


def _references(widths: np.ndarray, intervals: pd.DataFrame, law: ScalingLaw | None) -> Iterator[Mark]:
    """Yield slopes of reference through the law's left end.

    Without a law they begin at the middle of the smallest width's intervals.
    """
    if len(widths) < 2:
        return
    if law:
        start = float(_at(law, widths)[0])
    else:
        ends = intervals.loc[intervals["width"].eq(widths[0]), ["low", "high"]].clip(lower=1).where(np.isfinite, np.nan)
        start = float(np.exp(np.log(ends).mean(axis=None)))
    for slope in SLOPES:
        yield Rule(x=float(widths[0]), y=start, slope=slope, line="dotted", label=f"m^{{{slope:g}}}",
                   name="" if slope else "reference slopes")


def _law(law: ScalingLaw | None, widths: np.ndarray, intervals: pd.DataFrame) -> Iterator[Mark]:
    if law is None or not np.isfinite([law.alpha_low, law.alpha_high]).any():
        return
    band = scaling.band(intervals, np.geomspace(widths[0], widths[-1], 9)).rename(columns={"width": "x", "law": "y"})
    yield Band(rows=band[["x", "low", "high"]], colour=BLUE, name="95% band")
    yield Series(rows=band[["x", "y"]], colour=BLUE, name=f"law m^{{{law.alpha:z.2f}}}", weight=1.3,
                 tip="law at m = {x:.4g}: {y:.4g}")


def _seeds(intervals: pd.DataFrame) -> Iterator[Mark]:
    """Yield a bar per seed, side by side; for a censored seed an arrow from the known end."""
    seeds = sorted(intervals["seed"].unique())[:MOST_SEEDS]
    shown = intervals[intervals["seed"].isin(seeds)]
    step = min(0.035, 0.25 / max(len(seeds), 1))
    rows = pd.DataFrame({
        "x": shown["width"] * np.exp(step * (shown["seed"].map(seeds.index) - (len(seeds) - 1) / 2)),
        "low": shown["low"], "high": shown["high"], "censored": shown["censored"],
        "told": [f"seed {row.seed}, m = {width_text(row.width)}\nN_ε {_interval(row.low, row.high)}"
                 + ("" if row.monotone else "\nnot monotone in N") for row in shown.itertuples()]})
    known = rows[rows["censored"].eq("")]
    if len(known):
        yield Series(rows=known.assign(y=np.sqrt(known["low"] * known["high"])), line="none", symbol="circle",
                     size=0.35, name="N_{ε} of a seed", tip="{told}")
    above, below = rows[rows["censored"].eq("right")], rows[rows["censored"].eq("left")]
    if len(above):
        yield Series(rows=above.assign(y=ARROW * above["low"], high=ARROW * above["low"]), line="none",
                     symbol="triangle-up", colour=ORANGE, name="seed above the grid", tip="{told}")
    if len(below):
        yield Series(rows=below.assign(y=below["high"] / ARROW, low=below["high"] / ARROW), line="none",
                     symbol="triangle-down", colour=ORANGE, name="seed below the grid", tip="{told}")


def _means(intervals: pd.DataFrame) -> Iterator[Mark]:
    means = by_width(intervals).dropna(subset="n_eps")
    if len(means):
        rows = means[["width", "n_eps", "seeds"]].rename(columns={"width": "x", "n_eps": "y"})
        yield Series(rows=rows, line="none", symbol="circle", filled=False, colour=BLUE, size=1.4, weight=1.3,
                     name="geometric mean", tip="m = {x}\ngeometric mean {y:.4g} of {seeds} seeds")


def _interval(low: float, high: float) -> str:
    if math.isinf(high):
        return f"> {low:g}"
    return f"in ({low:g}, {high:g}]" if low else f"≤ {high:g}"
