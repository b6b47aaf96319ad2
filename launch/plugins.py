"""Hydra's side of a sweep: a sweeper that leaves composing to the launcher, and the launcher.

Hydra finds plug-ins only in its namespace package; hydra_plugins/ovpnet names these classes there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class PackSweeperConf:
    """hydra/sweeper=packs. `params` are the sweep of an experiment file; the command line overrides them."""

    _target_: str = "hydra_plugins.ovpnet.plugins.PackSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


@dataclass
class LocalLauncherConf:
    """hydra/launcher=local: packs run one after the other in this process."""

    _target_: str = "hydra_plugins.ovpnet.plugins.LocalLauncher"
    runs_per_pack: int | None = field(default=None, metadata={"help": "runs trained side by side; null = by width"})


def register() -> None:
    """Make the choices known to Hydra."""
    store = ConfigStore.instance()
    store.store(group="hydra/sweeper", name="packs", node=PackSweeperConf, provider="ovpnet")
    store.store(group="hydra/launcher", name="local", node=LocalLauncherConf, provider="ovpnet")


class PackSweeper(BasicSweeper):
    """Hydra's grid, handed to the launcher whole: not composed here a first time, and no folder made."""

    def sweep(self, arguments: list[str]) -> Any:
        assert self.hydra_context is not None
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        return [self.launcher.launch(jobs, initial_job_idx=0)
                for jobs in self.split_arguments(overrides, self.max_batch_size)]


class LocalLauncher(Launcher):
    """Plans the jobs into packs and runs these here."""

    def __init__(self, runs_per_pack: int | None = None):
        self.runs_per_pack = runs_per_pack

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs all jobs; each returns its test risk (None if it diverged), for sweepers that look for the least."""
        from launch.compose import compose
        from launch.local import run

        configs = compose(self.context.config_loader, self.config, job_overrides)
        risks = run(configs, self.runs_per_pack)
        return [JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=risk)
                for overrides, risk in zip(job_overrides, risks, strict=True)]
