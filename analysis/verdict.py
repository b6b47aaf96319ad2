"""Does N_eps scale with m? One row per problem: the exponent, the verdict, why, and what to run next.

The verdict is an equivalence test (TOST) read off the 95% interval of alpha: "does not scale with m" needs the whole
interval inside (-delta, delta), so too little data never passes for "does not scale".
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import rerun, scaling
from analysis.complexity import by_width, sample_complexity
from analysis.load import INFINITE
from analysis.scaling import ScalingLaw
from analysis.tune import POOLED, Tuning, best_tuned
from ovpnet.errors import ConfigError

DELTA = 0.1
FLAT, SCALES, SHRINKS, OPEN = "does not scale with m", "scales with m", "shrinks with m", "inconclusive"
LIMIT = "m = infinity"
BENT = 0.01  # below this p-value the straight line is called a poor description


@dataclass(frozen=True)
class Finding:
    """What was found for one problem; `law` is None where no law can be fitted (fewer than 2 widths or seeds)."""

    problem: str
    verdict: str
    why: str
    next: str
    law: ScalingLaw | None


@dataclass(frozen=True)
class Analysis:
    """All tables of a set of runs: `best` (tune), `intervals` (complexity), `findings` by problem, `verdicts`."""

    runs: pd.DataFrame
    best: pd.DataFrame
    intervals: pd.DataFrame
    findings: dict[str, Finding]
    verdicts: pd.DataFrame


def analyze(runs: pd.DataFrame, delta: float = DELTA, tuning: Tuning = POOLED) -> Analysis:
    """Verdicts of `runs` (from `load.with_problem`). `delta`: an exponent within (-delta, delta) counts as none.
    `tuning`: how learning rate and weight decay are chosen.

    verdicts has one row per problem: problem, concept, learner, trained, algorithm, epsilon, epsilon_unit, widths and
    seeds (numbers of), alpha, alpha_low, alpha_high (95%; infinite = unbounded, nan = no law), bootstrap_low,
    bootstrap_high (95% percentiles of a bootstrap over seeds, which decide nothing: see scaling.fit), verdict, why,
    next.
    Raises ConfigError unless delta > 0.
    """
    if not delta > 0:
        raise ConfigError("delta", delta, "must be greater than 0")
    best = best_tuned(runs, tuning)
    intervals = sample_complexity(best)
    findings = {str(problem): _find(rows, intervals[intervals["problem"].eq(problem)], delta)
                for problem, rows in runs.groupby("problem")}
    verdicts = pd.DataFrame([_row(runs[runs["problem"].eq(problem)], finding) for problem, finding in findings.items()])
    return Analysis(runs, best, intervals, findings, verdicts)


def judge(law: ScalingLaw, delta: float) -> str:
    """The verdict that the 95% interval of alpha allows."""
    if -delta < law.alpha_low and law.alpha_high < delta:
        return FLAT
    if law.alpha_low > delta:
        return SCALES
    if law.alpha_high < -delta:
        return SHRINKS
    return OPEN


def _row(runs: pd.DataFrame, finding: Finding) -> dict[str, object]:
    first, law = runs.iloc[0], finding.law
    return {
        "problem": finding.problem, "concept": first["concept.name"], "learner": first["learner.name"],
        "trained": first["learner.trained"], "algorithm": first["algorithm.name"], "epsilon": first["epsilon"],
        "epsilon_unit": first["epsilon_unit"], "widths": runs["width"].nunique(), "seeds": runs["seed"].nunique(),
        "alpha": law.alpha if law else np.nan, "alpha_low": law.alpha_low if law else np.nan,
        "alpha_high": law.alpha_high if law else np.nan,
        "bootstrap_low": law.bootstrap_low if law else np.nan,
        "bootstrap_high": law.bootstrap_high if law else np.nan, "verdict": finding.verdict, "why": finding.why,
        "next": finding.next}


def _find(runs: pd.DataFrame, intervals: pd.DataFrame, delta: float) -> Finding:
    problem = runs["problem"].iloc[0]
    if runs["width"].eq(INFINITE).all():
        return Finding(problem, LIMIT, "the learner is of infinite width: the line of reference for finite ones",
                       "", law=None)
    lacking = _lacks_runs(runs, intervals) or _lacks_widths(runs, intervals) or _lacks_seeds(runs, intervals)
    if lacking:
        return Finding(problem, OPEN, *lacking, law=None)
    law = scaling.fit(intervals)
    verdict = judge(law, delta)
    if verdict != OPEN:
        return Finding(problem, verdict, _decided(law, verdict, delta), "", law)
    return Finding(problem, OPEN, *(_censored(runs, intervals, law) or _too_wide(runs, intervals, law, delta)), law=law)


def _decided(law: ScalingLaw, verdict: str, delta: float) -> str:
    where = {FLAT: f"inside ({-delta:g}, {delta:g})", SCALES: f"above {delta:g}", SHRINKS: f"below {-delta:g}"}[verdict]
    return f"the 95% interval of alpha, {interval_text(law.alpha_low, law.alpha_high)}, lies {where}{_bent(law)}"


def _bent(law: ScalingLaw) -> str:
    if not law.bent_p < BENT:
        return ""
    return f"; but a power law describes N_eps poorly (p = {law.bent_p:.1g}): look at the figure"


# --- what an inconclusive problem lacks: (why, next) or None -----------------------------------------


def _lacks_runs(runs: pd.DataFrame, intervals: pd.DataFrame) -> tuple[str, str] | None:
    if len(intervals):
        return None
    return f"none of the {len(runs)} runs finished", rerun.command(runs)


def _lacks_widths(runs: pd.DataFrame, intervals: pd.DataFrame) -> tuple[str, str] | None:
    widths = sorted(intervals["width"].unique())
    if len(widths) >= 2:
        return None
    more = [widths[0] * factor for factor in (1, 4, 16)]
    return f"a law needs at least 2 widths; there is {widths[0]} alone", rerun.command(runs, width=more)


def _lacks_seeds(runs: pd.DataFrame, intervals: pd.DataFrame) -> tuple[str, str] | None:
    if intervals["seed"].nunique() >= 2:
        return None
    return "an interval needs at least 2 seeds; there is 1", rerun.command(runs, seed=_more_seeds(runs, 5))


def _censored(runs: pd.DataFrame, intervals: pd.DataFrame, law: ScalingLaw) -> tuple[str, str] | None:
    """Widths of which at least half the seeds are beyond the grid of samples."""
    table = by_width(intervals)
    left, right = table[2 * table["left"] >= table["seeds"]], table[2 * table["right"] >= table["seeds"]]
    samples = sorted(int(each) for each in runs["samples"].unique())
    reasons, more = [], []
    if len(right):
        reasons.append(f"no N up to {samples[-1]} passes at width {_listing(right['width'])}")
        more += [2 * samples[-1], 4 * samples[-1]]
    if len(left):
        reasons.append(f"the smallest N ({samples[0]}) already passes at width {_listing(left['width'])}")
        more += [each for each in (samples[0] // 4, samples[0] // 2) if each]
    if not reasons:
        return None
    why = f"censored: {'; '.join(reasons)}; the 95% interval of alpha is {interval_text(law.alpha_low, law.alpha_high)}"
    return why, rerun.command(runs, samples={*samples, *more})


def _too_wide(runs: pd.DataFrame, intervals: pd.DataFrame, law: ScalingLaw, delta: float) -> tuple[str, str]:
    found = interval_text(law.alpha_low, law.alpha_high)
    why = f"the 95% interval of alpha, {found}, is neither inside ({-delta:g}, {delta:g}) nor outside it"
    if _grid_step(intervals) / math.sqrt(12) > law.sigma:  # sd of a value known only to lie within one step
        return (f"{why}: the grid of samples is too coarse to place N_eps better{_bent(law)}",
                rerun.command(runs, samples=_finer(runs, intervals)))
    seeds = intervals["seed"].nunique()
    reach = (law.alpha_high - law.alpha_low) / 2
    room = max(abs(delta - abs(law.alpha)), reach / 2)  # at most 4 times the seeds at once
    wanted = max(seeds + 2, math.ceil(seeds * (reach / room) ** 2))
    return f"{why}: too few seeds ({seeds}){_bent(law)}", rerun.command(runs, seed=_more_seeds(runs, wanted))


def _grid_step(intervals: pd.DataFrame) -> float:
    """Typical log ratio of neighbouring N around N_eps; 0 where every seed is censored."""
    known = intervals[intervals["censored"].eq("")]
    return float(np.log(known["high"] / known["low"]).median()) if len(known) else 0.0


def _finer(runs: pd.DataFrame, intervals: pd.DataFrame) -> list[int]:
    """The grid of samples with every step that holds some N_eps cut in two."""
    known = intervals[intervals["censored"].eq("")]
    halves = {round(math.sqrt(low * high)) for low, high in zip(known["low"], known["high"], strict=True)}
    return sorted({int(each) for each in runs["samples"].unique()} | halves)


def _more_seeds(runs: pd.DataFrame, wanted: int) -> list[int]:
    """The seeds there are, and the smallest unused ones, `wanted` in all."""
    present = {int(seed) for seed in runs["seed"].unique()}
    unused = (seed for seed in range(wanted + len(present)) if seed not in present)
    return sorted([*present, *(next(unused) for _ in range(max(wanted - len(present), 0)))])


def _listing(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def differences(verdicts: pd.DataFrame) -> list[str]:
    """What each problem's label says beside its concept and learner and not of all the problems."""
    said = [row.problem.removeprefix(f"{row.concept}, {row.learner} ({row.trained}), ").split(", ")
            for row in verdicts.itertuples()]
    common = set.intersection(*map(set, said)) if said else set()
    return ["\n".join(part for part in parts if part not in common) for parts in said]


def interval_text(low: float, high: float) -> str:
    """An interval of alpha as text, e.g. [-0.03, 0.05]; an unbounded end is written -inf or inf."""
    return f"[{low:z.2f}, {high:z.2f}]"
