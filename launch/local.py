"""A sweep that is trained while the command waits: in this process, or by several of its own where there are GPUs."""

import time

from launch.job import State
from launch.scheduler import cancel, jobs
from launch.sweep import Group, Sweep, read_json
from launch.worker import Work, train
from ovpnet.errors import InterruptionError
from ovpnet.interruption import interruptions
from ovpnet.progress import Progress


def train_here(sweep: Sweep, group: Group) -> None:
    """Train the one job of the group in this process. Raises what `launch.worker.train` does."""
    work = Work(sweep, group, 0)
    state = State(sweep, group.number, 0, retries=0)
    runs = sum(len(pack.runs) for pack in work.listed.values())
    how = "failed"
    try:
        with interruptions() as interrupted, Progress(runs, sum(pack.seconds for pack in work.listed.values())) as bar:
            train(work, interrupted, bar)
        how = "done"
    except KeyboardInterrupt:
        how = "interrupted"
        raise
    finally:
        state.end(how)


def watch(sweep: Sweep, group: Group) -> None:
    """Show the progress of a group's jobs until all of them have ended; Ctrl-C asks them to end.

    Raises InterruptionError.
    """
    listed, asked = sweep.packs(group.number), False
    with interruptions() as interrupted, Progress(sum(len(pack.runs) for pack in listed),
                                                  sum(pack.seconds for pack in listed)) as bar:
        while any(job.live for job in jobs(sweep, [group])):
            told = [read_json(sweep.job_file(group.number, task, "progress")) or {} for task in range(len(group.jobs))]
            bar.show(sum(each.get("runs_done", 0) for each in told),
                     sum(each.get("seconds_done", 0.0) for each in told))
            if interrupted() and not asked:
                asked = bool(cancel(sweep, [group]))
            time.sleep(0.5)
    if interrupted():
        raise InterruptionError
