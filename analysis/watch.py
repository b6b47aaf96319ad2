"""Write the report of a sweep that is still running, again whenever the store has something new."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from ovpnet.spec.errors import OvpnetError

Fingerprint = frozenset[tuple[str, int, int]]


def fingerprint(store: Path) -> Fingerprint:
    """Return name, size and time of the files of runs and curves: equal as long as the store holds the same."""
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
    """Call `write(seconds)` now and whenever the store has changed, until Ctrl-C; then call `write(None)`.

    It looks every `seconds`. `write(None)` makes a page that does not reload itself any more. If the store is empty, or
    filters match nothing yet, it waits, and says once on stderr what is missing.
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
