"""The diagnostics of runs: every quantity against the width, and curvature along training."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pandas as pd

from analysis import diagnostics
from analysis.diagnostics import Quantities
from analysis.exhibits.base import (
    SYMBOLS,
    Axis,
    Band,
    Chart,
    Mark,
    Part,
    Plot,
    Series,
    Table,
    columns,
    spread,
    value_axis,
)
from analysis.exhibits.registry import FIGURES, PAGE, Exhibit
from analysis.style import QUALITATIVE, shades

MOST_POINTS = 60  # of a curve
MOST_SEEDS = 24  # points at each width
APART = 0.09  # of log m, so that quantities of one size do not hide each other
TRACES = {"objective": "training objective", "smoothed_gradient_norm": "gradient norm, smoothed",
          "curvature": "bounds of the smallest eigenvalue", "decay_decrease": "decrease by weight decay"}


class Diagnostics(Exhibit):
    """Two charts per problem with diagnostics, and a table of medians."""

    name = "diagnostics"
    title = "Diagnostics"
    about = ("These are measured besides the risks, at the best-tuned setting and the largest N. A point is a run; "
             "lines join medians over seeds. The smallest eigenvalue of the smoothed objective's Hessian lies between "
             "its two bounds on average. A ring marks a step at which most seeds are at a saddle point. A gradient "
             "norm of 0 is too small for the draws to tell from their noise. Logarithmic axes leave it out.")
    place = 80
    media = (PAGE, FIGURES)

    @cached_property
    def _measured(self) -> pd.DataFrame:
        return diagnostics.last_values(self.evidence.stored.runs, self.evidence.best)

    @cached_property
    def _traced(self) -> pd.DataFrame:
        curves = self.evidence.stored.curves_of(self._measured["run_id"], diagnostics.TRACED)
        return diagnostics.traces(self._measured, curves)

    def of_problem(self, problem: str) -> Iterator[Chart]:
        rows = self._measured[self._measured["problem"].eq(problem)]
        if len(rows):
            yield against_width(problem, rows)
            traced = self._traced[self._traced["problem"].eq(problem)]
            if len(traced):
                yield along_training(problem, traced)

    def of_all(self) -> Iterator[Part]:
        if len(self._measured):
            table = diagnostics.medians(self._measured)
            yield Table(table, columns(table), "Medians over seeds")


def against_width(problem: str, rows: pd.DataFrame) -> Chart:
    """Return the chart of each family of quantities in `rows` (from `diagnostics.last_values`) against m."""
    plots = []
    for family in diagnostics.families(rows):
        y, marks = value_axis("", rows[list(family.columns)].to_numpy(dtype=float))
        plots.append(Plot(Axis("width m", "log", rows["width"]), y, [*marks, *_quantities(family, rows, y.scale)],
                          family.title))
    return Chart("diagnostics", f"Diagnostics at the end of training, N = {rows['samples'].iloc[0]}",
                 "At the end of training, against the width m.", plots, problem)


def _quantities(family: Quantities, rows: pd.DataFrame, scale: str) -> Iterator[Mark]:
    middle = (len(family.columns) - 1) / 2
    for index, (column, name) in enumerate(family.columns.items()):
        colour, shift = QUALITATIVE[index], np.exp(APART * (index - middle))
        values = rows[["width", column]].dropna().set_axis(["m", "y"], axis=1)
        values = values[values["y"].gt(0)] if scale == "log" else values
        values = values.assign(x=values["m"] * shift)
        shown = values[values.groupby("m").cumcount() < MOST_SEEDS]
        yield Series(rows=shown, line="none", symbol=SYMBOLS[index], colour=colour, faint=True, size=0.7,
                     tip=f"{name}, m = {{m}}: {{y:.4g}}, a run")
        medians = rows.groupby("width")[column].median().dropna().rename_axis("m").rename("y").reset_index()
        medians = medians[medians["y"].gt(0)] if scale == "log" else medians
        yield Series(rows=medians.assign(x=medians["m"] * shift), colour=colour,
                     name=name if len(family.columns) > 1 else "", tip=f"{name}, m = {{m}}: {{y:.4g}}, median")


def along_training(problem: str, traced: pd.DataFrame) -> Chart:
    """Return the chart of the smoothed objective's quantities along training, a line per width.

    `traced` are rows of `diagnostics.traces`. The smallest eigenvalue lies in the band.
    """
    widths, plots = sorted(traced["width"].unique()), []
    for column, title in TRACES.items():
        y, marks = value_axis("", traced[column].to_numpy(float))
        for index, (width, colour) in enumerate(zip(widths, shades(len(widths)), strict=True)):
            rows = traced[traced["width"].eq(width)]
            rows = rows[rows["step"].isin(spread(rows["step"], MOST_POINTS))]
            rows = (rows[rows[column].gt(0)] if y.scale == "log" else rows).rename(columns={"step": "x", column: "y"})
            if column == "curvature":
                marks.append(Band(rows=rows.assign(low=rows["smallest_eigenvalue"], high=rows["y"])[
                    ["x", "low", "high"]], colour=colour, width=int(width)))
            tip = f"m = {width}, step {{x}}: {{y:.4g}}"
            marks.append(Series(rows=rows[["x", "y"]], colour=colour, name=f"m = {width}", width=int(width), tip=tip))
            marks.append(Series(rows=rows.loc[rows["saddle"].gt(0.5), ["x", "y"]], colour=colour, line="none",
                                name="" if index else "at a saddle point", symbol="circle", filled=False,
                                width=int(width), tip=f"{tip}, a saddle point"))
        plots.append(Plot(Axis("step"), y, marks, f"{title}, along training"))
    return Chart("curvature", "The smoothed objective along training",
                 "Median over seeds against the step, a line per width.", plots, problem)
