"""What a launcher is: an object whose fields are its options, and that answers whatever else a sweep asks of it.

A subclass is a dataclass with the decorator `@launcher(NAME)`, in a file of `launch/launchers`. Its fields are Hydra's
schema of `hydra.launcher`, and what a sweep keeps on record of it. Code outside asks the object, never its class or
name.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from omegaconf import MISSING
from submitit.core.utils import JobPaths

from launch.sweep import Group, Sweep, read_json
from ovpnet.spec.errors import ConfigError
from ovpnet.spec.keys import check_value, key

if TYPE_CHECKING:  # every command loads the launchers, and need not wait for the model of cost
    from ovpnet.engine.cost import Machine

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
        """Tell whether it runs, or will without anybody doing anything."""
        return self.state in (*WAITING, *RUNNING)


def how_ended(about: Mapping[str, Any]) -> str | None:
    """Return how a job's supervisor says that it ended, in SLURM's words; None if it does not."""
    return {"done": "COMPLETED", "failed": "FAILED", "interrupted": "CANCELLED"}.get(about.get("how") or "")


@dataclass
class Launcher(ABC):
    """Trains the packs of a sweep in jobs. Its fields are the options that every launcher has."""

    # Facts that every launcher states. The name is that of its decorator.
    name: ClassVar[str]
    waits: ClassVar[bool]  # whether the command waits for its jobs; if not, it returns at once
    poll_seconds: ClassVar[float]  # between two looks at its jobs
    patience_seconds: ClassVar[float]  # until what an ended job has stored can be seen from here
    requeues: ClassVar[bool]  # whether who stops a job starts it again later, so that it must not end by itself
    networked: ClassVar[bool]  # whether its jobs reach the network, for the tracker
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

    def check(self) -> None:  # noqa: B027 (not all have what to check)
        """Check the options together. Raises ConfigError."""

    def check_store(self, store: Path) -> None:  # noqa: B027
        """Raise ConfigError for a store whose path its jobs cannot use."""

    # --- what a plan asks ---

    def per_tier(self) -> "list[Launcher]":
        """Return the launcher of each tier, from small to large: itself, if it has no tiers."""
        return [self]

    @abstractmethod
    def machine(self, store: Path, device: str) -> "Machine":
        """Return what a job trains on, for which packs are sized."""

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
        """The option that says which memory a job has; "" if none does."""
        return ""

    @property
    def on_gpu(self) -> bool:
        """Whether a job asks for a GPU."""
        return False

    # --- what a submission asks ---

    def copies_code(self, jobs: int) -> bool:
        """Tell whether so many jobs run a copy of the code: all do that may outlive or outnumber this process."""
        return True

    @abstractmethod
    def submit(self, sweep: Sweep, group: Group, jobs: Sequence[Callable[[], None]]) -> None:
        """Start the jobs of a group. Raises OvpnetError, RuntimeError, OSError if they cannot be started.

        `jobs` are what each of them calls, for submitit.
        """

    def wait(self, sweep: Sweep, group: Group) -> None:  # noqa: B027 (not all wait)
        """Wait for the jobs of a group; stated by a launcher that waits. Raises InterruptionError, OvpnetError."""

    # --- what a job asks: it knows its launcher from the record ---

    @property
    @abstractmethod
    def cores(self) -> int:
        """CPU cores of a job."""

    @property
    @abstractmethod
    def retries(self) -> int:
        """How often a run may end its worker before it is marked failed."""

    @property
    @abstractmethod
    def checkpoint_seconds(self) -> float:
        """Seconds that a job which is asked to stop may take to keep a checkpoint."""

    def begin(self, store: Path, device: str) -> None:  # noqa: B027 (not all look)
        """Look at the machine that a job is on, before it trains. Raises ConfigError."""

    # --- what is asked about submitted jobs, long after and from other processes ---

    @classmethod
    @abstractmethod
    def jobs(cls, sweep: Sweep, groups: Sequence[Group]) -> dict[tuple[int, int], JobState]:
        """Return the jobs of these groups, its own, by group and task. Raises OvpnetError."""

    @classmethod
    @abstractmethod
    def live(cls, groups: Sequence[tuple[Sweep, Group]]) -> list[tuple[Sweep, Group]]:
        """Return those of the groups, its own, of which a job runs or waits to. Raises OvpnetError."""

    @classmethod
    @abstractmethod
    def stop(cls, sweep: Sweep, jobs: Sequence[JobState]) -> int:
        """Ask live jobs to end; return how many cannot be asked, since they have not begun. Raises OvpnetError."""

    @classmethod
    def logs(cls, sweep: Sweep, job: JobState) -> list[Path]:
        """Return the files of what a job printed, at all of its starts: submitit's."""
        ids = {job.id, (read_json(sweep.job_file(job.group, job.task)) or {}).get("job_id")} - {None}
        return sorted(file for id in ids for kind in ("out", "err")
                      for file in [JobPaths(sweep.path / "logs", id).folder / f"{id}_0_log.{kind}"] if file.exists())


# --- the registry ---

# By name; `launch.launchers.LAUNCHERS` is this with all that there are.
REGISTERED: dict[str, type[Launcher]] = {}

_FACTS = Launcher.__annotations__.keys() - {item.name for item in fields(Launcher)}

L = TypeVar("L", bound=type[Launcher])


def launcher(name: str) -> Callable[[L], L]:
    """Register the class as hydra/launcher=NAME. Raises TypeError if it does not state all that is asked of it."""
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
    """Raise ConfigError for an option out of its bounds, or with a control character in a text."""
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
