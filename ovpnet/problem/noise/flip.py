"""Noise of labels that are classes."""

from typing import TYPE_CHECKING

from ovpnet.spec.choices import Noise, noise
from ovpnet.spec.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ovpnet.spec.config import Config


@noise("flip")
class Flip(Noise):
    """With probability `level`, another class in place of the label's, uniformly."""

    of_numbers = False
    of_classes = True
    variance = None

    def add(self, values: "Tensor", rng: "np.random.Generator") -> "Tensor":
        raise ValueError("noise=flip cannot be added to numbers")

    def change(self, classes: "Tensor", count: int, uniform: "Tensor") -> "Tensor":
        import torch

        others = count - 1
        shift = 1 + (uniform[:, 1] * others).long().clamp(max=others - 1)
        return torch.where(uniform[:, 0] < self.level, (classes + shift) % count, classes)

    def check(self, config: "Config") -> None:
        super().check(config)
        if self.level > 1:
            raise ConfigError("noise.level", self.level, "must be at most 1, as it is a probability")
