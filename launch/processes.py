"""A name for a process of this machine that no later process with the same number has."""

import os
from pathlib import Path


def process(pid: int) -> str | None:
    """Return what only this process has: on Linux the boot and the moment of its start; None if there is no such
    process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:  # another user's
        pass
    try:
        # After the command in parentheses, which may hold anything: state (a zombie has ended), ..., the start.
        state, *others = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(pid)
    return None if state == "Z" else f"{boot}-{others[18]}"
