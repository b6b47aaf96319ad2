"""The learners of infinite width: kernel ridge regression with the closed-form kernel."""

from typing import TYPE_CHECKING

from ovpnet.spec.choices import Learner, learner, with_values
from ovpnet.spec.errors import ConfigError

if TYPE_CHECKING:
    from ovpnet.nets.base import Net
    from ovpnet.spec.config import Config


class _Limit(Learner):
    """The limit m = infinity of a net, for algorithm=kernel_ridge with trained=last or ntk.

    Its width is 0, whatever is given. The NTK of a net of width m is m times the limit's. So both find the same
    function if the net's weight_decay is m times the limit's.
    """

    infinite = True
    relu = True

    def net(self) -> "Net":
        from ovpnet.nets.infinite import InfiniteNet

        return InfiniteNet(self.hidden_layers + 1, self.trained, self.biases)

    def check(self, config: "Config") -> None:
        super().check(config)
        if config.algorithm.iterative:
            raise ConfigError("algorithm.name", config.algorithm.name, f"learner={self.name} has no weights for SGD; "
                              "allowed: kernel_ridge")
        for layer in self.trained_layers:
            if (weight := getattr(config.regularizer, f"weight_{layer}")) != 1:
                raise ConfigError(f"regularizer.weight_{layer}", weight, f"must be 1 with learner={self.name}; scale "
                                  "weight_decay")
        if self.a_std_exponent > 0:
            raise ConfigError("learner.a_std_exponent", self.a_std_exponent, f"must be 0 with learner={self.name}, the "
                              "limit at output weights of one size a_std; smaller ones have another limit (mean field)")

    def canonical(self, config: "Config") -> "Config":
        learner = with_values(self, a_std=1.0) if self.trained == "last" else self
        return with_values(config, width=0, learner=learner)


@learner("two_layer_limit")
class TwoLayerLimit(_Limit):
    """The limit m = infinity of `two_layer`."""

    matrices = ("W",)


@learner("three_layer_limit")
class ThreeLayerLimit(_Limit):
    """The limit m = infinity of `three_layer`."""

    matrices = ("W", "V")
