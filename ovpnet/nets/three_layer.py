"""Three-layer ReLU network (Section 4): f_r(x) = <a_r, relu(V relu(W x + b1) + b2)>, of widths m1 and m2."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ovpnet.nets.base import Factors, LinearNet, Net, PlainNet, Pullback, Weights, gaussian, initial, ones
from ovpnet.nets.linear import FiniteLinearNet, LastLayerNet


class ThreeLayerNet(PlainNet):
    """W [E, m1, d], b1 [E, m1], V [E, m2, m1], b2 [E, m2], a [E, k, m2].

    Trained: W and V, with `biases` also b1 and b2 (`hidden`); or `all`.
    """

    layers = 3
    frozen = False

    def __init__(self, trained: str, biases: bool = False):
        self.trained: tuple[str, ...] = {"hidden": _hidden(biases), "all": ("W", "b1", "V", "b2", "a")}[trained]

    @property
    def linear(self) -> LinearNet | None:
        return None

    def approximations(self) -> tuple[Net, Net]:
        return LinearizedThreeLayerNet(), FrozenThreeLayerNet()

    def init(self, rng: np.random.Generator, m: int, d: int, k: int, a_std: float, m2: int | None = None) -> Weights:
        """Draw W, b1 ~ N(0, 1/m1), V, b2 ~ N(0, 1/m2) entrywise, a_r ~ N(0, a_std^2) (Section 4), with m1 = m."""
        m2 = m if m2 is None else m2
        return {"W": gaussian(rng, m**-0.5, m, d), "b1": gaussian(rng, m**-0.5, m),
                "V": gaussian(rng, m2**-0.5, m2, m), "b2": gaussian(rng, m2**-0.5, m2),
                "a": gaussian(rng, a_std, k, m2)}

    def output(self, weights: Weights, x: Tensor) -> Tensor:
        return self.features(weights, x) @ weights["a"].mT

    def activations(self, weights: Weights) -> int:
        return max(weights["V"].shape[1:])

    def features(self, weights: Weights, x: Tensor) -> Tensor:
        """Return relu(V relu(W x + b1) + b2) [E, n, m2]."""
        first = _affine(x, weights["W"], weights["b1"]).relu_()
        return _affine(first, weights["V"], weights["b2"]).relu_()

    def output_and_gradient(self, weights: Weights, x: Tensor) -> tuple[Tensor, Pullback]:
        z1 = _affine(x, weights["W"], weights["b1"])
        active1 = z1 >= 0
        first = z1.relu_()
        z2 = _affine(first, weights["V"], weights["b2"])
        active2 = z2 >= 0
        second = z2.relu_()

        def pullback(output_gradient: Tensor) -> Weights:
            gradients = {}
            if "a" in self.trained:
                gradients["a"] = output_gradient.mT @ second
            z2_gradient = (output_gradient @ weights["a"]).mul_(active2)
            z1_gradient = (z2_gradient @ weights["V"]).mul_(active1)
            gradients |= {"W": z1_gradient.mT @ x, "b1": z1_gradient.sum(1),
                          "V": z2_gradient.mT @ first, "b2": z2_gradient.sum(1)}
            return {name: gradients[name] for name in self.trained}

        return second @ weights["a"].mT, pullback


class LastLayerThreeLayerNet(LastLayerNet, ThreeLayerNet):
    """The net of which a alone is trained."""


class FrozenThreeLayerNet(ThreeLayerNet):
    """The net with its signs D_w, D_v frozen at initialization (Section 6.2). Trained: W and V, with `biases` b1, b2.

    It is the pseudo network, f_r(x) = a_r D_v (V D_w (W x + b1) + b2): quadratic in what is trained. Beside the weights
    of the net it has W0, V0, b1_0 and b2_0, which are not trained.
    """

    frozen = True

    def __init__(self, biases: bool = False):
        super().__init__("hidden", biases)

    def init(self, rng: np.random.Generator, m: int, d: int, k: int, a_std: float, m2: int | None = None) -> Weights:
        weights = super().init(rng, m, d, k, a_std, m2)
        return weights | {initial(name): weights[name].clone() for name in ("W", "b1", "V", "b2")}

    def output(self, weights: Weights, x: Tensor) -> Tensor:
        return self.output_and_gradient(weights, x)[0]

    def output_and_gradient(self, weights: Weights, x: Tensor) -> tuple[Tensor, Pullback]:
        start = _at_initialization(weights, x)
        first = _affine(x, weights["W"], weights["b1"]).mul_(start.active1)
        z2 = _affine(first, weights["V"], weights["b2"])
        return self._through(start, z2, first, weights["V"], weights["a"], x)

    def _through(self, start: "_Start", z2: Tensor, first_of_V: Tensor, V_of_first: Tensor, a: Tensor,
                 x: Tensor) -> tuple[Tensor, Pullback]:
        """Return f and its pullback from the second layer's pre-activations z2, linear in what is trained.

        `first_of_V` is what V is multiplied with there, and `V_of_first` what the first layer is.
        """
        def pullback(output_gradient: Tensor) -> Weights:
            z2_gradient = (output_gradient @ a).mul_(start.active2)
            z1_gradient = (z2_gradient @ V_of_first).mul_(start.active1)
            gradients = {"W": z1_gradient.mT @ x, "b1": z1_gradient.sum(1),
                         "V": z2_gradient.mT @ first_of_V, "b2": z2_gradient.sum(1)}
            return {name: gradients[name] for name in self.trained}

        return z2.mul_(start.active2) @ a.mT, pullback


class LinearizedThreeLayerNet(FiniteLinearNet, FrozenThreeLayerNet):
    """The net of frozen signs without the products of the increments: the linearization at initialization (NTK).

        f_r(x) = a_r D_v (V0 D_w (W x + b1) + (V - V0) D_w (W0 x + b1_0) + b2)
    """

    def output_and_gradient(self, weights: Weights, x: Tensor) -> tuple[Tensor, Pullback]:
        start = _at_initialization(weights, x)
        first = _affine(x, weights["W"], weights["b1"]).mul_(start.active1)
        z2 = _affine(first - start.first, weights["V0"], weights["b2"]).baddbmm_(start.first, weights["V"].mT)
        return self._through(start, z2, start.first, weights["V0"], weights["a"], x)

    def factors(self, weights: Weights, x: Tensor) -> Factors:
        """Return g_w with x and g_v with D_w (W0 x + b1_0).

        g_v = D_v a and g_w = D_w V0^T g_v are the output's gradients in the two layers' pre-activations.
        """
        start = _at_initialization(weights, x)
        g_v = start.active2 * weights["a"]
        g_w = (g_v @ weights["V0"]).mul_(start.active1)
        biases = "b1" in self.trained
        return [(g_w, {"W": x} | ({"b1": ones(x)} if biases else {})),
                (g_v, {"V": start.first} | ({"b2": ones(x)} if biases else {}))]


class _Start(NamedTuple):
    """The net at initialization: signs of both layers and activations of the first, [E, n, m1] or [E, n, m2]."""

    active1: Tensor
    first: Tensor
    active2: Tensor


def _at_initialization(weights: Weights, x: Tensor) -> _Start:
    z1 = _affine(x, weights["W0"], weights["b1_0"])
    active1 = z1 >= 0
    first = z1.relu_()
    return _Start(active1, first, _affine(first, weights["V0"], weights["b2_0"]) >= 0)


def _hidden(biases: bool) -> tuple[str, ...]:
    return ("W", "b1", "V", "b2") if biases else ("W", "V")


def _affine(x: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """Return weights x + bias [E, n, rows] for x [E, n, columns]."""
    return torch.baddbmm(bias.unsqueeze(1), x, weights.mT)
