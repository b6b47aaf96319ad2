"""What SLURM, or this machine, says of a sweep's jobs; by the names they were submitted under, so that it can be asked
from any shell, long after the one that submitted them is gone."""

import csv
import io
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from submitit.core.utils import JobPaths
from submitit.slurm.slurm import read_job_id

from launch.processes import process
from launch.sweep import Group, Sweep, read_json
from ovpnet.spec.errors import OvpnetError
from ovpnet.terminal.words import count

# SLURM's states of a job that will run, or does.
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "SUSPENDED", "RESV_DEL_HOLD")
RUNNING = ("RUNNING", "COMPLETING", "CONFIGURING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED")

log = logging.getLogger(__name__)

# Seconds after which a process on another machine, which tells of itself every few seconds, counts as gone.
_SILENCE = 120.0


@dataclass
class JobState:
    """A job of a sweep."""

    group: int
    task: int
    state: str  # SLURM's word for it; UNKNOWN where nothing knows of it
    id: str | None = None  # as SLURM's commands take it
    node: str = ""
    seconds: float = 0.0  # of running, all starts together
    gpu_seconds: float = 0.0
    reason: str = ""  # why it waits

    @property
    def live(self) -> bool:
        """Whether it runs, or will without anybody doing anything."""
        return self.state in (*WAITING, *RUNNING)


def job_name(sweep: Sweep, group: int) -> str:
    """Under which a group's jobs are submitted."""
    return f"{sweep.id}.{group}"


def jobs(sweep: Sweep, groups: Sequence[Group]) -> list[JobState]:
    """The jobs of these groups. Raises OvpnetError where SLURM does not answer."""
    on_slurm = [group for group in groups if group.launcher == "slurm"]
    found = _slurm(sweep, on_slurm) if on_slurm else {}
    return [found.get((group.number, task)) or (
        JobState(group.number, task, "UNKNOWN") if group.launcher == "slurm" else _process(sweep, group, task))
        for group in groups for task in range(len(group.jobs))]


def live_groups(sweeps: Iterable[Sweep]) -> list[tuple[Sweep, Group]]:
    """The groups of which a job runs or waits to, asked for all of them at once.

    Where SLURM is not installed (a store that was copied to a laptop, say), what was submitted to it counts as ended,
    with a warning. Raises OvpnetError where it is and does not answer: nothing must be submitted twice for that.
    """
    known = [(sweep, group) for sweep in sweeps for group in sweep.groups() if not _all_done(sweep, group)]
    on_slurm = [job_name(sweep, group.number) for sweep, group in known if group.launcher == "slurm"]
    names: set[str] = set()
    if on_slurm and shutil.which("squeue") is None:
        log.warning("SLURM is not on this machine, so these count as ended: %s", ", ".join(on_slurm))
    elif on_slurm:
        names = {name for _, name, *_ in _squeue()}
    return [(sweep, group) for sweep, group in known
            if (job_name(sweep, group.number) in names if group.launcher == "slurm" else any(
                _process(sweep, group, task).live for task in range(len(group.jobs))))]


def _all_done(sweep: Sweep, group: Group) -> bool:
    """Whether all jobs of the group have told of their end."""
    return all((read_json(sweep.job_file(group.number, task)) or {}).get("how") == "done"
               for task in range(len(group.jobs)))


def cancel(sweep: Sweep, groups: Sequence[Group]) -> int:
    """Ask the jobs of these groups to end; how many there were. Raises OvpnetError."""
    live = [job for job in jobs(sweep, groups) if job.live]
    by_number = {group.number: group for group in groups}
    names = {job_name(sweep, job.group) for job in live if by_number[job.group].launcher == "slurm"}
    for name in sorted(names):
        _run("scancel", "--me", f"--name={name}")
    here = [job for job in live if by_number[job.group].launcher != "slurm"]
    if waiting := [job for job in here if not stop(sweep, job)]:
        raise OvpnetError(f"{len(waiting)} of {count(len(live), 'job')} cannot be asked to end before it has begun: "
                          "give the command again in a few seconds")
    return len(live)


def stop(sweep: Sweep, job: JobState) -> bool:
    """Ask a job that is a process here to end; False where it has not begun yet. Raises OvpnetError."""
    about = read_json(sweep.job_file(job.group, job.task)) or {}
    if "process" not in about:
        return False
    if about["host"] != socket.gethostname():
        raise OvpnetError(f"job {job.group}-{job.task} runs on {about['host']}; cancel it there")
    if process(about["pid"]) == about["process"]:
        os.kill(about["pid"], signal.SIGTERM)
    return True


def logs(sweep: Sweep, job: JobState) -> list[Path]:
    """Files of what the job printed, at all of its starts."""
    ids = {job.id, (read_json(sweep.job_file(job.group, job.task)) or {}).get("job_id")} - {None}
    return sorted(file for id in ids for kind in ("out", "err")
                  for file in [JobPaths(sweep.path / "logs", id).folder / f"{id}_0_log.{kind}"] if file.exists())


def _slurm(sweep: Sweep, groups: Sequence[Group]) -> dict[tuple[int, int], JobState]:
    """By group and task: what sacct remembers, and for what is in the queue what squeue says now."""
    numbers = {job_name(sweep, group.number): group.number for group in groups}
    since = min(group.submitted_at for group in groups)[:19]
    found: dict[tuple[int, int], JobState] = {}
    for id, name, state, elapsed, tres, node in _sacct(numbers, since):
        for task in _tasks(id):
            job = found.setdefault((numbers[name], task), JobState(numbers[name], task, state))
            gpus = re.search(r"gres/gpu=(\d+)", tres)
            job.state, job.id, job.node = state, id if "[" not in id else None, node
            job.seconds += float(elapsed or 0)
            job.gpu_seconds += float(elapsed or 0) * (int(gpus[1]) if gpus else 0)
    queued = {(numbers[name], task): (id, state, reason) for id, name, state, reason in _squeue() if name in numbers
              for task in _tasks(id)}
    # The queue is what is so now. Accounting lags by seconds: a job may still be RUNNING there that has ended, or for a
    # moment have failed with its node that is about to start again. And not every cluster has it.
    for group in groups:
        for task in range(len(group.jobs)):
            key = group.number, task
            about = read_json(sweep.job_file(*key)) or {}
            if key not in found and (key in queued or about):
                took = (about.get("ended") or time.time()) - about["started"] if about else 0.0
                found[key] = JobState(*key, "UNKNOWN", about.get("job_id"), about.get("host", ""), took,
                                      took * len(about.get("gpus", [])))
            if key in queued:
                found[key].id, found[key].state, found[key].reason = queued[key]
            elif key in found and (found[key].live or about.get("how") == "done"):
                found[key].state = _how(about) or "ENDED"
    return found


def _tasks(id: str) -> list[int]:
    """Array indices that a job id stands for: 12_3, 12_[3-5,8%4], or 12, which is no array."""
    try:
        return [index for _, *bounds in read_job_id(id)
                for index in (range(int(bounds[0]), int(bounds[-1]) + 1) if bounds else [0])]
    except ValueError:  # a list that was cut short
        return []


def _squeue() -> list[tuple[str, ...]]:
    """(id, name, state, reason) of this user's jobs, an array's tasks each."""
    table = _run("squeue", "--me", "--array", "--noheader", "--format=%i|%j|%T|%r")
    return [tuple(line.split("|", 3)) for line in table.splitlines() if line.count("|") >= 3]


def _sacct(names: Iterable[str], since: str) -> list[tuple[str, ...]]:
    """(id, name, state, seconds, resources, node) of jobs, each start of a requeued one; none without accounting."""
    columns = "JobID,JobName,State,ElapsedRaw,AllocTRES,NodeList"
    try:
        # Times in UTC, as the record of a sweep has them.
        table = _run("sacct", "--allocations", "--duplicates", "--parsable2", f"--format={columns}",
                     f"--name={','.join(names)}", f"--starttime={since}", utc=True)
    except OvpnetError:
        return []
    rows = list(csv.reader(io.StringIO(table), delimiter="|", quoting=csv.QUOTE_NONE))[1:]
    return [(row[0], row[1], row[2].split()[0], *row[3:]) for row in rows if len(row) == 6 and row[2]]


def _how(about: Mapping[str, Any]) -> str | None:
    """How a job's supervisor says that it ended, in SLURM's words; None if it does not."""
    return {"done": "COMPLETED", "failed": "FAILED", "interrupted": "CANCELLED"}.get(about.get("how") or "")


def _age(moment: str) -> float:
    """Seconds since then."""
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def _process(sweep: Sweep, group: Group, task: int) -> JobState:
    """A job that is a process here, or on another machine that shares the store."""
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
    return JobState(group.number, task, _how(about) or ("RUNNING" if running else "KILLED"), str(about["pid"]),
                    about["host"], took, len(about["gpus"]) * took)


def _run(*command: str, utc: bool = False) -> str:
    # A user's own defaults would hide jobs, and long lists of tasks would be cut short.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SQUEUE_", "SACCT_"))}
    environment |= {"SLURM_BITSTR_LEN": "0"} | ({"TZ": "UTC"} if utc else {})
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    except FileNotFoundError as error:
        raise OvpnetError(f"{command[0]} is not here; ask on a machine of the cluster that the sweep is on") from error
    except subprocess.TimeoutExpired as error:
        raise OvpnetError(f"{command[0]} did not answer for two minutes") from error
    if done.returncode:
        raise OvpnetError(f"{' '.join(command)}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout
