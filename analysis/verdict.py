"""The verdict: does the sample complexity scale with the width? By equivalence, not by failing to reject."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.command import command
from analysis.complexity import sample_complexity
from analysis.load import label
from analysis.scaling import Law, fit
from analysis.tune import edges, tuned

# An exponent this small doubles N_eps at most every 2^10 = 1024-fold width.
DELTA = 0.1

INDEPENDENT, SCALES, SHRINKS, INCONCLUSIVE = ("does not scale with m", "scales with m", "shrinks with m",
                                              "inconclusive")


@dataclass(frozen=True)
class Study:
    """Everything the analysis finds out about the problems of a store."""

    runs: pd.DataFrame  # as loaded
    best: pd.DataFrame  # best-tuned runs
    intervals: pd.DataFrame  # N_eps, a row a (problem, width, seed)
    laws: dict[int, Law]
    verdicts: pd.DataFrame  # a row a problem
    warnings: list[str]


def study(runs: pd.DataFrame, delta: float = DELTA) -> Study:
    """Analyse runs as `load` returns them. `delta`: exponents between -delta and delta count as independent of m.

    Columns of the verdicts: problem, concept, learner, trained, algorithm, epsilon, widths, seeds, alpha (exponent of
    m), alpha_low and alpha_high (95% interval), verdict, why, next (the command that would settle it, or empty).
    """
    best = tuned(runs)
    intervals = sample_complexity(best)
    laws: dict[int, Law] = {}
    rows = []
    for problem, own in intervals.groupby("problem"):
        laws[problem] = law = fit(own)
        group = runs[runs["problem"] == problem]
        verdict, why, changes = judge(own, law, group, delta)
        first = group.iloc[0]
        rows.append({
            "problem": problem, "label": label(first), "concept": first["concept.name"],
            "learner": first["learner.name"], "trained": first["learner.trained"],
            "algorithm": first["algorithm.name"], "epsilon": first["epsilon"], "epsilon_unit": first["epsilon_unit"],
            "widths": f"{own['width'].min():g} to {own['width'].max():g}", "seeds": own["seed"].nunique(),
            "alpha": law.alpha, "alpha_low": law.low, "alpha_high": law.high, "verdict": verdict, "why": why,
            "next": "" if verdict != INCONCLUSIVE else command(group, changes),
        })
    return Study(runs, best, intervals, laws, pd.DataFrame(rows), edges(runs, best) + _oddities(runs, intervals))


def judge(intervals: pd.DataFrame, law: Law, runs: pd.DataFrame, delta: float) -> tuple[str, str, dict[str, str]]:
    """Verdict, why, and (if inconclusive) which keys to sweep further, on one problem."""
    widths, seeds = np.sort(intervals["width"].unique()), intervals["seed"].nunique()
    samples = np.sort(runs["samples"].unique())
    censored = intervals.groupby("width")["censored"].agg(lambda each: each.value_counts(normalize=True).to_dict())
    for side, which, further in (
            ("left", "the smallest N already passes", _rounded(samples[0] / 2 ** np.arange(4, 0, -1))),
            ("right", "no N passes", _rounded(samples[-1] * 2 ** np.arange(1, 5)))):
        mostly = [width for width in widths if censored[width].get(side, 0) > 0.5]
        if mostly:
            return (INCONCLUSIVE, f"{which} for most seeds at m = {', '.join(f'{width:g}' for width in mostly)}: "
                    "N_eps is not bracketed", {"samples": ",".join(further)})
    if len(widths) < 2:
        more = _rounded(widths[0] * np.array([1, 4, 16, 64]))
        return INCONCLUSIVE, "an exponent needs at least two widths, better four", {"width": ",".join(more)}
    if seeds < 3:
        return INCONCLUSIVE, "an interval needs at least three seeds", {"seed": "range(5)"}
    shown = f"the 95% interval of alpha, [{law.low:.3f}, {law.high:.3f}],"
    if -delta < law.low and law.high < delta:
        return INDEPENDENT, f"{shown} lies within (-{delta:g}, {delta:g})", {}
    if law.low > delta:
        return SCALES, f"{shown} lies above {delta:g}", {}
    if law.high < -delta:
        return SHRINKS, f"{shown} lies below -{delta:g}", {}
    half, room = (law.high - law.low) / 2, abs(abs(law.alpha) - delta)
    enough = int(np.ceil(seeds * (half / max(room, half / 3)) ** 2 * 1.2))
    return (INCONCLUSIVE, f"{shown} holds {delta:g} or -{delta:g}; at this spread about {max(enough, seeds + 2)} seeds "
            "would settle it", {"seed": f"range({max(enough, seeds + 2)})"})


def _oddities(runs: pd.DataFrame, intervals: pd.DataFrame) -> list[str]:
    warnings = []
    for problem, own in intervals.groupby("problem"):
        odd = int((~own["monotone"]).sum())
        if odd:
            warnings.append(f"problem {problem}: in {odd} of {len(own)} (width, seed) pairs a larger N fails again "
                            "after N_eps was reached")
    for status, count in runs["status"].value_counts().items():
        if status != "done":
            warnings.append(f"{count} of {len(runs)} runs: {status}")
    return warnings


def _rounded(values: Sequence[float] | np.ndarray) -> list[str]:
    return [str(each) for each in sorted({max(1, round(float(value))) for value in values})]
