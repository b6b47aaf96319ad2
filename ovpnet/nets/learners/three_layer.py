"""The three-layer ReLU network (Section 4)."""

from typing import TYPE_CHECKING

from ovpnet.spec.choices import Learner, learner

if TYPE_CHECKING:
    from ovpnet.nets.base import Net


@learner("three_layer")
class ThreeLayer(Learner):
    """The three-layer ReLU network (Section 4): f_r(x) = <a_r, relu(V relu(W x + b1) + b2)>."""

    matrices = ("W", "V")
    infinite = False
    relu = True

    def net(self) -> "Net":
        from ovpnet.nets.three_layer import (
            FrozenThreeLayerNet,
            LastLayerThreeLayerNet,
            LinearizedThreeLayerNet,
            ThreeLayerNet,
        )

        match self.trained:
            case "last":
                return LastLayerThreeLayerNet()
            case "ntk":
                return LinearizedThreeLayerNet(self.biases)
            case "quadratic":
                return FrozenThreeLayerNet(self.biases)
        return ThreeLayerNet(self.trained, self.biases)
