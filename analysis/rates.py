"""Rates: how excess risk falls with N and N_eps grows with 1/epsilon, p, k, d and the complexity, beside theorems.

Exponents are those of the law of `analysis.scaling`, log N_eps = c_m + exponent x log(quantity) + u_seed + e, with a
free level c_m at each width. It is fitted to the intervals that the grid of samples leaves for N_eps; the 95% intervals
of the exponents are over seeds. Between problems N_eps is judged at one epsilon in units of the loss, the geometric
mean of theirs. A relative epsilon would be another goal for another E||y||^2, and the theorems' epsilon is of the loss.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis import scaling
from analysis.complexity import sample_complexity
from analysis.load import problem_keys
from analysis.tune import POOLED, Tuning, best_tuned

EXCESS, N_EPS = "excess risk", "N_eps"
# Exponents of the theorems' bounds. They are bounds from above, so a smaller exponent agrees with them. Excess risk
# falls as N^(-1/2) if N grows as 1/epsilon^2.
# Theorem 1: the samples used are min{N, T}, T = O~(C_s(phi, 1)^2 k^3 p^2 / epsilon^2).
# Theorem 2: N = O~((C_eps(Phi, sqrt(p2) C_eps(phi, 1)) C_eps(phi, 1) sqrt(p2) p1 k^2 / epsilon_0)^2). The store's C_eps
# is the first factor, which is at least the second up to constants: together C_eps^4 at most. p2 is in the first
# factor, too, with a power that Phi decides: `_bound` reads it off the store's C_eps. Neither theorem has the
# dimension d.
# Theorem 3: N = Omega~(M m^(3/2)), M some polynomial: it has only the exponent of m. For the other two theorems N is
# polylogarithmic in m, which the verdict tests.
BOUNDS: dict[int, dict[str, float]] = {
    1: {"N": -0.5, "1/epsilon": 2.0, "p": 2.0, "k": 3.0, "d": 0.0, "C_s": 2.0},
    2: {"N": -0.5, "1/epsilon": 2.0, "p1": 2.0, "k": 4.0, "d": 0.0, "C_eps": 4.0},
    3: {"m": 1.5},
}
KEYS = {"p": "concept.p", "p1": "concept.p1", "p2": "concept.p2", "k": "concept.k", "d": "inputs.d"}
COMPLEXITIES = {"C_s": "log_C_s", "C_eps": "log_C_eps"}
EPSILONS = 6  # number of epsilons at which stored runs are judged for the exponent of 1/epsilon
MARGIN = 1.25  # factor by which these stay within the excess risks seen, lest N_eps be beyond the grid of samples
MOST = 50.0  # greater logarithms are written as such
ERRORS = 2.0  # standard errors within which the excess risk of a run is known
LEAST_ERROR = 0.005  # the least error as a part of the excess risk: the likelihood needs intervals, not points

COLUMNS = ["of", "quantity", "values", "problems", "epsilon", "widths", "seeds", "exponent", "low", "high", "predicted",
           "theorem", "stated", "compatible", "finding"]


def rates(runs: pd.DataFrame, tuning: Tuning = POOLED) -> pd.DataFrame:
    """Return measured exponents beside the theorems', one row per exponent. `runs` comes from `load.with_problem`.

    - Of "excess risk", in quantity N: of each problem, from its best-tuned runs at all N. A run's excess risk is known
    to within 2 standard errors; one that may be 0 is bounded from above alone.

    - Of "N_eps", in quantity 1/epsilon: of each problem, judged at 6 epsilons between the excess risks that it has.

    - Of "N_eps", in quantity m: of each problem that Theorem 3 is about, at its own epsilon.

    - Of "N_eps", in quantity p, p1, p2, k or d: of problems that differ in that key alone.

    - Of "N_eps", in quantity C_s or C_eps: of concepts with other values of it; all keys but the concept's are equal, p
    and k too.

    The columns are of, quantity, values (the quantity's, as text), problems (labels, one per line), epsilon, widths and
    seeds (numbers of), exponent, low, high, predicted, theorem, stated, compatible and finding. epsilon is in units of
    the loss, and nan for the first two kinds. low and high are at 95%, clustered by seed; infinite means unbounded.

    predicted is the exponent of the theorem's bound, nan if it has none. theorem is 1, 2 or 3, by learner and
    algorithm. stated is True if the theorem is about this algorithm and concept; else the comparison goes beyond its
    statement. compatible is True unless the interval lies above the bound, and None without a prediction. finding is
    "below the bound", "at the bound" (the bound is in the interval), "above the bound" or "no bound".
    """
    best = best_tuned(runs, tuning)
    measured = runs[runs["status"].ne("failed")]
    first = measured.drop_duplicates("problem").set_index("problem")
    by_problem = {str(problem): rows for problem, rows in best.groupby("problem")}
    first = first.loc[[problem for problem in first.index if problem in by_problem]]
    # Problems that differ in epsilon alone have the same risks, so one of them is enough.
    distinct = first.loc[problem_keys(first).drop(columns=["epsilon", "epsilon_unit"]).drop_duplicates().index]
    rows = [*_in_samples(runs, best, distinct), *_in_epsilon(by_problem, distinct),
            *_in_width(by_problem, first), *_between(by_problem, first)]
    return pd.DataFrame(rows, columns=COLUMNS)


# --- one problem -------------------------------------------------------------------------------------


def _in_samples(runs: pd.DataFrame, best: pd.DataFrame, first: pd.DataFrame) -> Iterator[dict[str, object]]:
    best = best[best["problem"].isin(first.index)]
    keys = ["problem", "width", "samples", "seed", "lr", "weight_decay"]
    known = best[keys].merge(runs[[*keys, "excess_risk", "excess_risk_se"]], on=keys)
    error = np.maximum(ERRORS * known["excess_risk_se"].fillna(0.0), LEAST_ERROR * known["excess_risk"])
    ends = known.assign(low=(known["excess_risk"] - error).clip(lower=0.0), high=known["excess_risk"] + error)
    ends = ends[ends["high"].gt(0)]  # a run below OPT says nothing of a power of N, and a diverged run has no risk
    for problem, rows in ends.groupby("problem"):
        if rows["samples"].nunique() > 1:
            logs = np.log(rows["samples"].astype(float))
            yield _row(EXCESS, "N", first.loc[[problem]], rows.assign(log_value=logs))


def _in_epsilon(best: dict[str, pd.DataFrame], first: pd.DataFrame) -> Iterator[dict[str, object]]:
    for problem in first.index:
        rows = best[problem]
        excess = (rows["test_risk"] - rows["opt"]).groupby(rows["samples"]).median()
        excess = excess[np.isfinite(excess) & excess.gt(0)]
        if excess.empty or excess.max() < MARGIN**3 * excess.min():
            continue
        epsilons = np.geomspace(excess.min() * MARGIN, excess.max() / MARGIN, EPSILONS)
        judged = [_judged(rows, epsilon).assign(log_value=-np.log(epsilon)) for epsilon in epsilons]
        yield _row(N_EPS, "1/epsilon", first.loc[[problem]], pd.concat(judged, ignore_index=True))


def _in_width(best: dict[str, pd.DataFrame], first: pd.DataFrame) -> Iterator[dict[str, object]]:
    for problem, row in first.iterrows():
        rows = best[str(problem)]
        if "m" in BOUNDS[_theorem(row)] and rows["width"].nunique() > 1:
            intervals = sample_complexity(rows)
            logs = np.log(intervals["width"].astype(float))
            yield _row(N_EPS, "m", first.loc[[problem]], intervals.assign(log_value=logs), row["epsilon_absolute"])


# --- between problems --------------------------------------------------------------------------------


def _between(best: dict[str, pd.DataFrame], first: pd.DataFrame) -> Iterator[dict[str, object]]:
    keys = problem_keys(first)
    for quantity, column in KEYS.items():
        if column in keys:
            logs = np.log(first[column].astype(float))
            yield from _compared(best, first, keys.drop(columns=column), quantity, logs)
    sizes = set(KEYS.values())
    others = keys[[name for name in keys if not name.startswith("concept.") or name in sizes]]
    for quantity, column in COMPLEXITIES.items():
        if column in first:
            yield from _compared(best, first, others, quantity, first[column].astype(float))


def _compared(best: dict[str, pd.DataFrame], first: pd.DataFrame, same: pd.DataFrame, quantity: str,
              logs: pd.Series) -> Iterator[dict[str, object]]:
    """Yield an exponent for each set of problems that agree in `same` and have several values of the quantity.

    `logs` are the logarithms of these values.
    """
    logs = logs[np.isfinite(logs)]
    for _, group in first.loc[logs.index].groupby(list(same.loc[logs.index].T.to_numpy())):
        if logs[group.index].nunique() < 2:
            continue
        epsilon = float(np.exp(np.log(group["epsilon_absolute"].astype(float)).mean()))
        # A problem has cells of its own, since several problems may have the same value of a concept's complexity.
        intervals = pd.concat([_judged(best[problem], epsilon).assign(log_value=logs[problem], cell=number)
                               for number, problem in enumerate(group.index)], ignore_index=True)
        yield _row(N_EPS, quantity, group, intervals, epsilon)


def _judged(best: pd.DataFrame, epsilon: float) -> pd.DataFrame:
    """Return the intervals of N_eps of one problem at an epsilon in units of the loss."""
    return sample_complexity(best.assign(reached=best["test_risk"].le(best["opt"] + epsilon)))


# --- exponents ---------------------------------------------------------------------------------------


def _fitted(intervals: pd.DataFrame, quantity: str) -> tuple[float, float, float]:
    """Return the exponent of the quantity whose logarithm is `log_value`, and its 95% interval.

    It is fitted to the intervals `low` to `high`, with a free level at each width (but for m).
    """
    centre = float(intervals["log_value"].mean())
    widths = np.unique(intervals["width"].astype(float)) if quantity != "m" else np.empty(1)

    def covariates(cells: pd.DataFrame) -> list[pd.Series]:
        return [cells["log_value"] - centre, *(cells["width"].eq(width).astype(float) for width in widths[1:])]

    cells = ["width", "log_value", *(["cell"] if "cell" in intervals else [])]
    law = scaling.Inference(scaling.observations_of(intervals, covariates, cells))
    low, high = law.interval(1)
    return law.estimate(1), low, high


def _row(of: str, quantity: str, problems: pd.DataFrame, intervals: pd.DataFrame,
         epsilon: float = np.nan) -> dict[str, object]:
    exponent, low, high = _fitted(intervals, quantity)
    theorems = {_theorem(row) for _, row in problems.iterrows()}
    theorem = theorems.pop() if len(theorems) == 1 else None
    predicted = _bound(theorem, quantity, problems) if theorem else np.nan
    finding = ("no bound" if np.isnan(predicted) else "above the bound" if low > predicted
               else "below the bound" if high < predicted else "at the bound")
    return {"of": of, "quantity": quantity, "values": _texts(intervals["log_value"]),
            "problems": "\n".join(map(str, problems.index)), "epsilon": epsilon,
            "widths": intervals["width"].nunique(), "seeds": intervals["seed"].nunique(), "exponent": exponent,
            "low": low, "high": high, "predicted": predicted, "theorem": theorem,
            "stated": all(_stated(row) for _, row in problems.iterrows()),
            "compatible": None if np.isnan(predicted) else not low > predicted, "finding": finding}


def _bound(theorem: int, quantity: str, problems: pd.DataFrame) -> float:
    """Return the exponent of the theorem's bound; nan if it has none.

    The exponent of p2 is 1 + 2 d log C_eps / d log p2. It is the least-squares slope over these problems, since their
    C_eps is that of Phi at a radius with sqrt(p2) in it.
    """
    if (theorem, quantity) == (2, "p2") and problems[COMPLEXITIES["C_eps"]].notna().all():
        logs = np.log(problems[KEYS["p2"]].astype(float))
        return 1 + 2 * float(np.polyfit(logs, problems[COMPLEXITIES["C_eps"]].astype(float), 1)[0])
    return BOUNDS[theorem].get(quantity, np.nan)


def _theorem(problem: pd.Series) -> int:
    if problem["algorithm.name"] == "algorithm3":
        return 3
    return 1 if problem["learner.name"].startswith("two_layer") else 2


def _stated(problem: pd.Series) -> bool:
    """Return whether a theorem is about this problem.

    That is Algorithm 1 on (3.1) with two layers, or Algorithm 2 or 3 on (4.1) with three.
    """
    layers = {"sgd": "two_layer", "algorithm2": "three_layer", "algorithm3": "three_layer"}
    expected = layers.get(problem["algorithm.name"])
    return (problem["learner.name"], problem["learner.trained"], problem["concept.family"]) == (
        expected, "hidden", expected)


def _texts(logs: pd.Series) -> str:
    """Return the values whose logarithms these are; C_eps may be beyond what a float holds."""
    return ", ".join(f"exp({log:.4g})" if log > MOST else f"{np.exp(log):.0f}" if log > np.log(1000) else
                     f"{np.exp(log):.3g}" for log in np.unique(logs.round(9)))
