"""Population risks of the members of an ensemble, estimated on fresh samples to a stated precision."""

import torch
from torch import Tensor

from ovpnet.engine.limits import EVALUATED_ACTIVATIONS, FEWEST_EVALUATED
from ovpnet.nets.base import Network, Weights
from ovpnet.problem.means import Mean
from ovpnet.spec.choices import Loss

# Samples that kernels take side by side, at most: blocks are a multiple of them, since a sample's place among them can
# change its last bits, and must not depend on how many members there are.
_SIDE_BY_SIDE = 128


@torch.no_grad()
def losses(net: Network, loss: Loss, weights: Weights, x: Tensor, y: Tensor) -> Tensor:
    """Return L(f(x), y) [E, n] of every member on its own samples x [E, n, d], y [E, n, k]."""
    members, n = x.shape[:2]
    room = EVALUATED_ACTIVATIONS // (members * net.activations(weights))
    block = max(FEWEST_EVALUATED, room // _SIDE_BY_SIDE * _SIDE_BY_SIDE)
    # Put in place: small results between blocks of activations would keep the allocator from using these again.
    values = x.new_empty(members, n)
    for start in range(0, n, block):
        output = net.output(weights, x[:, start:start + block])
        values[:, start:start + block] = loss.value(output, y[:, start:start + block])
    return values


def average_over_iterates(risks: Tensor) -> tuple[Mean, Mean]:
    """Return the population risk averaged over the iterates W_0 ... W_{T-1} (Theorem 1), estimated twice.

    risks [T] are unbiased single estimates, one per iterate. Iterates with even t measure the test risk and those with
    odd t the validation risk, so that the two are independent. The variance is that of successive differences (von
    Neumann), which leaves out the decrease of the risk itself.
    """
    return _drifting_mean(risks[0::2]), _drifting_mean(risks[1::2])


def _drifting_mean(values: Tensor) -> Mean:
    values = values.double()
    if len(values) < 2:
        return Mean(len(values), values.sum().item(), 0.0)
    return Mean(len(values), values.mean().item(), values.diff().square().mean().item() / 2 * (len(values) - 1))
