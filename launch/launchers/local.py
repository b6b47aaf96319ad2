"""hydra/launcher=local"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from launch.job_file import JobFile
from launch.launcher import JobState, launcher
from launch.launchers.here import Here
from launch.sweep import Group, Sweep, read_json, store_option
from launch.work import Work, train
from ovpnet.run.interruption import interruptions
from ovpnet.spec.errors import InterruptionError, OvpnetError
from ovpnet.spec.keys import key
from ovpnet.terminal.commands import as_typed
from ovpnet.terminal.progress import Progress
from ovpnet.terminal.words import count


@launcher("local")
@dataclass
class Local(Here):
    """hydra/launcher=local: packs run in this process, or if there are several GPUs in one process per GPU."""

    waits = True
    patience_seconds = 0.0

    workers: int | None = key(None, "processes that share the packs; null = one per GPU, and this process if there is "
                              "none or one", low=1)
    retries: int = key(2, "of several workers: how often a run may end its process before it is marked failed", low=0)

    def copies_code(self, jobs: int) -> bool:
        return jobs > 1

    def submit(self, sweep: Sweep, group: Group, jobs: Sequence[Callable[[], None]]) -> None:
        if len(jobs) > 1:
            super().submit(sweep, group, jobs)

    def wait(self, sweep: Sweep, group: Group) -> None:
        if len(group.jobs) > 1:
            _watch(sweep, group)
        else:
            self._train(sweep, group)

    def _train(self, sweep: Sweep, group: Group) -> None:
        """Train the one job of the group in this process. Raises what `launch.work.train` raises."""


        work = Work(sweep, group, 0, self)
        file = JobFile(sweep, group.number, 0, retries=0)
        listed = work.listed.values()
        runs, predicted = sum(len(pack.runs) for pack in listed), sum(pack.seconds for pack in listed)
        how = "failed"
        try:
            with interruptions() as interrupted, Progress(runs, predicted) as bar:
                train(work, interrupted, bar)
            how = "done"
        except KeyboardInterrupt:
            how = "interrupted"
            raise
        finally:
            file.end(how)


def _watch(sweep: Sweep, group: Group) -> None:
    """Show the progress of a group's jobs until all of them have ended; Ctrl-C asks them to end.

    Raises InterruptionError, OvpnetError if one of them could not do its work.
    """
    def look() -> list[JobState]:
        return list(Local.jobs(sweep, [group]).values())

    listed, states = sweep.packs(group.number), look()
    with interruptions() as interrupted, Progress(sum(len(pack.runs) for pack in listed),
                                                  sum(pack.seconds for pack in listed)) as bar:
        while any(job.live for job in states):
            if interrupted():  # a terminal sends Ctrl-C to all processes, but anybody else stops this one alone
                Local.stop(sweep, states)
            told = [read_json(sweep.job_file(group.number, task, "progress")) or {} for task in range(len(group.jobs))]
            bar.show(sum(each.get("runs_done", 0) for each in told),
                     sum(each.get("seconds_done", 0.0) for each in told))
            time.sleep(0.5)
            states = look()
    if interrupted():
        raise InterruptionError
    if others := [job.state for job in states if job.state != "COMPLETED"]:
        raise OvpnetError(f"{len(others)} of {count(len(states), 'worker')} ended before the work was done "
                          f"({', '.join(sorted(set(others)))}); what they said: {as_typed('launch logs')} {sweep.id}"
                          f"{store_option(sweep.store)}; the same command goes on")
