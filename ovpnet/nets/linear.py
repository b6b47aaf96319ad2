"""Nets of finite width that are affine in what they train: their kernel, and a trained last layer."""

from abc import abstractmethod

from torch import Tensor

from ovpnet.nets.base import Factors, LinearNet, PlainNet, Pullback, Weights, gram, ones


class FiniteLinearNet(LinearNet):
    """A linear net whose gradients are its `factors`, so that its kernel is their Gram matrix."""

    @property
    def linear(self) -> LinearNet:
        return self

    @abstractmethod
    def factors(self, weights: Weights, x: Tensor) -> Factors: ...

    def kernel(self, weights: Weights, x: Tensor, x2: Tensor) -> Tensor:
        factors = self.factors(weights, x)
        return gram(factors, factors if x2 is x else self.factors(weights, x2))


class LastLayerNet(FiniteLinearNet, PlainNet):
    """A plain net of which the output weights a alone are trained: its kernel is the conjugate kernel <h(x), h(x')>."""

    frozen = False

    def __init__(self) -> None:
        self.trained: tuple[str, ...] = ("a",)

    def output_and_gradient(self, weights: Weights, x: Tensor) -> tuple[Tensor, Pullback]:
        features = self.features(weights, x)
        return features @ weights["a"].mT, lambda output_gradient: {"a": output_gradient.mT @ features}

    def factors(self, weights: Weights, x: Tensor) -> Factors:
        return [(ones(x), {"a": self.features(weights, x)})]
