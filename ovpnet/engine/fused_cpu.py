"""The fused CPU engine: compiled loops that take all steps of a chunk, a member after another (`ovpnet/native/`)."""

import torch

from ovpnet import native
from ovpnet.engine.base import Chunk, Rule, State, StepLosses
from ovpnet.learners import FrozenTwoLayer, initial
from ovpnet.losses import LOSSES
from ovpnet.regularizers import Penalty, layer_of

# The numbers that the compiled code knows these by.
_PENALTIES = ("none", "frobenius", "row_24")
_LOSSES = ("l2", "huber", "logistic")
_HIDDEN, _FROZEN, _LAST = range(3)


class FusedCpuEngine:
    """Covers what `ovpnet.engine_choice.fused_lacks` names nothing of. A member's numbers are bit for bit the same in
    any company and with any number of threads."""

    name = "fused"

    @torch.no_grad()
    def advance(self, rule: Rule, state: State, chunk: Chunk) -> StepLosses:
        E, S, B = chunk.index.shape
        _, N, d = chunk.x.shape
        dtype, trained = chunk.x.dtype, rule.learner.trained
        absent = torch.empty(0, dtype=dtype)
        losses = torch.empty(E, S, dtype=dtype)
        names = ("W", "b", "a")
        mode = _FROZEN if isinstance(rule.learner, FrozenTwoLayer) else _LAST if "a" in trained else _HIDDEN
        # A learner of frozen signs has its initial weights among the others.
        start = [state.weights.get(initial(name), state.initial.get(name, absent)) for name in names]
        of_W, of_rest = (self._penalty(rule, layer) for layer in ("W", "rest"))
        native.call(
            f"two_layer_{str(dtype).removeprefix('torch.')}",
            *(each.contiguous() for each in (chunk.x, chunk.y, chunk.index, chunk.lr)),
            *(state.weights[name] for name in names), *(state.velocity.get(name, absent) for name in names), *start,
            rule.momentum, of_W.coefficient, of_rest.coefficient, losses,
            E, N, d, state.weights["W"].shape[1], S, B, mode, _LOSSES.index(_name(rule)),
            _PENALTIES.index(of_W.kind), _PENALTIES.index(of_rest.kind), rule.regularizer.of_increments,
            torch.get_num_threads())
        return StepLosses(losses, None)

    @staticmethod
    def _penalty(rule: Rule, layer: str) -> Penalty:
        """The penalty of a layer's weights; what is not penalized has one that is 0."""
        of_layer = [penalty for name, penalty in rule.regularizer.penalties.items() if layer_of(name) == layer]
        return of_layer[0] if of_layer else Penalty("none", torch.zeros_like(rule.momentum))


def _name(rule: Rule) -> str:
    return next(name for name, loss in LOSSES.items() if loss is rule.loss)
