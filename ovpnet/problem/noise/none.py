"""No noise."""

from typing import TYPE_CHECKING

from ovpnet.spec.choices import Noise, noise
from ovpnet.spec.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ovpnet.spec.config import Config


@noise("none")
class NoNoise(Noise):
    """Labels as the target and the loss make them."""

    of_numbers = True
    of_classes = True
    variance = 0.0

    def add(self, values: "Tensor", rng: "np.random.Generator") -> "Tensor":
        return values

    def change(self, classes: "Tensor", count: int, uniform: "Tensor") -> "Tensor":
        return classes

    def check(self, config: "Config") -> None:
        if self.level > 0:
            raise ConfigError("noise.level", self.level, "must be 0 with noise=none")
