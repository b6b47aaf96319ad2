"""Sweeps on record, and the commands that a user would give."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

import ovpnet
from launch.launchers.subprocess import Subprocess
from launch.packs import Pack
from launch.sweep import Sweep, read_json, sweeps
from ovpnet.engine.choice import shape_of
from ovpnet.record.checkpoint import Checkpoints
from ovpnet.record.store import Store
from ovpnet.spec.config import Config

CODE = Path(ovpnet.__file__).parents[1]
# Of the results, what may differ between two trainings of one run.
ABOUT = ["train_seconds", "pack_id", "pack_members", "finished_at", "checkpoint_minutes", "store", "study",
         "git_revision"]

# Names that would do something in a shell, a script or a path.
EVIL = ["x; touch pwned", "$(touch pwned)", "`touch pwned`", "a\ntouch pwned\n", "a' ; touch pwned ; '",
        '"; touch pwned;"',
        "../../../pwned", "/etc/passwd", "a\\\ntouch pwned", "-rf", "a\x00b", "| touch pwned #", "\r\ntouch pwned",
        "é ; %j", "${IFS}touch${IFS}pwned", "--wrap=touch pwned"]


def packed(configs: Sequence[Config], size: int = 1) -> list[Pack]:
    """So many configs a pack, 10 s each."""
    return [Pack(shape_of(configs[start:start + size]), 10.0 * len(configs[start:start + size]))
            for start in range(0, len(configs), size)]


@pytest.fixture
def recorded(make, tmp_path) -> Callable[..., Sweep]:
    """recorded(configs, size=2, jobs=[[0, 1], [2]]) -> a sweep on record that was never submitted."""
    def recorded(configs: Sequence[Config], size: int = 1, jobs: Sequence[Sequence[int]] | None = None,
                 launcher: str = "subprocess", study: str = "a study", **about: object) -> Sweep:
        Store(tmp_path / "store").prepare()
        sweep = Sweep.create(tmp_path / "store", study, {"launcher": launcher, "options": vars(Subprocess()),
                                                         "command": "python -m ovpnet.train -m", **about})
        packs = packed(configs, size)
        sweep.add(packs, [list(range(len(packs)))] if jobs is None else jobs, launcher, {"retries": 2}, None)
        return sweep

    return recorded


class Shell:
    """A folder with a store, and commands given there."""

    def __init__(self, folder: Path):
        self.folder, self.store = folder, folder / "store"
        self.environment = os.environ | {"PYTHONPATH": str(CODE), "OMP_NUM_THREADS": "1"}

    def start(self, *command: str, **options: object) -> "subprocess.Popen[str]":
        return subprocess.Popen([sys.executable, "-m", *command], cwd=self.folder, env=self.environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                **options)  # type: ignore[call-overload,no-any-return]

    def __call__(self, *command: str, code: int = 0) -> str:
        process = self.start(*command)
        told, _ = process.communicate(timeout=240)
        assert process.returncode == code, told
        return str(told)

    def train(self, *overrides: str) -> Sweep:
        """Submit to processes of this machine; the sweep that is on record then."""
        told = self("ovpnet.train", "-m", "hydra/launcher=subprocess", *overrides)
        assert "submitted" in told, told
        return sweeps(self.store)[-1]

    def wait(self, code: int = 0) -> str:
        return self("launch", "wait", code=code)

    def kept(self) -> bool:
        """Whether a checkpoint is."""
        return bool(list((self.store / "checkpoints").glob("*.npz")))

    def progress(self, sweep: Sweep, group: int = 0, task: int = 0) -> dict:
        return read_json(sweep.job_file(group, task, "progress")) or {}

    def job(self, sweep: Sweep, group: int = 0, task: int = 0) -> dict:
        return read_json(sweep.job_file(group, task)) or {}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def said(sweep: Sweep) -> str:
    """What its jobs printed."""
    return "".join(file.read_text() for file in sorted((sweep.path / "logs").glob("*_log.*")))


def eventually(happens: Callable[[], object], what: str, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.02)


def assert_stored_as(undisturbed: pd.DataFrame, store: Path, *, once: bool = True) -> None:
    """Every run is done, with the values of an undisturbed training up to the rounding of batched kernels."""
    stored = pd.concat([pq.read_table(file).to_pandas() for file in store.glob("runs-*.parquet")]) if once else (
        Store(store).runs())
    left, right = (rows.drop(columns=ABOUT).sort_values("run_id").reset_index(drop=True)
                   for rows in (stored, undisturbed))
    pd.testing.assert_frame_equal(left[right.columns], right, rtol=2e-4)
    assert not list(store.glob("**/.tmp-*"))
    assert not Checkpoints(store).packs()
