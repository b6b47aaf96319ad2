"""Runs of infinite width in a store: a reference, not a width."""

import pandas as pd
import pytest

from analysis.exhibits import risk
from analysis.exhibits.evidence import Evidence
from analysis.exhibits.registry import FIGURES
from analysis.exhibits.risk import limit_of
from analysis.load import INFINITE, Stored, with_problem
from analysis.render import page
from analysis.render.figures import draw, save
from analysis.verdict import LIMIT, OPEN, analyze
from ovpnet.record.store import Store

ONE_LR = {"lrs": [0.5], "samples": [400, 800, 1600], "seeds": range(2)}


@pytest.fixture
def runs(make_runs):
    """A finite learner's NTK, and twice the infinite one's: of the same inputs, and of others."""
    ridge = ("algorithm=kernel_ridge", "learner.trained=ntk")
    return with_problem(pd.concat([
        make_runs(widths=[64, 256], overrides=ridge, **ONE_LR),
        *(make_runs(widths=[64], overrides=(*ridge, "learner=two_layer_limit", inputs), **ONE_LR).assign(width=INFINITE)
          for inputs in ("inputs=half_sphere", "inputs=hypercube"))]))


def test_infinite_width_is_a_reference_without_a_law(runs):
    verdicts = analyze(runs).verdicts.set_index("learner")
    limits = verdicts.loc["two_layer_limit"]
    assert limits["verdict"].eq(LIMIT).all()
    assert limits["alpha"].isna().all()
    assert limits["next"].eq("").all()
    assert verdicts.loc["two_layer", "verdict"] != LIMIT
    assert verdicts.loc["two_layer", "verdict"] == OPEN


def test_figures_and_report_have_it_as_a_line(runs, tmp_path):
    evidence = Evidence(Stored(runs, [], Store("nowhere")))
    paths = save(evidence, tmp_path, FIGURES)
    assert sorted(len(paths[problem]) for problem in evidence.problems) == [1, 1, 2]
    assert "infinity" in page.write(evidence, tmp_path).read_text()


def test_the_line_is_that_of_the_same_problem(runs):
    analysis = analyze(runs)
    finite = next(problem for problem in analysis.findings if "limit" not in problem)
    limit = limit_of(analysis, finite)
    assert limit["problem"].nunique() == 1
    assert "inputs.family=half_sphere" in limit["problem"].iloc[0]
    labels = [line.get_label() for line in draw(risk.chart(finite, analysis.best, limit)).axes[0].lines]
    assert "m = infinity" in labels
    assert limit_of(analysis, limit["problem"].iloc[0]) is None
