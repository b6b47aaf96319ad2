"""`python -m launch.worker SWEEP GROUP TASK`: train the packs of one job, in a process that may die."""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from launch.job_file import DEVICE_LOST, INTERRUPTED
from launch.launchers import launcher_of
from launch.sweep import Sweep
from launch.work import Work, train
from ovpnet.run.interruption import interruptions
from ovpnet.spec.errors import DeviceLostError, InterruptionError, OvpnetError

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Train the packs of the job; return the exit status of the process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    sweep, number, task = Sweep(Path(arguments[0])), int(arguments[1]), int(arguments[2])
    supervisor = os.getppid()
    with interruptions() as asked:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command that waits, which asks by SIGTERM
        try:
            group = sweep.group(number)
            work = Work(sweep, group, task, launcher_of(group))
            work.bury()
            # If its supervisor was killed, another worker is asked to train the same runs.
            train(work, lambda: asked() or os.getppid() != supervisor)
        except InterruptionError:
            work.give_back()
            return INTERRUPTED
        except DeviceLostError:
            log.exception("another process goes on")
            return DEVICE_LOST
        except OvpnetError as error:
            log.error("%s", error)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
