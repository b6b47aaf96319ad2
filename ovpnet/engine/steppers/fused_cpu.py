"""The steps of the fused engine on a CPU: compiled loops that take a chunk, a member after another."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ovpnet import native
from ovpnet.engine.limits import LOSSES, MOST_INPUTS, PENALTIES
from ovpnet.engine.steps import Chunk, Rule, State, StepLosses
from ovpnet.nets.base import Net, Network, Weights, initial
from ovpnet.nets.regularization import Penalty, layer_of


class _Code(NamedTuple):
    """The compiled code of a net: its weights, layers with penalties of their own, and ways of training."""

    function: str
    names: tuple[str, ...]
    layers: tuple[str, ...]
    modes: tuple[str, ...]


_TWO_LAYER = _Code("two_layer", ("W", "b", "a"), ("W", "rest"), ("hidden", "frozen", "last"))
_THREE_LAYER = _Code("three_layer", ("W", "b1", "V", "b2", "a"), ("W", "V", "rest"),
                     ("hidden", "quadratic", "ntk", "last"))


class FusedCpuStepper:
    """Covers what `ovpnet.engine.engines.fused.Fused.lacks` says nothing against, through `ovpnet/native/`.

    A member's numbers are bit for bit the same in any company and with any number of threads.
    """

    def measured(self, net: Net) -> Network:
        return _TwoLayerOutput(net) if net.layers == 2 else net

    @torch.no_grad()
    def advance(self, rule: Rule, state: State, chunk: Chunk) -> StepLosses:
        E, S, B = chunk.index.shape
        _, N, d = chunk.x.shape
        m, dtype = state.weights["W"].shape[1], chunk.x.dtype
        absent = torch.empty(0, dtype=dtype)
        losses = torch.empty(E, S, dtype=dtype)
        code = _THREE_LAYER if rule.net.layers == 3 else _TWO_LAYER
        names, penalties = code.names, [self._penalty(rule, layer) for layer in code.layers]
        # A learner of frozen signs has its initial weights among the others.
        start = [state.weights.get(initial(name), state.initial.get(name, absent)) for name in names]
        native.call(
            _function(code.function, dtype),
            *(each.contiguous() for each in (chunk.x, chunk.y, chunk.index, chunk.lr)),
            *(state.weights[name] for name in names), *(state.velocity.get(name, absent) for name in names), *start,
            rule.momentum, *(each.coefficient for each in penalties), losses,
            E, N, d, m, S, B, code.modes.index(_mode(rule.net)), LOSSES.index(rule.loss.name),
            *(PENALTIES.index(each.kind) for each in penalties), rule.regularizer.of_increments,
            torch.get_num_threads())
        return StepLosses(losses, None)

    @staticmethod
    def _penalty(rule: Rule, layer: str) -> Penalty:
        """Return the penalty of a layer's weights; what is not penalized has one that is 0."""
        of_layer = [penalty for name, penalty in rule.regularizer.penalties.items() if layer_of(name) == layer]
        return of_layer[0] if of_layer else Penalty("none", torch.zeros_like(rule.momentum))


@dataclass(frozen=True)
class _TwoLayerOutput:
    """Outputs of two-layer nets without their activations in memory."""

    net: Net

    def activations(self, weights: Weights) -> int:
        return 1

    def output(self, weights: Weights, x: Tensor) -> Tensor:
        (E, n, d), (_, k, m) = x.shape, weights["a"].shape
        if d > MOST_INPUTS:
            return self.net.output(weights, x)
        outputs = x.new_empty(E, n, k)
        absent = x.new_empty(0)
        native.call(_function("two_layer_output", x.dtype), *(weights[name].contiguous() for name in ("W", "b", "a")),
                    *(weights.get(name, absent) for name in ("W0", "b0")), x.contiguous(), outputs, E, n, d, m, k,
                    torch.get_num_threads())
        return outputs


def _function(name: str, dtype: torch.dtype) -> str:
    return f"{name}_{str(dtype).removeprefix('torch.')}"


def _mode(net: Net) -> str:
    if net.frozen:
        return "frozen" if net.layers == 2 else "ntk" if net.linear else "quadratic"
    return "last" if "a" in net.trained else "hidden"

