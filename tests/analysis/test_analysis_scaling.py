"""The interval of alpha: right where it is known, wide where the data say little, and covering as often as claimed."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress, t

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


@pytest.mark.parametrize(("alpha", "seeds", "sigma", "ratio", "top"), [
    (0.0, 3, 0.3, 2.0, np.inf), (0.5, 5, 0.1, 2.0, np.inf), (1.5, 5, 0.3, 2.0, 10_000.0), (0.0, 3, 0.3, 1.25, np.inf)])
def test_interval_covers_alpha_about_as_often_as_it_says(alpha, seeds, sigma, ratio, top):
    rng = np.random.default_rng(7)
    laws = [scaling.fit(simulated(rng, alpha, seeds, sigma, ratio, top)) for _ in range(50)]
    hits = sum(law.alpha_low <= alpha <= law.alpha_high for law in laws)
    # A true 95% gives fewer than 44 of 50 with probability 1%; plain bootstraps (28 to 89%) fail here.
    assert hits >= 44
    # and an interval that covers by being endless is of no use
    assert np.median([law.alpha_high - law.alpha_low for law in laws]) < 1.2


def test_fine_grid_gives_least_squares_and_at_least_its_t_interval():
    rng = np.random.default_rng(3)
    log_m = np.repeat(np.log(WIDTHS), 4)
    log_n = 5 + 0.5 * log_m + 0.2 * rng.normal(size=16)
    intervals = pd.DataFrame({"width": np.exp(log_m), "seed": np.tile(range(4), 4), "low": np.exp(log_n - 1e-3),
                              "high": np.exp(log_n + 1e-3)})
    law, exact = scaling.fit(intervals), linregress(log_m, log_n)
    reach = t.ppf(0.975, 14) * exact.stderr
    assert law.alpha == pytest.approx(exact.slope, abs=2e-3)
    assert law.alpha_low <= exact.slope - reach + 2e-3
    assert law.alpha_high >= exact.slope + reach - 2e-3
    assert law.alpha_high - law.alpha_low < 4 * reach


def test_seeds_that_agree_on_a_coarse_grid_do_not_make_the_interval_vanish():
    intervals = pd.DataFrame([(m, s, 800.0, 1600.0) for m in WIDTHS for s in range(5)],
                             columns=["width", "seed", "low", "high"])
    law = scaling.fit(intervals)
    feasible = np.log(2) / np.log(64)  # steepest law through all the intervals
    assert law.alpha == pytest.approx(0, abs=1e-3)
    assert law.alpha_low <= -feasible + 0.02
    assert law.alpha_high >= feasible - 0.02


def test_all_censored_says_nothing():
    intervals = pd.DataFrame([(m, s, 800.0, np.inf) for m in WIDTHS for s in range(5)],
                             columns=["width", "seed", "low", "high"])
    law = scaling.fit(intervals)
    assert (law.alpha_low, law.alpha_high) == (-np.inf, np.inf)


def test_one_censored_side_bounds_alpha_from_below_only():
    rows = [(64, s, 400.0, 500.0) for s in range(5)] + [(4096, s, 50_000.0, np.inf) for s in range(5)]
    law = scaling.fit(pd.DataFrame(rows, columns=["width", "seed", "low", "high"]))
    assert law.alpha_low > 0.5
    assert law.alpha_high == np.inf


def test_one_width_is_refused():
    with pytest.raises(ValueError, match="2 widths"):
        scaling.fit(pd.DataFrame({"width": [64, 64], "seed": [0, 1], "low": [1.0, 1.0], "high": [2.0, 2.0]}))


def test_gradient_is_the_derivative_of_the_loss():
    intervals = simulated(np.random.default_rng(0), 0.5, 3, 0.3, 2.0, top=3000.0)
    log_m = np.log(intervals["width"].to_numpy(float))
    sample = scaling._sample(intervals, np.column_stack([np.ones_like(log_m), log_m]))
    point = np.array([8.0, 1.0, 2.0])

    def loss(at):
        return scaling._loss(at, sample, sample.middle, sample.tie_break)

    _, gradient = loss(point)
    numeric = [(loss(point + h)[0] - loss(point - h)[0]) / 2e-5 for h in 1e-5 * np.eye(3)]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-5)


def test_a_bent_law_is_noticed_and_a_straight_one_is_not():
    rng = np.random.default_rng(1)
    straight = simulated(rng, 0.5, 5, 0.1, 1.25)
    bent = straight.copy()
    bent.loc[bent["width"].isin([64, 4096]), ["low", "high"]] *= 3
    assert scaling.fit(straight).bent_p > 0.01
    assert scaling.fit(bent).bent_p < 1e-4


def test_bootstrap_over_seeds_is_the_spread_of_the_seeds_slopes():
    """Seeds with slopes of their own and no other noise: the percentiles approach +- 1.96 sd / sqrt(S)."""
    slopes = np.linspace(-0.5, 0.5, 11)
    rows = [{"width": width, "seed": seed, "low": n / 1.001, "high": n}
            for seed, slope in enumerate(slopes) for width in (64, 256, 1024, 4096)
            for n in [500 * (width / 512) ** slope]]
    law = scaling.fit(pd.DataFrame(rows))
    expected = 1.96 * slopes.std() / np.sqrt(len(slopes))
    assert law.bootstrap_high == pytest.approx(expected, rel=0.2)
    assert law.bootstrap_low == pytest.approx(-expected, rel=0.2)
    assert law.alpha_high > law.bootstrap_high
