"""Which samples and which learning rate each SGD step of a run takes."""

import itertools

import numpy as np

from ovpnet.config import Config, step_size, total_steps
from ovpnet.streams import Stream, generator

# Steps between two looks at the ensemble, at most: bounds the memory of the minibatch table.
CHUNK_STEPS = 512


def evaluation_steps(steps: int, evaluations: int) -> list[int]:
    """Steps after which the learning curve has a point: evenly spread, the last one at the end."""
    return sorted({max(1, round(steps * point / evaluations)) for point in range(1, evaluations + 1)})


def chunks(steps: int, evaluations: int) -> list[tuple[int, int]]:
    """[start, stop) of the chunks of a run: they end at every evaluation and are at most CHUNK_STEPS long."""
    ends = sorted({*evaluation_steps(steps, evaluations), *range(CHUNK_STEPS, steps, CHUNK_STEPS)})
    return list(itertools.pairwise([0, *ends]))


def minibatches(config: Config, start: int, stop: int) -> np.ndarray:
    """Indices [stop - start, B] into the training set for the steps [start, stop), however these are cut."""
    n, size = config.samples, config.batch_size
    match config.algorithm.sampling:
        case "one_pass":
            flat = np.arange(start * size, stop * size)
        case "replacement":
            first, last = start // CHUNK_STEPS, (stop - 1) // CHUNK_STEPS
            blocks = [generator(config.seed, Stream.MINIBATCH, block).integers(n, size=CHUNK_STEPS * size)
                      for block in range(first, last + 1)]
            flat = np.concatenate(blocks)[(start - first * CHUNK_STEPS) * size:(stop - first * CHUNK_STEPS) * size]
        case "shuffle":
            # Epochs follow each other without a gap: a minibatch may end one and begin the next.
            first, last = start * size // n, (stop * size - 1) // n
            orders = [generator(config.seed, Stream.MINIBATCH, epoch).permutation(n)
                      for epoch in range(first, last + 1)]
            flat = np.concatenate(orders)[start * size - first * n:stop * size - first * n]
    return flat.reshape(-1, size)


def learning_rates(config: Config, start: int, stop: int) -> np.ndarray:
    """eta [stop - start] of the steps [start, stop): lr, or lr / m, times decay_factor after decay_at of the steps."""
    base = step_size(config)
    decayed = np.arange(start, stop) >= config.algorithm.decay_at * total_steps(config)
    return np.where(decayed, base * config.algorithm.decay_factor, base)
