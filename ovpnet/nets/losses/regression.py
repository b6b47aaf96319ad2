"""Losses of labels that are numbers."""

from typing import TYPE_CHECKING

from ovpnet.spec.choices import Loss, Noise, loss

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Regression(Loss):
    """A loss whose labels are F* and noise."""

    classes = False

    def label(self, target: "Tensor", noise: Noise, rng: "np.random.Generator") -> "Tensor":
        return noise.add(target, rng)


@loss("l2")
class L2(Regression):
    """Section 7's mean squared error, ||F - y||^2: neither bounded in slope nor halved."""

    square = True

    def value(self, output: "Tensor", y: "Tensor") -> "Tensor":
        return (output - y).square().sum(-1)

    def gradient(self, output: "Tensor", y: "Tensor") -> "Tensor":
        return 2 * (output - y)


@loss("huber")
class Huber(Regression):
    """Huber loss of ||F - y||, threshold 1: 1-Lipschitz and 1-smooth for every k; L(0, y) <= 1 for ||y|| <= 3/2."""

    square = False

    def value(self, output: "Tensor", y: "Tensor") -> "Tensor":
        distance = (output - y).norm(dim=-1)
        return (distance.square() / 2).where(distance <= 1, distance - 0.5)

    def gradient(self, output: "Tensor", y: "Tensor") -> "Tensor":
        difference = output - y
        return difference / difference.norm(dim=-1, keepdim=True).clamp(min=1)
