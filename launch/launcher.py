"""The base class of launchers: the fields of a launcher are its options, and its methods are all that a sweep asks.

A subclass is a dataclass with the decorator `@launcher(NAME)`, in a file of `launch/launchers`. Its fields are Hydra's
schema of `hydra.launcher`, and a sweep's record keeps their values. Code outside calls the object's methods; it never
asks for its class or name.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import inf
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from omegaconf import MISSING
from submitit.core.utils import JobPaths

from launch.sweep import Group, Sweep, read_json
from ovpnet.engine.rates import Machine
from ovpnet.spec.errors import ConfigError
from ovpnet.spec.keys import check_value, key

# SLURM's states of a job that will run, or does; launchers without SLURM have some of them.
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "SUSPENDED", "RESV_DEL_HOLD")
RUNNING = ("RUNNING", "COMPLETING", "CONFIGURING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED")


@dataclass
class JobState:
    """A job of a sweep, as it is now."""

    group: int
    task: int
    state: str  # SLURM's word for it; UNKNOWN if nothing knows of it
    id: str | None = None  # as SLURM's commands take it
    node: str = ""
    seconds: float = 0.0  # of running, all starts together
    gpu_seconds: float = 0.0
    reason: str = ""  # why it waits

    @property
    def live(self) -> bool:
        """Return whether the job runs, or will run without anybody doing anything."""
        return self.state in (*WAITING, *RUNNING)


def how_ended(about: Mapping[str, Any]) -> str | None:
    """Return how a job ended, in SLURM's words, from what its supervisor wrote; None if it wrote no end."""
    return {"done": "COMPLETED", "failed": "FAILED", "interrupted": "CANCELLED"}.get(about.get("how") or "")


@dataclass
class Launcher(ABC):
    """Trains the packs of a sweep in jobs. Its fields are the options that every launcher has."""

    # Facts that every launcher states; the decorator sets the name.
    name: ClassVar[str]
    waits: ClassVar[bool]  # True if the command waits for its jobs; else it returns at once
    poll_seconds: ClassVar[float]  # between two looks at its jobs
    patience_seconds: ClassVar[float]  # until the rows that an ended job has stored can be seen from here
    requeues: ClassVar[bool]  # True if the one who stops a job starts it again later: it must not end by itself
    networked: ClassVar[bool]  # True if its jobs reach the network, for the tracker
    time_key: ClassVar[str]  # the option that limits the time of a job, in minutes; "" if none does

    _target_: str = MISSING
    runs_per_pack: int | None = key(None, "runs trained side by side at most; null = as many as the model of memory "
                                    "and time finds worth it", low=1)
    dry_run: bool = key(False, "print what would run, and stop there (`ovpnet launch plan`)")

    # --- options ---

    @classmethod
    def checked(cls, given: Mapping[str, Any]) -> Self:
        """Return the launcher with these options, as Hydra was given them. Raises ConfigError."""
        for item in fields(cls):
            if item.name in given:
                cls.check_option(f"hydra.launcher.{item.name}", given[item.name], item.metadata)
        made = cls(_target_="", **given)
        made.check()
        return made

    @classmethod
    def check_option(cls, name: str, value: Any, metadata: Mapping[str, Any]) -> None:
        """Check one option by itself. Raises ConfigError."""
        check_option(name, value, metadata)

    def check(self) -> None:  # noqa: B027 (some launchers have nothing to check)
        """Check the options together. Raises ConfigError."""

    def check_store(self, store: Path) -> None:  # noqa: B027
        """Raise ConfigError for a store whose path its jobs cannot use."""

    # --- what a plan asks ---

    def per_tier(self) -> list["Launcher"]:
        """Return the launcher of each tier, from small to large: itself, if it has no tiers."""
        return [self]

    @abstractmethod
    def machine(self, store: Path, device: str) -> Machine:
        """Return the machine that a job trains on; packs are sized for it."""

    @abstractmethod
    def most_jobs(self, device: str) -> int:
        """Return how many jobs a sweep has at most."""

    @property
    def least_seconds(self) -> float:
        """Predicted seconds of work that a job gets at least."""
        return 0.0

    @property
    def job_seconds(self) -> float:
        """Seconds that a job may take before it is stopped and requeued."""
        return 60 * getattr(self, self.time_key) if self.time_key else inf

    @property
    def memory_key(self) -> str:
        """The option that says how much memory a job has; "" if none does."""
        return ""

    @property
    def on_gpu(self) -> bool:
        """True if a job asks for a GPU."""
        return False

    # --- what a submission asks ---

    def copies_code(self, jobs: int) -> bool:
        """Return whether so many jobs run a copy of the code: they do if they may outlive or outnumber this process."""
        return True

    @abstractmethod
    def submit(self, sweep: Sweep, group: Group, jobs: Sequence[Callable[[], None]]) -> None:
        """Start the jobs of a group. Raises OvpnetError, RuntimeError, OSError if they cannot be started.

        submitit calls each of `jobs` in a process of its own.
        """

    def wait(self, sweep: Sweep, group: Group) -> None:  # noqa: B027 (not all wait)
        """Wait for the jobs of a group, if the launcher waits at all. Raises InterruptionError, OvpnetError."""

    # --- what a job asks: it knows its launcher from the record ---

    @property
    @abstractmethod
    def cores(self) -> int:
        """CPU cores of a job."""

    @property
    @abstractmethod
    def retries(self) -> int:
        """The number of times that a run may end its worker before it is marked failed."""

    @property
    @abstractmethod
    def checkpoint_seconds(self) -> float:
        """Seconds that a job may take to keep a checkpoint after it is asked to stop."""

    def begin(self, store: Path, device: str) -> None:  # noqa: B027 (not all look)
        """Look at the machine that a job runs on, before it trains. Raises ConfigError."""

    # --- what is asked about submitted jobs, long after and from other processes ---

    @classmethod
    @abstractmethod
    def jobs(cls, sweep: Sweep, groups: Sequence[Group]) -> dict[tuple[int, int], JobState]:
        """Return the jobs of these groups, which this launcher submitted, by group and task. Raises OvpnetError."""

    @classmethod
    @abstractmethod
    def live(cls, groups: Sequence[tuple[Sweep, Group]]) -> list[tuple[Sweep, Group]]:
        """Return those of the groups, all this launcher's, of which a job runs or waits to run. Raises OvpnetError."""

    @classmethod
    @abstractmethod
    def stop(cls, sweep: Sweep, jobs: Sequence[JobState]) -> int:
        """Ask live jobs to end; return how many cannot be asked, since they have not begun. Raises OvpnetError."""

    @classmethod
    def logs(cls, sweep: Sweep, job: JobState) -> list[Path]:
        """Return submitit's files of what a job printed, at all of its starts."""
        ids = {job.id, (read_json(sweep.job_file(job.group, job.task)) or {}).get("job_id")} - {None}
        return sorted(file for id in ids for kind in ("out", "err")
                      for file in [JobPaths(sweep.path / "logs", id).folder / f"{id}_0_log.{kind}"] if file.exists())


# --- the registry ---

# By name; `launch.launchers.LAUNCHERS` is this with all that there are.
REGISTERED: dict[str, type[Launcher]] = {}

_FACTS = Launcher.__annotations__.keys() - {item.name for item in fields(Launcher)}

L = TypeVar("L", bound=type[Launcher])


def launcher(name: str) -> Callable[[L], L]:
    """Register the class as hydra/launcher=NAME. Raises TypeError if the class lacks a fact or a method."""
    def register(kind: L) -> L:
        kind.name = name
        lacking = [fact for fact in sorted(_FACTS) if not hasattr(kind, fact)] + sorted(kind.__abstractmethods__)
        if lacking:
            raise TypeError(f"hydra/launcher={name}: {kind.__qualname__} does not state: {', '.join(lacking)}")
        if kind.waits != (kind.wait is not Launcher.wait):
            raise TypeError(f"hydra/launcher={name}: {kind.__qualname__}.waits={kind.waits}: a launcher that waits, "
                            "and no other, has a method `wait`")
        if kind.time_key and kind.time_key not in {item.name for item in fields(kind)}:
            raise TypeError(f"hydra/launcher={name}: {kind.__qualname__}.time_key={kind.time_key}: is none of its "
                            f"options; allowed: {', '.join(item.name for item in fields(kind))}")
        REGISTERED[name] = kind
        return kind

    return register


# --- checks of options ---


def check_option(name: str, value: Any, metadata: Mapping[str, Any]) -> None:
    """Raise ConfigError if an option is out of its bounds, or a text has a control character."""
    if isinstance(value, int | float):
        check_value(name, value, metadata)
    for text in _texts(value):
        # submitit quotes values for the shell, but a line break would begin a line of its own in the script.
        if re.search(r"[\x00-\x1f\x7f]", text):
            raise ConfigError(name, repr(text), "must not contain line breaks or other control characters")


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for pair in value.items() for each in pair for text in _texts(each)]
    return [text for each in value for text in _texts(each)] if isinstance(value, list | tuple) else []
