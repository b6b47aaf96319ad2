"""Activations against torch, and their Taylor series against mpmath's numerical differentiation."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ovpnet.problem.series import layer
from ovpnet.spec.activation import ACTIVATIONS, activation_of
from ovpnet.spec.errors import ConfigError

POLY = [0.5, 0.0, -2.0, 1.5]
# The independent references: every registered activation has a row here.
REFERENCES = {
    "sin": mpmath.sin, "cos": mpmath.cos, "exp": mpmath.exp, "tanh": mpmath.tanh, "erf": mpmath.erf,
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)), "poly": lambda z: POLY[0] + POLY[2] * z**2 + POLY[3] * z**3,
    "sinh": mpmath.sinh,
    # h_2 = (z^2 - 1) / sqrt(2) and h_3 = (z^3 - 3z) / sqrt(6)
    "hermite": lambda z: POLY[0] + POLY[2] * (z**2 - 1) / mpmath.sqrt(2) + POLY[3] * (z**3 - 3 * z) / mpmath.sqrt(6),
}


@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize("name", ACTIVATIONS.names())
def test_values_agree_with_mpmath(name, scale):
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)
    expected = [float(REFERENCES[name](scale * value)) for value in z.tolist()]
    np.testing.assert_allclose(activation_of(name, scale, POLY)(z).numpy(), expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("name", ACTIVATIONS.names())
def test_taylor_coefficients_agree_with_mpmath(name, scale):
    degree = 15
    with mpmath.workdps(60):
        taylor = mpmath.taylor(lambda z: REFERENCES[name](mpmath.mpf(scale) * z), 0, degree)
        expected = np.array([float(abs(c)) if abs(c) > 1e-25 else 0.0 for c in taylor])
    log_c = activation_of(name, scale, POLY).log_coefficients(np.arange(degree + 1.0))
    np.testing.assert_allclose(np.exp(log_c), expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_high_degree_coefficients_follow_the_radius_of_convergence(name):
    phi = activation_of(name, 2.0)
    step = np.diff(phi.log_coefficients(np.array([5001.0, 5003.0])))
    np.testing.assert_allclose(step, -2 * math.log(phi.radius), rtol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS.names())
@given(radius=st.floats(0, 200), scale=st.floats(0.01, 5))
def test_no_value_exceeds_the_stated_supremum(name, radius, scale):
    phi = activation_of(name, scale, POLY)
    z = torch.linspace(-radius, radius, 101, dtype=torch.float64)
    assert phi(z).abs().max() <= phi.supremum(radius) * (1 + 1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS.names())
def test_an_activation_that_can_overflow_is_refused_by_the_domain_check(make, name):
    """Each either has values of float32 on all of |z| <= 1e10, or is refused there."""
    config = ["concept.p=1", f"concept.activations=[{name}]", "concept.scales=[1e10]", "concept.poly=[0,0,0,0,1]"]
    phi = activation_of(name, 1e10, [0, 0, 0, 0, 1])
    if phi(torch.linspace(-1, 1, 101, dtype=torch.float64)).abs().max() <= torch.finfo(torch.float32).max:
        make(*config)
    else:
        with pytest.raises(ConfigError, match=r"concept\.(scales|poly)=.*allowed: at most 3.4e\+38"):
            make(*config)


def test_radii_of_convergence():
    assert activation_of("tanh", 2.0).radius == pytest.approx(math.pi / 4)
    assert activation_of("sigmoid").radius == pytest.approx(math.pi)
    assert all(activation_of(name, 9.0, POLY).radius == math.inf for name in ("sin", "cos", "exp", "erf", "poly"))


def test_poly_has_a_degree_and_series_have_none():
    assert activation_of("poly", 1.0, POLY).degree == 3
    assert activation_of("sin").degree is None


def test_bad_activations_name_key_value_and_what_is_allowed():
    with pytest.raises(ConfigError, match=r"activation=relu: .*sin, cos"):
        activation_of("relu")
    with pytest.raises(ConfigError, match="scale=0"):
        activation_of("sin", 0.0)
    with pytest.raises(ConfigError, match="poly="):
        activation_of("poly", 1.0, [])


def test_a_layer_applies_its_cycled_activations_column_by_column():
    z = torch.randn(3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    names, scales = ["sin", "poly", "exp"], [1.0, 0.5]
    expected = torch.stack([activation_of(names[i % 3], scales[i % 2], POLY)(z[..., i]) for i in range(7)], dim=-1)
    assert torch.equal(layer(names, scales, POLY, 7)(z), expected)


def test_a_layer_of_one_activation():
    z = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    assert torch.equal(layer(["cos"], [2.0], [], 3)(z), torch.cos(2 * z))
