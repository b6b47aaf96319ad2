"""One job of a sweep, which submitit runs on SLURM or in a process here: a supervisor that outlives its worker.

The supervisor does not import torch. It starts `launch.worker`, and starts it again if it dies: a crash, the kernel's
out-of-memory killer or a lost GPU ends a worker, not the job. Then the runs that were in training are trained as two
halves, until the run that kills its worker is alone. After a few deaths of its own that run is given up, and stored as
failed. If SLURM asks for the job's place (a timeout, a preemption), the worker keeps a checkpoint and submitit requeues
the job.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import submitit
from submitit.core.utils import DelayedSubmission

from launch.job_file import INTERRUPTED, JobFile
from launch.launchers import launcher_of
from launch.sweep import Sweep, check_private
from ovpnet.spec.errors import OvpnetError
from ovpnet.terminal.words import count

log = logging.getLogger(__name__)

# Seconds between two looks at the worker; from a worker that could not start to the next one; and that a job whose
# worker was asked to stop waits for SLURM to end it.
_LOOK, _PAUSE, _NOTICE = 0.1, 5.0, 600.0


class Job:
    """A job, as a callable that can be pickled: it knows only the folder of its sweep's record."""

    def __init__(self, sweep: str, group: int, task: int):
        self.sweep, self.group, self.task = sweep, group, task
        self._worker: int | None = None  # the pid, until it has been waited for
        self._patience = 0.0  # seconds that it may take to keep a checkpoint
        self._cancelled = False

    def __call__(self) -> None:
        """Train the job's packs. Raises OvpnetError if that cannot be done here."""
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
                # SLURM will end this process, and requeue the job if it was preempted. A job that ends before that
                # counts as done.
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
        """Stop the worker, with a checkpoint; submitit calls this in a signal handler, before a requeue."""
        if self._worker is not None:
            os.kill(self._worker, signal.SIGTERM)
            deadline = time.monotonic() + self._patience
            while not self._ended() and time.monotonic() < deadline:
                time.sleep(_LOOK)
        return DelayedSubmission(Job(self.sweep, self.group, self.task))

    def _cancel(self, number: int, frame: FrameType | None) -> None:
        """Ask the worker to stop, and start no other one: the handler of SIGTERM, for `ovpnet launch cancel`.

        SLURM itself asks all processes of a job.
        """
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
        """Return whether the worker has ended, but leave it to be waited for.

        Popen's own poll takes a lock, for which a signal handler could wait forever.
        """
        assert self._worker is not None
        return os.waitid(os.P_PID, self._worker, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _leave_signals_to_the_supervisor() -> None:
    """Ignore submitit's signal, which SLURM sends to every process of a job: it would end a worker."""
    signal.signal(submitit.JobEnvironment._usr_sig(), signal.SIG_IGN)
