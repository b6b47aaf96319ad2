"""Figures 1 to 3 drawn as in the paper: our points and, dashed in the same colour, the published ones."""

from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from analysis.figures import new_axes, plain_log_axis, save_figure
from analysis.load import INFINITE
from analysis.paper import PENALTIES, SAMPLES
from analysis.style import AMBER, BLUE, GREEN, GREY, MATPLOTLIB, ORANGE, SKY

# Colour and marker of each series: networks in strong colours, kernels in lighter ones.
LOOKS = {"3layer": (BLUE, "o"), "2layer": (ORANGE, "s"), "3layer(NTK)": (GREEN, "^"),
         "3layer(last)": (SKY, "D"), "2layer(last)": (AMBER, "v"), PENALTIES["frobenius"]: (BLUE, "o"),
         PENALTIES["row_24"]: (ORANGE, "s")}
OURS: Any = {"markersize": 5.5, "linewidth": 1.7}
PAPER: Any = {"markersize": 5, "linewidth": 1.1, "linestyle": (0, (4, 2)), "markerfacecolor": "white", "alpha": 0.8}
LIMIT: Any = {"linewidth": 1.2, "linestyle": (0, (1, 1.5))}
LABELS = {"test_error": "test error", "norm_ratio": "norm ratio  m ||W||$_{2,4}^4$ / ||W||$_F^4$"}
TARGETS = {1: "(sin 3x$_1$ + sin 3x$_2$ + sin 3x$_3$ - 2)$^2$ cos 7x$_4$",
           2: "(tanh 8x$_1$ + tanh 8x$_2$ + tanh 8x$_3$ - 2)$^2$ tanh 8x$_4$",
           3: "(sin 3x$_1$ + sin 3x$_2$ + sin 3x$_3$ - 2)$^2$ cos 7x$_4$"}


def save(table: pd.DataFrame, published: pd.DataFrame, directory: Path) -> list[Path]:
    """Draw every panel that `table` (from `paper.points`) has points of, as PDF, SVG and PNG; returns the
    PDFs' paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    with matplotlib.rc_context(MATPLOTLIB):
        for (number, panel), ours in table.groupby(["figure", "panel"]):
            paper = published[published["figure"].eq(number) & published["panel"].eq(panel)]
            paths.append(save_figure(panel_figure(number, panel, ours, paper), directory / f"figure{number}{panel}"))
    return paths


def panel_figure(number: int, panel: str, ours: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """A panel: its metric against m, or in panel (b) of Figures 1 and 2 against N."""
    against_n = panel == "b" and number != 3
    figure, axes = new_axes(f"Figure {number} ({panel})  {_setting(ours, paper, against_n)}\n{TARGETS[number]}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    x = "n" if against_n else "m"
    for series, (colour, marker) in LOOKS.items():
        _draw_published(axes, paper[paper["series"].eq(series)], x, colour, marker)
        _draw_ours(axes, ours[ours["series"].eq(series)], x, colour, marker)
        if series in {*ours["series"], *paper["series"]}:
            axes.plot([], [], color=colour, marker=marker, label=_name(series, ours, against_n), **OURS)
    axes.plot([], [], color=GREY, marker="o", label="ours: mean and\ns.e. over seeds", **OURS)
    if len(paper):
        axes.plot([], [], color=GREY, marker="o", label="paper: best of\nthe grid", **PAPER)
    if ours["m"].eq(INFINITE).any():
        axes.plot([], [], color=GREY, label="ours, m = infinity", **LIMIT)
    axes.set_xlabel("samples N" if against_n else "width m")
    axes.set_ylabel(LABELS[ours["metric"].iloc[0]])
    plain_log_axis(axes.xaxis)
    plain_log_axis(axes.yaxis)
    low, high = axes.get_xlim()
    if high > 200 * low:  # labels at 2 and 5 would overlap
        axes.xaxis.set_major_locator(LogLocator(base=10))
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0)
    return figure


def _setting(ours: pd.DataFrame, paper: pd.DataFrame, against_n: bool) -> str:
    if not against_n:
        return f"N = {SAMPLES}"
    widths, published = sorted(ours["m"].unique()), paper["m"].unique()
    text = f"m = {', '.join(map(str, widths))}"
    return text if not len(published) or widths == [*published] else f"{text} (paper: {published[0]})"


def _name(series: str, ours: pd.DataFrame, against_n: bool) -> str:
    """A series in the legend, with its width where they differ."""
    widths = ours.loc[ours["series"].eq(series), "m"].unique()
    own = f", m = {widths[0]}" if against_n and len(widths) and ours["m"].nunique() > 1 else ""
    return series.replace("_{2,4}^4", "$_{2,4}^4$") + own


def _draw_published(axes: Axes, points: pd.DataFrame, x: str, colour: str, marker: str) -> None:
    axes.plot(points[x], points["value"], color=colour, marker=marker, zorder=2, **PAPER)


def _draw_ours(axes: Axes, points: pd.DataFrame, x: str, colour: str, marker: str) -> None:
    finite, infinite = points[points["m"].ne(INFINITE)], points[points["m"].eq(INFINITE)]
    if len(finite):
        axes.errorbar(finite[x], finite["value"], finite["value_se"].fillna(0.0), color=colour, marker=marker,
                      capsize=2, elinewidth=1.0, zorder=3, **OURS)
    for value in infinite["value"]:
        axes.axhline(value, color=colour, zorder=1, **LIMIT)
