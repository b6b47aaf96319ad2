"""A pack: runs of one static signature that one process trains as an ensemble and writes to the store."""

import os
import platform
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

import ovpnet
from ovpnet.config import Config
from ovpnet.engine import engine
from ovpnet.ensemble import Ensemble, goal
from ovpnet.errors import ConfigError
from ovpnet.opt import empirical_opt
from ovpnet.results import Row, result_rows
from ovpnet.store import Store
from ovpnet.tracking import track


def run_pack(configs: Sequence[Config], on_steps: Callable[[int], None] = lambda steps: None) -> list[Row]:
    """Train the runs, add them to the store and report them to the tracker; returns their rows.

    The runs share their signature, device, engine, store and tracker. Raises StoreError, ConfigError.
    """
    shared = configs[0]
    store, where = Store(shared.store), device(shared.device)
    how = engine(configs, where)
    started = time.perf_counter()
    goals = [goal(config, empirical_opt(config, store)) for config in configs]
    outcome = Ensemble(configs, goals, how, where).train(on_steps)
    rows, curves = result_rows(configs, goals, outcome)
    about = {
        "train_seconds": (time.perf_counter() - started) / len(configs),
        "pack_id": uuid.uuid4().hex[:8], "pack_members": len(configs),
        "engine_used": how.name, "device_used": device_name(where), **versions(),
        "finished_at": datetime.now(UTC).isoformat(),
    }
    rows = [row | about for row in rows]
    store.write_pack(rows, curves)
    track(shared.tracker, shared.study, store.path, rows, curves)
    return rows


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
