"""The members of an ensemble: what each run brings to it, side by side on one device."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ovpnet.engine.base import Shape
from ovpnet.engine.steps import Rule, State
from ovpnet.nets.base import Weights, initial
from ovpnet.nets.regularization import Penalties, coefficients, penalties
from ovpnet.problem.data import Problem
from ovpnet.problem.streams import Stream, generator
from ovpnet.spec.identity import signature


class Members:
    """Runs [E] with their training sets, nets and numbers. Raises ValueError if their signatures differ."""

    def __init__(self, shape: Shape, device: torch.device):
        if len({signature(config) for config in shape.configs}) != 1:
            raise ValueError("the members of an ensemble must share one static signature")
        self.shape, self.configs, self.shared, self.device = shape, shape.configs, shape.shared, device
        self.dtype: torch.dtype = getattr(torch, self.shared.dtype)
        self.net, self.loss = self.shared.learner.net(), self.shared.loss
        problems: dict[str, Problem] = {}
        self.problems = [problems.setdefault(Problem.key(config), Problem(config)) for config in self.configs]
        # The training sets, x [E, N, d] and y [E, N, k].
        self.x, self.y = self.samples(range(len(self.configs)), Stream.DATA, [each.samples for each in self.configs])

    def samples(self, members: Sequence[int], stream: Stream, sizes: Sequence[int],
                block: int = 0) -> tuple[Tensor, Tensor]:
        """Return samples of some members, x [E, N, d] and y [E, N, k], padded with zeros to the largest N."""
        # Put together on the host: to a GPU one large copy takes less than one per member.
        x, y = (torch.zeros(len(members), max(sizes), width, dtype=self.dtype)
                for width in (self.shared.inputs.d, self.shared.concept.k))
        for place, (e, size) in enumerate(zip(members, sizes, strict=True)):
            x[place, :size], y[place, :size] = self.problems[e].sample(self.configs[e].seed, stream, size, block)
        return self.put(x), self.put(y)

    def fresh(self, stream: Stream, size: int, block: int = 0) -> tuple[Tensor, Tensor]:
        """Return so many samples of every member, x [E, size, d] and y [E, size, k]."""
        return self.samples(range(len(self.configs)), stream, [size] * len(self.configs), block)

    def rule(self) -> Rule:
        """Return what a step does."""
        momentum = self._numbers([config.algorithm.momentum for config in self.configs])
        return Rule(self.net, self.loss, self._penalties(), momentum)

    def initial_state(self) -> State:
        """Return the members at initialization."""
        k, d = self.shared.concept.k, self.shared.inputs.d
        weights: Weights = {}
        for e, config in enumerate(self.configs):
            member = self.net.init(generator(config.seed, Stream.INIT), config.width, d, k,
                                   config.learner.output_std(config), config.second_width)
            if not weights:
                weights = {name: self._empty(*value.shape) for name, value in member.items()}
            for name, value in member.items():
                weights[name][e] = value
        velocity = {name: torch.zeros_like(weights[name]) for name in self.net.trained}
        # Learners whose signs are frozen keep W and V at initialization among their weights.
        start = {name: weights[initial(name)] if initial(name) in weights else weights[name].clone()
                 for name in self.net.trained}
        return State(weights, velocity, start)

    def put(self, value: Tensor) -> Tensor:
        """Move a tensor to the device and, if it has a fraction, to the dtype of training."""
        return value.to(self.device, self.dtype if value.is_floating_point() else None)

    def _penalties(self) -> Penalties:
        each = [coefficients(config) for config in self.configs]
        return penalties(self.shared.regularizer, self.net.trained,
                         {layer: self._numbers([member[layer] for member in each]) for layer in each[0]})

    def _numbers(self, values: Sequence[float]) -> Tensor:
        """Return a number per member, [E]."""
        return self.put(torch.tensor(values, dtype=torch.float64))

    def _empty(self, *shape: int) -> Tensor:
        """Return a tensor [E, *shape], not set."""
        return torch.empty(len(self.configs), *shape, dtype=self.dtype, device=self.device)
