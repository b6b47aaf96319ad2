"""Three-layer ReLU network (Section 4): f_r(x) = <a_r, relu(V relu(W x + b1) + b2)>, with m1 = m2 = m."""

import numpy as np
import torch
from torch import Tensor

from ovpnet.learners.base import Pullback, Weights, gaussian


class ThreeLayer:
    """W [E, m, d], b1 [E, m], V [E, m, m], b2 [E, m], a [E, k, m]. Trained: W and V (`hidden`) or a (`last`)."""

    def __init__(self, trained: str):
        self.trained: tuple[str, ...] = {"hidden": ("W", "V"), "last": ("a",)}[trained]

    def init(self, rng: np.random.Generator, m: int, d: int, k: int, a_std: float) -> Weights:
        """W, b1 ~ N(0, 1/m1), V, b2 ~ N(0, 1/m2) entrywise, a_r ~ N(0, a_std^2) (Section 4)."""
        return {"W": gaussian(rng, m**-0.5, m, d), "b1": gaussian(rng, m**-0.5, m),
                "V": gaussian(rng, m**-0.5, m, m), "b2": gaussian(rng, m**-0.5, m),
                "a": gaussian(rng, a_std, k, m)}

    def output(self, weights: Weights, x: Tensor) -> Tensor:
        first = torch.baddbmm(weights["b1"].unsqueeze(1), x, weights["W"].mT).relu_()
        second = torch.baddbmm(weights["b2"].unsqueeze(1), first, weights["V"].mT).relu_()
        return second @ weights["a"].mT

    def output_and_gradient(self, weights: Weights, x: Tensor) -> tuple[Tensor, Pullback]:
        z1 = torch.baddbmm(weights["b1"].unsqueeze(1), x, weights["W"].mT)
        active1 = z1 >= 0
        first = z1.relu_()
        z2 = torch.baddbmm(weights["b2"].unsqueeze(1), first, weights["V"].mT)
        active2 = z2 >= 0
        second = z2.relu_()

        def pullback(output_gradient: Tensor) -> Weights:
            if self.trained == ("a",):
                return {"a": output_gradient.mT @ second}
            z2_gradient = (output_gradient @ weights["a"]).mul_(active2)
            z1_gradient = (z2_gradient @ weights["V"]).mul_(active1)
            return {"W": z1_gradient.mT @ x, "V": z2_gradient.mT @ first}

        return second @ weights["a"].mT, pullback
