"""Targets that the paper names: those of Figures 1 and 2 (Section 7), and the example of Section 4.3."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ovpnet.problem.concepts.weights import Weights, draw_unit, unit
from ovpnet.spec.config import CosExpConcept


class _Fixed:
    """A target without weights."""

    def draw(self, rng: np.random.Generator, d: int) -> Weights:
        return {}

    def project(self, weights: Weights) -> Weights:
        return {}


class Figure1(_Fixed):
    """(sin 3x1 + sin 3x2 + sin 3x3 - 2)^2 cos 7x4, for d = 4 and k = 1."""

    def evaluate(self, weights: Weights, x: Tensor) -> Tensor:
        return (torch.sin(3 * x[..., :3]).sum(dim=-1, keepdim=True) - 2) ** 2 * torch.cos(7 * x[..., 3:4])


class Figure2(_Fixed):
    """(tanh 8x1 + tanh 8x2 + tanh 8x3 - 2)^2 tanh 8x4, for d = 4 and k = 1."""

    def evaluate(self, weights: Weights, x: Tensor) -> Tensor:
        return (torch.tanh(8 * x[..., :3]).sum(dim=-1, keepdim=True) - 2) ** 2 * torch.tanh(8 * x[..., 3:4])


@dataclass(frozen=True)
class CosExp:
    """cos(c <w1, x>) exp(c <w2, x>), Section 4.3, for k = 1. Weights: w1, w2 [d], unit vectors."""

    config: CosExpConcept

    def draw(self, rng: np.random.Generator, d: int) -> Weights:
        return {"w1": draw_unit(rng, d), "w2": draw_unit(rng, d)}

    def evaluate(self, weights: Weights, x: Tensor) -> Tensor:
        c, w1, w2 = self.config.c, weights["w1"], weights["w2"]
        return torch.cos(c * (x @ w1[..., None])) * torch.exp(c * (x @ w2[..., None]))

    def project(self, weights: Weights) -> Weights:
        return {"w1": unit(weights["w1"]), "w2": unit(weights["w2"])}
