"""The two-layer ReLU network (3.2)."""

from typing import TYPE_CHECKING

from ovpnet.spec.choices import Learner, learner, with_values

if TYPE_CHECKING:
    from ovpnet.nets.base import Net
    from ovpnet.spec.config import Config


@learner("two_layer")
class TwoLayer(Learner):
    """The two-layer ReLU network (3.2): f_r(x) = <a_r, relu(W x + b)>."""

    matrices = ("W",)
    infinite = False
    relu = True

    def net(self) -> "Net":
        from ovpnet.nets.two_layer import FrozenTwoLayerNet, LastLayerTwoLayerNet, TwoLayerNet

        if self.trained == "last":
            return LastLayerTwoLayerNet()
        return FrozenTwoLayerNet(self.biases) if self.frozen else TwoLayerNet(self.trained, self.biases)

    def canonical(self, config: "Config") -> "Config":
        # One function: all terms of the quadratic approximation of two layers are linear.
        trained = "ntk" if self.trained == "quadratic" else self.trained
        return super().canonical(with_values(config, learner=with_values(self, trained=trained)))
