"""The dual engine: SGD of a learner that is linear in what it trains, through its kernel."""

import math
from typing import TYPE_CHECKING

from ovpnet.engine.base import Engine, Shape
from ovpnet.engine.engines.reference import PASSES
from ovpnet.engine.limits import CHUNK_STEPS
from ovpnet.engine.rates import Machine, at
from ovpnet.engine.registry import engine
from ovpnet.engine.sizes import hidden_products
from ovpnet.spec.config import Config

if TYPE_CHECKING:
    import torch

    from ovpnet.engine.steps import Stepper

# Entries of a kernel [N, N], and of the activations [N, m] that it is made of, at most.
_ENTRIES = 1 << 28
# Of all samples at a chunk's end, numbers and signs (a byte) that are alive per neuron: by hidden layers, frozen signs.
_ALIVE = {(1, True): (2, 1), (2, True): (5, 2), (1, False): (1, 1), (2, False): (2, 2)}


@engine("dual")
class Dual(Engine):
    """Covers a linear learner with one Frobenius penalty or none, judged by its last iterate.

    The learner has one output, or trains its last layer.
    """

    def lacks(self, config: Config) -> str | None:
        trained, regularizer = config.learner.trained, config.regularizer
        if not config.algorithm.iterative:
            return f"algorithm={config.algorithm.name}, which takes no steps"
        if trained not in ("last", "ntk"):
            return f"learner.trained={trained}"
        if trained == "ntk" and config.concept.k > 1:
            return f"concept.k={config.concept.k} with learner.trained=ntk"
        layers = config.learner.trained_layers
        if not all(regularizer.quadratic(layer) for layer in layers):
            return f"regularizer={regularizer.name}"
        if len({(getattr(regularizer, layer), getattr(regularizer, f"weight_{layer}")) for layer in layers}) > 1:
            return "different regularizers of the layers"
        if config.algorithm.judged == "average" and config.algorithm.sampling != "one_pass":
            return "algorithm.judged=average"
        return None

    def lacks_on(self, config: Config, device: str) -> str | None:
        return None

    def work(self, config: Config) -> float:
        """Count the kernel, its rows for every step, and the weights after every chunk."""
        N, m, T, products = config.samples, config.width, config.total_steps, hidden_products(config)
        if N * max(N, m) > _ENTRIES:
            return math.inf
        return N**2 * m + (1 + T / CHUNK_STEPS) * N * PASSES * products + T * config.batch_size * N

    def step_bytes(self, shape: Shape) -> int:
        """Count the kernels, one per group, and all samples' activations."""
        sizes, N, s = shape.sizes, shape.samples, shape.sizes.itemsize
        numbers, signs = _ALIVE[sizes.layers, sizes.frozen]
        activations = shape.members * N * max(sizes.neurons) * (numbers * s + signs)
        return shape.groups * N * N * s + activations + 5 * shape.members * s * sizes.trained

    def evaluated_activations(self, shape: Shape) -> int:
        return shape.activations

    def step_seconds(self, shape: Shape, machine: Machine) -> float:
        config, sizes, rates = shape.shared, shape.sizes, machine.rates
        E, G, N, layers = shape.members, shape.groups, shape.samples, sizes.layers
        neurons, widest = sum(sizes.neurons), max(sizes.neurons)
        # A chunk's end: all samples' activations, and two gradients from them.
        passes = 1 if config.learner.trained == "last" else 3
        products = 2 * (6 if layers == 2 and sizes.frozen else 1) * N * sizes.products
        per_chunk = E * (products * rates.flop + passes * N * neurons * at(rates.entry, E * N * widest))
        kernel = G * N * N * neurons * 2 * rates.flop / shape.steps
        entries = G * config.batch_size * N
        return rates.dual + sizes.itemsize / 4 * (
            at(rates.dual_entry, G * N * N) * entries + per_chunk / CHUNK_STEPS + kernel)

    def stepper(self, device: "torch.device") -> "Stepper":
        from ovpnet.engine.steppers.dual import DualStepper

        return DualStepper()
