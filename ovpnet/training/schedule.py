"""The samples and the learning rate that each SGD step of a run takes."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ovpnet import native
from ovpnet.engine.limits import CHUNK_STEPS
from ovpnet.problem.philox import words
from ovpnet.problem.streams import Stream
from ovpnet.spec.config import Config


def evaluation_steps(steps: int, evaluations: int) -> list[int]:
    """Return the steps after which the learning curve has a point: evenly spread, the last one at the end."""
    return sorted({max(1, round(steps * point / evaluations)) for point in range(1, evaluations + 1)})


def chunks(steps: int, evaluations: int) -> list[tuple[int, int]]:
    """Return the chunks [start, stop) of a run: they end at every evaluation and are at most CHUNK_STEPS long."""
    ends = sorted({*evaluation_steps(steps, evaluations), *range(CHUNK_STEPS, steps, CHUNK_STEPS)})
    return list(itertools.pairwise([0, *ends]))


def minibatches(configs: Sequence[Config], start: int, stop: int, device: torch.device) -> Tensor:
    """Return indices [E, stop - start, B] into the members' training sets for the steps [start, stop).

    They do not depend on how the steps are cut. They are made on the device, from random words at counted positions.
    The members share their signature.
    """
    size = configs[0].batch_size
    first, last = start * size, stop * size
    # Members that differ in lr or weight decay only take the same minibatches.
    distinct = {key: place for place, key in enumerate(dict.fromkeys((each.seed, each.samples) for each in configs))}
    seeds, samples = (torch.tensor(each, device=device) for each in zip(*distinct, strict=True))
    sampling = configs[0].algorithm.sampling
    match sampling:
        case "one_pass":
            taken = torch.arange(first, last, device=device).expand(len(seeds), -1)
        case _ if device.type == "cpu" and native.library() is not None:
            taken = native.minibatches(seeds, samples, first, last, sampling == "shuffle")
        case "replacement":
            taken = words(seeds, Stream.MINIBATCH, torch.zeros_like(seeds), first, last) * samples[:, None] >> 32
        case "shuffle":
            taken = seeds.new_empty(len(seeds), last - first)
            for n in samples.unique().tolist():
                taken[samples == n] = _shuffled(seeds[samples == n], n, first, last)
    which = torch.tensor([distinct[each.seed, each.samples] for each in configs], device=device)
    return taken[which].view(len(configs), -1, size)


def _shuffled(seeds: Tensor, n: int, first: int, last: int) -> Tensor:
    """Return the samples `first` to `last` [E, last - first] of epochs that follow each other without a gap.

    So a minibatch may end one and begin the next. The order of an epoch sorts random words, a block per epoch.
    """
    epochs = torch.arange(first // n, (last - 1) // n + 1, device=seeds.device)
    order = words(seeds[:, None], Stream.MINIBATCH, epochs, 0, n).argsort(dim=-1, stable=True).flatten(1)
    return order[:, first - first // n * n:][:, :last - first]


def learning_rates(config: Config, start: int, stop: int) -> np.ndarray:
    """Return eta [stop - start] of the steps [start, stop): lr, or lr / m.

    It is multiplied by decay_factor after the part decay_at of the steps.
    """
    base = config.step_size
    decayed = np.arange(start, stop) >= config.algorithm.decay_at * config.total_steps
    return np.where(decayed, base * config.algorithm.decay_factor, base)
