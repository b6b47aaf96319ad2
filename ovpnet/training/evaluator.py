"""The measurements of an ensemble: points of the learning curves, and risks to a stated precision in the end."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ovpnet.engine.steps import State
from ovpnet.nets.base import Network, Weights
from ovpnet.problem.means import Mean, means
from ovpnet.problem.streams import Stream
from ovpnet.training.diagnostics.measured import Diagnostics
from ovpnet.training.members import Members
from ovpnet.training.outcome import Goal, Outcome, Point
from ovpnet.training.risk import losses


class Evaluator:
    """Measures the members through `net`, their own or an engine's form of it."""

    def __init__(self, members: Members, goals: Sequence[Goal], net: Network, diagnostics: Diagnostics | None):
        self.members, self.goals, self.net, self.diagnostics = members, goals, net, diagnostics

    def point(self, step: int, train: Tensor, weights: Weights, state: State, scale: Tensor | None = None) -> Point:
        """Return the point after `step` steps: of the net that is measured, whose weights these are.

        `train` [E] is the training loss that it is to have; `scale` [E] is lambda, if the net is lambda f.
        """
        test = losses(self.net, self.members.loss, weights, *self._curve_samples)
        diagnosed = {} if self.diagnostics is None else self.diagnostics.measure(step, state, scale)
        return Point(step, train.cpu(), test.cpu(), diagnosed)

    def outcome(self, points: list[Point], weights: Weights, iterates: Tensor | None = None,
                extras: dict[str, Tensor] | None = None) -> Outcome:
        """Return everything measured, with the risks of the last iterate's weights."""
        return Outcome(points, self.empirical_risk(weights), self.population_risk(weights, Stream.TEST),
                       self.population_risk(weights, Stream.VALIDATION), iterates, self._diverged(weights),
                       extras or {})

    def empirical_risk(self, weights: Weights) -> Tensor:
        """Return the mean loss [E] of weights on the members' own training sets."""
        members = self.members
        values = losses(self.net, members.loss, weights, members.x, members.y).cpu()
        return torch.stack([each[:config.samples].mean() for each, config in zip(values, members.configs, strict=True)])

    def population_risk(self, weights: Weights, stream: Stream) -> list[Mean]:
        """Return the risk of every member, from fresh samples until each is known precisely enough.

        A member's estimate takes as many samples as it needs itself, whatever the others need.
        """
        members = self.members
        risks = [Mean() for _ in members.configs]
        active, block = list(range(len(members.configs))), 0
        while active:
            block += 1  # block 0 of the test stream is the learning curve's
            x, y = members.samples(active, stream, [members.shared.test.samples] * len(active), block)
            chosen = torch.tensor(active, device=members.device)
            of_active = {name: value[chosen] for name, value in weights.items()}
            for e, found in zip(active, means(losses(self.net, members.loss, of_active, x, y)), strict=True):
                risks[e].add(found)
            active = [e for e in active if not self._precise(risks[e], self.goals[e])]
        return risks

    @cached_property
    def _curve_samples(self) -> tuple[Tensor, Tensor]:
        return self.members.fresh(Stream.TEST, self.members.shared.test.curve_samples)

    def _precise(self, risk: Mean, goal: Goal) -> bool:
        test = self.members.shared.test
        enough = risk.se <= test.se * max(goal.epsilon, risk.mean - goal.opt.opt)
        return enough or not np.isfinite(risk.mean) or risk.n + test.samples > test.max_samples

    def _diverged(self, weights: Weights) -> Tensor:
        finite = [weights[name].isfinite().flatten(1).all(1) for name in self.members.net.trained]
        return ~torch.stack(finite).all(0).cpu()
