"""The interactive charts of the report, each a plotly figure made from one of analysis' tables.

A trace of one width or one number of samples says so in its `meta` (`width`, `samples`), by which the page filters. Of
traces of several numbers of samples the page shows those with `meta["default"]` until a number is chosen. Every chart
is bounded in size whatever the store holds; the constants below say how, and so does the page.
"""

import html
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from analysis import scaling
from analysis.complexity import by_width
from analysis.diagnostics import Panel
from analysis.load import INFINITE, width_text
from analysis.paper import PENALTIES
from analysis.scaling import ScalingLaw
from analysis.style import AMBER, BLACK, BLUE, GREEN, GREY, GRID, ORANGE, QUALITATIVE, SEQUENTIAL, SEQUENTIAL_END, SKY
from analysis.tune import SETTING
from analysis.verdict import Finding, interval_text

MOST_SEEDS = 24  # bars of single seeds at each width
MOST_POINTS = 60  # points of a learning curve
MOST_SAMPLES = 4  # numbers of samples of which there are learning curves and heat maps
MOST_EXPONENTS = 100  # rows of the chart of all exponents
MOST_TICKS = 7  # on a logarithmic axis, about

LINE_HEIGHT, CHART_HEIGHT, PANEL_HEIGHT = 40, 430, 300  # pixels
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")
SERIES_COLOURS = {"3layer": BLUE, "2layer": ORANGE, "3layer(NTK)": GREEN, "3layer(last)": SKY, "2layer(last)": AMBER,
                  PENALTIES["frobenius"]: BLUE, PENALTIES["row_24"]: ORANGE}
AXIS: dict[str, Any] = {"gridcolor": GRID, "linecolor": GREY, "showline": True, "ticks": "outside", "tickcolor": GREY,
                        "zeroline": False, "automargin": True}
# With a format of their own all ticks are whole numbers, not a power here and a digit there.
LOGARITHMIC: dict[str, Any] = {"type": "log", "tickformat": "~g", "nticks": 4}


def text(value: object) -> str:
    """Text for plotly, which reads a little HTML."""
    return html.escape(str(value), quote=False)


def plain(label: str) -> str:
    """A label of matplotlib's with its mathematics in plain characters."""
    return re.sub(r"[${}]", "", label.replace("\\lambda", "λ"))


# --- all exponents -----------------------------------------------------------------------------------


def exponents(labels: Sequence[str], verdicts: pd.DataFrame, delta: float) -> go.Figure:
    """The exponent of m of every problem with its 95% interval, over the band that counts as no scaling.

    `labels`: what to call the rows of `verdicts`, each with at least one bounded end (see `bounded`). An end that is
    far off or unbounded runs to the edge of the chart.
    """
    rows = verdicts.assign(label=list(labels)).head(MOST_EXPONENTS)
    finite = rows[["alpha", "alpha_low", "alpha_high"]].to_numpy(float).ravel()
    finite = np.abs(finite[np.isfinite(finite)])
    # One that is hardly bounded must not flatten the others: beyond this an interval runs to the edge.
    reach = min(max(1.15 * finite.max(), 3 * delta), max(1.5 * rows["alpha"].abs().max(), 1.0))
    figure = _figure(LINE_HEIGHT * len(rows) + 90, x={"title": "exponent α of m, 95% interval"}, y={"visible": False})
    figure.update_xaxes(range=[-reach, reach])
    figure.update_yaxes(range=[len(rows) - 0.5, -0.75], fixedrange=True)
    figure.update_layout(margin_l=16)
    figure.add_vrect(-delta, delta, fillcolor=GREEN, opacity=0.18, line_width=0, layer="below")
    figure.add_vline(0, line_color=GREY, line_width=1)
    low, high = (rows[end].clip(-10 * reach, 10 * reach) for end in ("alpha_low", "alpha_high"))
    words = [[text(row.label), text(row.verdict), interval_text(row.alpha_low, row.alpha_high)]
             for row in rows.itertuples()]
    figure.add_scatter(
        x=_list(rows["alpha"]), y=list(range(len(rows))), mode="markers", showlegend=False, customdata=words,
        marker={"color": BLUE, "size": 10}, error_x={"type": "data", "symmetric": False, "color": BLUE, "thickness": 2,
        "array": _list(high - rows["alpha"]), "arrayminus": _list(rows["alpha"] - low)},
        hovertemplate="%{customdata[0]}<br>α = %{x:.3f}, 95% %{customdata[2]}<br>%{customdata[1]}<extra></extra>")
    for y, (label, *_) in enumerate(words):  # above its interval: beside it, a name would take a telephone's width
        figure.add_annotation(x=0, xref="paper", xanchor="left", y=y, yanchor="bottom", yshift=6, text=label,
                              showarrow=False, font_size=11)
    return figure


def bounded(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The verdicts whose exponent is known at least to one side."""
    return verdicts[np.isfinite(verdicts[["alpha_low", "alpha_high"]].astype(float)).any(axis=1)]


# --- N_eps against m ---------------------------------------------------------------------------------


def complexity(finding: Finding, intervals: pd.DataFrame) -> go.Figure:
    """N_eps against m: an interval a seed, their geometric mean, the law with its 95% band."""
    figure = _figure(x={"title": "width m", **LOGARITHMIC}, y={"title": "sample complexity N<sub>ε</sub>(m)",
                                                                **LOGARITHMIC})
    widths = np.sort(intervals["width"].unique()).astype(float)
    _set_limits(figure, widths, intervals)
    _add_law(figure, finding.law, widths, intervals)
    _add_seeds(figure, intervals)
    means = by_width(intervals).dropna(subset="n_eps")
    if len(means):
        figure.add_scatter(x=_list(means["width"]), y=_list(means["n_eps"]), mode="markers", name="geometric mean",
                           marker={"size": 11, "color": "white", "line": {"color": BLUE, "width": 2.5}},
                           customdata=_list(means["seeds"]),
                           hovertemplate="m = %{x}<br>geometric mean %{y:.4g} of %{customdata} seeds<extra></extra>")
    return figure


def _ticks(values: Iterable[float]) -> dict[str, Any]:
    """Ticks of a logarithmic axis at values that there are: as many as stand apart on a telephone, with both ends.
    plotly's own are 50, 60, 70, ..., one over the other, where the values span less than two decades."""
    distinct = np.unique(np.asarray(list(values), dtype=float))
    distinct = distinct[np.isfinite(distinct) & (distinct > 0)]
    if not len(distinct):
        return {}
    kept = [distinct[0]]
    apart = (distinct[-1] / distinct[0]) ** (1 / MOST_TICKS)
    for value in distinct[1:]:
        if value >= apart * kept[-1]:
            kept.append(value)
    if kept[-1] != distinct[-1]:
        kept[-1 if len(kept) > 1 else len(kept):] = [distinct[-1]]
    return {"tickmode": "array", "tickvals": [float(each) for each in kept],
            "ticktext": [f"{each:.12g}" for each in kept]}


def _set_limits(figure: go.Figure, widths: np.ndarray, intervals: pd.DataFrame) -> None:
    ends = intervals[["low", "high"]].to_numpy(float).ravel()
    ends = ends[np.isfinite(ends) & (ends > 0)]
    if not len(ends):  # every seed contradicts itself: nothing is known of its N_eps
        ends = np.ones(1)
    # Room for censored arrows; and at least a factor of 4 in all, lest one step of the grid fill the chart.
    margin = max(1.6, 2 / math.sqrt(ends.max() / ends.min()))
    figure.update_yaxes(range=[math.log10(ends.min() / margin), math.log10(ends.max() * margin)])
    figure.update_xaxes(range=[math.log10(widths[0] / 1.5), math.log10(widths[-1] * 1.5)], **_ticks(widths))


def _add_law(figure: go.Figure, law: ScalingLaw | None, widths: np.ndarray, intervals: pd.DataFrame) -> None:
    if law is None or not np.isfinite([law.alpha_low, law.alpha_high]).any():
        return
    grid = np.geomspace(widths[0], widths[-1], 9)
    band = scaling.band(intervals, grid)
    ends = intervals[["low", "high"]].to_numpy(float)
    known = ends[np.isfinite(ends) & (ends > 0)]
    low, high = band["low"].clip(lower=known.min() / 100), band["high"].clip(upper=known.max() * 100)
    figure.add_scatter(x=_list(grid) + _list(grid)[::-1], y=_list(low) + _list(high)[::-1], fill="toself", mode="lines",
                       fillcolor=_faint(BLUE), line={"width": 0}, hoverinfo="skip", name="95% band")
    figure.add_scatter(x=_list(grid), y=_list(band["law"]), mode="lines", line={"color": BLUE, "width": 2.5},
                       name=f"law m<sup>{law.alpha:z.2f}</sup>", hovertemplate="law at m = %{x:.4g}: %{y:.4g}"
                       "<extra></extra>")


def _add_seeds(figure: go.Figure, intervals: pd.DataFrame) -> None:
    """A bar a seed, side by side; censored ones as a triangle at the known end."""
    seeds = sorted(intervals["seed"].unique())[:MOST_SEEDS]
    shown = intervals[intervals["seed"].isin(seeds)]
    step = min(0.035, 0.25 / max(len(seeds), 1))
    x = shown["width"] * np.exp(step * (shown["seed"].map(seeds.index) - (len(seeds) - 1) / 2))
    known = shown["censored"].eq("")
    middle = np.sqrt(shown["low"] * shown["high"]).where(known)
    hover = [f"seed {row.seed}, m = {width_text(row.width)}<br>N<sub>ε</sub> {_interval(row.low, row.high)}"
             + ("" if row.monotone else "<br>not monotone in N") for row in shown.itertuples()]
    hover = pd.Series(hover, index=shown.index, dtype=object)
    figure.add_scatter(
        x=_list(x[known]), y=_list(middle[known]), mode="markers", name="N<sub>ε</sub> of a seed",
        marker={"color": BLACK, "size": 3}, hovertext=list(hover[known]), hoverinfo="text",
        error_y={"type": "data", "symmetric": False, "color": BLACK, "width": 0, "thickness": 2,
                 "array": _list((shown["high"] - middle)[known]), "arrayminus": _list((middle - shown["low"])[known])})
    for censored, end, symbol in (("right", "low", "triangle-up"), ("left", "high", "triangle-down")):
        rows = shown["censored"].eq(censored)
        if rows.any():
            name = "above" if censored == "right" else "below"
            figure.add_scatter(x=_list(x[rows]), y=_list(shown.loc[rows, end]), mode="markers", hoverinfo="text",
                               name=f"{name} this N", marker={"color": ORANGE, "size": 9, "symbol": symbol},
                               hovertext=list(hover[rows]))


def _interval(low: float, high: float) -> str:
    if math.isinf(high):
        return f"&gt; {low:g}"
    return f"in ({low:g}, {high:g}]" if low else f"≤ {high:g}"


# --- risks -------------------------------------------------------------------------------------------


def risk(best: pd.DataFrame, limit: pd.DataFrame | None = None) -> go.Figure:
    """Best-tuned test risk against N for each m (mean and range over seeds), OPT and OPT + epsilon; and the mean of the
    same learner of infinite width, where `limit` has it."""
    figure = _figure(x={"title": "samples N", **LOGARITHMIC, **_ticks(best["samples"])},
                     y={"title": "test risk", **LOGARITHMIC})
    finite = best[np.isfinite(best["test_risk"])]
    widths = sorted(best["width"].unique())
    for index, (width, colour) in enumerate(zip(widths, _shades(len(widths)), strict=True)):
        rows = finite[finite["width"].eq(width)]
        values = rows.groupby("samples")["test_risk"].agg(["mean", "min", "max", "size"])
        figure.add_scatter(
            x=_list(values.index), y=_list(values["mean"]), name=f"m = {width_text(width)}", meta={"width": int(width)},
            mode="lines+markers", line={"color": colour, "width": 2}, marker={"symbol": _symbol(index), "size": 8},
            error_y={"type": "data", "symmetric": False, "width": 3, "thickness": 1,
                     "array": _list(values["max"] - values["mean"]),
                     "arrayminus": _list(values["mean"] - values["min"])},
            customdata=values[["min", "max", "size"]].to_numpy().tolist(),
            hovertemplate=f"m = {width_text(width)}, N = %{{x}}<br>mean %{{y:.4g}} of %{{customdata[2]}} seeds<br>"
                          "%{customdata[0]:.4g} to %{customdata[1]:.4g}<extra></extra>")
    if limit is not None:
        values = limit[np.isfinite(limit["test_risk"])].groupby("samples")["test_risk"].mean()
        figure.add_scatter(x=_list(values.index), y=_list(values), mode="lines", name="m = infinity",
                           line={"color": BLACK, "dash": "dash", "width": 1.5})
    if len(finite):
        _add_goal(figure, best, finite, [best["samples"].min() / 1.1, best["samples"].max() * 1.1])
    return figure


def learning_curves(curves: pd.DataFrame, threshold: float) -> go.Figure:
    """Test and training risk along training: medians over seeds. `curves`: columns width, samples, step, test_risk,
    train_risk, one row a point, as made by `thinned_curves`."""
    figure = _figure(x={"title": "step"}, y={"title": "risk", **LOGARITHMIC})
    widths = sorted(curves["width"].unique())
    largest = curves["samples"].max()
    for (width, colour), samples in ((each, n) for each in zip(widths, _shades(len(widths)), strict=True)
                                     for n in sorted(curves["samples"].unique())):
        rows = curves[curves["width"].eq(width) & curves["samples"].eq(samples)]
        if rows.empty:
            continue
        meta = {"width": int(width), "samples": int(samples), "default": bool(samples == largest)}
        where = f"m = {width_text(width)}, N = {samples}"
        for column, dash in (("test_risk", "solid"), ("train_risk", "dot")):
            values = rows[["step", column]].dropna()
            values = values[values[column].gt(0)]
            figure.add_scatter(
                x=_list(values["step"]), y=_list(values[column]), mode="lines", meta=meta, legendgroup=str(width),
                visible=meta["default"], showlegend=column == "test_risk", name=where,
                line={"color": colour, "dash": dash, "width": 2 if dash == "solid" else 1.5},
                hovertemplate=f"{where}<br>{column.replace('_', ' ')} %{{y:.4g}} at step %{{x}}<extra></extra>")
    tested = curves["test_risk"].dropna()
    tested = tested[tested.gt(0)]
    if len(tested):  # a training risk may fall to 1e-8, and would flatten all that the chart is about
        low, high = min(tested.min(), threshold) / 10, max(tested.max(), threshold) * 2
        figure.update_yaxes(range=[math.log10(low), math.log10(high)])
    figure.add_hline(threshold, line_color=ORANGE, line_dash="dash", line_width=1.5,
                     annotation_text="OPT + ε", annotation_position="top right")
    return figure


def curve_runs(best: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The runs whose learning curves are shown: those of `best` (any number of problems) at MOST_SAMPLES numbers of
    samples, from the least to the greatest. Columns: run_id, problem, width, samples."""
    kept = [rows[rows["samples"].isin(spread(rows["samples"], MOST_SAMPLES))] for _, rows in best.groupby("problem")]
    keys = ["problem", "width", "samples", "seed", *SETTING]
    found = pd.concat(kept or [best])[keys].merge(runs[["run_id", *keys]], on=keys)
    return found.loc[found["width"].ne(INFINITE), ["run_id", "problem", "width", "samples"]]


def thinned_curves(shown: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Medians over seeds of learning curves, with at most MOST_POINTS steps each: columns problem, width, samples,
    step, test_risk, train_risk. `shown` comes from `curve_runs`."""
    medians = curves.merge(shown, on="run_id").groupby(["problem", "width", "samples", "step"], as_index=False)[
        ["test_risk", "train_risk"]].median()
    parts = [rows[rows["step"].isin(spread(rows["step"], MOST_POINTS))]
             for _, rows in medians.groupby(["problem", "width", "samples"])]
    return pd.concat(parts, ignore_index=True) if parts else medians


def spread(values: Iterable[int], most: int) -> list[int]:
    """At most `most` of the distinct values, evenly spread in rank, with the least and the greatest."""
    distinct = np.unique(np.asarray(list(values)))
    chosen = np.unique(np.linspace(0, len(distinct) - 1, min(most, len(distinct))).round().astype(int))
    return [int(each) for each in distinct[chosen]]


def _add_goal(figure: go.Figure, best: pd.DataFrame, finite: pd.DataFrame, ends: list[float]) -> None:
    opt, threshold = best["opt"].mean(), best["threshold"].mean()
    lines = [(threshold, f"OPT + ε = {threshold:.3g}", ORANGE, "dash")]
    # A logarithmic axis has no 0, and a tiny OPT would flatten everything else.
    if opt > min(finite["test_risk"].min(), threshold) / 30:
        lines.append((opt, f"OPT = {opt:.3g}", BLACK, "dot"))
    for value, name, colour, dash in lines:
        figure.add_scatter(x=[float(end) for end in ends], y=[float(value)] * 2, mode="lines", name=name,
                           line={"color": colour, "dash": dash, "width": 1.5}, hovertemplate=f"{name}<extra></extra>")


# --- tuning ------------------------------------------------------------------------------------------


def tuning(runs: pd.DataFrame, best: pd.DataFrame) -> go.Figure | None:
    """Validation risk over the grid of one problem as heat maps: lr against weight decay, one map a width; or, where
    there is one weight decay, lr against width. A ring marks the setting chosen. None where nothing was searched.

    A setting of which a seed diverged has no colour; its hover says how many did.
    """
    finished = runs[runs["status"].isin(["done", "diverged"]) & runs["width"].ne(INFINITE)]
    if finished["lr"].nunique() < 2 and finished["weight_decay"].nunique() < 2:
        return None
    across = "width" if finished["weight_decay"].nunique() < 2 else "weight_decay"
    maps = [None] if across == "width" else spread(finished["width"], 6)
    numbers = spread(finished["samples"], MOST_SAMPLES)
    bad = finished["status"].eq("diverged") | finished["validation_risk"].isna()
    settings = finished.assign(bad=bad, risk=finished["validation_risk"].mask(bad)).groupby(
        ["width", "samples", *SETTING], as_index=False).agg(
        risk=("risk", lambda values: values.mean(skipna=False)), diverged=("bad", "sum"), seeds=("seed", "nunique"))
    chosen = best[["width", "samples", *SETTING]].drop_duplicates()
    figure = _heat_axes(maps, across)
    for samples in numbers:
        there = settings[settings["samples"].eq(samples)]
        logs = np.log10(there["risk"][there["risk"].gt(0)])
        for column, width in enumerate(maps, start=1):
            rows = there if width is None else there[there["width"].eq(width)]
            picked = chosen[chosen["samples"].eq(samples) & (chosen["width"].eq(width) if width is not None else True)]
            meta = {"samples": samples, "default": samples == numbers[-1]} | ({"width": width} if width else {})
            shared = {"meta": meta, "visible": meta["default"]}
            _add_heat(figure, rows, across, (logs.min(), logs.max()), samples, column, shared)
            figure.add_scatter(x=_categories(picked["lr"]), y=_categories(picked[across]), mode="markers",
                               hoverinfo="skip", showlegend=False, row=1, col=column, **shared,
                               marker={"symbol": "circle-open", "size": 16, "color": "white", "line": {"width": 3}})
    return figure


def _heat_axes(maps: Sequence[int | None], across: str) -> go.Figure:
    from plotly.subplots import make_subplots

    titles = None if maps == [None] else [f"m = {width}" for width in maps]
    figure = make_subplots(rows=1, cols=len(maps), shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.03)
    figure.update_layout(**_layout(PANEL_HEIGHT + 60))
    figure.update_xaxes(**AXIS | {"showgrid": False}, type="category", categoryorder="array", title="lr")
    figure.update_yaxes(**AXIS | {"showgrid": False}, type="category", categoryorder="array")
    figure.update_yaxes(title="width m" if across == "width" else "weight decay", col=1)
    return figure


def _add_heat(figure: go.Figure, rows: pd.DataFrame, across: str, limits: tuple[float, float], samples: int,
              column: int, shared: dict[str, Any]) -> None:
    lrs, others = sorted(rows["lr"].unique()), sorted(rows[across].unique())
    grid = rows.set_index([across, "lr"])
    cells = [[grid.loc[(other, lr)] if (other, lr) in grid.index else None for lr in lrs] for other in others]
    name = "m" if across == "width" else "weight decay"
    ticks = _list(np.linspace(*limits, 5))
    figure.add_heatmap(
        x=_categories(lrs), y=_categories(others), row=1, col=column, **shared, xgap=1, ygap=1,
        z=[[None if cell is None or not cell["risk"] > 0 else round(math.log10(cell["risk"]), 4) for cell in row]
           for row in cells], zmin=float(limits[0]), zmax=float(limits[1]), colorscale=SEQUENTIAL,
        colorbar={"title": {"text": "risk"}, "thickness": 12, "tickvals": ticks,
                  "ticktext": [f"{10 ** tick:.2g}" for tick in ticks]}, showscale=column == 1,
        hovertext=[[f"lr {lr:g}, {name} {other:g}, N = {samples}<br>" + _cell_text(cell)
                    for lr, cell in zip(lrs, row, strict=True)] for other, row in zip(others, cells, strict=True)],
        hoverinfo="text")


def _cell_text(cell: pd.Series | None) -> str:
    if cell is None:
        return "not run"
    found = "no risk" if math.isnan(cell["risk"]) else f"validation risk {cell['risk']:.4g}"
    return f"{found}, {cell['seeds']:g} seeds" + (f", {cell['diverged']:g} diverged" if cell["diverged"] else "")


# --- the paper's figures -----------------------------------------------------------------------------


def paper_panel(ours: pd.DataFrame, published: pd.DataFrame) -> go.Figure:
    """A panel of Figures 1 to 3 (rows of `paper.points` and of the published table): ours solid, the paper's dashed."""
    number, panel = ours["figure"].iloc[0], ours["panel"].iloc[0]
    against_n = panel == "b" and number != 3
    x = "n" if against_n else "m"
    label = "test error" if ours["metric"].iloc[0] == "test_error" else "norm ratio"
    both = pd.concat([ours.loc[ours["m"].ne(INFINITE), x], published[x]])
    figure = _figure(x={"title": "samples N" if against_n else "width m", **LOGARITHMIC, **_ticks(both)},
                     y={"title": label, **LOGARITHMIC})
    for index, (series, colour) in enumerate(SERIES_COLOURS.items()):
        for rows, dash, whose in ((published, "dash", "paper"), (ours[ours["m"].ne(INFINITE)], "solid", "ours")):
            values = rows[rows["series"].eq(series)].sort_values(x)
            if values.empty:
                continue
            error = {"type": "data", "array": _list(values["value_se"].fillna(0))} if whose == "ours" else None
            figure.add_scatter(
                x=_list(values[x]), y=_list(values["value"]), mode="lines+markers", name=f"{text(series)}, {whose}",
                line={"color": colour, "dash": dash, "width": 2 if whose == "ours" else 1.3}, error_y=error,
                marker={"symbol": _symbol(index) + ("" if whose == "ours" else "-open"), "size": 8},
                hovertemplate=f"{text(series)}, {whose}<br>{x} = %{{x}}: %{{y:.4g}}<extra></extra>")
    return figure


# --- diagnostics -------------------------------------------------------------------------------------


def diagnostics_panel(panel: Panel, rows: pd.DataFrame) -> go.Figure:
    """The quantities of a panel against m at the end of training: a point a run, medians over seeds joined."""
    columns = [column for column in panel.columns if column in rows]
    figure = _figure(PANEL_HEIGHT, x={"title": "width m", **LOGARITHMIC}, y=_value_axis(rows[columns].to_numpy(float)))
    figure.update_xaxes(**_ticks(rows["width"]))
    for column, colour in zip(columns, QUALITATIVE, strict=False):
        name = plain(panel.columns[column])
        values = rows[["width", "seed", column]].dropna()
        values = pd.concat([each.head(MOST_SEEDS) for _, each in values.groupby("width")]) if len(values) else values
        figure.add_scatter(x=_list(values["width"]), y=_list(values[column]), mode="markers", showlegend=False,
                           legendgroup=column, marker={"color": colour, "size": 5, "opacity": 0.45},
                           hovertemplate=f"{name}, m = %{{x}}: %{{y:.4g}}<extra>a run</extra>")
        median = rows.groupby("width")[column].median().dropna()
        figure.add_scatter(x=_list(median.index), y=_list(median), mode="lines", name=name, legendgroup=column,
                           showlegend=len(columns) > 1, line={"color": colour, "width": 2},
                           hovertemplate=f"{name}, m = %{{x}}: %{{y:.4g}}<extra>median</extra>")
    return figure


def trace(column: str, label: str, rows: pd.DataFrame) -> go.Figure:
    """A quantity of the smoothed objective along training (rows of `diagnostics.traces`), a line a width."""
    figure = _figure(PANEL_HEIGHT, x={"title": "step"}, y=_value_axis(rows[column].to_numpy(float)) | {"title": label})
    widths = sorted(rows["width"].unique())
    for width, colour in zip(widths, _shades(len(widths)), strict=True):
        values = rows[rows["width"].eq(width)]
        values = values[values["step"].isin(spread(values["step"], MOST_POINTS))]
        figure.add_scatter(x=_list(values["step"]), y=_list(values[column]), mode="lines", name=f"m = {width}",
                           meta={"width": int(width)}, line={"color": colour, "width": 2},
                           hovertemplate=f"m = {width}, step %{{x}}: %{{y:.4g}}<extra></extra>")
    return figure


def _value_axis(values: np.ndarray) -> dict[str, Any]:
    """Logarithmic where most values are positive and none is negative."""
    finite = values[np.isfinite(values)]
    positive = len(finite) and (finite >= 0).all() and (finite > 0).mean() > 0.5
    return dict(LOGARITHMIC) if positive else {"zeroline": True, "zerolinecolor": GREY}


# --- cost --------------------------------------------------------------------------------------------


def cost(seconds: pd.DataFrame) -> go.Figure:
    """Seconds that a run trained, against m. `seconds`: columns what (the line), width, mean, runs."""
    figure = _figure(x={"title": "width m", **LOGARITHMIC, **_ticks(seconds["width"])},
                     y={"title": "seconds a run", **LOGARITHMIC})
    for index, (what, rows) in enumerate(seconds.groupby("what", sort=False)):
        figure.add_scatter(x=_list(rows["width"]), y=_list(rows["mean"]), mode="lines+markers", name=text(what),
                           line={"color": QUALITATIVE[index % len(QUALITATIVE)], "width": 2},
                           marker={"symbol": _symbol(index), "size": 8}, customdata=_list(rows["runs"]),
                           hovertemplate=f"{text(what)}<br>m = %{{x}}: %{{y:.3g}} s a run, %{{customdata}} runs"
                                         "<extra></extra>")
    return figure


# --- what all share ----------------------------------------------------------------------------------


def _figure(height: int = CHART_HEIGHT, *, x: dict[str, Any], y: dict[str, Any]) -> go.Figure:
    figure = go.Figure(layout=_layout(height))
    figure.update_xaxes(**AXIS | x)
    figure.update_yaxes(**AXIS | y)
    return figure


def _layout(height: int) -> dict[str, Any]:
    return {"template": "none", "height": height, "margin": {"l": 60, "r": 16, "t": 34, "b": 50},
            "font": {"family": "system-ui, sans-serif", "size": 13, "color": BLACK}, "hovermode": "closest",
            "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": BLUE},
            "legend": {"orientation": "h", "x": 0, "yref": "container", "y": 0, "yanchor": "bottom"}}


def _shades(count: int) -> list[str]:
    return sample_colorscale(SEQUENTIAL, np.linspace(0, SEQUENTIAL_END, count).tolist()) if count else []


def _symbol(index: int) -> str:
    return SYMBOLS[index % len(SYMBOLS)]


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i:i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"


def _categories(values: Iterable[float]) -> list[str]:
    return [f"{value:g}" for value in values]


def _list(values: Iterable[float]) -> list[Any]:
    """Numbers for JSON, with 5 significant digits; missing and infinite ones as None."""
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in map(float, values)]
