"""Alpha by another road: logistic regression of P(reached | N, m).

The model is logit P(reached) = a + b log N + g log m. At P = 1/2, log N = -(a + g log m) / b, so alpha = -g / b. The
regression looks at single runs, knows no intervals and no monotony, and has errors of another shape. It shares only the
power law with `analysis.scaling`. On a coarse grid runs are often separated: every N below some value fails and every N
above it passes. Firth's penalty keeps the estimate finite then (Heinze and Schemper 2002, Statistics in Medicine
21:2409).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from analysis.censored import Array
from analysis.scaling import LEVEL, ScalingLaw

ITERATIONS = 100


@dataclass(frozen=True)
class Logistic:
    """Alpha by logistic regression, with its 95% interval (t_{S-1}, delete-one-seed jackknife); nan: not estimable."""

    alpha: float
    alpha_low: float
    alpha_high: float


def logistic(best: pd.DataFrame) -> Logistic:
    """Estimate alpha from one problem's rows of `tune.best_tuned` (width, samples, seed, reached).

    Runs of one seed share its data, so the error is over seeds. Alpha is nan if there are fewer than 2 widths or seeds,
    or if all runs pass or all fail. It is nan, too, if more samples do not help (b <= 0).
    """
    unknown = Logistic(np.nan, np.nan, np.nan)
    passes = best["reached"].to_numpy(float)
    seeds, seed = np.unique(best["seed"], return_inverse=True)
    if best["width"].nunique() < 2 or len(seeds) < 2 or passes.min() == passes.max():
        return unknown
    log_n, log_m = np.log(best["samples"].to_numpy(float)), np.log(best["width"].to_numpy(float))
    design = np.column_stack([np.ones(len(best)), log_n - log_n.mean(), log_m - log_m.mean()])
    # Equal rows but for the seed are counted together: [seeds, cells] runs and passes.
    cells, cell = np.unique(design, axis=0, return_inverse=True)
    trials, passed = np.zeros((len(seeds), len(cells))), np.zeros((len(seeds), len(cells)))
    np.add.at(trials, (seed, cell.ravel()), 1.0)
    np.add.at(passed, (seed, cell.ravel()), passes)
    whole = _firth(cells, trials.sum(axis=0), passed.sum(axis=0), np.zeros(3))
    if whole is None or whole[1] <= 0:
        return unknown
    left_out = [_firth(cells, trials.sum(axis=0) - trials[s], passed.sum(axis=0) - passed[s], whole)
                for s in range(len(seeds))]
    if any(each is None or each[1] <= 0 for each in left_out):
        return unknown
    alpha = -whole[2] / whole[1]
    values = np.array([-each[2] / each[1] for each in left_out if each is not None])
    error = np.sqrt((len(seeds) - 1) / len(seeds) * ((values - values.mean()) ** 2).sum())
    reach = stdtrit(len(seeds) - 1, (1 + LEVEL) / 2) * error
    return Logistic(float(alpha), float(alpha - reach), float(alpha + reach))


def disagree(law: ScalingLaw, check: Logistic) -> bool:
    """Return whether each of the two estimates lies outside the other's interval."""
    return (not law.alpha_low <= check.alpha <= law.alpha_high
            and not check.alpha_low <= law.alpha <= check.alpha_high and not np.isnan(check.alpha))


def _firth(design: Array, trials: Array, passed: Array, start: Array) -> Array | None:
    """Return the coefficients that maximize the log-likelihood + log det(information) / 2; None without convergence."""
    coefficients = start
    for _ in range(ITERATIONS):
        probability = 1 / (1 + np.exp(-np.clip(design @ coefficients, -500, 500)))
        weight = trials * probability * (1 - probability)
        information = (design * weight[:, None]).T @ design
        try:
            inverse = np.linalg.inv(information)
        except np.linalg.LinAlgError:
            return None
        leverage = weight * np.einsum("ij,jk,ik->i", design, inverse, design)
        step = inverse @ (design.T @ (passed - trials * probability + leverage * (0.5 - probability)))
        size = abs(step).max()
        coefficients = coefficients + step * min(1.0, 5.0 / size if size else 1.0)
        if size < 1e-8:
            return coefficients
    return None
