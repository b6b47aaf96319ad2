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

    def net(self) -> "Net":
        from ovpnet.nets.three_layer import FrozenThreeLayerNet, ThreeLayerNet

        return (FrozenThreeLayerNet if self.frozen else ThreeLayerNet)(self.trained, self.biases)
