"""A pack that trains for some seconds on any machine, for tests that disturb it in the middle."""

import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from ovpnet.record.store import Store

# Two runs, with a checkpoint after every chunk of steps. Their risks are small after so many steps: in float32 a run
# that is trained alone and one that is packed would differ by rounding in the fourth digit of a risk.
TWO_RUNS = ["dtype=float64", "width=64", "samples=200", "evaluations=3", "test.samples=512", "opt.samples=4096",
            "engine=reference", "checkpoint_minutes=0", "seed=1,2"]


def slow_pack(seconds: float = 12) -> list[str]:
    """Overrides of TWO_RUNS that train for about so many seconds; the seeds are the last of them."""
    return [f"steps={round(seconds * steps_a_second())}", *TWO_RUNS]


@cache
def steps_a_second() -> float:
    """Of TWO_RUNS, on one core of this machine."""
    steps, environment = 5000, os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "ovpnet.train", "-m", *TWO_RUNS, f"steps={steps}", "store=store"],
                       cwd=folder, env=environment, check=True, capture_output=True)
        return steps / float(Store(Path(folder) / "store").runs()["train_seconds"].sum())
