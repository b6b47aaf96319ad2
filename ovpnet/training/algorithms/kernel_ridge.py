"""Kernel ridge regression in place of SGD: the choice. `ovpnet.training.kernel_ridge` solves it."""

from typing import TYPE_CHECKING

from ovpnet.spec.choices import Algorithm, algorithm, with_values
from ovpnet.spec.errors import ConfigError

if TYPE_CHECKING:
    from ovpnet.spec.config import Config


@algorithm("kernel_ridge")
class KernelRidge(Algorithm):
    """The exact minimum of what SGD minimizes: loss=l2 with learner.trained=last or ntk in closed form.

    At weight_decay=0 it takes the minimum of least norm, of what regularizer.of says (with regularizer=none of the
    increments, as SGD finds it). It takes no steps. So steps, epochs, evaluations, batch_size, lr, lr_scaling, dtype
    and the keys below have one value each: a sweep over them asks for one run.
    """

    iterative = False
    perturbed = False

    def total_steps(self, config: "Config") -> int:
        return 1

    def check(self, config: "Config") -> None:
        learner, regularizer = config.learner, config.regularizer
        if not learner.linear:
            raise ConfigError("learner.trained", learner.trained, "algorithm=kernel_ridge needs a learner that is "
                              "linear in what it trains; allowed: last, ntk")
        if not config.loss.square:
            raise ConfigError("loss.name", config.loss.name, "algorithm=kernel_ridge minimizes squares; allowed: l2")
        if learner.trained == "ntk" and config.concept.k > 1:
            raise ConfigError("concept.k", config.concept.k, "must be 1 with algorithm=kernel_ridge "
                              "learner.trained=ntk")
        if self.sampling == "one_pass":
            raise ConfigError("algorithm.sampling", "one_pass", "algorithm=kernel_ridge fits the whole training set at "
                              "once; leave it at replacement")
        if self.judged == "average":
            raise ConfigError("algorithm.judged", "average", "algorithm=kernel_ridge has no iterates; allowed: last")
        layers = learner.trained_layers
        for layer in layers:
            kind, weight = getattr(regularizer, layer), getattr(regularizer, f"weight_{layer}")
            if not regularizer.quadratic(layer):
                raise ConfigError(f"regularizer.{layer}", kind, "algorithm=kernel_ridge minimizes squares; allowed: "
                                  "frobenius, none")
            if kind != getattr(regularizer, layers[0]):
                raise ConfigError(f"regularizer.{layer}", kind, "algorithm=kernel_ridge needs one kind of penalty for "
                                  f"all that is trained; regularizer.{layers[0]} is {getattr(regularizer, layers[0])}")
            if weight == 0:
                raise ConfigError(f"regularizer.weight_{layer}", weight, "must be greater than 0 with "
                                  "algorithm=kernel_ridge")

    def canonical(self, config: "Config") -> "Config":
        config = with_values(config, lr=1.0, lr_scaling="none", batch_size=1, steps=1, epochs=None, evaluations=1,
                             dtype="float64")
        plain = KernelRidge()
        return config if self == plain else with_values(config, algorithm=plain)
