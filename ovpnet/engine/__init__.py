"""Training engines: one interface, chosen by config; their results agree."""

import logging
from collections.abc import Sequence

from ovpnet.config import Config, linear_layers
from ovpnet.engine.base import Chunk, Engine, Perturbation, Rule, State, StepLosses, scaled
from ovpnet.engine.dual import DualEngine
from ovpnet.engine.reference import ReferenceEngine

__all__ = ["Chunk", "DualEngine", "Engine", "Perturbation", "ReferenceEngine", "Rule", "State", "StepLosses", "engine",
           "scaled"]

# A step of the reference engine reads or writes every feature of a sample about this many times.
_PASSES = 10
# Entries of one kernel [N, N], at most.
_KERNEL_ENTRIES = 1 << 28


def engine(configs: Sequence[Config]) -> Engine:
    """The engine for an ensemble of these runs, which share their signature and the key `engine`."""
    shared = configs[0]
    if shared.engine == "reference" or shared.algorithm.name == "kernel_ridge":  # which takes no steps
        return ReferenceEngine()
    missing = _dual_lacks(configs)
    if missing and shared.engine == "dual":
        logging.getLogger(__name__).warning("engine=dual does not cover %s; using the reference engine", missing)
    if missing or (shared.engine == "auto" and not _dual_pays(configs)):
        return ReferenceEngine()
    return DualEngine()


def _dual_lacks(configs: Sequence[Config]) -> str | None:
    """What of these runs the dual engine has no form for; None if it covers them."""
    shared = configs[0]
    trained, k, regularizer = shared.learner.trained, shared.concept.k, shared.regularizer
    if trained not in ("last", "ntk"):
        return f"learner.trained={trained}"
    if trained == "ntk" and k > 1:
        return f"concept.k={k} with learner.trained=ntk"
    layers = linear_layers(shared.learner)
    if any(getattr(regularizer, layer) == "row_24" for layer in layers):
        return f"regularizer={regularizer.name}"
    penalties = [{(getattr(config.regularizer, layer), getattr(config.regularizer, f"weight_{layer}"))
                  for layer in layers} for config in configs]
    if any(len(each) > 1 for each in penalties):
        return "different regularizers of the layers"
    if shared.algorithm.judged == "average" and shared.algorithm.sampling != "one_pass":
        return "algorithm.judged=average"
    return None


def _dual_pays(configs: Sequence[Config]) -> bool:
    """Whether reading rows of the kernel takes less than computing the features that they replace."""
    shared, samples = configs[0], max(config.samples for config in configs)
    inputs = shared.inputs.d + (shared.width if shared.learner.name == "three_layer" else 0)
    features = shared.width * (inputs if shared.learner.trained == "ntk" else 1)
    return samples < _PASSES * features and samples**2 <= _KERNEL_ENTRIES
