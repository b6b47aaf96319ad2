"""Bounds on the values of a target function on ||x|| <= 1, in plain floats: config checking must not import torch."""

import math
import sys
from collections.abc import Sequence

from ovpnet.spec.config import ConceptConfig, CosExpConcept, ThreeLayerConcept, TwoLayerConcept
from ovpnet.spec.errors import ConfigError

_LARGEST = {"float32": (2 - 2**-23) * 2.0**127, "float64": sys.float_info.max}


def check_domain(config: ConceptConfig, dtype: str) -> None:
    """Raise ConfigError where an activation, or F* itself, could exceed the largest number of the training dtype.

    The bounds are rigorous and simple: |<w, x>| <= 1 for a unit vector w, |a| <= 1, and the supremum of each
    activation over an interval around 0 (1 for the bounded ones, exp(c r) for exp, sum_i |c_i| (c r)^i for poly).
    Only exp and poly can leave the domain, so families without them always pass.
    """
    if dtype not in _LARGEST:
        raise ConfigError("dtype", dtype, f"not known; allowed: {', '.join(_LARGEST)}")
    match config:
        case TwoLayerConcept():
            _check_two_layer(config, dtype)
        case ThreeLayerConcept():
            _check_three_layer(config, dtype)
        case CosExpConcept():
            _check("concept.c", config.c, _largest_value("exp", config.c, [], 1.0), "exp(c <w2, x>)", 1.0, dtype)


def _check_two_layer(config: TwoLayerConcept, dtype: str) -> None:
    phi = _check_layer("activations", config.activations, "scales", config.scales, config.poly, config.p, 1.0, dtype)
    _check("concept.p", config.p, sum(phi), "F*", 1.0, dtype)


def _check_three_layer(config: ThreeLayerConcept, dtype: str) -> None:
    poly, p1, p2 = config.poly, config.p1, config.p2
    phi1 = _check_layer("phi1", config.phi1, "phi1_scales", config.phi1_scales, poly, p2, 1.0, dtype)
    phi2 = _check_layer("phi2", config.phi2, "phi2_scales", config.phi2_scales, poly, p2, 1.0, dtype)
    # |sum_j v_ij phi_j| <= ||v_i|| ||phi|| with ||v_i|| = 1 (Cauchy-Schwarz); math.hypot does not overflow early.
    inner1, inner2 = math.hypot(*phi1), math.hypot(*phi2)
    outer = _check_layer("outer", config.outer, "outer_scales", config.outer_scales, poly, p1, inner1, dtype)
    _check("concept.p1", p1, sum(outer) * inner2, "F*", 1.0, dtype)


def _check_layer(names_key: str, names: Sequence[str], scales_key: str, scales: Sequence[float],
                 poly: Sequence[float], p: int, radius: float, dtype: str) -> list[float]:
    """Suprema over |z| <= radius of p neurons whose names and scales are cycled, each of them checked."""
    suprema = []
    for i in range(p):
        name, scale = names[i % len(names)], scales[i % len(scales)]
        key, value = ("concept.poly", poly) if name == "poly" else (f"concept.{scales_key}", scales)
        supremum = _largest_value(name, scale, poly, radius)
        _check(key, list(value), supremum, f"{name}({scale:g} z) of concept.{names_key}", radius, dtype)
        suprema.append(supremum)
    return suprema


def _largest_value(name: str, scale: float, poly: Sequence[float], radius: float) -> float:
    """An upper bound on |name(scale z)| over |z| <= radius; inf where it exceeds float64."""
    try:
        if name == "exp":
            return math.exp(scale * radius)
        if name == "poly":
            return sum(abs(c) * (scale * radius) ** i for i, c in enumerate(poly) if c != 0)
    except OverflowError:
        return math.inf
    return 1.0


def _check(key: str, value: object, supremum: float, what: str, radius: float, dtype: str) -> None:
    if not supremum <= _LARGEST[dtype]:
        where = "on ||x|| <= 1" if radius == 1.0 else f"on the bound |z| <= {radius:g} of the inner sum"
        raise ConfigError(key, value, f"{what} can be as large as {supremum:.3g} {where}; allowed: at most "
                          f"{_LARGEST[dtype]:.3g}, the largest number of dtype={dtype}; choose smaller constants")
