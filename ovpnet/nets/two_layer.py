"""Two-layer ReLU network (3.2): f_r(x) = <a_r, relu(W x + b)>."""

import numpy as np
import torch
from torch import Tensor

from ovpnet.nets.base import Factors, LinearNet, Net, PlainNet, Pullback, Weights, gaussian, initial, ones
from ovpnet.nets.linear import FiniteLinearNet, LastLayerNet


class TwoLayerNet(PlainNet):
    """W [E, m, d], b [E, m], a [E, k, m]. Trained: W, with `biases` also b (`hidden`); or `all`."""

    layers = 2
    frozen = False

    def __init__(self, trained: str, biases: bool = False):
        self.trained: tuple[str, ...] = {"hidden": _hidden(biases), "all": ("W", "b", "a")}[trained]

    @property
    def linear(self) -> LinearNet | None:
        return None

    def approximations(self) -> tuple[Net, Net]:
        """Return one and the same: all terms of the quadratic approximation of two layers are linear."""
        return FrozenTwoLayerNet(), FrozenTwoLayerNet()

    def init(self, rng: np.random.Generator, m: int, d: int, k: int, a_std: float, m2: int | None = None) -> Weights:
        """Draw W, b ~ N(0, 1/m) entrywise, a_r ~ N(0, a_std^2) (Section 3.2); there is no second hidden layer."""
        return {"W": gaussian(rng, m**-0.5, m, d), "b": gaussian(rng, m**-0.5, m), "a": gaussian(rng, a_std, k, m)}

    def output(self, weights: Weights, x: Tensor) -> Tensor:
        return self.features(weights, x) @ weights["a"].mT

    def activations(self, weights: Weights) -> int:
        return weights["a"].shape[-1]

    def features(self, weights: Weights, x: Tensor) -> Tensor:
        """Return relu(W x + b) [E, n, m]."""
        return _affine(weights, x).relu_()

    def output_and_gradient(self, weights: Weights, x: Tensor) -> tuple[Tensor, Pullback]:
        z = _affine(weights, x)
        active = z >= 0
        hidden = z.relu_()

        def pullback(output_gradient: Tensor) -> Weights:
            gradients = {}
            if "a" in self.trained:
                gradients["a"] = output_gradient.mT @ hidden
            z_gradient = (output_gradient @ weights["a"]).mul_(active)
            gradients["W"] = z_gradient.mT @ x
            if "b" in self.trained:
                gradients["b"] = z_gradient.sum(1)
            return gradients

        return hidden @ weights["a"].mT, pullback


class LastLayerTwoLayerNet(LastLayerNet, TwoLayerNet):
    """The net of which a alone is trained."""


class FrozenTwoLayerNet(FiniteLinearNet, TwoLayerNet):
    """The net with its signs D_w = 1[W0 x + b >= 0] frozen at initialization: f_r(x) = a_r D_w (W x + b).

    It is linear in W and b, so that it is the NTK linearization and the quadratic approximation at once. Beside the
    weights of the net it has W0 and b0, which are not trained. Its kernel is <x, x'> <a D_w(x), a D_w(x')>, in which a
    trained bias counts as an input that is always 1.
    """

    frozen = True

    def __init__(self, biases: bool = False):
        self.trained = _hidden(biases)

    def init(self, rng: np.random.Generator, m: int, d: int, k: int, a_std: float, m2: int | None = None) -> Weights:
        weights = super().init(rng, m, d, k, a_std)
        return weights | {initial(name): weights[name].clone() for name in ("W", "b")}

    def output(self, weights: Weights, x: Tensor) -> Tensor:
        return self.output_and_gradient(weights, x)[0]

    def output_and_gradient(self, weights: Weights, x: Tensor) -> tuple[Tensor, Pullback]:
        active = self._active(weights, x)

        def pullback(output_gradient: Tensor) -> Weights:
            z_gradient = (output_gradient @ weights["a"]).mul_(active)
            gradients = {"W": z_gradient.mT @ x, "b": z_gradient.sum(1)}
            return {name: gradients[name] for name in self.trained}

        return _affine(weights, x).mul_(active) @ weights["a"].mT, pullback

    def factors(self, weights: Weights, x: Tensor) -> Factors:
        inputs = {"W": x, "b": ones(x)}
        return [(self._active(weights, x) * weights["a"], {name: inputs[name] for name in self.trained})]

    def _active(self, weights: Weights, x: Tensor) -> Tensor:
        return _affine({"W": weights["W0"], "b": weights["b0"]}, x) >= 0


def _hidden(biases: bool) -> tuple[str, ...]:
    return ("W", "b") if biases else ("W",)


def _affine(weights: Weights, x: Tensor) -> Tensor:
    """Return W x + b [E, n, m]."""
    return torch.baddbmm(weights["b"].unsqueeze(1), x, weights["W"].mT)
