"""The vocabulary that describes an exhibit: charts of plots of marks, tables and notes. Nothing draws here.

A mark has a tidy table with columns of fixed names. `x` and `y` are its place, `low` and `high` the interval of y
there, `x_low` and `x_high` that of x. An infinite end of an interval runs to the edge of the plot. Labels and names may
hold `_{...}` and `^{...}` (see `words.MARKUP`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.exhibits import words
from analysis.style import BLACK, GREY

Scale = Literal["linear", "log", "category", "names"]
Line = Literal["none", "solid", "dashed", "dotted"]
Symbol = Literal["none", "circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star"]

SYMBOLS: tuple[Symbol, ...] = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")
# The intervals of a series: the axis, and the columns with the two ends.
INTERVALS: tuple[tuple[Literal["x", "y"], str, str], ...] = (("x", "x_low", "x_high"), ("y", "low", "high"))
MOST_TICKS = 7  # at values of the data, on a logarithmic axis
ROOM = 0.04  # of an axis, at each end
FAR = 100.0  # a factor (logarithmic axis), or a multiple of an axis, that is out of sight


@dataclass(frozen=True)
class Axis:
    """An axis with the quantity that it measures.

    `values` are those of the data, of which some become ticks of a logarithmic axis. For a category axis they are the
    texts, in order. A `names` axis has a row for each of `values`, which are long, from the top. `limits` (in units of
    the data) are those of the marks if there are none.
    """

    label: str
    scale: Scale = "linear"
    values: Iterable[Any] = ()
    limits: tuple[float, float] | None = None

    def ticks(self) -> list[float]:
        """Return values of the data that stand apart on a telephone, with both ends; [] leaves ticks to the medium."""
        distinct = np.unique(np.asarray(list(self.values), dtype=float))
        distinct = distinct[np.isfinite(distinct) & (distinct > 0)]
        if not len(distinct):
            return []
        kept, apart = [distinct[0]], (distinct[-1] / distinct[0]) ** (1 / MOST_TICKS)
        for value in distinct[1:]:
            if value >= apart * kept[-1]:
                kept.append(value)
        if kept[-1] != distinct[-1]:
            kept[-1 if len(kept) > 1 else len(kept):] = [distinct[-1]]
        return [float(each) for each in kept]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A mark on a plot, with a name for the legend, if any, and a colour.

    A mark of one width or one number of samples says so (`width`, `samples`), and a page filters by that. If there are
    marks of several numbers of samples, those with `first` are shown until a number is chosen, and on paper.
    """

    name: str = ""
    colour: str = BLACK
    width: int | None = None
    samples: int | None = None
    first: bool = True
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)

    def values(self, axis: str) -> list[pd.Series]:
        """Return the values that an axis ("x" or "y") has to reach."""
        names = {"x": ("x", "x_low", "x_high"), "y": ("y", "low", "high")}[axis]
        return [self.rows[name] for name in names if name in self.rows]

    def told(self) -> dict[str, Any]:
        """Return the values that a page filters by."""
        found = {key: value for key, value in (("width", self.width), ("samples", self.samples)) if value is not None}
        return {**found, "first": self.first} if self.samples is not None else found


@dataclass(frozen=True, kw_only=True)
class Series(Mark):
    """Points (`rows` with x and y) with their intervals, if they have any, joined by a line unless it is "none".

    `tip`: the words on a point, as a format string over the columns of `rows`. A page reads it as plotly does, so a
    field has a column's name and perhaps a number format.
    """

    line: Line = "solid"
    symbol: Symbol = "none"
    filled: bool = True
    faint: bool = False  # for many points, which lie over each other
    size: float = 1.0  # of the symbol
    weight: float = 1.0  # of the line
    tip: str = "{x}: {y:.4g}"


@dataclass(frozen=True, kw_only=True)
class Band(Mark):
    """The area between `low` and `high` over x."""


@dataclass(frozen=True, kw_only=True)
class Rule(Mark):
    """A line right across the plot: at a height `y`, or at `x`; with neither it is words in the legend alone.

    With both, it goes from there to the right with a `slope` of log y over log x. `label` is written at its end.
    """

    x: float | None = None
    y: float | None = None
    slope: float = 0.0
    line: Line = "dashed"
    label: str = ""
    colour: str = GREY

    def values(self, axis: str) -> list[pd.Series]:
        value = {"x": self.x, "y": self.y}[axis]
        return [] if value is None else [pd.Series([float(value)])]

    def ends(self, x: tuple[float, float], y: tuple[float, float]) -> tuple[float, float, float, float] | None:
        """Return x and y of the start, and of the end, at which it leaves a plot of these limits.

        Return None if it is not in the plot.
        """
        if self.x is None or self.y is None:
            at = self.y if self.x is None else self.x
            low, high = y if self.x is None else x
            if at is None or not low <= at <= high:
                return None
            return (x[0], at, x[1], at) if self.x is None else (at, y[0], at, y[1])
        end = self.y * (x[1] / self.x) ** self.slope
        if not y[0] <= self.y <= y[1]:
            return None
        if not y[0] <= end <= y[1]:
            edge = y[1] if end > y[1] else y[0]
            return self.x, self.y, self.x * (edge / self.y) ** (1 / self.slope), edge
        return self.x, self.y, x[1], end


@dataclass(frozen=True, kw_only=True)
class Cells(Mark):
    """A colour for the `value` of each pair of categories x and y, on a logarithmic scale; none for a missing one.

    `name` says what the value is.
    """

    tip: str = ""


@dataclass(frozen=True)
class Plot:
    """Two axes and the marks on them, later ones above. `title` tells the plot from the others of a chart."""

    x: Axis
    y: Axis
    marks: Sequence[Mark]
    title: str = ""

    def limits(self, axis: Literal["x", "y"]) -> tuple[float, float]:
        """Return the limits of an axis in units of the data: the axis' own, or what all marks need and a little."""
        its: Axis = getattr(self, axis)
        if its.limits is not None:
            return its.limits
        if its.scale in ("category", "names"):
            return -0.5, len(list(its.values)) - 0.5
        found = [each for mark in self.marks for each in mark.values(axis) if len(each)]
        values = pd.concat(found).astype(float).to_numpy() if found else np.empty(0)
        values = values[np.isfinite(values)]
        if its.scale == "log":
            values = np.log10(values[values > 0])
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
        least = 0.3 if its.scale == "log" else abs(low) / 2 or 1.0  # lest the axis of one value show its rounding
        room = max(ROOM * (high - low), (least - (high - low)) / 2)
        return (10 ** (low - room), 10 ** (high + room)) if its.scale == "log" else (low - room, high + room)

    def within(self, axis: Literal["x", "y"], values: Iterable[float]) -> np.ndarray:
        """Return the ends of intervals or of a band, none of them further than far beyond an axis' limits."""
        low, high = self.limits(axis)
        log, span = getattr(self, axis).scale == "log", high - low
        reach = (low / FAR, high * FAR) if log else (low - FAR * span, high + FAR * span)
        return np.clip(np.asarray(values, dtype=float), *reach)


@dataclass(frozen=True)
class Chart:
    """A picture: one plot, small ones that share their axes (`shared`), or some that stand for themselves.

    `name`: of its files. `title`: what it shows. `says`: what to read off it, also for people who cannot see it.
    `finding`: a headline for a paper, in place of the title. `problem`: its problem, if it shows one alone.
    """

    name: str
    title: str
    says: str
    plots: Sequence[Plot]
    problem: str | None = None
    finding: str = ""
    shared: bool = False


@dataclass(frozen=True)
class Table:
    """Rows as people read them.

    `columns` are those shown, with their headings; without them all are shown with their own names. `forms` are the
    formats of their numbers. `by`: a column that heads groups of rows if they are read as text. `extra`: columns that
    text has no room for. `data`: the rows as programs read them, if those are others.
    """

    rows: pd.DataFrame
    columns: Mapping[str, str] | None = None
    title: str = ""
    by: str = ""
    forms: Mapping[str, str] = field(default_factory=dict)
    extra: Sequence[str] = ()
    data: pd.DataFrame | None = None

    @property
    def headings(self) -> Mapping[str, str]:
        """The heading of each column that people read."""
        return {str(name): str(name) for name in self.rows} if self.columns is None else self.columns

    def numeric(self, name: str) -> bool:
        """Return whether a column holds numbers."""
        kind = self.rows[name].dtype
        return pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)

    def text(self, name: str, value: object) -> str:
        """Return a value of a column as people read it."""
        return words.value(value, name, self.forms.get(name, ""))


@dataclass(frozen=True)
class Note:
    """Sentences: a headline, perhaps with `detail`, and under it pairs of a label ("why") and a sentence.

    `problem`: its problem, if it is about one alone. `number`: the number that names it. `command`: (its purpose, the
    line).
    """

    headline: str
    said: Sequence[tuple[str, str]] = ()
    problem: str | None = None
    number: int | None = None
    detail: str = ""
    command: tuple[str, str] | None = None

    @property
    def called(self) -> str:
        """The headline with its number and problem."""
        number = "" if self.number is None else f"{self.number}. "
        return number + (self.headline if self.problem is None else f"{self.problem}: {self.headline}")


Part = Chart | Table | Note


def columns(table: pd.DataFrame, **renamed: str) -> dict[str, str]:
    """Return all columns of a table with the headings that people know them by, or with those `renamed`."""
    return {str(name): renamed.get(str(name), words.heading(str(name))) for name in table}


def value_axis(label: str, values: np.ndarray) -> tuple[Axis, list[Mark]]:
    """Return an axis for quantities that may have any sign, and the marks that it needs.

    It is logarithmic (without the 0s) if most values are positive and none is negative, else linear, with a rule at 0.
    """
    finite = values[np.isfinite(values)]
    if not len(finite) or (finite < 0).any() or (finite > 0).mean() <= 0.5:
        return Axis(label), [Rule(y=0.0, line="solid")]
    low, high = float(finite[finite > 0].min()), float(finite.max())
    middle = math.sqrt(low * high)
    return Axis(label, "log", limits=(min(low / 1.3, middle / 2), max(high * 1.3, middle * 2))), []


def spread(values: Iterable[int], most: int) -> list[int]:
    """Return at most `most` of the distinct values, evenly spread in rank, with the least and the greatest."""
    distinct = np.unique(np.asarray(list(values)))
    chosen = np.unique(np.linspace(0, len(distinct) - 1, min(most, len(distinct))).round().astype(int))
    return [int(each) for each in distinct[chosen]]


def symbol(index: int) -> Symbol:
    """Return the symbol of the index-th series."""
    return SYMBOLS[index % len(SYMBOLS)]
