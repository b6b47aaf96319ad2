"""Diagnostics in the analysis: no problem of their own, a section of the report where there are any."""

import numpy as np
import pandas as pd
import pytest

from analysis import diagnostic_figures, diagnostics, report
from analysis.load import Stored, with_later_keys, with_problem
from analysis.rerun import problem_overrides
from analysis.verdict import analyze
from ovpnet.record.store import Store

TRACED = ["objective", "smoothed_gradient_norm", "smallest_eigenvalue", "curvature", "largest_eigenvalue",
          "decay_decrease", "saddle"]


@pytest.fixture
def measured(make_runs):
    """Runs that measured a few things, and the curves of their curvature."""
    runs = make_runs(overrides=["diagnostics=all"], widths=[16, 64], samples=[400, 900], seeds=range(2), lrs=[0.2, 0.5])
    runs["norm_ratio"] = 1.0 + runs["seed"]
    runs["norm_W"] = 1 / runs["width"]
    runs["smallest_eigenvalue"] = -2.0
    runs["curvature"] = -1.0 + 2 * runs["seed"]
    runs["gap_linear"] = None
    curves = runs[["run_id"]].merge(pd.DataFrame({"step": [10, 20], **{name: [1.0, 0.5] for name in TRACED}}), "cross")
    return runs, curves


def test_a_run_with_and_without_diagnostics_is_one_and_the_measured_row_is_kept(make_runs):
    grid = {"widths": [16], "samples": [400], "seeds": [0], "lrs": [0.5]}
    on = make_runs(overrides=["diagnostics=norms"], **grid).assign(norm_W=3.0)
    off = make_runs(**grid).assign(finished_at="2026-02-02T00:00:00")
    before = off.drop(columns=[name for name in off if name.startswith("diagnostics.")])
    for others in ([off], [before], [off, before]):
        kept = with_problem(pd.concat([on, *others], ignore_index=True))
        assert kept["norm_W"].tolist() == [3.0]
        assert "diagnostics" not in kept["problem"].iloc[0]


def test_last_values_are_those_of_the_best_setting_at_the_largest_samples(measured):
    runs = with_problem(measured[0])
    rows = diagnostics.last_values(runs, analyze(runs).best)
    assert len(rows) == 2 * 2
    assert set(rows["lr"]) == {0.5}
    assert set(rows["samples"]) == {900}
    assert "gap_linear" not in rows
    assert [panel.title for panel in diagnostics.panels(rows)] == [
        "increment of W", "m ||W||$_{2,4}^4$ / ||W||$_F^4$, in [1, m]", "smallest eigenvalue"]
    table = diagnostics.medians(rows)
    assert table["norm_ratio"].tolist() == [1.5, 1.5]
    assert table["norm_W"].tolist() == [1 / 16, 1 / 64]


def test_figures_and_the_report_show_them(measured, tmp_path):
    runs, curves = with_problem(measured[0]), measured[1]
    analysis = analyze(runs)
    rows = diagnostics.last_values(runs, analysis.best)
    (paths,) = diagnostic_figures.save(rows, curves, tmp_path).values()
    assert [path.name.split("-")[0] for path in paths] == ["diagnostics", "curvature"]
    figure = diagnostic_figures.width_figure("p", rows)
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log", "linear"]
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), [1 / 16, 1 / 64])
    store = Store(tmp_path / "store")
    store.prepare()
    store.write_pack([{"run_id": "none"}], curves.to_dict("records"))
    page = report.write(Stored(runs, [], store), analysis, tmp_path / "r").read_text()
    assert page.index("<h2>Sample complexity") < page.index("<h2>Diagnostics") < page.index("<h2>Tuning")
    shown = page[page.index("<h2>Diagnostics"):page.index("<h2>Tuning")]
    # Three panels against m, four quantities along training; and the table of medians.
    assert shown.count('class="chart small"') == 3 + 4
    assert "<strong>m ||W||_2,4^4 / ||W||_F^4, in [1, m]</strong>" in shown
    assert ">norm ratio</button>" in shown
    assert '<td class="number" data-sort="1.5">1.5</td>' in shown


def test_no_diagnostics_no_section(make_runs, tmp_path):
    runs = with_problem(make_runs(widths=[16, 64], samples=[400, 900], seeds=[0], lrs=[0.5]))
    analysis = analyze(runs)
    assert diagnostics.last_values(runs, analysis.best).empty
    page = report.write(Stored(runs, [], Store("nowhere")), analysis, tmp_path).read_text()
    assert "<h2>Diagnostics" not in page
    assert "<h2>Learning curves" not in page


def test_runs_from_before_a_key_joined_are_of_the_problem_of_its_old_value(make_runs):
    new = make_runs(overrides=["learner=three_layer"], widths=[16], samples=[400], seeds=range(2), lrs=[0.2])
    old = new.drop(columns=["width2", "learner.a_std_exponent"]).assign(seed=new["seed"] + 2)
    both = pd.concat([old, new], ignore_index=True)
    assert with_problem(both)["problem"].nunique() == 2
    assert with_problem(with_later_keys(both))["problem"].nunique() == 1
    assert "width2" not in with_later_keys(old)
    other = make_runs(overrides=["learner=three_layer", "width2=9"], widths=[16], samples=[400], seeds=range(2),
                      lrs=[0.2])
    found = with_problem(with_later_keys(pd.concat([both, other], ignore_index=True)))
    assert found["problem"].nunique() == 2
    overrides = problem_overrides(found[found["width2"].eq(9)])
    assert "width2=9" in overrides
    assert not any(each.startswith("learner.a_std_exponent") for each in overrides)
