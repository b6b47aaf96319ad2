"""A pack: runs of one static signature that one process trains as an ensemble and writes to the store."""

import gc
import logging
import os
import platform
import re
import subprocess
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ovpnet
from ovpnet.engine.base import Shape
from ovpnet.engine.choice import engine_on, shape_of
from ovpnet.problem.opt import empirical_opt
from ovpnet.record.checkpoint import Checkpoints
from ovpnet.record.store import Store
from ovpnet.record.tracking import track
from ovpnet.run.results import Row, config_row, result_rows
from ovpnet.spec.config import Config
from ovpnet.spec.errors import CheckpointError, ConfigError, DeviceLostError, InterruptionError, StoreError
from ovpnet.spec.identity import SCHEMA_VERSION, opt_id, run_id
from ovpnet.terminal.words import count
from ovpnet.training.ensemble import Ensemble
from ovpnet.training.outcome import goal

log = logging.getLogger(__name__)


def run_pack(configs: Sequence[Config], on_steps: Callable[[int], None] = lambda steps: None,
             interrupted: Callable[[], bool] = lambda: False) -> list[Row]:
    """Train the runs, add them to the store and report them to the tracker; return their rows.

    The runs share their signature, device, engine, store and tracker. Training goes on from the pack's checkpoint, if
    there is one. If it fails, or does not fit the memory, the halves of the pack are trained one after the other.
    `on_steps` then hears of a negative number of steps, those that are taken (or counted) again. A run that fails alone
    becomes a row with the status `failed` and its traceback. `interrupted` is asked at first and between chunks of
    steps: on True a checkpoint is kept.

    Raises StoreError, ConfigError (no such device), InterruptionError, DeviceLostError.
    """
    return _run(shape_of(configs), on_steps, interrupted)


def _run(shape: Shape, on_steps: Callable[[int], None], interrupted: Callable[[], bool]) -> list[Row]:
    if interrupted():
        raise InterruptionError
    shared, configs = shape.shared, shape.configs
    store, where = Store(shared.store), device(shared.device)
    training = _Training(shape, where, on_steps, interrupted)
    failure: Row | None = None
    try:
        rows, curves = training.results(store)
    except StoreError:  # not the runs' fault
        raise
    except Exception as error:
        failure = _failure(error)
        _check_alive(where, error)
    if failure is not None:
        # Outside the handler: the error's traceback holds the tensors of the ensemble.
        _free_memory(where)
        if len(configs) > 1:
            what = "do not fit the memory of" if failure["failure"] == OUT_OF_MEMORY else "cannot be trained on"
            log.warning("%d runs %s %s together (%s); training them as two halves", len(configs), what, where,
                        failure["error"])
            training.split()
            on_steps(-training.steps)
            middle = len(configs) // 2
            return [row for half in (configs[:middle], configs[middle:])
                    for row in _run(shape.part(half), on_steps, interrupted)]
        rows, curves = [config_row(shared) | failure], []
        log.error("run %s failed: %s", rows[0]["run_id"], failure["error"])
    about = {
        "train_seconds": training.seconds / len(configs),
        "pack_id": uuid.uuid4().hex[:8], "pack_members": len(configs),
        "engine_used": training.engine.name, "device_used": device_name(where), **versions(),
        "finished_at": datetime.now(UTC).isoformat(),
    }
    rows = [row | about for row in rows]
    store.write_pack(rows, curves)
    training.forget()
    track(shared.tracker, store.path, rows, curves)
    return rows


def failed_row(config: Config, kind: str, error: str) -> Row:
    """Return the row of a run that failed, if nothing was left to tell more of it."""
    return config_row(config) | {"status": "failed", "failure": kind, "error": error, "traceback": None, **versions(),
                                 "finished_at": datetime.now(UTC).isoformat()}


class _Training:
    """The training of a pack, with its checkpoints."""

    def __init__(self, shape: Shape, where: torch.device, on_steps: Callable[[int], None],
                 interrupted: Callable[[], bool]):
        self.shape, self.configs, self.where = shape, shape.configs, where
        self.on_steps, self.interrupted = on_steps, interrupted
        self.engine = engine_on(shape, where)
        self.checkpoints = Checkpoints(Path(shape.shared.store))
        of_code = {name: versions()[name] for name in ("ovpnet_version", "git_revision", "torch_version")}
        self.identity = {"run_ids": [run_id(config) for config in self.configs], "engine": self.engine.name, **of_code}
        self.steps = 0
        self.started = self.saved = time.perf_counter()

    @property
    def seconds(self) -> float:
        """The training time so far, that before the checkpoint included."""
        return time.perf_counter() - self.started

    def results(self, store: Store) -> tuple[list[Row], list[Row]]:
        """Train, and return the rows of the runs and of their learning curves.

        If it does not fit the memory, what is trained is kept for the halves of the pack.
        """
        problems = {opt_id(config): config for config in self.configs}
        opts = {each: empirical_opt(config, store) for each, config in problems.items()}
        goals = [goal(config, opts[opt_id(config)]) for config in self.configs]
        ensemble = None
        try:
            ensemble = Ensemble(self.shape, goals, self.engine.stepper(self.where), self.where)
            self._restore(ensemble)
            outcome = ensemble.train(self._count, partial(self._between_chunks, ensemble))
        except Exception as error:
            if ensemble is not None and ensemble.whole is not None and ensemble.trace.step and (
                    len(self.configs) > 1 and _out_of_memory(error)):
                self._save(ensemble)
            raise
        return result_rows(self.configs, goals, outcome)

    def split(self) -> None:
        """Turn what is kept of the pack into what is kept of its halves."""
        middle = len(self.configs) // 2
        try:
            self.checkpoints.split(self.identity, [range(middle), range(middle, len(self.configs))])
        except (CheckpointError, OSError) as error:
            log.warning("%s; the halves are trained from their beginning", error)

    def forget(self) -> None:
        """Remove the checkpoint of a pack that is stored."""
        self.checkpoints.remove(self.identity["run_ids"])

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
            log.info("%s to go on from step %d", count(len(self.configs), "run"), ensemble.trace.step)

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


OUT_OF_MEMORY = "out of memory"


def _failure(error: Exception) -> Row:
    """Return the columns of a run that failed: `failure`, the kind, `error` in a line, and where it happened."""
    kind = OUT_OF_MEMORY if _out_of_memory(error) else "exception"
    return {"status": "failed", "failure": kind, "error": f"{type(error).__name__}: {_reason(error)}",
            "traceback": "".join(traceback.format_exception(error))}


def _out_of_memory(error: Exception) -> bool:
    """Tell whether a device or the host had no room: torch's allocators have no exception of their own on a CPU."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("not enough memory", "can't allocate memory", "bad_alloc", "ALLOC_FAILED")))


def _check_alive(where: torch.device, error: Exception) -> None:
    """Raise DeviceLostError if the error has left a GPU unusable for the rest of this process."""
    if where.type != "cuda":
        return
    try:
        torch.cuda.synchronize(where)
    except RuntimeError as lost:
        raise DeviceLostError(f"{where} cannot be used any more in this process ({_reason(error)})") from lost


def _free_memory(where: torch.device) -> None:
    gc.collect()  # tensors in reference cycles
    if where.type == "cuda":
        torch.cuda.empty_cache()


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def device(name: str) -> torch.device:
    """Return the device that a config names. Raises ConfigError if it is not there."""
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
    """Return the name of a device, in words."""
    return torch.cuda.get_device_name(where) if where.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


@cache
def versions() -> dict[str, Any]:
    """Return what the numbers were made with: code, libraries, host."""
    return {"schema_version": SCHEMA_VERSION, "ovpnet_version": ovpnet.__version__, "git_revision": _git_revision(),
            "torch_version": torch.__version__, "python_version": platform.python_version(), "host": platform.node(),
            "slurm_job_id": os.environ.get("SLURM_JOB_ID")}


def _git_revision() -> str | None:
    """Return the revision of a checkout, with `-dirty` if it differs from it; None if ovpnet is installed from a wheel.

    A copy of the code has the revision of what it was copied from (launch/code.py).
    """
    root = Path(__file__).parents[2]
    if (copied := root / "REVISION").exists():
        return copied.read_text().strip() or None
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"], cwd=root,
                              capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
