"""Concept class of two layers, equation (3.1)."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ovpnet.problem.concepts.activations import layer
from ovpnet.problem.concepts.weights import Weights, draw_outer, draw_unit, last_basis_vector, unit
from ovpnet.spec.config import TwoLayerConcept


@dataclass(frozen=True)
class TwoLayer:
    """F*_r(x) = sum_i a_ri phi_i(<w1_i, x>) <w2_i, x> (3.1).

    Weights: a [k, p] in [-1, 1]; w1, w2 [p, d] with unit rows, w2_i = (0, ..., 0, 1) if `plain`.
    """

    config: TwoLayerConcept

    def draw(self, rng: np.random.Generator, d: int) -> Weights:
        p = self.config.p
        weights = {"a": draw_outer(rng, self.config.k, p), "w1": draw_unit(rng, p, d), "w2": draw_unit(rng, p, d)}
        return self.project(weights) if self.config.plain else weights

    def evaluate(self, weights: Weights, x: Tensor) -> Tensor:
        phi = layer(self.config.activations, self.config.scales, self.config.poly, self.config.p)
        return (phi(x @ weights["w1"].mT) * (x @ weights["w2"].mT)) @ weights["a"].mT

    def project(self, weights: Weights) -> Weights:
        w2 = last_basis_vector(weights["w2"]) if self.config.plain else unit(weights["w2"])
        return {"a": weights["a"].clamp(-1, 1), "w1": unit(weights["w1"]), "w2": w2}
