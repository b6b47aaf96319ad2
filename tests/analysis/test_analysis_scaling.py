"""The interval of alpha: right where it is known, wide where the data say little, and covering as often as claimed."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import f, linregress, t, ttest_1samp

from analysis import scaling

WIDTHS = (64, 256, 1024, 4096)


def simulated(rng: np.random.Generator, alpha: float, seeds: int, sigma: float, ratio: float,
              top: float = np.inf) -> pd.DataFrame:
    """Intervals on a grid of samples ratio^k; above `top` none passes."""
    rows = []
    offset, step = rng.uniform(0, np.log(ratio)), np.log(ratio)
    for seed in range(seeds):
        for width in WIDTHS:
            log_n = 6 + offset + alpha * np.log(width / WIDTHS[0]) + sigma * rng.normal()
            cell = np.ceil(log_n / step)
            low, high = np.exp((cell - 1) * step), np.exp(cell * step)
            if high > top:
                low, high = np.exp(np.floor(np.log(top) / step) * step), np.inf
            rows.append((width, seed, low, high))
    return pd.DataFrame(rows, columns=["width", "seed", "low", "high"])


def test_fine_grid_gives_least_squares_and_at_least_its_t_interval():
    rng = np.random.default_rng(3)
    log_m = np.repeat(np.log(WIDTHS), 4)
    log_n = 5 + 0.5 * log_m + 0.2 * rng.normal(size=16)
    intervals = pd.DataFrame({"width": np.exp(log_m), "seed": np.tile(range(4), 4), "low": np.exp(log_n - 1e-3),
                              "high": np.exp(log_n + 1e-3)})
    law, exact = scaling.fit(intervals, 0.1), linregress(log_m, log_n)
    reach = t.ppf(0.975, 14) * exact.stderr
    assert law.alpha == pytest.approx(exact.slope, abs=2e-3)
    assert law.alpha_low <= exact.slope - reach + 2e-3
    assert law.alpha_high >= exact.slope + reach - 2e-3
    assert law.alpha_high - law.alpha_low < 4 * reach


def test_seeds_that_agree_on_a_coarse_grid_do_not_make_the_interval_vanish():
    intervals = pd.DataFrame([(m, s, 800.0, 1600.0) for m in WIDTHS for s in range(5)],
                             columns=["width", "seed", "low", "high"])
    law = scaling.fit(intervals, 0.1)
    feasible = np.log(2) / np.log(64)  # steepest law through all the intervals
    assert law.alpha == pytest.approx(0, abs=1e-3)
    # up to the softness that sigma gives the ends of the intervals
    assert law.alpha_low <= -feasible + 0.025
    assert law.alpha_high >= feasible - 0.025


def test_all_censored_says_nothing():
    intervals = pd.DataFrame([(m, s, 800.0, np.inf) for m in WIDTHS for s in range(5)],
                             columns=["width", "seed", "low", "high"])
    law = scaling.fit(intervals, 0.1)
    assert (law.alpha_low, law.alpha_high) == (-np.inf, np.inf)


def test_one_censored_side_bounds_alpha_from_below_only():
    rows = [(64, s, 400.0, 500.0) for s in range(5)] + [(4096, s, 50_000.0, np.inf) for s in range(5)]
    law = scaling.fit(pd.DataFrame(rows, columns=["width", "seed", "low", "high"]), 0.1)
    assert law.alpha_low > 0.5
    assert law.alpha_high == np.inf


def test_nothing_known_says_nothing():
    """Where the few N of every seed contradict each other, its interval is all numbers; so it may be at one width."""
    nothing = pd.DataFrame([(m, s, 0.0, np.inf) for m in WIDTHS for s in range(5)],
                           columns=["width", "seed", "low", "high"])
    one_width = nothing.copy()
    one_width.loc[nothing["width"].eq(64), ["low", "high"]] = [[500 * 1.05**s, 510 * 1.05**s] for s in range(5)]
    for intervals in (nothing, one_width):
        law = scaling.fit(intervals, 0.1)
        assert (law.alpha_low, law.alpha_high) == (-np.inf, np.inf)
        assert min(law.p_equivalence, law.p_scales, law.p_shrinks) > 0.4


def test_one_width_is_refused():
    with pytest.raises(ValueError, match="2 widths"):
        scaling.fit(pd.DataFrame({"width": [64, 64], "seed": [0, 1], "low": [1.0, 1.0], "high": [2.0, 2.0]}), 0.1)


def test_a_bent_law_is_noticed_and_a_straight_one_is_not():
    rng = np.random.default_rng(1)
    straight = simulated(rng, 0.5, 5, 0.1, 1.25)
    bent = straight.copy()
    bent.loc[bent["width"].isin([64, 4096]), ["low", "high"]] *= 3
    assert scaling.fit(straight, 0.1).bent_p > 0.01
    assert scaling.fit(bent, 0.1).bent_p < 1e-4


def test_the_test_of_a_straight_line_is_that_of_the_analysis_of_variance():
    """Complete data on a fine grid, seeds of different levels: F of departures from a line, within seeds."""
    rng = np.random.default_rng(5)
    x = np.log(WIDTHS) - np.log(WIDTHS).mean()
    log_n = 7 + 0.5 * rng.normal(size=(4, 1)) + 0.4 * x + [0.1, -0.1, -0.1, 0.1] + 0.1 * rng.normal(size=(4, 4))
    intervals = pd.DataFrame({"width": np.tile(WIDTHS, 4), "seed": np.repeat(range(4), 4),
                              "low": np.exp(log_n.ravel() - 5e-4), "high": np.exp(log_n.ravel() + 5e-4)})
    within = log_n - log_n.mean(axis=1, keepdims=True)
    means = within.mean(axis=0)
    bend, error = 4 * ((means - means @ x / (x @ x) * x) ** 2).sum(), ((within - means) ** 2).sum()
    exact = f.sf((bend / 2) / (error / 9), 2, 9)
    assert 1e-4 < exact < 0.2
    assert scaling.fit(intervals, 0.1).bent_p == pytest.approx(exact, rel=0.05)


def test_bootstrap_over_seeds_is_the_spread_of_the_seeds_slopes():
    """Seeds with slopes of their own and no other noise: the percentiles approach +- 1.96 sd / sqrt(S)."""
    slopes = np.linspace(-0.5, 0.5, 11)
    rows = [{"width": width, "seed": seed, "low": n / 1.001, "high": n}
            for seed, slope in enumerate(slopes) for width in (64, 256, 1024, 4096)
            for n in [500 * (width / 512) ** slope]]
    law = scaling.fit(pd.DataFrame(rows), 0.1)
    expected = 1.96 * slopes.std() / np.sqrt(len(slopes))
    assert law.bootstrap_high == pytest.approx(expected, rel=0.2)
    assert law.bootstrap_low == pytest.approx(-expected, rel=0.2)
    assert law.alpha_high > law.bootstrap_high


# --- p-values ---


def test_the_interval_ends_where_the_p_values_cross():
    """Also where the likelihood decides the end (a coarse grid), and where a width is censored."""
    for ratio, top in ((1.25, np.inf), (2.0, np.inf), (1.5, 3000.0)):
        intervals = simulated(np.random.default_rng(4), 0.4, 4, 0.1, ratio, top)
        law = scaling.Inference(scaling.observations_of(intervals, lambda cells: [np.log(cells["width"]) - 6.2]))
        low, high = law.interval(1)
        near = 0.03 * (high - low)
        assert law.p_above(1, low - near) < 0.025 < law.p_above(1, low + near)
        assert law.p_below(1, high + near) < 0.025 < law.p_below(1, high - near)


def test_fine_complete_data_give_the_t_test_of_the_seeds_slopes():
    rng = np.random.default_rng(8)
    x = np.log(WIDTHS) - np.log(WIDTHS).mean()
    slope = 0.3 + 0.05 * rng.normal(size=(6, 1))
    log_n = 7 + slope * x + 0.2 * rng.normal(size=(6, 1)) + 0.1 * rng.normal(size=(6, 4))
    intervals = pd.DataFrame({"width": np.tile(WIDTHS, 6), "seed": np.repeat(range(6), 4),
                              "low": np.exp(log_n.ravel() - 5e-4), "high": np.exp(log_n.ravel() + 5e-4)})
    slopes = log_n @ x / (x @ x)
    law = scaling.fit(intervals, 0.2)
    assert law.alpha == pytest.approx(slopes.mean(), abs=1e-4)
    assert law.p_scales == pytest.approx(ttest_1samp(slopes, 0.2, alternative="greater").pvalue, rel=0.02)
    low, high = ttest_1samp(slopes, 0).confidence_interval(0.95)
    np.testing.assert_allclose([law.alpha_low, law.alpha_high], [low, high], atol=1e-3)


# --- several epsilons ---


def test_law_over_epsilons_finds_both_exponents():
    rng = np.random.default_rng(6)
    parts = []
    for epsilon in (0.05, 0.1, 0.2):
        part = simulated(rng, 0.3, 6, 0.1, 1.25).assign(epsilon=epsilon)
        part[["low", "high"]] *= epsilon**-2.0
        parts.append(part)
    table = scaling.epsilon_law(pd.concat(parts)).set_index("coefficient")
    for name, truth in (("alpha", 0.3), ("beta", 2.0)):
        assert table.loc[name, "low"] <= truth <= table.loc[name, "high"]
        assert table.loc[name, "high"] - table.loc[name, "low"] < 0.4
    with pytest.raises(ValueError, match="2 epsilons"):
        scaling.epsilon_law(parts[0])
