"""Runs as packs: each run once, finished ones left out, grouped by static signature, cut to size."""

import math
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ovpnet.engine.choice import chosen_engine
from ovpnet.engine.cost import EXAMPLE, Machine, members, memory, seconds
from ovpnet.spec.config import Config
from ovpnet.spec.identity import run_id, signature


@dataclass(frozen=True)
class Pack:
    """Runs that one process trains as an ensemble."""

    configs: list[Config]
    seconds: float  # predicted

    @property
    def cost(self) -> float:
        """Predicted seconds of a step of one member, all that is measured included."""
        return self.seconds / (self.configs[0].total_steps * len(self.configs))

    @property
    def memory(self) -> int:
        """Predicted bytes, on the device and on the host together."""
        return memory(self.configs)


def packed(configs: Sequence[Config], finished: AbstractSet[str], runs_per_pack: int | None = None,
           begun: Sequence[Sequence[str]] = (), machine: Callable[[], Machine] = lambda: EXAMPLE,
           pack_seconds: float | None = None) -> list[Pack]:
    """Return packs of the runs that are not finished, longest first.

    `begun` are the run_ids of packs that have a checkpoint: those of which no run is finished are packs again.
    `machine` says what the packs are trained on; it is asked only if there are any. A new pack fits its memory, and has
    at most `runs_per_pack` runs and a predicted time of at most `pack_seconds`; but always at least one run.
    """
    runs = {run_id(config): config for config in configs}
    left = {run: config for run, config in runs.items() if run not in finished}
    again: list[list[Config]] = []
    for run_ids in begun:
        if left.keys() >= set(run_ids) and len({_group(left[run]) for run in run_ids}) == 1:
            again.append([left.pop(run) for run in run_ids])
    groups: dict[tuple[object, ...], list[Config]] = {}
    for config in left.values():
        groups.setdefault(_group(config), []).append(config)
    packs: list[Pack] = []
    if again or groups:
        here, limit = machine(), math.inf if pack_seconds is None else pack_seconds
        packs = [Pack(pack, seconds(pack, here)) for pack in again]
        for group in groups.values():
            # A run that fits no pack is one of its own, and does not make those of the others small.
            alone = {samples for samples, config in {config.samples: config for config in group}.items()
                     if memory([config]) > here.memory or seconds([config], here) > limit}
            packs += [Pack([config], seconds([config], here)) for config in group if config.samples in alone]
            if rest := [config for config in group if config.samples not in alone]:
                packs += _cut(rest, members(rest, here, runs_per_pack, limit), here, limit)
    packs.sort(key=lambda pack: pack.seconds, reverse=True)
    return packs


def _cut(configs: Sequence[Config], size: int, machine: Machine, limit: float) -> Iterator[Pack]:
    """Packs of at most this many of the runs, halved where their own mixture of seeds takes more than `members` saw."""
    for start in range(0, len(configs), size):
        runs = list(configs[start:start + size])
        pack = Pack(runs, seconds(runs, machine))
        if len(runs) > 1 and (pack.seconds > limit or pack.memory > machine.memory):
            yield from _cut(runs, (len(runs) + 1) // 2, machine, limit)
        else:
            yield pack


def _group(config: Config) -> tuple[object, ...]:
    """What the runs of a pack share: the signature, and what one process has one of."""
    return (signature(config), config.store, config.device, config.engine, chosen_engine(config), config.study,
            str(config.tracker))
