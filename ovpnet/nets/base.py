"""The interface that every net offers to the algorithms and engines, and what nets share."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

Weights = dict[str, Tensor]

# Gradients of f at x_1 ... x_n, a pair per layer: those in the layer's pre-activations, [E, n, rows], and what each of
# its trained matrices multiplies, [E, n, columns] (1 for a bias). The gradient in a matrix is their outer product.
Factors = list[tuple[Tensor, Weights]]


class Network(Protocol):
    """The part of a net that risks are measured with."""

    def output(self, weights: Weights, x: Tensor) -> Tensor:
        """Return f(x) [E, n, k] at x [E, n, d]."""
        ...

    def activations(self, weights: Weights) -> int:
        """Return about how many numbers per sample `output` keeps in memory at once."""
        ...


class Net(Network, Protocol):
    """A network f: R^d -> R^k of width m, of which the matrices and biases named in `trained` are trained."""

    trained: tuple[str, ...]
    layers: int  # 2 or 3, the output layer included
    frozen: bool  # ReLU's signs are those at initialization, whose weights are kept among the net's own

    @property
    def linear(self) -> "LinearNet | None":
        """The net itself if f is affine in what is trained, else None."""
        ...

    def approximations(self) -> "tuple[Net, Net]":
        """Return the linear and the quadratic approximation at initialization (Section 6.2).

        Their weights are the net's own, with the frozen copies of those at initialization (`initial`) beside them.
        """
        ...

    def init(self, rng: np.random.Generator, m: int, d: int, k: int, a_std: float, m2: int | None = None) -> Weights:
        """Return the random initialization of one member, float64, without the ensemble axis.

        `a_std` is the standard deviation of the output weights, and `m2` the width of a second hidden layer: m if None.
        """
        ...

    def output_and_gradient(self, weights: Weights, x: Tensor) -> "tuple[Tensor, Pullback]":
        """Return f(x) and the map from dL/df [E, n, k] to dL/dweights; ReLU's derivative at z is 1[z >= 0]."""
        ...


class PlainNet(Net, Protocol):
    """A net of finite width: f_r(x) = <a_r, h(x)>, h the last hidden layer's activations."""

    def features(self, weights: Weights, x: Tensor) -> Tensor:
        """Return h(x) [E, n, m]."""
        ...


class LinearNet(Net, Protocol):
    """A net that is affine in what it trains: it has a kernel, which training leaves as it is."""

    def kernel(self, weights: Weights, x: Tensor, x2: Tensor) -> Tensor:
        """Return the inner products [E, n, n2] of the gradients of f at x [E, n, d] and x2 [E, n2, d].

        The last layer has the same ones for each of its k outputs; the NTK's are those of its single output (k = 1).
        """
        ...

    def factors(self, weights: Weights, x: Tensor) -> Factors | None:
        """Return the gradients of f at x [E, n, d]: of its single output (NTK), or of one output in its own row of a.

        They are None at infinite width, where only their inner products exist.
        """
        ...


class Pullback(Protocol):
    """The gradient of sum_n <output_gradient_n, f(x_n)> in everything trained."""

    def __call__(self, output_gradient: Tensor) -> Weights: ...


def initial(name: str) -> str:
    """Return the name of the frozen copy of a weight at initialization: W0, V0, b0, b1_0, b2_0."""
    return f"{name}_0" if name[-1].isdigit() else f"{name}0"


def gram(factors: Factors, factors2: Factors, scales: Mapping[str, float] | None = None) -> Tensor:
    """Return the inner products [E, n, n2] of the gradients; those in a matrix with a scale count that many times."""
    total = None
    for (outer, inputs), (outer2, inputs2) in zip(factors, factors2, strict=True):
        product = sum((each @ inputs2[name].mT) * (1 if scales is None else scales[name])
                      for name, each in inputs.items())
        product = (outer @ outer2.mT).mul_(product)
        total = product if total is None else total.add_(product)
    assert total is not None
    return total


def ones(x: Tensor) -> Tensor:
    """Return ones [E, n, 1] for x [E, n, d]: the input that a bias multiplies."""
    return x.new_ones(1, 1, 1).expand(*x.shape[:2], 1)


def gaussian(rng: np.random.Generator, std: float, *shape: int) -> Tensor:
    """Draw independent N(0, std^2) entries, float64."""
    return torch.from_numpy(std * rng.standard_normal(shape))
