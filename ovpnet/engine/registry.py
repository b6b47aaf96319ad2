"""The engines by their names (`ovpnet/engine/engines/`)."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import TypeVar

from ovpnet.engine.base import Engine
from ovpnet.spec.registry import Registry

E = TypeVar("E", bound=Engine)

ENGINES: Registry[Engine] = Registry("engine", Engine, "ovpnet.engine.engines")


def engine(name: str) -> Callable[[type[E]], type[E]]:
    """Register an engine: `engine=NAME`."""
    def register(cls: type[E]) -> type[E]:
        cls.name = name
        return ENGINES.register(name)(cls)

    return register


def engines() -> Iterator[Engine]:
    """Iterate over all engines."""
    return map(lookup, ENGINES.names())


@cache
def lookup(name: str) -> Engine:
    """Return the engine of that name. Raises ConfigError if there is none."""
    return ENGINES[name]()
