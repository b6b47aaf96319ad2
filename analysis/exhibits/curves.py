"""Risk along training: learning curves of the best-tuned learner, a colour per width."""

from collections.abc import Iterator
from functools import cached_property

import pandas as pd

from analysis.exhibits.base import Axis, Chart, Mark, Plot, Rule, Series, spread
from analysis.exhibits.registry import PAGE, Exhibit
from analysis.load import INFINITE, width_text
from analysis.style import ORANGE, shades
from analysis.tune import SETTING

MOST_POINTS = 60  # points of a learning curve
MOST_SAMPLES = 4  # numbers of samples that have learning curves


class Curves(Exhibit):
    """A chart per problem of which the store has learning curves."""

    name = "curves"
    title = "Learning curves"
    about = ("Medians over seeds at the best-tuned setting: test risk solid, training risk dotted. The largest N is "
             f"shown until one is chosen above. Thinned to at most {MOST_POINTS} points per curve and {MOST_SAMPLES} "
             "numbers of samples.")
    place = 50
    media = (PAGE,)

    @cached_property
    def _thinned(self) -> dict[str, pd.DataFrame]:
        shown = curve_runs(self.evidence.best, self.evidence.stored.runs)
        points = self.evidence.stored.curves_of(shown["run_id"], ["test_risk", "train_risk"])
        if not {"test_risk", "train_risk"} <= set(points):
            return {}
        return {str(problem): rows for problem, rows in thinned_curves(shown, points).groupby("problem")}

    def of_problem(self, problem: str) -> Iterator[Chart]:
        if problem in self._thinned:
            threshold = float(self.evidence.best_of(problem)["threshold"].mean())
            yield chart(problem, self._thinned[problem], threshold)


def chart(problem: str, curves: pd.DataFrame, threshold: float) -> Chart:
    """Return the chart of test and training risk along training. `curves` comes from `thinned_curves`."""
    widths, largest = sorted(curves["width"].unique()), curves["samples"].max()
    marks: list[Mark] = [Rule(y=threshold, colour=ORANGE, name="OPT + ε")]
    for (width, samples), rows in curves.groupby(["width", "samples"]):
        where, colour = f"m = {width_text(width)}, N = {samples}", shades(len(widths))[widths.index(width)]
        for column, tested in (("test_risk", True), ("train_risk", False)):
            points = rows.loc[rows[column].gt(0), ["step", column]].set_axis(["x", "y"], axis=1)
            marks.append(Series(rows=points, line="solid" if tested else "dotted", weight=1.0 if tested else 0.8,
                                name=where if tested else "", colour=colour, width=int(width), samples=int(samples),
                                first=bool(samples == largest),
                                tip=f"{where}\n{column.replace('_', ' ')} {{y:.4g}} at step {{x}}"))
    risks = curves.loc[curves["test_risk"].gt(0), "test_risk"]
    # A training risk may fall to 1e-8, and would flatten everything else.
    limits = (min(risks.min(), threshold) / 10, max(risks.max(), threshold) * 2) if len(risks) else None
    return Chart("curves", "Risk along training", "Median test and training risk against the step, a line per "
                 "width.", [Plot(Axis("step"), Axis("risk", "log", limits=limits), marks)], problem)


def curve_runs(best: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs whose learning curves are shown: those of `best` at MOST_SAMPLES numbers of samples.

    `best` may hold any number of problems. The numbers of samples of each are spread from the least to the greatest.
    Columns: run_id, problem, width, samples.
    """
    kept = [rows[rows["samples"].isin(spread(rows["samples"], MOST_SAMPLES))] for _, rows in best.groupby("problem")]
    keys = ["problem", "width", "samples", "seed", *SETTING]
    found = pd.concat(kept or [best])[keys].merge(runs[["run_id", *keys]], on=keys)
    return found.loc[found["width"].ne(INFINITE), ["run_id", "problem", "width", "samples"]]


def thinned_curves(shown: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Return medians over seeds of learning curves, with at most MOST_POINTS steps each.

    Columns: problem, width, samples, step, test_risk, train_risk. `shown` comes from `curve_runs`.
    """
    medians = curves.merge(shown, on="run_id").groupby(["problem", "width", "samples", "step"], as_index=False)[
        ["test_risk", "train_risk"]].median()
    parts = [rows[rows["step"].isin(spread(rows["step"], MOST_POINTS))]
             for _, rows in medians.groupby(["problem", "width", "samples"])]
    return pd.concat(parts, ignore_index=True) if parts else medians
