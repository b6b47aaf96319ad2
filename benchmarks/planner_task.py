"""`python -m benchmarks.planner_task ours|Hydra -m OVERRIDES`: a sweep of benchmarks/planner.py, in its own process.

It leaves about.json: runs, packs, and the bytes of memory that the process had at most.
"""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import hydra
from omegaconf import DictConfig

from benchmarks import machine
from ovpnet.spec.config import Config
from ovpnet.spec.schemas import conf_dir, register_schemas


def plan_only() -> None:
    """The command of a sweep, which is planned and then not trained."""
    import launch.run
    from launch.launchers import Launcher
    from launch.packs import packed
    from ovpnet.run import calibrate, pack
    from ovpnet.train import main as train

    def plan(configs: Sequence[Config], launcher: Launcher) -> list[float | None]:
        here = partial(calibrate.machine, pack.device(configs[0].device))
        report(len(configs), len(packed(configs, set(), machine=here)))
        return [None] * len(configs)

    launch.run.sweep = plan
    train()


def nothing() -> None:
    """Hydra's own sweep of a task that does nothing."""
    register_schemas()
    runs: list[DictConfig] = []
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(runs.append)()
    report(len(runs), len(runs))


def report(runs: int, packs: int) -> None:
    """Leave word for the process that measures."""
    Path("about.json").write_text(json.dumps({"runs": runs, "packs": packs, "peak": machine.peak_memory()}))


if __name__ == "__main__":
    {"ours": plan_only, "Hydra": nothing}[sys.argv.pop(1)]()
