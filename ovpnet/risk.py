"""Population risks of the members of an ensemble, estimated on fresh samples to a stated precision."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ovpnet.learners import Network, Weights
from ovpnet.losses import Loss

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

    def add(self, losses: Tensor) -> None:
        """Take in further losses [n]."""
        losses = losses.double()
        n, mean = len(losses), losses.mean().item()
        shift, total = mean - self.mean, self.n + n
        self.deviation += (losses - mean).square().sum().item() + shift * shift * self.n * n / total
        self.mean += shift * n / total
        self.n = total


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
