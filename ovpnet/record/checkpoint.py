"""Checkpoints of packs in training, STORE/checkpoints/*.npz: arrays and what they are of, whole files or none.

A file is found by its pack's run_ids. It holds plain arrays and no code, so it is safe to read from anyone; zip's
checksums find one that is damaged. It is as large as the trained weights, their velocity and the learning curves.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import numpy as np

from ovpnet.record.store import remove, write_whole
from ovpnet.spec.errors import CheckpointError
from ovpnet.spec.identity import digest

Arrays = dict[str, np.ndarray]
Identity = Mapping[str, Any]  # `run_ids`, in the order of the members, and what else must be the same to go on

# What has no ensemble axis: the steps taken, the steps of the curve's points, the seconds it took.
SHARED = ("step", "points", "seconds")
_IDENTITY = "identity"
# What reading a file that is not whole, or no checkpoint, raises.
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class Checkpoints:
    """The checkpoints of a store."""

    def __init__(self, store: Path):
        self.path = store / "checkpoints"

    def save(self, identity: Identity, arrays: Arrays) -> None:
        """Keep the arrays in place of what was kept of the same runs. Raises OSError."""
        self.path.mkdir(parents=True, exist_ok=True)
        text = np.array(json.dumps(dict(identity)))
        write_whole(self._file(identity["run_ids"]),
                    lambda sink: np.savez(sink, allow_pickle=False, **{_IDENTITY: text}, **arrays))

    def load(self, identity: Identity) -> Arrays | None:
        """Return what is kept of the runs; None if nothing. Raises CheckpointError if it is another's, or damaged."""
        file = self._file(identity["run_ids"])
        try:
            with np.load(file, allow_pickle=False) as kept:
                found = _identity(kept)
                arrays = {name: kept[name] for name in kept.files if name != _IDENTITY}
        except FileNotFoundError:
            return None
        except _DAMAGED as error:
            raise _not_whole(file, error) from error
        differing = [name for name in identity if found.get(name) != identity[name]]
        if differing:
            raise CheckpointError(f"{file}: a checkpoint of " + ", ".join(
                f"{name}={found.get(name)}, not {identity[name]}" for name in differing))
        return arrays

    def step(self, run_ids: Sequence[str]) -> int:
        """Return the steps after which the checkpoint of the runs was kept; 0 if there is none that can be read."""
        try:
            with np.load(self._file(run_ids), allow_pickle=False) as kept:
                return int(kept["step"])
        except _DAMAGED:
            return 0

    def split(self, identity: Identity, halves: Sequence[range]) -> None:
        """Turn what is kept of the runs into what is kept of the halves, given by their members' indices.

        Raises CheckpointError, OSError.
        """
        arrays = self.load(identity)
        if arrays is None:
            return
        for members in halves:
            run_ids = [identity["run_ids"][e] for e in members]
            seconds = arrays["seconds"] * (len(members) / len(identity["run_ids"]))
            self.save({**identity, "run_ids": run_ids}, _select(arrays, members) | {"seconds": seconds})
        self.remove(identity["run_ids"])

    def halve(self, run_ids: Sequence[str]) -> None:
        """Split what is kept of the runs, whatever made it, into two halves. Raises CheckpointError, OSError."""
        file, middle = self._file(run_ids), len(run_ids) // 2
        try:
            with np.load(file, allow_pickle=False) as kept:
                identity = _identity(kept)
        except FileNotFoundError:
            return
        except _DAMAGED as error:
            raise _not_whole(file, error) from error
        self.split(identity, [range(middle), range(middle, len(run_ids))])

    def remove(self, run_ids: Sequence[str]) -> None:
        """Forget the runs, and what an interrupted `save` of them left."""
        file = self._file(run_ids)
        for each in (file, *self.path.glob(f".tmp-{file.stem}-*")):
            remove(each)

    def packs(self) -> list[list[str]]:
        """Return the run_ids of every checkpoint that can be read."""
        found = []
        for file in sorted(self.path.glob("*.npz")):
            try:
                with np.load(file, allow_pickle=False) as kept:
                    found.append(_identity(kept)["run_ids"])
            except _DAMAGED:
                pass  # the pack's next checkpoint takes its place
        return found

    def clean(self, finished: AbstractSet[str]) -> None:
        """Remove the checkpoints of which a run is finished: no pack is made of its runs again."""
        for run_ids in self.packs():
            if not finished.isdisjoint(run_ids):
                self.remove(run_ids)

    def _file(self, run_ids: Sequence[str]) -> Path:
        return self.path / f"{digest({'run_ids': list(run_ids)})}.npz"


def _not_whole(file: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{file}: not a whole checkpoint ({str(error).splitlines()[0]})")


def _identity(kept: Mapping[str, np.ndarray]) -> dict[str, Any]:
    found = json.loads(kept[_IDENTITY].item())
    assert isinstance(found, dict)
    return found


def _select(arrays: Arrays, members: range) -> Arrays:
    """Return the arrays of some members of an ensemble."""
    return {name: value if name in SHARED else value[members.start:members.stop] for name, value in arrays.items()}
