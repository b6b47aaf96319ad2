"""What every learner offers to the algorithms and engines."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

Weights = dict[str, Tensor]


class Learner(Protocol):
    """A network f: R^d -> R^k of width m, of which the matrices named in `trained` are trained."""

    trained: tuple[str, ...]

    def init(self, rng: np.random.Generator, m: int, d: int, k: int, a_std: float) -> Weights:
        """Random initialization of one member, float64, without the ensemble axis."""
        ...

    def output(self, weights: Weights, x: Tensor) -> Tensor:
        """f(x) [E, n, k] at x [E, n, d]."""
        ...

    def output_and_gradient(self, weights: Weights, x: Tensor) -> "tuple[Tensor, Pullback]":
        """f(x) and the map from dL/df [E, n, k] to dL/dweights, with ReLU's derivative at z taken as 1[z >= 0]."""
        ...


class Pullback(Protocol):
    """Gradient of sum_n <output_gradient_n, f(x_n)> in every trained matrix."""

    def __call__(self, output_gradient: Tensor) -> Weights: ...


def gaussian(rng: np.random.Generator, std: float, *shape: int) -> Tensor:
    """Independent N(0, std^2) entries, float64."""
    return torch.from_numpy(std * rng.standard_normal(shape))
