"""Charts as figures for papers: PDF, SVG and PNG, by matplotlib's object interface, with no pyplot and no window."""

import re
import textwrap
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis as Ticked
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from analysis.exhibits.base import INTERVALS, Band, Cells, Chart, Plot, Rule, Series
from analysis.exhibits.evidence import Evidence
from analysis.exhibits.registry import exhibits
from analysis.exhibits.words import MARKUP
from analysis.style import BLACK, GRID, SEQUENTIAL

SIZE, SMALL = (7.6, 4.6), (3.3, 2.5)  # inches: of a plot alone, of one of several
NAME_HEIGHT = 0.4  # inches of a row with a name
CHARACTERS_PER_INCH = 11  # of a title, at least
SYMBOLS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "triangle-down": "v", "cross": "P",
           "x": "X", "star": "*"}
LINES: dict[str, Any] = {"none": "none", "solid": "-", "dashed": (0, (4, 2)), "dotted": (0, (1, 1.7))}
SCRIPTS = re.compile(rf"(?:{MARKUP.pattern})+")
# Fonts are embedded: as TrueType in PDF (editable, and journals ask for it), as outlines in SVG.
STYLE: Any = {
    "font.family": "sans-serif", "font.size": 10, "axes.titlesize": 10.5, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": BLACK,
    "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6, "axes.axisbelow": True,
    "legend.frameon": False, "legend.fontsize": 9, "svg.fonttype": "path", "svg.hashsalt": "ovpnet",
    "pdf.fonttype": 42,
}
OF_SEVERAL: Any = {"axes.titlesize": 9.5, "font.size": 9, "legend.fontsize": 7.5}


def save(evidence: Evidence, directory: Path, medium: str) -> dict[str, list[Path]]:
    """Draw the charts of the exhibits that `medium` shows into `directory`, which is made if absent.

    Return the PDFs' paths of each problem, and if there are several those of "all problems"; the SVGs and PNGs lie
    beside them. A problem without a finished run has none.
    """
    shown, finished = exhibits(evidence, medium), set(evidence.finished)
    saved = {problem: [write(chart, directory) for exhibit in shown if problem in finished
                       for chart in exhibit.of_problem(problem)] for problem in evidence.problems}
    if len(saved) > 1:
        saved["all problems"] = [write(part, directory) for exhibit in shown for part in exhibit.of_all()
                                 if isinstance(part, Chart)]
    return saved


def write(chart: Chart, directory: Path) -> Path:
    """Write a chart as PDF (for a paper), SVG and PNG (for a page) under its own name; return the PDF's path."""
    directory.mkdir(parents=True, exist_ok=True)
    stem = directory / (chart.name if chart.problem is None else f"{chart.name}-{slug(chart.problem)}")
    pdf = Path(f"{stem}.pdf")
    with matplotlib.rc_context(STYLE | (OF_SEVERAL if len(chart.plots) > 1 else {})):
        figure = draw(chart)
        # With no date and creator in it, the same store gives the same bytes.
        figure.savefig(pdf, metadata={"CreationDate": None, "Creator": None, "Producer": None})
        figure.savefig(f"{stem}.svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        figure.savefig(f"{stem}.png", dpi=160)
    return pdf


def slug(problem: str) -> str:
    """Return a problem's label as a file name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", problem).strip("-").lower()


def draw(chart: Chart) -> Figure:
    """Draw a chart: one plot with its legend beside it, or several in a grid."""
    count = len(chart.plots)
    columns = min(count, 2 if count == 4 else 3)
    rows = -(-count // columns)
    width, height = SIZE if count == 1 else (SMALL[0] * columns, SMALL[1] * rows + 0.6)
    if chart.plots[0].y.scale == "names":
        height = NAME_HEIGHT * len(list(chart.plots[0].y.values)) + 1.3
    figure = Figure(figsize=(width, height), layout="constrained")
    each = [figure.add_subplot(rows, columns, index + 1) for index in range(count)]
    title = [chart.finding or chart.title, *textwrap.wrap(chart.problem or "", int(width * CHARACTERS_PER_INCH))]
    if count == 1:
        each[0].set_title(_mathtext("\n".join(title)), pad=16)
    else:
        figure.suptitle(_mathtext("\n".join(title)), x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    for axes, plot in zip(each, chart.plots, strict=True):
        if count > 1:
            axes.set_title(_mathtext(textwrap.fill(plot.title, int(SMALL[0] * CHARACTERS_PER_INCH))))
        _draw(axes, plot, small=count > 1)
    _legends(each, chart)
    return figure


def _draw(axes: Axes, plot: Plot, small: bool) -> None:
    _set_axis(axes, axes.xaxis, plot, "x", decades=100.0 if small else 200.0)
    _set_axis(axes, axes.yaxis, plot, "y", decades=100.0 if small else 1e4)
    for height, mark in enumerate(plot.marks):
        if not mark.first:
            continue
        match mark:
            case Series():
                _series(axes, mark, plot, height)
            case Band():
                axes.fill_between(mark.rows["x"], plot.within("y", mark.rows["low"]),
                                  plot.within("y", mark.rows["high"]), color=mark.colour, alpha=0.15, linewidth=0,
                                  zorder=2 + height / 100, label=_mathtext(mark.name))
            case Rule():
                _rule(axes, mark, plot)
            case Cells():
                _cells(axes, mark, plot)


def _set_axis(axes: Axes, ticked: Ticked, plot: Plot, which: Literal["x", "y"], decades: float) -> None:
    """Set scale, limits and ticks.

    If the ends of a logarithmic axis are a factor of `decades` apart, or more, it has no labels at 2 and 5: they would
    overlap.
    """
    axis = plot.x if which == "x" else plot.y
    low, high = plot.limits(which)
    getattr(axes, f"set_{which}label")(_mathtext(axis.label))
    if axis.scale in ("category", "names"):
        values = [str(each) for each in axis.values]
        getattr(axes, f"set_{which}ticks")(range(len(values)), [_mathtext(each) for each in values])
        getattr(axes, f"set_{which}lim")(*((high, low) if axis.scale == "names" else (low, high)))
        axes.grid(False, axis=which)
        return
    getattr(axes, f"set_{which}scale")(axis.scale)
    getattr(axes, f"set_{which}lim")(low, high)
    if axis.scale == "linear":
        return
    ticks = axis.ticks()
    ticked.set_major_locator(FixedLocator(ticks) if ticks else LogLocator(
        base=10, subs=(1.0,) if high > decades * low else (1.0, 2.0, 5.0)))
    ticked.set_major_formatter(FuncFormatter(_plain))
    if ticks:
        ticked.set_minor_locator(NullLocator())
    ticked.set_minor_formatter(NullFormatter())


def _plain(value: float, _: int) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 1 else f"{value:.3g}"


# --- marks -------------------------------------------------------------------------------------------


def _series(axes: Axes, mark: Series, plot: Plot, height: int) -> None:
    rows = mark.rows
    if plot.x.scale == "category":
        rows = rows.assign(x=_places(plot, "x", rows["x"]), y=_places(plot, "y", rows["y"]))
    looks: dict[str, Any] = {
        "color": mark.colour, "linestyle": LINES[mark.line], "linewidth": 1.4 * mark.weight,
        "marker": SYMBOLS.get(mark.symbol, "none"), "markersize": 4.6 * mark.size, "alpha": 0.4 if mark.faint else 1.0,
        "markerfacecolor": mark.colour if mark.filled else "none" if plot.x.scale == "category" else "white",
        "markeredgewidth": 0.0 if mark.filled else 1.3 * mark.weight, "label": _mathtext(mark.name),
        "zorder": 3 + height / 100}
    errors: dict[str, Any] = {
        f"{axis}err": np.abs([rows[axis] - plot.within(axis, rows[low]), plot.within(axis, rows[high]) - rows[axis]])
        for axis, low, high in INTERVALS if low in rows}
    if errors:
        axes.errorbar(rows["x"], rows["y"], elinewidth=1.2 * mark.weight, capsize=0, **errors, **looks)
    else:
        axes.plot(rows["x"], rows["y"], **looks)


def _rule(axes: Axes, rule: Rule, plot: Plot) -> None:
    ends = rule.ends(plot.limits("x"), plot.limits("y")) or (np.nan,) * 4
    x0, y0, x1, y1 = ends
    axes.plot([x0, x1], [y0, y1], color=rule.colour, linestyle=LINES[rule.line], linewidth=1.1, zorder=1,
              label=_mathtext(rule.name))
    if rule.label and np.isfinite(x1):
        at_edge = np.isclose(x1, plot.limits("x")[1])
        axes.annotate(_mathtext(rule.label), (x1, y1), xytext=(3, 0) if at_edge else (0, 2),
                      textcoords="offset points", ha="left" if at_edge else "center",
                      va="center" if at_edge else "bottom", fontsize=8.5, color="#666666", annotation_clip=False)


def _cells(axes: Axes, mark: Cells, plot: Plot) -> None:
    grid = np.full((len(list(plot.y.values)), len(list(plot.x.values))), np.nan)
    grid[_places(plot, "y", mark.rows["y"]), _places(plot, "x", mark.rows["x"])] = np.log10(mark.rows["value"])
    image = axes.imshow(grid, cmap=SEQUENTIAL, aspect="auto", zorder=2)
    figure = axes.get_figure()
    assert figure is not None
    bar = figure.colorbar(image, ax=axes, label=_mathtext(mark.name))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{10 ** value:.2g}"))


def _places(plot: Plot, which: Literal["x", "y"], texts: Any) -> list[int]:
    order = list((plot.x if which == "x" else plot.y).values)
    return [order.index(each) for each in texts]


# --- words -------------------------------------------------------------------------------------------


def _legends(each: list[Axes], chart: Chart) -> None:
    """Draw one legend beside the plots, if they have the same; else one in each plot that has any."""
    named = [[mark.name for mark in plot.marks if mark.first and mark.name and not isinstance(mark, Cells)]
             for plot in chart.plots]
    if all(names == named[0] for names in named):
        labelled = any(isinstance(mark, Rule) and mark.label for mark in chart.plots[0].marks)
        _legend(each[min(len(each), 2 if len(each) == 4 else 3) - 1], named[0], loc="upper left", borderaxespad=0.0,
                bbox_to_anchor=(1.1 if labelled else 1.02, 1.0))
        return
    for axes, names in zip(each, named, strict=True):
        _legend(axes, names, handlelength=1.2, borderaxespad=0.2)


def _legend(axes: Axes, names: list[str], **options: Any) -> None:
    """Draw a legend in the order of the marks."""
    if names:
        handles, labels = axes.get_legend_handles_labels()
        found = dict(zip(labels, handles, strict=True))
        axes.legend([found[_mathtext(name)] for name in names], [_mathtext(name) for name in names], **options)


def _mathtext(label: str) -> str:
    """Return a label for matplotlib, which reads nothing else in its text as mathematics."""
    return SCRIPTS.sub(r"$\g<0>$", label.replace("$", r"\$"))
