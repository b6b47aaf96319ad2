"""The networks that are trained. Every tensor has a leading ensemble axis [E, ...]; a single net has E = 1."""

from ovpnet.config import LearnerConfig
from ovpnet.learners.base import Learner, Weights, initial
from ovpnet.learners.three_layer import FrozenThreeLayer, ThreeLayer
from ovpnet.learners.two_layer import FrozenTwoLayer, TwoLayer

__all__ = ["FrozenThreeLayer", "FrozenTwoLayer", "Learner", "ThreeLayer", "TwoLayer", "Weights", "initial", "learner"]


def learner(config: LearnerConfig) -> Learner:
    """The learner a config names."""
    frozen = config.trained in ("ntk", "quadratic")
    if config.name == "two_layer":
        return FrozenTwoLayer(config.biases) if frozen else TwoLayer(config.trained, config.biases)
    return (FrozenThreeLayer if frozen else ThreeLayer)(config.trained, config.biases)
