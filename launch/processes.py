"""Telling a process of this machine from another one that later has the same number."""

import os
from pathlib import Path


def process(pid: int) -> str | None:
    """What only this process has, if there is one of that number: on Linux the boot and the moment of its start."""
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
