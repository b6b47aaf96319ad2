"""From the configs of a sweep to jobs: planned, put on record, and trained here or submitted."""

import getpass
import heapq
import os
import shlex
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import submitit

from launch import machines
from launch.code import environment
from launch.job import Job
from launch.options import LocalConf, Options, SlurmConf, SubprocessConf, sbatch
from launch.plan import Pack, Plan, plan
from launch.scheduler import job_name
from launch.start import start
from launch.status import under_way
from launch.sweep import Group, Sweep
from ovpnet.engine.cost import Machine, memory, seconds
from ovpnet.record.checkpoint import Checkpoints
from ovpnet.record.store import Store, write_whole
from ovpnet.spec.config import Config
from ovpnet.spec.errors import ConfigError, OvpnetError
from ovpnet.spec.identity import run_id

# A pack takes at most this part of the time that its job has: predictions are not exact, and a job has several packs.
_SHARE_OF_TIMEOUT = 0.5


@dataclass(frozen=True)
class Tier:
    """Packs of similar size, and the resources that their jobs get."""

    options: Options
    machine: Machine
    plan: Plan
    jobs: list[list[int]]  # packs of each job, as indices

    @property
    def seconds(self) -> float:
        """Predicted, of all jobs together."""
        return sum(pack.seconds for pack in self.plan.packs)


@dataclass(frozen=True)
class Planned:
    """What a sweep comes to on the machines that its launcher would use."""

    tiers: list[Tier]
    asked: int  # configs
    distinct: int  # runs
    finished: int  # of these, in the store already
    elsewhere: dict[str, int]  # runs that another sweep trains or waits to, by its id
    left_to_others: list[Config]

    @property
    def packs(self) -> list[Pack]:
        """Of all tiers."""
        return [pack for tier in self.tiers for pack in tier.plan.packs]

    @property
    def jobs(self) -> int:
        """Of all tiers."""
        return sum(len(tier.jobs) for tier in self.tiers)


def one_of_each(configs: Sequence[Config]) -> Config:
    """A config of the sweep, for what all of them share. Raises ConfigError where they do not: of no run's identity,
    these keys would make one run two."""
    for name in ("store", "checkpoint_minutes", "device", "engine", "study", "tracker"):
        first = getattr(configs[0], name)
        others = [value for config in configs if (value := getattr(config, name)) is not first and value != first]
        if others:
            values = sorted({str(value) for value in [first, *others]})
            raise ConfigError(name, ", ".join(values), "one value a sweep; give a command each")
    return configs[0]


def planned(configs: Sequence[Config], options: Options) -> Planned:
    """Packs and jobs of the runs that nobody has trained, nor is about to. Raises ConfigError, StoreError."""
    shared = one_of_each(configs)
    store = Store(shared.store)
    if isinstance(options, SlurmConf):
        _check_path(store.path.resolve())
    finished = store.finished()
    for message in store.skipped:
        print(message, file=sys.stderr)
    runs = {run_id(config): config for config in configs}
    elsewhere = under_way(store.path, runs.keys() - finished)
    taken = {run for others in elsewhere.values() for run in others}
    left = [config for run, config in runs.items() if run not in finished and run not in taken]
    tiers = [_tier(shared, each, group) for each, group in _by_tier(shared, left, options)]
    return Planned(tiers, len(configs), len(runs), len(runs.keys() & finished),
                   {sweep: len(others) for sweep, others in elsewhere.items()}, [runs[run] for run in taken])


def _check_path(store: Path) -> None:
    """Raise ConfigError for a path that SLURM would read as another one: jobs would fail before they can say why."""
    if "%" in str(store) or "\\" in str(store):
        raise ConfigError("store", store, "on SLURM a path must not contain % or \\, which begin patterns in the names "
                          "of the files that jobs print to; give another directory")


def _by_tier(shared: Config, configs: Sequence[Config], options: Options) -> list[tuple[Options, list[Config]]]:
    """The configs of each tier: the first one whose memory and timeout fit the run alone, else the last."""
    if not isinstance(options, SlurmConf) or not options.tiers:
        return [(options, list(configs))] if configs else []
    tiers: list[SlurmConf] = [replace(options, **tier, tiers=[]) for tier in options.tiers]
    known = [machines.planned_for(Path(shared.store), asdict(tier)) for tier in tiers]
    groups: list[list[Config]] = [[] for _ in tiers]
    for config in configs:
        fitting = (number for number, (tier, machine) in enumerate(zip(tiers, known, strict=True))
                   if memory([config]) <= machine.memory and seconds([config], machine) <= 60 * tier.timeout_min)
        groups[next(fitting, len(tiers) - 1)].append(config)
    return [(tier, group) for tier, group in zip(tiers, groups, strict=True) if group]


def _tier(shared: Config, options: Options, configs: Sequence[Config]) -> Tier:
    where = Path(shared.store)
    if isinstance(options, SlurmConf):
        most, least = options.max_jobs, 60 * options.job_minutes
        machine, limit = machines.planned_for(where, asdict(options)), 60 * options.timeout_min * _SHARE_OF_TIMEOUT
    else:
        most, least, limit = options.workers or machines.workers(shared.device), 0.0, None
        machine = machines.shared_by(most, shared.device)
    made = plan(configs, set(), options.runs_per_pack, Checkpoints(where).packs(), lambda: machine, pack_seconds=limit)
    return Tier(options, machine, made, shared_out(made.packs, most, least))


def shared_out(packs: Sequence[Pack], most: int, least: float) -> list[list[int]]:
    """Packs of each job, longest first: at most so many jobs, and of at least so many predicted seconds each.

    The longest pack that is left goes to the job that has least to do (Graham's rule: the last job ends at most a third
    later than with the best distribution).
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


# --- on record, and away ---


def record(what: Planned, shared: Config, options: Options, command: Sequence[str],
           code: Path | None) -> tuple[Sweep, list[Group]]:
    """Put the sweep on record, its runs that are left to other sweeps included. Raises StoreError, OSError."""
    about = {"command": shlex.join(command), "directory": str(Path.cwd()), "user": _user(),
             "host": socket.gethostname(), "launcher": launcher(options), "options": asdict(options),
             "asked": what.asked, "distinct": what.distinct, "finished": what.finished}
    sweep = Sweep.create(Path(shared.store), shared.study, about)
    write_whole(sweep.path / "environment.txt", lambda sink: sink.write(environment().encode()))
    groups = [add(sweep, tier, code) for tier in what.tiers]
    if what.left_to_others:
        others = plan(what.left_to_others, set())
        sweep.add(others.packs, [], launcher(options), asdict(options), None)
    return sweep, groups


def _user() -> str:
    """Their name, or where the system has none for them, as in containers, their number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def add(sweep: Sweep, tier: Tier, code: Path | None) -> Group:
    """Put the packs and jobs of a tier on record."""
    return sweep.add(tier.plan.packs, tier.jobs, launcher(tier.options), asdict(tier.options),
                     None if code is None else str(code))


def submit(sweep: Sweep, group: Group, options: Options) -> None:
    """Start the jobs of a group. Raises OvpnetError if they cannot be started."""
    assert group.code is not None
    try:
        if isinstance(options, SlurmConf):
            _to_slurm(sweep, group, options, shlex.quote(group.code))
        else:
            start(sweep, group, Path(group.code), machines.gpus(len(group.jobs)))
    except (submitit.core.utils.FailedJobError, OvpnetError, RuntimeError, OSError) as error:
        sweep.withdraw(group)
        raise OvpnetError(f"{sweep.id} is on record but its jobs could not be submitted ({error}); when that is "
                          f"mended: python -m launch retry {sweep.id} --store {shlex.quote(str(sweep.store))} "
                          "[KEY=VALUE, other options of the launcher]") from error


def _to_slurm(sweep: Sweep, group: Group, options: SlurmConf, code: str) -> None:
    logs = sweep.path / "logs"
    executor = submitit.AutoExecutor(logs, cluster="slurm", slurm_python=options.python,
                                     slurm_max_num_timeout=options.max_num_timeout)
    # Python unpickles what it finds in the logs: it must not start where somebody else has put another folder.
    setup = [f"[ -O {shlex.quote(str(logs))} ] && [ -O {code} ] && cd {code} || exit 1",
             f"export PYTHONPATH={code}${{PYTHONPATH:+:$PYTHONPATH}}"]
    executor.update_parameters(**sbatch(options, job_name(sweep, group.number), setup))
    with executor.batch():
        for task in range(len(group.jobs)):
            executor.submit(Job(str(sweep.path), group.number, task))


def launcher(options: Options) -> str:
    """Its name, as in hydra/launcher=NAME."""
    return {LocalConf: "local", SubprocessConf: "subprocess", SlurmConf: "slurm"}[type(options)]
