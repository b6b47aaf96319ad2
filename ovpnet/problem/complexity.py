"""Complexities C_s and C_eps of activations (Section 2) and of whole concepts (Theorems 1 and 2).

For phi(z) = sum_i c_i z^i, R >= 0 and the paper's constant C* (10^4 in its remark):
    C_s(phi, R)   = C* sum_i (i+1)^1.75 R^i |c_i|                                     governs the samples,
    C_eps(phi, R) = sum_i [ (C* R)^i + (sqrt(log(1/eps)) / sqrt(i) C* R)^i ] |c_i|    governs the width,
both powers of C_eps being 1 at i = 0. Everything is computed in natural logarithms.

The paper's C_s <= C_eps hides constants in two terms. C* |c_0| of C_s is larger than 2 |c_0| of C_eps. And
2^1.75 C* R |c_1| is larger than (1 + sqrt(log(1/eps))) C* R |c_1| unless eps <= 0.0037. It holds from degree 2 on,
term by term, for C* >= 7.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ovpnet.problem.series import Series
from ovpnet.spec.activation import Activation
from ovpnet.spec.choices import Concept
from ovpnet.spec.errors import ConfigError

if TYPE_CHECKING:
    from ovpnet.spec.activation import Floats

C_STAR = 1e4

# An entire series is summed up to here at most. One that has not converged by then has terms beyond exp(10^6): as
# good as infinite, and reported as inf.
MAX_DEGREE = 2**22

# A series with a finite radius of convergence is summed for R up to this fraction of it, at which it takes about 10^6
# terms; nearer to the radius it needs ever more.
MAX_FRACTION_OF_RADIUS = 0.9999

# Terms smaller than the sum by exp(-40) do not change a float64.
NEGLIGIBLE = 40.0


def log_C_s(activation: Activation, R: float, C_star: float = C_STAR) -> float:  # noqa: N802
    """Return log C_s(phi, R); -inf for phi = 0, inf if it exceeds about 10^6.

    Raises ConfigError for R < 0, C_star <= 0, or an R too near to or beyond the radius of convergence.
    """
    _check_arguments(R, C_star)
    return _log_c_s(activation, _log(R), math.log(C_star))


def C_s(activation: Activation, R: float, C_star: float = C_STAR) -> float:  # noqa: N802
    """Return C_s(phi, R); inf if it exceeds float64. Raises ConfigError as `log_C_s` does."""
    try:
        return math.exp(log_C_s(activation, R, C_star))
    except OverflowError:
        return math.inf


def log_C_eps(activation: Activation, R: float, epsilon: float, C_star: float = C_STAR) -> float:  # noqa: N802
    """Return log C_eps(phi, R); -inf for phi = 0, inf if it exceeds about 10^6.

    If the Taylor series has a finite radius of convergence rho (tanh, sigmoid), C_eps of the whole series is infinite
    (C* R > rho). The paper then truncates the series at a degree Theta(log 1/eps). Here that degree is
        D = ceil( log( c / ((1 - R/rho) eps) ) / log(rho/R) ),
    with the constant 1 / log(rho/R) in front of log(1/eps). The omitted part, sum_{i>D} |c_i| R^i, is then at most eps.
    The reason is that |c_i| <= c rho^-i with the activation's `tail` c (pi/2 for tanh and sigmoid), with any inner
    scale.

    Raises ConfigError for epsilon outside (0, 1), R < 0, C_star <= 0, or an R too near to or beyond the radius.
    """
    _check_arguments(R, C_star)
    _check_epsilon(epsilon)
    return _log_c_eps(activation, _log(R), math.log(epsilon), math.log(C_star))


def concept_log_C_s(concept: Concept, d: int, C_star: float = C_STAR) -> float:  # noqa: N802
    """Return log C_s of a whole concept, over inputs in R^d of norm at most 1.

    Two layers: max_i C_s(phi_i, 1) (Theorem 1). Three layers: max_i C_s(Phi_i, p2 max_j C_s(phi_j, 1)), the maximum
    over the inner activations phi_1j and phi_2j (as in the eps of Theorems 2 and 3).

    Raises ConfigError for a concept without a Taylor series that converges where it is needed.
    """
    _check_arguments(1.0, C_star)
    log_c_star = math.log(C_star)
    return _of_concept(concept, d, lambda phi, log_r: _log_c_s(phi, log_r, log_c_star), inner_exponent=1.0)


def concept_log_C_eps(concept: Concept, d: int, epsilon: float, C_star: float = C_STAR) -> float:  # noqa: N802
    """Return log C_eps of a whole concept, over inputs in R^d of norm at most 1.

    Two layers: max_i C_eps(phi_i, 1) (Theorem 1). Three layers: max_i C_eps(Phi_i, sqrt(p2) max_j C_eps(phi_j, 1)),
    the maximum over the inner activations phi_1j and phi_2j (Theorem 2).

    Raises ConfigError for epsilon outside (0, 1) and as `concept_log_C_s` does.
    """
    _check_arguments(1.0, C_star)
    _check_epsilon(epsilon)
    log_c_star = math.log(C_star)
    return _of_concept(concept, d, lambda phi, log_r: _log_c_eps(phi, log_r, math.log(epsilon), log_c_star),
                       inner_exponent=0.5)


def concept_log_C0(concept: Concept, d: int, epsilon0: float, C_star: float = C_STAR) -> float:  # noqa: N802
    """Return log of Table 1's C0 of a three-layer concept, with constants and logarithms of its O~ taken as 1:

        C0 = C_eps(Phi, sqrt(p2) C_eps(phi, 1)) C_eps(phi, 1) p1 sqrt(p2) k,

    at the eps of Theorems 2 and 3, eps0 / (k p1 p2^2 C_s(Phi, p2 C_s(phi, 1)) C_s(phi, 1)^2).

    Raises ConfigError for epsilon0 outside (0, 1), a concept of another class, and as `concept_log_C_s` does.
    """
    _check_arguments(1.0, C_star)
    _check_epsilon(epsilon0)
    series = concept.series(d)
    if series is None or series.outer is None:
        raise ConfigError("concept.family", concept.family, "has no C0: it is no three-layer concept")
    log_c_star, p1, p2 = math.log(C_star), len(series.outer.neurons), len(series.phi.neurons)
    inner, outer = _by_layer(concept, series, lambda phi, log_r: _log_c_s(phi, log_r, log_c_star), inner_exponent=1.0)
    log_epsilon = math.log(epsilon0) - math.log(concept.k * p1 * p2**2) - outer - 2 * inner
    if log_epsilon >= 0:
        raise ConfigError("C_star", C_star, "too small: the eps of Theorem 2 must be less than 1")
    inner, outer = _by_layer(concept, series, lambda phi, log_r: _log_c_eps(phi, log_r, log_epsilon, log_c_star),
                             inner_exponent=0.5)
    return outer + inner + math.log(p1 * math.sqrt(p2) * concept.k)


# --- one activation --------------------------------------------------------------------------------


def _log_c_s(phi: Activation, log_r: float, log_c_star: float) -> float:
    _check_radius(phi, log_r)
    return log_c_star + _log_series(phi, lambda i: 1.75 * np.log(i + 1) + _power(i, log_r), phi.degree)


def _log_c_eps(phi: Activation, log_r: float, log_epsilon: float, log_c_star: float) -> float:
    _check_radius(phi, log_r)
    degree = phi.degree if math.isinf(phi.radius) else _truncation_degree(phi, log_r, log_epsilon)
    log_x = log_c_star + log_r
    half_log_log = 0.5 * math.log(-log_epsilon)
    first = _log_series(phi, lambda i: _power(i, log_x), degree)
    second = _log_series(phi, lambda i: _power(i, log_x + half_log_log - 0.5 * np.log(np.maximum(i, 1))), degree)
    return float(np.logaddexp(first, second))


def _truncation_degree(phi: Activation, log_r: float, log_epsilon: float) -> int:
    """Return the D of `log_C_eps`."""
    log_fraction = log_r - math.log(phi.radius)
    if log_fraction == -math.inf:
        return 0
    assert phi.tail is not None
    tail = math.log(phi.tail) - math.log(-math.expm1(log_fraction)) - log_epsilon
    return max(0, math.ceil(tail / -log_fraction))


def _log_series(phi: Activation, log_weight: Callable[["Floats"], "Floats"], degree: int | None) -> float:
    """Return log sum_i exp(log_weight(i)) |c_i| up to `degree`; if None, until the unimodal terms no longer count."""
    total = -math.inf
    start, stop = 0, 64 if degree is None else degree + 1
    while start < MAX_DEGREE:
        i = np.arange(start, stop, dtype=np.float64)
        coefficients = phi.log_coefficients(i)
        present = coefficients > -np.inf
        terms = coefficients[present] + log_weight(i[present])
        largest = float(terms.max(initial=-math.inf))
        total = float(np.logaddexp(total, _log_sum(terms)))
        if degree is not None or largest <= total - NEGLIGIBLE:
            return total
        start, stop = stop, 2 * stop
    return math.inf


def _log_sum(terms: "Floats") -> float:
    largest = float(terms.max(initial=-math.inf))
    if math.isinf(largest):
        return largest
    return largest + math.log(float(np.exp(terms - largest).sum()))


def _power(i: "Floats", log_x: "float | Floats") -> "Floats":
    """Return log x^i, also if log x is infinite: 0 at i = 0."""
    return np.multiply(i, log_x, out=np.zeros_like(i), where=i > 0)


# --- whole concepts --------------------------------------------------------------------------------

_Complexity = Callable[[Activation, float], float]  # (phi, log R) -> log C(phi, R)


def _of_concept(concept: Concept, d: int, log_c: _Complexity, inner_exponent: float) -> float:
    """Return log max_phi C(phi, 1) of two layers, log max_Phi C(Phi, p2^inner_exponent max_phi C(phi, 1)) of three."""
    series = concept.series(d)
    if series is None:
        raise ConfigError("concept.family", concept.family, "has no complexity: its activation has no Taylor series")
    return _by_layer(concept, series, log_c, inner_exponent)[1]


def _by_layer(concept: Concept, series: Series, log_c: _Complexity, inner_exponent: float) -> tuple[float, float]:
    """Return log max_phi C(phi, 1), and what `_of_concept` does: the same if two layers. F* = 0 has -inf."""
    largest = max((_keyed(concept, phi, 0.0, log_c) for phi in series.inner), default=-math.inf)
    if series.outer is None:
        return largest, largest
    log_r = inner_exponent * math.log(len(series.phi.neurons)) + largest
    return largest, max(_keyed(concept, phi, log_r, log_c) for phi in series.outer.distinct)


def _keyed(concept: Concept, phi: Activation, log_r: float, log_c: _Complexity) -> float:
    """Return log C(phi, R); its error names the concept rather than an R that no config holds."""
    try:
        return log_c(phi, log_r)
    except ConfigError as error:
        raise ConfigError("concept.family", concept.family, f"has no finite complexity, since R={error.value} "
                          f"{error.allowed}") from error


# --- bad input -------------------------------------------------------------------------------------


def _check_arguments(R: float, C_star: float) -> None:
    if not 0 <= R < math.inf:
        raise ConfigError("R", R, "a finite number, at least 0")
    if not 0 < C_star < math.inf:
        raise ConfigError("C_star", C_star, "a finite number greater than 0")


def _check_epsilon(epsilon: float) -> None:
    if not 0 < epsilon < 1:
        raise ConfigError("epsilon", epsilon, "must lie in (0, 1)")


def _check_radius(phi: Activation, log_r: float) -> None:
    largest = MAX_FRACTION_OF_RADIUS * phi.radius
    if log_r > math.log(largest):
        shown = f"{math.exp(log_r):.4g}" if log_r < 700 else f"exp({log_r:.4g})"
        raise ConfigError("R", shown, f"must be at most {largest:.4g} for {phi.name}({phi.scale:g} z), whose Taylor "
                          f"series at 0 converges for |z| < {phi.radius:.4g} only")


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf
