"""Power of the test that decides a verdict, with more seeds, widths or samples: it says what settles an open one.

The interval of alpha is alpha_hat +- max(t_{S-1} x standard error, what the grid of samples leaves open). So its power
follows from the variance of one seed's slope, at the parameters that were estimated:

    V = tilt^2 + (sigma^2 + h^2 / 12) / Sxx,    standard error^2 = V / S.

Sxx is the sum of squares of log m about its mean. h is the log step of the grid of samples around N_eps, with a uniform
error within it. tilt is the part of the seeds' spread that the residuals do not explain, and that only more seeds
reduce. If sigma is below h / sqrt(12), the seeds share their cells of the grid and do not average its error out. Then
slopes up to h / (range of log m) beside the estimate stay possible whatever S is.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import chdtri, ndtr, stdtrit

from analysis.censored import Array
from analysis.scaling import LEVEL

ENOUGH = 0.8  # power that counts as settling
MOST_SEEDS = 400
NODES = 200


@dataclass(frozen=True)
class Grid:
    """Seeds, widths and log step of the grid of samples of one problem, as it is or as it might be."""

    seeds: int
    widths: tuple[int, ...]
    step: float

    @property
    def spread(self) -> float:
        """Sxx of one seed."""
        log_m = np.log(np.array(self.widths, dtype=float))
        return float(((log_m - log_m.mean()) ** 2).sum())

    @property
    def span(self) -> float:
        return float(np.log(max(self.widths) / min(self.widths)))


@dataclass(frozen=True)
class Estimates:
    """The errors of a fitted law, as it tells them itself: alpha, sigma and tilt (see the module)."""

    alpha: float
    sigma: float
    tilt: float

    @classmethod
    def of(cls, alpha: float, alpha_se: float, sigma: float, grid: Grid) -> "Estimates":
        """Return the estimates of a law fitted to `grid`: tilt is the part of alpha_se that the residuals leave
        unexplained."""
        explained = (sigma**2 + grid.step**2 / 12) / grid.spread
        return cls(alpha, sigma, float(np.sqrt(max(grid.seeds * alpha_se**2 - explained, 0.0))))

    def slope_variance(self, grid: Grid) -> float:
        return self.tilt**2 + (self.sigma**2 + grid.step**2 / 12) / grid.spread

    def resolution(self, grid: Grid) -> float:
        """Return how far beside the estimate the grid leaves slopes possible, whatever the number of seeds."""
        return grid.step / grid.span if self.sigma < grid.step / np.sqrt(12) else 0.0


def power(estimates: Estimates, grid: Grid, delta: float) -> float:
    """Return the probability that the interval decides, if alpha is as estimated.

    The 95% interval of alpha decides if it lies inside (-delta, delta), above delta or below -delta. The estimate is
    Gaussian. Its variance is chi-squared with S - 1 degrees of freedom, and is integrated by quantiles.
    """
    freedom = grid.seeds - 1
    error = np.sqrt(estimates.slope_variance(grid) / grid.seeds)
    chances = (np.arange(NODES) + 0.5) / NODES
    reach: Array = stdtrit(freedom, (1 + LEVEL) / 2) * error * np.sqrt(chdtri(freedom, chances) / freedom)
    reach = np.maximum(reach, estimates.resolution(grid))
    inside = ndtr((delta - reach - estimates.alpha) / error) - ndtr((reach - delta - estimates.alpha) / error)
    above = ndtr((estimates.alpha - delta - reach) / error)
    below = ndtr((-delta - reach - estimates.alpha) / error)
    return float((np.maximum(inside, 0.0) + above + below).mean())


def seeds_needed(estimates: Estimates, grid: Grid, delta: float) -> int | None:
    """Return the least number of seeds with power ENOUGH, the rest of `grid` as it is; None beyond MOST_SEEDS."""
    def settles(seeds: int) -> bool:
        return power(estimates, replace(grid, seeds=seeds), delta) >= ENOUGH

    enough = grid.seeds
    while not settles(enough):
        if enough >= MOST_SEEDS:
            return None
        too_few, enough = enough, min(2 * enough, MOST_SEEDS)
    if enough == grid.seeds:
        return enough
    low, high = too_few, enough  # power grows with seeds: bisect
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settles(middle) else (middle, high)
    return high


def wider(widths: tuple[int, ...], more: int) -> tuple[int, ...]:
    """Return `widths` and `more` larger ones, each the typical ratio of neighbours (at least 2) times the last."""
    ratio = max(2, round(float(np.exp(np.median(np.diff(np.log(np.array(widths, dtype=float))))))))
    return (*widths, *(widths[-1] * ratio ** (k + 1) for k in range(more)))
