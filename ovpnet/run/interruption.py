"""Signals that ask a training to stop: it then keeps a checkpoint and ends, instead of losing the steps it took."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """Note SIGINT (Ctrl-C) and SIGTERM inside, instead of ending; what is given tells whether one came.

    A SIGINT after it raises KeyboardInterrupt at once (a SIGTERM does not: SLURM sends several). Outside the main
    thread, which alone hears signals, nothing is changed.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        if asked:
            return
        asked = True
        print("\nstopping after the steps under way, with a checkpoint; once more to stop at once", file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
