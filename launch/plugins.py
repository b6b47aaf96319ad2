"""Hydra's side of a sweep: a sweeper that leaves composing to the launcher, one that searches, and the launchers.

Hydra finds plug-ins only in its namespace package; hydra_plugins/ovpnet names these classes there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import OverrideParseException
from hydra.plugins.launcher import Launcher as Plugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from launch.launcher import Launcher, check_option
from launch.launchers import LAUNCHERS
from ovpnet.spec.errors import ConfigError, OvpnetError
from ovpnet.spec.identity import flat
from ovpnet.spec.keys import key


@dataclass
class PackSweeperConf:
    """hydra/sweeper=packs. `params` are the sweep of an experiment file; the command line overrides them.

    If one grid cannot say the study, `grids` is a list of them. The sweep is the union over its entries of params +
    entry, and an entry's key replaces that of params. The command line overrides both, in every grid.
    """

    _target_: str = "hydra_plugins.ovpnet.plugins.PackSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None
    grids: list[dict[str, Any]] | None = None


@dataclass
class BisectConf:
    """hydra/sweeper=bisect_samples: bisection on log N finds N_eps for everything in the grid (docs/bisect.md)."""

    _target_: str = "hydra_plugins.ovpnet.plugins.BisectSweeper"
    params: dict[str, str] | None = None
    grids: list[dict[str, Any]] | None = None
    resolution: float = key(1.1, "ratio of the ends of an interval, at most (but for the rounding of N to whole "
                            "numbers). N are powers of two, with as many between two of them as it takes. A smaller "
                            "resolution adds N and keeps the others", low=1.01)
    samples_min: int = key(16, "the least N; if it passes, N_eps is known to be at most this, and no more", low=1)
    samples_max: int = key(16384, "the greatest N; if no N passes, N_eps is known to be larger, and no more", low=1)


def register() -> None:
    """Tell Hydra of the choices."""
    store = ConfigStore.instance()
    for name, sweeper in (("packs", PackSweeperConf), ("bisect_samples", BisectConf)):
        store.store(group="hydra/sweeper", name=name, node=sweeper, provider="ovpnet")
    for name, kind in LAUNCHERS.items():
        node = kind(_target_=f"hydra_plugins.ovpnet.plugins.{plugin_name(kind)}")
        store.store(group="hydra/launcher", name=name, node=node, provider="ovpnet")


def plugin_name(kind: type[Launcher]) -> str:
    """Return the name of the class that is Hydra's plug-in for a launcher."""
    return f"{kind.__name__}Launcher"


class PackSweeper(Sweeper):
    """Hydra's grid, or several grids, which it gives to the launcher whole: it composes no config and makes no folder.
    """

    def __init__(self, max_batch_size: int | None, params: dict[str, str] | None, grids: list[dict[str, Any]] | None):
        self.max_batch_size, self.params, self.grids = max_batch_size, params or {}, grids or [{}]

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(hydra_context=hydra_context, config=config,
                                                                task_function=task_function)

    def sweep(self, arguments: list[str]) -> Any:
        assert self.launcher is not None
        jobs = self.jobs(arguments)
        return [self.launcher.launch(jobs[start:start + size], initial_job_idx=0)
                for size in [self.max_batch_size or len(jobs)] for start in range(0, len(jobs), size)]

    def jobs(self, arguments: list[str], chosen: str = "") -> list[list[str]]:
        """Return the overrides of every job, without the key `chosen`, which somebody else sets. Raises OvpnetError."""
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
            jobs += grid_of(overrides)
        if not jobs:
            raise OvpnetError(f"{' '.join(arguments) or 'this sweep'}: no run; a range or a list of values is empty")
        return jobs

    def _check_scale(self) -> None:
        """Raise ConfigError for another scale than `full` if the study has no grids for it."""
        assert self.config is not None
        choices = self.config.hydra.runtime.choices
        if choices.scale != "full" and not any(group.startswith("grid/") for group in choices):
            raise ConfigError("scale", choices.scale, f"experiment={choices.experiment or 'null'} has one scale; "
                              "allowed: full")


class BisectSweeper(PackSweeper):
    """The same grids without samples, which `launch.search` chooses as results come in."""

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
        _check_bisect(self.resolution, self.samples_min, self.samples_max)
        if not isinstance(self.launcher, PackLauncher):
            raise ConfigError("hydra/launcher", self.config.hydra.runtime.choices["hydra/launcher"],
                              f"hydra/sweeper=bisect_samples trains in packs; allowed: {', '.join(LAUNCHERS)}")
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
        # Compose the least N and the greatest, so that impossible configs are refused before anything is trained.
        few, many = (compose(self.hydra_context.config_loader, self.config, [[*job, f"samples={N}"] for job in jobs])
                     for N in (among[0], among[-1]))
        for config, other in zip(few, many, strict=True):
            one, two = flat(replace(config, samples=among[-1])), flat(other)
            for name, value in one.items():
                if value != two[name]:
                    raise ConfigError(name, value, "follows samples, so runs that differ in N would be of different "
                                      "problems, and none has an N_eps; give one value")
        search(Search(cells(jobs, few, among), spacing(self.resolution)), self.launcher.chosen)


def _check_bisect(resolution: float, samples_min: int, samples_max: int) -> None:
    """Check the options of hydra/sweeper=bisect_samples. Raises ConfigError."""
    given = {"resolution": resolution, "samples_min": samples_min, "samples_max": samples_max}
    for item in fields(BisectConf):
        if item.name in given:
            check_option(f"hydra.sweeper.{item.name}", given[item.name], item.metadata)
    if samples_min >= samples_max:
        raise ConfigError("hydra.sweeper.samples_min", samples_min,
                          f"must be less than hydra.sweeper.samples_max ({samples_max})")


def _check_one_study(overrides: Sequence[Override]) -> None:
    """Raise OvpnetError for a sweep over a key that decides the grids, since they are read once, before the sweep."""
    for override in overrides:
        if override.key_or_group in ("experiment", "scale") and override.is_sweep_override():
            raise OvpnetError(f"{override.input_line}: one {override.key_or_group} per sweep; give a command for each")


def grid_of(overrides: Sequence[Override]) -> list[list[str]]:
    """Return the jobs of a grid, as Hydra's own sweeper does: if a key is given twice, the last one counts.

    Raises OvpnetError for values that cannot be listed. Hydra's sweeper is no public class, and Hydra loads it anew.
    """
    values: dict[str, list[str]] = {}
    for override in overrides:
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise OvpnetError(f"{override.input_line}: cannot be listed, as a grid must be; allowed: a,b,c, choice(), "
                              "range() and glob()")
        key = override.get_key_element()
        given = override.sweep_string_iterator() if override.is_sweep_override() else [
            override.get_value_element_as_str()]
        values[key] = [f"{key}={value}" for value in given]
    return [list(job) for job in product(*values.values())]


class PackLauncher(Plugin):
    """Hydra's plug-in of a launcher: it plans the jobs into packs, and trains or submits these."""

    kind: type[Launcher]

    def __init__(self, **options: Any):
        self.given = {name: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
                      for name, value in options.items()}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Check the options. Raises ConfigError.

        This is not done when the object is made, since Hydra would wrap the message.
        """
        self.context, self.config = hydra_context, config
        self.chosen = self.kind.checked(self.given)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train or submit all jobs; return the test risk of each, for sweepers that look for the least.

        The risk is None if a run has none. A job that is only submitted returns nothing yet.
        """
        from launch import run  # every command loads the plug-ins, and most need not wait for pandas
        from launch.compose import compose

        configs = compose(self.context.config_loader, self.config, job_overrides)
        risks = run.sweep(configs, self.chosen)
        if risks is None:
            return [JobReturn(overrides=overrides, status=JobStatus.UNKNOWN) for overrides in job_overrides]
        return [JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=risk)
                for overrides, risk in zip(job_overrides, risks, strict=True)]


def launcher_plugins(module: str) -> dict[str, type[PackLauncher]]:
    """Return a plug-in per launcher, by the name that its class has in that module."""
    return {plugin_name(kind): type(plugin_name(kind), (PackLauncher,), {
        "__doc__": f"hydra/launcher={name}", "__module__": module, "kind": kind}) for name, kind in LAUNCHERS.items()}
