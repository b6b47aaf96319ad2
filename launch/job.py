"""What submitit runs, on SLURM or in a process here: one job of a sweep, by a supervisor that outlives its worker.

The supervisor does not import torch. It starts `launch.worker`, and again when that has died: a crash, the kernel's
out-of-memory killer or a lost GPU ends a worker, not the job. The runs that were in training then are trained as two
halves from then on, until the one that kills its worker is alone; after a few deaths of its own it is given up, and
stored as failed. Where SLURM asks for the job's place (a timeout, a preemption), the worker keeps a checkpoint and
submitit requeues the job.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import submitit
from submitit.core.utils import DelayedSubmission

from launch.launchers import launcher_of
from launch.processes import process
from launch.sweep import Sweep, check_private, read_json, write_json
from launch.worker import DEVICE_LOST, INTERRUPTED
from ovpnet.record.checkpoint import Checkpoints
from ovpnet.record.store import Store
from ovpnet.spec.errors import CheckpointError, OvpnetError
from ovpnet.terminal.words import count

log = logging.getLogger(__name__)

# Seconds: between two looks at the worker; until another one is tried after one that could not start; and how long a
# job whose worker was asked to stop waits for SLURM to end it.
_LOOK, _PAUSE, _NOTICE = 0.1, 5.0, 600.0
# Deaths in a row after which it is not the runs: more than it takes to find one that kills among 512, and to be sure.
_FRUITLESS = 16


class Job:
    """A job, as a callable that can be pickled: it knows only where its sweep is on record."""

    def __init__(self, sweep: str, group: int, task: int):
        self.sweep, self.group, self.task = sweep, group, task
        self._worker: int | None = None  # its pid, until it has been waited for
        self._patience = 0.0  # seconds that it may take to keep a checkpoint
        self._cancelled = False

    def __call__(self) -> None:
        """Train the job's packs. Raises OvpnetError where that cannot be done here."""
        check_private(Path(self.sweep))
        if submitit.JobEnvironment().global_rank:
            log.warning("a job is one process; this is another one, which has nothing to do")
            return
        sweep = Sweep(Path(self.sweep))
        launcher = launcher_of(sweep.group(self.group))
        if not launcher.requeues:
            signal.signal(signal.SIGTERM, self._cancel)
        self._patience = launcher.checkpoint_seconds
        file = JobFile(sweep, self.group, self.task, launcher.retries)
        failures = 0
        while (status := -signal.SIGTERM if self._cancelled else self._work(launcher.cores)) != 0:
            asked = self._cancelled or status in (INTERRUPTED, -signal.SIGTERM)
            if asked and not launcher.requeues:
                file.end("interrupted")
                return
            if asked:
                # Whoever asked will end this process, and requeue the job if it was preempted. To end before that would
                # count as done.
                log.info("the worker was asked to stop; waiting for the job to be ended")
                time.sleep(_NOTICE)
            elif status == 1 or not file.died(status):
                failures += 1
                if failures > launcher.retries:
                    file.end("failed")
                    raise OvpnetError(f"the worker of job {self.group}-{self.task} failed {count(failures, 'time')}; "
                                      "what it said is above")
                time.sleep(_PAUSE)
        file.end("done")

    def checkpoint(self) -> DelayedSubmission:
        """Asked by submitit in a signal handler, before a requeue: stop the worker, with a checkpoint."""
        if self._worker is not None:
            os.kill(self._worker, signal.SIGTERM)
            deadline = time.monotonic() + self._patience
            while not self._ended() and time.monotonic() < deadline:
                time.sleep(_LOOK)
        return DelayedSubmission(Job(self.sweep, self.group, self.task))

    def _cancel(self, number: int, frame: FrameType | None) -> None:
        """On SIGTERM (`python -m launch cancel`) the worker is asked to stop, and no other one is started. (SLURM asks
        all processes of a job itself.)"""
        self._cancelled = True
        if self._worker is not None:
            os.kill(self._worker, signal.SIGTERM)

    def _work(self, cores: int) -> int:
        """Start a worker and wait for it; return its exit status, negative for a signal."""
        environment = dict(os.environ)
        environment.setdefault("OMP_NUM_THREADS", str(cores))
        process = subprocess.Popen([sys.executable, "-u", "-m", "launch.worker", self.sweep, str(self.group),
                                    str(self.task)], env=environment, preexec_fn=_leave_signals_to_the_supervisor)
        self._worker = process.pid
        if self._cancelled:  # while it was started
            process.terminate()
        while not self._ended():
            time.sleep(_LOOK)
        self._worker = None
        return process.wait()

    def _ended(self) -> bool:
        """Whether the worker has, which is left to be waited for. (Popen's own poll takes a lock, which a signal
        handler could wait for forever.)"""
        assert self._worker is not None
        return os.waitid(os.P_PID, self._worker, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _leave_signals_to_the_supervisor() -> None:
    """SLURM sends submitit's signal to every process of a job, and it would end a worker."""
    signal.signal(submitit.JobEnvironment._usr_sig(), signal.SIG_IGN)


class JobFile:
    """jobs/G-T.json: where the job runs, and what its workers died of."""

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
        """The job ends: `done`, `failed` or `interrupted`."""
        self.content |= {"ended": time.time(), "how": how}
        self._write()

    def died(self, status: int) -> bool:
        """Take note of a worker's death; False where it was not in training."""
        progress = read_json(self.progress) or {}
        since: float = progress.get("since", 0.0)
        if since <= self.blamed:  # it is about a worker before this one
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
               + (", as by the kernel where memory runs out" if status == -signal.SIGKILL else ""))
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
    """What submitit's files are named by: on SLURM its own number, 12_3 for a task of an array; None outside jobs."""
    try:
        return submitit.JobEnvironment().job_id
    except RuntimeError:
        return None
