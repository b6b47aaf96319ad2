"""Test risk of the best-tuned learner against the number of samples N, a line per width."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.exhibits.base import Axis, Band, Chart, Mark, Plot, Rule, Series, symbol
from analysis.exhibits.registry import FIGURES, PAGE, WANDB, Exhibit
from analysis.load import width_text
from analysis.style import BLACK, ORANGE, shades
from analysis.verdict import Analysis


class Risk(Exhibit):
    """A chart per problem."""

    name = "risk"
    title = "Test risk"
    about = ("The test risk is that of the best-tuned learner, on fresh samples. The line is the mean over seeds; the "
             "band reaches from the least to the greatest.")
    place = 40
    media = (PAGE, FIGURES, WANDB)

    def of_problem(self, problem: str) -> Iterator[Chart]:
        yield chart(problem, self.evidence.best_of(problem), limit_of(self.evidence.analysis, problem))


def chart(problem: str, best: pd.DataFrame, limit: pd.DataFrame | None = None) -> Chart:
    """Return the chart of the risks of `best`, with OPT and OPT + epsilon.

    It has those of the same learner of infinite width, too, if `limit` is given.
    """
    finite = best[np.isfinite(best["test_risk"])]
    widths = sorted(best["width"].unique())
    bands: list[Mark] = []
    lines: list[Mark] = []
    for index, (width, colour) in enumerate(zip(widths, shades(len(widths)), strict=True)):
        rows = finite[finite["width"].eq(width)].groupby("samples")["test_risk"].agg(["mean", "min", "max", "size"])
        rows = rows.reset_index().set_axis(["x", "y", "low", "high", "seeds"], axis=1)
        bands.append(Band(rows=rows[["x", "low", "high"]], colour=colour, width=int(width)))
        lines.append(Series(rows=rows[["x", "y"]].assign(least=rows["low"], most=rows["high"], seeds=rows["seeds"]),
                            colour=colour, symbol=symbol(index), name=f"m = {width_text(width)}", width=int(width),
                            tip=f"m = {width_text(width)}, N = {{x}}\nmean {{y:.4g}} of {{seeds}} seeds\n"
                                "{least:.4g} to {most:.4g}"))
    if limit is not None:
        rows = limit[np.isfinite(limit["test_risk"])].groupby("samples")["test_risk"].mean()
        lines.append(Series(rows=rows.reset_index().set_axis(["x", "y"], axis=1), line="dashed", name="m = infinity"))
    lines += _goal(best, finite) if len(finite) else []
    return Chart("risk", "Test risk against samples",
                 "Best-tuned test risk against the number of samples N, a line per width, with OPT + epsilon.",
                 [Plot(Axis("samples N", "log", best["samples"]), Axis("test risk", "log"), [*bands, *lines])],
                 problem)


def _goal(best: pd.DataFrame, finite: pd.DataFrame) -> list[Mark]:
    opt, threshold = float(best["opt"].mean()), float(best["threshold"].mean())
    found: list[Mark] = [Rule(y=threshold, colour=ORANGE, name=f"OPT + ε = {threshold:.3g}")]
    # A logarithmic axis has no 0, and a tiny OPT would flatten everything else.
    if opt > min(finite["test_risk"].min(), threshold) / 30:
        return [*found, Rule(y=opt, colour=BLACK, line="dotted", name=f"OPT = {opt:.3g}")]
    return [*found, Rule(line="none", name=f"OPT = {opt:.3g} (below the axis)")]


def limit_of(analysis: Analysis, problem: str) -> pd.DataFrame | None:
    """Return the rows of `best` of the infinitely wide learner that the problem's learner tends to; None without one.

    It has the same trained part, concept, inputs, noise, loss and epsilon.
    """
    runs = analysis.runs
    first = runs[runs["problem"].eq(problem)].iloc[0]
    same = [name for name in runs if name.split(".")[0] in ("concept", "inputs", "noise", "loss")
            or name in ("learner.trained", "learner.biases", "epsilon", "epsilon_unit")]
    limits = runs.loc[runs["learner.name"].eq(f"{first['learner.name']}_limit"), ["problem", *same]]
    limits = limits.drop_duplicates("problem")  # the runs of a problem agree in these keys
    matches = (limits[same].eq(first[same]) | limits[same].isna() & first[same].isna()).all(axis=1)
    found = analysis.best[analysis.best["problem"].isin(limits.loc[matches, "problem"][:1])]
    return None if found.empty else found
