"""The steps of the reference engine: batched PyTorch, one line of mathematics per line of code."""

import torch

from ovpnet.engine.steps import Chunk, Rule, State, StepLosses, scaled
from ovpnet.nets.base import Net, Network
from ovpnet.nets.regularization import per_member


class ReferenceStepper:
    """Takes the steps that every other engine's are tested against."""

    def measured(self, net: Net) -> Network:
        return net

    @torch.no_grad()
    def advance(self, rule: Rule, state: State, chunk: Chunk) -> StepLosses:
        E, S, _ = chunk.index.shape
        # Put in place: small results between steps would keep the allocator from using the activations' memory again.
        train, monitor = (chunk.x.new_empty(E, S) for _ in range(2))
        members = torch.arange(E, device=chunk.index.device)[:, None]
        for step in range(S):
            index = chunk.index[:, step]
            x, y = chunk.x[members, index], chunk.y[members, index]
            if chunk.monitor_x is not None and chunk.monitor_y is not None:
                fresh = rule.net.output(state.weights, chunk.monitor_x[:, step])
                monitor[:, step] = rule.loss.value(fresh, chunk.monitor_y[:, step]).mean(-1)
            perturbation = None if chunk.perturbation is None else chunk.perturbation(step)
            scale = None if chunk.scale is None else chunk.scale[:, step]
            used = state.weights if perturbation is None else perturbation.apply(state.weights, state.initial)
            output, pullback = rule.net.output_and_gradient(used if scale is None else scaled(used, scale), x)
            train[:, step] = rule.loss.value(output, y).mean(-1)
            gradients = pullback(rule.loss.gradient(output, y) / y.shape[1])
            if perturbation is not None:
                perturbation.pull_back(gradients)
            for name, gradient in gradients.items():
                weights, velocity = state.weights[name], state.velocity[name]
                if name in rule.regularizer.penalties:
                    point = rule.regularizer.point(name, state.weights, state.initial)
                    rule.regularizer.penalties[name].add_gradient(gradient, point, scale)
                torch.addcmul(gradient, velocity, per_member(rule.momentum, velocity), out=velocity)
                weights.addcmul_(per_member(chunk.lr[:, step], weights), velocity, value=-1)
                if perturbation is not None and name in perturbation.iterate_noise:
                    weights.add_(perturbation.iterate_noise[name])
            del output, pullback, gradients, gradient  # which else would be kept while the next ones are made
        return StepLosses(train, None if chunk.monitor_x is None else monitor)
