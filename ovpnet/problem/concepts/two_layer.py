"""Concept class of two layers, equation (3.1)."""

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


@concept("two_layer")
class TwoLayer(Concept):
    """Concept class (3.1): F*_r(x) = sum_i a_ri phi_i(<w1_i, x>) <w2_i, x>.

    Weights: a [k, p] in [-1, 1]; w1, w2 [p, d] with unit rows, w2_i = (0, ..., 0, 1) if `plain`.
    """

    p: int = key(4, "number of neurons of the target", low=1)
    activations: list[str] = key(["sin"], "phi_i, cycled over the neurons", choices=ACTIVATIONS.names)
    scales: list[float] = key([1.0], "inner scale c of phi_i(z) = phi(c z), cycled", above=0)
    poly: list[float] = key([0.0, 1.0], "coefficients c_0, c_1, ... of the activation `poly`")
    plain: bool = key(False, "w2_i = (0, ..., 0, 1): a plain two-layer teacher if x_d = 1/2")

    outputs = None
    dimension = None
    in_class = True
    pure_noise = False

    def series(self, d: int) -> Series:
        return self._series

    def draw(self, rng: "np.random.Generator", d: int) -> "Weights":
        from ovpnet.problem.sets import draw_outer, draw_unit

        weights = {"a": draw_outer(rng, self.k, self.p), "w1": draw_unit(rng, self.p, d),
                   "w2": draw_unit(rng, self.p, d)}
        return self.project(weights) if self.plain else weights

    def evaluate(self, weights: "Weights", x: "Tensor") -> "Tensor":
        return (self._series.phi(x @ weights["w1"].mT) * (x @ weights["w2"].mT)) @ weights["a"].mT

    def project(self, weights: "Weights") -> "Weights":
        from ovpnet.problem.sets import last_basis_vector, unit

        w2 = last_basis_vector(weights["w2"]) if self.plain else unit(weights["w2"])
        return {"a": weights["a"].clamp(-1, 1), "w1": unit(weights["w1"]), "w2": w2}

    @cached_property
    def _series(self) -> Series:
        phi = layer(self.activations, self.scales, self.poly, self.p)
        return Series(phi, ("concept.p", self.p))
