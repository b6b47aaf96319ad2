"""Tuning: what is chosen, by which risk, for which seeds, and how much the best of a grid flatters."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from analysis.load import with_problem
from analysis.tune import Tuning, best_tuned, choices, expected_maximum, warnings, winners_curse
from analysis.verdict import analyze
from ovpnet.spec.errors import ConfigError


def noisy_grid(true_risks, sigma, seeds, epsilon=0.5, rng_seed=0):
    """Runs of one cell; setting j has population risk true_risks[j] and independent Gaussian errors of both risks."""
    rng = np.random.default_rng(rng_seed)
    table = pd.DataFrame([(seed, lr, risk) for seed in range(seeds) for lr, risk in enumerate(true_risks)],
                         columns=["seed", "lr", "true"])
    return table.assign(
        problem="p", width=64, samples=100, weight_decay=0.0, status="done", opt=0.0, threshold=epsilon,
        epsilon_absolute=epsilon, test_risk=table["true"] + sigma * rng.normal(size=len(table)),
        validation_risk=table["true"] + sigma * rng.normal(size=len(table)), test_risk_se=sigma)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 20])
def test_expected_maximum_of_gaussians(count):
    closed = {1: 0.0, 2: 1 / math.sqrt(math.pi), 3: 1.5 / math.sqrt(math.pi)}
    integral, _ = quad(lambda x: x * count * norm.cdf(x) ** (count - 1) * norm.pdf(x), -12, 12)
    assert expected_maximum(count) == pytest.approx(closed.get(count, integral), abs=1e-9)


@pytest.mark.parametrize("count", [2, 9])
def test_best_of_equally_good_settings_flatters_by_the_expected_maximum(count):
    sigma = 0.1
    row = winners_curse(noisy_grid([1.0] * count, sigma, seeds=2000), per="seed").iloc[0]
    expected = sigma * expected_maximum(count)
    for name in ("gap", "optimism"):
        assert abs(row[name] - expected) < 4 * row[f"{name}_se"]
        assert row[f"{name}_se"] < expected / 15
    assert row["most"] == pytest.approx(expected)
    assert row["settings"] == count
    assert abs(row["validated_risk"] - 1.0) < 4 * sigma / math.sqrt(2000)  # the honest choice is unbiased
    assert row["gap_epsilons"] == pytest.approx(row["gap"] / 0.5)
    assert row["optimism_epsilons_se"] == pytest.approx(row["optimism_se"] / 0.5)


def test_optimism_is_measured_without_bias_and_bounded_where_settings_differ():
    runs = noisy_grid([1.0, 1.05, 1.2, 3.0], 0.1, seeds=2000)
    row = winners_curse(runs, per="seed").iloc[0]
    chosen = runs.loc[runs.groupby("seed")["test_risk"].idxmin()]
    truth = (chosen["true"] - chosen["test_risk"]).mean()  # what no one can know of real runs
    assert abs(row["optimism"] - truth) < 4 * row["optimism_se"]
    assert truth < row["most"]
    # Both risks have the same noise, so that neither choice is better than the other.
    assert abs(row["gap"] - row["optimism"]) < 4 * math.hypot(row["gap_se"], row["optimism_se"])


def test_pooled_choice_flatters_less_by_the_root_of_the_seeds():
    cells = pd.concat([noisy_grid([1.0] * 4, 0.1, seeds=4, rng_seed=number).assign(samples=number)
                       for number in range(1, 101)], ignore_index=True)
    table = winners_curse(cells)
    expected = 0.1 / math.sqrt(4) * expected_maximum(4)
    assert table["most"].to_numpy() == pytest.approx(expected)
    for name in ("gap", "optimism"):
        assert abs(table[name].mean() - expected) < 4 * table[name].sem()
    assert (table["gap"] >= 0).all()
    assert len(table) == 100


def test_one_setting_flatters_no_one():
    row = winners_curse(noisy_grid([1.0], 0.1, seeds=5)).iloc[0]
    assert (row["gap"], row["most"], row["settings"], row["seeds"]) == (0.0, pytest.approx(0, abs=1e-9), 1, 5)


def test_a_cell_where_all_diverged_is_left_out():
    runs = noisy_grid([1.0, 1.0], 0.1, seeds=3)
    assert winners_curse(runs.assign(status="diverged")).empty
    one = runs.assign(status=runs["status"].where(runs["lr"].ne(1), "diverged"))
    assert winners_curse(one)["gap"].tolist() == [0.0]


def test_tuning_by_test_risk_takes_the_lucky_one_and_says_so(make_runs):
    runs = with_problem(make_runs(0.0, samples=[100], widths=[64], lrs=[0.2, 0.5]))
    runs.loc[runs["lr"].eq(0.2), "test_risk"] = 0.0  # lucky on the test set
    validated, tested = best_tuned(runs), best_tuned(runs, Tuning(by="test"))
    assert (set(validated["lr"]), set(tested["lr"])) == ({0.5}, {0.2})
    assert set(tested["tuned_by"]) == {"test"}
    assert not any("TEST risk" in each for each in warnings(validated))
    assert any("TEST risk" in each for each in warnings(tested))
    analysis = analyze(runs, tuning=Tuning(by="test"))
    assert set(analysis.best["tuned_by"]) == {"test"}


def test_tuning_per_seed_takes_each_seeds_own(make_runs):
    runs = with_problem(make_runs(0.0, samples=[100], widths=[64], lrs=[0.2, 0.5], seeds=range(3)))
    runs.loc[runs["lr"].eq(0.2) & runs["seed"].eq(1), "validation_risk"] = 0.0
    own = best_tuned(runs, Tuning(per="seed")).set_index("seed")
    assert own["lr"].to_dict() == {0: 0.5, 1: 0.2, 2: 0.5}
    assert set(own["tuned_per"]) == {"seed"}
    assert choices(own.reset_index())["seeds"].tolist() == [1, 2]
    assert set(best_tuned(runs)["lr"]) in ({0.2}, {0.5})


def test_tuning_per_seed_never_takes_a_diverged_run_where_another_did_not(make_runs):
    runs = with_problem(make_runs(0.0, samples=[100], widths=[64], lrs=[0.2, 0.5], seeds=range(3)))
    runs.loc[runs["lr"].eq(0.5) & runs["seed"].eq(1), ["status", "test_risk"]] = ("diverged", np.nan)
    for by in ("validation", "test"):
        own = best_tuned(runs, Tuning(by, "seed")).set_index("seed")
        assert own.loc[1, "lr"] == 0.2
        assert set(own["status"]) == {"done"}


@pytest.mark.parametrize(("options", "message"), [({"by": "luck"}, "tune=luck: must be one of validation, test"),
                                                  ({"per": "width"}, "tune_per=width: must be one of pool, seed")])
def test_unknown_tuning_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        Tuning(**options)
