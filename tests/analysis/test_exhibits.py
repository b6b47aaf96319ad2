"""Exhibits: each states its facts or is refused, and is shown by every medium, whose renderers know none of them."""

import ast
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.exhibits import registry
from analysis.exhibits.base import Axis, Cells, Chart, Note, Plot, Rule, Series, Table
from analysis.exhibits.evidence import Evidence
from analysis.exhibits.registry import FACTS, MEDIA, Exhibit, registered
from analysis.load import Stored, load, with_problem
from analysis.render import figures, interactive, markup, page, text, wandb
from ovpnet.record.store import Store

RENDERERS = Path(figures.__file__).parent
STATED = {"name": "new", "title": "New", "about": "What is new.", "place": 1000.0, "media": ("page",)}


@pytest.fixture(scope="module")
def evidence(rich_store) -> Evidence:
    return Evidence(load(rich_store))


@pytest.fixture(scope="module")
def parts(evidence) -> list:
    """All that all exhibits show of a store with something of everything."""
    shown = [cls(evidence) for cls in registered().values()]
    return [part for each in shown for part in chain(*map(each.of_problem, evidence.finished), each.of_all())]


@pytest.fixture
def no_trace(monkeypatch):
    monkeypatch.setattr(registry, "_registered", dict(registered()))


def test_a_store_with_something_of_everything_has_every_exhibit(evidence):
    for cls in registered().values():
        each = cls(evidence)
        assert [*chain(*map(each.of_problem, evidence.finished), each.of_all())], cls.name


@pytest.mark.parametrize("fact", FACTS)
def test_an_exhibit_that_lacks_a_fact_is_refused(fact, no_trace):
    with pytest.raises(TypeError, match=f"New: states no {fact}"):
        type("New", (Exhibit,), {key: value for key, value in STATED.items() if key != fact})


@pytest.mark.parametrize(("changed", "reason"), [
    ({"name": "risk"}, "Risk has its name or place already"), ({"place": 10}, "Verdicts has its name or place"),
    ({"media": ("radio",)}, f"must be some of {', '.join(MEDIA)}"), ({"media": ()}, "must be some of")])
def test_an_exhibit_whose_facts_cannot_be_is_refused(changed, reason, no_trace):
    with pytest.raises(TypeError, match=reason):
        type("New", (Exhibit,), STATED | changed)


def test_one_class_is_shown_by_every_medium(make_runs, no_trace, tmp_path):
    """As its file would, it registers itself; nothing else learns of it."""
    class New(Exhibit):
        name, title, about, place, media = "new", "Brand new", "What is new of N_{ε}.", 1000.0, MEDIA

        def of_problem(self, problem):
            rows = pd.DataFrame({"x": [1.0, 2.0], "y": [1.0, 4.0]})
            yield Chart("new", "A new chart", "It rises.", [Plot(Axis("x"), Axis("y"), [Series(rows=rows)])], problem)

        def of_all(self):
            yield Table(pd.DataFrame({"width": [64], "value": [0.5]}), title="A new table")
            yield Note("A new note")

    runs = make_runs(widths=[64], samples=[400], seeds=[0], lrs=[0.5])
    evidence = Evidence(Stored(with_problem(runs), [], Store("nowhere")))
    html = page.write(evidence, tmp_path).read_text()
    assert all(each in html for each in ("<h2>Brand new</h2>", "A new chart", "A new table", "A new note"))
    for medium in (registry.FIGURES, registry.WANDB):
        [paths] = figures.save(evidence, tmp_path / medium, medium).values()
        assert paths[-1].name.startswith("new-")
    board = wandb.Dashboard("d", "e", "p", "run", (), "command", evidence, {}, "r", "a")
    said = [getattr(block, "text", "") for block in wandb.report(board).blocks]
    assert {"Brand new", "What is new of N_ε.", "A new note"} <= {each for each in said if isinstance(each, str)}
    assert text.text(New(evidence).of_all()) == " width  value \n 64     0.5   \n\nA new note\n"


def test_every_chart_is_drawn_by_every_medium_with_the_same_limits(parts):
    charts = [part for part in parts if isinstance(part, Chart)]
    assert {chart.name for chart in charts} >= {"exponents", "complexity", "risk", "curves", "tuning", "figure1a",
                                                "diagnostics", "cost"}
    for chart in charts:
        drawn = figures.draw(chart).axes[:len(chart.plots)]
        pages = [figure.layout for _, figure in interactive.figures(chart)]
        pages = pages * len(drawn) if chart.shared else pages
        for axes, layout, plot in zip(drawn, pages, chart.plots, strict=True):
            for which, limits in (("x", axes.get_xlim()), ("y", axes.get_ylim())):
                if getattr(plot, which).scale in ("linear", "log"):
                    ends = layout[f"{which}axis"].range
                    ends = [10**end for end in ends] if getattr(plot, which).scale == "log" else ends
                    np.testing.assert_allclose(limits, ends, err_msg=chart.name)
        names = {mark.name for mark in chart.plots[0].marks if mark.name and not isinstance(mark, Cells)}
        shown = interactive.figures(chart)[0][1]
        assert {interactive.marked_up(name) for name in names} <= {
            each.name for each in [*shown.data, *shown.layout.shapes]}


def test_pictures_of_several_problems_are_drawn_beside_those_of_each(evidence, tmp_path, monkeypatch):
    write = figures.write  # those of one problem, which other tests draw, take seconds
    monkeypatch.setattr(figures, "write", lambda chart, to: to if chart.problem else write(chart, to))
    saved = figures.save(evidence, tmp_path, registry.FIGURES)
    assert [path.name for path in saved["all problems"]] == ["exponents.pdf"]


def test_every_table_is_read_in_every_medium(parts):
    for table in (part for part in parts if isinstance(part, Table)):
        for shown in (text.text([table]), markup.markdown(table), markup.latex(table)):
            assert len(shown.splitlines()) > len(table.rows), table.title


def test_a_note_is_told_with_all_that_it_says():
    note = Note("open", [("why", "of N_{ε}"), ("", "no label")], "p", 3, command=("next", "python -m x 'a=[1]'"))
    assert text.text([note]) == "3. p: open\n   why: of N_{ε}\n   no label\n   next: python -m x 'a=[1]'\n"


def test_no_renderer_knows_an_exhibit():
    vocabulary = {"base", "words", "evidence", "registry"}
    modules = [f"analysis.exhibits.{path.stem}" for path in Path(registry.__file__).parent.glob("*.py")
               if path.stem not in {*vocabulary, "__init__"}]
    assert len(modules) >= 9
    for path in RENDERERS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("analysis.exhibits"):
                named = {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
                assert not named & set(modules), path.name


def test_text_of_a_store_is_no_markup_of_a_picture(tmp_path):
    """A dollar, a brace or a tag in a name is drawn as it is."""
    rows = pd.DataFrame({"x": [1.0, 2.0], "y": [1.0, 2.0]})
    hostile = r"5$ of $\frac{ <b> a_{b} {y} 100%"
    chart = Chart("c", hostile, "", [Plot(Axis(hostile), Axis("y"), [Series(rows=rows, name=hostile, tip="{y}")])],
                  problem=hostile, finding=hostile)
    assert figures.write(chart, tmp_path).stat().st_size > 1000
    [(_, shown)] = interactive.figures(chart)
    assert "<b>" not in shown.data[0].name


@pytest.mark.parametrize(("rule", "ends"), [
    (Rule(y=10.0), (1, 10, 100, 10)), (Rule(x=10.0), (10, 1, 10, 1000)), (Rule(y=1e9), None), (Rule(), None),
    (Rule(x=1.0, y=10.0, slope=0.5), (1, 10, 100, 100)), (Rule(x=1.0, y=10.0, slope=2.0), (1, 10, 10, 1000)),
    (Rule(x=1.0, y=10.0, slope=-1.0), (1, 10, 10, 1))])
def test_a_rule_ends_where_it_leaves_the_plot(rule, ends):
    found = rule.ends((1.0, 100.0), (1.0, 1000.0))
    assert found == (ends if ends is None else pytest.approx(ends))
