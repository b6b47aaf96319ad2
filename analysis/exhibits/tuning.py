"""The tuning: validation risk over the grid, the settings chosen, and how much the best test risk flatters."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis import tune
from analysis.exhibits.base import Axis, Cells, Chart, Mark, Part, Plot, Series, Table, columns, spread
from analysis.exhibits.registry import PAGE, TEXT, Exhibit
from analysis.load import INFINITE
from analysis.tune import SETTING

MOST_SAMPLES, MOST_WIDTHS = 4, 6  # numbers of samples and widths that have a map


class Settings(Exhibit):
    """Heat maps per problem whose grid was searched, and a table of the settings chosen."""

    name = "settings"
    title = "Tuning"
    about = ("Learning rate and weight decay are chosen by validation risk, for each width and number of samples; the "
             "ring marks the choice. Darker settings are better; a setting has no colour if a seed diverged. The "
             f"largest N is shown until one is chosen above, of at most {MOST_SAMPLES}.")
    place = 90
    media = (TEXT, PAGE)

    def of_problem(self, problem: str) -> Iterator[Chart]:
        runs = self.evidence.stored.runs
        plots = maps(runs[runs["problem"].eq(problem)], self.evidence.best_of(problem))
        if plots:
            yield Chart("tuning", "Validation risk over the grid", "A heat map of the validation risk over learning "
                        "rate and weight decay (or width, if there is one weight decay).", plots, problem, shared=True)

    def of_all(self) -> Iterator[Part]:
        table = tune.choices(self.evidence.best)
        shown = columns(table, reached="pass", lr_edge="lr edge")
        order = ("problem", "width", "samples", *SETTING, "seeds", "test_risk", "threshold", "reached")
        yield Table(table, {name: shown[name] for name in [*order, *(each for each in shown if each not in order)]},
                    "Settings chosen", by="problem", forms={"reached": ".0%"},
                    extra=("missing_seeds", "lr_edge", "diverged", "validation_risk", "opt"))


class Optimism(Exhibit):
    """A table of the gain from a choice by test risk."""

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


def maps(runs: pd.DataFrame, best: pd.DataFrame) -> list[Plot]:
    """Return plots of the validation risk over the grid of one problem; [] if nothing was searched.

    They have lr against weight decay, a plot per width; or lr against width, if there is one weight decay. A ring marks
    the setting chosen. A setting of which a seed diverged has no colour; its tip says how many did.
    """
    finished = runs[runs["status"].isin(["done", "diverged"]) & runs["width"].ne(INFINITE)]
    if finished["lr"].nunique() < 2 and finished["weight_decay"].nunique() < 2:
        return []
    across = "width" if finished["weight_decay"].nunique() < 2 else "weight_decay"
    bad = finished["status"].eq("diverged") | finished["validation_risk"].isna()
    settings = finished.assign(bad=bad, risk=finished["validation_risk"].mask(bad)).groupby(
        ["width", "samples", *SETTING], as_index=False).agg(
        risk=("risk", lambda values: values.mean(skipna=False)), diverged=("bad", "sum"), seeds=("seed", "nunique"))
    chosen = best[["width", "samples", *SETTING]].drop_duplicates()
    x = Axis("lr", "category", _categories(finished["lr"]))
    y = Axis("weight decay" if across == "weight_decay" else "width m", "category",
             _categories(finished[across]))
    if across == "width":
        return [Plot(x, y, _marks(settings, chosen, across))]
    return [Plot(x, y, _marks(settings[settings["width"].eq(width)], chosen[chosen["width"].eq(width)], across, width),
                 f"m = {width}") for width in spread(finished["width"], MOST_WIDTHS)]


def _marks(settings: pd.DataFrame, chosen: pd.DataFrame, across: str, width: int | None = None) -> list[Mark]:
    numbers = spread(settings["samples"], MOST_SAMPLES)
    marks: list[Mark] = []
    for samples in numbers:
        rows, picked = (table[table["samples"].eq(samples)] for table in (settings, chosen))
        at: dict[str, Any] = {"width": width, "samples": samples, "first": samples == numbers[-1]}
        cells = pd.DataFrame({"x": rows["lr"].map("{:g}".format), "y": rows[across].map("{:g}".format),
                              "value": rows["risk"].where(rows["risk"].gt(0)),
                              "told": [_told(row, across) for row in rows.itertuples()]})
        rings = pd.DataFrame({"x": picked["lr"].map("{:g}".format), "y": picked[across].map("{:g}".format)})
        marks += [Cells(rows=cells, name="risk", tip="{told}", **at),
                  Series(rows=rings, line="none", symbol="circle", filled=False, colour="#ffffff", size=2.0, weight=1.5,
                         tip="", **at)]
    return marks


def _told(row: Any, across: str) -> str:
    found = "no risk" if np.isnan(row.risk) else f"validation risk {row.risk:.4g}"
    diverged = f", {row.diverged:g} diverged" if row.diverged else ""
    name = "m" if across == "width" else "weight decay"
    return f"lr {row.lr:g}, {name} {getattr(row, across):g}, N = {row.samples}\n{found}, {row.seeds:g} seeds{diverged}"


def _categories(values: pd.Series) -> list[str]:
    return [f"{value:g}" for value in sorted(values.unique())]
