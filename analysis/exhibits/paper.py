"""Figures 1 to 3 of the paper: our points beside the published ones."""

from collections.abc import Iterator

import pandas as pd

from analysis import paper
from analysis.exhibits import words
from analysis.exhibits.base import Axis, Chart, Mark, Note, Part, Plot, Rule, Series, Symbol, Table
from analysis.exhibits.registry import PAGE, TEXT, Exhibit
from analysis.load import INFINITE
from analysis.paper import PENALTIES, SAMPLES
from analysis.style import AMBER, BLUE, GREEN, ORANGE, SKY
from ovpnet.spec.errors import OvpnetError

# Colour and symbol of each series: networks in strong colours, kernels in lighter ones.
LOOKS: dict[str, tuple[str, Symbol]] = {
    "3layer": (BLUE, "circle"), "2layer": (ORANGE, "square"), "3layer(NTK)": (GREEN, "triangle-up"),
    "3layer(last)": (SKY, "diamond"), "2layer(last)": (AMBER, "triangle-down"),
    PENALTIES["frobenius"]: (BLUE, "circle"), PENALTIES["row_24"]: (ORANGE, "square")}
LABELS = {"test_error": "test error", "norm_ratio": "norm ratio  m ||W||_{2,4}^{4} / ||W||_{F}^{4}"}
TARGETS = {1: "(sin 3x_{1} + sin 3x_{2} + sin 3x_{3} − 2)^{2} cos 7x_{4}",
           2: "(tanh 8x_{1} + tanh 8x_{2} + tanh 8x_{3} − 2)^{2} tanh 8x_{4}",
           3: "(sin 3x_{1} + sin 3x_{2} + sin 3x_{3} − 2)^{2} cos 7x_{4}"}


class Paper(Exhibit):
    """A chart per panel that the store has runs of, a table of the points, and the order of the series."""

    name = "paper"
    title = "Beside the paper"
    about = ("The runs have the setting of Figures 1 to 3. Ours are means over seeds of the test error, with standard "
             "errors, at the learning rate and weight decay of least validation risk. The paper shows the best test "
             "error of its grid, read off the published Figure 1; the others are not published as numbers.")
    place = 70
    media = (TEXT, PAGE)

    def of_all(self) -> Iterator[Part]:
        published = paper.reference()
        try:
            compared = paper.compare(paper.points(self.evidence.stored), published)
        except OvpnetError:  # no run of the store is in those figures
            return
        yield from parts(compared, published)


def parts(points: pd.DataFrame, published: pd.DataFrame) -> Iterator[Part]:
    """Yield the charts, table and notes of our points and the `published` ones (`paper.compare` makes `points` of
    both)."""
    yield from charts(points, published)
    yield _table(points)
    yield from _notes(points)


def charts(points: pd.DataFrame, published: pd.DataFrame) -> Iterator[Chart]:
    """Yield each panel that `points` has: its metric against m, or in panel (b) of Figures 1 and 2 against N.

    Ours are solid, the published ones dashed in the same colour.
    """
    for (number, panel), ours in points.groupby(["figure", "panel"]):
        theirs = published[published["figure"].eq(number) & published["panel"].eq(panel)]
        against_n = panel == "b" and number != 3
        x = "n" if against_n else "m"
        marks = [mark for series, look in LOOKS.items() for mark in (
            *_published(series, look, theirs[theirs["series"].eq(series)], x),
            *_ours(series, look, ours[ours["series"].eq(series)], x))]
        values = pd.concat([ours.loc[ours["m"].ne(INFINITE), x], theirs[x]])
        plot = Plot(Axis("samples N" if against_n else "width m", "log", values),
                    Axis(LABELS[ours["metric"].iloc[0]], "log"), marks)
        yield Chart(f"figure{number}{panel}", f"{_called(number, panel)}: {ours['metric'].iloc[0].replace('_', ' ')}",
                    f"The points of {_called(number, panel)}, ours beside the paper's.", [plot],
                    finding=f"{_called(number, panel)}  {_setting(ours, theirs, against_n)}\n{TARGETS[number]}")


def _called(number: int, panel: str) -> str:
    return f"Figure {number} ({panel})"


def _setting(ours: pd.DataFrame, theirs: pd.DataFrame, against_n: bool) -> str:
    if not against_n:
        return f"N = {SAMPLES}"
    widths, published = sorted(ours["m"].unique()), theirs["m"].unique()
    text = f"m = {', '.join(map(str, widths))}"
    return text if not len(published) or widths == [*published] else f"{text} (paper: {published[0]})"


def _marked(series: str) -> str:
    """Return a series as a label, whose power is raised."""
    return series.replace("}^4", "}^{4}")


def _published(series: str, look: tuple[str, Symbol], points: pd.DataFrame, x: str) -> Iterator[Mark]:
    if len(points):
        rows = points.sort_values(x)[[x, "value"]].set_axis(["x", "y"], axis=1)
        yield Series(rows=rows, line="dashed", colour=look[0], symbol=look[1], filled=False, weight=0.7,
                     name=f"{_marked(series)}, paper", tip=f"{words.plain(series)}, paper\n{x} = {{x}}: {{y:.4g}}")


def _ours(series: str, look: tuple[str, Symbol], points: pd.DataFrame, x: str) -> Iterator[Mark]:
    finite = points[points["m"].ne(INFINITE)].sort_values(x)
    if len(finite):
        error = finite["value_se"].fillna(0.0)
        rows = pd.DataFrame({"x": finite[x], "y": finite["value"], "low": finite["value"] - error,
                             "high": finite["value"] + error})
        width = f", m = {finite['m'].iloc[0]}" if x == "n" else ""
        yield Series(rows=rows, colour=look[0], symbol=look[1], size=1.2, name=f"{_marked(series)}, ours",
                     tip=f"{words.plain(series)}, ours{width}\n{x} = {{x}}: {{y:.4g}}")
    for value in points.loc[points["m"].eq(INFINITE), "value"]:
        yield Rule(y=float(value), colour=look[0], line="dotted", name=f"{_marked(series)}, m = infinity")


def _table(points: pd.DataFrame) -> Table:
    titles = [f"{_called(row.figure, row.panel)}: {row.metric.replace('_', ' ')}" for row in points.itertuples()]
    off = points["ratio"].notna() & ~paper.close(points["ratio"])
    rows = points.assign(of=titles, off=off.map({True: "off", False: ""}))
    shown = {"of": "figure", "series": "series", "m": "m", "n": "N", "lr": "lr", "weight_decay": "decay",
             "paper": "paper", "value": "ours", "value_se": "s.e.", "ratio": "ratio", "off": ""}
    return Table(rows, shown, "Points", by="of", data=points,
                 forms={"ratio": ".2f", "lr": "g", "weight_decay": "g"})


def _notes(points: pd.DataFrame) -> Iterator[Note]:
    orderings = paper.orderings(points)
    for (number, panel), rows in orderings.groupby(["figure", "panel"]):
        at = "m" if panel == "a" else "N"
        yield Note(f"{_called(number, panel)}: the series from least to greatest", [
            (f"{at} = {row.at}", "in the paper's order" if row.agree else f"ours {row.ours}; the paper's {row.paper}")
            for row in rows.itertuples()])
    known = points.dropna(subset=["ratio"])
    if len(known):
        yield Note(f"{int(paper.close(known['ratio']).sum())} of {len(known)} points are within a factor of "
                   f"{paper.CLOSE:g} of the paper's; the series are in its order at {int(orderings['agree'].sum())} of "
                   f"{len(orderings)}")
    yield Note("ours: mean over seeds of the test error, at the lr and weight decay of least validation risk. The "
               "paper shows the best test error of its grid; the files have ours in the column best_over_grid")
