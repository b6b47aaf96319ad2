"""Concept class of three layers, equation (4.1), and its general form, Remark 4.2."""

from functools import cached_property
from typing import TYPE_CHECKING

from ovpnet.problem.series import Series, layer
from ovpnet.spec.activation import ACTIVATIONS
from ovpnet.spec.choices import Concept, concept
from ovpnet.spec.keys import key

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ovpnet.problem.sets import Weights


@concept("three_layer")
class ThreeLayer(Concept):
    """Concept class (4.1), or with general=true the general form of Remark 4.2.

    F*_r(x) = sum_i a_ri Phi_i( sum_j v1_ij phi1_j(<w1_j, x>) ) ( sum_j v2_ij phi2_j(<w2_j, x>) ) (4.1).
    With `general` the inner terms are phi1_j(<w1_j, x>) <w3_j, x> and phi2_j(<w2_j, x>) <w4_j, x> (Remark 4.2).
    Weights: a [k, p1] in [-1, 1]; v1, v2 [p1, p2] and w1, w2 [p2, d] with unit rows; with `general` also
    w3, w4 [p2, d] with unit rows and <w1_j, w3_j> = 0.
    """

    p1: int = key(2, "number of outer neurons", low=1)
    p2: int = key(2, "number of inner neurons", low=1)
    outer: list[str] = key(["sin"], "Phi_i, cycled", choices=ACTIVATIONS.names)
    outer_scales: list[float] = key([1.0], "inner scale of Phi_i, cycled", above=0)
    phi1: list[str] = key(["sin"], "phi_1j, cycled", choices=ACTIVATIONS.names)
    phi1_scales: list[float] = key([1.0], "inner scale of phi_1j, cycled", above=0)
    phi2: list[str] = key(["cos"], "phi_2j, cycled", choices=ACTIVATIONS.names)
    phi2_scales: list[float] = key([1.0], "inner scale of phi_2j, cycled", above=0)
    poly: list[float] = key([0.0, 1.0], "coefficients c_0, c_1, ... of the activation `poly`")
    general: bool = key(False, "Remark 4.2: inner terms phi_1j(<w1_j, x>) <w3_j, x>, phi_2j(<w2_j, x>) <w4_j, x>")

    outputs = None
    dimension = None
    in_class = True
    pure_noise = False

    def series(self, d: int) -> Series:
        return self._series

    def draw(self, rng: "np.random.Generator", d: int) -> "Weights":
        from ovpnet.problem.sets import draw_outer, draw_unit, orthogonal_unit

        k, p1, p2 = self.k, self.p1, self.p2
        weights = {"a": draw_outer(rng, k, p1), "v1": draw_unit(rng, p1, p2), "v2": draw_unit(rng, p1, p2),
                   "w1": draw_unit(rng, p2, d), "w2": draw_unit(rng, p2, d)}
        if self.general:
            weights["w3"] = orthogonal_unit(draw_unit(rng, p2, d), weights["w1"])
            weights["w4"] = draw_unit(rng, p2, d)
        return weights

    def evaluate(self, weights: "Weights", x: "Tensor") -> "Tensor":
        series = self._series
        assert series.phi2 is not None
        assert series.outer is not None
        inner1, inner2 = series.phi(x @ weights["w1"].mT), series.phi2(x @ weights["w2"].mT)
        if self.general:
            inner1, inner2 = inner1 * (x @ weights["w3"].mT), inner2 * (x @ weights["w4"].mT)
        return (series.outer(inner1 @ weights["v1"].mT) * (inner2 @ weights["v2"].mT)) @ weights["a"].mT

    def project(self, weights: "Weights") -> "Weights":
        from ovpnet.problem.sets import orthogonal_unit, unit

        projected = {name: unit(value) for name, value in weights.items() if name != "a"}
        projected["a"] = weights["a"].clamp(-1, 1)
        if self.general:
            projected["w3"] = orthogonal_unit(weights["w3"], projected["w1"])
        return projected

    @cached_property
    def _series(self) -> Series:
        return Series(
            phi=layer(self.phi1, self.phi1_scales, self.poly, self.p2, "phi1", "phi1_scales"),
            phi2=layer(self.phi2, self.phi2_scales, self.poly, self.p2, "phi2", "phi2_scales"),
            outer=layer(self.outer, self.outer_scales, self.poly, self.p1, "outer", "outer_scales"),
            size=("concept.p1", self.p1))
