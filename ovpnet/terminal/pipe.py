"""Commands that end when the reader of their output does: `ovpnet train --help | head`."""

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def broken_pipe_ends() -> Iterator[None]:
    """End the command once nobody reads its output: without a word, with the status that a shell gives after SIGPIPE.

    (To let the signal itself end it would take sockets for pipes, W&B's say.)
    """
    before = sys.stdout
    if not isinstance(before, io.TextIOWrapper):  # None if whoever started it has closed it
        yield
        return
    output = _Output(before.fileno(), "wb", closefd=False)
    # As Python itself does: unbuffered (PYTHONUNBUFFERED) output goes straight to the file.
    binary: Any = output if before.write_through else io.BufferedWriter(output)
    sys.stdout = io.TextIOWrapper(binary, before.encoding, before.errors, line_buffering=before.line_buffering,
                                  write_through=before.write_through)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout = before


class _Output(io.FileIO):
    def write(self, data: Any) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except BrokenPipeError:
            # What is in buffers is written once more when Python ends, and would be a second error.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            # No Exception, of which Hydra would show a traceback.
            raise SystemExit(128 + signal.SIGPIPE) from None
