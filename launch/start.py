"""`python -m launch.start SWEEP GROUP [GPU ...]`: start the jobs of a group as processes here, through submitit.

It is a process of its own, because submitit's processes inherit the session, the directory and the output of the
process that starts them. They are to outlive the terminal and run the copy of the code. And they must not hold open the
pipe of a command that has returned.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import submitit

from launch.job import Job

_FOREVER = 60 * 24 * 365


def main(arguments: Sequence[str]) -> None:
    """Start a process per GPU that is given, or per "none"."""
    sweep, group = Path(arguments[0]), int(arguments[1])
    for task, gpu in enumerate(arguments[2:]):
        executor = submitit.LocalExecutor(sweep / "logs")  # AutoExecutor has no name for visible_gpus
        executor.update_parameters(timeout_min=_FOREVER, gpus_per_node=int(gpu != "none"),
                                   visible_gpus=[] if gpu == "none" else [int(gpu)])
        executor.submit(Job(str(sweep), group, task))


if __name__ == "__main__":
    main(sys.argv[1:])
