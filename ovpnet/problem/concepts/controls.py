"""Controls: targets outside the theorems' reach, and the target of pure noise."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ovpnet.problem.concepts.weights import Weights, draw_outer, draw_unit, unit
from ovpnet.spec.config import ParityConcept, RandomLabelsConcept, ReluTeacherConcept


@dataclass(frozen=True)
class ReluTeacher:
    """F*_r(x) = sum_i a_ri relu(<w_i, x>). Weights: a [k, p] in [-1, 1]; w [p, d] with unit rows."""

    config: ReluTeacherConcept

    def draw(self, rng: np.random.Generator, d: int) -> Weights:
        return {"a": draw_outer(rng, self.config.k, self.config.p), "w": draw_unit(rng, self.config.p, d)}

    def evaluate(self, weights: Weights, x: Tensor) -> Tensor:
        return torch.relu(x @ weights["w"].mT) @ weights["a"].mT

    def project(self, weights: Weights) -> Weights:
        return {"a": weights["a"].clamp(-1, 1), "w": unit(weights["w"])}


@dataclass(frozen=True)
class Parity:
    """Product of the signs of `sparsity` coordinates, sign(0) = +1, for k = 1; values are -1 and +1.

    Weights: mask [d], 1 at the coordinates in the product and 0 elsewhere; F* is not differentiable in it.
    """

    config: ParityConcept

    def draw(self, rng: np.random.Generator, d: int) -> Weights:
        mask = torch.zeros(d, dtype=torch.float64)
        mask[torch.from_numpy(rng.choice(d, self.config.sparsity, replace=False))] = 1.0
        return {"mask": mask}

    def evaluate(self, weights: Weights, x: Tensor) -> Tensor:
        negative = (x < 0).to(x.dtype) @ weights["mask"][..., None]
        return 1 - 2 * (negative % 2)

    def project(self, weights: Weights) -> Weights:
        chosen = weights["mask"].topk(self.config.sparsity, dim=-1).indices
        return {"mask": torch.zeros_like(weights["mask"]).scatter(-1, chosen, 1.0)}


@dataclass(frozen=True)
class RandomLabels:
    """F* = 0, without weights."""

    config: RandomLabelsConcept

    def draw(self, rng: np.random.Generator, d: int) -> Weights:
        return {}

    def evaluate(self, weights: Weights, x: Tensor) -> Tensor:
        return x.new_zeros(*x.shape[:-1], self.config.k)

    def project(self, weights: Weights) -> Weights:
        return {}
