"""The steps of the fused engine on CUDA: Triton kernels that take a chunk's steps without the host in between.

Small two-layer nets take a chunk in one launch. For the rest, the launches of a chunk are recorded as a CUDA graph and
replayed for every further chunk of that length. The kernels are in `ovpnet/engine/cuda/`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ovpnet.engine.steps import Chunk, Rule, State, StepLosses
from ovpnet.nets.base import Net, Network, Weights


class FusedCudaStepper:
    """Covers SGD, with momentum and penalties, of nets of one output under the losses l2, huber and logistic.

    Of two-layer nets it trains the hidden weights (with frozen signs or not) or the last layer, of three-layer nets the
    hidden weights. One instance follows one ensemble: its buffers and recorded launches go on from chunk to chunk.
    """

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []  # those that the launches read and write
        self._launches: dict[int, _Launches] = {}  # by the number of steps of a chunk

    @torch.no_grad()
    def advance(self, rule: Rule, state: State, chunk: Chunk) -> StepLosses:
        """Take the steps as `Stepper.advance` does. Raises ValueError for what the kernels do not cover."""
        if chunk.monitor_x is not None or chunk.scale is not None or chunk.perturbation is not None:
            raise ValueError("the fused engine covers neither fresh samples nor perturbations nor a scale")
        tensors = [chunk.x, chunk.y, rule.momentum, *state.weights.values(), *state.velocity.values(),
                   *state.initial.values(), *(each.coefficient for each in rule.regularizer.penalties.values())]
        if [id(each) for each in tensors] != [id(each) for each in self._tensors]:
            self._tensors, self._launches = tensors, {}
        steps = chunk.index.shape[1]
        if steps not in self._launches:
            self._launches[steps] = _Launches.of(rule, state, chunk)
        return StepLosses(self._launches[steps].take(chunk), None)

    def measured(self, net: Net) -> Network:
        return _TwoLayerOutput(net) if net.layers == 2 else net


@dataclass(frozen=True)
class _TwoLayerOutput:
    """Outputs of two-layer nets without their activations in memory, if the inputs are few."""

    net: Net

    def activations(self, weights: Weights) -> int:
        from ovpnet.engine.cuda import two_layer  # which needs triton

        return self.net.activations(weights) if weights["W"].shape[-1] > two_layer.MOST_OUTPUT_INPUTS else 1

    def output(self, weights: Weights, x: Tensor) -> Tensor:
        from ovpnet.engine.cuda import two_layer  # which needs triton

        if x.shape[-1] > two_layer.MOST_OUTPUT_INPUTS:
            return self.net.output(weights, x)
        with torch.cuda.device_of(x):
            return two_layer.output(weights, x)


@dataclass
class _Launches:
    """The steps of a chunk at fixed addresses: minibatches and learning rates are copied there, losses from there."""

    index: Tensor  # [E, S, B] int32
    lr: Tensor  # [E, S]
    losses: Tensor  # [E, S]
    steps: Callable[[], None]
    taken: int = 0
    graph: torch.cuda.CUDAGraph | None = None

    @staticmethod
    def of(rule: Rule, state: State, chunk: Chunk) -> "_Launches":
        from ovpnet.engine.cuda import three_layer, two_layer  # which need triton

        fixed = replace(chunk, index=torch.empty_like(chunk.index, dtype=torch.int32).contiguous(),
                        lr=torch.empty_like(chunk.lr).contiguous())
        losses = torch.empty_like(fixed.lr)
        kernels = three_layer if "V" in state.weights else two_layer
        return _Launches(fixed.index, fixed.lr, losses, kernels.steps(rule, state, fixed, losses))

    def take(self, chunk: Chunk) -> Tensor:
        """Take the steps and return their losses [E, S].

        The first time launches compile the kernels, the second time they are recorded.
        """
        self.index.copy_(chunk.index)
        self.lr.copy_(chunk.lr)
        if self.graph is not None:
            self.graph.replay()
        elif self.taken and chunk.x.is_cuda:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.device(chunk.x.device), torch.cuda.graph(self.graph):
                self.steps()
            self.graph.replay()
        else:
            with torch.cuda.device_of(chunk.x):
                self.steps()
        self.taken += 1
        return self.losses.clone()
