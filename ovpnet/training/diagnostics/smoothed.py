"""The smoothed objective (Section 6.4) of one member, its gradient and its Hessian-vector products.

    L'(theta) = E mean_n L( lambda f(x_n; theta + rho), y_n ) + R( sqrt(lambda) theta' )

over the training set and over Gaussian rho in W and V; in Algorithm 2 also over Sigma, which multiplies the increments.
The mean is taken over a few draws. The gradient may be averaged as it is, but the Hessian may not. The piecewise linear
net has its curvature in its kinks, which an average of the Hessians between them leaves out (`kinks`). With 40,000
draws the Hessian's entries agree with closed forms (two layers) and quadrature (three) to 2% of its norm.
`saddles.saddle` says what is biased which way with the few draws that training can afford.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ovpnet.engine.steps import Perturbation
from ovpnet.nets.base import Net, Weights
from ovpnet.nets.regularization import Penalties
from ovpnet.spec.choices import Loss
from ovpnet.training.diagnostics.kinks import kinks

Product = Callable[[Weights], Weights]


@dataclass(frozen=True)
class Objective:
    """The objective of one member: tensors have E = 1, the training set x [1, N, d], y [1, N, k] is not padded."""

    net: Net
    loss: Loss
    regularizer: Penalties
    weights: Weights  # lambda is a factor of the output weights a
    initial: Weights
    scale: Tensor  # lambda [1]
    x: Tensor
    y: Tensor

    def parameters(self) -> Weights:
        """Return the trained weights."""
        return {name: self.weights[name] for name in self.net.trained}

    def gradients(self, draws: Perturbation) -> Weights:
        """Return the gradients [S, ...] of the objective under each of S draws."""
        weights, x, y = self._drawn(draws, self.parameters())
        output, pullback = self.net.output_and_gradient(weights, x)
        gradients = pullback(self.loss.gradient(output, y) / x.shape[1])
        draws.pull_back(gradients)
        for name, penalty in self.regularizer.penalties.items():
            point = self.regularizer.point(name, self.weights, self.initial)
            penalty.add_gradient(gradients[name], point, self.scale)
        return gradients

    def value(self, draws: Perturbation, factor: float = 1.0) -> float:
        """Return the objective with `factor` lambda in place of lambda."""
        weights, x, y = self._drawn(draws, self.parameters())
        risk = self.loss.value(factor * self.net.output(weights, x).double(), y.double()).mean()
        return (risk + self._penalty(self.parameters(), factor)).item()

    def hessian(self, draws: Perturbation, deviations: dict[str, float]) -> Product:
        """Return the map from v to the Hessian of L' times v, both with the shapes of `parameters`.

        `deviations` are those of the draws' W^rho and V^rho. The map is exact in the noise of the neuron that a kink
        belongs to. The rest of the noise is averaged over the draws, so it is unbiased and its error falls as 1 /
        sqrt(draws).
        """
        leaves = {name: value.clone().requires_grad_() for name, value in self.parameters().items()}
        with torch.enable_grad():
            weights, x, y = self._drawn(draws, leaves)
            risk = self.loss.value(self.net.output(weights, x), y).mean() + self._penalty(leaves, 1.0)
            gradient = torch.autograd.grad(risk, list(leaves.values()), create_graph=True)
        of_kinks = None
        if not self.net.frozen:
            with torch.no_grad():
                mean, _, _ = self._drawn(Perturbation({}, draws.signs, {}), self.parameters())
                of_kinks = kinks(self.loss, mean, self._drawn(draws, self.parameters())[0], deviations, self.x, self.y)

        S = _count(draws)

        def product(direction: Weights) -> Weights:
            smooth = torch.autograd.grad(gradient, list(leaves.values()), [direction[name] for name in leaves],
                                         retain_graph=True, materialize_grads=True)
            total = dict(zip(leaves, smooth, strict=True))
            if of_kinks is not None:
                moved = {name: value.expand(S, *value.shape[1:]).clone() for name, value in direction.items()}
                draws.pull_back(moved)
                jumps = of_kinks(moved)
                draws.pull_back(jumps)
                for name in jumps.keys() & total.keys():
                    total[name] = total[name] + jumps[name].sum(0, keepdim=True)
            return total

        return product

    def _drawn(self, draws: Perturbation, parameters: Weights) -> tuple[Weights, Tensor, Tensor]:
        """Return weights [S, ...] under the draws, and the training set for each."""
        S = _count(draws)
        weights = {name: value.expand(S, *value.shape[1:]) for name, value in (self.weights | parameters).items()}
        return draws.apply(weights, self.initial), self.x.expand(S, -1, -1), self.y.expand(S, -1, -1)

    def _penalty(self, parameters: Weights, factor: float) -> Tensor:
        value = self.regularizer.value(self.weights | parameters, self.initial, factor * self.scale)
        return value.sum() if isinstance(value, Tensor) else self.x.new_tensor(value)


def _count(draws: Perturbation) -> int:
    tensors = [*draws.smoothing.values(), *([] if draws.signs is None else [draws.signs])]
    return len(tensors[0]) if tensors else 1
