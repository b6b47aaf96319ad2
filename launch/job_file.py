"""The record of a job's supervisor: the machine it runs on, and the runs that ended its workers."""

import logging
import os
import signal
import socket
import time
from typing import Any

import submitit

from launch.processes import process
from launch.sweep import Sweep, read_json, write_json
from ovpnet.record.checkpoint import Checkpoints
from ovpnet.record.store import Store
from ovpnet.spec.errors import CheckpointError
from ovpnet.terminal.words import count

log = logging.getLogger(__name__)

# Exit statuses of a worker that was asked to stop, and of one whose run broke the GPU's context. It has 0 if all went
# well, and 1 for errors that have nothing to do with a run.
INTERRUPTED, DEVICE_LOST = 75, 76
# After so many deaths in a row the runs are not the cause: fewer find the one of 512 that kills, and make sure of it.
_FRUITLESS = 16


class JobFile:
    """The file jobs/G-T.json: the machine that the job runs on, and what its workers died of."""

    def __init__(self, sweep: Sweep, group: int, task: int, retries: int):
        self.sweep, self.retries = sweep, retries
        self.file, self.progress = sweep.job_file(group, task), sweep.job_file(group, task, "progress")
        self.group, self.packs = group, sweep.packs(group)
        self.blamed, self.fruitless, self.finished = time.time(), 0, -1
        kept = read_json(self.file) or {}
        self.content: dict[str, Any] = {"deaths": {}, "condemned": {}} | kept | {
            "job_id": _job_id(), "host": socket.gethostname(), "pid": os.getpid(), "process": process(os.getpid()),
            "gpus": [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu],
            "starts": kept.get("starts", 0) + 1, "started": time.time(), "ended": None, "how": None}
        self._write()

    def end(self, how: str) -> None:
        """Write down how the job ended: `done`, `failed` or `interrupted`."""
        self.content |= {"ended": time.time(), "how": how}
        self._write()

    def died(self, status: int) -> bool:
        """Write down that a worker died; return False if no run was in training."""
        progress = read_json(self.progress) or {}
        since: float = progress.get("since", 0.0)
        if since <= self.blamed:  # an earlier worker wrote it
            return False
        self.blamed = since
        training: list[str] = progress.get("training", [])
        finished = Store(self.sweep.store).finished()
        left = [run for run in training if run not in finished]
        if not left:
            return False
        self.fruitless = self.fruitless + 1 if len(finished) == self.finished else 0
        self.finished = len(finished)
        if self.fruitless > _FRUITLESS:
            log.error("%d workers died one after the other and nothing was trained: something is wrong with this node",
                      self.fruitless)
            return False
        how = ("it lost the GPU" if status == DEVICE_LOST else f"exit status {status}" if status > 0 else
               f"signal {-status} ({signal.Signals(-status).name})"
               + (", as by the kernel if memory runs out" if status == -signal.SIGKILL else ""))
        log.warning("the worker died (%s) while it trained %s", how, count(len(left), "run"))
        if len(left) > 1:
            self._halve(training, left)
        else:
            deaths = self.content["deaths"][left[0]] = self.content["deaths"].get(left[0], 0) + 1
            if deaths > self.retries:
                self.content["condemned"][left[0]] = f"the process that trained it died {count(deaths, 'time')}; {how}"
        self._write()
        return True

    def _halve(self, training: list[str], left: list[str]) -> None:
        if left == training:
            try:
                Checkpoints(self.sweep.store).halve(left)
            except (CheckpointError, OSError) as error:
                log.warning("%s; the halves are trained from their beginning", error)
        middle = len(left) // 2
        [pack] = [pack for pack in self.packs if left[0] in pack.runs]
        kept = [[run for run in part if run not in left] for part in self.sweep.parts(self.group, pack)]
        self.sweep.cut(self.group, pack, [part for part in kept if part] + [left[:middle], left[middle:]])

    def _write(self) -> None:
        write_json(self.file, self.content)


def _job_id() -> str | None:
    """Return the id by which submitit names files; None outside jobs.

    On SLURM it is SLURM's own number: 12_3 for a task of an array.
    """
    try:
        return submitit.JobEnvironment().job_id
    except RuntimeError:
        return None
