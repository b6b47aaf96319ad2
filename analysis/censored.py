"""Gaussian regression on interval-censored data with a random effect of the seed, by maximum likelihood.

The model of one problem, for seed s and cell j (a width, and an epsilon if several are judged), is

    y_sj = design_sj . beta + u_s + e_sj,    u_s ~ N(0, tau^2),    e_sj ~ N(0, sigma^2),

and only low_sj < y_sj <= high_sj is known of y = log N_eps. A left- or right-censored cell has an infinite end. A cell
with two infinite ends says nothing; a missing cell is written so. A seed's likelihood is the integral over u_s of the
product over its cells of Phi((high - law - u) / sigma) - Phi((low - law - u) / sigma).

The parameters are (beta, tau, 1) / sigma: with u_s / tau given, the log-likelihood is concave in them (Burridge 1981,
JRSS B 43:41). The integral is a trapezoidal sum over u_s / tau, on the support that the intervals and the prior leave.
Its derivatives are those of Louis (1982, JRSS B 44:226). The integrand of a coarse grid is a box with soft edges, which
Gauss-Hermite nodes would miss.

Many fits of the same shape (jackknife, bootstrap, a profile, simulated data) are one batched Newton iteration.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

Array = NDArray[np.float64]

SIGMA_FLOOR = 0.01  # 1% of N: at the floor the likelihood says no more than "the law passes through the intervals"
FLOOR_OF_STEP = 1 / 20  # the data cannot tell a sigma below this part of the typical interval from one at it
SIGMA_CEILING = 5.0
TAU_CEILING = 5.0
# Weight of the squared distance (in sigma) to the middle of an interval, or to the known end of a censored one. The
# likelihood may be flat: every law through all intervals is as good, and so is every steeper law if the rest is
# censored. The weight makes the maximum unique then. It is too weak to move a law, or an end of an interval, that the
# data decide.
TIE_BREAK, TIE_BREAK_CENSORED = 1e-6, 1e-9
NODES = 32
GRID = np.linspace(0.0, 1.0, NODES)
REACH = 4.5  # sigmas beyond the intervals, after which the integrand counts as 0
PRIOR_REACH = 6.0  # the same for the prior, in taus
ITERATIONS, SHORTENINGS = 40, 4
TOLERANCE = 1e-5  # a Newton step that promises less gain in log-likelihood is not taken
BATCH = 1 << 17  # seeds x cells x nodes at once: more do not fit the processor's cache
TINY = 1e-250  # smaller probabilities are computed from logarithms


@dataclass(frozen=True)
class Observations:
    """Intervals of y, `low` and `high` [..., S, J] for S seeds and J cells, with the design matrix [S, J, k]."""

    low: Array
    high: Array
    design: Array

    def with_fixed(self, column: int, values: Array) -> "Observations":
        """Return the model with coefficient `column` fixed, per batch element at one of `values`.

        The arrays become [B, S, J], and the design [S, J, k-1].
        """
        shift = values[:, None, None] * self.design[..., column]
        return Observations(self.low - shift, self.high - shift, np.delete(self.design, column, axis=-1))

    def without(self, cells: NDArray[np.bool_]) -> "Observations":
        """Return the observations with `cells` [..., S, J] unknown."""
        return Observations(np.where(cells, -np.inf, self.low), np.where(cells, np.inf, self.high), self.design)

    @property
    def uncensored(self) -> NDArray[np.bool_]:
        """True for cells with two finite ends."""
        return np.isfinite(self.low) & np.isfinite(self.high)

    @property
    def censored(self) -> NDArray[np.bool_]:
        """True for cells with one finite end."""
        return np.isfinite(self.low) ^ np.isfinite(self.high)

    @property
    def step(self) -> float:
        """Median length of the uncensored intervals: the log step of the grid around N_eps; 0 if there are none."""
        lengths = (self.high - self.low)[self.uncensored]
        return float(np.median(lengths)) if lengths.size else 0.0

    @property
    def floor(self) -> float:
        """The least sigma that these intervals can tell."""
        return max(SIGMA_FLOOR, FLOOR_OF_STEP * self.step)


@dataclass(frozen=True)
class Maximum:
    """Maximum-likelihood fits, B of them."""

    beta: Array  # [B, k]
    sigma: Array  # [B]
    tau: Array  # [B]
    log_likelihood: Array  # [B], without the tie-break
    parameters: Array  # [B, k + 2]: (beta, tau, 1) / sigma, to start another fit from


def maximize(data: Observations, weights: Array | None = None, start: Array | None = None, floor: float | None = None,
             iterations: int = ITERATIONS, search: bool = False) -> Maximum:
    """Fit every batch element of `data`, whose low and high are [B, S, J] or [S, J].

    [S, J] is a batch of one, or of as many elements as `weights` has. weights [B, S]: how often each seed counts; 0
    leaves it out, as in a jackknife. start [B, k+2] or [k+2]: `parameters` of a fit nearby, from which the nearest
    maximum is found. search: begin at the starts of a fit that has none (least squares) as well, since on a coarse grid
    there may be several maxima. floor: the least sigma (default: data.floor). iterations: the most Newton steps.
    """
    floor = data.floor if floor is None else floor
    low, high = np.atleast_3d(data.low.T).T, np.atleast_3d(data.high.T).T
    count = max(len(low), 1 if weights is None else len(weights))
    low, high = (np.broadcast_to(each, (count, *each.shape[1:])) for each in (low, high))
    weights = np.ones(low.shape[:2]) if weights is None else np.broadcast_to(weights, low.shape[:2])
    if start is not None:
        start = np.broadcast_to(start, (count, start.shape[-1]))
    parts, size = [], max(BATCH // max(low[0].size * NODES, 1), 1)
    for first in range(0, count, size):
        rows = slice(first, first + size)
        fit = _Fit(Observations(low[rows], high[rows], data.design), weights[rows], floor)
        # A step too far has no finite likelihood, and is not taken.
        with np.errstate(over="ignore", invalid="ignore"):
            starts = ([] if start is None else [start[rows]]) + (fit.starts() if search or start is None else [])
            parts.append(fit.best_of(starts, iterations))
    return Maximum(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def log_likelihoods(data: Observations, parameters: Array) -> Array:
    """Return the log-likelihood of every seed, [B, S], at `parameters` [B, k+2]; `data` is as in `maximize`."""
    low, high = np.atleast_3d(data.low.T).T, np.atleast_3d(data.high.T).T
    low, high = (np.broadcast_to(each, (len(parameters), *each.shape[1:])) for each in (low, high))
    return _Fit(Observations(low, high, data.design), np.ones(low.shape[:2]), SIGMA_FLOOR).seeds(parameters)


class _Fit:
    """A batch of fits with the arrays that all iterations share."""

    def __init__(self, data: Observations, weights: Array, floor: float):
        self.low, self.high, self.design, self.weights = data.low, data.high, data.design, weights
        self.known_low, self.known_high = np.isfinite(data.low), np.isfinite(data.high)
        self.middle = _middle(data)
        self.tie = np.where(self.known_low & self.known_high, TIE_BREAK,
                            np.where(self.known_low | self.known_high, TIE_BREAK_CENSORED, 0.0)) * weights[..., None]
        self.columns = data.design.shape[-1]
        self.transposed = data.design.swapaxes(1, 2)
        self.bounds = 1 / SIGMA_CEILING, 1 / floor

    def best_of(self, starts: list[Array], iterations: int) -> tuple[Array, ...]:
        """Run from each of the starts, all at once; return the likeliest end of each element."""
        count = len(starts[0])
        ends = self.at(np.tile(np.arange(count), len(starts))).run(np.concatenate(starts), iterations)
        likeliest = ends[3].reshape(len(starts), count).argmax(axis=0) * count + np.arange(count)
        return tuple(each[likeliest] for each in ends)

    def run(self, start: Array, iterations: int) -> tuple[Array, Array, Array, Array, Array]:
        """Take Newton steps, each shortened until the likelihood grows; each element stops by itself."""
        theta = self.project(start)
        value, gradient, hessian = self.derivatives(theta)
        rows = np.arange(len(theta))
        for _ in range(iterations):
            step, promise = self.newton(theta[rows], gradient[rows], hessian[rows])
            rows, step = rows[promise > TOLERANCE], step[promise > TOLERANCE]
            todo, accepted = rows, []
            for _ in range(SHORTENINGS):
                if not len(todo):
                    break
                trial = self.project(theta[todo] + step)
                new_value, new_gradient, new_hessian = self.at(todo).derivatives(trial)
                gained = new_value > value[todo]
                better = todo[gained]
                theta[better], value[better] = trial[gained], new_value[gained]
                gradient[better], hessian[better] = new_gradient[gained], new_hessian[gained]
                accepted.append(better)
                todo, step = todo[~gained], step[~gained] / 4
            rows = np.concatenate(accepted) if accepted else rows[:0]
            if not len(rows):
                break
        theta[:, self.columns] = abs(theta[:, self.columns])
        sigma = 1 / theta[:, -1]
        likelihood = value + self.penalty(theta)[1]
        return theta[:, :self.columns] * sigma[:, None], sigma, theta[:, self.columns] * sigma, likelihood, theta

    def at(self, rows: NDArray[np.int_]) -> "_Fit":
        """Return the fit of some elements of the batch."""
        part = object.__new__(_Fit)
        part.design, part.transposed = self.design, self.transposed
        part.columns, part.bounds = self.columns, self.bounds
        for name in ("low", "high", "weights", "known_low", "known_high", "middle", "tie"):
            setattr(part, name, getattr(self, name)[rows])
        return part

    def starts(self) -> list[Array]:
        """Return two starts, each by least squares on the middles of the intervals.

        The first has tau and sigma from their residuals between and within seeds. The second has a small sigma: on a
        coarse grid the likelihood may have a second maximum, at which the law just fits.
        """
        known = self.tie > 0
        root = np.sqrt(known * self.weights[..., None])
        design = root[..., None] * self.design
        flat = design.reshape(len(design), -1, self.columns)
        beta = np.einsum("bkn,bn->bk", np.linalg.pinv(flat), (root * self.middle).reshape(len(design), -1))
        residual = np.where(known, self.middle - np.einsum("sjk,bk->bsj", self.design, beta), 0.0)
        counts = known.sum(axis=2)
        means = residual.sum(axis=2) / np.maximum(counts, 1)
        within = np.where(known, residual - means[..., None], 0.0)
        used = self.weights * (counts > 0)
        tau = np.sqrt((used * means**2).sum(axis=1) / np.maximum(used.sum(axis=1), 1))
        squares, number = (self.weights[..., None] * within**2).sum(axis=(1, 2)), (used * counts).sum(axis=1)
        sigma = np.sqrt(squares / np.maximum(number, 1))
        loose = np.column_stack([beta, tau.clip(0.05, TAU_CEILING), np.ones(len(beta))])
        tight = min(3 / self.bounds[1], 0.1)
        return [loose / sigma.clip(0.1, 1.0)[:, None], loose / tight]

    def project(self, theta: Array) -> Array:
        theta = theta.copy()
        theta[:, -1] = theta[:, -1].clip(*self.bounds)
        most = TAU_CEILING * theta[:, -1]
        theta[:, self.columns] = theta[:, self.columns].clip(-most, most)
        return theta

    def newton(self, theta: Array, gradient: Array, hessian: Array) -> tuple[Array, Array]:
        """Return the step and the gain it promises. Directions of positive curvature are climbed too; sigma keeps its
        bounds."""
        at_floor = (theta[:, -1] >= self.bounds[1]) & (gradient[:, -1] > 0)
        at_ceiling = (theta[:, -1] <= self.bounds[0]) & (gradient[:, -1] < 0)
        held = at_floor | at_ceiling
        gradient, hessian = gradient.copy(), hessian.copy()
        gradient[held, -1] = 0.0
        hessian[held, -1, :] = 0.0
        hessian[held, :, -1] = 0.0
        hessian[held, -1, -1] = -1.0
        eigenvalues, vectors = np.linalg.eigh(hessian)
        inverse = 1 / np.maximum(abs(eigenvalues), 1e-9 + 1e-12 * abs(eigenvalues).max(axis=1, keepdims=True))
        along = np.einsum("bpe,bp->be", vectors, gradient)
        step = np.einsum("bpe,be->bp", vectors, inverse * along)
        return step, (inverse * along**2).sum(axis=1) / 2

    def law(self, theta: Array) -> Array:
        """Return the law of every cell in sigmas, [B, S, J]."""
        return (self.design @ theta[:, None, :self.columns, None])[..., 0]

    def nodes(self, theta: Array) -> tuple[Array, Array, Array, Array]:
        """Return the ends of the intervals about the law, and the nodes of u / tau with their log weights.

        The ends, below and above, are in sigmas, [B, S, J]; nodes and log weights are [B, S, Q]. The support in u /
        sigma lies within REACH of the values of u that the intervals leave. It also lies within PRIOR_REACH taus of 0
        or of the value that the intervals pull u to. If the intervals leave 0 out, the prior pulls u towards it,
        against one cell at least.
        """
        law = self.law(theta)
        below, above = theta[:, -1, None, None] * self.low - law, theta[:, -1, None, None] * self.high - law
        tau = np.maximum(abs(theta[:, self.columns, None]), 1e-6)
        last, first = below.max(axis=2), above.min(axis=2)  # u is above all lows and below all highs
        cells = below.shape[2]
        pull = cells * tau**2 / (1 + cells * tau**2)
        margin, against_one = REACH * np.minimum(tau, 1.0), tau**2 / (1 + tau**2)
        left, right = np.minimum(last, first) - REACH, np.maximum(last, first) + REACH
        up = PRIOR_REACH * tau + pull * np.where(np.isfinite(last), np.maximum(last, 0.0), 0.0)
        down = PRIOR_REACH * tau - pull * np.where(np.isfinite(first), np.minimum(first, 0.0), 0.0)
        left, right = (np.where(left > 0, against_one * (left + REACH) - margin, np.maximum(left, -down)),
                       np.where(right < 0, against_one * (right - REACH) + margin, np.minimum(right, up)))
        z = (left[..., None] + (right - left)[..., None] * GRID) / tau[..., None]
        spacing = (right - left) / tau / (NODES - 1)
        log_weight = -0.5 * z * z - 0.5 * np.log(2 * np.pi) + np.log(spacing)[..., None]
        return below, above, z, log_weight

    def masses(self, theta: Array) -> tuple[Array, Array, Array, Array, Array, Array]:
        """Return below, above and the log mass of every cell at every node, [B, S, J, Q]; then what follows per seed.

        That is z, the posterior weights of the nodes, and the log-likelihood of every seed.
        """
        below, above, z, log_weight = self.nodes(theta)
        shift = (theta[:, self.columns, None, None] * z)[:, :, None, :]
        below, above = below[..., None] - shift, above[..., None] - shift
        log_mass = _log_mass(below, above)
        joint = log_mass.sum(axis=2) + log_weight
        top = joint.max(axis=2, keepdims=True)
        terms = np.exp(joint - top)
        total = terms.sum(axis=2, keepdims=True)
        return below, above, log_mass, z, terms / total, (top + np.log(total))[..., 0]

    def seeds(self, theta: Array) -> Array:
        """Return the log-likelihood of every seed, [B, S]."""
        return self.masses(theta)[-1]

    def penalty(self, theta: Array) -> tuple[Array, Array]:
        """Return the tie-break's distances [B, S, J] and its part of the value, [B]."""
        off = theta[:, -1, None, None] * self.middle - self.law(theta)
        return off, (self.tie * off * off).sum(axis=(1, 2))

    def derivatives(self, theta: Array) -> tuple[Array, Array, Array]:
        """Return the value that is maximized, its gradient and its Hessian with respect to `theta`.

        The value is the log-likelihood less the tie-break, [B]; the gradient is [B, k+2] and the Hessian [B, k+2, k+2].
        """
        below, above, log_mass, z, posterior, likelihood = self.masses(theta)
        at_low, at_high = _density_ratio(below, log_mass), _density_ratio(above, log_mass)
        low = np.where(self.known_low, self.low, 0.0)[..., None]
        high = np.where(self.known_high, self.high, 0.0)[..., None]
        # d/d law and d/d precision of log mass, [B, S, J, Q]. Its second derivatives are bend_low - bend_high -
        # by_law^2; high bend_high - low bend_low - by_law by_precision; low^2 bend_low - high^2 bend_high -
        # by_precision^2.
        by_law = at_low - at_high
        by_precision = high * at_high - low * at_low
        bend_low = np.where(self.known_low[..., None], below, 0.0) * at_low
        bend_high = np.where(self.known_high[..., None], above, 0.0) * at_high

        score = np.empty((*z.shape[:2], self.columns + 2, NODES))  # of the seed with u given, [B, S, P, Q]
        score[:, :, :-2] = self.transposed @ by_law
        score[:, :, -2] = z * by_law.sum(axis=2)
        score[:, :, -1] = by_precision.sum(axis=2)
        weighted = score * posterior[:, :, None, :]
        mean = weighted.sum(axis=3)

        moments = np.stack([posterior, z * posterior, z * z * posterior], axis=-1)  # of z, [B, S, Q, 3]
        # Posterior means, [B, S, J, 3]
        bend_low, bend_high = bend_low @ moments, bend_high @ moments
        law_law = bend_low - bend_high - (by_law * by_law) @ moments
        law_precision = high * bend_high - low * bend_low - (by_law * by_precision) @ moments
        precision_precision = (low**2 * bend_low - high**2 * bend_high)[..., 0] - (
            (by_precision * by_precision) @ posterior[..., None])[..., 0]
        blocks = weighted @ score.swapaxes(2, 3) - mean[..., :, None] * mean[..., None, :]
        extra = np.empty_like(blocks)
        extra[:, :, :-2, :-2] = self.transposed @ (law_law[..., :1] * self.design)
        extra[:, :, :-2, -2] = (self.transposed @ law_law[..., 1:2])[..., 0]
        extra[:, :, :-2, -1] = (self.transposed @ law_precision[..., :1])[..., 0]
        extra[:, :, -2, :-2], extra[:, :, -1, :-2] = extra[:, :, :-2, -2], extra[:, :, :-2, -1]
        extra[:, :, -2, -2] = law_law[..., 2].sum(axis=2)
        extra[:, :, -2, -1] = extra[:, :, -1, -2] = law_precision[..., 1].sum(axis=2)
        extra[:, :, -1, -1] = precision_precision.sum(axis=2)

        off, penalty = self.penalty(theta)
        away = np.concatenate([np.broadcast_to(-self.design, (*off.shape, self.columns)), np.zeros((*off.shape, 1)),
                               self.middle[..., None]], axis=-1).reshape(len(theta), -1, self.columns + 2)
        tie = (2 * self.tie).reshape(len(theta), -1, 1)
        value = (self.weights * likelihood).sum(axis=1) - penalty
        gradient = (self.weights[..., None] * mean).sum(axis=1)
        gradient -= (tie * off.reshape(tie.shape) * away).sum(axis=1)
        hessian = (self.weights[..., None, None] * (blocks + extra)).sum(axis=1) - (tie * away).swapaxes(1, 2) @ away
        return value, gradient, hessian


def _middle(data: Observations) -> Array:
    """Return the middle of each interval, the finite end of a censored one, and 0 if nothing is known."""
    low = np.where(np.isfinite(data.low), data.low, data.high)
    high = np.where(np.isfinite(data.high), data.high, data.low)
    known = np.isfinite(data.low) | np.isfinite(data.high)
    return np.where(known, (np.where(known, low, 0.0) + np.where(known, high, 0.0)) / 2, 0.0)


def _log_mass(below: Array, above: Array) -> Array:
    """Return log P(below < Z <= above) of a standard Gaussian, accurate in both tails."""
    flip = above > -below  # mirror intervals of the upper half: ndtr loses its digits there
    low, high = np.where(flip, -above, below), np.where(flip, -below, above)
    mass = ndtr(high) - ndtr(low)
    tiny = mass < TINY
    log_mass = np.log(np.where(tiny, 1.0, mass))
    if tiny.any():
        log_high = log_ndtr(high[tiny])
        log_mass[tiny] = log_high + np.log1p(-np.exp(np.minimum(log_ndtr(low[tiny]) - log_high, -1e-15)))
    return log_mass


def _density_ratio(z: Array, log_mass: Array) -> Array:
    """Return the density at z over the mass of the cell; 0 at an infinite end."""
    return np.exp(-0.5 * z * z - 0.5 * np.log(2 * np.pi) - log_mass)
