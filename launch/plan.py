"""The plan of a sweep: the packs and jobs of the runs that are left to train, and the runs that are left to others."""

import heapq
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.launcher import Launcher
from launch.packs import Pack, packed
from launch.status import under_way
from ovpnet.engine.choice import shape_of
from ovpnet.engine.rates import Machine
from ovpnet.record.checkpoint import Checkpoints
from ovpnet.record.store import Store
from ovpnet.spec.config import Config
from ovpnet.spec.errors import ConfigError
from ovpnet.spec.identity import run_id

# A pack takes at most this part of its job's time: predictions are not exact, and a job has several packs.
SHARE_OF_TIMEOUT = 0.5


@dataclass(frozen=True)
class Tier:
    """Packs of similar size, and the resources that their jobs get."""

    launcher: Launcher
    machine: Machine
    packs: list[Pack]
    jobs: list[list[int]]  # packs of each job, as indices

    @property
    def seconds(self) -> float:
        """Predicted seconds of all jobs together."""
        return sum(pack.seconds for pack in self.packs)


@dataclass(frozen=True)
class Plan:
    """The packs and jobs of a sweep on the machines that its launcher would use."""

    tiers: list[Tier]
    asked: int  # configs
    distinct: int  # runs
    finished: int  # runs in the store already
    elsewhere: dict[str, int]  # runs that another sweep trains or waits to train, by its id
    left_to_others: list[Config]

    @property
    def packs(self) -> list[Pack]:
        """The packs of all tiers."""
        return [pack for tier in self.tiers for pack in tier.packs]

    @property
    def job_count(self) -> int:
        """The number of jobs of all tiers."""
        return sum(len(tier.jobs) for tier in self.tiers)

    @property
    def seconds(self) -> float:
        """Predicted seconds of all jobs together."""
        return sum(tier.seconds for tier in self.tiers)


def plan(configs: Sequence[Config], launcher: Launcher) -> Plan:
    """Plan the runs that are not finished, and that no live job is to train. Raises ConfigError, StoreError,
    OvpnetError."""
    shared = one_of_each(configs)
    store = Store(shared.store)
    launcher.check_store(store.path.resolve())
    finished = store.finished()
    for message in store.skipped:
        print(message, file=sys.stderr)
    runs = {run_id(config): config for config in configs}
    elsewhere = under_way(store.path, runs.keys() - finished)
    taken = {run for others in elsewhere.values() for run in others}
    left = [config for run, config in runs.items() if run not in finished and run not in taken]
    tiers = [_tier(each, shared, mine) for each, mine in _by_tier(launcher, shared, left)]
    return Plan(tiers, len(configs), len(runs), len(runs.keys() & finished),
                {sweep: len(others) for sweep, others in elsewhere.items()}, [runs[run] for run in taken])


def one_of_each(configs: Sequence[Config]) -> Config:
    """Return a config of the sweep, for the keys that all of them share.

    Raises ConfigError if they differ in one of these keys. The keys are no part of a run's identity, so two values of
    them would ask for one run twice.
    """
    for name in ("store", "checkpoint_minutes", "device", "engine", "study", "tracker"):
        first = getattr(configs[0], name)
        others = [value for config in configs if (value := getattr(config, name)) is not first and value != first]
        if others:
            values = sorted({str(value) for value in [first, *others]})
            raise ConfigError(name, ", ".join(values), "one value per sweep; give a command for each")
    return configs[0]


def _by_tier(launcher: Launcher, shared: Config, configs: Sequence[Config]) -> list[tuple[Launcher, list[Config]]]:
    """Return the configs of each tier: a run goes to the first tier whose memory and time fit it alone, else to the
    last."""
    tiers = launcher.per_tier()
    if not configs or len(tiers) == 1:
        return [(tiers[0], list(configs))] if configs else []
    machines = [tier.machine(Path(shared.store), shared.device) for tier in tiers]
    groups: list[list[Config]] = [[] for _ in tiers]
    for config in configs:
        alone = shape_of([config])
        fitting = (number for number, (tier, machine) in enumerate(zip(tiers, machines, strict=True))
                   if alone.memory <= machine.memory and alone.seconds(machine) <= tier.job_seconds)
        groups[next(fitting, len(tiers) - 1)].append(config)
    return [(tier, group) for tier, group in zip(tiers, groups, strict=True) if group]


def _tier(launcher: Launcher, shared: Config, configs: Sequence[Config]) -> Tier:
    store = Path(shared.store)
    machine = launcher.machine(store, shared.device)
    packs = packed(configs, set(), launcher.runs_per_pack, Checkpoints(store).packs(), lambda: machine,
                   pack_seconds=SHARE_OF_TIMEOUT * launcher.job_seconds)
    jobs = shared_out(packs, launcher.most_jobs(shared.device), launcher.least_seconds)
    return Tier(launcher, machine, packs, jobs)


def shared_out(packs: Sequence[Pack], most: int, least: float) -> list[list[int]]:
    """Return the packs of each job, longest first: at most so many jobs, each of at least so many predicted seconds.

    The longest pack that is left goes to the job that has least to do. By Graham's rule the last job then ends at most
    a third later than with the best distribution.
    """
    total = sum(pack.seconds for pack in packs)
    number = max(1, min(most, len(packs), int(total // least) if least else most))
    load = [(0.0, job) for job in range(number)]
    jobs: list[list[int]] = [[] for _ in range(number)]
    for index in sorted(range(len(packs)), key=lambda index: -packs[index].seconds):
        taken, job = heapq.heappop(load)
        jobs[job].append(index)
        heapq.heappush(load, (taken + packs[index].seconds, job))
    return [job for job in jobs if job]
