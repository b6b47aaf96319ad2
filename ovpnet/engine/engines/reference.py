"""The reference engine: batched PyTorch on any device. Every other engine is tested against it."""

from typing import TYPE_CHECKING

from ovpnet.engine.base import Engine, Shape
from ovpnet.engine.rates import Machine, at
from ovpnet.engine.registry import engine
from ovpnet.engine.sizes import hidden_products
from ovpnet.spec.config import Config

if TYPE_CHECKING:
    import torch

    from ovpnet.engine.steps import Stepper

# A step of batched PyTorch reads or writes every activation of a sample about this many times.
PASSES = 10
# Seconds of a trained weight of a step of Algorithms 2 and 3: two Gaussians.
_DRAWING = 2e-8


@engine("reference")
class Reference(Engine):
    """Covers every run on every device."""

    def lacks(self, config: Config) -> str | None:
        return None

    def lacks_on(self, config: Config, device: str) -> str | None:
        return None

    def work(self, config: Config) -> float:
        return config.total_steps * config.batch_size * PASSES * hidden_products(config)

    def step_bytes(self, shape: Shape) -> int:
        config, sizes, s = shape.shared, shape.sizes, shape.sizes.itemsize
        # Activations, their signs (a byte) and gradients; a product with signs makes a copy of them as numbers.
        numbers, signs = (1, 1) if config.learner.trained == "last" else (3, 1)
        if sizes.layers == 2:
            numbers, signs = (2, 2) if config.learner.trained == "last" else (6, 2) if sizes.frozen else (5, 2)
        drawn = 5 if config.algorithm.perturbed else 0
        activations = config.batch_size * max(sizes.neurons) * (numbers * s + signs)
        return shape.members * (activations + (1 + drawn) * s * sizes.trained)

    def evaluated_activations(self, shape: Shape) -> int:
        return shape.activations

    def step_seconds(self, shape: Shape, machine: Machine) -> float:
        config, sizes, E, rates = shape.shared, shape.sizes, shape.members, machine.rates
        B, layers, slow = config.batch_size, sizes.layers, sizes.itemsize / 4
        activations = E * B * sum(sizes.neurons)
        passes = 3 if config.learner.trained != "last" else 1
        products = 2 * E * B * passes * sizes.squares
        time = layers * (rates.call + E * rates.member) + slow * (
            activations * at(rates.entry, activations) * (1.5 if sizes.frozen else 1) + products * rates.flop)
        if layers == 2:
            time += slow * E * sizes.trained * at(rates.weight, E * sizes.trained)
        if config.algorithm.perturbed:
            time += _DRAWING * E * sizes.trained
        return time

    def stepper(self, device: "torch.device") -> "Stepper":
        from ovpnet.engine.steppers.reference import ReferenceStepper

        return ReferenceStepper()
