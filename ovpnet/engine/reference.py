"""The reference engine: batched PyTorch on any device, one line of mathematics a line of code."""

import torch
from torch import Tensor

from ovpnet.engine.base import Chunk, Rule, State, StepLosses
from ovpnet.regularizers import GRADIENTS


class ReferenceEngine:
    """Every other engine is tested against this one."""

    name = "reference"

    @torch.no_grad()
    def advance(self, rule: Rule, state: State, chunk: Chunk) -> StepLosses:
        train, monitor = [], []
        regularizer_gradient = GRADIENTS[rule.regularizer]
        members = torch.arange(len(chunk.index), device=chunk.index.device)[:, None]
        for step in range(chunk.index.shape[1]):
            index = chunk.index[:, step]
            x, y = chunk.x[members, index], chunk.y[members, index]
            if chunk.monitor_x is not None and chunk.monitor_y is not None:
                fresh = rule.learner.output(state.weights, chunk.monitor_x[:, step])
                monitor.append(rule.loss.value(fresh, chunk.monitor_y[:, step]).mean(-1))
            output, pullback = rule.learner.output_and_gradient(state.weights, x)
            train.append(rule.loss.value(output, y).mean(-1))
            gradients = pullback(rule.loss.gradient(output, y) / y.shape[1])
            for name in rule.learner.trained:
                weights, velocity, gradient = state.weights[name], state.velocity[name], gradients[name]
                if regularizer_gradient is not None:
                    gradient.add_(_column(rule.weight_decay) * regularizer_gradient(weights))
                velocity.mul_(_column(rule.momentum)).add_(gradient)
                weights.addcmul_(_column(chunk.lr[:, step]), velocity, value=-1)
        return StepLosses(torch.stack(train, 1), torch.stack(monitor, 1) if monitor else None)


def _column(per_member: Tensor) -> Tensor:
    """[E] -> [E, 1, 1], to scale matrices [E, rows, columns]."""
    return per_member[:, None, None]
