"""A progress bar for runs trained in packs: runs done, steps per second, time left."""

import sys
import time
from types import TracebackType

from tqdm import tqdm


class Progress:
    """Counts finished runs and work done; `work` is in any unit that takes about the same time everywhere."""

    def __init__(self, runs: int, work: float):
        self.runs, self.done, self.steps = runs, 0, 0
        self.started = time.perf_counter()
        self.cost = 1.0
        # A terminal gets a live bar; a log file a line every ten seconds.
        self.bar = tqdm(total=work, desc=f"0/{runs} runs", file=sys.stderr,
                        mininterval=0.2 if sys.stderr.isatty() else 10,
                        bar_format="{percentage:3.0f}%|{bar}| {desc}, {elapsed} elapsed, {remaining} left")
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

    def show(self, runs: int, work: float) -> None:
        """So many runs and so much work are done, by other processes."""
        self.done = runs
        self.bar.set_description_str(f"{self.done}/{self.runs} runs", refresh=False)
        self.bar.update(work - self.bar.n)

    def _describe(self) -> None:
        rate = self.steps / max(time.perf_counter() - self.started, 1e-9)
        self.bar.set_description_str(f"{self.done}/{self.runs} runs, {_short(rate)} steps/s", refresh=False)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.bar.refresh()
        self.bar.close()


def _short(number: float) -> str:
    return str(tqdm.format_sizeof(number)) if number >= 1000 else f"{number:.0f}"
