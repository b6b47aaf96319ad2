"""Target functions F*: R^d -> R^k, the concept classes they are drawn from, and their complexities.

The names below are imported on first use, so that `ovpnet.problem.concepts.domain`, which config checking needs,
can be imported without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ovpnet.problem.concepts.domain import check_domain
    from ovpnet.problem.concepts.families import Family, family, in_paper_class, target
    from ovpnet.problem.concepts.weights import Weights

__all__ = ["Family", "Weights", "check_domain", "family", "in_paper_class", "target"]

_HOME = {"Weights": "weights", "check_domain": "domain"}  # every other name: families


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME.get(name, 'families')}"), name)
