"""The state of a sweep: its runs, packs and jobs, from the store, the sweep's record and the scheduler together."""

import time
from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from launch.claims import Claims
from launch.launcher import RUNNING, JobState
from launch.scheduler import jobs, live_groups
from launch.sweep import Group, Listed, Sweep, read_json, sweeps
from ovpnet.record.store import FINISHED, Store

# The states of runs and packs, in the order shown. A run is `left` if no job is to train it (`ovpnet launch retry`).
STATES = ("done", "diverged", "failed", "running", "pending", "left")


@dataclass(frozen=True)
class Status:
    """A sweep at one moment."""

    sweep: Sweep
    about: dict[str, Any]
    runs: Counter[str]  # by state
    packs: Counter[str]  # by state; `done` if every run is done, diverged or failed
    failures: pd.DataFrame  # of the runs that failed: run_id, failure, error, traceback
    jobs: list[JobState]
    progress: dict[tuple[int, int], dict[str, Any]]  # by group and task, what the workers last wrote
    seconds_left: float | None  # predicted; None if nothing is left, or no job works on it
    elsewhere: dict[str, set[str]]  # runs that another sweep trains or waits to train, by its id; pending here
    skipped: list[str]  # sentences on what could not be read of the store

    @property
    def ended(self) -> bool:
        """True if no job runs or waits, nor another sweep's job that trains runs of this one."""
        return not any(job.live for job in self.jobs) and not self.elsewhere

    @property
    def unrecorded(self) -> int:
        """The number of runs that the command did not put on record, because it was ended before."""
        return int(self.about.get("distinct", 0)) - sum(self.runs.values())

    @property
    def complete(self) -> bool:
        """True if every run is done or diverged."""
        return self.unrecorded <= 0 and not any(
            self.runs[state] for state in ("failed", "running", "pending", "left"))


def status(sweep: Sweep) -> Status:
    """Return the state of a sweep now. Raises OvpnetError if SLURM does not answer."""
    about, groups, store = sweep.about(), sweep.groups(), Store(sweep.store)
    states = jobs(sweep, groups)
    columns = ["run_id", "status", "finished_at", "failure", "error", "traceback"]
    rows = store.runs(columns).reindex(columns=columns)
    packs = [(group, pack) for group in groups for pack in sweep.packs(group.number)]
    ids = {run for _, pack in packs for run in pack.runs}
    rows = rows[rows["run_id"].isin(ids)]
    known = dict(zip(rows["run_id"], rows["status"], strict=True))
    failed = rows[rows["status"].eq("failed")].set_index("run_id")["finished_at"].to_dict()
    progress = {(job.group, job.task): read_json(sweep.job_file(job.group, job.task, "progress")) or {}
                for job in states}
    training = {run for job in states if job.state in RUNNING
                for run in progress[job.group, job.task].get("training", [])}
    # A group does not try again the runs that have failed since it was submitted.
    to_do = set().union(*({run for run in waiting(sweep, [group], states)
                           if failed.get(run, "") < group.submitted_at} for group in groups))
    to_do = {run for run in to_do & ids if known.get(run) not in FINISHED}
    now = {run: known.get(run, "left") for run in ids} | {
        run: "running" if run in training else "pending" for run in to_do}
    elsewhere = under_way(sweep.store, {run for run, state in now.items() if state == "left"})
    now |= {run: "pending" for runs in elsewhere.values() for run in runs}
    predicted = sum(pack.seconds * len(to_do.intersection(pack.runs)) / len(pack.runs) for _, pack in packs)
    counts = Counter(now.values())
    counts["done"] += about.get("finished", 0)
    return Status(sweep, about, counts, _packs(groups, packs, now), rows[rows["status"].eq("failed")], states, progress,
                  _seconds_left(states, progress, predicted), elsewhere, store.skipped)


def under_way(store: Path, wanted: AbstractSet[str]) -> dict[str, set[str]]:
    """Return those of the wanted runs that live jobs of the store's sweeps have yet to train, by the sweep's id.

    Raises OvpnetError if SLURM does not answer.
    """
    found: dict[str, set[str]] = {}
    taken: set[str] = set()
    live = live_groups(sweeps(store)) if wanted else []
    failed = _failed(store) if live else {}
    for sweep, group in live:
        # A group does not try again the runs that have failed since it was submitted.
        mine = {run for run in waiting(sweep, [group], jobs(sweep, [group])) & wanted
                if failed.get(run, "") < group.submitted_at}
        if mine := mine - taken:
            found[sweep.id] = found.get(sweep.id, set()) | mine
            taken |= mine
    return found


def _failed(store: Path) -> dict[str, str]:
    """Return when the runs of the store failed, of those that nobody has trained since."""
    rows = Store(store).runs(["run_id", "status", "finished_at"])
    return rows[rows["status"].eq("failed")].set_index("run_id")["finished_at"].to_dict()


def waiting(sweep: Sweep, groups: list[Group], states: list[JobState]) -> set[str]:
    """Return the runs that live jobs train, or have yet to train.

    A pack of them is claimed by a live job, or by no job, so that any may take it (`launch.work`). Some of the runs may
    be stored already.
    """
    live = {(job.group, job.task) for job in states if job.live}
    found: set[str] = set()
    for group in groups:
        if not any(number == group.number for number, _ in live):
            continue
        claims = Claims(sweep, group)
        taken, given = claims.taken(), {pack for packs in group.jobs for pack in packs}
        for pack in sweep.packs(group.number):
            if pack.number in given and (
                    pack.number not in taken or (group.number, claims.owner(pack.number)) in live):
                found.update(pack.runs)
    return found


def _packs(groups: list[Group], packs: list[tuple[Group, Listed]], now: dict[str, str]) -> Counter[str]:
    """Count packs by state. A pack counts in the last group that has a run of it: earlier groups were cut up again."""
    last = {run: group.number for group, pack in packs for run in pack.runs}
    counts: Counter[str] = Counter()
    for group, pack in packs:
        mine = [now[run] for run in pack.runs if last[run] == group.number]
        if mine:
            order = ("running", "pending", "left", "failed")
            counts[next((state for state in order if state in mine), "done")] += 1
    return counts


def _seconds_left(states: list[JobState], progress: dict[tuple[int, int], dict[str, Any]],
                  predicted: float) -> float | None:
    """Predict the seconds until live jobs have done their work, at the speed so far, by as many jobs as run now."""
    running = [job for job in states if job.state in RUNNING]
    if not predicted or not running:
        return None
    told = [each for each in (progress[job.group, job.task] for job in states) if each.get("seconds_done")]
    took = sum(each["now"] - each["started"] for each in told)
    speed = sum(each["seconds_done"] for each in told) / took if took > 0 else 1.0
    since = sum(time.time() - each["now"] for each in told if time.time() - each["now"] < 60)
    under_way = sum(progress[job.group, job.task].get("seconds_in_pack", 0.0) for job in running)
    return max(0.0, (predicted - under_way) / max(speed, 1e-9) - since) / len(running)
