"""The answer: a verdict per problem, why, and what would settle it; and the exponents of all problems."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.exhibits import words
from analysis.exhibits.base import Axis, Band, Chart, Note, Part, Plot, Rule, Series, Table
from analysis.exhibits.registry import FIGURES, PAGE, TEXT, WANDB, Exhibit
from analysis.style import BLUE, GREEN
from analysis.verdict import differences, interval_text
from ovpnet.terminal.words import count

MOST_EXPONENTS = 100  # rows of the chart
LONGEST_NAME = 44  # characters of a problem's name in the chart


class Verdicts(Exhibit):
    """One verdict per problem, told as a table and in sentences, and a forest of the exponents."""

    name = "verdicts"
    title = "Verdicts"
    about = ("N_{ε}(m) is the least number of samples for which the best-tuned learner of width m reaches a test risk "
             "of at most OPT + ε. The law N_{ε} ∝ m^{α} is fitted to it. N_{ε} counts as not scaling with m if the "
             "whole 95% interval of α lies inside (−{delta}, {delta}).")
    place = 10
    media = (TEXT, PAGE, FIGURES, WANDB)

    def of_all(self) -> Iterator[Part]:
        verdicts = self.evidence.analysis.verdicts
        counts = verdicts["verdict"].value_counts()
        yield Note(" · ".join(f"{count} {verdict}" for verdict, count in counts.items()))
        known = bounded(verdicts)
        if len(known):
            yield forest(known, self.evidence.names, self.evidence.delta)
        yield glance(verdicts)
        for number, row in enumerate(verdicts.itertuples(), start=1):
            yield self._note(row, number)
        for problem, rows in self.evidence.analysis.epsilons.groupby("problem", sort=False):
            yield _over_epsilons(str(problem), rows)

    def _note(self, row: Any, number: int) -> Note:
        models = self.evidence.analysis.models
        beside = _beside(row, models[models["problem"].eq(row.problem)])
        said = [("why", row.why), *([("beside it", beside)] if beside else []),
                ("from", f"{count(row.widths, 'width')}, {count(row.seeds, 'seed')}, "
                         f"ε = {row.epsilon:g} ({row.epsilon_unit})")]
        return Note(row.verdict, said, row.problem, number, exponent_text(row),
                    ("next", row.next) if row.next else None)


def exponent_text(law: Any) -> str:
    """Return alpha (of a law, or a row of the verdicts) with its interval in words; "" if it has none."""
    if law is None or pd.isna(law.alpha):
        return ""
    if not np.isfinite([law.alpha_low, law.alpha_high]).any():
        return "α unbounded"
    return f"α = {law.alpha:z.2f}, 95% {interval_text(law.alpha_low, law.alpha_high)}"


def glance(verdicts: pd.DataFrame) -> Table:
    """Return a table of all verdicts, one per row, with the words that tell the problems apart."""
    known = verdicts["alpha"].notna()
    intervals = [interval_text(row.alpha_low, row.alpha_high) for row in verdicts.itertuples()]
    rows = verdicts.assign(number=range(1, len(verdicts) + 1), otherwise=differences(verdicts),
                           learner_trained=verdicts["learner"] + " (" + verdicts["trained"] + ")",
                           interval=pd.Series(intervals, index=verdicts.index).where(known, ""))
    shown = {"number": "#", "concept": "concept", "learner_trained": "learner", "otherwise": "otherwise",
             "alpha": "alpha", "interval": "95% interval", "verdict": "verdict"}
    if not rows["otherwise"].any():
        shown.pop("otherwise")
    return Table(rows, shown, "At a glance", forms={"alpha": "z.2f"}, data=verdicts)


def bounded(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return the verdicts whose exponent is known at least to one side."""
    return verdicts[np.isfinite(verdicts[["alpha_low", "alpha_high"]].astype(float)).any(axis=1)]


def forest(verdicts: pd.DataFrame, names: dict[str, str], delta: float) -> Chart:
    """Return the chart of each problem's exponent of m with its 95% interval, over the band that counts as no scaling.

    `verdicts` comes from `bounded`; `names` has the short names of the problems. An end that is far off or unbounded
    runs to the edge.
    """
    rows = verdicts.head(MOST_EXPONENTS)
    ends = np.abs(rows[["alpha", "alpha_low", "alpha_high"]].to_numpy(float).ravel())
    # An interval that is hardly bounded must not flatten the others: beyond this it runs to the edge.
    reach = min(max(1.15 * ends[np.isfinite(ends)].max(), 3 * delta), max(1.5 * rows["alpha"].abs().max(), 1.0))
    called = [words.shortened(names[str(problem)], LONGEST_NAME) for problem in rows["problem"]]
    intervals = [interval_text(row.alpha_low, row.alpha_high) for row in rows.itertuples()]
    points = pd.DataFrame({"x": rows["alpha"], "y": np.arange(len(rows)), "x_low": rows["alpha_low"],
                           "x_high": rows["alpha_high"], "called": called, "interval": intervals,
                           "verdict": rows["verdict"]})
    none = pd.DataFrame({"x": [-delta, delta], "low": -math.inf, "high": math.inf})
    plot = Plot(Axis("exponent α of m, 95% interval", limits=(-reach, reach)), Axis("", "names", values=called), [
        Band(rows=none, colour=GREEN), Rule(x=0.0, line="solid"),
        Series(rows=points, line="none", symbol="circle", colour=BLUE, size=1.3, weight=1.2,
               tip="{called}\nα = {x:.3f}, 95% {interval}\n{verdict}")])
    says = "; ".join(f"{row.problem}: alpha {row.alpha:z.2f} {interval_text(row.alpha_low, row.alpha_high)}"
                     for row in rows.itertuples())
    return Chart("exponents", "The exponent α of m", says, [plot])


def _beside(row: Any, models: pd.DataFrame) -> str:
    """Return other estimates of alpha, which decide nothing, and how the laws compare."""
    parts = []
    if not pd.isna(row.logistic_alpha):
        found = interval_text(row.logistic_low, row.logistic_high)
        parts.append(f"logistic regression {row.logistic_alpha:z.2f} {found}")
    one_ended = math.isfinite(row.alpha_low) or math.isfinite(row.alpha_high)
    if one_ended and not pd.isna(row.bootstrap_low):  # if every seed is censored alike it is a point, of no meaning
        parts.append(f"bootstrap over seeds {interval_text(row.bootstrap_low, row.bootstrap_high)}")
    weighed = models[models["aicc_weight"].notna()].sort_values("aicc_weight", ascending=False)
    if len(weighed):
        weights = ", ".join(f"{each.model} {each.aicc_weight:.0%}" for each in weighed.itertuples())
        parts.append(f"laws by AICc {weights}")
    return "; ".join(parts)


def _over_epsilons(problem: str, rows: pd.DataFrame) -> Note:
    found = ", ".join(f"{each.coefficient} = {each.estimate:z.2f} {interval_text(each.low, each.high)}"
                      for each in rows.itertuples())
    listed = ", ".join(f"{each:g}" for each in rows["epsilons"].iloc[0])
    return Note(problem, [(f"over epsilon {listed}", f"N_eps ~ m^alpha (1/epsilon)^beta, {found}")])
