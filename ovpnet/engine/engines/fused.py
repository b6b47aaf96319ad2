"""The fused engine: all steps of a chunk in compiled loops on a CPU (C++) and in kernels on CUDA (Triton)."""

import math
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ovpnet.engine.base import Engine, Shape
from ovpnet.engine.limits import LOSSES, MOST_INPUTS, PENALTIES
from ovpnet.engine.rates import Machine, at
from ovpnet.engine.registry import engine
from ovpnet.engine.sizes import hidden_products
from ovpnet.spec.config import Config

if TYPE_CHECKING:
    import torch

    from ovpnet.engine.steps import Stepper

# Up to this size V and its velocity are one thread's (ovpnet/native/three_layer.cpp).
_CORE_CACHE = 1 << 20
# A step by hidden layers and what is trained, measured in those of the hidden weights (1 if not named).
_PARTS = {1: {"last": 1.1, "ntk": 1.5, "quadratic": 1.5}, 2: {"quadratic": 1.25, "ntk": 1.7, "last": 0.37}}


@engine("fused")
class Fused(Engine):
    """Covers SGD, with momentum and penalties, of two- and three-layer nets of one output."""

    def lacks(self, config: Config) -> str | None:
        trained = config.learner.trained
        if not config.algorithm.iterative:
            return f"algorithm={config.algorithm.name}, which takes no steps"
        if config.algorithm.perturbed:
            return f"algorithm={config.algorithm.name}"
        if config.width2 is not None:
            return f"width2={config.width2}"
        if trained == "all":
            return "learner.trained=all"
        if config.concept.k > 1:
            return f"concept.k={config.concept.k}"
        if not config.learner.relu:
            return f"learner={config.learner.name}"
        if config.loss.name not in LOSSES:
            return f"loss={config.loss.name}"
        if any(getattr(config.regularizer, layer) not in PENALTIES for layer in config.learner.trained_layers):
            return f"regularizer={config.regularizer.name}"
        if config.learner.hidden_layers == 1 and config.inputs.d > MOST_INPUTS:
            return f"inputs.d={config.inputs.d}"
        if trained == "last" and config.regularizer.rest == "row_24":
            return "regularizer=row_24 with learner.trained=last"
        if config.algorithm.judged == "average" and config.algorithm.sampling != "one_pass":
            return "algorithm.judged=average"
        return None

    def lacks_on(self, config: Config, device: str) -> str | None:
        if device == "cuda":
            return self._lacks_on_cuda(config)
        from ovpnet import native

        if device == "cpu" and native.library() is not None:
            return None
        return "the fused engine was not compiled when ovpnet was installed (it needs a C++ compiler)"

    @staticmethod
    def _lacks_on_cuda(config: Config) -> str | None:
        """Return as `lacks_on` for CUDA; torch's CUDA builds bring Triton along."""
        trained = config.learner.trained
        if find_spec("triton") is None:
            return "the fused engine needs the package triton on CUDA"
        if config.learner.hidden_layers == 2 and trained != "hidden":
            return f"the fused engine covers no {config.learner.name} with learner.trained={trained} on CUDA"
        return None

    def work(self, config: Config) -> float:
        """Count every activation of a sample once per step."""
        return config.total_steps * config.batch_size * hidden_products(config)

    def step_bytes(self, shape: Shape) -> int:
        """Return 0: steps work on the weights in place."""
        return 0

    def evaluated_activations(self, shape: Shape) -> int:
        """Return 1 for two layers, whose outputs come without activations in memory."""
        return 1 if shape.sizes.layers == 1 else shape.activations

    def step_seconds(self, shape: Shape, machine: Machine) -> float:
        config, sizes, E, rates = shape.shared, shape.sizes, shape.members, machine.rates
        B, m, layers, slow = config.batch_size, config.width, sizes.layers, sizes.itemsize / 4
        # Threads take a member each, or share one member after another if they are too few, or if it is too large.
        shared = machine.threads > E or 2 * sizes.squares * sizes.itemsize > _CORE_CACHE
        turns = E / machine.threads if shared else math.ceil(E / machine.threads)
        part = _PARTS[layers].get(config.learner.trained, 1.0)
        work = (at(rates.fused, m) * B * m * (config.inputs.d + 2) if layers == 1
                else at(rates.fused_flop, m) * 6 * B * sizes.squares)
        alone = at(rates.fused_alone if layers == 1 else rates.fused_flop_alone, m)
        return max(turns * (rates.fused_member * B / 50 + slow * part * work), slow * alone * B / 50)

    def stepper(self, device: "torch.device") -> "Stepper":
        if device.type == "cuda":
            from ovpnet.engine.steppers.fused_cuda import FusedCudaStepper

            return FusedCudaStepper()
        from ovpnet.engine.steppers.fused_cpu import FusedCpuStepper

        return FusedCpuStepper()
