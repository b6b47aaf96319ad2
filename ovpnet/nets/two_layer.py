"""Two-layer ReLU network (3.2): f_r(x) = <a_r, relu(W x + b)>."""

import numpy as np
import torch
from torch import Tensor

from ovpnet.nets.base import Factors, Pullback, Weights, gaussian, gram, initial, ones


class TwoLayerNet:
    """W [E, m, d], b [E, m], a [E, k, m]. Trained: W, with `biases` also b (`hidden`); a (`last`); or `all`."""

    hidden_layers, frozen = 1, False

    def __init__(self, trained: str, biases: bool = False):
        hidden = ("W", "b") if biases else ("W",)
        self.trained: tuple[str, ...] = {"hidden": hidden, "last": ("a",), "all": ("W", "b", "a")}[trained]
        self.linear = trained == "last"

    def init(self, rng: np.random.Generator, m: int, d: int, k: int, a_std: float) -> Weights:
        """W, b ~ N(0, 1/m) entrywise, a_r ~ N(0, a_std^2) (Section 3.2)."""
        return {"W": gaussian(rng, m**-0.5, m, d), "b": gaussian(rng, m**-0.5, m), "a": gaussian(rng, a_std, k, m)}

    def output(self, weights: Weights, x: Tensor) -> Tensor:
        return self._hidden(weights, x).relu_() @ weights["a"].mT

    def activations(self, weights: Weights) -> int:
        return weights["a"].shape[-1]

    def output_and_gradient(self, weights: Weights, x: Tensor) -> tuple[Tensor, Pullback]:
        z = self._hidden(weights, x)
        active = z >= 0
        hidden = z.relu_()

        def pullback(output_gradient: Tensor) -> Weights:
            gradients = {}
            if "a" in self.trained:
                gradients["a"] = output_gradient.mT @ hidden
            if "W" in self.trained:
                z_gradient = (output_gradient @ weights["a"]).mul_(active)
                gradients["W"] = z_gradient.mT @ x
                if "b" in self.trained:
                    gradients["b"] = z_gradient.sum(1)
            return gradients

        return hidden @ weights["a"].mT, pullback

    def kernel(self, weights: Weights, x: Tensor, x2: Tensor) -> Tensor:
        """Conjugate kernel <relu(W x + b), relu(W x' + b)>; with frozen signs the NTK <x, x'> <a D_w(x), a D_w(x')>, in
        which a trained bias counts as an input that is always 1."""
        factors = self.factors(weights, x)
        return gram(factors, factors if x2 is x else self.factors(weights, x2))

    def factors(self, weights: Weights, x: Tensor) -> Factors:
        return [(ones(x), {"a": self._hidden(weights, x).relu_()})]

    @staticmethod
    def _hidden(weights: Weights, x: Tensor) -> Tensor:
        return torch.baddbmm(weights["b"].unsqueeze(1), x, weights["W"].mT)


class FrozenTwoLayerNet(TwoLayerNet):
    """The net with its signs D_w = 1[W0 x + b >= 0] frozen at initialization: f_r(x) = a_r D_w (W x + b).

    Linear in W and b, so that it is the NTK linearization and the quadratic approximation at once. Beside the weights
    of the net it has W0 and b0, which are not trained.
    """

    frozen = True

    def __init__(self, biases: bool = False):
        super().__init__("hidden", biases)
        self.linear = True

    def init(self, rng: np.random.Generator, m: int, d: int, k: int, a_std: float) -> Weights:
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

        return self._hidden(weights, x).mul_(active) @ weights["a"].mT, pullback

    def factors(self, weights: Weights, x: Tensor) -> Factors:
        inputs = {"W": x, "b": ones(x)}
        return [(self._active(weights, x) * weights["a"], {name: inputs[name] for name in self.trained})]

    def _active(self, weights: Weights, x: Tensor) -> Tensor:
        return self._hidden({"W": weights["W0"], "b": weights["b0"]}, x) >= 0
