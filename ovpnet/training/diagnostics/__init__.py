"""What is measured along training besides risks: columns of the learning curves, and their last values of the runs."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ovpnet.engine.steps import Rule, State, scaled
from ovpnet.nets.regularization import Penalty, Regularizer
from ovpnet.problem.streams import Stream, generator
from ovpnet.spec.config import Config
from ovpnet.training.diagnostics import saddles
from ovpnet.training.diagnostics.approximations import gaps, ntk_drift
from ovpnet.training.diagnostics.net import net, start
from ovpnet.training.diagnostics.norms import norms
from ovpnet.training.diagnostics.saddles import events
from ovpnet.training.diagnostics.signs import sign_changes
from ovpnet.training.diagnostics.smoothed import Objective

__all__ = ["Diagnostics", "diagnostics", "events"]

# Activations (and singular vectors) of the members that are measured at a time, at most (entries).
_ENTRIES = 1 << 24


class Diagnostics:
    """Measures an ensemble of runs that share their signature."""

    def __init__(self, configs: Sequence[Config], rule: Rule, state: State, x: Tensor, y: Tensor):
        """`state` at initialization; x [E, N, d] and y [E, N, k] are the training sets, padded to the largest N."""
        self.configs, self.rule, self.x, self.y = list(configs), rule, x, y
        self.wanted = configs[0].diagnostics
        self.held_out = self._held_out()
        one = x.new_ones(len(configs))
        self.initial_norms = [saddles.gradient_norm(self._objective(e, state, one))
                              for e in range(len(configs))] if self.wanted.saddles else []

    @torch.no_grad()
    def measure(self, step: int, state: State, scale: Tensor | None = None) -> dict[str, Tensor]:
        """The columns [E] after `step` steps, in float64 on the host; nan where there is nothing to measure.

        `scale` [E] is lambda, where the net is lambda f.
        """
        scale = self.x.new_ones(len(self.configs)) if scale is None else scale
        measured: dict[str, Tensor] = {}
        if self.wanted.norms and "W" in self.rule.learner.trained:
            measured |= norms(start(state), net(state.weights))
        if self.wanted.approximations and "W" in self.rule.learner.trained:
            measured |= self._in_blocks(state, scale)
        if self.wanted.saddles:
            measured |= _columns([self._saddle(e, step, state, scale) for e in range(len(self.configs))])
        return {name: value.double().cpu() for name, value in measured.items()}

    def _in_blocks(self, state: State, scale: Tensor) -> dict[str, Tensor]:
        """The approximations, of as many members at once as there is room for."""
        size = max(1, _ENTRIES // (self.wanted.samples * state.weights["a"].shape[-1]))
        blocks = torch.arange(len(self.configs), device=self.x.device).split(size)
        parts = [self._approximations(state.select(members), scale[members], self.held_out[members])
                 for members in blocks]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _approximations(self, state: State, scale: Tensor, x: Tensor) -> dict[str, Tensor]:
        learner, before, now = self.rule.learner, scaled(start(state), scale), scaled(net(state.weights), scale)
        # Without what lambda alone changes: it is a factor of f, f_0 and their approximations.
        measured = sign_changes(before, now, x) | gaps(learner, scaled(state.weights, scale), before, now, x)
        if not learner.linear:  # whose kernel does not move
            measured |= ntk_drift(before, now, x[:, :self.wanted.drift_samples], learner.frozen)
        return measured

    def _saddle(self, e: int, step: int, state: State, scale: Tensor) -> dict[str, float]:
        objective = self._objective(e, state, scale)
        if not all(value.isfinite().all() for value in objective.parameters().values()):
            return {}
        return saddles.saddle(objective, self.configs[e], step, self.initial_norms[e])

    def _objective(self, e: int, state: State, scale: Tensor) -> Objective:
        one, n = slice(e, e + 1), self.configs[e].samples
        regularizer = Regularizer({name: Penalty(penalty.kind, penalty.coefficient[one])
                                   for name, penalty in self.rule.regularizer.penalties.items()},
                                  self.rule.regularizer.of_increments)
        weights, initial = ({name: value[one] for name, value in each.items()}
                            for each in (state.weights, state.initial))
        return Objective(self.rule.learner, self.rule.loss, regularizer, scaled(weights, scale[one]), initial,
                         scale[one], self.x[one, :n], self.y[one, :n])

    def _held_out(self) -> Tensor:
        """x [E, n, d]."""
        if not self.wanted.approximations:
            return self.x[:, :0]
        n = max(self.wanted.samples, self.wanted.drift_samples)
        return torch.stack([config.inputs.sample(generator(config.seed, Stream.DIAGNOSTICS), n)
                            for config in self.configs]).to(self.x)


def diagnostics(configs: Sequence[Config], rule: Rule, state: State, x: Tensor, y: Tensor) -> Diagnostics | None:
    """What the configs ask for, as `Diagnostics` takes it; None where that is nothing."""
    return Diagnostics(configs, rule, state, x, y) if configs[0].diagnostics.measured else None


def _columns(rows: Sequence[Mapping[str, float]]) -> dict[str, Tensor]:
    names: dict[str, None] = dict.fromkeys(name for row in rows for name in row)
    return {name: torch.tensor([row.get(name, torch.nan) for row in rows], dtype=torch.float64) for name in names}
