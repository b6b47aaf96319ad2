"""What stands beside alpha: the logistic cross-check, the comparison of laws, and the power of what would settle it."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import nct
from statsmodels.discrete.discrete_model import Logit

from analysis import models, power, settle
from analysis.complexity import sample_complexity
from analysis.crosscheck import disagree, logistic
from analysis.load import with_problem
from analysis.power import Estimates, Grid
from analysis.scaling import fit
from analysis.tune import best_tuned
from analysis.verdict import analyze

WIDTHS = (64, 256, 1024, 4096)


def best_of(runs):
    return best_tuned(with_problem(runs))


# --- logistic regression ---


def test_logistic_regression_is_statsmodels_up_to_the_penalty():
    """Firth's penalty is of the order of one run: it fades among 3000."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame([(m, n, s) for m in WIDTHS for n in 2.0 ** np.arange(5, 15) for s in range(75)],
                        columns=["width", "samples", "seed"])
    odds = 1.5 * (np.log(rows["samples"]) - 7 - 0.4 * np.log(rows["width"] / 512))
    rows["reached"] = rng.random(len(rows)) < 1 / (1 + np.exp(-odds))
    design = np.column_stack([np.ones(len(rows)), np.log(rows["samples"]), np.log(rows["width"])])
    peer = Logit(rows["reached"].astype(float), design).fit(disp=0, cov_type="cluster",
                                                            cov_kwds={"groups": rows["seed"]})
    alpha = -peer.params.iloc[2] / peer.params.iloc[1]
    gradient = np.array([0, -alpha, -1]) / peer.params.iloc[1]
    error = np.sqrt(gradient @ peer.cov_params().to_numpy() @ gradient)
    found = logistic(rows)
    assert found.alpha == pytest.approx(alpha, abs=0.002)
    assert found.alpha_high - found.alpha_low == pytest.approx(2 * 1.99 * error, rel=0.1)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.5])
def test_logistic_regression_agrees_with_the_law(make_runs, alpha):
    best = best_of(make_runs(alpha, lrs=[0.5]))
    law, check = fit(sample_complexity(best), 0.1), logistic(best)
    assert check.alpha_low <= alpha <= check.alpha_high
    assert check.alpha == pytest.approx(law.alpha, abs=0.03)
    assert not disagree(law, check)


def test_a_disagreement_is_told(make_runs):
    """Seeds that pass early and fail again for long at the large widths: one N_eps says too little of them."""
    runs = make_runs(0.0, lrs=[0.5], sigma=0.02)
    runs["test_risk"] = runs["test_risk"].where(~(runs["width"].ge(1024) & runs["samples"].between(950, 5000)), 9.0)
    row = analyze(with_problem(runs)).verdicts.iloc[0]
    assert row["non_monotone"] == 10
    assert "look at the figure" in row["why"]
    assert not np.isnan(row["first_alpha"])


def test_what_cannot_be_estimated_is_nan(make_runs):
    assert np.isnan(logistic(best_of(make_runs(0.0, lrs=[0.5], samples=[100, 200]))).alpha)  # none passes
    best = best_of(make_runs(0.0, lrs=[0.5]))
    assert not np.isnan(logistic(best).alpha)
    assert np.isnan(logistic(best[best["width"].eq(64)]).alpha)
    assert np.isnan(logistic(best[best["seed"].eq(0)]).alpha)


# --- comparison of laws ---


@pytest.mark.parametrize(("law", "truth"), [
    (lambda m: 900 + 0 * m, "constant"), (lambda m: 900 * (m / 64) ** 0.6, "power"),
    (lambda m: 900 * (m / 64) ** 1.5, "m^1.5"), (lambda m: 40 * np.log(m) ** 2.5, "polylog")])
def test_the_true_law_wins(law, truth):
    rng = np.random.default_rng(2)
    widths = np.array([8, 32, 128, 512, 2048, 8192], dtype=float)
    n = law(widths) * np.exp(0.1 * rng.normal(size=(10, 1)) + 0.05 * rng.normal(size=(10, 6)))
    intervals = pd.DataFrame({"width": np.tile(widths, 10), "seed": np.repeat(range(10), 6), "low": n.ravel() / 1.03,
                              "high": n.ravel() * 1.03})
    table = models.compare(intervals).set_index("model")
    # constant and m^1.5 are cases of polylog and power, which fit them as well with a coefficient more
    assert table["aicc_weight"].idxmax() == truth
    assert table["bic_weight"].idxmax() == truth
    gap = table["log_score"].max() - table.loc[truth, "log_score"]
    assert gap <= 2 * table.loc[truth, "log_score_se"] + 1e-12
    for name in ("aicc_weight", "bic_weight"):
        assert table[name].sum() == pytest.approx(1)
    wrong = {"constant": "m^1.5", "power": "constant", "m^1.5": "constant", "polylog": "m^1.5"}[truth]
    assert table.loc[truth, "log_score"] > table.loc[wrong, "log_score"] + 1


def test_two_widths_have_no_predictive_score_and_few_seeds_no_aicc():
    intervals = pd.DataFrame({"width": [64, 256] * 2, "seed": [0, 0, 1, 1], "low": [400.0, 500] * 2,
                              "high": [500.0, 650] * 2})
    table = models.compare(intervals)
    assert table["log_score"].isna().all()
    assert set(table["model"]) == set(models.MODELS)


# --- power ---


def test_power_of_a_scaling_verdict_is_that_of_the_t_test():
    estimates, plan = Estimates(alpha=0.5, sigma=0.3, tilt=0.1), Grid(5, WIDTHS, 0.05)
    error = np.sqrt(estimates.slope_variance(plan) / 5)
    exact = nct.sf(2.7764451, 4, (0.5 - 0.1) / error)
    assert power.power(estimates, plan, 0.1) == pytest.approx(exact, abs=0.005)


def test_power_of_equivalence_is_what_simulation_gives():
    estimates, plan = Estimates(alpha=0.02, sigma=0.2, tilt=0.0), Grid(6, WIDTHS, 0.01)
    rng = np.random.default_rng(0)
    slopes = 0.02 + np.sqrt(estimates.slope_variance(plan)) * rng.normal(size=(20_000, 6))
    reach = 2.5705818 * slopes.std(axis=1, ddof=1) / np.sqrt(6)
    simulated = (abs(slopes.mean(axis=1)) + reach < 0.1).mean()
    assert power.power(estimates, plan, 0.1) == pytest.approx(simulated, abs=0.01)


def test_seeds_needed_are_just_enough():
    estimates, plan = Estimates(alpha=0.0, sigma=0.3, tilt=0.05), Grid(3, WIDTHS, 0.1)
    enough = power.seeds_needed(estimates, plan, 0.1)
    assert power.power(estimates, Grid(enough, WIDTHS, 0.1), 0.1) >= power.ENOUGH
    assert power.power(estimates, Grid(enough - 1, WIDTHS, 0.1), 0.1) < power.ENOUGH
    assert power.seeds_needed(Estimates(0.1, 0.3, 0.0), plan, 0.1) is None  # alpha on the border
    assert power.seeds_needed(Estimates(0.0, 0.01, 0.0), Grid(3, WIDTHS, 1.0), 0.1) is None  # the grid's resolution


def test_plans_say_how_much_and_how_to_get_it(make_runs):
    runs = with_problem(make_runs(0.0, sigma=0.3, seeds=range(3), lrs=[0.2, 0.5]))
    analysis = analyze(runs)
    table = analysis.plans.set_index("change")
    assert table["power"]["seeds"] >= power.ENOUGH
    more = len(table["seeds"]["seeds"])
    assert table["new_runs"]["seeds"] == (more - 3) * 4 * 24 * 2
    assert f"'seed=range({more})'" in table["command"]["seeds"]
    assert analysis.verdicts["next"][0] in set(table["command"])
    assert f"{more} seeds" in analysis.verdicts["why"][0]
    assert len(table["widths"]["widths"]) > 4
    assert set(settle.no_plans().columns) == set(analysis.plans.columns)


def test_failed_runs_are_still_to_be_trained(make_runs):
    runs = make_runs(0.0, sigma=0.3, seeds=range(3), lrs=[0.5])
    failed = runs["seed"].eq(2) & runs["samples"].eq(runs["samples"].max())
    new = [analyze(with_problem(each)).plans.set_index("change")["new_runs"]["seeds"]
           for each in (runs, runs.assign(status=runs["status"].mask(failed, "failed")))]
    assert new[1] == new[0] + len(WIDTHS)
