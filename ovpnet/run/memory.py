"""Memory that this process can take: what the machine has free, within the limits of a container or a SLURM job."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

# Of cgroups (man 7 cgroups), by what /proc/self/cgroup has for their controllers: the folders where they are mounted,
# and the names of the limit, the use, and the part of the use that the kernel takes back before memory runs out.
_VERSION_2 = ("", "unified"), "memory.max", "memory.current", "inactive_file"
_VERSION_1 = ("memory",), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"


def free() -> int:
    """Return the bytes that are free, at least 0."""
    return max(0, min([psutil.virtual_memory().available, *_in_cgroups(), *_in_slurm()]))


def _in_cgroups(membership: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """Yield the bytes left in each cgroup that this process is in, those around it included."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        folders, *names = _VERSION_1 if controllers else _VERSION_2
        for root in (mount / folder for folder in folders):
            # A container may see its own group as the root, and be told a path that it does not see.
            own = root / path.lstrip("/")
            yield from (left for group in (own, *own.parents) if group.is_relative_to(root)
                        for left in _left(group, *names))


def _left(group: Path, limit: str, use: str, reclaimed: str) -> Iterator[int]:
    try:
        most = (group / limit).read_text().strip()
        if most != "max":
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            yield int(most) - int((group / use).read_text()) + int(stat.get(reclaimed, 0))
    except (OSError, ValueError):
        pass  # there is no such group, or it counts no memory


def _in_slurm() -> Iterator[int]:
    """Yield the bytes that a job may still take on this node, which SLURM may enforce without cgroups.

    0 MB stand for all there is.
    """
    megabytes = _number("SLURM_MEM_PER_NODE") or _number("SLURM_MEM_PER_CPU") * _number("SLURM_CPUS_ON_NODE")
    if megabytes:
        yield (megabytes << 20) - psutil.Process().memory_info().rss


def _number(variable: str) -> int:
    given = os.environ.get(variable, "")
    return int(given) if given.isdecimal() else 0
