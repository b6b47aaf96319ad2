"""The steps of the dual engine: SGD of a linear learner, at a cost per step that does not grow with m.

An f that is linear in what is trained is affine in its weights, f(x) = f_0(x) + <phi(x), W>. So every iterate of SGD
with momentum and weight decay is a combination

    W_t = p_W W + p_v v + p_0 W0 + sum_i alpha_i phi(x_i),     and v_t likewise,

of the weights W and velocity v at the chunk's start, the initial weights W0 that increments are counted from, and the
training samples' phi(x_i). A step then needs the B rows of the kernel <phi(x_i), phi(x_j)> of its minibatch (B N
numbers, not B m^2). The weights themselves are put together once, at the chunk's end. The iterates are those of the
reference engine.
"""

import torch
from torch import Tensor

from ovpnet.engine.steps import Chunk, Rule, State, StepLosses
from ovpnet.nets.base import Net, Network, Weights
from ovpnet.nets.regularization import Penalty, per_member


class DualStepper:
    """Covers what `ovpnet.engine.engines.dual.Dual.lacks` says nothing against.

    One instance follows one ensemble: what it knows of the training samples' outputs goes on from chunk to chunk. What
    follows the weights only up to rounding it keeps in the state, so that another instance goes on bit for bit:
    `features` [E, N, k, 3]. Members that agree in data, features and minibatches (they differ in lr or weight decay,
    say) form a group. Its rows of the kernel are read once per step and multiply all its members' coefficients.
    """

    def __init__(self) -> None:
        self._of: tuple[Tensor, State] | None = None  # what the following are of
        self._groups: _Groups
        self._kernels: Tensor  # [G, N, N]
        self._offset: Tensor  # [G, N, M, k], f_0 at the training samples
        self._features: Tensor  # [G, N, M, k, 3], <phi(x_i), .> of the chunk's three starting points

    def measured(self, net: Net) -> Network:
        return net

    @torch.no_grad()
    def advance(self, rule: Rule, state: State, chunk: Chunk) -> StepLosses:
        if self._of is None or self._of[0] is not chunk.x or self._of[1] is not state:
            self._prepare(rule, state, chunk)
        groups, kernels, offset, features = self._groups, self._kernels, self._offset, self._features
        y = groups.spread(chunk.y).transpose(1, 2)
        lr, momentum, decay = (groups.spread(each)[:, None] for each in (chunk.lr, rule.momentum, _decay(rule)))
        G, _, M, k = y.shape
        index = chunk.index[groups.first]
        group = torch.arange(G, device=index.device)[:, None]
        p, p_velocity = (offset.new_tensor(row).repeat(G, 1, M, 1) for row in ([1.0, 0, 0], [0, 1.0, 0]))
        shift = offset.new_tensor([0.0, 0, float(rule.regularizer.of_increments)])
        alpha, alpha_velocity = (torch.zeros_like(y, memory_format=torch.contiguous_format) for _ in range(2))
        train = []
        for step in range(chunk.index.shape[1]):
            batch = index[:, step]  # [G, B]; below, [G, B | N | 1, M, k]
            rate, B = lr[..., step, None], batch.shape[1]
            output = offset[group, batch] + (features[group, batch] * p.unsqueeze(-2)).sum(-1)
            output += (kernels[group, batch] @ alpha.view(G, -1, M * k)).view(G, B, M, k)
            targets = y[group, batch]
            train.append(rule.loss.value(output, targets).mean(1))
            gradient = rule.loss.gradient(output, targets) / B
            alpha_velocity.mul_(momentum[..., None]).addcmul_(decay[..., None], alpha)
            alpha_velocity.scatter_add_(1, batch[..., None, None].expand(-1, -1, M, k), gradient)
            p_velocity.mul_(momentum[..., None]).addcmul_(decay[..., None], p - shift)
            alpha.addcmul_(rate, alpha_velocity, value=-1)
            p.addcmul_(rate, p_velocity, value=-1)
        self._put_together(rule, state, chunk, [(p, alpha), (p_velocity, alpha_velocity)])
        return StepLosses(groups.collect(torch.stack(train, -1)), None)

    def _prepare(self, rule: Rule, state: State, chunk: Chunk) -> None:
        """Make the groups, and what is known of their training sets, in the first chunk."""
        frozen = [value for name, value in state.weights.items() if name not in rule.net.trained]
        self._groups = _Groups(group_numbers([chunk.x, chunk.index, *frozen]), chunk.x.device)
        N = chunk.x.shape[1]
        self._kernels = chunk.x.new_empty(len(self._groups.first), N, N)
        linear = rule.net.linear
        assert linear is not None
        for kernel, e in zip(self._kernels, self._groups.first, strict=True):
            x = chunk.x[e:e + 1]
            kernel[:] = linear.kernel({name: value[e:e + 1] for name, value in state.weights.items()}, x, x)[0]
        offset = rule.net.output(state.weights | _zeros(state.velocity), chunk.x)
        features = state.kept["features"] if state.kept else torch.stack(
            [rule.net.output(state.weights | each, chunk.x) - offset for each in _starts(rule, state)], -1)
        self._offset, self._features = (self._groups.spread(each).transpose(1, 2).contiguous()
                                        for each in (offset, features))
        self._of = chunk.x, state

    def _put_together(self, rule: Rule, state: State, chunk: Chunk, at_end: list[tuple[Tensor, Tensor]]) -> None:
        """Make weights, velocity and their features of the coefficients p [G, 1, M, 3], alpha [G, N, M, k] of each."""
        G, N, M, k = self._offset.shape
        self._features[..., :2] = torch.stack(
            [(self._features * p.unsqueeze(-2)).sum(-1) + (self._kernels @ alpha.view(G, N, M * k)).view(G, N, M, k)
             for p, alpha in at_end], -1)
        state.kept["features"] = self._groups.collect(self._features.transpose(1, 2))
        at_end = [(self._groups.collect(p[:, 0]), self._groups.collect(alpha.transpose(1, 2))) for p, alpha in at_end]
        starts = _starts(rule, state)
        _, pullback = rule.net.output_and_gradient(state.weights, chunk.x)
        of_features = [pullback(alpha) for _, alpha in at_end]
        for name in rule.net.trained:
            new = []
            for (p, _), features in zip(at_end, of_features, strict=True):
                total = features[name]
                for column, start in enumerate(starts):
                    total = total.addcmul(per_member(p[:, column], total), start[name])
                new.append(total)
            state.weights[name].copy_(new[0])
            state.velocity[name].copy_(new[1])


class _Groups:
    """Members [E] arranged as [G, M]: groups, padded to the largest with copies of their first members."""

    def __init__(self, numbers: list[int], device: torch.device):
        members = [[e for e, number in enumerate(numbers) if number == group] for group in range(max(numbers) + 1)]
        largest = max(map(len, members))
        self.first = [each[0] for each in members]
        self._member = torch.tensor([each + each[:1] * (largest - len(each)) for each in members], device=device)
        self._group = torch.tensor(numbers, device=device)
        self._slot = torch.tensor([members[number].index(e) for e, number in enumerate(numbers)], device=device)

    def spread(self, value: Tensor) -> Tensor:
        """Return a value [E, ...] as [G, M, ...]."""
        return value[self._member]

    def collect(self, value: Tensor) -> Tensor:
        """Return a value [G, M, ...] as [E, ...]."""
        return value[self._group, self._slot]


def _decay(rule: Rule) -> Tensor:
    """Return the coefficient [E] of the one Frobenius penalty."""
    penalties: list[Penalty] = list(rule.regularizer.penalties.values())
    return penalties[0].coefficient if penalties else torch.zeros_like(rule.momentum)


def _starts(rule: Rule, state: State) -> list[Weights]:
    """Return the weights that iterates are combinations of, beside the samples' phi(x_i): W, v and W0."""
    return [{name: state.weights[name] for name in rule.net.trained}, state.velocity, state.initial]


def _zeros(weights: Weights) -> Weights:
    return {name: torch.zeros_like(value) for name, value in weights.items()}


def group_numbers(tensors: list[Tensor]) -> list[int]:
    """Return the number of each member's group [E]: those of one group agree in all of the tensors [E, ...]."""
    numbers: list[int] = []
    firsts: list[int] = []
    for e in range(len(tensors[0])):
        same = (group for group, first in enumerate(firsts)
                if all(torch.equal(each[e], each[first]) for each in tensors))
        number = next(same, len(firsts))
        if number == len(firsts):
            firsts.append(e)
        numbers.append(number)
    return numbers
