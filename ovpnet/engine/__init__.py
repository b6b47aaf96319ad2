"""Training engines: one interface, chosen by config; their results agree."""

from ovpnet.engine.base import Chunk, Engine, Rule, State, StepLosses
from ovpnet.engine.reference import ReferenceEngine

__all__ = ["Chunk", "Engine", "ReferenceEngine", "Rule", "State", "StepLosses", "engine"]


def engine(name: str) -> Engine:
    """The engine a config names; `auto` is the fastest one that covers every signature."""
    return {"auto": ReferenceEngine, "reference": ReferenceEngine}[name]()
