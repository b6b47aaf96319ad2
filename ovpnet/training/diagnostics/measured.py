"""The diagnostics of an ensemble: columns of the learning curves besides risks, whose last values the runs have."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ovpnet.engine.steps import Rule, State
from ovpnet.spec.config import Config

# The columns [E] after `step` steps in a state, with lambda [E] as the factor of the net.
Measure = Callable[[int, State, Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Measured:
    """An ensemble of runs that share their signature. x [E, N, d] and y [E, N, k] are padded to the largest N."""

    configs: Sequence[Config]
    rule: Rule
    x: Tensor
    y: Tensor


class Diagnostics:
    """Measures an ensemble by all diagnostics that its configs switch on and that its learner has something for."""

    def __init__(self, ensemble: Measured, start: State):
        """Prepare to measure; `start` is the state at initialization."""
        self.x = ensemble.x
        shared = ensemble.configs[0]
        self.measures = [each.measure(ensemble, start) for each in shared.diagnostics.chosen()
                         if each.lacks(shared.learner) is None]

    @torch.no_grad()
    def measure(self, step: int, state: State, scale: Tensor | None = None) -> dict[str, Tensor]:
        """Return the columns [E] after `step` steps, in float64 on the host; nan if there is nothing to measure.

        `scale` [E] is lambda, if the net is lambda f.
        """
        scale = self.x.new_ones(len(self.x)) if scale is None else scale
        measured: dict[str, Tensor] = {}
        for measure in self.measures:
            measured |= measure(step, state, scale)
        return {name: value.double().cpu() for name, value in measured.items()}


def diagnostics(configs: Sequence[Config], rule: Rule, state: State, x: Tensor, y: Tensor) -> Diagnostics | None:
    """Return what measures what the configs ask for, `state` at initialization; None if that is nothing."""
    return Diagnostics(Measured(configs, rule, x, y), state) if configs[0].diagnostics.measured else None
