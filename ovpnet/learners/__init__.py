"""The networks that are trained. Every tensor has a leading ensemble axis [E, ...]; a single net has E = 1."""

from collections.abc import Callable

from ovpnet.config import LearnerConfig
from ovpnet.learners.base import Learner, Weights
from ovpnet.learners.three_layer import ThreeLayer
from ovpnet.learners.two_layer import TwoLayer

__all__ = ["Learner", "ThreeLayer", "TwoLayer", "Weights", "learner"]


def learner(config: LearnerConfig) -> Learner:
    """The learner a config names."""
    learners: dict[str, Callable[[str], Learner]] = {"two_layer": TwoLayer, "three_layer": ThreeLayer}
    return learners[config.name](config.trained)
