"""SGD: Algorithm 1, and the minibatch momentum SGD of Section 7."""

import math
from typing import TYPE_CHECKING

from ovpnet.spec.choices import Algorithm, algorithm
from ovpnet.spec.errors import ConfigError

if TYPE_CHECKING:
    from ovpnet.spec.config import Config


class _Sgd(Algorithm):
    """SGD on the empirical objective, for given steps or epochs, or in one pass over fresh samples."""

    iterative = True
    perturbed = False

    def total_steps(self, config: "Config") -> int:
        if self.sampling == "one_pass":
            return config.samples // config.batch_size
        if config.steps is not None:
            return config.steps
        assert config.epochs is not None
        return math.ceil(config.epochs * config.samples / config.batch_size)

    def check(self, config: "Config") -> None:
        one_pass = self.sampling == "one_pass"
        if one_pass and (config.steps is not None or config.epochs is not None):
            given = "steps" if config.steps is not None else "epochs"
            raise ConfigError(given, getattr(config, given), "algorithm.sampling=one_pass uses every sample once, so "
                              "the steps are samples / batch_size; give steps=null epochs=null")
        if not one_pass and (config.steps is None) == (config.epochs is None):
            raise ConfigError("steps", config.steps, f"give exactly one of steps and epochs (epochs={config.epochs})")
        if one_pass and config.batch_size > config.samples:
            raise ConfigError("batch_size", config.batch_size, f"must be at most samples ({config.samples}) with "
                              "algorithm.sampling=one_pass")


@algorithm("sgd")
class Sgd(_Sgd):
    """Algorithm 1: one random training sample per step, no momentum, judged by the risk averaged over the iterates."""


@algorithm("momentum_sgd")
class MomentumSgd(_Sgd):
    """Section 7: torch's SGD with momentum, and a learning rate that is divided by 10 on the way."""
