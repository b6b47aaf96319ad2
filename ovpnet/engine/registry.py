"""The engines by their names. Every package of `ovpnet/engine/` defines one."""

import pkgutil
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from typing import TypeVar

import ovpnet.engine
from ovpnet.engine.base import Engine
from ovpnet.spec.errors import ConfigError

_ENGINES: dict[str, Engine] = {}
_Kind = TypeVar("_Kind", bound=type[Engine])


def engine(name: str) -> Callable[[_Kind], _Kind]:
    """Register the class below as the engine of that name. Raises TypeError if it lacks a fact or the name is taken."""
    def register(kind: _Kind) -> _Kind:
        if missing := ", ".join(sorted(kind.__abstractmethods__)):
            raise TypeError(f"the engine {name} ({kind.__name__}) must state: {missing}")
        if name in _ENGINES:
            raise TypeError(f"the engine {name} is {type(_ENGINES[name]).__name__} already, not {kind.__name__}")
        kind.name = name
        _ENGINES[name] = kind()
        return kind

    return register


def engines() -> Iterable[Engine]:
    """Return all engines."""
    _load()
    return _ENGINES.values()


def lookup(name: str) -> Engine:
    """Return the engine of that name. Raises ConfigError if there is none."""
    _load()
    if name not in _ENGINES:
        raise ConfigError("engine", name, f"allowed: auto, {', '.join(sorted(_ENGINES))}")
    return _ENGINES[name]


@cache
def _load() -> None:
    """Import the packages of the engines, which import torch only when they take steps."""
    for module in pkgutil.iter_modules(ovpnet.engine.__path__):
        if module.ispkg:
            import_module(f"{ovpnet.engine.__name__}.{module.name}")
