"""The exponents of Hermite targets, and the sum of neurons of class (3.1) that they are."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import eval_hermitenorm

from ovpnet.problem.complexity import concept_log_C_eps, concept_log_C_s
from ovpnet.problem.concepts.hermite import Hermite, _monomials, _powers
from ovpnet.spec.errors import ConfigError
from ovpnet.spec.identity import run_id, signature


def hermite(*degrees, c=(1.0,)):
    return Hermite(degrees=list(map(list, degrees)), coefficients=list(c))


@pytest.mark.parametrize(("target", "information", "generative"), [
    (hermite([1]), 1, 1), (hermite([2]), 2, 2), (hermite([3]), 3, 1), (hermite([4]), 4, 2),
    (hermite([2], [3]), 2, 1), (hermite([4], [2], c=[1, 1e-6]), 2, 2), (hermite([0], [4], [5]), 4, 1),
    (hermite([1], [1], [3], c=[1, -1, 1]), 3, 1), (hermite([0]), None, None), (hermite([1, 1]), None, None),
])
def test_exponents_of_single_index_targets(target, information, generative):
    assert target.information_exponent == target.leap == information or target.directions > 1
    assert target.generative_exponent == generative


@settings(deadline=None, max_examples=25)
@given(st.dictionaries(st.integers(0, 6), st.sampled_from([-1.0, -0.3, 0.5, 2.0]), min_size=1))
def test_exponents_agree_with_quadrature(c):
    target = hermite(*([j] for j in c), c=c.values())
    z, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    x = torch.from_numpy(z[:, None] * np.array([[0.5, 0, 0, 0]]))  # scale 2 and u = e_1
    g = target.evaluate({"u": torch.eye(4, dtype=torch.float64)[None, :1]}, x)[:, 0].numpy()
    moments = [float((weights * g * eval_hermitenorm(j, z)).sum()) for j in range(7)]
    assert target.information_exponent == next((j for j in range(1, 7) if abs(moments[j]) > 1e-9), None)
    if target.information_exponent is not None:
        even = np.abs(g - g[::-1]).max() < 1e-9 * np.abs(g).max()
        assert target.generative_exponent == (2 if even else 1)


@pytest.mark.parametrize(("target", "leap"), [
    (hermite([1], [1, 1], [1, 1, 1]), 1), (hermite([1, 1, 1]), 3), (hermite([1], [1, 1, 1]), 2),
    (hermite([1], [0, 2]), 2), (hermite([1], [3, 1]), 1), (hermite([2, 1]), 3), (hermite([2], [2, 1]), 2),
    # z_1 + z_2 + z_1 z_2 is a staircase in no other basis, and one found of z_1 and z_2 alone.
    (hermite([1], [0, 1], [1, 1]), 2), (hermite([1], [0, 1]), 1), (hermite([1], [0, 0, 0, 1]), 1),
    (hermite([1] * 5), 5), (hermite([0, 0]), None), (hermite([1], [1, 1], c=[1e-7, 1e-7]), 1),
])
def test_leaps(target, leap):
    assert target.leap == leap


@settings(deadline=None, max_examples=25)
@given(st.dictionaries(st.tuples(*[st.integers(0, 3)] * 3), st.sampled_from([-2.0, 0.3, 1.0]), min_size=1, max_size=5),
       st.integers(0, 2**32 - 1))
def test_a_target_is_a_sum_of_neurons_of_the_papers_class(terms, seed):
    target, d, rng = hermite(*terms, c=terms.values()), 5, np.random.default_rng(seed)
    weights, x = target.draw(rng, d), rng.standard_normal((4, d))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    expected = target.evaluate(weights, torch.from_numpy(x))[:, 0].numpy()
    monomials = _monomials(target.terms)
    total = monomials.pop((0, 0, 0), 0.0) * (x @ np.eye(d) * x).sum(1)  # phi(<e_j, x>) <e_j, x>, phi(t) = constant t
    for direction, powers in _powers(monomials).items():
        w = np.array(direction) / np.linalg.norm(direction) @ weights["u"][0].numpy()
        assert np.linalg.norm(w) == pytest.approx(1)
        assert powers[0] == 0
        phi = sum(a * (math.sqrt(d)) ** m * (x @ w) ** (m - 1) for m, a in enumerate(powers) if m)
        total = total + phi * (x @ w)
    np.testing.assert_allclose(total, expected, rtol=1e-9, atol=1e-9 * max(1, np.abs(expected).max()))


def test_complexities_by_hand():
    d = 6
    # h_3(z) = (z^3 - 3z) / sqrt(6) is phi(t) t of t = z / sqrt(d), with phi(t) = (d^1.5 t^2 - 3 sqrt(d)) / sqrt(6).
    c_s = 1e4 * (3 * math.sqrt(d) + 3**1.75 * d**1.5) / math.sqrt(6)
    assert concept_log_C_s(hermite([3]), d) == pytest.approx(math.log(c_s))
    # z_1 z_2 = d/2 (t_+^2 - t_-^2), t_+- = (z_1 +- z_2) / sqrt(2 d)
    assert concept_log_C_s(hermite([1, 1]), d) == pytest.approx(math.log(1e4 * 2**1.75 * d / 2))
    assert concept_log_C_eps(hermite([1]), d, 0.01) == pytest.approx(math.log(2 * math.sqrt(d)))
    # a constant c is c ||x||^2
    assert concept_log_C_s(hermite([0], c=[3]), d) == pytest.approx(math.log(1e4 * 2**1.75 * 3))


def test_components_are_orthonormal_on_gaussian_inputs():
    rng, d = np.random.default_rng(0), 4
    z = torch.from_numpy(rng.standard_normal((200_000, d)) / math.sqrt(d))
    targets = [hermite([3]), hermite([1, 1]), hermite([2, 1]), hermite([0, 3])]
    frame = {"u": torch.eye(d, dtype=torch.float64)[None]}
    values = torch.cat([target.evaluate({"u": frame["u"][:, :target.directions]}, z) for target in targets], 1)
    torch.testing.assert_close(values.T @ values / len(z), torch.eye(4, dtype=torch.float64), rtol=0, atol=0.06)


@pytest.mark.parametrize(("overrides", "message"), [
    (["concept.degrees=[[1,1,1]]", "inputs.d=2"], r"inputs.d=2: must be at least the number of directions.*\(3\)"),
    (["concept.degrees=[[17]]"], "concept.degrees=17: must be at most 16"),
    (["concept.degrees=[[9,9]]"], r"concept.degrees=\[\[9, 9\]\]: the degrees of a term must add up to at most 16"),
    (["concept.degrees=[[1],[]]"], "concept.degrees=.*at least one entry"),
    (["concept.degrees=[[-1]]"], "concept.degrees=-1: must be at least 0"),
    (["concept.coefficients=[1,2]"], r"concept.coefficients=\[1.0, 2.0\]: at most one for each of the 1 entries"),
    (["concept.coefficients=[1e38]"], r"concept.coefficients=\[1e\+38\]: F\* can be as large as"),
    (["concept.degrees=[[16]]", "inputs.d=1000000"], r"concept.coefficients=\[1.0\]: a neuron of F\* can be"),
    (["concept.scale=0"], "concept.scale=0.0: must be greater than 0"),
])
def test_what_cannot_be_is_refused(make, overrides, message):
    with pytest.raises(ConfigError, match=message):
        make("concept=hermite", *overrides)


def test_lists_in_lists_are_part_of_a_runs_identity(make):
    one, other = make("concept=hermite"), make("concept=hermite", "concept.degrees=[[1],[1,1]]")
    assert run_id(one) != run_id(other)
    assert hash(signature(one)) != hash(signature(other))
