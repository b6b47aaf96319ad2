"""SLURM's commands, which any shell can ask long after the one that submitted the jobs is gone."""

import csv
import io
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from submitit.slurm.slurm import read_job_id

from ovpnet.spec.errors import OvpnetError


class Queued(NamedTuple):
    """A job in the queue: it waits or runs."""

    name: str
    task: int
    id: str
    state: str
    reason: str


class Start(NamedTuple):
    """One start of a job that is in the accounting."""

    name: str
    task: int
    id: str | None  # None if it stands for several tasks
    state: str
    seconds: float
    gpus: int
    node: str


def queued() -> list[Queued]:
    """Return this user's jobs in the queue, the tasks of an array one by one. Raises OvpnetError."""
    table = _run("squeue", "--me", "--array", "--noheader", "--format=%i|%j|%T|%r")
    rows = [line.split("|", 3) for line in table.splitlines() if line.count("|") >= 3]
    return [Queued(name, task, id, state, reason) for id, name, state, reason in rows for task in tasks(id)]


def accounted(names: Iterable[str], since: str) -> Iterator[Start]:
    """Yield the starts of the jobs of these names, each start of a requeued job; none if SLURM keeps no accounting."""
    columns = "JobID,JobName,State,ElapsedRaw,AllocTRES,NodeList"
    try:
        # Times in UTC, as the record of a sweep has them.
        table = _run("sacct", "--allocations", "--duplicates", "--parsable2", f"--format={columns}",
                     f"--name={','.join(names)}", f"--starttime={since}", utc=True)
    except OvpnetError:
        return
    for row in list(csv.reader(io.StringIO(table), delimiter="|", quoting=csv.QUOTE_NONE))[1:]:
        if len(row) != 6 or not row[2]:
            continue
        id, name, state, elapsed, resources, node = row
        gpus = re.search(r"gres/gpu=(\d+)", resources)
        for task in tasks(id):
            yield Start(name, task, None if "[" in id else id, state.split()[0], float(elapsed or 0),
                        int(gpus[1]) if gpus else 0, node)


def cancel(name: str) -> None:
    """Ask this user's jobs of that name to end. Raises OvpnetError."""
    _run("scancel", "--me", f"--name={name}")


def tasks(id: str) -> list[int]:
    """Return the array indices that a job id stands for: 12_3, 12_[3-5,8%4], or 12, which is no array."""
    try:
        return [index for _, *bounds in read_job_id(id)
                for index in (range(int(bounds[0]), int(bounds[-1]) + 1) if bounds else [0])]
    except ValueError:  # a list that was cut short
        return []


def _run(*command: str, utc: bool = False) -> str:
    # A user's own defaults would hide jobs, and long lists of tasks would be cut short.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SQUEUE_", "SACCT_"))}
    environment |= {"SLURM_BITSTR_LEN": "0"} | ({"TZ": "UTC"} if utc else {})
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    except FileNotFoundError as error:
        raise OvpnetError(f"ask on a machine of the cluster that the sweep is on: {command[0]} is not here") from error
    except subprocess.TimeoutExpired as error:
        raise OvpnetError(f"{command[0]} did not answer for two minutes") from error
    if done.returncode:
        raise OvpnetError(f"{' '.join(command)}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout
