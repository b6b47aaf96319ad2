"""Complexities against closed forms and against sums in high precision."""

import math

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovpnet.problem.complexity import (
    C_STAR,
    C_s,
    concept_log_C_eps,
    concept_log_C_s,
    log_C_eps,
    log_C_s,
)
from ovpnet.problem.concepts.cos_exp import CosExp
from ovpnet.problem.concepts.figures import Figure1, Figure2
from ovpnet.problem.concepts.parity import Parity
from ovpnet.problem.concepts.random_labels import RandomLabels
from ovpnet.problem.concepts.relu_teacher import ReluTeacher
from ovpnet.problem.concepts.three_layer import ThreeLayer
from ovpnet.problem.concepts.two_layer import TwoLayer
from ovpnet.spec.activation import activation_of
from ovpnet.spec.errors import ConfigError

EPSILON = 0.01
LOG = math.log(1 / EPSILON)


def coefficient(name, i):
    """|c_i| from textbook formulas, in mpmath, independent of the code under test."""
    factorial = mpmath.factorial
    match name:
        case "exp":
            return 1 / factorial(i)
        case "sin":
            return 1 / factorial(i) if i % 2 else mpmath.mpf(0)
        case "cos":
            return mpmath.mpf(0) if i % 2 else 1 / factorial(i)
        case "erf":
            return 2 / mpmath.sqrt(mpmath.pi) / factorial(i // 2) / i if i % 2 else mpmath.mpf(0)
        case "tanh":
            return abs(2 ** (i + 1) * (2 ** (i + 1) - 1) * mpmath.bernoulli(i + 1)) / factorial(i + 1) * (i % 2)
        case "sigmoid":
            return mpmath.mpf("0.5") if i == 0 else coefficient("tanh", i) / 2 ** (i + 1)


def log_c_s_reference(name, R, terms, scale=1.0):
    with mpmath.workdps(40):
        total = sum((mpmath.mpf(i) + 1) ** 1.75 * mpmath.mpf(R * scale) ** i * coefficient(name, i)
                    for i in range(terms))
        return float(mpmath.log(C_STAR * total))


def log_c_eps_reference(name, R, epsilon, c_star, terms):
    with mpmath.workdps(40):
        root, x = mpmath.sqrt(mpmath.log(1 / mpmath.mpf(epsilon))), mpmath.mpf(c_star * R)
        powers = (x**i + (root / mpmath.sqrt(i) * x) ** i if i else 2 for i in range(terms))
        return float(mpmath.log(sum(power * coefficient(name, i) for i, power in enumerate(powers))))


def test_c_s_of_exp_by_hand():
    expected = 1e4 * sum((i + 1) ** 1.75 / math.factorial(i) for i in range(40))
    assert C_s(activation_of("exp"), 1.0) == pytest.approx(expected, rel=1e-12)


def test_c_s_and_c_eps_of_a_polynomial_by_hand():
    phi = activation_of("poly", 2.0, [3.0, 0.0, -0.5])  # 3 - 2 z^2
    assert C_s(phi, 1.5, C_star=10) == pytest.approx(10 * (3 + 3**1.75 * 1.5**2 * 2))
    expected = 2 * 3 + 2 * ((10 * 1.5) ** 2 + (math.sqrt(LOG / 2) * 10 * 1.5) ** 2)
    assert log_C_eps(phi, 1.5, EPSILON, C_star=10) == pytest.approx(math.log(expected))


def test_c_eps_of_the_identity_by_hand():
    expected = math.log(C_STAR * (1 + math.sqrt(LOG)))
    assert log_C_eps(activation_of("poly", 1.0, [0, 1]), 1.0, EPSILON) == pytest.approx(expected)


@pytest.mark.parametrize(("name", "R", "terms"), [
    ("sin", 1.0, 60), ("cos", 1.0, 60), ("exp", 3.0, 90), ("sin", 20.0, 200), ("erf", 1.0, 80), ("erf", 3.0, 150),
    ("tanh", 0.5, 200), ("tanh", 1.0, 300), ("sigmoid", 1.0, 200), ("sigmoid", 2.5, 600), ("cos", 0.0, 2),
])
def test_c_s_agrees_with_high_precision(name, R, terms):
    assert log_C_s(activation_of(name), R) == pytest.approx(log_c_s_reference(name, R, terms), rel=1e-12)


def test_an_inner_scale_is_a_larger_argument():
    assert log_C_s(activation_of("sin", 3.0), 2.0) == pytest.approx(log_c_s_reference("sin", 2.0, 100, scale=3.0))
    scaled, plain = activation_of("exp", 4.0), activation_of("exp")
    assert log_C_eps(scaled, 0.5, EPSILON) == pytest.approx(log_C_eps(plain, 2.0, EPSILON))


@pytest.mark.parametrize("name", ["sin", "cos", "exp", "erf"])
def test_c_eps_of_entire_functions_agrees_with_high_precision(name):
    expected = log_c_eps_reference(name, 1.5, EPSILON, c_star=8.0, terms=700)
    assert log_C_eps(activation_of(name), 1.5, EPSILON, C_star=8.0) == pytest.approx(expected, rel=1e-12)


def test_c_eps_with_the_papers_constant_is_a_sum_of_ten_thousand_terms():
    # sum_{i odd} x^i / i! = sinh(x) dwarfs the second sum, whose terms are smaller by i^(-i/2).
    assert log_C_eps(activation_of("sin"), 1.0, EPSILON) == pytest.approx(C_STAR - math.log(2), rel=1e-12)


@pytest.mark.parametrize(("name", "radius"), [("tanh", math.pi / 2), ("sigmoid", math.pi)])
@pytest.mark.parametrize("R", [0.3, 1.0, 1.5])
def test_c_eps_of_a_truncated_series(name, radius, R):
    degree = math.ceil(math.log(math.pi / 2 / (1 - R / radius) / EPSILON) / math.log(radius / R))
    with mpmath.workdps(40):
        tail = sum(coefficient(name, i) * mpmath.mpf(R) ** i for i in range(degree + 1, degree + 1500))
    assert tail <= EPSILON
    expected = log_c_eps_reference(name, R, EPSILON, C_STAR, degree + 1)
    assert log_C_eps(activation_of(name), R, EPSILON) == pytest.approx(expected, rel=1e-12)


def test_the_truncated_c_eps_is_polynomial_in_one_over_epsilon():
    log_c = [log_C_eps(activation_of("tanh"), 1.0, epsilon, C_star=10) for epsilon in (1e-3, 1e-6, 1e-12)]
    # log C_eps = O(log(1/eps) log log(1/eps)): the exponent of 1/eps grows at most as slowly as a double logarithm.
    assert log_c[2] / log_c[1] < 2.5
    assert log_c[1] / log_c[0] < 2.5


def test_zero_is_allowed_as_r_and_as_phi():
    assert log_C_s(activation_of("sin"), 0.0) == -math.inf
    assert log_C_eps(activation_of("sin"), 0.0, EPSILON) == -math.inf
    assert log_C_eps(activation_of("tanh"), 0.0, EPSILON) == -math.inf
    assert log_C_eps(activation_of("sigmoid"), 0.0, EPSILON) == pytest.approx(0.0, abs=1e-15)  # 2 |c_0|
    assert C_s(activation_of("poly", 1.0, [0.0]), 1.0) == 0.0


def test_what_is_too_large_is_infinite():
    assert C_s(activation_of("exp"), 1e3) == math.inf
    assert log_C_eps(activation_of("exp"), 1e9, EPSILON) == math.inf


def test_bad_input_names_key_value_and_what_is_allowed():
    with pytest.raises(ConfigError, match="R=-1"):
        log_C_s(activation_of("sin"), -1.0)
    with pytest.raises(ConfigError, match="C_star=0"):
        log_C_s(activation_of("sin"), 1.0, C_star=0)
    for epsilon in (0.0, 1.0, -0.1, math.nan):
        with pytest.raises(ConfigError, match="epsilon="):
            log_C_eps(activation_of("sin"), 1.0, epsilon)
    with pytest.raises(ConfigError, match=r"R=1.6: must be at most 1.57.*tanh"):
        log_C_s(activation_of("tanh"), 1.6)
    with pytest.raises(ConfigError, match="sigmoid"):
        log_C_eps(activation_of("sigmoid", 4.0), 1.0, EPSILON)


SMALL_ENOUGH = math.exp(-(2**1.75 - 1) ** 2)  # where 1 + sqrt(log(1/eps)) >= 2^1.75
ENTIRE = ("sin", "cos", "exp", "erf")


@settings(deadline=None, max_examples=50)
@given(name=st.sampled_from(["sin", "erf"]), R=st.floats(0.0, 20.0), scale=st.floats(0.1, 5.0),
       epsilon=st.floats(1e-9, SMALL_ENOUGH), c_star=st.floats(7.0, 20.0))
def test_c_s_is_at_most_c_eps_without_a_constant_term(name, R, scale, epsilon, c_star):
    phi = activation_of(name, scale)
    log_c_s, log_c_eps = log_C_s(phi, R, c_star), log_C_eps(phi, R, epsilon, c_star)
    assert log_c_s <= log_c_eps + 1e-9


@settings(deadline=None, max_examples=50)
@given(name=st.sampled_from(ENTIRE), R=st.floats(0.0, 20.0), epsilon=st.floats(1e-9, 0.999),
       c_star=st.floats(7.0, 20.0))
def test_c_s_is_at_most_c_eps_and_the_terms_of_degree_0_and_1(name, R, epsilon, c_star):
    phi = activation_of(name)
    c_0, c_1 = float(coefficient(name, 0)) if name != "erf" else 0.0, float(coefficient(name, 1))
    low = c_star * (c_0 + 2**1.75 * R * c_1)
    log_low = math.log(low) if low > 0 else -math.inf
    larger = max(log_C_eps(phi, R, epsilon, c_star), log_low) + math.log(2)
    assert log_C_s(phi, R, c_star) <= larger


@settings(deadline=None, max_examples=30)
@given(R=st.floats(0.1, 1.5), epsilon=st.floats(1e-9, SMALL_ENOUGH))
def test_c_s_is_at_most_c_eps_for_tanh(R, epsilon):
    assert log_C_s(activation_of("tanh"), R) <= log_C_eps(activation_of("tanh"), R, epsilon)


@settings(deadline=None, max_examples=40)
@given(name=st.sampled_from(ENTIRE), R=st.floats(0.01, 10.0), factor=st.floats(1.01, 3.0))
def test_complexities_grow_with_r(name, R, factor):
    phi = activation_of(name)
    assert log_C_s(phi, R) <= log_C_s(phi, factor * R)
    assert log_C_eps(phi, R, EPSILON, 10.0) <= log_C_eps(phi, factor * R, EPSILON, 10.0)


def test_a_two_layer_concept_is_as_complex_as_its_worst_neuron():
    config = TwoLayer(p=4, activations=["sin", "cos"], scales=[1.0, 3.0])
    worst = max(log_C_s(activation_of("sin"), 1.0), log_C_s(activation_of("cos", 3.0), 1.0))
    assert concept_log_C_s(config, 4) == worst
    unused = TwoLayer(p=1, activations=["sin", "exp"], scales=[1.0, 50.0])
    assert concept_log_C_s(unused, 4) == log_C_s(activation_of("sin"), 1.0)


def test_a_three_layer_concept_composes_its_complexities():
    config = ThreeLayer(p2=4, outer=["poly"], poly=[0.0, 0.0, 1.0], phi1=["sin"], phi2=["cos"],
                               phi2_scales=[2.0])
    square, c_star = activation_of("poly", 1.0, [0.0, 0.0, 1.0]), 10.0
    inner_eps = max(log_C_eps(phi, 1.0, EPSILON, c_star) for phi in (activation_of("sin"), activation_of("cos", 2.0)))
    expected = log_C_eps(square, 2.0 * math.exp(inner_eps), EPSILON, c_star)
    assert concept_log_C_eps(config, 4, EPSILON, c_star) == pytest.approx(expected)
    inner_s = max(C_s(phi, 1.0, c_star) for phi in (activation_of("sin"), activation_of("cos", 2.0)))
    assert concept_log_C_s(config, 4, c_star) == pytest.approx(log_C_s(square, 4.0 * inner_s, c_star))


def test_the_composition_stays_finite_where_the_inner_complexity_overflows():
    config = ThreeLayer(p2=1, outer=["poly"], poly=[0.0, 1.0], phi1=["sin"], phi2=["sin"])
    expected = math.log(C_STAR) + (C_STAR - math.log(2)) + math.log(1 + math.sqrt(LOG))
    assert concept_log_C_eps(config, 4, EPSILON) == pytest.approx(expected, rel=1e-12)


def test_named_concepts():
    # Figure 1: (s - 2)^2 with s = sqrt(3) z is 4 - 4 sqrt(3) z + 3 z^2.
    inner = 3 * max(C_s(activation_of("sin", 3.0), 1.0), C_s(activation_of("cos", 7.0), 1.0))
    expected = C_STAR * (4 + 2**1.75 * 4 * math.sqrt(3) * inner + 3**1.75 * 3 * inner**2)
    assert concept_log_C_s(Figure1(), 4) == pytest.approx(math.log(expected))
    # cos_exp: Phi(z) = z, and exp is the worse of the inner activations.
    expected = C_STAR * 2**1.75 * C_s(activation_of("exp", 2.0), 1.0)
    assert concept_log_C_s(CosExp(c=2.0), 4) == pytest.approx(math.log(expected))
    assert concept_log_C_s(RandomLabels(), 4) == -math.inf


@pytest.mark.parametrize("config", [ReluTeacher(), Parity()])
def test_controls_have_no_complexity(config):
    with pytest.raises(ConfigError, match="no Taylor series"):
        concept_log_C_s(config, 4)


@pytest.mark.parametrize("config", [Figure2(), ThreeLayer(outer=["tanh"])])
def test_a_series_needed_beyond_its_radius_is_an_error(config):
    with pytest.raises(ConfigError, match=r"concept.family=.*must be at most .* for tanh"):
        concept_log_C_eps(config, 4, EPSILON)
