"""The fused CPU engine: compiled loops that take all steps of a chunk, a member after another (`ovpnet/native/`)."""

import torch

from ovpnet import native
from ovpnet.engine.base import Chunk, Rule, State, StepLosses
from ovpnet.learners import FrozenThreeLayer, FrozenTwoLayer, Learner, ThreeLayer, initial
from ovpnet.losses import LOSSES
from ovpnet.regularizers import Penalty, layer_of

# The numbers that the compiled code knows these by.
_PENALTIES = ("none", "frobenius", "row_24")
_LOSSES = ("l2", "huber", "logistic")
_TWO_LAYER_MODES = ("hidden", "frozen", "last")
_THREE_LAYER_MODES = ("hidden", "quadratic", "ntk", "last")


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
        if isinstance(rule.learner, ThreeLayer):
            function, names, layers, modes = "three_layer", ("W", "b1", "V", "b2", "a"), ("W", "V"), _THREE_LAYER_MODES
        else:
            function, names, layers, modes = "two_layer", ("W", "b", "a"), ("W",), _TWO_LAYER_MODES
        penalties = [self._penalty(rule, layer) for layer in (*layers, "rest")]
        # A learner of frozen signs has its initial weights among the others.
        start = [state.weights.get(initial(name), state.initial.get(name, absent)) for name in names]
        native.call(
            f"{function}_{str(dtype).removeprefix('torch.')}",
            *(each.contiguous() for each in (chunk.x, chunk.y, chunk.index, chunk.lr)),
            *(state.weights[name] for name in names), *(state.velocity.get(name, absent) for name in names), *start,
            rule.momentum, *(each.coefficient for each in penalties), losses,
            E, N, d, state.weights["W"].shape[1], S, B, modes.index(_mode(rule.learner)), _LOSSES.index(_name(rule)),
            *(_PENALTIES.index(each.kind) for each in penalties), rule.regularizer.of_increments,
            torch.get_num_threads())
        return StepLosses(losses, None)

    @staticmethod
    def _penalty(rule: Rule, layer: str) -> Penalty:
        """The penalty of a layer's weights; what is not penalized has one that is 0."""
        of_layer = [penalty for name, penalty in rule.regularizer.penalties.items() if layer_of(name) == layer]
        return of_layer[0] if of_layer else Penalty("none", torch.zeros_like(rule.momentum))


def _mode(learner: Learner) -> str:
    match learner:
        case FrozenTwoLayer():
            return "frozen"
        case FrozenThreeLayer():
            return "ntk" if learner.linear else "quadratic"
    return "last" if "a" in learner.trained else "hidden"


def _name(rule: Rule) -> str:
    return next(name for name, loss in LOSSES.items() if loss is rule.loss)
