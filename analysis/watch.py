"""The report of a sweep that is still running: written again whenever the store has something new."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from ovpnet.spec.errors import OvpnetError

Fingerprint = frozenset[tuple[str, int, int]]


def fingerprint(store: Path) -> Fingerprint:
    """Name, size and time of the files of runs and curves: equal as long as the store holds the same."""
    found = set()
    for kind in ("runs", "curves"):
        for file in store.glob(f"{kind}-*.parquet"):
            try:
                status = file.stat()
            except FileNotFoundError:  # removed since it was listed
                continue
            found.add((file.name, status.st_size, status.st_mtime_ns))
    return frozenset(found)


def watch(store: Path, write: Callable[[float | None], None], seconds: float,
          sleep: Callable[[float], None] = time.sleep) -> None:
    """Call `write(seconds)` now and, looking every `seconds`, whenever the store has changed, until Ctrl-C; then
    `write(None)`, for a page that does not reload itself any more.

    An empty store, and filters that match nothing yet, are waited for: what is missing is said once on stderr.
    """
    last: Fingerprint | None = None
    told, written = "", False
    try:
        while True:
            now = fingerprint(store)
            if now != last:
                last = now
                try:
                    write(seconds)
                    told, written = "", True
                except OvpnetError as error:
                    if str(error) != told:
                        told = str(error)
                        print(f"waiting: {told}", file=sys.stderr)
            sleep(seconds)
    except KeyboardInterrupt:
        if written:
            write(None)
