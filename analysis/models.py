"""Laws of N_eps(m) compared: constant, polylogarithmic (Theorem 2 allows it), a power, m^{3/2} (Theorem 3's bound)."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.censored import Maximum, Observations, log_likelihoods, maximize
from analysis.scaling import observations_of

# log N_eps as a function of the width: its covariates, and a term that has no coefficient.
MODELS: dict[str, tuple[Callable[[pd.Series], list[pd.Series]], Callable[[pd.Series], pd.Series]]] = {
    "constant": (lambda m: [], lambda m: 0 * m),
    "polylog": (lambda m: [np.log(np.log(m))], lambda m: 0 * m),  # N = C (log m)^c
    "power": (lambda m: [np.log(m)], lambda m: 0 * m),  # N = C m^alpha
    "m^1.5": (lambda m: [], lambda m: 1.5 * np.log(m)),
}
COLUMNS = ["model", "exponent", "parameters", "log_likelihood", "aicc", "aicc_weight", "bic", "bic_weight", "log_score",
           "log_score_se"]


def compare(intervals: pd.DataFrame) -> pd.DataFrame:
    """Fit the laws of MODELS to one problem's intervals (as for `scaling.fit`; at least 2 widths).

    Each law is fitted by maximum likelihood with the same random effect of the seed. Columns: model, exponent (of log m
    for polylog, of m for the others), parameters (number of), log_likelihood, aicc, aicc_weight, bic, bic_weight,
    log_score, log_score_se. The weights sum to 1 over models.

    log_score is the mean log probability of an interval at a width that was left out of the fit, given the seed's other
    widths. log_score_se is the standard error over seeds of its difference from the best model's. The log score is nan
    for 2 widths: a slope cannot be fitted to one. aicc is nan for fewer than 2 observations more than parameters.
    polylog is left out if a width is 1. The best log score comes first (the best aicc for 2 widths).
    """
    widths = np.sort(intervals["width"].unique()).astype(float)
    count, seeds = len(intervals), intervals["seed"].nunique()
    rows, scores = [], {}
    for name, (covariates, known) in MODELS.items():
        if name == "polylog" and widths[0] < 2:
            continue
        data = _observations(intervals, covariates, known)
        best = maximize(data)
        parameters = data.design.shape[-1] + 2
        likelihood, spare = float(best.log_likelihood[0]), count - parameters - 1
        aicc = 2 * parameters - 2 * likelihood + (2 * parameters * (parameters + 1) / spare if spare > 0 else np.nan)
        exponent = {"constant": 0.0, "m^1.5": 1.5}.get(name, float(best.beta[0, -1]))
        rows.append((name, exponent, parameters, likelihood, aicc, parameters * np.log(count) - 2 * likelihood))
        scores[name] = _log_scores(data, best) if len(widths) > 2 else np.full(seeds, np.nan)
    table = pd.DataFrame(rows, columns=["model", "exponent", "parameters", "log_likelihood", "aicc", "bic"])
    for name in ("aicc", "bic"):
        weight = np.exp(-(table[name] - table[name].min()) / 2)
        table[f"{name}_weight"] = weight / weight.sum()
    cells = intervals.groupby("seed").size().to_numpy()
    table["log_score"] = [scores[name].sum() / cells.sum() for name in table["model"]]
    top = table["model"][table["log_score"].fillna(-np.inf).idxmax()]
    table["log_score_se"] = [_error((scores[name] - scores[top]) / cells) for name in table["model"]]
    table = table.sort_values("log_score" if len(widths) > 2 else "aicc", ascending=len(widths) <= 2, kind="stable")
    return table[COLUMNS].reset_index(drop=True)


def _observations(intervals: pd.DataFrame, covariates: Callable[[pd.Series], list[pd.Series]],
                  known: Callable[[pd.Series], pd.Series]) -> Observations:
    """Return the intervals less the part of log N_eps that the model knows, with centred covariates."""
    shift = np.exp(known(intervals["width"].astype(float)))
    rest = intervals.assign(low=intervals["low"] / shift, high=intervals["high"] / shift)
    return observations_of(rest, lambda cells: [each - each.mean() for each in covariates(cells["width"])])


def _log_scores(data: Observations, best: Maximum) -> np.ndarray:
    """Return per seed the sum over widths of log P(interval at the width | the seed's other widths).

    The law is fitted without the width. Such a probability is the ratio of the seed's likelihood with the width to that
    without it.
    """
    seeds, cells = data.low.shape
    left_out = np.broadcast_to(np.eye(cells, dtype=bool)[:, None, :], (cells, seeds, cells))
    without = data.without(left_out)
    fitted = maximize(without, start=best.parameters[0], floor=data.floor)
    whole = Observations(np.broadcast_to(data.low, without.low.shape), np.broadcast_to(data.high, without.high.shape),
                         data.design)
    return (log_likelihoods(whole, fitted.parameters) - log_likelihoods(without, fitted.parameters)).sum(axis=0)


def _error(differences: np.ndarray) -> float:
    """Return the standard error of the mean over seeds; nan for one seed."""
    if len(differences) < 2:
        return float("nan")
    return float(differences.std(ddof=1) / np.sqrt(len(differences)))
