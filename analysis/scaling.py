"""The law log N_eps = c + alpha log m, from intervals, with an interval for alpha over seeds."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_ndtr
from scipy.stats import t as student

RESAMPLES = 200

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    """Estimates with the 95% interval of alpha; nan where it cannot be had (one seed or one width)."""

    alpha: float
    low: float
    high: float
    intercept: float  # log N_eps at m = 1
    sigma: float  # standard deviation of log N_eps about the law

    def at(self, width: Floats) -> Floats:
        """N_eps at these widths."""
        return np.asarray(np.exp(self.intercept + self.alpha * np.log(width)))


def fit(intervals: pd.DataFrame, seed: int = 0) -> Law:
    """Interval-censored Gaussian regression of log N_eps on log m; columns width, seed, low, high.

    The interval of alpha is alpha +- t sqrt(b^2 + r^2), t the 97.5% quantile of Student's t with S - 1 degrees of
    freedom for S seeds. b is the standard error over seeds: the standard deviation of alpha over resamples of whole
    seeds (cluster bootstrap), times sqrt(S / (S - 1)), because resampling understates the spread of few seeds. r is
    the error that rounding N_eps to the grid leaves in alpha when it rounds all seeds alike, which no resampling
    shows. Measured coverage, 4 widths over a factor of 64, 3 to 8 seeds: see tests/analysis/test_analysis_scaling.py.
    """
    widths, seeds = intervals["width"].unique(), np.sort(intervals["seed"].unique())
    if len(widths) < 2:
        return Law(np.nan, np.nan, np.nan, np.nan, np.nan)
    parts = [intervals[intervals["seed"] == each] for each in seeds]
    alpha, intercept, sigma = _estimate(intervals)
    if len(seeds) < 2:
        return Law(alpha, np.nan, np.nan, intercept, sigma)
    rng = np.random.default_rng(seed)
    start = np.array([intercept, alpha, np.log(sigma)])
    resampled = [_estimate(pd.concat([parts[i] for i in rng.integers(len(seeds), size=len(seeds))]), start)[0]
                 for _ in range(RESAMPLES)]
    between = np.std(resampled, ddof=1) * np.sqrt(len(seeds) / (len(seeds) - 1))
    half = student.ppf(0.975, len(seeds) - 1) * np.hypot(between, _rounding(intervals))
    return Law(alpha, alpha - half, alpha + half, intercept, sigma)


def _estimate(intervals: pd.DataFrame, start: Floats | None = None) -> tuple[float, float, float]:
    """Maximum likelihood alpha, intercept, sigma; sigma at least a quarter of the grid's step.

    Without that floor a line through all intervals would have the likelihood 1 for sigma = 0, and a whole range of
    lines would be equally good.
    """
    x = np.log(intervals["width"].to_numpy(float))
    with np.errstate(divide="ignore"):
        low, high = np.log(intervals["low"].to_numpy(float)), np.log(intervals["high"].to_numpy(float))
    floor = np.log(_grid_step(intervals) / 4)
    centre = x.mean()

    def loss(parameters: Floats) -> float:
        mean, sigma = parameters[0] + parameters[1] * (x - centre), np.exp(parameters[2])
        a, b = (low - mean) / sigma, (high - mean) / sigma
        # In the upper tail both probabilities are 1 to machine precision: take the mirror image there.
        a, b = np.where(a > 0, -b, a), np.where(a > 0, -a, b)
        log_b = log_ndtr(b)
        probability = log_b + np.log1p(-np.exp(np.minimum(log_ndtr(a) - log_b, -1e-12)))
        # A weak pull of alpha to 0 and of sigma to its floor: censored data alone would send them to infinity.
        return float(-probability.sum() + 1e-3 * parameters[1] ** 2 + 1e-3 * (parameters[2] - floor) ** 2)

    if start is None:
        middle = _midpoints(low, high)
        alpha, mean = np.polyfit(x - centre, middle, 1)
        spread = np.std(middle - mean - alpha * (x - centre))
        start = np.array([mean, alpha, np.log(spread) if spread > 0.1 else np.log(0.1)])
    else:
        start = np.array([start[0] + start[1] * centre, start[1], start[2]])
    found = minimize(loss, start, method="L-BFGS-B", bounds=[(None, None), (None, None), (floor, 5.0)]).x
    return float(found[1]), float(found[0] - found[1] * centre), float(np.exp(found[2]))


def _midpoints(low: Floats, high: Floats) -> Floats:
    return np.where(np.isinf(low), high, np.where(np.isinf(high), low, (low + high) / 2))


def _grid_step(intervals: pd.DataFrame) -> float:
    """Median width of the closed intervals in log N; log 2 where there are none."""
    closed = intervals[(intervals["low"] > 0) & np.isfinite(intervals["high"])]
    return float(np.log(closed["high"] / closed["low"]).median()) if len(closed) else float(np.log(2))


def _rounding(intervals: pd.DataFrame) -> float:
    """Standard error of a slope over the widths when each width's log N_eps is off by a uniform rounding error."""
    x = np.log(np.sort(intervals["width"].unique()).astype(float))
    return float(_grid_step(intervals) / np.sqrt(12 * ((x - x.mean()) ** 2).sum()))
