"""Activations of the concept classes: the facts that each one states, and their registry."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar

from ovpnet.spec.errors import ConfigError
from ovpnet.spec.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Floats = NDArray[np.float64]

A = TypeVar("A", bound="Activation")


@dataclass(frozen=True)
class Activation:
    """phi(z) = base(scale * z), applied entrywise to a float64 tensor of any shape; base has a Taylor series at 0."""

    scale: float = 1.0
    poly: tuple[float, ...] = ()  # the coefficients of an activation that takes some, else empty

    name: ClassVar[str]
    # It is a sum with the coefficients that the key `poly` of a concept holds.
    takes_poly: ClassVar[bool]
    # Radius of convergence rho of the base's series (inf for an entire function), and then a number with
    # |c_i| <= tail rho^-i for all i (None for an entire function).
    base_radius: ClassVar[float]
    tail: ClassVar[float | None]

    @abstractmethod
    def base(self, z: "Tensor") -> "Tensor":
        """Return the function's values before the inner scale."""

    @abstractmethod
    def base_log_coefficients(self, degrees: "Floats") -> "Floats":
        """Return log|c_i| of the base's Taylor series for each i in `degrees` [n]; -inf for c_i = 0."""

    @abstractmethod
    def base_supremum(self, radius: float) -> float:
        """Return an upper bound on |base(z)| over |z| <= radius. Raises OverflowError beyond float64."""

    def __call__(self, z: "Tensor") -> "Tensor":
        return self.base(self.scale * z)

    @property
    def radius(self) -> float:
        """The radius of convergence of the Taylor series at 0; inf for entire functions."""
        return self.base_radius / self.scale

    @property
    def degree(self) -> int | None:
        """The degree of a polynomial; None for an infinite series."""
        return len(self.poly) - 1 if self.takes_poly else None

    def log_coefficients(self, degrees: "Floats") -> "Floats":
        """Return log|c_i| of phi(z) = sum_i c_i z^i for each i in `degrees` [n], whole numbers; -inf for c_i = 0."""
        return self.base_log_coefficients(degrees) + degrees * math.log(self.scale)

    def supremum(self, radius: float) -> float:
        """Return an upper bound on |phi(z)| over |z| <= radius; inf if it exceeds float64."""
        try:
            return self.base_supremum(self.scale * radius)
        except OverflowError:
            return math.inf


ACTIVATIONS: Registry[Activation] = Registry("activation", Activation, "ovpnet.problem.activations")


def activation(name: str) -> Callable[[type[A]], type[A]]:
    """Register an activation, which concepts name: `concept.activations=[NAME]`."""
    def registered(cls: type[A]) -> type[A]:
        cls.name = name
        return ACTIVATIONS.register(name)(cls)

    return registered


def activation_of(name: str, scale: float = 1.0, poly: Sequence[float] = ()) -> Activation:
    """Return the activation z -> NAME(scale z); one that takes coefficients c_0, c_1, ... has those of `poly`.

    Raises ConfigError for an unknown name, a scale that is not positive and finite, or a poly without coefficients.
    """
    chosen = ACTIVATIONS[name]
    if not 0 < scale < math.inf:
        raise ConfigError("scale", scale, f"the inner scale of {name} must be a positive finite number")
    if not chosen.takes_poly:
        return chosen(float(scale))
    if not poly or not all(math.isfinite(coefficient) for coefficient in poly):
        raise ConfigError("poly", list(poly), "at least one coefficient, all finite")
    return chosen(float(scale), tuple(float(coefficient) for coefficient in poly))
