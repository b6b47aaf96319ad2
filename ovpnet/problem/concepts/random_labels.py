"""A control: labels of pure noise."""

from typing import TYPE_CHECKING

from ovpnet.problem.series import Layer, Series
from ovpnet.spec.choices import Concept, concept
from ovpnet.spec.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ovpnet.problem.sets import Weights
    from ovpnet.spec.config import Config


@concept("random_labels")
class RandomLabels(Concept):
    """Control: F* = 0, without weights; every label is pure noise, a fair sign independent of x."""

    outputs = None
    dimension = None
    in_class = True  # every class contains F* = 0 (a* = 0)
    pure_noise = True

    def check(self, config: "Config") -> None:
        super().check(config)
        if not config.loss.target_is_optimal:
            raise ConfigError("loss.labels", "hard", "the most likely label of F* = 0 is always the same; concept="
                              "random_labels needs loss.labels=sample")

    def series(self, d: int) -> Series:
        return Series(Layer(()), ("concept.family", 0))  # no activation at all: every complexity is 0

    def draw(self, rng: "np.random.Generator", d: int) -> "Weights":
        return {}

    def evaluate(self, weights: "Weights", x: "Tensor") -> "Tensor":
        return x.new_zeros(*x.shape[:-1], self.k)

    def project(self, weights: "Weights") -> "Weights":
        return {}
