"""What every learner offers to the algorithms and engines."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

Weights = dict[str, Tensor]


class Learner(Protocol):
    """A network f: R^d -> R^k of width m, of which the matrices and biases named in `trained` are trained."""

    trained: tuple[str, ...]
    linear: bool  # f is affine in what is trained

    def init(self, rng: np.random.Generator, m: int, d: int, k: int, a_std: float) -> Weights:
        """Random initialization of one member, float64, without the ensemble axis."""
        ...

    def output(self, weights: Weights, x: Tensor) -> Tensor:
        """f(x) [E, n, k] at x [E, n, d]."""
        ...

    def output_and_gradient(self, weights: Weights, x: Tensor) -> "tuple[Tensor, Pullback]":
        """f(x) and the map from dL/df [E, n, k] to dL/dweights, with ReLU's derivative at z taken as 1[z >= 0]."""
        ...

    def kernel(self, weights: Weights, x: Tensor, x2: Tensor) -> Tensor:
        """Of a linear learner: inner products [E, n, n2] of the gradients of f at x [E, n, d] and x2 [E, n2, d].

        The last layer has the same ones for each of its k outputs; the NTK's are those of its single output (k = 1).
        """
        ...


class Pullback(Protocol):
    """Gradient of sum_n <output_gradient_n, f(x_n)> in everything trained."""

    def __call__(self, output_gradient: Tensor) -> Weights: ...


def initial(name: str) -> str:
    """Name of the frozen copy of a weight at initialization: W0, V0, b0, b1_0, b2_0."""
    return f"{name}_0" if name[-1].isdigit() else f"{name}0"


def gaussian(rng: np.random.Generator, std: float, *shape: int) -> Tensor:
    """Independent N(0, std^2) entries, float64."""
    return torch.from_numpy(std * rng.standard_normal(shape))
