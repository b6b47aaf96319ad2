"""The distance of the net from its approximations at initialization (Sections 6.2, 6.3) along training.

D_w and D_v are the signs at initialization, and W' = W - W0 and V' = V - V0 the increments. a, b1 and b2 are the
current ones (if they are trained). The approximations are

    quadratic:  a D_v (V D_w (W x + b1) + b2)
    linear:     a D_v (V0 D_w (W x + b1) + V' D_w (W0 x + b1_0) + b2)

Two layers have one and the same, a D_w (W x + b). They are the learners `quadratic` and `ntk` at the current weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ovpnet.engine.steps import State, scaled
from ovpnet.nets.base import Factors, Net, Weights, gram, initial
from ovpnet.problem.streams import Stream, generator
from ovpnet.spec.config import Config
from ovpnet.training.diagnostics.measured import Measured
from ovpnet.training.diagnostics.net import net, pre_activations, start
from ovpnet.training.diagnostics.signs import sign_changes

# Activations of the members that are measured at a time, at most (entries).
_ENTRIES = 1 << 24


class OnHeldOut:
    """Measures the members of an ensemble on held-out x of their own."""

    def __init__(self, ensemble: Measured):
        self.net, self.wanted = ensemble.rule.net, ensemble.configs[0].diagnostics
        self.x = held_out(ensemble.configs).to(ensemble.x)

    def __call__(self, step: int, state: State, scale: Tensor) -> dict[str, Tensor]:
        """Return the columns of `sign_changes`, `gaps` and `ntk_drift`, of as many members at once as have room."""
        size = max(1, _ENTRIES // (self.wanted.samples * self.net.activations(state.weights)))
        blocks = torch.arange(len(self.x), device=self.x.device).split(size)
        parts = [self._of(state.select(members), scale[members], self.x[members]) for members in blocks]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _of(self, state: State, scale: Tensor, x: Tensor) -> dict[str, Tensor]:
        before, now = scaled(start(state), scale), scaled(net(state.weights), scale)
        # Without what lambda alone changes: it is a factor of f, f_0 and their approximations.
        measured = sign_changes(before, now, x) | gaps(self.net, scaled(state.weights, scale), before, now, x)
        if self.net.linear is None:  # else its kernel does not move
            measured |= ntk_drift(before, now, x[:, :self.wanted.drift_samples], self.net.frozen)
        return measured


def held_out(configs: Sequence[Config]) -> Tensor:
    """Draw x [E, n, d] for each of the configs, float64."""
    n = max(configs[0].diagnostics.samples, configs[0].diagnostics.drift_samples)
    return torch.stack([config.inputs.sample(generator(config.seed, Stream.DIAGNOSTICS), n) for config in configs])


def gaps(trained: Net, weights: Weights, start: Weights, now: Weights, x: Tensor) -> dict[str, Tensor]:
    """Return `gap_quadratic` and `gap_linear` [E], and both `_relative` to the change f - f_0 since initialization.

    A gap is the root mean square of f - quadratic or f - linear over x [E, n, d] and outputs; the change is measured
    likewise. f is the trained net's function of `weights`; `start` and `now` are the plain net then and now.
    """
    f = trained.output(weights, x)
    frozen = now | {initial(name): value for name, value in start.items()}
    models = {name: model.output(frozen, x)
              for name, model in zip(("gap_linear", "gap_quadratic"), trained.approximations(), strict=True)}
    change = _root_mean_square(f - pre_activations(start, x)[-1].relu() @ start["a"].mT)
    measured = {name: _root_mean_square(f - model) for name, model in models.items()}
    return measured | {f"{name}_relative": value / change for name, value in measured.items()}


def ntk_drift(start: Weights, now: Weights, x: Tensor, frozen_signs: bool) -> dict[str, Tensor]:
    """Return `ntk_drift` [E]: ||K - K0||_F / ||K0||_F of the Gram matrices now and at initialization.

    They are those of f's gradients in W and V at x [E, n, d]; of several outputs, each one's own gradients count
    together. f is the plain net, or with `frozen_signs` (at initialization) its quadratic approximation.
    """
    change = size = torch.zeros((), dtype=x.dtype, device=x.device)
    signs = _signs(start, x)
    for r in range(now["a"].shape[1]):
        before = _kernel(start, signs, r, x)
        after = _kernel(now, signs if frozen_signs else _signs(now, x), r, x)
        change = change + (after - before).square().sum((1, 2))
        size = size + before.square().sum((1, 2))
    return {"ntk_drift": (change / size).sqrt()}


def _signs(net: Weights, x: Tensor) -> list[Tensor]:
    return [z >= 0 for z in pre_activations(net, x)]


def _kernel(net: Weights, signs: list[Tensor], r: int, x: Tensor) -> Tensor:
    """Return the Gram matrix [E, n, n] of f_r's gradients: a_r D_v (V D_w (W x + b1) + b2), or a_r D_w (W x + b)."""
    a = net["a"][:, r:r + 1]
    if "V" not in net:
        factors: Factors = [(signs[0] * a, {"W": x})]
    else:
        g_v = signs[1] * a
        first = torch.baddbmm(net["b1"].unsqueeze(1), x, net["W"].mT) * signs[0]
        factors = [((g_v @ net["V"]) * signs[0], {"W": x}), (g_v, {"V": first})]
    return gram(factors, factors)


def _root_mean_square(values: Tensor) -> Tensor:
    return values.square().mean((1, 2)).sqrt()
