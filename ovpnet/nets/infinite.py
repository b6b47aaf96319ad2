"""The nets of infinite width that train only their last layer or their linearization: functions of their kernel."""

import numpy as np
import torch
from torch import Tensor

from ovpnet.nets.base import LinearNet, Pullback, Weights
from ovpnet.nets.kernels import conjugate_kernel, tangent_kernel


class InfiniteNet(LinearNet):
    """f_r(x) = sum_i alpha_ri K(x, x_i), K the limit of the conjugate kernel (`last`) or of the NTK / m (`ntk`).

    Weights: the training inputs x [E, N, d] and alpha [E, N, k], both of no samples until they are fitted, and a_std
    [E, 1, 1]. A sample whose alpha is 0 (padding) does not count. The finite nets' output at initialization, a Gaussian
    process of zero mean and of size a_std, is left out: f starts at 0.
    """

    trained: tuple[str, ...] = ("alpha",)
    frozen = False

    def __init__(self, layers: int, trained: str, biases: bool = False):
        self.layers, self.conjugate, self.biases = layers, trained == "last", biases

    @property
    def linear(self) -> LinearNet:
        return self

    def approximations(self) -> tuple[LinearNet, LinearNet]:
        return self, self

    def init(self, rng: np.random.Generator, m: int, d: int, k: int, a_std: float, m2: int | None = None) -> Weights:
        """Return f = 0: nothing is random."""
        return {"x": torch.zeros(0, d, dtype=torch.float64), "alpha": torch.zeros(0, k, dtype=torch.float64),
                "a_std": torch.full((1, 1), a_std, dtype=torch.float64)}

    def output(self, weights: Weights, x: Tensor) -> Tensor:
        return self.kernel(weights, x, weights["x"]) @ weights["alpha"]

    def activations(self, weights: Weights) -> int:
        return weights["alpha"].shape[1]  # a kernel entry per training sample

    def output_and_gradient(self, weights: Weights, x: Tensor) -> tuple[Tensor, Pullback]:
        kernel = self.kernel(weights, x, weights["x"])
        return kernel @ weights["alpha"], lambda output_gradient: {"alpha": kernel.mT @ output_gradient}

    def kernel(self, weights: Weights, x: Tensor, x2: Tensor) -> Tensor:
        if self.conjugate:
            return conjugate_kernel(self.layers, x, x2)
        return tangent_kernel(self.layers, x, x2, weights["a_std"], self.biases)

    def factors(self, weights: Weights, x: Tensor) -> None:
        """Return None: the gradients are infinitely many."""
