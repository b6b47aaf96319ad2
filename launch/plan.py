"""A sweep as packs: each run once, finished ones left out, grouped by static signature, cut to size."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ovpnet.config import Config, run_id, signature, total_steps
from ovpnet.cost import EXAMPLE, Machine, members, memory, seconds
from ovpnet.engine_choice import chosen_engine


@dataclass(frozen=True)
class Pack:
    """Runs that one process trains as an ensemble."""

    configs: list[Config]
    seconds: float  # predicted

    @property
    def memory(self) -> int:
        """Predicted bytes."""
        return memory(self.configs)

    @property
    def cost(self) -> float:
        """Predicted seconds of a step of one member, all that is measured included."""
        return self.seconds / (total_steps(self.configs[0]) * len(self.configs))


@dataclass(frozen=True)
class Plan:
    """What a sweep comes to."""

    packs: list[Pack]
    asked: int  # configs
    distinct: int  # runs
    finished: int  # of these, already in the store


def plan(configs: Sequence[Config], finished: AbstractSet[str], runs_per_pack: int | None = None,
         begun: Sequence[Sequence[str]] = (), machine: Callable[[], Machine] = lambda: EXAMPLE,
         pack_seconds: float | None = None) -> Plan:
    """Packs of the runs that are not finished, longest first.

    `begun` are the run_ids of packs that have a checkpoint: those of which no run is finished are packs again.
    `machine` says what the packs are trained on; it is asked only if there are any.
    """
    runs = {run_id(config): config for config in configs}
    left = {run: config for run, config in runs.items() if run not in finished}
    packs: list[list[Config]] = []
    for run_ids in begun:
        if left.keys() >= set(run_ids) and len({_group(left[run]) for run in run_ids}) == 1:
            packs.append([left.pop(run) for run in run_ids])
    groups: dict[tuple[object, ...], list[Config]] = {}
    for config in left.values():
        groups.setdefault(_group(config), []).append(config)
    finished_runs = len(runs.keys() & finished)
    if not packs and not groups:
        return Plan([], len(configs), len(runs), finished_runs)
    here = machine()
    packs += [group[start:start + size] for group in groups.values()
              for size in [runs_per_pack or members(group, here)] for start in range(0, len(group), size)]
    timed = sorted((Pack(pack, seconds(pack, here)) for pack in packs), key=lambda pack: pack.seconds, reverse=True)
    return Plan(timed, len(configs), len(runs), finished_runs)


def _group(config: Config) -> tuple[object, ...]:
    """What the runs of a pack share: the signature, and what one process has one of."""
    return (signature(config), config.store, config.device, config.engine, chosen_engine(config), config.study,
            str(config.tracker))
