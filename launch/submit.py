"""Submit a plan: put it on record, and start its jobs."""

import getpass
import os
import shlex
import socket
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from submitit.core.utils import FailedJobError

from launch.code import environment
from launch.job import Job
from launch.launcher import Launcher
from launch.launchers import launcher_of
from launch.packs import packed
from launch.plan import Plan, Tier
from launch.sweep import Group, Sweep
from ovpnet.record.store import write_whole
from ovpnet.spec.config import Config
from ovpnet.spec.errors import OvpnetError
from ovpnet.terminal.commands import as_typed


def record(plan: Plan, shared: Config, launcher: Launcher, command: Sequence[str],
           code: Path | None) -> tuple[Sweep, list[Group]]:
    """Put the sweep on record, and with it the runs that are left to other sweeps. Raises StoreError, OSError."""
    about = {"command": shlex.join(command), "directory": str(Path.cwd()), "user": _user(),
             "host": socket.gethostname(), "launcher": launcher.name, "options": asdict(launcher),
             "asked": plan.asked, "distinct": plan.distinct, "finished": plan.finished}
    sweep = Sweep.create(Path(shared.store), shared.study, about)
    write_whole(sweep.path / "environment.txt", lambda sink: sink.write(environment().encode()))
    groups = [add(sweep, tier, code) for tier in plan.tiers]
    if plan.left_to_others:
        sweep.add(packed(plan.left_to_others, set()), [], launcher.name, asdict(launcher), None)
    return sweep, groups


def _user() -> str:
    """Return the user's name, or the number if the system has no name for it, as in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def add(sweep: Sweep, tier: Tier, code: Path | None) -> Group:
    """Put the packs and jobs of a tier on record."""
    return sweep.add(tier.packs, tier.jobs, tier.launcher.name, asdict(tier.launcher),
                     None if code is None else str(code))


def submit(sweep: Sweep, group: Group) -> None:
    """Start the jobs of a group. Raises OvpnetError if they cannot be started."""
    jobs = [Job(str(sweep.path), group.number, task) for task in range(len(group.jobs))]
    try:
        launcher_of(group).submit(sweep, group, jobs)
    except (FailedJobError, OvpnetError, RuntimeError, OSError) as error:
        sweep.withdraw(group)
        raise OvpnetError(f"{sweep.id} is on record but its jobs could not be submitted ({error}); when that is "
                          f"mended: {as_typed('launch retry')} {sweep.id} --store {shlex.quote(str(sweep.store))} "
                          "[KEY=VALUE, other options of the launcher]") from error
