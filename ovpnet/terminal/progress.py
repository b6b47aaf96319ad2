"""A progress bar for runs trained in packs: runs done, steps per second, time left."""

import sys
import time
from types import TracebackType
from typing import Any

from tqdm import tqdm

from ovpnet.terminal.words import count


class Progress:
    """Counts finished runs and work done; `work` is in any unit that takes about the same time everywhere."""

    def __init__(self, runs: int, work: float):
        self.runs, self.done, self.steps = runs, 0, 0
        self.started = time.perf_counter()
        self.cost = 1.0
        # A terminal gets a live bar; a log file a line every ten seconds.
        self.bar = _Bar(total=work, file=sys.stderr, mininterval=0.2 if sys.stderr.isatty() else 10,
                        bar_format="{percent:3d}%|{bar}| {desc}, {elapsed} elapsed, {remaining} left")
        self._describe()

    def advance(self, steps: int) -> None:
        """Steps have been taken (steps x members), each of them `cost` units of work."""
        self.steps += steps
        self._describe()
        # By rounding the sum may exceed the total, of which tqdm would warn.
        self.bar.update(min(steps * self.cost, self.bar.total - self.bar.n))

    def finish(self, runs: int) -> None:
        """Runs are trained and stored."""
        self.done += runs
        self._describe()
        self._fill()

    def show(self, runs: int, work: float) -> None:
        """So many runs and so much work are done, by other processes."""
        self.done = runs
        self.bar.set_description_str(self._of_runs(), refresh=False)
        self.bar.update(min(work, self.bar.total) - self.bar.n)
        self._fill()

    def _describe(self) -> None:
        rate = self.steps / max(time.perf_counter() - self.started, 1e-9)
        self.bar.set_description_str(f"{self._of_runs()}, {_short(rate)} steps/s", refresh=False)

    def _of_runs(self) -> str:
        return f"{self.done}/{count(self.runs, 'run')}"

    def _fill(self) -> None:
        """The last run is the end, whatever was predicted of the work."""
        if self.done >= self.runs:
            self.bar.ended = True
            self.bar.update(self.bar.total - self.bar.n)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.bar.refresh()
        self.bar.close()


class _Bar(tqdm):
    """Shows 100% at the end alone, to which a rounded percentage comes before."""

    ended = False

    @property
    def format_dict(self) -> dict[str, Any]:
        known: dict[str, Any] = super().format_dict
        share = known["n"] / known["total"] if known["total"] else 0.0
        return known | {"percent": 100 if self.ended else min(99, int(100 * share))}


def _short(number: float) -> str:
    return str(tqdm.format_sizeof(number)) if number >= 1000 else f"{number:.0f}"
