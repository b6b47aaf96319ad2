"""`python -m launch.start SWEEP GROUP [GPU ...]`: start the jobs of a group as processes here, through submitit.

A process of its own, because submitit's processes have the session, the directory and the output of what starts them:
they are to outlive the terminal, run the copy of the code, and not hold open the pipe of a command that has returned.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import submitit

from launch.job import Job
from launch.sweep import Group, Sweep
from ovpnet.spec.errors import OvpnetError

_FOREVER = 60 * 24 * 365


def start(sweep: Sweep, group: Group, gpus: Sequence[int | None]) -> None:
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


def main(arguments: Sequence[str]) -> None:
    """The process that starts the others."""
    sweep, group = Path(arguments[0]), int(arguments[1])
    for task, gpu in enumerate(arguments[2:]):
        executor = submitit.LocalExecutor(sweep / "logs")  # AutoExecutor has no name for visible_gpus
        executor.update_parameters(timeout_min=_FOREVER, gpus_per_node=int(gpu != "none"),
                                   visible_gpus=[] if gpu == "none" else [int(gpu)])
        executor.submit(Job(str(sweep), group, task))


if __name__ == "__main__":
    main(sys.argv[1:])
