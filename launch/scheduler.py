"""Ask the launchers about submitted jobs, each about its own groups."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from launch.launcher import JobState, Launcher
from launch.launchers import LAUNCHERS, named
from launch.sweep import Group, Sweep, read_json
from ovpnet.spec.errors import OvpnetError
from ovpnet.terminal.words import count

log = logging.getLogger(__name__)


def jobs(sweep: Sweep, groups: Sequence[Group]) -> list[JobState]:
    """Return the jobs of these groups. Raises OvpnetError if their launcher does not answer."""
    by_launcher: dict[type[Launcher], list[Group]] = {}
    for group in groups:
        by_launcher.setdefault(named(group.launcher), []).append(group)
    found = {key: job for launcher, mine in by_launcher.items() for key, job in launcher.jobs(sweep, mine).items()}
    return [found[group.number, task] for group in groups for task in range(len(group.jobs))]


def live_groups(sweeps: Iterable[Sweep]) -> list[tuple[Sweep, Group]]:
    """Return the groups of which a job runs or waits to run. Each launcher is asked for all of its groups at once.

    The groups of a launcher that is not known here count as ended, with a warning. Raises OvpnetError.
    """
    known = [(sweep, group) for sweep in sweeps for group in sweep.groups() if not _all_done(sweep, group)]
    by_launcher: dict[type[Launcher], list[tuple[Sweep, Group]]] = {}
    for sweep, group in known:
        if group.launcher in LAUNCHERS:
            by_launcher.setdefault(named(group.launcher), []).append((sweep, group))
        else:
            log.warning("launcher=%s of %s is not known here, so its jobs count as ended", group.launcher, sweep.id)
    live = {(sweep.path, group.number) for launcher, mine in by_launcher.items()
            for sweep, group in launcher.live(mine)}
    return [(sweep, group) for sweep, group in known if (sweep.path, group.number) in live]


def _all_done(sweep: Sweep, group: Group) -> bool:
    """Return whether all jobs of the group have told of their end."""
    return all((read_json(sweep.job_file(group.number, task)) or {}).get("how") == "done"
               for task in range(len(group.jobs)))


def cancel(sweep: Sweep, groups: Sequence[Group]) -> int:
    """Ask the jobs of these groups to end; return how many there were. Raises OvpnetError."""
    launchers = {group.number: named(group.launcher) for group in groups}
    live = [job for job in jobs(sweep, groups) if job.live]
    by_launcher: dict[type[Launcher], list[JobState]] = {}
    for job in live:
        by_launcher.setdefault(launchers[job.group], []).append(job)
    if waiting := sum(launcher.stop(sweep, mine) for launcher, mine in by_launcher.items()):
        raise OvpnetError(f"{waiting} of {count(len(live), 'job')} cannot be asked to end before it has begun: "
                          "give the command again in a few seconds")
    return len(live)


def logs(sweep: Sweep, job: JobState) -> list[Path]:
    """Return the files of what the job printed, at all of its starts. Raises OvpnetError."""
    return named(sweep.group(job.group).launcher).logs(sweep, job)


def poll_seconds(sweep: Sweep) -> float:
    """Return the seconds between two looks at the sweep's jobs. Raises OvpnetError."""
    return max((named(group.launcher).poll_seconds for group in sweep.groups()), default=0.0)
