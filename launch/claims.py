"""Claims say which job of a group trains which pack: claims/G-P holds the number of the job that has pack P.

A job that is asked to stop returns its pack: the claim becomes claims/returned-G-P. The next job that looks for work
goes on with it, since the stopped job may wait for long. A job that is killed keeps its claim, and goes on when it
starts again. If it does not start again, `ovpnet launch retry` submits what it left in a group of its own.
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
        """Return the packs that a job has claimed."""
        return {int(file.name.partition("-")[2]) for file in self.folder.glob(f"{self.group}-*")}

    def returned(self) -> list[int]:
        """Return the packs that were returned, and that no job has claimed since."""
        return sorted({int(file.name.rpartition("-")[2]) for file in self.folder.glob(f"returned-{self.group}-*")}
                      - self.taken())

    def of(self, task: int, packs: Iterable[int]) -> list[int]:
        """Return those of the packs that are this job's."""
        return [pack for pack in packs if self.owner(pack) == task]

    def owner(self, pack: int) -> int | None:
        """Return the job that has claimed the pack; None if none has."""
        try:
            return int(self._file(pack).read_text())
        except FileNotFoundError:
            return None

    def claim(self, pack: int, task: int) -> bool:
        """Claim a pack for a job; return whether it is the job's, now or before. Raises OSError.

        Only one of several jobs makes the link, on NFS too. If the server's answer was lost, the content of the file
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
