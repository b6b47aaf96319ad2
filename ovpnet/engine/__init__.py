"""Training engines: one interface, chosen by config; their results agree."""

import logging
from collections.abc import Sequence
from functools import cache

import torch

from ovpnet import native
from ovpnet.engine.base import Chunk, Engine, Perturbation, Rule, State, StepLosses, scaled
from ovpnet.engine.choice import chosen_engine, lacks
from ovpnet.engine.dual import DualEngine
from ovpnet.engine.fused_cpu import FusedCpuEngine
from ovpnet.engine.fused_cuda import FusedCudaEngine, cuda_lacks
from ovpnet.engine.reference import ReferenceEngine
from ovpnet.spec.config import Config

__all__ = ["Chunk", "DualEngine", "Engine", "FusedCpuEngine", "FusedCudaEngine", "Perturbation", "ReferenceEngine",
           "Rule", "State", "StepLosses", "engine", "scaled"]


def engine(configs: Sequence[Config], device: torch.device) -> Engine:
    """The engine for an ensemble of these runs, which share their signature and what `chosen_engine` says of them.

    Logs a warning where it is not the one that was asked for.
    """
    shared = configs[0]
    if missing := lacks(shared):
        _warn(f"engine={shared.engine} does not cover {missing}; using the reference engine")
    chosen = {chosen_engine(config) for config in configs}
    if chosen == {"dual"}:
        return DualEngine()
    if chosen == {"fused"}:
        if (missing := _device_lacks(shared, device)) is None:
            return FusedCudaEngine() if device.type == "cuda" else FusedCpuEngine()
        _warn(f"{missing}; using the reference engine, which is many times slower")
    return ReferenceEngine()


def _device_lacks(config: Config, device: torch.device) -> str | None:
    """Why this device's fused engine cannot train a run that the fused engine covers; None if it can."""
    if device.type == "cuda":
        return cuda_lacks(config)
    if device.type == "cpu" and native.library() is not None:
        return None
    return "the fused engine was not compiled when ovpnet was installed (it needs a C++ compiler)"


@cache
def _warn(message: str) -> None:
    """Once a process, not once a pack."""
    logging.getLogger(__name__).warning(message)
