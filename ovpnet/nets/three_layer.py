"""Three-layer ReLU network (Section 4): f_r(x) = <a_r, relu(V relu(W x + b1) + b2)>, with m1 = m2 = m."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ovpnet.nets.base import Factors, Pullback, Weights, gaussian, gram, initial, ones


class ThreeLayerNet:
    """W [E, m, d], b1 [E, m], V [E, m, m], b2 [E, m], a [E, k, m].

    Trained: W and V, with `biases` also b1 and b2 (`hidden`); a (`last`); or `all`.
    """

    hidden_layers, frozen = 2, False

    def __init__(self, trained: str, biases: bool = False):
        hidden = ("W", "b1", "V", "b2") if biases else ("W", "V")
        self.trained: tuple[str, ...] = {"last": ("a",), "all": ("W", "b1", "V", "b2", "a")}.get(trained, hidden)
        self.linear = trained in ("last", "ntk")

    def init(self, rng: np.random.Generator, m: int, d: int, k: int, a_std: float) -> Weights:
        """W, b1 ~ N(0, 1/m1), V, b2 ~ N(0, 1/m2) entrywise, a_r ~ N(0, a_std^2) (Section 4)."""
        return {"W": gaussian(rng, m**-0.5, m, d), "b1": gaussian(rng, m**-0.5, m),
                "V": gaussian(rng, m**-0.5, m, m), "b2": gaussian(rng, m**-0.5, m),
                "a": gaussian(rng, a_std, k, m)}

    def output(self, weights: Weights, x: Tensor) -> Tensor:
        return self._features(weights, x) @ weights["a"].mT

    def activations(self, weights: Weights) -> int:
        return weights["a"].shape[-1]

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
            if "V" in self.trained:
                z2_gradient = (output_gradient @ weights["a"]).mul_(active2)
                z1_gradient = (z2_gradient @ weights["V"]).mul_(active1)
                gradients |= {"W": z1_gradient.mT @ x, "b1": z1_gradient.sum(1),
                              "V": z2_gradient.mT @ first, "b2": z2_gradient.sum(1)}
            return {name: gradients[name] for name in self.trained}

        return second @ weights["a"].mT, pullback

    def kernel(self, weights: Weights, x: Tensor, x2: Tensor) -> Tensor:
        """Conjugate kernel: inner products of the second layer's activations. With frozen signs the NTK."""
        factors = self.factors(weights, x)
        return gram(factors, factors if x2 is x else self.factors(weights, x2))

    def factors(self, weights: Weights, x: Tensor) -> Factors:
        return [(ones(x), {"a": self._features(weights, x)})]

    @staticmethod
    def _features(weights: Weights, x: Tensor) -> Tensor:
        first = _affine(x, weights["W"], weights["b1"]).relu_()
        return _affine(first, weights["V"], weights["b2"]).relu_()


class FrozenThreeLayerNet(ThreeLayerNet):
    """The net with its signs D_w, D_v frozen at initialization (Section 6.2). Trained: W and V, with `biases` b1, b2.

    `quadratic`, the pseudo network:  f_r(x) = a_r D_v (V D_w (W x + b1) + b2).
    `ntk`, without the products of the increments:
        f_r(x) = a_r D_v (V0 D_w (W x + b1) + (V - V0) D_w (W0 x + b1_0) + b2).
    Beside the weights of the net it has W0, V0, b1_0 and b2_0, which are not trained.
    """

    frozen = True

    def init(self, rng: np.random.Generator, m: int, d: int, k: int, a_std: float) -> Weights:
        weights = super().init(rng, m, d, k, a_std)
        return weights | {initial(name): weights[name].clone() for name in ("W", "b1", "V", "b2")}

    def output(self, weights: Weights, x: Tensor) -> Tensor:
        return self.output_and_gradient(weights, x)[0]

    def output_and_gradient(self, weights: Weights, x: Tensor) -> tuple[Tensor, Pullback]:
        frozen = self._frozen(weights, x)
        first = _affine(x, weights["W"], weights["b1"]).mul_(frozen.active1)
        if self.linear:
            z2 = _affine(first - frozen.first, weights["V0"], weights["b2"]).baddbmm_(frozen.first, weights["V"].mT)
            first_of_V, V_of_first = frozen.first, weights["V0"]
        else:
            z2 = _affine(first, weights["V"], weights["b2"])
            first_of_V, V_of_first = first, weights["V"]

        def pullback(output_gradient: Tensor) -> Weights:
            z2_gradient = (output_gradient @ weights["a"]).mul_(frozen.active2)
            z1_gradient = (z2_gradient @ V_of_first).mul_(frozen.active1)
            gradients = {"W": z1_gradient.mT @ x, "b1": z1_gradient.sum(1),
                         "V": z2_gradient.mT @ first_of_V, "b2": z2_gradient.sum(1)}
            return {name: gradients[name] for name in self.trained}

        return z2.mul_(frozen.active2) @ weights["a"].mT, pullback

    def factors(self, weights: Weights, x: Tensor) -> Factors:
        """g_w with x and g_v with D_w (W0 x + b1_0), where g_v = D_v a and g_w = D_w V0^T g_v are the output's
        gradients in the two layers' pre-activations."""
        frozen = self._frozen(weights, x)
        g_v = frozen.active2 * weights["a"]
        g_w = (g_v @ weights["V0"]).mul_(frozen.active1)
        biases = "b1" in self.trained
        return [(g_w, {"W": x} | ({"b1": ones(x)} if biases else {})),
                (g_v, {"V": frozen.first} | ({"b2": ones(x)} if biases else {}))]

    @staticmethod
    def _frozen(weights: Weights, x: Tensor) -> "_Frozen":
        z1 = _affine(x, weights["W0"], weights["b1_0"])
        active1 = z1 >= 0
        first = z1.relu_()
        return _Frozen(active1, first, _affine(first, weights["V0"], weights["b2_0"]) >= 0)


class _Frozen(NamedTuple):
    """The net at initialization: signs of both layers and activations of the first, each [E, n, m]."""

    active1: Tensor
    first: Tensor
    active2: Tensor


def _affine(x: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """weights x + bias [E, n, rows] for x [E, n, columns]."""
    return torch.baddbmm(bias.unsqueeze(1), x, weights.mT)
