"""Figures of one problem: N_eps against m with the fitted law, and test risk against N for each m."""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.scaling import Law
from analysis.verdict import Study

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"]

matplotlib.use("Agg")
matplotlib.rcParams.update({
    "figure.figsize": (6.4, 4.4), "figure.dpi": 120, "font.size": 10, "axes.titlesize": 10, "legend.fontsize": 8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "legend.frameon": False, "svg.fonttype": "none", "svg.hashsalt": "ovpnet",
})


def figures(study: Study) -> dict[str, Figure]:
    """All figures by file name (without suffix): sample_complexity_P and test_risk_P for every problem P."""
    made = {}
    for row in study.verdicts.itertuples():
        made[f"sample_complexity_{row.problem}"] = sample_complexity(study, row.problem)
        made[f"test_risk_{row.problem}"] = test_risk(study, row.problem)
    return made


def save(made: dict[str, Figure], directory: Path) -> list[Path]:
    """Write every figure as PNG and SVG; returns the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{name}.{suffix}" for name in made for suffix in ("png", "svg")]
    for path in paths:
        made[path.stem].savefig(path, bbox_inches="tight", metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths


def sample_complexity(study: Study, problem: int) -> Figure:
    """N_eps against m: each seed's interval, the median, the fitted law with its band, and slopes to compare with."""
    own = study.intervals[study.intervals["problem"] == problem]
    row = study.verdicts.set_index("problem").loc[problem]
    law, figure = study.laws[problem], Figure()
    axes = figure.subplots()
    seeds = np.sort(own["seed"].unique())
    for i, (_, group) in enumerate(own.groupby("seed")):
        x = group["width"] * 1.06 ** (i - (len(seeds) - 1) / 2)
        low, high = _drawn(group)
        name = "seeds: N just failing to N just passing" if i == 0 else "_nolegend_"
        axes.vlines(x, low, high, color=COLOURS[0], alpha=0.5, lw=2, label=name)
        for side, marker, at in (("left", "v", low), ("right", "^", high)):
            out = (group["censored"] == side).to_numpy()
            axes.plot(x[out], at[out], marker, color=COLOURS[0], alpha=0.7, ms=5)
    middle = own.assign(middle=np.sqrt(np.prod(_drawn(own), axis=0)))
    median = middle.groupby("width")["middle"].median()
    axes.plot(median.index, median, "o", color=COLOURS[1], ms=6, label="median of their middles")
    if np.isfinite(law.alpha):
        _draw_law(axes, law, own)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    _plain_ticks(axes, np.sort(own["width"].unique()), np.sort(study.best.loc[study.best["problem"] == problem,
                                                                            "samples"].unique()))
    axes.set_xlabel("width m")
    axes.set_ylabel(r"sample complexity $N_\varepsilon(m)$")
    interval = "" if np.isnan(law.low) else rf" ($\alpha$ = {law.alpha:.2f}, 95%: {law.low:.2f} to {law.high:.2f})"
    axes.set_title(f"{row['label']}\n{row['verdict']}{interval}", loc="left")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def test_risk(study: Study, problem: int) -> Figure:
    """Best-tuned test risk against N, a line a width: mean over seeds and range; OPT and OPT + epsilon."""
    best = study.best[study.best["problem"] == problem]
    figure = Figure()
    axes = figure.subplots()
    widths = np.sort(best["width"].unique())
    for i, width in enumerate(widths):
        group = best[best["width"] == width].groupby("samples")["test_risk"]
        colour, mean = COLOURS[i % len(COLOURS)], group.mean()
        axes.plot(mean.index, mean, marker="o", color=colour, ms=4, lw=1.5, label=f"m = {width:g}",
                  ls=["-", "--", "-.", ":"][i // len(COLOURS) % 4])
        axes.fill_between(mean.index, group.min(), group.max(), color=colour, alpha=0.1, lw=0)
    threshold, opt = best["threshold"].iloc[0], best["opt"].iloc[0]
    axes.axhline(threshold, color="black", ls="--", lw=1, label=r"OPT + $\varepsilon$")
    if opt > 0:
        axes.axhline(opt, color="black", ls=":", lw=1, label="OPT")
    axes.set_xscale("log")
    axes.set_yscale("log")
    _plain_ticks(axes, np.sort(best["samples"].unique()), None)
    axes.set_xlabel("samples N")
    axes.set_ylabel("test risk (mean and range over seeds)")
    row = study.verdicts.set_index("problem").loc[problem]
    axes.set_title(row["label"], loc="left")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _draw_law(axes: Axes, law: Law, own: pd.DataFrame) -> None:
    m = np.geomspace(own["width"].min(), own["width"].max(), 60)
    centre = np.exp(np.log(np.sort(own["width"].unique())).mean())
    middle = float(law.at(np.array([centre]))[0])
    axes.plot(m, law.at(m), color=COLOURS[1], lw=1.5, label=r"fit $N_\varepsilon \propto m^\alpha$")
    if np.isfinite(law.low):
        axes.fill_between(m, middle * (m / centre) ** law.low, middle * (m / centre) ** law.high, color=COLOURS[1],
                          alpha=0.15, lw=0, label=r"95% interval of $\alpha$")
    lowest, highest = axes.get_ylim()
    for slope, style in ((0.5, ":"), (1.0, "-.")):
        axes.plot(m, middle * (m / centre) ** slope, color="grey", lw=0.8, ls=style, label=f"slope {slope:g}")
    axes.set_ylim(lowest * 0.8, highest * 1.25)


def _drawn(group: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the intervals as drawn: an open end is drawn a fifth beyond the grid, under an arrow head."""
    low, high = group["low"].to_numpy(float), group["high"].to_numpy(float)
    return np.where(low == 0, high / 1.2, low), np.where(np.isinf(high), low * 1.2, high)


def _plain_ticks(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64] | None) -> None:
    """Ticks at the values that were swept, as plain numbers."""
    for axis, values in ((axes.xaxis, x), (axes.yaxis, y)):
        if values is not None:
            kept = values[:: max(1, -(-len(values) // 9))]
            axis.set_ticks(kept, labels=[f"{value:g}" for value in kept])
            axis.set_ticks([], minor=True)
