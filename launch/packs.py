"""Runs as packs: each run once, finished ones left out, grouped by static signature, cut to size."""

import math
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ovpnet.engine.base import Engine, Shape
from ovpnet.engine.choice import chosen
from ovpnet.engine.cost import members
from ovpnet.engine.rates import EXAMPLE, Machine
from ovpnet.spec.config import Config
from ovpnet.spec.identity import run_id, signature


@dataclass(frozen=True)
class Pack:
    """Runs that one process trains as an ensemble."""

    shape: Shape
    seconds: float  # predicted

    @property
    def configs(self) -> Sequence[Config]:
        """The runs."""
        return self.shape.configs

    @property
    def cost(self) -> float:
        """Predicted seconds of a step of one member, all that is measured included."""
        return self.seconds / (self.shape.steps * self.shape.members)

    @property
    def memory(self) -> int:
        """Predicted bytes, on the device and on the host together."""
        return self.shape.memory


def packed(configs: Sequence[Config], finished: AbstractSet[str], runs_per_pack: int | None = None,
           begun: Sequence[Sequence[str]] = (), machine: Callable[[], Machine] = lambda: EXAMPLE,
           pack_seconds: float | None = None) -> list[Pack]:
    """Return packs of the runs that are not finished, longest first.

    `begun` are the run_ids of packs that have a checkpoint: if no run of such a pack is finished, it is a pack again.
    `machine` returns the machine that the packs are trained on; it is called only if there are any. A new pack fits the
    machine's memory. It has at most `runs_per_pack` runs and a predicted time of at most `pack_seconds`, but always at
    least one run.
    """
    runs = {run_id(config): config for config in configs}
    left = {run: config for run, config in runs.items() if run not in finished}
    again: list[list[Config]] = []
    for run_ids in begun:
        if left.keys() >= set(run_ids) and len({_group(left[run]) for run in run_ids}) == 1:
            again.append([left.pop(run) for run in run_ids])
    groups: dict[tuple[Engine, *tuple[object, ...]], list[Config]] = {}
    for config in left.values():
        groups.setdefault(_group(config), []).append(config)
    packs: list[Pack] = []
    if again or groups:
        here, limit = machine(), math.inf if pack_seconds is None else pack_seconds
        packs = [_pack(Shape.of(pack, chosen(pack[0])), here) for pack in again]
        for (engine, *_), group in groups.items():
            whole = Shape.of(group, engine)
            # A run that fits no pack is one of its own, and does not make those of the others small.
            alone = {samples for samples, config in {config.samples: config for config in group}.items()
                     if _too_much(_pack(whole.part([config]), here), here, limit)}
            packs += [_pack(whole.part([config]), here) for config in group if config.samples in alone]
            if rest := [config for config in group if config.samples not in alone]:
                shape = whole.part(rest)
                packs += _cut(shape, members(shape, here, runs_per_pack, limit), here, limit)
    packs.sort(key=lambda pack: pack.seconds, reverse=True)
    return packs


def _cut(shape: Shape, size: int, machine: Machine, limit: float) -> Iterator[Pack]:
    """Yield packs of at most this many of the runs.

    A pack is halved if its mixture of seeds takes more than `members` predicted.
    """
    for start in range(0, shape.members, size):
        pack = _pack(shape.part(shape.configs[start:start + size]), machine)
        if pack.shape.members > 1 and _too_much(pack, machine, limit):
            yield from _cut(pack.shape, (pack.shape.members + 1) // 2, machine, limit)
        else:
            yield pack


def _pack(shape: Shape, machine: Machine) -> Pack:
    return Pack(shape, shape.seconds(machine))


def _too_much(pack: Pack, machine: Machine, limit: float) -> bool:
    return pack.seconds > limit or pack.memory > machine.memory


def _group(config: Config) -> tuple[Engine, *tuple[object, ...]]:
    """Return what the runs of a pack share: the engine, the signature, and the keys that one process has once."""
    return (chosen(config), signature(config), config.store, config.device, config.engine, config.study,
            str(config.tracker))
