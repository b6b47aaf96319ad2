"""The choice of a run's engine, by its own config, so that it does not depend on what the run is packed with."""

import logging
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from ovpnet.engine.base import Engine, Shape
from ovpnet.engine.registry import engines, lookup
from ovpnet.spec.config import Config

if TYPE_CHECKING:
    import torch

# The engine that covers every run on every device.
FALLBACK = "reference"


def chosen(config: Config) -> Engine:
    """Return the engine that the key `engine` asks for if it covers the run, else the reference engine.

    `auto` takes the engine of the least work of those that cover the run.
    """
    if config.engine == "auto":
        return min((each for each in engines() if each.lacks(config) is None), key=lambda each: each.work(config))
    asked = lookup(config.engine)
    return asked if asked.lacks(config) is None else lookup(FALLBACK)


def shape_of(configs: Sequence[Config]) -> Shape:
    """Return the shape of runs that share their signature; the reference engine trains those of different engines."""
    kinds = {chosen(config) for config in configs}
    return Shape.of(configs, kinds.pop() if len(kinds) == 1 else lookup(FALLBACK))


def engine_on(shape: Shape, device: "torch.device") -> Engine:
    """Return the engine that trains the runs on this device; logs a warning if it is not the one asked for."""
    shared, engine = shape.shared, shape.engine
    if shared.engine != "auto" and (missing := lookup(shared.engine).lacks(shared)):
        _warn(f"engine={shared.engine} does not cover {missing}; using the {FALLBACK} engine")
    if missing := engine.lacks_on(shared, device.type):
        _warn(f"{missing}; using the {FALLBACK} engine, which is many times slower")
        engine = lookup(FALLBACK)
    return engine


@cache
def _warn(message: str) -> None:
    """Warn once per process, not once per pack."""
    logging.getLogger(__name__).warning(message)
