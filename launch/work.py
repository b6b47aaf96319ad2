"""The work of one job: it claims packs, trains one after the other, and tells of its progress meanwhile.

A run that fails becomes a row of the store, and the rest goes on. `launch.job` handles all else that ends the process:
a signal, the kernel's out-of-memory killer, a crash, a GPU that is lost.
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

# Seconds between two writes of the progress file, at least.
_SECONDS = 5.0


class Watcher(Protocol):
    """A progress bar, or whoever else is told of the work."""

    cost: float

    def advance(self, steps: int) -> None:
        """Take note that so many steps have been taken."""

    def finish(self, runs: int) -> None:
        """Take note that so many runs are stored."""


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
        self.pack: int | None = None  # the number of the pack in training

    def left(self) -> Iterator[Pack]:
        """Yield what is left to train, pack by pack: runs that are neither finished nor failed in this group.

        They come in the parts that the supervisor has cut packs into (`launch.job`).
        """
        # Clocks of machines differ, so a run that was given up here may seem to have failed before this submission.
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
        """Yield packs until none is left, and claim each only when it is asked for.

        Jobs start at different times, or wait to start again, and so they share the packs out as they go.
        """
        yield from self.claims.of(self.task, self.claims.taken())  # claimed by earlier workers of this job
        while (pack := self._next()) is not None:
            yield pack

    def _next(self) -> int | None:
        """Claim a pack and return it; None if none is left.

        A pack that was returned comes first. Then come the packs of this job, then the longest of the job that has most
        left.
        """
        taken = self.claims.taken()
        left = [[pack for pack in packs if pack not in taken] for packs in self.group.jobs]
        others = sorted(left, key=lambda packs: -sum(self.listed[pack].seconds for pack in packs))
        wanted = chain(self.claims.returned(), left[self.task], *others)
        return next((pack for pack in wanted if self.claims.claim(pack, self.task)), None)

    def _reported(self, config: Config) -> Config:
        """Return the config with an offline tracker if its job has no network; `ovpnet launch sync` reports such runs.
        """
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
        """Return the run_ids that failed since this group was submitted: another submission may train them again."""
        rows = self.store.runs(["run_id", "status", "finished_at"])
        if rows.empty:
            return set()
        return set(rows.loc[rows["status"].eq("failed") & rows["finished_at"].ge(self.group.submitted_at), "run_id"])


class ProgressFile:
    """The file jobs/G-T.progress.json, written every few seconds at most: what the worker does now."""

    def __init__(self, work: Work, watcher: Watcher | None):
        self.file = work.sweep.job_file(work.group.number, work.task, "progress")
        self.watcher = watcher
        self.cost, self.done, self.before, self.written = 0.0, 0.0, 0.0, 0.0
        self.about: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname(), "started": time.time(),
                                      "runs_done": 0}

    def begin(self, pack: Pack, kept: int) -> None:
        """Take note that a pack is in training, and that a checkpoint holds so many of its steps."""
        self.cost, self.before = pack.cost, self.done - kept * len(pack.configs) * pack.cost
        if self.watcher is not None:
            self.watcher.cost = pack.cost
        self.about |= {"training": [run_id(config) for config in pack.configs], "since": time.time()}
        self._write()

    def advance(self, steps: int) -> None:
        """Take note that so many steps x members have been taken."""
        self.done += steps * self.cost
        if self.watcher is not None:
            self.watcher.advance(steps)
        if time.time() - self.written >= _SECONDS:
            self._write()

    def finish(self, runs: int) -> None:
        """Take note that the pack's runs are stored."""
        self.before = self.done
        self.about |= {"training": [], "runs_done": self.about["runs_done"] + runs}
        if self.watcher is not None:
            self.watcher.finish(runs)

    def end(self) -> None:
        """Take note that nothing is left to train."""
        self._write()

    def _write(self) -> None:
        self.written = time.time()
        content = self.about | {"now": self.written, "seconds_done": self.done,
                                "seconds_in_pack": self.done - self.before}
        try:
            write_json(self.file, content)
        except OSError as error:  # if the disk is full, the store raises the error that matters
            log.warning("no progress written to %s (%s)", self.file, error)


def train(work: Work, interrupted: Callable[[], bool], watcher: Watcher | None = None) -> None:
    """Train what is left of a job, into the store.

    Raises InterruptionError, StoreError, ConfigError, DeviceLostError.
    """
    progress, checkpoints = ProgressFile(work, watcher), Checkpoints(work.store.path)
    for pack in work.left():
        from ovpnet.run.pack import run_pack  # torch is slow to import, and a job that has nothing left needs none

        if not progress.done:
            work.launcher.begin(work.store.path, pack.configs[0].device)
        configs, one = pack.configs, pack.configs[0]
        log.info("training %s: %s, %s (%s), m=%d", count(len(configs), "run"), one.concept.name, one.learner.name,
                 one.learner.trained, one.width)
        progress.begin(pack, checkpoints.step([run_id(config) for config in configs]))
        run_pack(configs, progress.advance, interrupted)
        progress.finish(len(configs))
    progress.end()
    checkpoints.clean(work.store.finished())  # say, those of packs that were cut up
