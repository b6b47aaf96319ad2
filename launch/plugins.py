"""Hydra's side of a sweep: a sweeper that leaves composing to the launcher, one that searches, and the launchers.

Hydra finds plug-ins only in its namespace package; hydra_plugins/ovpnet names these classes there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import OverrideParseException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from launch.options import BisectConf, LocalConf, Options, SlurmConf, SubprocessConf, check_bisect, checked
from ovpnet.spec.errors import ConfigError, OvpnetError
from ovpnet.spec.identity import flat


@dataclass
class PackSweeperConf:
    """hydra/sweeper=packs. `params` are the sweep of an experiment file; the command line overrides them.

    Where one grid cannot say the study, `grids` is a list of them: the sweep is the union over its entries of
    params + entry (an entry's key replaces that of params). The command line overrides both, in every grid.
    """

    _target_: str = "hydra_plugins.ovpnet.plugins.PackSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None
    grids: list[dict[str, Any]] | None = None


def register() -> None:
    """Make the choices known to Hydra."""
    store = ConfigStore.instance()
    for name, sweeper in (("packs", PackSweeperConf), ("bisect_samples", BisectConf)):
        store.store(group="hydra/sweeper", name=name, node=sweeper, provider="ovpnet")
    for name, node in (("local", LocalConf), ("subprocess", SubprocessConf), ("slurm", SlurmConf)):
        store.store(group="hydra/launcher", name=name, node=node, provider="ovpnet")


class PackSweeper(BasicSweeper):
    """Hydra's grid, or several, handed to the launcher whole: not composed here a first time, and no folder made."""

    def __init__(self, max_batch_size: int | None, params: dict[str, str] | None, grids: list[dict[str, Any]] | None):
        super().__init__(max_batch_size, params)
        self.grids = grids or [{}]

    def sweep(self, arguments: list[str]) -> Any:
        assert self.launcher is not None
        jobs = self.jobs(arguments)
        return [self.launcher.launch(jobs[start:start + size], initial_job_idx=0)
                for size in [self.max_batch_size or len(jobs)] for start in range(0, len(jobs), size)]

    def jobs(self, arguments: list[str], chosen: str = "") -> list[list[str]]:
        """The overrides of every job, without those of the key that is chosen otherwise. Raises OvpnetError."""
        assert self.hydra_context is not None
        self._check_scale()
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = parser.parse_overrides(arguments)
        jobs: list[list[str]] = []
        for number, grid in enumerate(self.grids, start=1):
            try:
                own = parser.parse_overrides([f"{key}={'null' if value is None else value}"
                                              for key, value in {**self.params, **grid}.items() if key != chosen])
            except OverrideParseException as error:
                raise OvpnetError(f"grid {number} of hydra.sweeper.grids: {error}") from error
            overrides = [*own, *given]
            _check_one_study(overrides)
            [product] = self.split_arguments(overrides, max_batch_size=None)
            jobs += product
        if not jobs:
            raise OvpnetError(f"{' '.join(arguments) or 'this sweep'}: no run; a range or a list of values is empty")
        return jobs

    def _check_scale(self) -> None:
        """Raise ConfigError for another scale than `full` where the study has no grids for it."""
        assert self.config is not None
        choices = self.config.hydra.runtime.choices
        if choices.scale != "full" and not any(group.startswith("grid/") for group in choices):
            raise ConfigError("scale", choices.scale, f"experiment={choices.experiment or 'null'} has one scale; "
                              "allowed: full")


class BisectSweeper(PackSweeper):
    """The same grids without samples; these are chosen as results come in (`launch.search`)."""

    def __init__(self, params: dict[str, str] | None, grids: list[dict[str, Any]] | None, resolution: float,
                 samples_min: int, samples_max: int):
        super().__init__(None, params, grids)
        self.resolution, self.samples_min, self.samples_max = resolution, samples_min, samples_max

    def sweep(self, arguments: list[str]) -> None:
        from launch.bisection import points, spacing
        from launch.compose import compose
        from launch.search import Search, cells, search

        assert self.hydra_context is not None
        assert self.config is not None
        check_bisect(self.resolution, self.samples_min, self.samples_max)
        if not isinstance(self.launcher, PackLauncher):
            raise ConfigError("hydra/launcher", self.config.hydra.runtime.choices["hydra/launcher"],
                              "hydra/sweeper=bisect_samples trains in packs; allowed: local, subprocess, slurm")
        for text in arguments:
            if text.lstrip("+~").split("=")[0] == "samples":
                raise OvpnetError(f"{text}: hydra/sweeper=bisect_samples chooses the samples; give their range, "
                                  "hydra.sweeper.samples_min=... hydra.sweeper.samples_max=...")
        among = points(self.samples_min, self.samples_max, self.resolution)
        if len(among) < 2:
            raise ConfigError("hydra.sweeper.resolution", self.resolution, f"leaves {len(among)} N from "
                              f"{self.samples_min} to {self.samples_max}, and 2 are needed: make it smaller, or the "
                              "range wider")
        jobs = self.jobs(arguments, chosen="samples")
        # With the least N and with the greatest, so that what cannot be is refused before anything is trained.
        few, many = (compose(self.hydra_context.config_loader, self.config, [[*job, f"samples={N}"] for job in jobs])
                     for N in (among[0], among[-1]))
        for config, other in zip(few, many, strict=True):
            one, two = flat(replace(config, samples=among[-1])), flat(other)
            for name, value in one.items():
                if value != two[name]:
                    raise ConfigError(name, value, "follows samples, so runs that differ in N would be of different "
                                      "problems, and none has an N_eps; give one value")
        search(Search(cells(jobs, few, among), spacing(self.resolution)), self.launcher.options)


def _check_one_study(overrides: Sequence[Override]) -> None:
    """Raise OvpnetError for a sweep over what decides the grids: they are read once, before the sweep."""
    for override in overrides:
        if override.key_or_group in ("experiment", "scale") and override.is_sweep_override():
            raise OvpnetError(f"{override.input_line}: one {override.key_or_group} a sweep; give a command each")


class PackLauncher(Launcher):
    """Plans the jobs into packs, and trains these or submits them: what all launchers do."""

    kind: type[Options]

    def __init__(self, **options: Any):
        self.given = {name: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
                      for name, value in options.items()}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Raises ConfigError for an option (not where the object is made: Hydra would wrap the message)."""
        self.context, self.config = hydra_context, config
        self.options = checked(self.kind, self.given)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """All jobs; each returns its test risk (None if it has none), for sweepers that look for the least. What is
        only submitted returns nothing yet."""
        from launch import run  # which imports what a plug-in, loaded with every command, need not
        from launch.compose import compose

        configs = compose(self.context.config_loader, self.config, job_overrides)
        risks = run.sweep(configs, self.options)
        if risks is None:
            return [JobReturn(overrides=overrides, status=JobStatus.UNKNOWN) for overrides in job_overrides]
        return [JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=risk)
                for overrides, risk in zip(job_overrides, risks, strict=True)]


class LocalLauncher(PackLauncher):
    """hydra/launcher=local"""

    kind = LocalConf


class SubprocessLauncher(PackLauncher):
    """hydra/launcher=subprocess"""

    kind = SubprocessConf


class SlurmLauncher(PackLauncher):
    """hydra/launcher=slurm"""

    kind = SlurmConf
