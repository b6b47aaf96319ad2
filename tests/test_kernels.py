"""Infinite-width kernels against quadrature, against finite nets of growing width, and their general properties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import jacrev, vmap

from ovpnet.nets.kernels import conjugate_kernel, relu_mean, step_mean, tangent_kernel
from ovpnet.spec.choices import LEARNERS

NETS = {2: "two_layer", 3: "three_layer"}
PARTS = ["last", "hidden", "biases"]
A_STD = 0.7
X = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 3)))
X2 = torch.from_numpy(np.random.default_rng(1).standard_normal((3, 3)))


def limit(layers, trained, x, x2):
    if trained == "last":
        return conjugate_kernel(layers, x, x2)
    return tangent_kernel(layers, x, x2, A_STD, biases=trained == "biases")


def finite(layers, trained, m, seed):
    """The kernel of one net by automatic differentiation; the NTK over m."""
    part = "last" if trained == "last" else "hidden"
    net = LEARNERS[NETS[layers]](trained=part, biases=trained == "biases").net()
    drawn = net.init(np.random.default_rng(seed), m, 3, 1, A_STD)
    weights = {name: value[None] for name, value in drawn.items()}
    jacobian = jacrev(lambda moved, each: net.output(weights | moved, each[None, None])[0, 0, 0])
    moved = {name: weights[name] for name in net.trained}
    at = [torch.cat([each.flatten(1) for each in vmap(jacobian, (None, 0))(moved, x).values()], 1) for x in (X, X2)]
    return at[0] @ at[1].T / (1 if trained == "last" else m)


def deviations(layers, trained, m, nets):
    """Of the kernels of `nets` nets from the limit, [nets, n, n2]."""
    return torch.stack([finite(layers, trained, m, seed) for seed in range(nets)]) - limit(layers, trained, X, X2)


@pytest.mark.parametrize("trained", PARTS)
@pytest.mark.parametrize("layers", [2, 3])
def test_kernels_are_the_limits_of_finite_ones(layers, trained):
    sizes = []
    for m in (16, 128):
        deviation = deviations(layers, trained, m, nets=40)
        standard_error = deviation.std(0) / math.sqrt(len(deviation))
        # The three-layer kernels have a bias of order 1/m, which at m = 16 is not small against the standard error.
        if layers == 2 or m == 128:
            assert (deviation.mean(0).abs() < 4.5 * standard_error).all()
        sizes.append(deviation.square().mean().sqrt().item())
    # A deviation of order m^(-1/2): 2.8 times smaller at 8 times the width.
    assert 2 < sizes[0] / sizes[1] < 4
    assert sizes[1] < 0.2 * limit(layers, trained, X, X2).abs().max()


@pytest.mark.parametrize("correlation", [-1.0, -0.6, 0.0, 0.8, 1.0])
def test_arc_cosine_means_equal_quadrature(correlation):
    """Of the angle of a point (g1, g2) in the plane, whose squared radius has mean 2 and is independent of it."""
    square, square2 = 1.7, 0.4
    angle = (np.arange(200_000) + 0.5) / 200_000 * 2 * np.pi
    u, v = np.cos(angle), correlation * np.cos(angle) + np.sqrt(1 - correlation**2) * np.sin(angle)
    args = [torch.tensor(each, dtype=torch.float64)
            for each in (correlation * math.sqrt(square * square2), square, square2)]
    expected = 2 * math.sqrt(square * square2) * np.mean(np.maximum(u, 0) * np.maximum(v, 0))
    assert relu_mean(*args).item() == pytest.approx(expected, abs=1e-8)
    assert step_mean(*args).item() == pytest.approx(np.mean((u >= 0) & (v >= 0)), abs=2e-5)


@st.composite
def inputs(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    return torch.from_numpy(draw(st.sampled_from([1e-3, 1.0, 30.0])) * rng.standard_normal((n, d)))


@settings(max_examples=30, deadline=None)
@given(inputs(), st.sampled_from([2, 3]), st.sampled_from(PARTS))
def test_kernels_are_symmetric_positive_semidefinite_and_know_no_rotation(x, layers, trained):
    kernel = limit(layers, trained, x, x)
    size = kernel.abs().max()
    torch.testing.assert_close(kernel, kernel.T, rtol=1e-12, atol=0)
    assert torch.linalg.eigvalsh(kernel).min() > -1e-7 * size
    rotation = torch.linalg.qr(torch.from_numpy(np.random.default_rng(0).standard_normal((x.shape[1],) * 2)))[0]
    torch.testing.assert_close(limit(layers, trained, x @ rotation, x @ rotation), kernel, rtol=0, atol=1e-7 * size)
    twice = torch.cat([x, x])  # a kernel is a function of the points: equal ones have equal rows
    torch.testing.assert_close(limit(layers, trained, twice, x)[len(x):], kernel, rtol=1e-12, atol=0)


@settings(max_examples=20, deadline=None)
@given(inputs(), st.sampled_from([2, 3]))
def test_the_diagonal_is_known(x, layers):
    """One neuron of two is active, E[relu(u)^2] = E[u^2] / 2: no rounding may be seen in the angle 0."""
    square = x.square().sum(1)
    conjugate, tangent = (square + 1) / 2, square / 2
    if layers == 3:
        conjugate, tangent = (conjugate + 1) / 2, (conjugate + tangent) / 2
    torch.testing.assert_close(conjugate_kernel(layers, x, x).diag(), conjugate, rtol=1e-12, atol=0)
    torch.testing.assert_close(tangent_kernel(layers, x, x).diag(), tangent, rtol=1e-12, atol=0)


def test_leading_axes_are_members():
    x, x2 = torch.stack([X, 2 * X]), torch.stack([X2, -X2])
    for layers in NETS:
        for trained in PARTS:
            together = limit(layers, trained, x, x2)
            for e in range(2):
                torch.testing.assert_close(together[e], limit(layers, trained, x[e], x2[e]), rtol=1e-12, atol=1e-12)
