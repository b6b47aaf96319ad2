"""Noise that is added to labels that are numbers."""

from typing import TYPE_CHECKING

from ovpnet.spec.choices import Noise, noise

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Additive(Noise):
    """Noise of numbers alone."""

    of_numbers = True
    of_classes = False

    def change(self, classes: "Tensor", count: int, uniform: "Tensor") -> "Tensor":
        raise ValueError(f"noise={self.kind} cannot change classes")


@noise("gaussian")
class Gaussian(Additive):
    """N(0, level^2)."""

    variance = 1.0

    def add(self, values: "Tensor", rng: "np.random.Generator") -> "Tensor":
        return values + values.new_tensor(self.level * rng.standard_normal(tuple(values.shape)))


@noise("uniform")
class Uniform(Additive):
    """U[-level, level]."""

    variance = 1 / 3

    def add(self, values: "Tensor", rng: "np.random.Generator") -> "Tensor":
        return values + values.new_tensor(rng.uniform(-self.level, self.level, tuple(values.shape)))
