"""The targets of Figures 1 and 2 (Section 7)."""

import math
from typing import TYPE_CHECKING

from ovpnet.problem.series import Layer, Series
from ovpnet.spec.activation import Activation, activation_of
from ovpnet.spec.choices import Concept, concept

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ovpnet.problem.sets import Weights


class _Figure(Concept):
    """A target of 4 inputs without weights: (phi(x1) + phi(x2) + phi(x3) - 2)^2 phi2(x4)."""

    outputs = 1
    dimension = 4
    in_class = True  # as Section 7 counts it, though the series of tanh 8z does not converge on all of [-1, 1]
    pure_noise = False

    def draw(self, rng: "np.random.Generator", d: int) -> "Weights":
        return {}

    def project(self, weights: "Weights") -> "Weights":
        return {}


@concept("figure1")
class Figure1(_Figure):
    """Section 7, Figure 1: (sin 3x1 + sin 3x2 + sin 3x3 - 2)^2 cos 7x4."""

    def series(self, d: int) -> Series:
        return _series(activation_of("sin", 3), activation_of("cos", 7))

    def evaluate(self, weights: "Weights", x: "Tensor") -> "Tensor":
        return ((3 * x[..., :3]).sin().sum(dim=-1, keepdim=True) - 2) ** 2 * (7 * x[..., 3:4]).cos()


@concept("figure2")
class Figure2(_Figure):
    """Section 7, Figure 2: (tanh 8x1 + tanh 8x2 + tanh 8x3 - 2)^2 tanh 8x4."""

    def series(self, d: int) -> Series:
        return _series(activation_of("tanh", 8), activation_of("tanh", 8))

    def evaluate(self, weights: "Weights", x: "Tensor") -> "Tensor":
        return ((8 * x[..., :3]).tanh().sum(dim=-1, keepdim=True) - 2) ** 2 * (8 * x[..., 3:4]).tanh()


def _series(phi: Activation, phi2: Activation) -> Series:
    """Return three terms phi, one phi2, and Phi(z) = (s - 2)^2 of the sum s = sqrt(3) z, as ||v_1|| = 1 in (4.1)
    (footnote 16)."""
    outer = activation_of("poly", math.sqrt(3), [4, -4, 1])
    return Series(Layer((phi,) * 3), ("concept.family", 1), Layer((phi2,)), Layer((outer,)))
