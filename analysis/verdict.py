"""Verdicts on whether N_eps scales with m: per problem the exponent, the verdict, why, and what to run next.

The verdict is an equivalence test (TOST) on alpha. "does not scale with m" needs alpha proven to lie inside (-delta,
delta), so too little data never passes for "does not scale". Each one-sided test is at 2.5%, which is the same as
reading the verdict off the 95% interval.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis import models, scaling, settle
from analysis.complexity import sample_complexity
from analysis.crosscheck import Logistic, disagree, logistic
from analysis.load import INFINITE, problem_keys
from analysis.scaling import LEVEL, ScalingLaw
from analysis.tune import POOLED, Tuning, best_tuned
from ovpnet.spec.errors import ConfigError

DELTA = 0.1
FLAT, SCALES, SHRINKS, OPEN = "does not scale with m", "scales with m", "shrinks with m", "inconclusive"
LIMIT = "m = infinity"
BENT = 0.01  # below this p-value the straight line is called a poor description
ALONE = (1 - LEVEL) / 2  # level of each one-sided test


@dataclass(frozen=True)
class Finding:
    """The finding for one problem; `law` is None if no law can be fitted (fewer than 2 widths or seeds).

    `check` and `first` compare with the law, and are None without it. `first` is the law if a seed's least passing N
    counts as its N_eps. It is None also if all seeds are monotone, since it would be the same.
    """

    problem: str
    verdict: str
    why: str
    next: str
    law: ScalingLaw | None
    check: Logistic | None = None
    first: ScalingLaw | None = None


@dataclass(frozen=True)
class Analysis:
    """All tables of a set of runs, tidy, and the findings by problem.

    The tables are `best` (tune.best_tuned), `intervals` (complexity.sample_complexity), `verdicts` (`analyze`),
    `models` (models.compare, with the column problem), `plans` (settle.plans of the open problems) and `epsilons`
    (`over_epsilons`).
    """

    runs: pd.DataFrame
    best: pd.DataFrame
    intervals: pd.DataFrame
    findings: dict[str, Finding]
    verdicts: pd.DataFrame
    models: pd.DataFrame
    plans: pd.DataFrame
    epsilons: pd.DataFrame


def analyze(runs: pd.DataFrame, delta: float = DELTA, tuning: Tuning = POOLED) -> Analysis:
    """Judge `runs` (from `load.with_problem`). Raises ConfigError unless delta is positive and finite.

    `delta`: an exponent within (-delta, delta) counts as none. `tuning`: how learning rate and weight decay are chosen.

    verdicts has one row per problem. Its columns describe the problem (problem, concept, learner, trained, algorithm,
    epsilon, epsilon_unit, widths and seeds, the numbers of) and say the verdict, why and next. Of the law they have
    alpha, alpha_low and alpha_high (95%; infinite = unbounded, nan = no law), alpha_se and bent_p. p_equivalence,
    p_scales and p_shrinks are one-sided (see scaling.ScalingLaw); p is the least of the three.

    p_holm is p as `holm` corrects it for all problems here. Verdicts with p_holm below 2.5% hold for all of them at
    once, at the 95% of the interval. bootstrap_low and bootstrap_high are 95% percentiles of a bootstrap over seeds,
    which decide nothing: see scaling.fit. logistic_alpha, logistic_low and logistic_high are those of
    crosscheck.logistic. non_monotone counts seeds and widths; first_alpha, first_low and first_high are the law if
    their least passing N counts.
    """
    if not 0 < delta < np.inf:
        raise ConfigError("delta", delta, "must be greater than 0, and finite")
    best = best_tuned(runs, tuning)
    intervals = sample_complexity(best)
    rows = {str(problem): group for problem, group in runs.groupby("problem")}
    bests, ranges = ({str(problem): group for problem, group in table.groupby("problem")}
                     for table in (best, intervals))
    findings, plans, compared = {}, [settle.no_plans()], []
    for problem, group in rows.items():
        mine = ranges.get(problem, intervals[:0])
        findings[problem], plan = _find(group, bests.get(problem, best[:0]), mine, delta)
        plans.append(plan)
        if findings[problem].law:
            compared.append(models.compare(mine).assign(problem=problem))
    verdicts = pd.DataFrame([_row(rows[problem], ranges.get(problem, intervals[:0]), finding)
                             for problem, finding in findings.items()])
    verdicts = _corrected(verdicts)
    findings = {row.problem: replace(findings[row.problem], why=row.why) for row in verdicts.itertuples()}
    return Analysis(runs, best, intervals, findings, verdicts,
                    pd.concat(compared or [pd.DataFrame(columns=[*models.COLUMNS, "problem"])], ignore_index=True),
                    pd.concat([each for each in plans if len(each)] or plans, ignore_index=True),
                    over_epsilons(runs, intervals))


def judge(law: ScalingLaw) -> str:
    """Return the verdict that the p-values of the law allow."""
    if law.p_equivalence < ALONE:
        return FLAT
    if law.p_scales < ALONE:
        return SCALES
    if law.p_shrinks < ALONE:
        return SHRINKS
    return OPEN


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return Holm's adjusted p-values, which hold however the tests depend on each other.

    Problems of one store share seeds, and with them data. Cut at 2.5%, the chance of any false verdict among all is at
    most 5%, as that of one interval. If alpha is within (-delta, delta), "scales" and "shrinks" are false and have 2.5%
    each. If it is not, the false verdicts need an interval on one side of it.
    """
    order = np.argsort(p_values, kind="stable")
    scaled = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(scaled, 1.0)
    return adjusted


def over_epsilons(runs: pd.DataFrame, intervals: pd.DataFrame) -> pd.DataFrame:
    """Return scaling.epsilon_law of every problem that is judged at several epsilons.

    Columns: problem (the label without its epsilon), epsilons (list), coefficient (alpha, beta), estimate, low, high,
    se. A width, seed or epsilon that is censored throughout takes part as what it is: an interval.
    """
    first = runs.drop_duplicates("problem").set_index("problem")
    keys = problem_keys(first).drop(columns="epsilon")
    tables = []
    for _, group in first.groupby(keys.groupby(list(keys)).ngroup()):
        chosen = intervals[intervals["problem"].isin(group.index)]
        chosen = chosen.assign(epsilon=chosen["problem"].map(group["epsilon"]).astype(float))
        if min(chosen["epsilon"].nunique(), chosen["width"].nunique(), chosen["seed"].nunique()) < 2:
            continue
        label = str(group.index[0]).replace(f"epsilon={group['epsilon'].iloc[0]:.12g}", "epsilon=any")
        epsilons = sorted(chosen["epsilon"].unique())
        tables.append(scaling.epsilon_law(chosen).assign(problem=label, epsilons=[epsilons] * 2))
    columns = ["problem", "epsilons", "coefficient", "estimate", "low", "high", "se"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def _row(runs: pd.DataFrame, intervals: pd.DataFrame, finding: Finding) -> dict[str, object]:
    first, law = runs.iloc[0], finding.law

    def value(of: object, name: str) -> float:
        return float(getattr(of, name)) if of else np.nan

    p_values = {name: value(law, name) for name in ("p_equivalence", "p_scales", "p_shrinks")}
    return {
        "problem": finding.problem, "concept": first["concept.name"], "learner": first["learner.name"],
        "trained": first["learner.trained"], "algorithm": first["algorithm.name"], "epsilon": first["epsilon"],
        "epsilon_unit": first["epsilon_unit"], "widths": runs["width"].nunique(), "seeds": runs["seed"].nunique(),
        **{name: value(law, name) for name in ("alpha", "alpha_low", "alpha_high", "alpha_se")},
        **p_values, "p": min(p_values.values()),
        **{name: value(law, name) for name in ("bootstrap_low", "bootstrap_high")},
        "logistic_alpha": value(finding.check, "alpha"), "logistic_low": value(finding.check, "alpha_low"),
        "logistic_high": value(finding.check, "alpha_high"), "bent_p": value(law, "bent_p"),
        "non_monotone": int((~intervals["monotone"]).sum()), "first_alpha": value(finding.first, "alpha"),
        "first_low": value(finding.first, "alpha_low"), "first_high": value(finding.first, "alpha_high"),
        "verdict": finding.verdict, "why": finding.why, "next": finding.next}


def _find(runs: pd.DataFrame, best: pd.DataFrame, intervals: pd.DataFrame,
          delta: float) -> tuple[Finding, pd.DataFrame]:
    """Return the finding of one problem, and the plans that would settle it."""
    problem = runs["problem"].iloc[0]
    if runs["width"].eq(INFINITE).all():
        return Finding(problem, LIMIT, "the learner is of infinite width: the line of reference for finite ones",
                       "", law=None), settle.no_plans()
    lack = settle.lacking(runs, intervals)
    if lack:
        return Finding(problem, OPEN, lack.why, lack.next, law=None), lack.plans
    law, check = scaling.fit(intervals, delta), logistic(best)
    least = intervals.assign(low=intervals["first_low"], high=intervals["first_high"])
    first = None if intervals["monotone"].all() else scaling.fit(least, delta)
    verdict, found = judge(law), interval_text(law.alpha_low, law.alpha_high)
    if verdict == OPEN:
        lack = settle.open_because(runs, intervals, law, delta, found)
        why, command, plans = lack.why, lack.next, lack.plans
    else:
        where = {FLAT: f"inside ({-delta:g}, {delta:g})", SCALES: f"above {delta:g}", SHRINKS: f"below {-delta:g}"}
        why, command, plans = f"the 95% interval of alpha, {found}, lies {where[verdict]}", "", settle.no_plans()
    why += "".join(f"; but {each}" for each in _doubts(law, check, first, verdict, int((~intervals["monotone"]).sum())))
    return Finding(problem, verdict, why, command, law, check, first), plans


def _doubts(law: ScalingLaw, check: Logistic, first: ScalingLaw | None, verdict: str, stray: int) -> list[str]:
    """Return what speaks against the law, in words."""
    doubts = []
    if law.bent_p < BENT:
        doubts.append(f"a power law describes N_eps poorly (p = {law.bent_p:.1g}): look at the figure")
    if disagree(law, check):
        doubts.append(f"logistic regression of the runs that pass finds alpha = {check.alpha:z.2f}, "
                      f"{interval_text(check.alpha_low, check.alpha_high)}: look at the figure")
    if first and judge(first) != verdict:
        found = interval_text(first.alpha_low, first.alpha_high)
        doubts.append(f"with the least N that passes taken for N_eps in the {stray} seeds and widths that fail again "
                      f"at a larger one, the interval is {found}: {judge(first)}")
    return doubts


def _corrected(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return `verdicts` with p_holm, and with a word if a verdict does not outlive the correction."""
    tested = verdicts["p"].notna()
    adjusted = pd.Series(np.nan, index=verdicts.index)
    adjusted[tested] = holm(verdicts.loc[tested, "p"].to_numpy())
    alone = tested & ~verdicts["verdict"].eq(OPEN) & adjusted.ge(ALONE)
    said = ("; it holds for this problem alone, not for all " + str(int(tested.sum())) + " here at once (Holm's p = "
            + adjusted.map("{:.2g}".format) + f", needed {ALONE:g})")
    verdicts = verdicts.assign(why=verdicts["why"] + said.where(alone, ""))
    verdicts.insert(verdicts.columns.get_loc("p") + 1, "p_holm", adjusted)
    return verdicts


def differences(verdicts: pd.DataFrame) -> list[str]:
    """Return the part of each problem's label that is neither its concept or learner nor common to all problems."""
    said = [row.problem.removeprefix(f"{row.concept}, {row.learner} ({row.trained}), ").split(", ")
            for row in verdicts.itertuples()]
    common = set.intersection(*map(set, said)) if said else set()
    return ["\n".join(part for part in parts if part not in common) for parts in said]


def interval_text(low: float, high: float) -> str:
    """Return an interval of alpha as text, e.g. [-0.03, 0.05]; an unbounded end is written -inf or inf."""
    return f"[{low:z.2f}, {high:z.2f}]"
