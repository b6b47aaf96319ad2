"""The interface of an engine, and the shape of a pack that it is asked about. No torch here.

A new engine is a file of `ovpnet/engine/engines/` with one class.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from ovpnet.engine.limits import CHUNK_STEPS, EVALUATED_ACTIVATIONS, FEWEST_EVALUATED
from ovpnet.engine.rates import Machine
from ovpnet.engine.sizes import Sizes
from ovpnet.problem.streams import KEPT_DRAWS
from ovpnet.spec.config import Config

if TYPE_CHECKING:
    import torch

    from ovpnet.engine.steps import Stepper

# Libraries' buffers and the allocator's own.
_FIXED_BYTES = 8 << 20
# Seconds that a pack takes whatever its runs, and that a member's row of a learning curve does: Python's part.
_PACK_SECONDS, _ROW_SECONDS = 0.02, 3e-5


class Engine(ABC):
    """A way to take the steps of an ensemble: what it covers, what it costs, and what takes the steps.

    The counts follow the code of the engine. Everything but `lacks_on` and `stepper` is asked where runs are planned,
    which must not import torch.
    """

    name: str  # the value of the key `engine`; the registry sets it

    @abstractmethod
    def lacks(self, config: Config) -> str | None:
        """Return what of the run the engine has no form for, as KEY=VALUE; None if it covers the run."""

    @abstractmethod
    def lacks_on(self, config: Config, device: str) -> str | None:
        """Return why a run that the engine covers cannot be trained here on a `cpu` or `cuda`; None if it can."""

    @abstractmethod
    def work(self, config: Config) -> float:
        """Count the multiplications and the numbers read of a whole run: `auto` takes the engine of the least work.

        An engine that `auto` is never to take says infinity.
        """

    @abstractmethod
    def step_bytes(self, shape: "Shape") -> int:
        """Return the bytes of all members that a step takes besides data, weights and velocity."""

    @abstractmethod
    def evaluated_activations(self, shape: "Shape") -> int:
        """Return how many activations per sample are in memory while a risk is measured: as `Stepper.measured` has."""

    @abstractmethod
    def step_seconds(self, shape: "Shape", machine: Machine) -> float:
        """Return the seconds of one step of all members."""

    @abstractmethod
    def stepper(self, device: "torch.device") -> "Stepper":
        """Return what takes the steps of one ensemble on a device that `lacks_on` says nothing against."""


@dataclass(frozen=True, eq=False)
class Shape:
    """The runs of a pack and what its cost and its training derive from them, computed once.

    The runs share their signature and their engine; they may differ in the size of the training set.
    """

    configs: Sequence[Config]
    engine: Engine
    steps: int  # of each run
    sizes: Sizes

    @staticmethod
    def of(configs: Sequence[Config], engine: Engine) -> "Shape":
        """Return the shape of runs that this engine trains."""
        return Shape(configs, engine, configs[0].total_steps, Sizes(configs[0]))

    def part(self, configs: Sequence[Config]) -> "Shape":
        """Return the shape of some of the runs, in this order."""
        return replace(self, configs=configs)

    @property
    def shared(self) -> Config:
        """A config that is read only for what is in the signature."""
        return self.configs[0]

    @property
    def members(self) -> int:
        """The number of runs that are trained side by side."""
        return len(self.configs)

    @cached_property
    def samples(self) -> int:
        """The size of the largest training set, to which the others are padded."""
        return max(config.samples for config in self.configs)

    @cached_property
    def groups(self) -> int:
        """The number of groups of members that share data and features."""
        return len({(config.seed, config.samples, config.concept.seed, config.noise.level) for config in self.configs})

    @property
    def activations(self) -> int:
        """The number of activations per sample of the widest hidden layer; at infinite width, of kernel entries."""
        return self.samples if self.sizes.limit else max(self.sizes.neurons)

    @cached_property
    def memory(self) -> int:
        """The bytes that training takes at its peak, on its device and on the host together."""
        config, sizes, E, s = self.shared, self.sizes, self.members, self.sizes.itemsize
        test, inputs, limit = config.test, sizes.inputs, sizes.limit
        kept = s * inputs * (self.samples + test.curve_samples) + s * config.evaluations * test.curve_samples
        if limit:
            kept += s * self.samples * inputs
        else:
            kept += s * (sizes.weights + (1 if sizes.frozen else 2) * sizes.trained)
        drawn = max(test.samples, self.samples)
        fixed = _FIXED_BYTES + 8 * inputs * drawn * min(E, KEPT_DRAWS)
        drawing = 0 if limit else 8 * (sizes.weights + sizes.hidden)  # a member's weights, in float64
        alive = self.engine.evaluated_activations(self)
        block = max(FEWEST_EVALUATED, EVALUATED_ACTIVATIONS // (E * alive))
        of_block = min(block, drawn) * s * alive * sizes.forward_entries
        measuring = E * (s * (test.samples * inputs + (0 if limit else sizes.weights)) + of_block)
        training = self._stepping() if config.algorithm.iterative else self._solving()
        return int(fixed + E * kept + max(drawing, measuring, training))

    def seconds(self, machine: Machine) -> float:
        """Return the seconds of training the runs as one ensemble and measuring them."""
        config, sizes, rates = self.shared, self.sizes, machine.rates
        slow = sizes.itemsize / 4
        measured = config.evaluations * config.test.curve_samples + 2 * config.test.samples + self.samples
        # A net of frozen signs is computed at initialization and at its weights, the linearization in one product more.
        ways = {"quadratic": 2, "ntk": 3 if sizes.layers == 2 else 2}.get(config.learner.trained, 1)
        forward = ways * rates.forward * sum(sizes.neurons)
        if sizes.layers == 2:
            forward += ways * 2 * rates.flop * sizes.squares
        if sizes.limit:
            forward = 10 * rates.forward * self.samples
        drawing = rates.sample * sizes.inputs * (config.test.curve_samples + 2 * config.test.samples + self.samples)
        if not config.algorithm.iterative:
            n, side = self.samples, self._side
            training = self.groups * (rates.eigen * side**3 + 4 * rates.flop * n * side * max(*sizes.neurons, side))
        else:
            training = self.steps * self.step_seconds(machine)
        looks = math.ceil(self.steps / CHUNK_STEPS) + config.evaluations
        rows = config.evaluations * _ROW_SECONDS
        return (_PACK_SECONDS + looks * rates.look + training
                + self.members * (slow * measured * forward + drawing + rows))

    def step_seconds(self, machine: Machine) -> float:
        """Return the seconds of one step of all members."""
        return self.engine.step_seconds(self, machine)

    @property
    def _side(self) -> int:
        """The number of rows of the matrix that is decomposed for kernel ridge regression."""
        return self.samples if self.sizes.limit else min(self.samples, self.sizes.trained)

    def _solving(self) -> int:
        """Count the bytes of kernel ridge regression: a group's matrix, its eigenvectors and workspace, in float64."""
        n, side, sizes = self.samples, self._side, self.sizes
        features = n * (max(sizes.neurons) * 2 * sizes.layers if side == n else 2 * sizes.trained)
        return 8 * (5 * side * side + features) + 2 * 8 * self.members * sizes.trained

    def _stepping(self) -> int:
        """Count the bytes of steps: the minibatch table of a chunk, and what the engine takes."""
        table = 8 * min(CHUNK_STEPS, self.steps) * self.shared.batch_size * 2
        return self.members * table + self.engine.step_bytes(self)
