"""The search for N_eps by bisection, in rounds of runs: the results of a round choose the next (`launch.bisection`).

The runs that are looked at together are a *cell*. The tuning rule (`ovpnet.record.tuning`) takes one learning rate and
weight decay for all seeds of a width at some N. So a width with several of these settings is one cell: at an N all its
runs are trained, and the rule sees what it would see in a grid. A width with one setting leaves nothing to choose. Then
each of its seeds is a cell, and is looked at only at the N that its own bracket needs.

All that is known is in the store. So the same command goes on after whatever ended it, and trains nothing twice.
"""

import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd
from rich.markup import escape
from rich.table import Table

from launch import display, run
from launch.bisection import Bracket, bracket, censored, following, settled
from launch.launcher import Launcher
from launch.plan import one_of_each
from launch.status import under_way
from launch.sweep import store_option
from ovpnet.engine.choice import shape_of
from ovpnet.engine.rates import EXAMPLE
from ovpnet.record import tuning
from ovpnet.record.checkpoint import Checkpoints
from ovpnet.record.store import Store
from ovpnet.spec.config import Config
from ovpnet.spec.errors import OvpnetError
from ovpnet.spec.identity import run_id
from ovpnet.terminal.commands import as_typed
from ovpnet.terminal.words import count, verb


@dataclass(frozen=True)
class Cell:
    """Runs that are looked at together: those of a width, or of one of its seeds."""

    label: str  # the overrides that tell its problem from the others of the sweep
    problem: str  # the same for cells that differ in width and seed alone
    members: list[Config]  # a config per seed and setting; their samples mean nothing
    points: list[int]

    @property
    def width(self) -> int:
        """The width m of all members."""
        return self.members[0].width

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds of the members, each once."""
        return sorted({config.seed for config in self.members})

    @cached_property
    def ids(self) -> list[list[str]]:
        """The run_ids of the members at each point."""
        return [[run_id(config) for config in self.at(point)] for point in range(len(self.points))]

    def at(self, point: int) -> list[Config]:
        """Return the members at a point."""
        return [replace(config, samples=self.points[point]) for config in self.members]


def cells(jobs: Sequence[Sequence[str]], configs: Sequence[Config], points: list[int]) -> list[Cell]:
    """Return the cells of a sweep without samples, problem by problem and the narrowest first.

    `jobs` are the overrides of `configs`.
    """
    shared = set(jobs[0]).intersection(*jobs)
    own = ("width", "seed", *tuning.SETTING)
    groups: dict[tuple[str, int], tuple[str, dict[str, Config]]] = {}
    for job, config in zip(jobs, configs, strict=True):
        # Steps may follow from the width and the learning rate, so the ids that are compared have one value of these.
        problem = run_id(replace(config, width=1, seed=0, lr=1.0, weight_decay=0.0))
        label = " ".join(each for each in job if each not in shared and each.split("=")[0] not in own)
        _, members = groups.setdefault((problem, config.width), (label, {}))
        members[run_id(config)] = config
    found = []
    for (problem, _), (label, members) in sorted(groups.items(), key=lambda item: item[0][1]):
        all_of_them = list(members.values())
        tuned = len({(config.lr, config.weight_decay) for config in all_of_them}) > 1
        found += [Cell(label, problem, each, points) for each in (
            [all_of_them] if tuned else [[config] for config in all_of_them])]
    order = list(dict.fromkeys(problem for problem, _ in groups))
    return sorted(found, key=lambda cell: order.index(cell.problem))


class Search:
    """The state of a search: what the store says of the cells, and what to train next."""

    def __init__(self, all_cells: Sequence[Cell], step: float):
        """Begin a search in which log2 of the ratio of two neighbouring points is `step`."""
        self.cells, self.points = list(all_cells), all_cells[0].points
        self.half_octave = max(1, round(0.5 / step))
        self.store = Store(one_of_each([config for cell in all_cells for config in cell.members]).store)
        self.tried: set[str] = set()  # runs of this command's rounds; those that are not finished have failed
        self.looked: list[set[int]] = []  # per cell, the points at which all runs have ended
        self.begun: list[set[int]] = []  # per cell, the points at which some runs are in the store
        self.passes: list[dict[int, dict[int, bool]]] = []  # per cell and seed, True for points that pass
        self.brackets: list[dict[int, Bracket]] = []  # per cell and seed

    def look(self) -> None:
        """Read the store."""
        finished = self.store.finished()
        ended = finished | self.tried
        self.looked, self.begun = [], []
        places: dict[str, tuple[int, int]] = {}
        for number, cell in enumerate(self.cells):
            stored = [point for point, ids in enumerate(cell.ids) if not ended.isdisjoint(ids)]
            self.looked.append({point for point in stored if ended.issuperset(cell.ids[point])})
            self.begun.append(set(stored) - self.looked[number])
            places |= {run: (number, point) for point in self.looked[number] for run in cell.ids[point]}
        reached = self._reached(places)
        self.passes = [{seed: {point: reached.get((number, point, seed), False) for point in self.looked[number]}
                        for seed in cell.seeds} for number, cell in enumerate(self.cells)]
        self.brackets = [{seed: bracket(passes, len(self.points)) for seed, passes in each.items()}
                         for each in self.passes]

    def _reached(self, places: dict[str, tuple[int, int]]) -> dict[tuple[int, int, int], bool]:
        """Return by cell, point and seed whether the best-tuned run passes; a cell whose run failed has no entry."""
        columns = ["run_id", "status", "finished_at", "seed", *tuning.SETTING, "validation_risk", "test_risk",
                   "threshold"]
        rows = self.store.runs(columns).reindex(columns=columns)
        rows = rows[rows["run_id"].isin(places.keys())]
        if rows.empty:
            return {}
        where = pd.DataFrame([places[run] for run in rows["run_id"]], columns=["cell", "point"], index=rows.index)
        finished = tuning.judged(pd.concat([rows, where], axis=1))
        chosen = finished.merge(tuning.settings(finished, ["cell", "point"]), on=["cell", "point", *tuning.SETTING])
        return {(row.cell, row.point, row.seed): bool(row.reached) for row in chosen.itertuples()}

    def asked(self) -> dict[int, set[int]]:
        """Return the points to train next, of each cell that is to go on; none if the search has ended.

        Points that are begun come first, since the tuning rule must not see a part of their runs.
        """
        if any(self.begun):
            return {number: points for number, points in enumerate(self.begun) if points}
        problems: dict[str, list[int]] = {}
        for number, cell in enumerate(self.cells):
            problems.setdefault(cell.problem, []).append(number)
        asked = {}
        for mine in problems.values():
            left = [number for number in mine if not self._settled(number)]
            known = {number: found for number in mine if number not in left and (found := self._uncensored(number))}
            for number in self._going_on(mine, left, known.keys()):
                start, reach = self._guess(number, known)
                asked[number] = following(list(self.passes[number].values()), len(self.points), start, reach,
                                          self.half_octave)
        return asked

    def _settled(self, number: int) -> bool:
        return all(settled(passes, len(self.points), self.half_octave) for passes in self.passes[number].values())

    def _uncensored(self, number: int) -> list[Bracket]:
        """Return the brackets of a settled cell that are not censored."""
        return [each for each in self.brackets[number].values() if not censored(each, len(self.points))]

    def _going_on(self, mine: Sequence[int], left: Sequence[int], known: AbstractSet[int]) -> Sequence[int]:
        """Return the cells of a problem to look at now.

        First come the cells of the narrowest width, which cost least, until its N_eps is known. If its N_eps is nowhere
        among the points, those of the next width follow. Then come all others, which start from the N_eps that is
        known.
        """
        for width in sorted({self.cells[number].width for number in mine}):
            pilots = [number for number in mine if self.cells[number].width == width]
            if unfinished := [number for number in pilots if number in left]:
                return unfinished
            if not known.isdisjoint(pilots):
                return left
        return []

    def _guess(self, number: int, known: Mapping[int, list[Bracket]]) -> tuple[int, int]:
        """Return the point at which a cell starts, and how many points further it looks next.

        They follow from the nearest width whose N_eps is known, by the same seeds if possible. If none is known, the
        cell starts in the middle, and looks a quarter of all points further.
        """
        if not known:
            return len(self.points) // 2, max(1, len(self.points) // 4)
        cell = self.cells[number]

        def distance(other: int) -> tuple[float, bool]:
            widths = math.log(max(1, self.cells[other].width)) - math.log(max(1, cell.width))
            return abs(widths), self.cells[other].seeds != cell.seeds

        brackets = known[min(known, key=distance)]
        spread = max(high for _, high in brackets) - min(low for low, _ in brackets)
        return int(statistics.median_low(high for _, high in brackets)), max(self.half_octave, math.ceil(spread / 2))


def search(what: Search, launcher: Launcher) -> None:
    """Train, or submit, round by round, until every cell has its intervals. Raises what `run.sweep` raises."""
    what.look()
    print(_announcement(what))
    if not launcher.waits and not launcher.dry_run:
        print("keep this command running until the end, since each round waits for the last one. If it is ended "
              "before, give it again: jobs go on without it, and it goes on from the store")
    number = 0
    while asked := what.asked():
        number += 1
        samples = sorted({what.points[point] for points in asked.values() for point in points})
        print(f"round {number}: {count(len(asked), 'cell')} at N = {', '.join(map(str, samples))}")
        configs = [config for cell, points in asked.items() for point in sorted(points)
                   for config in what.cells[cell].at(point)]
        run.train(configs, launcher)
        if launcher.dry_run:
            print("What later rounds train depends on what comes out of this one.")
            return
        wanted = {run_id(config) for config in configs}
        _wait(what.store, wanted, launcher)
        what.tried |= wanted
        if not wanted & what.store.finished():
            kinds = run.kinds_of_failures(_failed(what.store, wanted))
            raise OvpnetError(f"every run of round {number} failed: {kinds}; the same command tries again")
        what.look()
    if not launcher.dry_run:
        Checkpoints(what.store.path).clean(what.store.finished())
    _outcome(what)


def _wait(store: Store, wanted: AbstractSet[str], launcher: Launcher) -> None:
    """Wait until no live job, of this command or another, has any of the runs to train.

    Raises OvpnetError if some of them were not trained then.
    """
    until = time.monotonic() + launcher.patience_seconds
    while missing := wanted - store.finished():
        try:
            live = bool(under_way(store.path, missing))
        except OvpnetError as error:  # the scheduler may be busy, which must not end a search of days
            print(f"{error}; asking again", file=sys.stderr)
            live = True
        if live:
            until = time.monotonic() + launcher.patience_seconds
        elif not (lost := missing - set(_failed(store, missing)["run_id"])):
            break
        elif time.monotonic() >= until:
            raise OvpnetError(f"{count(len(lost), 'run')} not trained: {as_typed('launch logs')}"
                              f"{store_option(store.path.resolve())} has what their processes said; the same "
                              "command goes on")
        time.sleep(launcher.poll_seconds)


def _failed(store: Store, ids: AbstractSet[str]) -> pd.DataFrame:
    """Return the rows of those of the runs that failed."""
    columns = ["run_id", "status", "finished_at", "failure", "error"]
    rows = store.runs(columns).reindex(columns=columns)
    return rows[rows["run_id"].isin(ids) & rows["status"].eq("failed")]


# --- what is told ---


def _announcement(what: Search) -> str:
    points, all_cells = what.points, what.cells
    grid = sum(len(cell.members) for cell in all_cells) * len(points)
    widths = sorted({cell.width for cell in all_cells})
    known = sum(map(len, what.looked))
    return (f"looking for N_eps among {len(points)} N from {points[0]} to {points[-1]}: "
            f"{count(len(all_cells), 'cell')}, of width {', '.join(map(str, widths))}; a grid of these N would "
            f"be {grid} runs" + f"; {count(known, 'cell')} x N in {what.store.path} already" * bool(known))


def _outcome(what: Search) -> None:
    """Print what was found and what it took. Raises OvpnetError if runs failed."""
    print()
    display.console().print(_table(what))
    runs, all_runs, spent, whole = 0, 0, 0.0, 0.0
    for number, cell in enumerate(what.cells):
        for point in range(len(what.points)):
            took = shape_of(cell.at(point)).seconds(EXAMPLE)
            whole, all_runs = whole + took, all_runs + len(cell.members)
            if point in what.looked[number]:
                spent, runs = spent + took, runs + len(cell.members)
    print(f"{count(runs, 'run')}; a grid with the same intervals has {all_runs}, and is predicted to train "
          f"{whole / spent:.1f} times as long. Next: {as_typed('analysis verdict')}"
          f"{store_option(what.store.path.resolve())}")
    if failed := what.tried - what.store.finished():
        counts = verb(len(failed), "counts", "count")
        raise OvpnetError(f"{count(len(failed), 'run')} failed and {counts} as not passing: "
                          f"{run.kinds_of_failures(_failed(what.store, failed))}; the same command tries again")


def _table(what: Search) -> Table:
    """Return a table with a row per problem and width: the intervals of its seeds, and the number of N looked at."""
    labels = any(cell.label for cell in what.cells)
    table = Table(*["of"] * labels, "m", "seeds", "N_eps", "N", "runs", box=None, padding=(0, 1))
    for column in table.columns[labels:]:
        column.justify = "right"
    table.columns[2 + labels].justify = "left"
    for (label, width, _), numbers in _rows(what):
        found = Counter(each for number in numbers for each in what.brackets[number].values())
        intervals = ", ".join(_interval(each, what.points) + (f" x{times}" if times > 1 else "")
                              for each, times in sorted(found.items()))
        looked = set().union(*(what.looked[number] for number in numbers))
        runs = sum(len(what.looked[number]) * len(what.cells[number].members) for number in numbers)
        table.add_row(*[escape(label)] * labels, "infinity" if width == 0 else str(width), str(found.total()),
                      intervals, str(len(looked)), str(runs))
    return table


def _rows(what: Search) -> Iterator[tuple[tuple[str, int, str], list[int]]]:
    rows: dict[tuple[str, int, str], list[int]] = {}
    for number, cell in enumerate(what.cells):
        rows.setdefault((cell.label, cell.width, cell.problem), []).append(number)
    return iter(rows.items())


def _interval(found: Bracket, points: list[int]) -> str:
    """Return (low, high] as text, or the known end of a censored bracket."""
    low, high = found
    if high == len(points):
        return f"> {points[low]}"
    return f"<= {points[high]}" if low < 0 else f"({points[low]}, {points[high]}]"
