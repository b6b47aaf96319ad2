"""What the analysis says of small stores of real runs (tests/golden/make.py), pinned."""

from pathlib import Path

import pytest

from analysis.load import load
from analysis.tune import best_tuned
from analysis.verdict import FLAT, OPEN, SCALES, analyze

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def analyses():
    return {name: analyze(load(GOLDEN / name).runs) for name in ("flat", "scales", "censored", "diverged")}


@pytest.mark.parametrize(("name", "runs", "verdict", "alpha", "tolerance"), [
    ("flat", 126, FLAT, 0.0, 0.05), ("scales", 99, SCALES, 0.91, 0.05), ("diverged", 48, OPEN, 0.0, 0.15)])
def test_pinned_verdicts(analyses, name, runs, verdict, alpha, tolerance):
    analysis = analyses[name]
    row = analysis.verdicts.iloc[0]
    assert (len(analysis.verdicts), len(analysis.runs)) == (1, runs)
    assert row["verdict"] == verdict
    assert row["alpha"] == pytest.approx(alpha, abs=tolerance)
    assert row["alpha_low"] < row["alpha"] < row["alpha_high"]


def test_censored_throughout(analyses):
    analysis = analyses["censored"]
    assert analysis.verdicts["verdict"].tolist() == [OPEN]
    assert "no N up to 63 passes at width 32, 512" in analysis.verdicts["why"][0]
    assert set(analysis.intervals["censored"]) == {"right"}
    assert analysis.intervals["low"].eq(63).all()


def test_diverged_runs_are_not_chosen(analyses):
    analysis = analyses["diverged"]
    assert analysis.runs.groupby("lr")["status"].apply(lambda status: status.eq("diverged").sum()).to_dict() == {
        2.0: 0, 50_000.0: 22}
    assert set(best_tuned(analysis.runs)["lr"]) == {2.0}


def test_files_hold_nothing_of_the_machine():
    for file in GOLDEN.glob("*/*.parquet"):
        assert file.stat().st_size < 40_000
        assert b"/tmp" not in file.read_bytes()
