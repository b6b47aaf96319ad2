"""The networks that are trained. Every tensor has a leading ensemble axis [E, ...]; a single net has E = 1."""

from ovpnet.nets.learners.base import Factors, Learner, LinearNet, Network, Weights, gram, initial
from ovpnet.nets.learners.infinite import InfiniteWidth
from ovpnet.nets.learners.three_layer import FrozenThreeLayer, ThreeLayer
from ovpnet.nets.learners.two_layer import FrozenTwoLayer, TwoLayer
from ovpnet.spec.config import LIMITS, LearnerConfig

__all__ = ["Factors", "FrozenThreeLayer", "FrozenTwoLayer", "InfiniteWidth", "Learner", "LinearNet", "Network",
           "ThreeLayer", "TwoLayer", "Weights", "gram", "initial", "learner"]


def learner(config: LearnerConfig) -> Learner:
    """The learner a config names."""
    if config.name in LIMITS:
        return InfiniteWidth(2 if config.name == "two_layer_limit" else 3, config.trained, config.biases)
    frozen = config.trained in ("ntk", "quadratic")
    if config.name == "two_layer":
        return FrozenTwoLayer(config.biases) if frozen else TwoLayer(config.trained, config.biases)
    return (FrozenThreeLayer if frozen else ThreeLayer)(config.trained, config.biases)
