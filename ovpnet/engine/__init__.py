"""Training engines: one interface, chosen by config; their results agree."""

import logging
from collections.abc import Sequence

from ovpnet.config import Config
from ovpnet.engine.base import Chunk, Engine, Perturbation, Rule, State, StepLosses, scaled
from ovpnet.engine.dual import DualEngine
from ovpnet.engine.reference import ReferenceEngine
from ovpnet.engine_choice import chosen_engine, dual_lacks

__all__ = ["Chunk", "DualEngine", "Engine", "Perturbation", "ReferenceEngine", "Rule", "State", "StepLosses", "engine",
           "scaled"]

def engine(configs: Sequence[Config]) -> Engine:
    """The engine for an ensemble of these runs, which share their signature and what `chosen_engine` says of them."""
    shared = configs[0]
    if shared.engine == "dual" and (missing := dual_lacks(shared)):
        logging.getLogger(__name__).warning("engine=dual does not cover %s; using the reference engine", missing)
    return DualEngine() if all(chosen_engine(config) == "dual" for config in configs) else ReferenceEngine()
