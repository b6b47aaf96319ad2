"""Smooth activations of the concept classes: their values, Taylor series at 0, and radii of convergence.

ReLU is not here: it has no Taylor series at 0, so no concept class of the theorems contains it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import gammaln, zetac
from torch import Tensor

from ovpnet.spec.config import ACTIVATIONS
from ovpnet.spec.errors import ConfigError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Base:
    """An activation before its inner scale: its function, degrees i -> log|c_i|, and radius of convergence."""

    function: Callable[[Tensor], Tensor]
    log_coefficients: Callable[[Floats], Floats]
    radius: float


def _log_exp(i: Floats) -> Floats:
    return -gammaln(i + 1)


def _log_erf(i: Floats) -> Floats:
    # erf z = 2/sqrt(pi) sum_n (-1)^n z^(2n+1) / (n! (2n+1)); even degrees are dropped by the caller.
    return math.log(2 / math.sqrt(math.pi)) - gammaln((i - 1) / 2 + 1) - np.log(i)


def _log_tanh(i: Floats) -> Floats:
    # |c_i| = 2 (2/pi)^(i+1) (1 - 2^-(i+1)) zeta(i+1) for odd i: the Bernoulli numbers of the usual formula
    # written with the zeta function, so that nothing overflows.
    s = i + 1
    return math.log(2) + s * math.log(2 / math.pi) + np.log1p(-np.exp2(-s)) + np.log1p(zetac(s))


def _of_parity(parity: int, log_coefficients: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    def masked(i: Floats) -> Floats:
        kept = i % 2 == parity
        out = np.full(i.shape, -np.inf)
        out[kept] = log_coefficients(i[kept])
        return out

    return masked


_log_odd_tanh = _of_parity(1, _log_tanh)


def _log_sigmoid(i: Floats) -> Floats:
    # sigmoid(z) = 1/2 + tanh(z/2)/2
    return np.where(i == 0, -math.log(2), _log_odd_tanh(i) - (i + 1) * math.log(2))


_BASES = {
    "sin": _Base(torch.sin, _of_parity(1, _log_exp), math.inf),
    "cos": _Base(torch.cos, _of_parity(0, _log_exp), math.inf),
    "exp": _Base(torch.exp, _log_exp, math.inf),
    "tanh": _Base(torch.tanh, _log_odd_tanh, math.pi / 2),
    "sigmoid": _Base(torch.sigmoid, _log_sigmoid, math.pi),
    "erf": _Base(torch.erf, _of_parity(1, _log_erf), math.inf),
}


@dataclass(frozen=True)
class Activation:
    """phi(z) = base(scale * z), applied entrywise to a float64 tensor of any shape."""

    name: str
    scale: float = 1.0
    poly: tuple[float, ...] = ()

    def __call__(self, z: Tensor) -> Tensor:
        if self.name != "poly":
            return _BASES[self.name].function(self.scale * z)
        total = torch.zeros_like(z)
        for coefficient in reversed(self.poly):
            total = total * (self.scale * z) + coefficient
        return total

    @property
    def radius(self) -> float:
        """Radius of convergence of the Taylor series at 0; inf for entire functions."""
        return math.inf if self.name == "poly" else _BASES[self.name].radius / self.scale

    @property
    def degree(self) -> int | None:
        """Degree of a polynomial; None for an infinite series."""
        return len(self.poly) - 1 if self.name == "poly" else None

    def log_coefficients(self, degrees: Floats) -> Floats:
        """log|c_i| of phi(z) = sum_i c_i z^i for each i in `degrees` [n], non-negative integers; -inf for c_i = 0."""
        if self.name == "poly":
            known = np.append(np.abs(self.poly), 0.0)
            with np.errstate(divide="ignore"):
                base = np.log(known[np.minimum(degrees, len(self.poly)).astype(int)])
        else:
            base = _BASES[self.name].log_coefficients(degrees)
        return base + degrees * math.log(self.scale)


def activation(name: str, scale: float = 1.0, poly: Sequence[float] = ()) -> Activation:
    """The activation z -> name(scale * z); the one named `poly` has the coefficients c_0, c_1, ... that `poly` holds.

    Raises ConfigError for an unknown name, a scale that is not positive and finite, or a poly without coefficients.
    """
    if name not in ACTIVATIONS:
        raise ConfigError("activation", name, f"not known; allowed: {', '.join(ACTIVATIONS)}")
    if not 0 < scale < math.inf:
        raise ConfigError("scale", scale, f"inner scale of {name}: a positive finite number")
    if name != "poly":
        return Activation(name, float(scale))
    if not poly or not all(math.isfinite(coefficient) for coefficient in poly):
        raise ConfigError("poly", list(poly), "at least one coefficient, all finite")
    return Activation(name, float(scale), tuple(float(coefficient) for coefficient in poly))


@dataclass(frozen=True)
class Layer:
    """One activation a neuron, applied to the last axis of a [..., p] tensor."""

    neurons: tuple[Activation, ...]

    def __call__(self, z: Tensor) -> Tensor:
        if len(self._columns) == 1:
            return self.neurons[0](z)
        parts = [phi(z[..., columns]) for phi, columns in self._columns.items()]
        return torch.cat(parts, dim=-1)[..., self._order]

    @property
    def distinct(self) -> tuple[Activation, ...]:
        return tuple(self._columns)

    @cached_property
    def _columns(self) -> dict[Activation, list[int]]:
        """Neurons grouped by activation: one call for each distinct activation rather than for each neuron."""
        columns: dict[Activation, list[int]] = {}
        for i, phi in enumerate(self.neurons):
            columns.setdefault(phi, []).append(i)
        return columns

    @cached_property
    def _order(self) -> list[int]:
        """Where each neuron's column lies once the groups are concatenated."""
        grouped = [i for columns in self._columns.values() for i in columns]
        return sorted(range(len(grouped)), key=grouped.__getitem__)


def layer(names: Sequence[str], scales: Sequence[float], poly: Sequence[float], p: int) -> Layer:
    """p neurons, with `names` and `scales` each cycled over them. Raises ConfigError as `activation` does."""
    return Layer(tuple(activation(names[i % len(names)], scales[i % len(scales)], poly) for i in range(p)))
