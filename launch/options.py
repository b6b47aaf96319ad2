"""The options of `hydra/launcher=local | subprocess | slurm`, checked before anything is trained or submitted.

Where an option means what it means in hydra-submitit-launcher and sbatch, it has the same name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ovpnet.spec.errors import ConfigError
from ovpnet.spec.keys import check_value, key


@dataclass
class LauncherConf:
    """Options that every launcher has."""

    _target_: str = MISSING
    runs_per_pack: int | None = key(None, "runs trained side by side at most; null = as many as the model of memory "
                                    "and time finds worth it", low=1)
    dry_run: bool = key(False, "print what would run, and stop there (`python -m launch plan`)")


@dataclass
class LocalConf(LauncherConf):
    """hydra/launcher=local: packs run in this process, or where there are several GPUs in a process a GPU."""

    _target_: str = "hydra_plugins.ovpnet.plugins.LocalLauncher"
    workers: int | None = key(None, "processes that share the packs; null = one a GPU, and this process where there is "
                              "none or one", low=1)
    retries: int = key(2, "of several workers: how often a run may end its process before it is marked failed", low=0)


@dataclass
class SubprocessConf(LauncherConf):
    """hydra/launcher=subprocess: as `slurm`, in processes of this machine; the command returns at once."""

    _target_: str = "hydra_plugins.ovpnet.plugins.SubprocessLauncher"
    workers: int | None = key(None, "processes that share the packs; null = one a GPU, else one", low=1)
    retries: int = key(2, "how often a run may end its process before it is marked failed", low=0)


@dataclass
class SlurmConf(LauncherConf):
    """hydra/launcher=slurm: packs are shared out to the jobs of one array; the command returns at once."""

    _target_: str = "hydra_plugins.ovpnet.plugins.SlurmLauncher"
    max_jobs: int = key(100, "jobs of the array, at most", low=1)
    job_minutes: float = key(5.0, "predicted minutes of work that a job gets at least, so that starting it is worth "
                             "it; with little to do there are fewer jobs than max_jobs", low=0)
    array_parallelism: int = key(256, "jobs of the array that run at once, at most", low=1)
    timeout_min: int = key(240, "minutes that SLURM gives a job; when they end it keeps a checkpoint and is requeued",
                           low=1)
    max_num_timeout: int = key(50, "how often a job may be requeued after a timeout", low=0)
    signal_delay_s: int = key(90, "seconds before the timeout at which a checkpoint is kept; less than timeout_min",
                              low=10)
    retries: int = key(2, "how often a run may end its process (a crash, no memory) before it is marked failed", low=0)
    gpus_per_node: int | None = key(None, "1: a job has a GPU; it trains on one, so for more GPUs there are more jobs",
                                    low=0, high=1)
    gpus_per_task: int | None = key(None, "as gpus_per_node, in sbatch's other form", low=0, high=1)
    gres: str | None = key(None, "as gpus_per_node, by name: gpu:h100:1")
    gpu_memory_gb: float = key(16.0, "memory of a GPU, for which packs are sized until a job has told of its own",
                                above=0)
    cpus_per_task: int = key(2, "CPU cores of a job", low=1)
    mem_gb: float | None = key(8.0, "memory of a job; on CPUs packs are sized for it. null = what the cluster gives",
                               above=0)
    mem_per_cpu: str | None = key(None, "as in sbatch; in place of mem_gb")
    mem_per_gpu: str | None = key(None, "as in sbatch; in place of mem_gb")
    partition: str | None = key(None, "as in sbatch")
    account: str | None = key(None, "as in sbatch")
    qos: str | None = key(None, "as in sbatch")
    constraint: str | None = key(None, "as in sbatch")
    exclude: str | None = key(None, "nodes not to use, as in sbatch")
    nodelist: str | None = key(None, "nodes to use, as in sbatch")
    exclusive: bool | None = key(None, "as in sbatch")
    dependency: str | None = key(None, "as in sbatch")
    comment: str | None = key(None, "as in sbatch")
    mail_type: str | None = key(None, "as in sbatch")
    mail_user: str | None = key(None, "as in sbatch")
    additional_parameters: dict[str, Any] = field(default_factory=dict, metadata={
        "help": "any other option of sbatch: {reservation: course, licenses: matlab}"})
    setup: list[str] = key([], "shell commands of the job before it starts: module load cuda")
    srun_args: list[str] = key([], "arguments of srun")
    python: str | None = key(None, "how the job starts python, as in a shell: singularity exec --nv image.sif python "
                             "(with scontrol in it, or jobs cannot be requeued); null = the interpreter of this "
                             "command")
    tiers: list[dict[str, Any]] = field(default_factory=list, metadata={
        "help": "for sweeps of very different sizes: a list of other values of the options above, from small to large. "
                "A pack goes to the first tier whose memory and timeout fit it; each tier is an array of its own"})


@dataclass
class BisectConf:
    """hydra/sweeper=bisect_samples: N_eps of everything in the swept grid by bisection on log N (docs/bisect.md)."""

    _target_: str = "hydra_plugins.ovpnet.plugins.BisectSweeper"
    params: dict[str, str] | None = None
    grids: list[dict[str, Any]] | None = None
    resolution: float = key(1.1, "ratio of the ends of an interval, at most (but for the rounding of N to whole "
                            "numbers). N are powers of two and as many between two of them as it takes, so that a "
                            "smaller resolution adds N and keeps the others", low=1.01)
    samples_min: int = key(16, "the least N; where it passes, N_eps is not larger, and that is all", low=1)
    samples_max: int = key(16384, "the greatest N; where no N passes, N_eps is larger than this, and that is all",
                           low=1)


# What sbatch knows under the same name, or submitit does.
_SBATCH = ("partition", "account", "qos", "constraint", "exclude", "nodelist", "exclusive", "dependency", "comment",
           "mail_type", "mail_user", "gres", "gpus_per_task", "mem_per_cpu", "mem_per_gpu", "additional_parameters",
           "srun_args", "array_parallelism", "signal_delay_s")

# Options of sbatch by which ovpnet finds its jobs and what they print, asks them for a checkpoint, and has one process
# of each.
_OWN = ("job-name", "array", "output", "error", "open-mode", "signal", "ntasks", "ntasks-per-node")
# Options of sbatch that have another name here.
_NAMED = {"time": "timeout_min", "mem": "mem_gb", "cpus-per-task": "cpus_per_task", "gpus-per-node": "gpus_per_node",
          "gpus": "gpus_per_node"}
_REFUSED = (dict.fromkeys(_OWN, "is set by ovpnet, as are " + ", ".join(_OWN))
            | {option: f"is hydra.launcher.{key}, by which packs are sized" for option, key in _NAMED.items()}
            | {"clusters": "is not possible: a sweep's jobs are looked for on one cluster"})

Options = LocalConf | SubprocessConf | SlurmConf


def checked(kind: type[Options], given: Mapping[str, Any]) -> Any:
    """The options as given to Hydra. Raises ConfigError."""
    for item in fields(kind):
        if item.name in given:
            _check(f"hydra.launcher.{item.name}", given[item.name], item.metadata)
    options = kind(_target_="", **given)
    if isinstance(options, SlurmConf):
        _check_signal("hydra.launcher", options)
        for number, tier in enumerate(options.tiers):
            known = {item.name: item for item in fields(SlurmConf)}
            for name, value in tier.items():
                where = f"hydra.launcher.tiers.{number}.{name}"
                if name not in known or name in ("tiers", "_target_", "dry_run"):
                    raise ConfigError(where, value, "no option of a tier; allowed: " + ", ".join(
                        each for each in known if each not in ("tiers", "_target_", "dry_run")))
                _check(where, value, known[name].metadata)
                try:  # Hydra has not: to it a tier may hold anything
                    OmegaConf.merge(OmegaConf.structured(SlurmConf), {name: value})
                except OmegaConfBaseException as error:
                    raise ConfigError(where, value, str(error).splitlines()[0]) from error
            _check_signal(f"hydra.launcher.tiers.{number}", replace(options, **tier))
    return options


def _check_signal(where: str, options: SlurmConf) -> None:
    """Raise ConfigError where SLURM would ask a job for its checkpoint before it has begun."""
    if options.signal_delay_s >= 60 * options.timeout_min:
        raise ConfigError(f"{where}.signal_delay_s", options.signal_delay_s,
                          f"must be less than the time of a job (timeout_min={options.timeout_min})")


def check_bisect(resolution: float, samples_min: int, samples_max: int) -> None:
    """Check the options of hydra/sweeper=bisect_samples. Raises ConfigError."""
    given = {"resolution": resolution, "samples_min": samples_min, "samples_max": samples_max}
    for item in fields(BisectConf):
        if item.name in given:
            _check(f"hydra.sweeper.{item.name}", given[item.name], item.metadata)
    if samples_min >= samples_max:
        raise ConfigError("hydra.sweeper.samples_min", samples_min,
                          f"must be less than hydra.sweeper.samples_max ({samples_max})")


def sbatch(options: SlurmConf, name: str, setup: list[str]) -> dict[str, Any]:
    """Parameters of submitit's AutoExecutor for the jobs of that name; `setup` comes after the user's own."""
    memory = None if options.mem_per_cpu or options.mem_per_gpu else options.mem_gb
    shared = {"name": name, "timeout_min": options.timeout_min, "cpus_per_task": options.cpus_per_task,
              "gpus_per_node": options.gpus_per_node, "mem_gb": memory}
    own = {each: getattr(options, each) for each in _SBATCH} | {"setup": [*options.setup, *setup]}
    # Not every site requeues by default, and a job that may not be requeued fails at its first timeout.
    own["additional_parameters"] = {"requeue": True} | options.additional_parameters
    return {each: value for each, value in [*shared.items(), *((f"slurm_{name}", value) for name, value in own.items())]
            if value is not None and value is not False}


def _check(name: str, value: Any, metadata: Mapping[str, Any]) -> None:
    if isinstance(value, int | float):
        check_value(name, value, metadata)
    for text in _texts(value):
        # submitit quotes values for the shell, but a line break would begin a line of its own in the script.
        if re.search(r"[\x00-\x1f\x7f]", text):
            raise ConfigError(name, repr(text), "must not contain line breaks or other control characters")
    if name.endswith(".additional_parameters"):
        for option in value:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", str(option)):
                raise ConfigError(name, option, "must be the name of an option of sbatch, without dashes in front")
            # sbatch takes the beginning of a name for the name.
            for refused, why in _REFUSED.items():
                if refused.startswith(str(option).replace("_", "-")):
                    raise ConfigError(name, option, why)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for pair in value.items() for each in pair for text in _texts(each)]
    return [text for each in value for text in _texts(each)] if isinstance(value, list | tuple) else []
