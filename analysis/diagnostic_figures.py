"""The figures of the diagnostics: every quantity against m, and those of the smoothed objective along training."""

import textwrap
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from analysis.diagnostics import Panel, panels, traces
from analysis.figures import plain_log_axis, save_figure, slug
from analysis.style import BLACK, BLUE, GREY, MATPLOTLIB, ORANGE, SEQUENTIAL, SEQUENTIAL_END

COLOURS, MARKERS = (BLUE, ORANGE, BLACK), "os^"
COLUMNS = 3
PANEL_SIZE = (3.3, 2.5)
CHARACTERS_PER_INCH = 11  # of a headline, at least


def save(rows: pd.DataFrame, curves: pd.DataFrame, directory: Path) -> dict[str, list[Path]]:
    """Draw the figures of every problem in `rows` (from `diagnostics.last_values`) as `figures.save` does.

    Returns the PDFs' paths of each problem."""
    directory.mkdir(parents=True, exist_ok=True)
    along = traces(rows, curves)
    paths = {}
    for problem, values in rows.groupby("problem"):
        trace = along[along["problem"].eq(problem)]
        with matplotlib.rc_context(MATPLOTLIB | {"axes.titlesize": 9.5, "font.size": 9}):
            drawn = {"diagnostics": width_figure(str(problem), values)}
            if len(trace):
                drawn["curvature"] = trace_figure(str(problem), trace)
            paths[str(problem)] = [save_figure(figure, directory / f"{kind}-{slug(str(problem))}")
                                   for kind, figure in drawn.items()]
    return paths


def width_figure(problem: str, rows: pd.DataFrame) -> Figure:
    """A panel a quantity: its last values against m, a point a run, medians joined."""
    shown = panels(rows)
    figure, axes = _grid(len(shown), f"Diagnostics at the end of training, N = {rows['samples'].iloc[0]}", problem)
    widths = np.sort(rows["width"].unique())
    for panel, each in zip(shown, axes, strict=True):
        _draw_panel(each, panel, rows)
        each.set_xscale("log")
        each.xaxis.set_major_locator(FixedLocator(list(widths)))
        each.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
        each.xaxis.set_minor_locator(NullLocator())
        each.set_xlabel("width m")
    return figure


def _draw_panel(axes: Axes, panel: Panel, rows: pd.DataFrame) -> None:
    axes.set_title(panel.title)
    logarithmic = _value_axis(axes, rows[list(panel.columns)].to_numpy(dtype=float))
    # A little apart, so that quantities of one size do not hide each other.
    shifts = np.exp(0.09 * (np.arange(len(panel.columns)) - (len(panel.columns) - 1) / 2))
    for (column, label), colour, marker, shift in zip(panel.columns.items(), COLOURS, MARKERS, shifts, strict=False):
        values = rows[["width", column]].dropna()
        median = values.groupby("width")[column].median()
        if logarithmic:
            median = median.where(median > 0)
        axes.plot(values["width"] * shift, values[column], marker=marker, markersize=3.5, color=colour, alpha=0.4,
                  linestyle="none", markeredgewidth=0)
        axes.plot(median.index * shift, median, color=colour, linewidth=1.5, label=label)
    if len(panel.columns) > 1:
        axes.legend(fontsize=7.5, handlelength=1.2, borderaxespad=0.2)


def trace_figure(problem: str, trace: pd.DataFrame) -> Figure:
    """Medians over seeds along training, a colour a width, a ring where most seeds are at a saddle point. The
    smallest eigenvalue lies in the band."""
    figure, axes = _grid(4, "The smoothed objective along training", problem, columns=2)
    widths = sorted(trace["width"].unique())
    colours = matplotlib.colormaps[SEQUENTIAL](np.linspace(0.0, SEQUENTIAL_END, len(widths)))
    titles = {"objective": "training objective", "smoothed_gradient_norm": "gradient norm, smoothed",
              "curvature": "smallest eigenvalue, bounds", "decay_decrease": "decrease by weight decay"}
    for each, (column, title) in zip(axes, titles.items(), strict=True):
        each.set_title(title)
        logarithmic = _value_axis(each, trace[column].to_numpy(dtype=float))
        for width, colour in zip(widths, colours, strict=True):
            rows = trace[trace["width"].eq(width)]
            if logarithmic:
                rows = rows[rows[column].gt(0)]
            each.plot(rows["step"], rows[column], color=colour, linewidth=1.4, label=f"m = {width}")
            if column == "curvature":
                each.fill_between(rows["step"], rows["smallest_eigenvalue"], rows["curvature"], color=colour,
                                  alpha=0.3, linewidth=0)
            at_saddle = rows[rows["saddle"].gt(0.5)]
            each.plot(at_saddle["step"], at_saddle[column], linestyle="none", marker="o", markersize=5,
                      markerfacecolor="none", markeredgecolor=colour)
        each.set_xlabel("step")
    axes[1].plot([], [], linestyle="none", marker="o", markersize=5, markerfacecolor="none", markeredgecolor=BLACK,
                 label="at a saddle point")
    axes[1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0)
    return figure


def _value_axis(axes: Axes, values: np.ndarray) -> bool:
    """Logarithmic (without the 0s) where most values are positive and none is negative; else linear, with a line at 0.
    Returns whether it is logarithmic."""
    finite = values[np.isfinite(values)]
    if (finite == 0).all():
        axes.set_ylim(-0.1, 1)
    if (finite < 0).any() or (finite > 0).mean() <= 0.5:
        axes.axhline(0, color=GREY, linewidth=0.9, zorder=1)
        return False
    low, high = finite[finite > 0].min(), finite.max()
    middle = np.sqrt(low * high)
    axes.set_yscale("log")
    axes.set_ylim(min(low / 1.3, middle / 2), max(high * 1.3, middle * 2))
    plain_log_axis(axes.yaxis)
    if high > 100 * low:
        axes.yaxis.set_major_locator(LogLocator(base=10))
    return True


def _grid(count: int, headline: str, problem: str, columns: int = COLUMNS) -> tuple[Figure, list[Axes]]:
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(PANEL_SIZE[0] * columns, PANEL_SIZE[1] * rows + 0.6), layout="constrained")
    label = textwrap.fill(problem, width=int(columns * PANEL_SIZE[0] * CHARACTERS_PER_INCH))
    figure.suptitle(f"{headline}\n{label}", x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return figure, [figure.add_subplot(rows, columns, index + 1) for index in range(count)]
