"""A pack: runs of one static signature that one process trains as an ensemble and writes to the store."""

import gc
import logging
import os
import platform
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ovpnet
from ovpnet.checkpoint import Checkpoints
from ovpnet.config import Config, run_id
from ovpnet.engine import Engine, engine
from ovpnet.ensemble import Ensemble, Goal, Outcome, goal
from ovpnet.errors import CheckpointError, ConfigError, InterruptionError, TooLargeError
from ovpnet.opt import empirical_opt
from ovpnet.results import Row, result_rows
from ovpnet.store import Store
from ovpnet.tracking import track

log = logging.getLogger(__name__)


def run_pack(configs: Sequence[Config], on_steps: Callable[[int], None] = lambda steps: None,
             interrupted: Callable[[], bool] = lambda: False) -> list[Row]:
    """Train the runs, add them to the store and report them to the tracker; returns their rows.

    The runs share their signature, device, engine, store and tracker. Training goes on from the pack's checkpoint, if
    there is one. Where it does not fit the memory, the halves of the pack are trained one after the other; `on_steps`
    then hears of a negative number of steps, those that are taken (or counted) again. `interrupted` is asked at first
    and between chunks of steps: on True a checkpoint is kept. Raises StoreError, ConfigError, InterruptionError,
    TooLargeError.
    """
    if interrupted():
        raise InterruptionError
    shared = configs[0]
    store, where = Store(shared.store), device(shared.device)
    how = engine(configs, where)
    goals = [goal(config, empirical_opt(config, store)) for config in configs]
    training = _Training(configs, goals, how, where, on_steps, interrupted)
    outcome = training.outcome()
    if outcome is None:
        on_steps(-training.steps)
        middle = len(configs) // 2
        return [row for half in (configs[:middle], configs[middle:]) for row in run_pack(half, on_steps, interrupted)]
    rows, curves = result_rows(configs, goals, outcome)
    about = {
        "train_seconds": training.seconds / len(configs),
        "pack_id": uuid.uuid4().hex[:8], "pack_members": len(configs),
        "engine_used": how.name, "device_used": device_name(where), **versions(),
        "finished_at": datetime.now(UTC).isoformat(),
    }
    rows = [row | about for row in rows]
    store.write_pack(rows, curves)
    training.checkpoints.remove(training.identity["run_ids"])
    track(shared.tracker, store.path, rows, curves)
    return rows


class _Training:
    """The training of a pack, with its checkpoints."""

    def __init__(self, configs: Sequence[Config], goals: Sequence[Goal], how: Engine, where: torch.device,
                 on_steps: Callable[[int], None], interrupted: Callable[[], bool]):
        self.configs, self.goals, self.how, self.where = configs, goals, how, where
        self.on_steps, self.interrupted = on_steps, interrupted
        self.checkpoints = Checkpoints(Path(configs[0].store))
        of_code = {name: versions()[name] for name in ("ovpnet_version", "git_revision", "torch_version")}
        self.identity = {"run_ids": [run_id(config) for config in configs], "engine": how.name, **of_code}
        self.steps = 0
        self.started = self.saved = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Training time so far, that before the checkpoint included."""
        return time.perf_counter() - self.started

    def outcome(self) -> Outcome | None:
        """Train. None where it does not fit the memory: then what is trained is kept for the halves of the pack."""
        ensemble = None
        try:
            ensemble = Ensemble(self.configs, self.goals, self.how, self.where)
            self._restore(ensemble)
            return ensemble.train(self._count, partial(self._between_chunks, ensemble))
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            if len(self.configs) == 1:
                raise TooLargeError(f"run {self.identity['run_ids'][0]} does not fit the memory of {self.where}, not "
                                    f"even alone ({_reason(error)})") from error
            log.warning("%d runs do not fit the memory of %s together (%s); training them as two halves",
                        len(self.configs), self.where, _reason(error))
            if ensemble is not None and ensemble.whole is not None and ensemble.trace.step:
                self._save(ensemble)
        del ensemble
        gc.collect()  # tensors in reference cycles
        if self.where.type == "cuda":
            torch.cuda.empty_cache()
        self._split()
        return None

    def _count(self, steps: int) -> None:
        self.steps += steps
        self.on_steps(steps)

    def _restore(self, ensemble: Ensemble) -> None:
        try:
            arrays = self.checkpoints.load(self.identity)
        except CheckpointError as error:
            log.warning("%s; the pack is trained from its beginning", error)
            return
        if arrays is not None:
            self.started -= arrays.pop("seconds").item()
            ensemble.restore(arrays)

    def _between_chunks(self, ensemble: Ensemble) -> None:
        interrupted = self.interrupted()
        if interrupted or time.perf_counter() - self.saved >= 60 * self.configs[0].checkpoint_minutes:
            self._save(ensemble)
        if interrupted:
            raise InterruptionError

    def _save(self, ensemble: Ensemble) -> None:
        try:
            self.checkpoints.save(self.identity, ensemble.checkpoint() | {"seconds": np.array(self.seconds)})
        except (OSError, MemoryError, RuntimeError) as error:  # nothing that a checkpoint needs is worth a pack
            log.warning("no checkpoint kept in %s (%s); training goes on", self.checkpoints.path, _reason(error))
        self.saved = time.perf_counter()

    def _split(self) -> None:
        middle = len(self.configs) // 2
        try:
            self.checkpoints.split(self.identity, [range(middle), range(middle, len(self.configs))])
        except (CheckpointError, OSError) as error:
            log.warning("%s; the halves are trained from their beginning", error)


def _out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether a device or the host had no room: torch's allocators have no exception of their own on a CPU."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in ("not enough memory", "can't allocate memory", "bad_alloc", "ALLOC_FAILED"))


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def device(name: str) -> torch.device:
    """The device a config names. Raises ConfigError where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ConfigError("device", name, "allowed: auto, cpu, cuda, cuda:N")
    try:
        chosen = torch.device(name)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError("device", name, f"not available here ({str(error).splitlines()[0][:100]}); "
                          "allowed: auto, cpu, cuda, cuda:N") from error
    return chosen


def device_name(where: torch.device) -> str:
    """What the device is, in words."""
    return torch.cuda.get_device_name(where) if where.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


@cache
def versions() -> dict[str, Any]:
    """What the numbers were made with: code, libraries, host."""
    return {"ovpnet_version": ovpnet.__version__, "git_revision": _git_revision(), "torch_version": torch.__version__,
            "python_version": platform.python_version(), "host": platform.node(),
            "slurm_job_id": os.environ.get("SLURM_JOB_ID")}


def _git_revision() -> str | None:
    """Revision of a checkout, with `-dirty` if it differs from it; None where ovpnet is installed from a wheel."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"], cwd=root,
                              capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
