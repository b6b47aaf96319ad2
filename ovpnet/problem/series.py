"""The power series of a concept's activations: the one source of its domain and of its complexities.

A concept of class (3.1) or (4.1) is described by its layers of activations, in plain numbers: config checking must not
import torch.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ovpnet.spec.activation import Activation, activation_of
from ovpnet.spec.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST = {"float32": (2 - 2**-23) * 2.0**127, "float64": sys.float_info.max}


@dataclass(frozen=True)
class Layer:
    """One activation per neuron, applied to the last axis of a [..., p] tensor."""

    neurons: tuple[Activation, ...]
    # The key of the activations' names, if there is one. What to name if a neuron's values are too large: the key and
    # value of its constants, and the neuron in words.
    names_key: str = ""
    constants: tuple[tuple[str, object], ...] = ()
    words: str = "{phi.name}({phi.scale:g} z)"

    def __call__(self, z: "Tensor") -> "Tensor":
        if len(self._columns) == 1:
            return self.neurons[0](z)
        import torch

        parts = [phi(z[..., columns]) for phi, columns in self._columns.items()]
        return torch.cat(parts, dim=-1)[..., self._order]

    @property
    def distinct(self) -> tuple[Activation, ...]:
        """Return the different activations among its neurons."""
        return tuple(self._columns)

    def suprema(self, radius: float, dtype: str) -> list[float]:
        """Return bounds on |phi_i(z)| over |z| <= radius. Raises ConfigError if one exceeds the training dtype."""
        bounds = []
        for phi, (key, value) in zip(self.neurons, self.constants or [("", None)] * len(self.neurons), strict=True):
            bound = phi.supremum(radius)
            _check(key, value, bound, self.words.format(phi=phi), radius, dtype)
            bounds.append(bound)
        return bounds

    @cached_property
    def _columns(self) -> dict[Activation, list[int]]:
        """Group neurons by activation: one call for each distinct activation rather than for each neuron."""
        columns: dict[Activation, list[int]] = {}
        for i, phi in enumerate(self.neurons):
            columns.setdefault(phi, []).append(i)
        return columns

    @cached_property
    def _order(self) -> list[int]:
        """The place of each neuron's column once the groups are concatenated."""
        grouped = [i for columns in self._columns.values() for i in columns]
        return sorted(range(len(grouped)), key=grouped.__getitem__)


def layer(names: Sequence[str], scales: Sequence[float], poly: Sequence[float], p: int, key: str = "activations",
          scales_key: str = "scales") -> Layer:
    """Return p neurons, with `names` and `scales`, of the concept's keys, each cycled over them.

    Raises ConfigError as `activation_of` does.
    """
    neurons = [activation_of(names[i % len(names)], scales[i % len(scales)], poly) for i in range(p)]
    words = f"{{phi.name}}({{phi.scale:g}} z) of concept.{key}"
    constants = [("concept.poly", poly) if phi.takes_poly else (f"concept.{scales_key}", scales) for phi in neurons]
    return Layer(tuple(neurons), f"concept.{key}", tuple(constants), words)


@dataclass(frozen=True)
class Series:
    """The layers of (3.1): phi_i alone; or of (4.1): phi_1j, phi_2j and Phi_i.

    `size` is the key, with its value, that F* grows with: the number of its terms, or their coefficients.
    """

    phi: Layer
    size: tuple[str, object]
    phi2: Layer | None = None
    outer: Layer | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Return all layers."""
        return tuple(each for each in (self.phi, self.phi2, self.outer) if each is not None)

    @property
    def inner(self) -> tuple[Activation, ...]:
        """Return the distinct inner activations."""
        return (*self.phi.distinct, *(self.phi2.distinct if self.phi2 else ()))

    def check_domain(self, dtype: str) -> None:
        """Raise ConfigError if an activation, or F* itself, could exceed the largest number of the training dtype.

        The bounds are rigorous and simple: |<w, x>| <= 1 for a unit vector w, |a| <= 1, and the supremum of each
        activation over an interval around 0. Of three layers, |sum_j v_ij phi_j| <= ||v_i|| ||phi|| with ||v_i|| = 1.
        """
        if dtype not in _LARGEST:
            raise ConfigError("dtype", dtype, f"not known; allowed: {', '.join(_LARGEST)}")
        phi = self.phi.suprema(1.0, dtype)
        if self.outer is None:
            total = sum(phi)
        else:
            assert self.phi2 is not None
            # math.hypot does not overflow early.
            inner1, inner2 = math.hypot(*phi), math.hypot(*self.phi2.suprema(1.0, dtype))
            total = sum(self.outer.suprema(inner1, dtype)) * inner2
        _check(*self.size, total, "F*", 1.0, dtype)


def _check(key: str, value: object, supremum: float, what: str, radius: float, dtype: str) -> None:
    if not supremum <= _LARGEST[dtype]:
        where = "on ||x|| <= 1" if radius == 1.0 else f"on the bound |z| <= {radius:g} of the inner sum"
        raise ConfigError(key, value, f"{what} can be as large as {supremum:.3g} {where}; allowed: at most "
                          f"{_LARGEST[dtype]:.3g}, the largest number of dtype={dtype}; choose smaller constants")
