"""Which job of a group trains which pack: claims/G-P, a file a pack that holds the job's number.

A job that is asked to stop returns the pack that it was in, claims/returned-G-P, and the next job to ask goes on with
it: the one that was stopped may wait for long. One that is killed keeps its claim, and goes on when it starts again;
what it leaves if it does not, `ovpnet launch retry` submits in a group of its own.
"""

import os
import uuid
from collections.abc import Iterable
from pathlib import Path

from launch.sweep import Group, Sweep
from ovpnet.record.store import remove


class Claims:
    """The claims of a group."""

    def __init__(self, sweep: Sweep, group: Group):
        self.folder, self.group = sweep.path / "claims", group.number

    def taken(self) -> set[int]:
        """Packs that a job has claimed."""
        return {int(file.name.partition("-")[2]) for file in self.folder.glob(f"{self.group}-*")}

    def returned(self) -> list[int]:
        """Packs that were returned, and that no job has claimed since."""
        return sorted({int(file.name.rpartition("-")[2]) for file in self.folder.glob(f"returned-{self.group}-*")}
                      - self.taken())

    def of(self, task: int, packs: Iterable[int]) -> list[int]:
        """Those of the packs that are this job's."""
        return [pack for pack in packs if self.owner(pack) == task]

    def owner(self, pack: int) -> int | None:
        """The job that has claimed the pack."""
        try:
            return int(self._file(pack).read_text())
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
            os.link(own, self._file(pack))
        except FileExistsError:
            pass
        finally:
            remove(own)
        if self.owner(pack) != task:
            return False
        remove(self._returned(pack))
        return True

    def give_back(self, pack: int) -> None:
        """Return a pack that is this job's. Raises OSError."""
        os.rename(self._file(pack), self._returned(pack))

    def _file(self, pack: int) -> Path:
        return self.folder / f"{self.group}-{pack}"

    def _returned(self, pack: int) -> Path:
        return self.folder / f"returned-{self.group}-{pack}"
