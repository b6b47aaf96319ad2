"""The feed of chunks: what an engine is given for some consecutive steps of an ensemble."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ovpnet.engine.limits import CHUNK_STEPS
from ovpnet.engine.steps import Chunk
from ovpnet.problem.streams import Stream
from ovpnet.training.members import Members
from ovpnet.training.perturbation import StepDraws
from ovpnet.training.schedule import learning_rates, minibatches


class Feed:
    """Makes chunks of minibatches and learning rates; with `perturbed`, of what Algorithms 2 and 3 draw besides.

    If the average over iterates is judged, each step has fresh samples on which its iterate is tested. In one pass
    every minibatch is fresh when it comes, and measures the population risk itself.
    """

    def __init__(self, members: Members, perturbed: StepDraws | None = None):
        self._members, self._perturbed = members, perturbed
        algorithm = members.shared.algorithm
        self._tested = algorithm.judged == "average" and algorithm.sampling != "one_pass"
        self._table: tuple[int, Tensor] | None = None  # a step, and the minibatches of the steps from there on

    def chunk(self, block: int, start: int, stop: int) -> Chunk:
        """Return the steps [start, stop), the chunk number `block` of a run."""
        members, index = self._members, self._minibatches(start, stop)
        lr = np.stack([learning_rates(config, start, stop) for config in members.configs])
        fresh: tuple[Tensor | None, Tensor | None] = (None, None)
        if self._tested:
            x, y = members.fresh(Stream.MONITOR, index.shape[1] * index.shape[2], block)
            fresh = x.view(*index.shape, -1), y.view(*index.shape, -1)
        chunk = Chunk(members.x, members.y, index, members.put(torch.from_numpy(lr)), *fresh)
        if (perturbed := self._perturbed) is not None:
            chunk = replace(chunk, scale=perturbed.scale(start, stop),
                            perturbation=lambda step: perturbed.draw(start + step))
        return chunk

    def _minibatches(self, start: int, stop: int) -> Tensor:
        """Return indices [E, S, B] of the steps of a chunk: a part of the table of CHUNK_STEPS steps that it lies in.

        If evaluations are many and chunks short, a GPU would wait for the many small launches that make a table.
        """
        first = start // CHUNK_STEPS * CHUNK_STEPS
        if self._table is None or self._table[0] != first:
            self._table = None  # two of them would take twice the memory
            last = min(first + CHUNK_STEPS, self._members.shape.steps)
            self._table = first, minibatches(self._members.configs, first, last, self._members.device)
        return self._table[1][:, start - first:stop - first]
