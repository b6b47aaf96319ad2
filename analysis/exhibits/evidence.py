"""The evidence that exhibits show: a store, the findings of the analysis in it, and short names of its problems."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from analysis import complexity, tune
from analysis.load import Stored
from analysis.tune import POOLED, Tuning
from analysis.verdict import DELTA, Analysis, analyze


@dataclass(frozen=True)
class Evidence:
    """A store, and how it is judged: `delta` and `tuning` as `verdict.analyze` has them.

    The analysis is made when it is first asked for.
    """

    stored: Stored
    delta: float = DELTA
    tuning: Tuning = POOLED

    @cached_property
    def analysis(self) -> Analysis:
        """The tables of all problems."""
        return analyze(self.stored.runs, self.delta, self.tuning)

    @cached_property
    def best(self) -> pd.DataFrame:
        """`tune.best_tuned`, which needs no more of the analysis."""
        return tune.best_tuned(self.stored.runs, self.tuning)

    def best_of(self, problem: str) -> pd.DataFrame:
        """Return the best-tuned runs of a problem."""
        return self.best[self.best["problem"].eq(problem)]

    @property
    def warnings(self) -> list[str]:
        """Sentences on what may make the results untrustworthy."""
        return [*tune.warnings(self.best), *complexity.warnings(self.analysis.intervals)]

    @property
    def problems(self) -> list[str]:
        """The problems in the order of their verdicts."""
        return [str(each) for each in self.analysis.verdicts["problem"]]

    @property
    def finished(self) -> list[str]:
        """The problems that have a finished run, in the same order."""
        known = set(self.best["problem"])
        return [each for each in self.problems if each in known]

    @cached_property
    def names(self) -> dict[str, str]:
        """A short name of each problem: the part of its label that tells it from the others."""
        said = [problem.split(", ") for problem in self.problems]
        common = set.intersection(*map(set, said)) if len(said) > 1 else set()
        short = [", ".join(part for part in parts if part not in common) for parts in said]
        return dict(zip(self.problems, short if len(said) > 1 else [said[0][1]], strict=True))

