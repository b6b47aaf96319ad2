"""A progress bar for runs trained in packs: runs done, steps per second, time left."""

import sys
import time
from datetime import timedelta
from types import TracebackType

from rich import progress
from rich.console import Console

from ovpnet.terminal.words import count

# Seconds between two lines of a log file, and those of the past from which the time left is estimated.
_PERIOD, _PAST = 10.0, 600.0


class Progress:
    """Counts finished runs and work done; `work` is in any unit that takes about the same time everywhere.

    On a terminal it is a live bar on stderr; a log file gets a line every ten seconds, and one at the end.
    """

    def __init__(self, runs: int, work: float, what: str = "run"):
        self.runs, self.what, self.done, self.steps = runs, what, 0, 0
        self.work, self.worked, self.cost = work, 0.0, 1.0
        self._file, self._told = sys.stderr, time.monotonic()  # no file if whoever started the command has closed it
        self._bar = progress.Progress(
            progress.TextColumn("{task.fields[percent]:3d}%"), progress.BarColumn(),
            progress.TextColumn("{task.description},"), progress.TimeElapsedColumn(), progress.TextColumn("elapsed,"),
            progress.TimeRemainingColumn(), progress.TextColumn("left"), console=Console(stderr=True),
            speed_estimate_period=_PAST, disable=self._file is None or not self._file.isatty(),
            redirect_stdout=False)  # which may be a pipe although stderr is a terminal
        self._bar.add_task(self._of_runs(), total=max(work, 1e-9), percent=0)
        [self._task] = self._bar.tasks

    def advance(self, steps: int) -> None:
        """Count steps that have been taken (steps x members), each of them `cost` units of work.

        They are negative for a pack that is trained again from its beginning.
        """
        self.steps += steps
        self.worked += steps * self.cost
        rate = self.steps / max(self._task.elapsed or 0.0, 1e-9)
        self._update(f"{self._of_runs()}, {_short(max(0.0, rate))} steps/s")

    def finish(self, runs: int) -> None:
        """Count runs that are trained and stored."""
        self.done += runs
        self.advance(0)

    def show(self, runs: int, work: float) -> None:
        """Show that other processes have done so many runs and so much work."""
        self.done, self.worked = runs, work
        self._update(self._of_runs())

    def _of_runs(self) -> str:
        return f"{self.done}/{count(self.runs, self.what)}"

    def _update(self, told: str) -> None:
        ended = self.done >= self.runs
        # The last run is the end, whatever was predicted of the work, and nothing before it is.
        share = 1.0 if ended else min(max(self.worked / self.work if self.work else 0.0, 0.0), 0.999)
        total = self._task.total or 1.0
        self._bar.update(self._task.id, description=told, completed=share * total, percent=int(100 * share))
        if self._bar.disable and time.monotonic() - self._told >= _PERIOD:
            self._tell()

    def _tell(self) -> None:
        """Write a line of the log."""
        self._told = time.monotonic()
        elapsed, left = (None if seconds is None else timedelta(seconds=int(seconds))
                         for seconds in (self._task.elapsed, self._task.time_remaining))
        line = (f"{self._task.fields['percent']:3d}% {self._task.description}, {elapsed} elapsed, "
                f"{'?' if left is None else left} left\n")
        try:
            if self._file is not None:
                self._file.write(line)
                self._file.flush()
        except (OSError, ValueError):  # whoever read it is gone; that ends no training
            self._file = None

    def start(self) -> "Progress":
        """Show the progress from now on."""
        self._bar.start()
        return self

    def stop(self) -> None:
        """Show the progress as it is now, for the last time."""
        self._bar.stop()
        if self._bar.disable:
            self._tell()

    def __enter__(self) -> "Progress":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop()


def _short(number: float) -> str:
    """Return 1234 as 1.23k."""
    for unit in ("", "k", "M"):
        if number < 1000:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g}G"
