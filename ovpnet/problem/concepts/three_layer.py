"""Concept class of three layers, equation (4.1), and its general form, Remark 4.2."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ovpnet.problem.concepts.activations import layer
from ovpnet.problem.concepts.weights import Weights, draw_outer, draw_unit, orthogonal_unit, unit
from ovpnet.spec.config import ThreeLayerConcept


@dataclass(frozen=True)
class ThreeLayer:
    """F*_r(x) = sum_i a_ri Phi_i( sum_j v1_ij phi1_j(<w1_j, x>) ) ( sum_j v2_ij phi2_j(<w2_j, x>) ) (4.1).

    With `general` the inner terms are phi1_j(<w1_j, x>) <w3_j, x> and phi2_j(<w2_j, x>) <w4_j, x> (Remark 4.2).
    Weights: a [k, p1] in [-1, 1]; v1, v2 [p1, p2] and w1, w2 [p2, d] with unit rows; with `general` also
    w3, w4 [p2, d] with unit rows and <w1_j, w3_j> = 0.
    """

    config: ThreeLayerConcept

    def draw(self, rng: np.random.Generator, d: int) -> Weights:
        k, p1, p2 = self.config.k, self.config.p1, self.config.p2
        weights = {"a": draw_outer(rng, k, p1), "v1": draw_unit(rng, p1, p2), "v2": draw_unit(rng, p1, p2),
                   "w1": draw_unit(rng, p2, d), "w2": draw_unit(rng, p2, d)}
        if self.config.general:
            weights["w3"] = orthogonal_unit(draw_unit(rng, p2, d), weights["w1"])
            weights["w4"] = draw_unit(rng, p2, d)
        return weights

    def evaluate(self, weights: Weights, x: Tensor) -> Tensor:
        config = self.config
        phi1 = layer(config.phi1, config.phi1_scales, config.poly, config.p2)
        phi2 = layer(config.phi2, config.phi2_scales, config.poly, config.p2)
        outer = layer(config.outer, config.outer_scales, config.poly, config.p1)
        inner1, inner2 = phi1(x @ weights["w1"].mT), phi2(x @ weights["w2"].mT)
        if config.general:
            inner1, inner2 = inner1 * (x @ weights["w3"].mT), inner2 * (x @ weights["w4"].mT)
        return (outer(inner1 @ weights["v1"].mT) * (inner2 @ weights["v2"].mT)) @ weights["a"].mT

    def project(self, weights: Weights) -> Weights:
        projected = {name: unit(value) for name, value in weights.items() if name != "a"}
        projected["a"] = weights["a"].clamp(-1, 1)
        if self.config.general:
            projected["w3"] = orthogonal_unit(weights["w3"], projected["w1"])
        return projected
