"""A page stays small, and says what it leaves out, whatever the store holds."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from analysis.exhibits import complexity, curves
from analysis.exhibits.base import Table
from analysis.exhibits.evidence import Evidence
from analysis.exhibits.verdicts import bounded, forest
from analysis.load import Stored, with_problem
from analysis.render import page
from analysis.render.interactive import figures
from analysis.verdict import Finding
from ovpnet.record.store import Store


def count(figure) -> int:
    return sum(len(trace.x) for trace in figure.data if trace.x is not None)


def test_curves_are_thinned_to_a_spread_with_both_ends():
    steps = np.arange(1, 100_001)
    shown = pd.DataFrame({"run_id": ["a", "b"], "problem": "p", "width": 64, "samples": 100})
    points = pd.DataFrame({"run_id": np.repeat(["a", "b"], len(steps)), "step": np.tile(steps, 2),
                           "test_risk": np.repeat([1.0, 3.0], len(steps)), "train_risk": 0.5})
    thin = curves.thinned_curves(shown, points)
    assert len(thin) == curves.MOST_POINTS
    assert (thin["step"].min(), thin["step"].max()) == (1, 100_000)
    assert set(thin["test_risk"]) == {2.0}  # the median over seeds


def test_of_many_numbers_of_samples_a_few_have_curves():
    samples = range(100, 200)
    best = pd.DataFrame([("p", 64, n, 0, 0.1, 0.0) for n in samples],
                        columns=["problem", "width", "samples", "seed", "lr", "weight_decay"])
    shown = curves.curve_runs(best, best.assign(run_id=[str(n) for n in samples]))
    assert len(shown) == curves.MOST_SAMPLES
    assert {100, 199} <= set(shown["samples"])


def test_of_many_seeds_some_are_drawn():
    rng = np.random.default_rng(0)
    seeds, widths = 1000, (64, 256, 1024)
    low = rng.choice([100.0, 200.0, 400.0], size=seeds * len(widths))
    intervals = pd.DataFrame({"problem": "p", "width": np.repeat(widths, seeds), "seed": np.tile(np.arange(seeds), 3),
                              "low": low, "high": 2 * low, "censored": "", "monotone": True})
    [(_, figure)] = figures(complexity.chart(Finding("p", "inconclusive", "", "", None), intervals))
    assert count(figure) == len(widths) * complexity.MOST_SEEDS + len(widths)


def test_charts_are_of_the_first_problems_only():
    many = [f"p{index:03}" for index in range(page.MOST_PROBLEMS + 5)]
    exhibit = SimpleNamespace(of_problem=lambda problem: [problem], of_all=list)
    drawn = list(page.parts(exhibit, SimpleNamespace(finished=many)))
    assert drawn == many[:page.MOST_PROBLEMS]


def test_a_long_table_is_cut_and_says_so():
    rows = pd.DataFrame({"problem": "p", "width": 64, "value": np.arange(10_000.0)})
    shown = page.table(Table(rows, title="Long"), page.Problems({"p": 0}, {"p": "p"}, {}))
    assert len(shown["rows"]) == page.MOST_ROWS
    assert shown["omitted"] == 10_000 - page.MOST_ROWS


@pytest.mark.slow
def test_a_hundred_thousand_runs_make_a_page_of_a_few_megabytes(make_runs, tmp_path):
    runs = pd.concat([make_runs(0.1, overrides=[f"concept.p={p}"], samples=[round(100 * 1.6 ** k) for k in range(12)],
                                seeds=range(40), lrs=np.geomspace(0.01, 1, 18)) for p in range(1, 4)])
    runs = with_problem(runs.reset_index(drop=True))
    assert len(runs) > 100_000
    path = page.write(Evidence(Stored(runs, [], Store("nowhere"))), tmp_path)
    library = len(page.get_plotlyjs())
    assert path.stat().st_size - library < 2_000_000


def test_the_figures_of_a_page_are_json_that_ends_no_script(make_runs):
    runs = make_runs(samples=[400, 900, 2000], seeds=range(2), lrs=[0.5], widths=(64, 256))
    runs["concept.name"] = "</script><script>alert(1)</script>"
    evidence = Evidence(Stored(with_problem(runs), [], Store("nowhere")))
    [chart] = page.charts(forest(bounded(evidence.analysis.verdicts), evidence.names, 0.1), page.problems_of(evidence))
    assert "<" not in chart["figure"]
    assert json.loads(chart["figure"])["data"]
