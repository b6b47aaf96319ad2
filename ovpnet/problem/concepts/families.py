"""From a concept config to its family of target functions, and to the one target that its seed draws."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from torch import Tensor

from ovpnet.problem.concepts.controls import Parity, RandomLabels, ReluTeacher
from ovpnet.problem.concepts.named import CosExp, Figure1, Figure2
from ovpnet.problem.concepts.three_layer import ThreeLayer
from ovpnet.problem.concepts.two_layer import TwoLayer
from ovpnet.problem.concepts.weights import Weights
from ovpnet.problem.streams import Stream, generator
from ovpnet.spec.config import (
    ConceptConfig,
    CosExpConcept,
    Figure1Concept,
    Figure2Concept,
    ParityConcept,
    RandomLabelsConcept,
    ReluTeacherConcept,
    ThreeLayerConcept,
    TwoLayerConcept,
)
from ovpnet.spec.errors import ConfigError


class Family(Protocol):
    """Functions F*: R^d -> R^k that differ in their weights; everything is float64."""

    def draw(self, rng: np.random.Generator, d: int) -> Weights:
        """Weights on the constraint set: unit vectors uniform on the sphere, output weights uniform on [-1, 1]."""
        ...

    def evaluate(self, weights: Weights, x: Tensor) -> Tensor:
        """F*(x): x [..., n, d] -> [..., n, k], differentiable in the weights.

        The weights may carry leading batch axes (such as restarts of a fit), which broadcast with those of x.
        """
        ...

    def project(self, weights: Weights) -> Weights:
        """The weights moved back onto the constraint set; batch axes as in `evaluate`."""
        ...


def family(config: ConceptConfig) -> Family:
    """The family that a concept config describes. Raises ConfigError for a config class without one."""
    match config:
        case TwoLayerConcept():
            return TwoLayer(config)
        case ThreeLayerConcept():
            return ThreeLayer(config)
        case Figure1Concept():
            return Figure1()
        case Figure2Concept():
            return Figure2()
        case CosExpConcept():
            return CosExp(config)
        case ReluTeacherConcept():
            return ReluTeacher(config)
        case ParityConcept():
            return Parity(config)
        case RandomLabelsConcept():
            return RandomLabels(config)
    raise ConfigError("concept.family", config.family, "has no target function")


def target(config: ConceptConfig, d: int) -> Callable[[Tensor], Tensor]:
    """The target function x [n, d] -> F*(x) [n, k], float64, whose weights concept.seed draws."""
    concept = family(config)
    weights = concept.draw(generator(config.seed, Stream.CONCEPT), d)
    return lambda x: concept.evaluate(weights, x)


def in_paper_class(config: ConceptConfig) -> bool:
    """Whether F* is a concept the theorems are about, (3.1) or (4.1): activations smooth, given by a Taylor series.

    True too for F* = 0 (random labels), which every concept class contains (a* = 0). False for a ReLU teacher and a
    parity, which have no Taylor series. The targets of Figures 1 and 2 count as in the class, as in Section 7, though
    the Taylor series of tanh 8z does not converge on all of [-1, 1] (see `complexity`).
    """
    return not isinstance(config, ReluTeacherConcept | ParityConcept)
