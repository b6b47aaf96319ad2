"""Losses L(F, y), convex in F (Section 2), with their gradients in F, and the labels they are made for.

Shapes: F and y are [..., n, k], losses [..., n], gradients [..., n, k]. Regression labels are numbers;
logistic labels are -1 or +1 (k = 1); cross-entropy labels are one-hot rows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ovpnet.spec.config import ClassificationLoss, LossConfig, NoiseConfig


@dataclass(frozen=True)
class Loss:
    """value: (F, y) -> L(F, y); gradient: (F, y) -> dL/dF."""

    value: Callable[[Tensor, Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor]


def _l2(output: Tensor, y: Tensor) -> Tensor:
    return (output - y).square().sum(-1)


def _l2_gradient(output: Tensor, y: Tensor) -> Tensor:
    return 2 * (output - y)


def _huber(output: Tensor, y: Tensor) -> Tensor:
    distance = (output - y).norm(dim=-1)
    return torch.where(distance <= 1, distance.square() / 2, distance - 0.5)


def _huber_gradient(output: Tensor, y: Tensor) -> Tensor:
    difference = output - y
    return difference / difference.norm(dim=-1, keepdim=True).clamp(min=1)


def _logistic(output: Tensor, y: Tensor) -> Tensor:
    return torch.nn.functional.softplus(-y * output).sum(-1)


def _logistic_gradient(output: Tensor, y: Tensor) -> Tensor:
    return -y * torch.sigmoid(-y * output)


def _cross_entropy(output: Tensor, y: Tensor) -> Tensor:
    return torch.logsumexp(output, -1) - (output * y).sum(-1)


def _cross_entropy_gradient(output: Tensor, y: Tensor) -> Tensor:
    return torch.softmax(output, -1) - y


LOSSES = {
    # Section 7's mean squared error, ||F - y||^2: neither bounded in slope nor halved.
    "l2": Loss(_l2, _l2_gradient),
    # Of ||F - y||, with threshold 1: 1-Lipschitz and 1-smooth for every k; L(0, y) <= 1 for ||y|| <= 3/2.
    "huber": Loss(_huber, _huber_gradient),
    # log(1 + exp(-y F)): 1-Lipschitz, 1/4-smooth, L(0, y) = log 2.
    "logistic": Loss(_logistic, _logistic_gradient),
    # Of the softmax of F: sqrt(2)-Lipschitz in the Euclidean norm, 1-smooth, L(0, y) = log k.
    "cross_entropy": Loss(_cross_entropy, _cross_entropy_gradient),
}


def labels(loss: LossConfig, noise: NoiseConfig, target: Tensor, rng: np.random.Generator) -> Tensor:
    """Noisy labels y [n, k] of the target's values F*(x) [n, k], in float64.

    Regression: y = F* + noise. Classification: the class is drawn with the probabilities that the loss
    assigns to F* (labels=sample) or is the most likely one (labels=hard); `flip` then replaces it, with
    probability `level`, by another class, uniformly.
    """
    if not isinstance(loss, ClassificationLoss):
        return target + _additive(noise, target.shape, rng)
    scores = torch.cat([torch.zeros_like(target), target], -1) if loss.name == "logistic" else target
    # Three numbers a sample, in one block: the labels of the first samples do not depend on how many follow.
    draws = torch.from_numpy(rng.random((len(scores), 3)))
    classes = _classes(loss, scores, draws[:, :1])
    if noise.kind == "flip":
        others = scores.shape[-1] - 1
        shift = 1 + (draws[:, 2] * others).long().clamp(max=others - 1)
        classes = torch.where(draws[:, 1] < noise.level, (classes + shift) % scores.shape[-1], classes)
    if loss.name == "logistic":
        return (2.0 * classes - 1.0).to(target.dtype)[:, None]
    return torch.nn.functional.one_hot(classes, scores.shape[-1]).to(target.dtype)


def _additive(noise: NoiseConfig, shape: torch.Size, rng: np.random.Generator) -> Tensor:
    if noise.kind == "gaussian":
        return torch.from_numpy(noise.level * rng.standard_normal(tuple(shape)))
    if noise.kind == "uniform":
        return torch.from_numpy(rng.uniform(-noise.level, noise.level, tuple(shape)))
    return torch.zeros(shape, dtype=torch.float64)


def _classes(loss: ClassificationLoss, scores: Tensor, uniform: Tensor) -> Tensor:
    if loss.labels == "hard":
        return scores.argmax(-1)
    cumulative = torch.softmax(scores, -1).cumsum(-1)[:, :-1]
    return (uniform > cumulative).sum(-1)
