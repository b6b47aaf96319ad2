"""The interval and the verdict on problems of known law: a small part of benchmarks/calibration.py."""

import numpy as np
import pandas as pd
import pytest

from analysis import scaling
from analysis.complexity import sample_complexity
from benchmarks import calibration
from benchmarks.calibration import Truth

FEW = 60


@pytest.fixture(autouse=True)
def few_problems(monkeypatch):
    monkeypatch.setattr(calibration, "ROUND", FEW)


def found(truth):
    return calibration.study(truth, np.random.default_rng(1), bootstrap=False)


@pytest.mark.parametrize("truth", [
    Truth("fine"), Truth("3 seeds, alpha 0.5", seeds=3, alpha=0.5), Truth("tilt", tilt=0.1),
    Truth("coarse", ratio=2.0), Truth("beyond the grid", alpha=0.5, ratio=1.25, most=1.6)],
    ids=lambda truth: truth.name)
def test_interval_covers_about_as_often_as_it_says(truth):
    row = found(truth)
    # A true 95% gives fewer than 52 of 60 with probability 1%.
    assert row["covers"] >= 52 / FEW
    assert abs(row["bias"]) < 4 * row["error"] / np.sqrt(FEW) + 0.01


def test_seeds_alone_are_right_on_a_fine_grid_and_wrong_on_a_coarse_one():
    fine, coarse = found(Truth("fine")), found(Truth("coarse", ratio=2.0, sigma=0.03, tau=0.03))
    assert fine["seeds_cover"] >= 52 / FEW
    assert coarse["seeds_cover"] < 0.6
    assert coarse["covers"] >= 52 / FEW


def test_a_verdict_at_delta_is_rarely_given():
    row = found(Truth("delta", seeds=5, alpha=calibration.DELTA))
    # 2.5% each: more than 5 of 60 has probability 1%
    assert row["flat"] <= 5 / FEW
    assert row["scales"] <= 5 / FEW


def test_power_grows_with_seeds_as_predicted():
    few, many = (found(Truth("power", seeds=seeds, sigma=0.3, ratio=1.25)) for seeds in (3, 12))
    assert few["flat"] < many["flat"]
    for row in (few, many):
        assert row["flat"] == pytest.approx(row["predicted"], abs=0.2)


def test_many_at_once_are_one_by_one():
    intervals = sample_complexity(calibration.runs(Truth("x", ratio=1.25), 3, np.random.default_rng(0)))
    together = calibration.Laws(intervals).each
    for law, (_, rows) in zip(together, intervals.groupby("problem"), strict=True):
        alone = scaling.fit(rows, 0.1)
        assert law.estimate(1) == pytest.approx(alone.alpha, abs=1e-3)
        assert law.error(1) == pytest.approx(alone.alpha_se, rel=0.05)


def test_stray_runs_do_not_move_the_law():
    """Runs misjudged at random: N_eps by the fewest contradictions stays where it is, the least N that passes falls."""
    truth = Truth("stray", misjudged=0.05, ratio=1.25, least=0.02, most=50.0, seeds=10)
    intervals = sample_complexity(calibration.runs(truth, 5, np.random.default_rng(0)))
    assert (~intervals["monotone"]).mean() > 0.3
    known = intervals[intervals["censored"].eq("")]
    assert np.log(np.sqrt(known["low"] * known["high"]) / 1000).mean() == pytest.approx(0, abs=0.1)
    assert np.log(intervals["first_high"] / 1000).mean() < -0.3


def test_tables_and_figure_are_made(tmp_path, monkeypatch):
    row = found(Truth("any")) | {"bootstrap_covers": 0.8, "likelihood_covers": 0.9}
    rows = [{"kind": kind, **vars(Truth(name)), "problems": FEW, **row}
            for kind, name in (("fine", "a"), ("hard", "b"), ("at delta", "c"), ("power", "d"))]
    table = calibration.together(pd.DataFrame([*rows, *rows]))
    assert table["problems"].eq(2 * FEW).all()
    monkeypatch.setattr(calibration.tables, "DOCS", tmp_path)
    (tmp_path / "images").mkdir()
    begin = "<!-- measured: python -m benchmarks.calibration --write-docs -->"
    (tmp_path / calibration.PAGE).write_text(f"before\n{begin}\nold\n<!-- end of measured -->\nafter")
    calibration.write_docs(table)
    page = (tmp_path / calibration.PAGE).read_text()
    assert "old" not in page
    assert page.startswith("before")
    assert page.endswith("after")
    assert page.count("| a | 5 |") == 1
    assert (tmp_path / "images" / "calibration.png").stat().st_size > 10_000
