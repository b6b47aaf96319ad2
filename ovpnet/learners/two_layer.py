"""Two-layer ReLU network (3.2): f_r(x) = <a_r, relu(W x + b)>."""

import numpy as np
import torch
from torch import Tensor

from ovpnet.learners.base import Pullback, Weights, gaussian


class TwoLayer:
    """W [E, m, d], b [E, m], a [E, k, m]. Trained: W (`hidden`, as in the paper) or a (`last`: conjugate kernel)."""

    def __init__(self, trained: str):
        self.trained: tuple[str, ...] = {"hidden": ("W",), "last": ("a",)}[trained]

    def init(self, rng: np.random.Generator, m: int, d: int, k: int, a_std: float) -> Weights:
        """W, b ~ N(0, 1/m) entrywise, a_r ~ N(0, a_std^2) (Section 3.2)."""
        return {"W": gaussian(rng, m**-0.5, m, d), "b": gaussian(rng, m**-0.5, m), "a": gaussian(rng, a_std, k, m)}

    def output(self, weights: Weights, x: Tensor) -> Tensor:
        hidden = torch.baddbmm(weights["b"].unsqueeze(1), x, weights["W"].mT).relu_()
        return hidden @ weights["a"].mT

    def output_and_gradient(self, weights: Weights, x: Tensor) -> tuple[Tensor, Pullback]:
        z = torch.baddbmm(weights["b"].unsqueeze(1), x, weights["W"].mT)
        active = z >= 0
        hidden = z.relu_()

        def pullback(output_gradient: Tensor) -> Weights:
            if self.trained == ("a",):
                return {"a": output_gradient.mT @ hidden}
            z_gradient = (output_gradient @ weights["a"]).mul_(active)
            return {"W": z_gradient.mT @ x}

        return hidden @ weights["a"].mT, pullback
