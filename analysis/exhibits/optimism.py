"""By how much the best test risk of a grid flatters, as the paper reports it."""

from collections.abc import Iterator

from analysis import tune
from analysis.exhibits.base import Part, Table, columns
from analysis.exhibits.registry import PAGE, TEXT, Exhibit


class Optimism(Exhibit):
    """A table of what the choice by test risk would gain."""

    name = "optimism"
    title = "What the best of the grid would gain"
    about = ("If the test risk itself chose the setting, as in the paper's figures, the number reported would be "
             "better by the gap. The optimism is how much of that is chance: the nets have a greater population risk.")
    place = 95
    media = (TEXT, PAGE)

    def of_all(self) -> Iterator[Part]:
        table = tune.winners_curse(self.evidence.stored.runs, self.evidence.tuning.per)
        yield Table(table, columns(table, gap_se="s.e. of gap", optimism_se="s.e. of optimism", gap_epsilons="gap / ε",
                                   gap_epsilons_se="s.e. of gap / ε", optimism_epsilons="optimism / ε",
                                   optimism_epsilons_se="s.e. of optimism / ε", validated_risk="validated risk"),
                    by="problem", extra=("optimism", "optimism_se", "most", "gap_epsilons_se", "optimism_epsilons_se"))
