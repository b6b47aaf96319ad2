"""A sweep that is trained while the command waits: in this process, or by several of its own where there are GPUs."""

import time

from launch.job import State
from launch.report import store_option
from launch.scheduler import jobs, stop
from launch.sweep import Group, Sweep, read_json
from launch.worker import Work, train
from ovpnet.run.interruption import interruptions
from ovpnet.spec.errors import InterruptionError, OvpnetError
from ovpnet.terminal.commands import as_typed
from ovpnet.terminal.progress import Progress
from ovpnet.terminal.words import count


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

    Raises InterruptionError, OvpnetError where one of them could not do its work.
    """
    listed, states = sweep.packs(group.number), jobs(sweep, [group])
    with interruptions() as interrupted, Progress(sum(len(pack.runs) for pack in listed),
                                                  sum(pack.seconds for pack in listed)) as bar:
        while any(job.live for job in states):
            if interrupted():  # a terminal sends Ctrl-C to all processes; others who ask ask this one alone
                for job in states:
                    stop(sweep, job)
            told = [read_json(sweep.job_file(group.number, task, "progress")) or {} for task in range(len(group.jobs))]
            bar.show(sum(each.get("runs_done", 0) for each in told),
                     sum(each.get("seconds_done", 0.0) for each in told))
            time.sleep(0.5)
            states = jobs(sweep, [group])
    if interrupted():
        raise InterruptionError
    if others := [job.state for job in states if job.state != "COMPLETED"]:
        raise OvpnetError(f"{len(others)} of {count(len(states), 'worker')} ended before the work was done "
                          f"({', '.join(sorted(set(others)))}); what they said: {as_typed('launch logs')} {sweep.id}"
                          f"{store_option(sweep.store)}; the same command goes on")
