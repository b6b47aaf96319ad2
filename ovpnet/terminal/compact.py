"""Calls of our code by Hydra: an OvpnetError becomes the exception of which Hydra prints the message alone.

The errors themselves know nothing of Hydra: the analysis has no need of it, and importing it takes a quarter of a
second.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from hydra.errors import CompactHydraException

from ovpnet.spec.errors import OvpnetError

P = ParamSpec("P")
R = TypeVar("R")


def compact(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function, so that Hydra tells its OvpnetErrors without a traceback and exits with code 1."""
    @wraps(function)
    def told(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return function(*arguments, **named)
        except OvpnetError as error:
            raise CompactHydraException(str(error)) from error

    return told
