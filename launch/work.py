"""The packs of one job: which there are, trained one after the other, and what is told meanwhile.

A run that fails becomes a row of the store, and the rest goes on. What else ends the process (a signal, the kernel's
out-of-memory killer, a crash, a GPU that is lost) is for `launch.job` to see.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Protocol

from launch.claims import Claims
from launch.launcher import Launcher
from launch.packs import Pack
from launch.sweep import Group, Sweep, read_json, write_json
from ovpnet.engine.choice import shape_of
from ovpnet.record.checkpoint import Checkpoints
from ovpnet.record.store import Store
from ovpnet.spec.config import Config
from ovpnet.spec.identity import run_id
from ovpnet.terminal.words import count

log = logging.getLogger(__name__)

# Seconds between two lines of progress, about.
_SECONDS = 5.0


class Watcher(Protocol):
    """Who is told of the work: a progress bar."""

    cost: float

    def advance(self, steps: int) -> None:
        """Steps have been taken."""

    def finish(self, runs: int) -> None:
        """Runs are stored."""


@dataclass
class Work:
    """The packs of a job, and what became of them before."""

    sweep: Sweep
    group: Group
    task: int
    launcher: Launcher

    def __post_init__(self) -> None:
        self.store = Store(self.sweep.store)
        self.listed = {pack.number: pack for pack in self.sweep.packs(self.group.number)}
        self.claims = Claims(self.sweep, self.group)
        self.pack: int | None = None  # that is in training

    def left(self) -> Iterator[Pack]:
        """What there is to train, pack by pack: runs that are neither finished nor failed in this group, in the parts
        that the supervisor has cut packs into (`launch.job`)."""
        # (Clocks of machines differ, so what was given up here may seem to have failed before this submission.)
        failed = self.failed() | self._state().get("condemned", {}).keys()
        for number in self._claimed():
            self.pack = number
            gone = self.store.finished() | failed
            listed = self.listed[number]
            if gone.issuperset(listed.runs):
                continue
            [(_, configs)] = self.sweep.configs(self.group.number, [number])
            by_id = {run_id(config): config for config in configs}
            for part in self.sweep.parts(self.group.number, listed):
                rest = [self._reported(by_id[run]) for run in part if run not in gone]
                if rest:
                    yield Pack(shape_of(rest), listed.seconds * len(rest) / len(configs))
        self.pack = None

    def give_back(self) -> None:
        """Return the pack that the worker was in when it was asked to stop."""
        try:
            if self.pack is not None:
                self.claims.give_back(self.pack)
        except OSError as error:  # then this job goes on with it
            log.warning("pack %d was not returned (%s)", self.pack, error)

    def _claimed(self) -> Iterator[int]:
        """Packs, each claimed only when it is asked for, until none is left. Jobs start at different times, or wait to
        start again, and so they share packs out as they go."""
        yield from self.claims.of(self.task, self.claims.taken())  # of workers of this job before
        while (pack := self._next()) is not None:
            yield pack

    def _next(self) -> int | None:
        """A pack, claimed: one that was returned, else of this job, else the longest of the job that has most left."""
        taken = self.claims.taken()
        left = [[pack for pack in packs if pack not in taken] for packs in self.group.jobs]
        others = sorted(left, key=lambda packs: -sum(self.listed[pack].seconds for pack in packs))
        wanted = chain(self.claims.returned(), left[self.task], *others)
        return next((pack for pack in wanted if self.claims.claim(pack, self.task)), None)

    def _reported(self, config: Config) -> Config:
        """Nodes of a cluster seldom have a network; `ovpnet launch sync` reports their runs."""
        if self.launcher.networked or config.tracker.mode != "auto":
            return config
        return replace(config, tracker=replace(config.tracker, mode="offline"))

    def bury(self) -> None:
        """Store as failed the runs that the supervisor has given up."""
        condemned: dict[str, str] = self._state().get("condemned", {})
        wanted = condemned.keys() - (self.failed() if condemned else set())
        packs = [pack.number for pack in self.listed.values() if wanted.intersection(pack.runs)]
        if packs:
            from ovpnet.run.pack import failed_row

            self.store.write_pack([failed_row(config, "killed", condemned[run_id(config)])
                                   for _, configs in self.sweep.configs(self.group.number, packs)
                                   for config in configs if run_id(config) in wanted], [])

    def _state(self) -> dict[str, Any]:
        return read_json(self.sweep.job_file(self.group.number, self.task)) or {}

    def failed(self) -> set[str]:
        """run_ids that failed since this group was submitted: to train them again takes another submission."""
        rows = self.store.runs(["run_id", "status", "finished_at"])
        if rows.empty:
            return set()
        return set(rows.loc[rows["status"].eq("failed") & rows["finished_at"].ge(self.group.submitted_at), "run_id"])


class ProgressFile:
    """Keeps jobs/G-T.progress.json, written every few seconds at most: what the worker is at."""

    def __init__(self, work: Work, watcher: Watcher | None):
        self.file = work.sweep.job_file(work.group.number, work.task, "progress")
        self.watcher = watcher
        self.cost, self.done, self.before, self.written = 0.0, 0.0, 0.0, 0.0
        self.about: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname(), "started": time.time(),
                                      "runs_done": 0}

    def begin(self, pack: Pack, kept: int) -> None:
        """A pack is trained from now on, of which so many steps are kept in a checkpoint."""
        self.cost, self.before = pack.cost, self.done - kept * len(pack.configs) * pack.cost
        if self.watcher is not None:
            self.watcher.cost = pack.cost
        self.about |= {"training": [run_id(config) for config in pack.configs], "since": time.time()}
        self._write()

    def advance(self, steps: int) -> None:
        """Steps x members have been taken."""
        self.done += steps * self.cost
        if self.watcher is not None:
            self.watcher.advance(steps)
        if time.time() - self.written >= _SECONDS:
            self._write()

    def finish(self, runs: int) -> None:
        """The pack's runs are stored."""
        self.before = self.done
        self.about |= {"training": [], "runs_done": self.about["runs_done"] + runs}
        if self.watcher is not None:
            self.watcher.finish(runs)

    def end(self) -> None:
        """Nothing is left to train."""
        self._write()

    def _write(self) -> None:
        self.written = time.time()
        content = self.about | {"now": self.written, "seconds_done": self.done,
                                "seconds_in_pack": self.done - self.before}
        try:
            write_json(self.file, content)
        except OSError as error:  # a full disk is told by the store, where it matters
            log.warning("no progress written to %s (%s)", self.file, error)


def train(work: Work, interrupted: Callable[[], bool], watcher: Watcher | None = None) -> None:
    """Train what is left of a job, into the store. Raises InterruptionError, StoreError, ConfigError, DeviceLostError.
    """
    progress, checkpoints = ProgressFile(work, watcher), Checkpoints(work.store.path)
    for pack in work.left():
        from ovpnet.run.pack import run_pack  # imports torch, which a job that has nothing left need not wait for

        if not progress.done:
            work.launcher.begin(work.store.path, pack.configs[0].device)
        configs, one = pack.configs, pack.configs[0]
        log.info("training %s: %s, %s (%s), m=%d", count(len(configs), "run"), one.concept.name, one.learner.name,
                 one.learner.trained, one.width)
        progress.begin(pack, checkpoints.step([run_id(config) for config in configs]))
        run_pack(configs, progress.advance, interrupted)
        progress.finish(len(configs))
    progress.end()
    checkpoints.clean(work.store.finished())  # of packs that were cut up, say
