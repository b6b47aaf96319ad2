"""Samples of a problem: inputs x, labels y of its target function, each from a named stream of a seed."""

import functools
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ovpnet.nets.losses import labels
from ovpnet.problem.concepts import target
from ovpnet.problem.inputs import sample
from ovpnet.problem.streams import KEPT_DRAWS, Stream, generator
from ovpnet.spec.config import ClassificationLoss, Config, RandomLabelsConcept, digest


class Problem:
    """Distribution of (x, y): concept, inputs, label noise and the kind of labels that the loss takes."""

    def __init__(self, config: Config):
        self.config = config
        self.target: Callable[[Tensor], Tensor] = target(config.concept, config.inputs.d)
        # Members that share a seed share their samples (a sweep over width or lr), so keep the last few.
        self.sample = functools.lru_cache(maxsize=KEPT_DRAWS)(self._sample)

    @staticmethod
    def key(config: Config) -> str:
        """Equal for two configs exactly when they have the same problem."""
        return digest(problem_identity(config))

    def _sample(self, seed: int, stream: Stream, n: int, block: int = 0) -> tuple[Tensor, Tensor]:
        """x [n, d] and y [n, k] in float64. A training set is the beginning of any larger one of its seed."""
        x = sample(self.config.inputs, generator(seed, stream, block), n)
        values, key = self.target(x), (stream << 24) | block
        loss, noise = self.config.loss, self.config.noise
        if isinstance(self.config.concept, RandomLabelsConcept) and not isinstance(loss, ClassificationLoss):
            values = torch.from_numpy(generator(seed, Stream.COINS, key).choice([-1.0, 1.0], tuple(values.shape)))
        return x, labels(loss, noise, values, generator(seed, Stream.LABELS, key))


def problem_identity(config: Config) -> dict[str, Any]:
    """The part of a run's identity that says what is to be learned, and not by whom."""
    concept = {name: value for name, value in asdict(config.concept).items() if name != "name"}
    return {"concept": concept, "inputs": asdict(config.inputs), "noise": asdict(config.noise),
            "loss": asdict(config.loss)}
