"""The two figures of a problem: N_eps against m with the fitted law, and test risk against N for each m.

Drawn on matplotlib's object interface, with no pyplot and no window; matplotlib is imported by the modules
named *figures alone.
"""

import re
import textwrap
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from analysis import scaling, style
from analysis.complexity import by_width
from analysis.limit import limit_of
from analysis.load import width_text
from analysis.scaling import ScalingLaw
from analysis.style import BLACK, BLUE, GREY, ORANGE
from analysis.verdict import LIMIT, Analysis, Finding, interval_text

SLOPES = (0.0, 0.5, 1.0)
SIZE = (7.6, 4.6)


def save(analysis: Analysis, directory: Path) -> dict[str, list[Path]]:
    """Draw both figures of every problem as PDF, SVG and PNG into `directory` (made if absent).

    Returns the PDFs' paths, the others lie beside them. A problem with no finished run has none, and
    one of infinite width no N_eps against m: it is a line in the other learners' figures of test risk.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths: dict[str, list[Path]] = {}
    for problem, finding in analysis.findings.items():
        intervals = analysis.intervals[analysis.intervals["problem"].eq(problem)]
        best = analysis.best[analysis.best["problem"].eq(problem)]
        if intervals.empty:
            paths[problem] = []
            continue
        with matplotlib.rc_context(style.MATPLOTLIB):
            drawn = {"risk": risk_figure(problem, best, limit_of(analysis, problem))}
            if finding.verdict != LIMIT:
                drawn = {"complexity": complexity_figure(finding, intervals)} | drawn
            paths[problem] = [save_figure(figure, directory / f"{kind}-{slug(problem)}")
                              for kind, figure in drawn.items()]
    return paths


def slug(problem: str) -> str:
    """A problem's label as a file name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", problem).strip("-").lower()


def save_figure(figure: Figure, stem: Path) -> Path:
    """Write `stem`.pdf (for a paper), `stem`.svg and `stem`.png (for a page); returns the PDF's path."""
    # With no date and creator in it, the same store gives the same bytes.
    pdf = Path(f"{stem}.pdf")
    figure.savefig(pdf, metadata={"CreationDate": None, "Creator": None, "Producer": None})
    figure.savefig(f"{stem}.svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    figure.savefig(f"{stem}.png", dpi=160)
    return pdf


# --- N_eps against m ---------------------------------------------------------------------------------


def complexity_figure(finding: Finding, intervals: pd.DataFrame) -> Figure:
    """N_eps against m: an interval a seed, their geometric mean, the law with its 95% band, reference slopes."""
    figure, axes = new_axes(_complexity_title(finding))
    widths = np.sort(intervals["width"].unique()).astype(float)
    _set_limits(axes, widths, intervals, finding)
    _draw_references(axes, widths, intervals, finding)
    _draw_law(axes, widths, intervals, finding)
    _draw_seeds(axes, intervals)
    _draw_means(axes, intervals)
    axes.set_xlabel("width m")
    axes.set_ylabel("sample complexity N$_\\epsilon$(m)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.1, 1.0), borderaxespad=0.0)
    return figure


def _complexity_title(finding: Finding) -> str:
    if finding.law is None:
        return _title(f"N_eps {finding.verdict}", finding.problem)
    found = f"alpha = {finding.law.alpha:z.2f}, 95% {interval_text(finding.law.alpha_low, finding.law.alpha_high)}"
    if not np.isfinite([finding.law.alpha_low, finding.law.alpha_high]).any():
        found = "alpha unbounded"
    subject = "Verdict: inconclusive" if finding.verdict == "inconclusive" else f"N_eps {finding.verdict}"
    return _title(f"{subject}  ({found})", finding.problem)


def _title(headline: str, problem: str) -> str:
    return "\n".join([headline, *textwrap.wrap(problem, 84)])


def _set_limits(axes: Axes, widths: np.ndarray, intervals: pd.DataFrame, finding: Finding) -> None:
    ends = intervals[["low", "high"]].to_numpy().ravel()
    ends = ends[np.isfinite(ends) & (ends > 0)]
    if not len(ends):  # every seed contradicts itself: nothing is known of its N_eps
        ends = np.ones(1)
    # Room for censored arrows; and at least a factor of 4 in all, lest one step of the grid fill the figure.
    margin = max(1.6, 2 / np.sqrt(ends.max() / ends.min()))
    low, high = ends.min() / margin, ends.max() * margin
    if finding.law:  # follow the law beyond a censored grid, but not out of sight of the data
        low = max(low / 10, min(low, _law_at(finding.law, widths).min()))
        high = min(high * 10, max(high, _law_at(finding.law, widths).max()))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.set_xlim(widths[0] / 1.35, widths[-1] * 1.35)
    axes.xaxis.set_major_locator(FixedLocator(list(widths)))
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.xaxis.set_minor_locator(NullLocator())
    plain_log_axis(axes.yaxis)


def _law_at(law: ScalingLaw, widths: np.ndarray) -> np.ndarray:
    return np.exp(law.log_n + law.alpha * (np.log(widths) - law.log_m))


def plain_log_axis(axis: Axis) -> None:
    """Ticks of a logarithmic axis at 1, 2 and 5, as plain numbers."""
    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(_plain))
    axis.set_minor_formatter(NullFormatter())


def _plain(value: float, _: int) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 1 else f"{value:.3g}"


def _draw_references(axes: Axes, widths: np.ndarray, intervals: pd.DataFrame, finding: Finding) -> None:
    """Slopes of reference through the law's left end (without a law, the middle of the smallest width's intervals)."""
    if len(widths) < 2:
        return
    if finding.law:
        start = float(_law_at(finding.law, widths)[0])
    else:
        first = intervals[intervals["width"].eq(widths[0])]
        start = np.exp(np.log(first[["low", "high"]].clip(lower=1).where(np.isfinite, np.nan)).mean(axis=None))
    low, high = axes.get_ylim()
    span = np.array([widths[0], widths[-1]])
    for slope in SLOPES:
        values = start * (span / widths[0]) ** slope
        label = "reference slopes" if slope == 0 else None
        axes.plot(span, values, color=GREY, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1, label=label)
        # The label sits where the line leaves the figure: at its right side, or at its top.
        text = f"m$^{{{slope:g}}}$"
        if low < values[1] < high:
            axes.annotate(text, (1.0, values[1]), xycoords=("axes fraction", "data"), xytext=(3, 0), color="#666666",
                          textcoords="offset points", va="center", fontsize=8.5, annotation_clip=False)
        elif values[0] < high < values[1]:
            leaves = widths[0] * (high / start) ** (1 / slope)
            axes.annotate(text, (leaves, high), xytext=(0, 2), textcoords="offset points", ha="center", va="bottom",
                          fontsize=8.5, color="#666666", annotation_clip=False)


def _draw_law(axes: Axes, widths: np.ndarray, intervals: pd.DataFrame, finding: Finding) -> None:
    if finding.law is None or not np.isfinite([finding.law.alpha_low, finding.law.alpha_high]).any():
        return
    grid = np.geomspace(widths[0], widths[-1], 9)
    law = scaling.band(intervals, grid)
    low, high = axes.get_ylim()
    axes.fill_between(grid, law["low"].clip(lower=low), law["high"].clip(upper=high), color=BLUE, alpha=0.15,
                      linewidth=0, zorder=2, label="95% band")
    axes.plot(grid, law["law"], color=BLUE, linewidth=1.8, zorder=3,
              label=f"law m$^{{{finding.law.alpha:z.2f}}}$")


def _draw_seeds(axes: Axes, intervals: pd.DataFrame) -> None:
    """A bar a seed, side by side; censored ones as an arrow that starts at the known end."""
    seeds = {seed: index for index, seed in enumerate(sorted(intervals["seed"].unique()))}
    step = min(0.035, 0.25 / max(len(seeds), 1))
    labelled: set[str] = set()
    for row in intervals[~intervals["censored"].eq("both")].itertuples():
        x = row.width * np.exp(step * (seeds[row.seed] - (len(seeds) - 1) / 2))
        kind = "N$_\\epsilon$ of a seed" if row.censored == "" else "censored seed"
        label = kind if kind not in labelled else None
        labelled.add(kind)
        if row.censored == "":
            axes.plot([x, x], [row.low, row.high], color=BLACK, linewidth=1.4, zorder=4, label=label,
                      solid_capstyle="butt")
            continue
        start, marker = (row.low, "^") if row.censored == "right" else (row.high, "v")
        end = start * 1.3 if row.censored == "right" else start / 1.3
        axes.plot([x, x], [start, end], color=ORANGE, linewidth=1.2, zorder=4)
        axes.plot([x], [end], color=ORANGE, marker=marker, markersize=4.5, linestyle="none", zorder=4, label=label)


def _draw_means(axes: Axes, intervals: pd.DataFrame) -> None:
    means = by_width(intervals).dropna(subset="n_eps")
    if means.empty:
        return
    axes.plot(means["width"], means["n_eps"], marker="o", markersize=6.5, markerfacecolor="white",
              markeredgecolor=BLUE, markeredgewidth=1.6, linestyle="none", zorder=5, label="geometric mean")


# --- test risk against N -----------------------------------------------------------------------------


def risk_figure(problem: str, best: pd.DataFrame, limit: pd.DataFrame | None = None) -> Figure:
    """Best-tuned test risk against N for each m: the mean over seeds, their range, OPT and OPT + epsilon; and the mean
    of the same learner of infinite width, where `limit` has it."""
    figure, axes = new_axes(_title("Test risk of the best-tuned learner against samples", problem))
    finite = best[np.isfinite(best["test_risk"])]
    widths = sorted(best["width"].unique())
    colours = matplotlib.colormaps[style.SEQUENTIAL](np.linspace(0.0, style.SEQUENTIAL_END, len(widths)))
    markers = "osD^vP*X"
    axes.set_xscale("log")
    axes.set_yscale("log")
    for index, width in enumerate(widths):
        risk = finite[finite["width"].eq(width)].groupby("samples")["test_risk"].agg(["mean", "min", "max"])
        axes.fill_between(risk.index, risk["min"], risk["max"], color=colours[index], alpha=0.13, linewidth=0)
        axes.plot(risk.index, risk["mean"], color=colours[index], marker=markers[index % len(markers)], markersize=4,
                  linewidth=1.4, label=f"m = {width_text(width)}")
    if limit is not None:
        risk = limit[np.isfinite(limit["test_risk"])].groupby("samples")["test_risk"].mean()
        axes.plot(risk.index, risk, color=BLACK, linestyle=(0, (4, 2)), linewidth=1.2, label="m = infinity")
    _draw_goal(axes, best, finite)
    axes.set_xlabel("samples N")
    axes.set_ylabel("test risk (mean and range over seeds)")
    plain_log_axis(axes.xaxis)
    plain_log_axis(axes.yaxis)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0)
    return figure


def _draw_goal(axes: Axes, best: pd.DataFrame, finite: pd.DataFrame) -> None:
    opt, threshold = best["opt"].mean(), best["threshold"].mean()
    axes.axhline(threshold, color=ORANGE, linestyle="--", linewidth=1.4, label=f"OPT + epsilon = {threshold:.3g}")
    lowest = min(finite["test_risk"].min(), threshold)
    # A logarithmic axis has no 0, and a tiny OPT would flatten everything else.
    if opt > lowest / 30:
        axes.axhline(opt, color=BLACK, linewidth=1.2, label=f"OPT = {opt:.3g}")
    else:
        axes.plot([], [], linestyle="none", label=f"OPT = {opt:.3g} (below the axis)")


def new_axes(title: str) -> tuple[Figure, Axes]:
    """An empty figure in the style of all."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, pad=16)
    return figure, axes
