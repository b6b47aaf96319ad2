"""The scaling law log N_eps = c + alpha log m (+ beta log(1/epsilon)) + u_seed + e, fitted to intervals of N_eps.

u_seed is a random effect: the widths of one seed share its data. The likelihood is that of `analysis.censored`;
censored seeds are ordinary intervals of it and are used, not dropped.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import fdtrc, stdtr, stdtrit  # scipy.stats takes more than a second to import

from analysis.censored import Array, Maximum, Observations, maximize

LIMIT = 20.0  # an end of an interval further than this from the estimate is reported as infinite
LEVEL = 0.95
EDGE, EDGE_STEPS = 1e-4, 20  # how near the root is to what is allowed at an end, as a part of it; the most steps there
RESAMPLES, RESAMPLE_ITERATIONS = 100, 4


@dataclass(frozen=True)
class ScalingLaw:
    """log N_eps = log_n + alpha (log m - log_m), with a 95% interval for alpha; infinite ends are unbounded."""

    alpha: float
    alpha_low: float
    alpha_high: float
    alpha_se: float  # standard error over seeds (jackknife); nan with one seed
    p_equivalence: float  # of "|alpha| >= delta": small if alpha is proven to lie inside (-delta, delta)
    p_scales: float  # of "alpha <= delta"
    p_shrinks: float  # of "alpha >= -delta"
    bootstrap_low: float  # 95% percentiles of a cluster bootstrap over seeds, shown beside; nan with one seed
    bootstrap_high: float
    log_n: float  # log N_eps at the central width
    log_m: float  # log of the central width (mean of log m over the observations)
    sigma: float  # standard deviation of e
    tau: float  # standard deviation of u_seed
    bent_p: float  # p-value of "a straight line suffices" against one free level per width; small = not a power law


class Inference:
    """Maximum likelihood of one law, with intervals and p-values of its coefficients; the seeds are the sample.

    An interval is the hull of two. The first is estimate +- t_{S-1} x standard error of the delete-one-seed jackknife,
    S the number of seeds. Seeds are independent; their widths share data. A seed may shift the law (tau) or tilt it (no
    parameter of the likelihood), and the jackknife knows all of it. For complete data it is the t interval of the
    seeds' own slopes, exact for Gaussian ones.

    The second is profile likelihood. Its threshold is n log(1 + t^2 / (n - k)) of Student's t in place of chi-squared,
    with n uncensored intervals and k coefficients. It is exact for complete Gaussian data with no effect of the seed.
    Its root is reduced to the share that the grid has in a residual's standard deviation. With h the log step of the
    grid around N_eps, that is the root of (h^2 / 12) / (sigma^2 + h^2 / 12). It knows what the grid cannot tell. If all
    seeds fall into one interval, the jackknife's error is 0, and every slope that fits through the intervals is as
    likely. On a fine grid the jackknife alone is exact, and the likelihood has next to no part. If a width is censored,
    or nothing is known, its share is 1, and the interval may be unbounded.

    A one-sided p-value is likewise the larger of the two, so an interval ends at the value at which it crosses 2.5%.
    """

    def __init__(self, data: Observations, best: Maximum | None = None, left_out: Array | None = None):
        """Fit the law, unless `best` is the fit already, and `left_out` the coefficients of the fits without each seed
        [S, k]."""
        self.data, self.seeds, self.floor = data, data.low.shape[0], data.floor
        self.best = best or maximize(data, floor=self.floor)
        if left_out is not None:
            self.left_out = left_out
        elif self.seeds > 1:
            self.left_out = maximize(data, 1 - np.eye(self.seeds), self.best.parameters[0], self.floor).beta
        else:
            self.left_out = np.full((1, data.design.shape[-1]), np.nan)
        self.freedom = self.seeds - 1
        self.spare = max(int(data.uncensored.sum()) - data.design.shape[-1], 1)
        grid = data.step**2 / 12
        all_of_it = data.censored.any() or not data.uncensored.any()
        self.share = 1.0 if all_of_it else float(np.sqrt(grid / (grid + self.best.sigma[0] ** 2)))

    def estimate(self, column: int) -> float:
        return float(self.best.beta[0, column])

    def error(self, column: int) -> float:
        """Return the standard error by the jackknife over seeds; nan with one seed."""
        values = self.left_out[:, column]
        return float(np.sqrt((self.seeds - 1) / self.seeds * ((values - values.mean()) ** 2).sum()))

    def root(self, column: int, values: Array) -> Array:
        """Return the root of twice the log-likelihood ratio of the estimate to each value of the coefficient."""
        start = np.delete(self.best.parameters[0], column)
        profiled = maximize(self.data.with_fixed(column, np.asarray(values, float)), start=start, floor=self.floor,
                            search=True)
        return np.sqrt(2 * np.maximum(self.best.log_likelihood - profiled.log_likelihood, 0.0))

    def p_below(self, column: int, value: float) -> float:
        """Return the one-sided p-value of "the coefficient is at least `value`"."""
        return self._p(column, value, value - self.estimate(column))

    def p_above(self, column: int, value: float) -> float:
        """Return the one-sided p-value of "the coefficient is at most `value`"."""
        return self._p(column, value, self.estimate(column) - value)

    def _p(self, column: int, value: float, distance: float) -> float:
        if self.seeds < 2:
            return 1.0
        by_seeds = self.p_of_seeds(column, distance)
        return by_seeds if distance <= 0 else max(by_seeds, self.p_of_root(self.root(column, np.array([value]))[0]))

    def p_of_seeds(self, column: int, distance: float) -> float:
        """Return the jackknife's part in a p-value of a value at `distance` from the estimate."""
        error = self.error(column)
        in_errors = distance / error if error > 0 else float(np.copysign(np.inf, distance)) if distance else 0.0
        return float(stdtr(self.freedom, -in_errors))

    def p_of_root(self, root: float) -> float:
        """Return the likelihood's part in the p-value of a value with this `root`."""
        if not self.share:
            return 0.0
        ratio = (root / self.share) ** 2
        with np.errstate(over="ignore"):
            in_errors = np.sqrt(self.spare * np.expm1(ratio / (self.spare + self.data.design.shape[-1])))
        return float(stdtr(self.spare, -in_errors))

    def interval(self, column: int) -> tuple[float, float]:
        """Return the 95% interval of a coefficient; unbounded with a single seed."""
        if self.seeds < 2:
            return -np.inf, np.inf
        reach, centre = float(stdtrit(self.freedom, (1 + LEVEL) / 2)) * self.error(column), self.estimate(column)
        allowed = self.share * np.sqrt((self.spare + self.data.design.shape[-1])
                                       * np.log1p(float(stdtrit(self.spare, (1 + LEVEL) / 2)) ** 2 / self.spare))

        def excess(sides: Array, distances: Array) -> Array:
            return self.root(column, centre + sides * distances) - allowed

        below, above = _edges(excess, reach, allowed)
        return centre - below, centre + above

    def bootstrap(self, column: int) -> tuple[float, float]:
        """Return 95% percentiles of the estimate over resamples of whole seeds; nan with one seed.

        Each resample takes a few Newton steps.
        """
        if self.seeds < 2:
            return np.nan, np.nan
        draws = np.random.default_rng(0).multinomial(self.seeds, np.full(self.seeds, 1 / self.seeds), size=RESAMPLES)
        drawn, counts = np.unique(draws, axis=0, return_counts=True)  # few seeds have few distinct resamples
        found = maximize(self.data, drawn.astype(float), self.best.parameters[0], self.floor, RESAMPLE_ITERATIONS)
        low, high = np.quantile(np.repeat(found.beta[:, column], counts), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    def at(self, transform: Array) -> "Inference":
        """Return the same law in other coefficients: design @ transform takes the place of the design."""
        inverse = np.linalg.inv(transform).T
        parameters = np.column_stack([self.best.parameters[:, :-2] @ inverse, self.best.parameters[:, -2:]])
        best = replace(self.best, beta=self.best.beta @ inverse, parameters=parameters)
        data = replace(self.data, design=self.data.design @ transform)
        return Inference(data, best, self.left_out @ inverse)


def fit(intervals: pd.DataFrame, delta: float) -> ScalingLaw:
    """Fit the scaling law of one problem. Raises ValueError for fewer than 2 widths.

    `intervals` has the columns width, seed, low, high (in samples), one row per seed and width, as
    `complexity.sample_complexity` makes them. delta: the exponent that the p-values compare alpha with.

    The interval of alpha that decides is that of `Inference`. docs/statistics.md says how often it covers, in
    simulations of problems whose law is known. The percentiles of a cluster bootstrap over seeds are reported beside it
    and decide nothing. With 3 to 5 seeds they are too narrow, and if all seeds agree (a coarse grid) they have no width
    at all. The interval leaves out a deviation of the true N_eps(m) from a power law that is common to all seeds;
    `bent_p` and `analysis.models` look for it.
    """
    log_m = np.log(intervals["width"].to_numpy(float))
    if len(np.unique(log_m)) < 2:
        raise ValueError("a scaling law needs at least 2 widths")
    centre = float(log_m.mean())
    inference = Inference(observations_of(intervals, lambda cells: [np.log(cells["width"]) - centre]))
    (low, high), (bootstrap_low, bootstrap_high) = inference.interval(1), inference.bootstrap(1)
    best = inference.best
    return ScalingLaw(
        alpha=inference.estimate(1), alpha_low=low, alpha_high=high, alpha_se=inference.error(1),
        p_equivalence=max(inference.p_below(1, delta), inference.p_above(1, -delta)),
        p_scales=inference.p_above(1, delta), p_shrinks=inference.p_below(1, -delta),
        bootstrap_low=bootstrap_low, bootstrap_high=bootstrap_high, log_n=inference.estimate(0), log_m=centre,
        sigma=float(best.sigma[0]), tau=float(best.tau[0]), bent_p=_bent(intervals, inference))


def epsilon_law(intervals: pd.DataFrame) -> pd.DataFrame:
    """Fit the law over several epsilons, log N_eps = c + alpha log m + beta log(1/epsilon) + u_seed + e.

    `intervals` has a column epsilon besides, and one row per seed, width and epsilon. Return the rows alpha and beta:
    coefficient, estimate, low, high (95%), se. A run judged at two epsilons counts in both, so their errors go
    together; the interval is over seeds and does not mind. Raises ValueError for fewer than 2 widths, 2 epsilons or 2
    seeds.
    """
    for name, what in (("width", "widths"), ("epsilon", "epsilons"), ("seed", "seeds")):
        if intervals[name].nunique() < 2:
            raise ValueError(f"a law over epsilons needs at least 2 {what}")
    log_m, log_e = np.log(intervals["width"].astype(float)).mean(), np.log(intervals["epsilon"].astype(float)).mean()
    data = observations_of(intervals, lambda cells: [np.log(cells["width"]) - log_m, log_e - np.log(cells["epsilon"])],
                           ["width", "epsilon"])
    inference = Inference(data)
    rows = [(name, inference.estimate(column), *inference.interval(column), inference.error(column))
            for column, name in ((1, "alpha"), (2, "beta"))]
    return pd.DataFrame(rows, columns=["coefficient", "estimate", "low", "high", "se"])


def band(intervals: pd.DataFrame, widths: Array) -> pd.DataFrame:
    """Return the fitted law and its 95% band at `widths`: columns width, law, low, high (in samples).

    The level at a width is the intercept of a law that measures log m from that width. So its interval is found as
    alpha's is. Ends may be 0 or inf.
    """
    centre = float(np.log(intervals["width"].astype(float)).mean())
    law = Inference(observations_of(intervals, lambda cells: [np.log(cells["width"]) - centre]))
    rows = []
    for width in widths:
        there = law.at(np.array([[1.0, centre - np.log(width)], [0.0, 1.0]]))
        low, high = there.interval(0)
        rows.append((width, np.exp(there.estimate(0)), np.exp(low), np.exp(high)))
    return pd.DataFrame(rows, columns=["width", "law", "low", "high"])


def observations_of(intervals: pd.DataFrame, covariates: Callable[[pd.DataFrame], list[pd.Series]],
                    cells: list[str] | None = None) -> Observations:
    """Return the rows of `intervals` as seeds x cells, with a constant and the covariates of each cell as design.

    covariates: from a frame of the cells (columns `cells`, by default width alone, as floats) to its columns. A cell
    that a seed has no row for is unknown. If a seed has several rows for one cell, their narrowest intersection is
    kept.
    """
    names = cells or ["width"]
    columns = pd.MultiIndex.from_frame(intervals[names].astype(float))
    distinct = columns.unique().sort_values()
    seeds, seed = np.unique(intervals["seed"].to_numpy(), return_inverse=True)
    cell = distinct.get_indexer(columns)
    low, high = np.full((len(seeds), len(distinct)), -np.inf), np.full((len(seeds), len(distinct)), np.inf)
    with np.errstate(divide="ignore"):
        np.maximum.at(low, (seed, cell), np.log(intervals["low"].to_numpy(float)))
        np.minimum.at(high, (seed, cell), np.log(intervals["high"].to_numpy(float)))
    frame = distinct.to_frame(index=False, name=names)
    design = np.column_stack([np.ones(len(frame)), *covariates(frame)])
    return Observations(low, high, np.broadcast_to(design, (len(seeds), *design.shape)))


def _edges(excess: Callable[[Array, Array], Array], least: float, allowed: float) -> tuple[float, float]:
    """Return the distances below and above, at least `least`, up to which the likelihood holds values possible.

    They are infinite beyond LIMIT. excess: the root over what is allowed, by side (-1 or 1) and distance. The root is
    nearly linear in the distance, so regula falsi (with Illinois' halving) finds an end in a few steps.
    """
    sides, near = np.array([-1.0, 1.0]), np.full(2, max(least, 1e-3))
    at_near = excess(sides, near)
    ends = np.where(at_near >= 0, least, np.inf)
    far, at_far = near.copy(), at_near.copy()
    while (inside := (at_far < 0) & (far < LIMIT)).any():
        near[inside], at_near[inside] = far[inside], at_far[inside]
        far[inside] *= (1.05 / np.maximum(1 + at_near[inside] / allowed, 1e-3)).clip(1.2, 8.0)
        at_far[inside] = excess(sides[inside], far[inside])
    searched = (at_near < 0) & (at_far >= 0)
    last = np.zeros(2)
    for _ in range(EDGE_STEPS):
        if not searched.any():
            break
        rise = np.where(searched, at_far - at_near, 1.0)
        ends = np.where(searched, (near * at_far - far * at_near) / rise, ends)
        value = np.zeros(2)
        value[searched] = excess(sides[searched], ends[searched])
        inside, outside = searched & (value < 0), searched & (value >= 0)
        at_far[inside & (last < 0)] /= 2  # this end of the bracket stayed twice
        at_near[outside & (last > 0)] /= 2
        near[inside], at_near[inside] = ends[inside], value[inside]
        far[outside], at_far[outside] = ends[outside], value[outside]
        last = np.where(value < 0, -1.0, 1.0)
        searched &= abs(value) > EDGE * allowed
    return float(ends[0]), float(ends[1])


def _bent(intervals: pd.DataFrame, line: Inference) -> float:
    """Return the p-value of the likelihood-ratio test of the line against a free level at each width; nan for 2 widths.

    It is by the F distribution. For complete balanced data whose seeds differ in level (tau > 0) it is exact. There
    both laws have the same differences between seeds, so the ratio is that of residuals within them, which have a seed
    fewer. For tau = 0 it is a little too small (1.6% for 1% with 3 seeds, less with more).
    """
    widths = np.sort(intervals["width"].unique()).astype(float)
    within = len(intervals) - line.seeds
    extra, freedom = len(widths) - 2, within - len(widths) + 1
    if extra < 1 or freedom < 1:
        return float("nan")
    levels = observations_of(intervals, lambda cells: [cells["width"].eq(width).astype(float) for width in widths[1:]])
    ratio = 2 * max(float((maximize(levels, floor=line.floor).log_likelihood - line.best.log_likelihood)[0]), 0.0)
    return float(fdtrc(extra, freedom, np.expm1(ratio / within) * freedom / extra))
