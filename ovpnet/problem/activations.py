"""The activations of the concept classes, one class each. NumPy, SciPy and torch are imported where they compute.

ReLU is not here: it has no Taylor series at 0, so no concept class of the theorems contains it.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from ovpnet.spec.activation import Activation, activation

if TYPE_CHECKING:
    from torch import Tensor

    from ovpnet.spec.activation import Floats


class _Entire(Activation):
    """An activation without coefficients of its own, whose series converges everywhere."""

    takes_poly = False
    base_radius = math.inf
    tail = None


class _Bounded(Activation):
    """An activation whose values lie in [-1, 1]."""

    takes_poly = False

    def base_supremum(self, radius: float) -> float:
        return 1.0


@activation("sin")
class Sin(_Bounded, _Entire):
    """sin z."""

    def base(self, z: "Tensor") -> "Tensor":
        return z.sin()

    def base_log_coefficients(self, degrees: "Floats") -> "Floats":
        return _of_parity(1, _log_exp, degrees)


@activation("cos")
class Cos(_Bounded, _Entire):
    """cos z."""

    def base(self, z: "Tensor") -> "Tensor":
        return z.cos()

    def base_log_coefficients(self, degrees: "Floats") -> "Floats":
        return _of_parity(0, _log_exp, degrees)


@activation("exp")
class Exp(_Entire):
    """exp z."""

    def base(self, z: "Tensor") -> "Tensor":
        return z.exp()

    def base_log_coefficients(self, degrees: "Floats") -> "Floats":
        return _log_exp(degrees)

    def base_supremum(self, radius: float) -> float:
        return math.exp(radius)


@activation("tanh")
class Tanh(_Bounded):
    """tanh z."""

    base_radius = math.pi / 2
    tail = math.pi / 2

    def base(self, z: "Tensor") -> "Tensor":
        return z.tanh()

    def base_log_coefficients(self, degrees: "Floats") -> "Floats":
        return _of_parity(1, _log_tanh, degrees)


@activation("sigmoid")
class Sigmoid(_Bounded):
    """sigmoid z = 1/2 + tanh(z/2)/2."""

    base_radius = math.pi
    tail = math.pi / 2

    def base(self, z: "Tensor") -> "Tensor":
        return z.sigmoid()

    def base_log_coefficients(self, degrees: "Floats") -> "Floats":
        import numpy as np

        odd = _of_parity(1, _log_tanh, degrees)
        return np.where(degrees == 0, -math.log(2), odd - (degrees + 1) * math.log(2))


@activation("erf")
class Erf(_Bounded, _Entire):
    """erf z = 2/sqrt(pi) sum_n (-1)^n z^(2n+1) / (n! (2n+1))."""

    def base(self, z: "Tensor") -> "Tensor":
        return z.erf()

    def base_log_coefficients(self, degrees: "Floats") -> "Floats":
        return _of_parity(1, _log_erf, degrees)


@activation("sinh")
class Sinh(_Entire):
    """sinh z."""

    def base(self, z: "Tensor") -> "Tensor":
        return z.sinh()

    def base_log_coefficients(self, degrees: "Floats") -> "Floats":
        return _of_parity(1, _log_exp, degrees)

    def base_supremum(self, radius: float) -> float:
        return math.sinh(radius)


@activation("poly")
class Poly(Activation):
    """sum_i c_i z^i, with the coefficients c_0, c_1, ... of the concept's key `poly`."""

    takes_poly = True
    base_radius = math.inf
    tail = None

    def base(self, z: "Tensor") -> "Tensor":
        total = z.new_zeros(z.shape)
        for coefficient in reversed(self.poly):
            total = total * z + coefficient
        return total

    def base_log_coefficients(self, degrees: "Floats") -> "Floats":
        return _log_of(self.poly, degrees)

    def base_supremum(self, radius: float) -> float:
        return sum(abs(c) * radius**i for i, c in enumerate(self.poly) if c != 0)


@activation("hermite")
class Hermite(Activation):
    """sum_j c_j h_j(z), h_j the normalized probabilists' Hermite polynomials, with c_j those of the key `poly`.

    h_j = he_j / sqrt(j!), he_{j+1} = z he_j - j he_{j-1}: E h_i(z) h_j(z) = 1[i = j] for z ~ N(0, 1).
    """

    takes_poly = True
    base_radius = math.inf
    tail = None

    def base(self, z: "Tensor") -> "Tensor":
        total, before, current = z.new_zeros(z.shape), z.new_zeros(z.shape), z.new_ones(z.shape)
        for j, coefficient in enumerate(self.poly):
            total = total + coefficient * current
            before, current = current, (z * current - math.sqrt(j) * before) / math.sqrt(j + 1)
        return total

    def base_log_coefficients(self, degrees: "Floats") -> "Floats":
        return _log_of(hermite_monomials(self.poly), degrees)

    def base_supremum(self, radius: float) -> float:
        return sum(abs(c) * radius**i for i, c in enumerate(hermite_monomials(self.poly)) if c != 0)


def hermite_monomials(coefficients: "tuple[float, ...] | list[float]") -> tuple[float, ...]:
    """Return the coefficients in 1, z, z^2, ... of sum_j c_j h_j(z), h_j the normalized Hermite polynomials."""
    total = [0.0] * len(coefficients)
    before, current = [0.0], [1.0]
    for j, coefficient in enumerate(coefficients):
        for i, each in enumerate(current):
            total[i] += coefficient * each
        shifted = [0.0, *current]
        lower = [*before, *[0.0] * (len(shifted) - len(before))]
        before, current = current, [(a - math.sqrt(j) * b) / math.sqrt(j + 1)
                                    for a, b in zip(shifted, lower, strict=True)]
    return tuple(total)


def _log_exp(i: "Floats") -> "Floats":
    from scipy.special import gammaln

    return -gammaln(i + 1)


def _log_erf(i: "Floats") -> "Floats":
    import numpy as np
    from scipy.special import gammaln

    return math.log(2 / math.sqrt(math.pi)) - gammaln((i - 1) / 2 + 1) - np.log(i)


def _log_tanh(i: "Floats") -> "Floats":
    # |c_i| = 2 (2/pi)^(i+1) (1 - 2^-(i+1)) zeta(i+1) for odd i: the Bernoulli numbers of the usual formula
    # written with the zeta function, so that nothing overflows.
    import numpy as np
    from scipy.special import zetac

    s = i + 1
    return math.log(2) + s * math.log(2 / math.pi) + np.log1p(-np.exp2(-s)) + np.log1p(zetac(s))


def _of_parity(parity: int, log_coefficients: Callable[["Floats"], "Floats"], degrees: "Floats") -> "Floats":
    """Return log|c_i| of a series of even (0) or odd (1) degrees alone."""
    import numpy as np

    kept = degrees % 2 == parity
    out = np.full(degrees.shape, -np.inf)
    out[kept] = log_coefficients(degrees[kept])
    return out


def _log_of(coefficients: tuple[float, ...], degrees: "Floats") -> "Floats":
    """Return log|c_i| of a polynomial's coefficients; -inf beyond its degree."""
    import numpy as np

    known = np.append(np.abs(coefficients), 0.0)
    with np.errstate(divide="ignore"):
        return np.log(known[np.minimum(degrees, len(coefficients)).astype(int)])
