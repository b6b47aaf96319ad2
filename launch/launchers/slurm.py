"""hydra/launcher=slurm"""

import logging
import re
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import submitit
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from launch import machines
from launch.launcher import JobState, Launcher, check_option, how_ended, launcher
from launch.slurm_commands import accounted, cancel, queued
from launch.sweep import Group, Sweep, read_json, write_json
from ovpnet.engine.rates import EXAMPLE, Machine
from ovpnet.spec.errors import ConfigError
from ovpnet.spec.identity import digest
from ovpnet.spec.keys import key

log = logging.getLogger(__name__)

# The part of a job's or a GPU's memory that a pack may take, and the bytes that Python and torch take before it.
_SHARE, _BASE = 0.7, 1 << 29

# Options that sbatch or submitit knows under the same name.
_SBATCH = ("partition", "account", "qos", "constraint", "exclude", "nodelist", "exclusive", "dependency", "comment",
           "mail_type", "mail_user", "gres", "gpus_per_task", "mem_per_cpu", "mem_per_gpu", "additional_parameters",
           "srun_args", "array_parallelism", "signal_delay_s")

# Options of sbatch that ovpnet sets: to find its jobs and their output, to ask them for a checkpoint, and to have one
# process per job.
_OWN = ("job-name", "array", "output", "error", "open-mode", "signal", "ntasks", "ntasks-per-node")
# Options of sbatch that have another name here.
_NAMED = {"time": "timeout_min", "mem": "mem_gb", "cpus-per-task": "cpus_per_task", "gpus-per-node": "gpus_per_node",
          "gpus": "gpus_per_node"}
_REFUSED = (dict.fromkeys(_OWN, "is set by ovpnet, as are " + ", ".join(_OWN))
            | {option: f"is hydra.launcher.{key}, by which packs are sized" for option, key in _NAMED.items()}
            | {"clusters": "is not possible: a sweep's jobs are looked for on one cluster"})
# Options that no tier has of its own.
_SHARED = ("tiers", "_target_", "dry_run")
# Options that tell nodes apart: a job writes the rates of its machine under them.
_NODE = ("partition", "constraint", "gres", "gpus_per_node", "gpus_per_task", "cpus_per_task", "mem_gb", "nodelist")


@launcher("slurm")
@dataclass
class Slurm(Launcher):
    """hydra/launcher=slurm: the jobs of one array share the packs; the command returns at once."""

    waits = False
    poll_seconds = 10.0
    patience_seconds = 60.0
    requeues = True
    networked = False
    time_key = "timeout_min"

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
    python: str | None = key(None, "command that starts python in a job: singularity exec --nv image.sif python (with "
                             "scontrol in it, or jobs cannot be requeued); null = the interpreter of this command")
    tiers: list[dict[str, Any]] = field(default_factory=list, metadata={
        "help": "for sweeps of very different sizes: a list of other values of the options above, from small to large. "
                "A pack goes to the first tier whose memory and timeout fit it; each tier is an array of its own"})

    # --- options ---

    @classmethod
    def check_option(cls, name: str, value: Any, metadata: Mapping[str, Any]) -> None:
        check_option(name, value, metadata)
        if not name.endswith(".additional_parameters"):
            return
        for option in value:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", str(option)):
                raise ConfigError(name, option, "must be the name of an option of sbatch, without dashes in front")
            # sbatch takes the beginning of a name for the name.
            for refused, why in _REFUSED.items():
                if refused.startswith(str(option).replace("_", "-")):
                    raise ConfigError(name, option, why)

    def check(self) -> None:
        self._check_signal("hydra.launcher")
        known = {item.name: item for item in fields(self) if item.name not in _SHARED}
        for number, tier in enumerate(self.tiers):
            for name, value in tier.items():
                where = f"hydra.launcher.tiers.{number}.{name}"
                if name not in known:
                    raise ConfigError(where, value, f"no option of a tier; allowed: {', '.join(known)}")
                self.check_option(where, value, known[name].metadata)
                try:  # Hydra has not: to it a tier may hold anything
                    OmegaConf.merge(OmegaConf.structured(Slurm), {name: value})
                except OmegaConfBaseException as error:
                    raise ConfigError(where, value, str(error).splitlines()[0]) from error
            replace(self, **tier)._check_signal(f"hydra.launcher.tiers.{number}")

    def _check_signal(self, where: str) -> None:
        """Raise ConfigError if SLURM would ask a job for its checkpoint before it has begun."""
        if self.signal_delay_s >= self.job_seconds:
            raise ConfigError(f"{where}.signal_delay_s", self.signal_delay_s,
                              f"must be less than the time of a job (timeout_min={self.timeout_min})")

    def check_store(self, store: Path) -> None:
        if "%" in str(store) or "\\" in str(store):  # jobs would fail before they can say why
            raise ConfigError("store", store, "on SLURM a path must not contain % or \\, which begin patterns in the "
                              "names of the files that jobs print to; give another directory")

    # --- plan ---

    def per_tier(self) -> list[Launcher]:
        return [replace(self, **tier, tiers=[]) for tier in self.tiers] or [self]

    def machine(self, store: Path, device: str) -> Machine:
        """Return a node as a job there measured it, else an example machine with the memory that is asked for."""
        if (told := machines.known(self._told(store))) is not None:
            return told
        if self.on_gpu:
            memory = self.gpu_memory_gb * 2**30
        else:
            memory = EXAMPLE.memory if self.mem_gb is None else self.mem_gb * 2**30 - _BASE
        return Machine(EXAMPLE.rates, max(1 << 28, int(_SHARE * memory)), self.cpus_per_task)

    def most_jobs(self, device: str) -> int:
        return self.max_jobs

    @property
    def least_seconds(self) -> float:
        return 60 * self.job_minutes

    @property
    def memory_key(self) -> str:
        return "gpu_memory_gb" if self.on_gpu else "mem_gb"

    @property
    def on_gpu(self) -> bool:
        return bool(self.gpus_per_node or self.gpus_per_task or self.gres)

    # --- submission ---

    def submit(self, sweep: Sweep, group: Group, jobs: Sequence[Callable[[], None]]) -> None:
        assert group.code is not None
        logs, code = sweep.path / "logs", shlex.quote(group.code)
        executor = submitit.AutoExecutor(logs, cluster="slurm", slurm_python=self.python,
                                         slurm_max_num_timeout=self.max_num_timeout)
        # Python unpickles the files in the logs: it must not start if somebody else has put another folder there.
        setup = [f"[ -O {shlex.quote(str(logs))} ] && [ -O {code} ] && cd {code} || exit 1",
                 f"export PYTHONPATH={code}${{PYTHONPATH:+:$PYTHONPATH}}"]
        executor.update_parameters(**self.sbatch(job_name(sweep, group.number), setup))
        with executor.batch():
            for job in jobs:
                executor.submit(job)

    def sbatch(self, name: str, setup: list[str]) -> dict[str, Any]:
        """Return submitit's parameters for the jobs of that name; `setup` comes after the user's own."""
        memory = None if self.mem_per_cpu or self.mem_per_gpu else self.mem_gb
        shared = {"name": name, "timeout_min": self.timeout_min, "cpus_per_task": self.cpus_per_task,
                  "gpus_per_node": self.gpus_per_node, "mem_gb": memory}
        own = {each: getattr(self, each) for each in _SBATCH} | {"setup": [*self.setup, *setup]}
        # Not every site requeues by default, and a job that may not be requeued fails at its first timeout.
        own["additional_parameters"] = {"requeue": True} | self.additional_parameters
        given = [*shared.items(), *((f"slurm_{name}", value) for name, value in own.items())]
        return {each: value for each, value in given if value is not None and value is not False}

    # --- in a job ---

    @property
    def cores(self) -> int:
        return self.cpus_per_task

    @property
    def checkpoint_seconds(self) -> float:
        return self.signal_delay_s * 2 / 3

    def begin(self, store: Path, device: str) -> None:
        """Refuse a GPU that cannot be used, and keep the machine's rates for the next plan.

        A GPU is measured once. The cores of a node that other jobs measure at the same time would tell little.
        """
        if not self.on_gpu:
            return
        if device == "auto" and machines.is_cpu(device):  # packs sized for a GPU would be trained on CPUs
            raise ConfigError("device", device, "SLURM gave this job a GPU, but torch finds none on this node: exclude "
                              "it (hydra.launcher.exclude), install torch for CUDA, or give device=cpu")
        file = self._told(store)
        if file.exists() or not device.startswith(("auto", "cuda")):
            return
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, asdict(machines.here(device)))
        except (OSError, RuntimeError) as error:  # the next plan is less exact, and that is all
            log.warning("the machine was not measured (%s)", error)

    def _told(self, store: Path) -> Path:
        return store / "machines" / f"{digest({name: getattr(self, name) for name in _NODE})}.json"

    # --- submitted jobs ---

    @classmethod
    def jobs(cls, sweep: Sweep, groups: Sequence[Group]) -> dict[tuple[int, int], JobState]:
        """Return the jobs as sacct remembers them, and those in the queue as squeue shows them now."""
        numbers = {job_name(sweep, group.number): group.number for group in groups}
        since = min(group.submitted_at for group in groups)[:19]
        found: dict[tuple[int, int], JobState] = {}
        for start in accounted(numbers, since):
            key = numbers[start.name], start.task
            job = found.setdefault(key, JobState(*key, start.state))
            job.state, job.id, job.node = start.state, start.id, start.node
            job.seconds += start.seconds
            job.gpu_seconds += start.seconds * start.gpus
        waiting = {(numbers[each.name], each.task): each for each in queued() if each.name in numbers}
        # The queue shows the present. Accounting lags by seconds: it may show a job as RUNNING that has ended, or as
        # failed with its node though it is about to start again. And not every cluster has accounting.
        for group in groups:
            for task in range(len(group.jobs)):
                key = group.number, task
                about = read_json(sweep.job_file(*key)) or {}
                if key not in found and (key in waiting or about):
                    took = (about.get("ended") or time.time()) - about["started"] if about else 0.0
                    found[key] = JobState(*key, "UNKNOWN", about.get("job_id"), about.get("host", ""), took,
                                          took * len(about.get("gpus", [])))
                if key in waiting:
                    found[key].id, found[key].state = waiting[key].id, waiting[key].state
                    found[key].reason = waiting[key].reason
                elif key in found and (found[key].live or about.get("how") == "done"):
                    found[key].state = how_ended(about) or "ENDED"
                found.setdefault(key, JobState(*key, "UNKNOWN"))
        return found

    @classmethod
    def live(cls, groups: Sequence[tuple[Sweep, Group]]) -> list[tuple[Sweep, Group]]:
        """Return the groups in the queue.

        If SLURM is not installed (say, the store was copied to a laptop), all count as ended, with a warning. Raises
        OvpnetError if SLURM is installed and does not answer: nothing must be submitted twice for that.
        """
        names = [job_name(sweep, group.number) for sweep, group in groups]
        if shutil.which("squeue") is None:
            log.warning("SLURM is not on this machine, so these count as ended: %s", ", ".join(names))
            return []
        there = {each.name for each in queued()}
        return [pair for name, pair in zip(names, groups, strict=True) if name in there]

    @classmethod
    def stop(cls, sweep: Sweep, jobs: Sequence[JobState]) -> int:
        for name in sorted({job_name(sweep, job.group) for job in jobs}):
            cancel(name)
        return 0


def job_name(sweep: Sweep, group: int) -> str:
    """Return the name under which a group's jobs are submitted; any shell finds them by it."""
    return f"{sweep.id}.{group}"
