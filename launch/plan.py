"""A sweep as packs: each run once, finished ones left out, grouped by static signature, cut to size."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ovpnet.config import Config, run_id, signature, total_steps
from ovpnet.engine_choice import chosen_engine

# Activations [E, B, m] of one step that still stay in the cache of a CPU core: larger ensembles run no faster per
# member, and smaller ones waste calls.
_CACHED_ACTIVATIONS = 1 << 18
_MOST_MEMBERS = 512
# Entries of the largest tensors of a pack (training sets [E, N, d + k], kernels): half a gigabyte in float64.
_SAMPLE_ENTRIES = 1 << 26


@dataclass(frozen=True)
class Pack:
    """Runs that one process trains as an ensemble."""

    configs: list[Config]

    @property
    def cost(self) -> float:
        """Time of one step of one member, in any unit: its multiplications, and a share of the fixed cost of a call."""
        config = self.configs[0]
        per_sample = config.width * (config.inputs.d + config.concept.k)
        if config.learner.name == "three_layer":
            per_sample += config.width**2
        if config.algorithm.name == "kernel_ridge":  # the kernel, and its eigendecomposition in about 10 N^3
            samples = max(each.samples for each in self.configs)
            return samples * per_sample + samples**2 * (config.width + 10 * samples)
        if chosen_engine(config) == "dual":
            per_sample = config.samples
        return config.batch_size * per_sample + 1e5 / len(self.configs)

    @property
    def work(self) -> float:
        """Time of the pack, in the unit of `cost`."""
        return self.cost * total_steps(self.configs[0]) * len(self.configs)


@dataclass(frozen=True)
class Plan:
    """What a sweep comes to."""

    packs: list[Pack]
    asked: int  # configs
    distinct: int  # runs
    finished: int  # of these, already in the store


def plan(configs: Sequence[Config], finished: AbstractSet[str], runs_per_pack: int | None = None,
         begun: Sequence[Sequence[str]] = ()) -> Plan:
    """Packs of the runs that are not finished, longest first.

    `begun` are the run_ids of packs that have a checkpoint: those of which no run is finished are packs again.
    """
    runs = {run_id(config): config for config in configs}
    left = {run: config for run, config in runs.items() if run not in finished}
    packs = []
    for run_ids in begun:
        if left.keys() >= set(run_ids) and len({_group(left[run]) for run in run_ids}) == 1:
            packs.append(Pack([left.pop(run) for run in run_ids]))
    groups: dict[tuple[object, ...], list[Config]] = {}
    for config in left.values():
        groups.setdefault(_group(config), []).append(config)
    packs += [Pack(group[start:start + size]) for group in groups.values()
              for size in [runs_per_pack or _members(group)] for start in range(0, len(group), size)]
    packs.sort(key=lambda pack: pack.work, reverse=True)
    return Plan(packs, len(configs), len(runs), len(runs.keys() & finished))


def _group(config: Config) -> tuple[object, ...]:
    """What the runs of a pack share: the signature, and what one process has one of."""
    return (signature(config), config.store, config.device, config.engine, chosen_engine(config), config.study,
            str(config.tracker))


def _members(group: Sequence[Config]) -> int:
    """How many runs of one signature to train side by side."""
    config, samples = group[0], max(config.samples for config in group)
    members = min(_MOST_MEMBERS, _SAMPLE_ENTRIES // (samples * (config.inputs.d + config.concept.k)))
    if chosen_engine(config) == "dual" or config.algorithm.name == "kernel_ridge":
        # Both keep kernels, and all samples' activations at once; a step of the dual engine is small whatever m.
        weights = config.width * (config.width if config.learner.name == "three_layer" else config.inputs.d)
        members = min(members, _SAMPLE_ENTRIES // (samples**2 + samples * config.width + weights))
    else:
        members = min(members, _CACHED_ACTIVATIONS // (config.batch_size * config.width))
    return max(1, members)
