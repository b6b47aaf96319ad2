"""A control: the plain ReLU teacher."""

from typing import TYPE_CHECKING

from ovpnet.spec.choices import Concept, concept
from ovpnet.spec.keys import key

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ovpnet.problem.sets import Weights


@concept("relu_teacher")
class ReluTeacher(Concept):
    """Control outside the theorems' reach (ReLU has no Taylor series): F*_r(x) = sum_i a_ri relu(<w_i, x>).

    Weights: a [k, p] in [-1, 1]; w [p, d] with unit rows.
    """

    p: int = key(4, "number of neurons of the target", low=1)

    outputs = None
    dimension = None
    in_class = False
    pure_noise = False

    def series(self, d: int) -> None:
        return None

    def draw(self, rng: "np.random.Generator", d: int) -> "Weights":
        from ovpnet.problem.sets import draw_outer, draw_unit

        return {"a": draw_outer(rng, self.k, self.p), "w": draw_unit(rng, self.p, d)}

    def evaluate(self, weights: "Weights", x: "Tensor") -> "Tensor":
        return (x @ weights["w"].mT).relu() @ weights["a"].mT

    def project(self, weights: "Weights") -> "Weights":
        from ovpnet.problem.sets import unit

        return {"a": weights["a"].clamp(-1, 1), "w": unit(weights["w"])}
