"""Which job of a group trains which pack: claims/G-P, a file a pack that holds the job's number.

A job keeps its claims for good, since it starts again where it was interrupted; what a job leaves that does not start
again, `python -m launch retry` submits in a group of its own.
"""

import os
import uuid
from collections.abc import Iterable

from launch.sweep import Group, Sweep
from ovpnet.store import remove


class Claims:
    """The claims of a group."""

    def __init__(self, sweep: Sweep, group: Group):
        self.folder, self.group = sweep.path / "claims", group.number

    def taken(self) -> set[int]:
        """Packs that a job has claimed."""
        return {int(file.name.partition("-")[2]) for file in self.folder.glob(f"{self.group}-*")}

    def of(self, task: int, packs: Iterable[int]) -> list[int]:
        """Those of the packs that are this job's."""
        return [pack for pack in packs if self.owner(pack) == task]

    def owner(self, pack: int) -> int | None:
        """The job that has claimed the pack."""
        try:
            return int((self.folder / f"{self.group}-{pack}").read_text())
        except FileNotFoundError:
            return None

    def claim(self, pack: int, task: int) -> bool:
        """Whether the pack is this job's, now or before. Raises OSError.

        Of several jobs one makes the link, on NFS too; and where the server's answer was lost, it is the content that
        says whose it is.
        """
        self.folder.mkdir(mode=0o700, exist_ok=True)
        own = self.folder / f".tmp-{self.group}-{pack}-{uuid.uuid4().hex}"
        try:
            own.write_text(str(task))
            os.link(own, self.folder / f"{self.group}-{pack}")
        except FileExistsError:
            pass
        finally:
            remove(own)
        return self.owner(pack) == task
