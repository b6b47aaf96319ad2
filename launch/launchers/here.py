"""The base class of launchers whose jobs are processes of this machine, or of another one that sees the store."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from launch import machines
from launch.launcher import JobState, Launcher, how_ended
from launch.processes import process
from launch.sweep import Group, Sweep, read_json
from ovpnet.engine.rates import Machine
from ovpnet.spec.errors import OvpnetError
from ovpnet.spec.keys import key

# A process on another machine writes its progress every few seconds; after so many seconds without it counts as gone.
_SILENCE = 120.0


@dataclass
class Here(Launcher):
    """Starts a process per job, through submitit."""

    poll_seconds = 2.0
    requeues = False
    networked = True
    time_key = ""
    checkpoint_seconds = 20.0

    workers: int | None = key(None, "processes that share the packs; null = one per GPU, else one", low=1)
    retries: int = key(2, "how often a run may end its process before it is marked failed", low=0)

    def machine(self, store: Path, device: str) -> Machine:
        return machines.shared_by(self.most_jobs(device), device)

    def most_jobs(self, device: str) -> int:
        return self.workers or machines.workers(device)

    @property
    def cores(self) -> int:
        return max(1, (os.cpu_count() or 1) // (self.workers or 1))

    def submit(self, sweep: Sweep, group: Group, jobs: Sequence[Callable[[], None]]) -> None:
        _start(sweep, group, machines.gpus(len(jobs)))

    @classmethod
    def jobs(cls, sweep: Sweep, groups: Sequence[Group]) -> dict[tuple[int, int], JobState]:
        return {(group.number, task): _job(sweep, group, task) for group in groups for task in range(len(group.jobs))}

    @classmethod
    def live(cls, groups: Sequence[tuple[Sweep, Group]]) -> list[tuple[Sweep, Group]]:
        return [(sweep, group) for sweep, group in groups if any(job.live for job in cls.jobs(sweep, [group]).values())]

    @classmethod
    def stop(cls, sweep: Sweep, jobs: Sequence[JobState]) -> int:
        return sum(not _stop(sweep, job) for job in jobs)


def _start(sweep: Sweep, group: Group, gpus: Sequence[int | None]) -> None:
    """Start a process per job, each with one of the GPUs. Raises OvpnetError."""
    assert group.code is not None
    log = sweep.path / "logs" / f"start-{group.number}.log"
    path = os.pathsep.join([group.code, *filter(None, [os.environ.get("PYTHONPATH")])])
    with open(log, "wb") as told:
        done = subprocess.run([sys.executable, "-m", "launch.start", str(sweep.path), str(group.number),
                               *("none" if gpu is None else str(gpu) for gpu in gpus)],
                              cwd=group.code, env=os.environ | {"PYTHONPATH": path}, start_new_session=True,
                              stdin=subprocess.DEVNULL, stdout=told, stderr=told)
    if done.returncode:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise OvpnetError(f"{''.join(last) or f'exit status {done.returncode}'}, see {log}")


def _job(sweep: Sweep, group: Group, task: int) -> JobState:
    about = read_json(sweep.job_file(group.number, task)) or {}
    progress = read_json(sweep.job_file(group.number, task, "progress")) or {}
    if "process" not in about:
        return JobState(group.number, task, "PENDING" if _age(group.submitted_at) < _SILENCE else "UNKNOWN")
    if about["host"] == socket.gethostname():
        running = process(about["pid"]) == about["process"]
    else:
        running = time.time() - progress.get("now", about["started"]) < _SILENCE
    until = about["ended"] or (time.time() if running else progress.get("now", about["started"]))
    took = until - about["started"]
    return JobState(group.number, task, how_ended(about) or ("RUNNING" if running else "KILLED"), str(about["pid"]),
                    about["host"], took, len(about["gpus"]) * took)


def _age(moment: str) -> float:
    """Return the seconds since then."""
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def _stop(sweep: Sweep, job: JobState) -> bool:
    """Ask a process to end; False if it has not begun. Raises OvpnetError if it is on another machine."""
    about = read_json(sweep.job_file(job.group, job.task)) or {}
    if "process" not in about:
        return False
    if about["host"] != socket.gethostname():
        raise OvpnetError(f"job {job.group}-{job.task} runs on {about['host']}; cancel it there")
    if process(about["pid"]) == about["process"]:
        os.kill(about["pid"], signal.SIGTERM)
    return True
