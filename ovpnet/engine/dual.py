"""The dual engine: SGD of a learner that is linear in what it trains, at a cost a step that does not grow with m.

Such an f is affine in its weights, f(x) = f_0(x) + <phi(x), W>, so every iterate of SGD with momentum and weight decay
is a combination of the weights W and velocity v at the chunk's start, the initial weights W0 that increments are
counted from, and the training samples' phi(x_i):

    W_t = p_W W + p_v v + p_0 W0 + sum_i alpha_i phi(x_i),     and v_t likewise.

A step then needs the B rows of the kernel <phi(x_i), phi(x_j)> of its minibatch (B N numbers, not B m^2), and the
weights themselves are put together once, at the chunk's end. The iterates are those of the reference engine.
"""

import torch
from torch import Tensor

from ovpnet.engine.base import Chunk, Rule, State, StepLosses
from ovpnet.learners import Weights
from ovpnet.regularizers import Penalty, per_member


class DualEngine:
    """Covers a linear learner (of one output, or its last layer) with one Frobenius penalty or none, judged by its last
    iterate (`ovpnet.engine.engine` sees to it)."""

    name = "dual"

    def __init__(self) -> None:
        self._kernels: tuple[Tensor, Tensor, Tensor] | None = None

    @torch.no_grad()
    def advance(self, rule: Rule, state: State, chunk: Chunk) -> StepLosses:
        kernels, kernel_of = self._kernel(rule, state, chunk)
        lr, momentum = chunk.lr[..., None], rule.momentum[:, None]
        decay = _decay(rule)[:, None]
        starts = [{name: state.weights[name] for name in rule.learner.trained}, state.velocity, state.initial]
        # <phi(x_i), .> of the three starting points [E, N, k], and the offset f_0.
        offset = rule.learner.output(state.weights | _zeros(starts[0]), chunk.x)
        features = torch.stack([rule.learner.output(state.weights | each, chunk.x) - offset for each in starts], -1)
        E, _, k = offset.shape
        members = torch.arange(E, device=offset.device)[:, None]
        p, p_velocity = (offset.new_tensor([row]).repeat(E, 1) for row in ([1.0, 0, 0], [0, 1.0, 0]))
        alpha, alpha_velocity = torch.zeros_like(offset), torch.zeros_like(offset)
        shift = offset.new_tensor([[0.0, 0, float(rule.regularizer.of_increments)]])
        train = []
        for step in range(chunk.index.shape[1]):
            index = chunk.index[:, step]
            y = chunk.y[members, index]
            output = (offset[members, index] + (features[members, index] @ p[:, None, :, None]).squeeze(-1)
                      + kernels[kernel_of, index] @ alpha)
            train.append(rule.loss.value(output, y).mean(-1))
            gradient = rule.loss.gradient(output, y) / y.shape[1]
            alpha_velocity.mul_(momentum[..., None]).add_(decay[..., None] * alpha)
            alpha_velocity.scatter_add_(1, index[..., None].expand(-1, -1, k), gradient)
            p_velocity.mul_(momentum).add_(decay * (p - shift))
            alpha.sub_(lr[:, step, :, None] * alpha_velocity)
            p.sub_(lr[:, step] * p_velocity)
        self._put_together(rule, state, chunk, starts, (p, alpha), (p_velocity, alpha_velocity))
        return StepLosses(torch.stack(train, 1), None)

    def _kernel(self, rule: Rule, state: State, chunk: Chunk) -> tuple[Tensor, Tensor]:
        """Kernels [G, N, N] of the training sets, and each member's number among them [E, 1].

        Members that differ only in lr or weight decay share one. A run's training set and features never change.
        """
        if self._kernels is None or self._kernels[0] is not chunk.x:
            frozen = [value for name, value in state.weights.items() if name not in rule.learner.trained]
            groups = _groups([chunk.x, *frozen])
            first = torch.tensor([groups.index(group) for group in sorted(set(groups))], device=chunk.x.device)
            kernels = torch.cat([rule.learner.kernel({name: value[e:e + 1] for name, value in state.weights.items()},
                                                     chunk.x[e:e + 1], chunk.x[e:e + 1]) for e in first.tolist()])
            self._kernels = chunk.x, kernels, torch.tensor(groups, device=chunk.x.device)[:, None]
        return self._kernels[1:]

    @staticmethod
    def _put_together(rule: Rule, state: State, chunk: Chunk, starts: list[Weights],
                      position: tuple[Tensor, Tensor], velocity: tuple[Tensor, Tensor]) -> None:
        _, pullback = rule.learner.output_and_gradient(state.weights, chunk.x)
        of_features = [pullback(alpha) for _, alpha in (position, velocity)]
        for name in rule.learner.trained:
            new = []
            for (p, _), features in zip((position, velocity), of_features, strict=True):
                total = features[name]
                for column, start in enumerate(starts):
                    total = total.addcmul(per_member(p[:, column], total), start[name])
                new.append(total)
            state.weights[name].copy_(new[0])
            state.velocity[name].copy_(new[1])


def _decay(rule: Rule) -> Tensor:
    """Coefficient [E] of the one Frobenius penalty."""
    penalties: list[Penalty] = list(rule.regularizer.penalties.values())
    return penalties[0].coefficient if penalties else torch.zeros_like(rule.momentum)


def _zeros(weights: Weights) -> Weights:
    return {name: torch.zeros_like(value) for name, value in weights.items()}


def _groups(tensors: list[Tensor]) -> list[int]:
    """Number of each member's group [E]: members are in one group if they agree in all of the tensors [E, ...]."""
    groups: list[int] = []
    firsts: list[int] = []
    for e in range(len(tensors[0])):
        same = (group for group, first in enumerate(firsts)
                if all(torch.equal(each[e], each[first]) for each in tensors))
        group = next(same, len(firsts))
        if group == len(firsts):
            firsts.append(e)
        groups.append(group)
    return groups
