"""The example of Section 4.3."""

from typing import TYPE_CHECKING

from ovpnet.problem.series import Layer, Series
from ovpnet.spec.activation import activation_of
from ovpnet.spec.choices import Concept, concept
from ovpnet.spec.keys import key

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ovpnet.problem.sets import Weights


@concept("cos_exp")
class CosExp(Concept):
    """Section 4.3's example: cos(c <w1, x>) exp(c <w2, x>). Weights: w1, w2 [d], unit vectors."""

    c: float = key(3.0, "the constant in front of both inner products (100 in the paper)", above=0)

    outputs = 1
    dimension = None
    in_class = True
    pure_noise = False

    def series(self, d: int) -> Series:
        # p1 = p2 = 1 and Phi(z) = z
        return Series(Layer((activation_of("cos", self.c),)), ("concept.c", 1),
                      Layer((activation_of("exp", self.c),), "", (("concept.c", self.c),), "exp(c <w2, x>)"),
                      Layer((activation_of("poly", 1, [0, 1]),)))

    def draw(self, rng: "np.random.Generator", d: int) -> "Weights":
        from ovpnet.problem.sets import draw_unit

        return {"w1": draw_unit(rng, d), "w2": draw_unit(rng, d)}

    def evaluate(self, weights: "Weights", x: "Tensor") -> "Tensor":
        w1, w2 = weights["w1"], weights["w2"]
        return (self.c * (x @ w1[..., None])).cos() * (self.c * (x @ w2[..., None])).exp()

    def project(self, weights: "Weights") -> "Weights":
        from ovpnet.problem.sets import unit

        return {"w1": unit(weights["w1"]), "w2": unit(weights["w2"])}
