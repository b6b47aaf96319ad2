"""Population risks of the members of an ensemble, estimated on fresh samples to a stated precision."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ovpnet.nets.base import Network, Weights
from ovpnet.problem.sets import Floats
from ovpnet.spec.choices import Loss

# Hidden activations of one evaluation, at most (entries): about the size of a core's cache on a CPU.
_ACTIVATIONS = 1 << 20
# Samples that kernels take side by side, at most: blocks are a multiple of them, since a sample's place among them can
# change its last bits, and must not depend on how many members there are.
_SIDE_BY_SIDE = 128


@dataclass
class Mean:
    """Running mean of n losses, and the sum of their squared deviations from it (Chan et al.'s update)."""

    n: int = 0
    mean: float = 0.0
    deviation: float = 0.0

    @property
    def se(self) -> float:
        """Standard error of the mean; nan of a single loss."""
        return math.sqrt(self.deviation / (self.n - 1) / self.n) if self.n > 1 else math.nan

    def add(self, losses: "Mean") -> None:
        """Take in further losses, by their mean."""
        shift, total = losses.mean - self.mean, self.n + losses.n
        self.deviation += losses.deviation + shift * shift * self.n * losses.n / total
        self.mean += shift * losses.n / total
        self.n = total


def means(losses: Tensor) -> list[Mean]:
    """The mean of each row of losses [E, n], summed in the same order whatever rows there are beside it."""
    with np.errstate(invalid="ignore", over="ignore"):  # of members that diverged
        return [_mean(row.astype(np.float64)) for row in losses.cpu().numpy()]


def _mean(losses: Floats) -> Mean:
    mean = losses.mean()
    return Mean(len(losses), mean.item(), np.square(losses - mean).sum().item())


@torch.no_grad()
def losses(net: Network, loss: Loss, weights: Weights, x: Tensor, y: Tensor) -> Tensor:
    """L(f(x), y) [E, n] of every member on its own samples x [E, n, d], y [E, n, k]."""
    members, n = x.shape[:2]
    block = max(64, _ACTIVATIONS // (members * net.activations(weights)) // _SIDE_BY_SIDE * _SIDE_BY_SIDE)
    # Put in place: small results between blocks of activations would keep the allocator from using these again.
    values = x.new_empty(members, n)
    for start in range(0, n, block):
        output = net.output(weights, x[:, start:start + block])
        values[:, start:start + block] = loss.value(output, y[:, start:start + block])
    return values


def average_over_iterates(risks: Tensor) -> tuple[Mean, Mean]:
    """Population risk averaged over the iterates W_0 ... W_{T-1} (Theorem 1's statistic), estimated twice.

    risks [T] are unbiased single estimates, one an iterate. Iterates with even t measure the test risk and
    those with odd t the validation risk, so that the two are independent. The variance is that of successive
    differences (von Neumann), which leaves out the decrease of the risk itself.
    """
    return _drifting_mean(risks[0::2]), _drifting_mean(risks[1::2])


def _drifting_mean(values: Tensor) -> Mean:
    values = values.double()
    if len(values) < 2:
        return Mean(len(values), values.sum().item(), 0.0)
    return Mean(len(values), values.mean().item(), values.diff().square().mean().item() / 2 * (len(values) - 1))
