"""The rule by which a setting is chosen and a run is judged: shared by the analysis and the search."""

import math

import pandas as pd
import pytest

from ovpnet.record.tuning import judged, settings

CELL = ["width", "samples"]


def runs(*rows):
    """Rows of one cell: (seed, lr, weight_decay, status, validation risk), of test risk 1 - validation risk."""
    table = pd.DataFrame(rows, columns=["seed", "lr", "weight_decay", "status", "validation_risk"])
    return table.assign(width=8, samples=16, threshold=0.5, test_risk=1 - table["validation_risk"])


def chosen(table, by="validation"):
    [row] = settings(judged(table), CELL, by).itertuples(index=False)
    return row.lr, row.weight_decay, row.missing_seeds


def test_a_run_reaches_its_goal_at_the_threshold_and_not_above():
    table = runs(*[(seed, 0.1, 0.0, "done", 0.5) for seed in range(3)]).assign(test_risk=[0.4, 0.5, 0.6])
    assert judged(table)["reached"].tolist() == [True, True, False]


def test_a_diverged_run_has_infinite_risks_and_reaches_nothing():
    table = runs((0, 0.1, 0.0, "diverged", 0.9), (1, 0.1, 0.0, "done", math.nan), (2, 0.1, 0.0, "done", 0.9))
    before = table.copy()
    found = judged(table)
    assert found["test_risk"].tolist() == pytest.approx([math.inf, math.inf, 0.1])
    assert found["validation_risk"].tolist() == [math.inf, math.inf, 0.9]
    assert found["status"].tolist() == ["diverged", "diverged", "done"]
    assert found["reached"].tolist() == [False, False, True]
    pd.testing.assert_frame_equal(table, before)


def test_failed_runs_are_not_judged():
    table = runs((0, 0.1, 0.0, "failed", 0.1), (1, 0.1, 0.0, "done", 0.2))
    assert judged(table)["seed"].tolist() == [1]


def test_the_least_mean_validation_risk_is_chosen_or_the_least_test_risk_if_asked():
    table = runs((0, 0.1, 0.0, "done", 0.1), (1, 0.1, 0.0, "done", 0.6), (0, 0.1, 0.5, "done", 0.3),
                 (1, 0.1, 0.5, "done", 0.2))
    assert chosen(table) == (0.1, 0.5, 0)
    assert chosen(table, "test") == (0.1, 0.0, 0)


def test_equal_risks_are_decided_by_the_lower_rate_and_decay_whatever_the_order_of_rows():
    rows = [(0, lr, decay, "done", 0.25) for lr in (0.1, 0.2) for decay in (0.0, 0.5)]
    assert chosen(runs(*rows)) == chosen(runs(*reversed(rows))) == (0.1, 0.0, 0)


def test_a_setting_without_all_seeds_is_chosen_only_if_none_has_them():
    lacking = [(0, 0.1, 0.0, "done", 0.01)]
    assert chosen(runs(*lacking, (0, 0.2, 0.0, "done", 0.9), (1, 0.2, 0.0, "done", 0.9))) == (0.2, 0.0, 0)
    assert chosen(runs(*lacking, (1, 0.2, 0.0, "done", 0.9))) == (0.1, 0.0, 1)


def test_fewer_diverged_seeds_come_first_then_the_risk_of_the_others():
    once = [(0, 0.1, 0.0, "diverged", 0.0), (1, 0.1, 0.0, "done", 0.01)]
    assert chosen(runs(*once, (0, 0.2, 0.0, "done", 0.9), (1, 0.2, 0.0, "done", 0.9))) == (0.2, 0.0, 0)
    assert chosen(runs(*once, (0, 0.2, 0.0, "diverged", 0.0), (1, 0.2, 0.0, "diverged", 0.0))) == (0.1, 0.0, 0)
    other = [(0, 0.05, 0.0, "diverged", 0.0), (1, 0.05, 0.0, "done", 0.02)]
    assert chosen(runs(*once, *other)) == (0.1, 0.0, 0)


def test_cells_are_tuned_apart():
    table = pd.concat([runs((0, 0.1, 0.0, "done", 0.1), (0, 0.2, 0.0, "done", 0.2)),
                       runs((0, 0.1, 0.0, "done", 0.2), (0, 0.2, 0.0, "done", 0.1)).assign(width=4)])
    found = settings(judged(table), CELL)
    assert found[["width", "samples", "lr"]].to_numpy().tolist() == [[4, 16, 0.2], [8, 16, 0.1]]
    assert list(found.columns) == [*CELL, "lr", "weight_decay", "missing_seeds"]
    assert found.index.tolist() == [0, 1]
