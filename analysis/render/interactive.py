"""Draw charts as plotly's figures, for the page. A trace's `meta` has the values that the page filters by
(`Mark.told`)."""

import html
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.exhibits.base import INTERVALS, Axis, Band, Cells, Chart, Mark, Plot, Rule, Series
from analysis.exhibits.words import MARKUP
from analysis.style import BLACK, BLUE, GREY, GRID, SEQUENTIAL

NAMES_HEIGHT, HEIGHT, SMALL_HEIGHT = 40, 430, 300  # pixels: of a row with a name, a chart, one of several
AXIS: dict[str, Any] = {"gridcolor": GRID, "linecolor": GREY, "showline": True, "ticks": "outside", "tickcolor": GREY,
                        "zeroline": False, "automargin": True}
DASHES = {"solid": "solid", "dashed": "dash", "dotted": "dot"}
SIZE, WEIGHT = 8, 2  # pixels: of a symbol, of a line
FIELD = re.compile(r"\{(\w+)(:[^}]*)?\}")


def figures(chart: Chart) -> list[tuple[str, go.Figure]]:
    """Return the plotly figures of a chart with their headings: one, or one per plot that stands for itself."""
    if len(chart.plots) == 1 or chart.shared:
        height = SMALL_HEIGHT + 60 if chart.shared else HEIGHT
        return [(chart.title, _figure(chart.plots, height))]
    return [(plot.title, _figure([plot], SMALL_HEIGHT)) for plot in chart.plots]


def marked_up(label: str) -> str:
    """Return a label for plotly, which reads a little HTML."""
    return MARKUP.sub(lambda found: "<{0}>{1}</{0}>".format("sub" if found[1] == "_" else "sup", found[2]),
                      _text(label)).replace("\n", "<br>")


def _figure(plots: Sequence[Plot], height: int) -> go.Figure:
    titles = [marked_up(plot.title) for plot in plots] if len(plots) > 1 else None
    figure = make_subplots(rows=1, cols=len(plots), shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.03)
    names = plots[0].y.scale == "names"
    labelled = any(isinstance(mark, Rule) and mark.label for plot in plots for mark in plot.marks)
    figure.update_layout(
        template="none", height=NAMES_HEIGHT * len(list(plots[0].y.values)) + 90 if names else height,
        margin={"l": 16 if names else 60, "r": 44 if labelled else 16, "t": 34, "b": 50}, hovermode="closest",
        font={"family": "system-ui, sans-serif", "size": 13, "color": BLACK}, paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": BLUE},
        legend={"orientation": "h", "x": 0, "yref": "container", "y": 0, "yanchor": "bottom"})
    for column, plot in enumerate(plots, start=1):
        figure.update_xaxes(**_axis(plot, "x"), title=marked_up(plot.x.label), col=column)
        figure.update_yaxes(**_axis(plot, "y"), title=marked_up(plot.y.label) if column == 1 else None, col=column)
        for mark in plot.marks:
            match mark:
                case Series():
                    figure.add_trace(_series(mark, plot), row=1, col=column)
                case Band():
                    figure.add_trace(_band(mark, plot), row=1, col=column)
                case Rule():
                    _add_rule(figure, mark, plot, column)
                case Cells():
                    figure.add_trace(_cells(mark, plot, plots, column == 1), row=1, col=column)
        if plot.y.scale == "names":
            _add_names(figure, plot.y)
    return figure


def _axis(plot: Plot, which: str) -> dict[str, Any]:
    axis: Axis = getattr(plot, which)
    low, high = plot.limits("x" if which == "x" else "y")
    if axis.scale == "names":  # names stand above the intervals, since beside them they would take a telephone's width
        return {"visible": False, "range": [high, low - 0.25], "fixedrange": True}
    if axis.scale == "category":
        return AXIS | {"showgrid": False, "type": "category", "categoryorder": "array",
                       "categoryarray": list(axis.values)}
    if axis.scale == "linear":
        return AXIS | {"range": [low, high]}
    ticks = axis.ticks()
    at = {"tickmode": "array", "tickvals": ticks, "ticktext": [f"{each:.12g}" for each in ticks]} if ticks else {}
    # Without this format plotly writes some ticks as powers and others as digits.
    return AXIS | {"type": "log", "tickformat": "~g", "nticks": 4, "range": [math.log10(low), math.log10(high)]} | at


def _add_names(figure: go.Figure, axis: Axis) -> None:
    for y, name in enumerate(axis.values):
        figure.add_annotation(x=0, xref="paper", xanchor="left", y=y, yanchor="bottom", yshift=6, text=_text(name),
                              showarrow=False, font_size=11)


# --- marks -------------------------------------------------------------------------------------------


def _shared(mark: Mark) -> dict[str, Any]:
    """Return the options that traces of all marks have."""
    told = mark.told()
    group = {"legendgroup": f"{mark.width} {mark.samples}"} if mark.width is not None else {}
    return group | ({"meta": told} if told else {}) | ({"visible": mark.first} if mark.samples is not None else {})


def _series(mark: Series, plot: Plot) -> go.Scatter:
    rows = mark.rows
    modes = [name for name, wanted in (("lines", mark.line != "none"), ("markers", mark.symbol != "none")) if wanted]
    errors = {f"error_{axis}": {
        "type": "data", "symmetric": False, "color": mark.colour, "width": 0, "thickness": WEIGHT * mark.weight,
        "array": _list(plot.within(axis, rows[high]) - rows[axis]),
        "arrayminus": _list(rows[axis] - plot.within(axis, rows[low]))}
        for axis, low, high in INTERVALS if low in rows}
    ring = not mark.filled and plot.x.scale == "category"  # a ring shows the cell below it; other symbols are white
    marker = {"symbol": f"{mark.symbol}{'-open' if ring else ''}", "size": SIZE * mark.size,
              "color": mark.colour if mark.filled or ring else "white", "opacity": 0.45 if mark.faint else 1,
              "line": {"color": mark.colour, "width": 0 if mark.filled else WEIGHT * mark.weight}}
    return go.Scatter(x=_list(rows["x"]), y=_list(rows["y"]), mode="+".join(modes), name=marked_up(mark.name),
                      showlegend=bool(mark.name), line={"color": mark.colour, "width": WEIGHT * mark.weight,
                                                        "dash": DASHES.get(mark.line)},
                      marker=marker if mark.symbol != "none" else None, **_tip(mark.tip, rows), **errors,
                      **_shared(mark))


def _tip(tip: str, rows: pd.DataFrame) -> dict[str, Any]:
    """Return a tip as plotly's template: columns but x and y become its custom data."""
    if not tip:
        return {"hoverinfo": "skip"}
    others = list(dict.fromkeys(name for name, _ in FIELD.findall(tip) if name not in ("x", "y")))
    places = {"x": "x", "y": "y"} | {name: f"customdata[{place}]" for place, name in enumerate(others)}
    text = FIELD.sub(lambda found: f"%{{{places[found[1]]}{found[2] or ''}}}", _text(tip))
    data = {"customdata": [[_plain(value) for value in row] for row in rows[others].itertuples(index=False)]}
    return {"hovertemplate": text.replace("\n", "<br>") + "<extra></extra>"} | (data if others else {})


def _band(mark: Band, plot: Plot) -> go.Scatter:
    x, low, high = _list(mark.rows["x"]), plot.within("y", mark.rows["low"]), plot.within("y", mark.rows["high"])
    return go.Scatter(x=x + x[::-1], y=_list(low) + _list(high)[::-1], fill="toself", mode="lines",
                      fillcolor=_faint(mark.colour), line={"width": 0}, hoverinfo="skip", name=marked_up(mark.name),
                      showlegend=bool(mark.name), **_shared(mark))


def _add_rule(figure: go.Figure, rule: Rule, plot: Plot, column: int) -> None:
    ends = rule.ends(plot.limits("x"), plot.limits("y"))
    legend = {"name": marked_up(rule.name), "showlegend": bool(rule.name)}
    if ends is None:
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="lines", hoverinfo="skip", line={"width": 0}, **legend),
                         row=1, col=column)
        return
    line = {"color": rule.colour, "width": 1.5, "dash": DASHES.get(rule.line)}
    x0, y0, x1, y1 = ends
    x_axis, y_axis = (f"{axis}{column if column > 1 else ''}" for axis in "xy")
    refs = {"xref": x_axis, "yref": y_axis}
    at = refs | {"x0": x0, "x1": x1, "y0": y0, "y1": y1}
    if rule.x is None:  # right across, however far one zooms out
        at |= {"x0": 0, "x1": 1, "xref": f"{x_axis} domain"}
    elif rule.y is None:
        at |= {"y0": 0, "y1": 1, "yref": f"{y_axis} domain"}
    figure.add_shape(type="line", line=line, layer="below", **at, **legend)
    if rule.label:
        at_edge = math.isclose(x1, plot.limits("x")[1])
        x, y = (math.log10(value) if axis.scale == "log" else value for value, axis in ((x1, plot.x), (y1, plot.y)))
        figure.add_annotation(x=x, y=y, text=marked_up(rule.label), showarrow=False, font={"size": 11, "color": GREY},
                              xanchor="left" if at_edge else "center",
                              yanchor="middle" if at_edge else "bottom", **refs)


def _cells(mark: Cells, plot: Plot, plots: Sequence[Plot], scale: bool) -> go.Heatmap:
    """Return a heat map; those of one number of samples have the same colours in all plots."""
    alike = [other.rows["value"] for each in plots for other in each.marks
             if isinstance(other, Cells) and other.samples == mark.samples]
    logs = np.log10(pd.concat(alike).dropna())
    limits = (float(logs.min()), float(logs.max())) if len(logs) else (0.0, 1.0)
    xs, ys = list(plot.x.values), list(plot.y.values)
    by_place = mark.rows.set_index(["y", "x"])
    found = by_place["value"].to_dict()
    words = {place: mark.tip.format(**row) for place, row in
             zip(by_place.index, by_place.to_dict("records"), strict=True)}
    ticks = _list(np.linspace(*limits, 5))
    return go.Heatmap(
        x=xs, y=ys, xgap=1, ygap=1, zmin=limits[0], zmax=limits[1], colorscale=SEQUENTIAL, showscale=scale,
        z=[[_list([math.log10(found.get((y, x), math.nan))])[0] for x in xs] for y in ys], hoverinfo="text",
        hovertext=[[marked_up(words.get((y, x), "not run")) for x in xs] for y in ys],
        colorbar={"title": {"text": marked_up(mark.name)}, "thickness": 12, "tickvals": ticks,
                  "ticktext": [f"{10 ** tick:.2g}" for tick in ticks]}, **_shared(mark))


def _text(value: object) -> str:
    """Return text in which nothing is markup."""
    return html.escape(str(value), quote=False)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, str):
        return _text(value).replace("\n", "<br>")
    return _list([value])[0]


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i:i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"


def _list(values: Iterable[Any]) -> list[Any]:
    """Return numbers for JSON, with 5 significant digits.

    Missing and infinite ones are None, categories stay as they are.
    """
    return [each if isinstance(each, str) else float(f"{each:.5g}") if math.isfinite(each) else None for each in values]
