"""The smoothed objective's value, gradient and Hessian against closed forms and quadrature, in float64."""

import math

import numpy as np
import pytest
import torch

from ovpnet.engine.steps import Perturbation, scaled
from ovpnet.nets.regularization import Penalties, Penalty
from ovpnet.spec.choices import LEARNERS, LOSSES
from ovpnet.training.diagnostics.curvature import along, extremes
from ovpnet.training.diagnostics.saddles import smoothed_norm
from ovpnet.training.diagnostics.smoothed import Objective

SPREAD = {"W": 0.4, "V": 0.5}
NONE = Perturbation({}, None, {})


def objective(name, m, d, n, *, trained="hidden", biases=False, k=1, penalty=0.0, loss="l2", scale=1.0,
              seed=3, m2=None):
    net = LEARNERS[name](trained=trained, biases=biases).net()
    rng = np.random.default_rng(seed)
    initial = {key: value[None] for key, value in net.init(rng, m, d, k, 1.0, m2).items()}
    weights = {key: value + 0.3 * torch.from_numpy(rng.standard_normal(value.shape)) if key in net.trained else value
               for key, value in initial.items()}
    x = torch.from_numpy(rng.standard_normal((1, n, d)))
    y = torch.from_numpy(rng.standard_normal((1, n, k)))
    y = torch.nn.functional.one_hot(y.argmax(-1), k).double() if loss == "cross_entropy" else y
    coefficient = torch.tensor([penalty]).double()
    kinds = {"W": "row_24", "V": "frobenius"}
    regularizer = Penalties({key: Penalty(kinds[key], coefficient) for key in net.trained if key in kinds}, True)
    lam = torch.tensor([scale]).double()
    return Objective(net, LOSSES[loss](), regularizer, scaled(weights, lam),
                     {key: initial[key] for key in net.trained}, lam, x, y)


def gaussian_draws(goal, count, seed=0, signs=False):
    draw = torch.Generator().manual_seed(seed)
    noise = {name: SPREAD[name] * torch.randn(count, *goal.weights[name].shape[1:], generator=draw).double()
             for name in SPREAD if name in goal.net.trained}
    flips = 2.0 * torch.randint(2, (count, goal.weights["W"].shape[1]), generator=draw).double() - 1
    return Perturbation(noise, flips if signs else None, {})


def dense(product, like):
    """The Hessian as a matrix, from its products with the unit vectors."""
    size = sum(value.numel() for value in like.values())
    rows = []
    for unit in torch.eye(size, dtype=torch.float64):
        parts = unit.split([value.numel() for value in like.values()])
        rows.append(flat(product({name: part.view_as(value)
                                  for part, (name, value) in zip(parts, like.items(), strict=True)})))
    return torch.stack(rows)


def flat(weights):
    return torch.cat([value.flatten() for value in weights.values()])


def derivatives(function, like):
    """Gradient and Hessian of a function of the weights, by autograd."""
    def of_flat(vector):
        parts = vector.split([value.numel() for value in like.values()])
        return function({name: part.view_as(value) for part, (name, value) in zip(parts, like.items(), strict=True)})
    return (torch.autograd.functional.jacobian(of_flat, flat(like)),
            torch.autograd.functional.hessian(of_flat, flat(like)))


def relu_moments(z, s):
    """E relu(z + s g) and E relu(z + s g)^2, g ~ N(0, 1)."""
    density = torch.exp(-(z / s) ** 2 / 2) / math.sqrt(2 * math.pi)
    mass = torch.special.ndtr(z / s)
    return z * mass + s * density, (z**2 + s**2) * mass + z * s * density


def squared_loss(a, first, second, y):
    """E (sum_i a_i r_i - y)^2 of independent r_i with these first and second moments [..., m]."""
    mean = (a * first).sum(-1)
    return mean**2 + (a**2 * (second - first**2)).sum(-1) - 2 * y * mean + y**2


def two_layer_closed_form(goal):
    w = {name: value[0] for name, value in goal.weights.items()}
    s = SPREAD["W"] * goal.x[0].norm(dim=-1, keepdim=True)

    def value(parameters):
        p = w | {name: each.squeeze(0) for name, each in parameters.items()}
        moments = relu_moments(goal.x[0] @ p["W"].T + p["b"], s)
        return squared_loss(p["a"][0], *moments, goal.y[0, :, 0]).mean()

    return value


def three_layer_quadrature(goal):
    """V's noise in closed form for each h, W's by the trapezoid rule over the two pre-activations z of the first layer:
    the parameters move the density of z, not the grid, so autograd sees the kink of relu(z)."""
    w = {name: value[0] for name, value in goal.weights.items()}
    s = SPREAD["W"] * goal.x[0].norm(dim=-1)
    centers = goal.x[0] @ w["W"].T + w["b1"]
    unit = torch.linspace(-8, 8, 241, dtype=torch.float64)

    def value(parameters):
        p = w | {name: each.squeeze(0) for name, each in parameters.items()}
        total = 0
        for n in range(goal.x.shape[1]):
            grids = [centers[n, j] + s[n] * unit for j in range(2)]
            z = torch.stack(torch.meshgrid(*grids, indexing="ij"), -1)
            h = z.relu()
            moments = relu_moments(h @ p["V"].T + p["b2"],
                                   SPREAD["V"] * (h.square().sum(-1, keepdim=True) + 1e-12).sqrt())
            density = torch.exp(-((z - goal.x[0, n] @ p["W"].T - p["b1"]) / s[n]) ** 2 / 2).prod(-1) / (2 * math.pi)
            total = total + (squared_loss(p["a"][0], *moments, goal.y[0, n, 0]) * density).sum() * (16 / 240) ** 2
        return total / goal.x.shape[1]

    return value


CASES = {"single neuron": (("two_layer", 1, 2, 1), {"seed": 0}, two_layer_closed_form),
         "two layers": (("two_layer", 4, 3, 3), {"biases": True}, two_layer_closed_form),
         "all of two layers": (("two_layer", 3, 2, 3), {"trained": "all"}, two_layer_closed_form),
         "three layers": (("three_layer", 2, 2, 2), {"biases": True}, three_layer_quadrature),
         "three layers of two widths": (("three_layer", 2, 2, 2), {"m2": 3, "seed": 2}, three_layer_quadrature)}


@pytest.mark.parametrize("case", CASES)
def test_value_gradient_and_hessian_of_the_smoothed_objective(case):
    shape, options, formula = CASES[case]
    goal = objective(*shape, **options)
    draws, like, value = gaussian_draws(goal, 40_000), goal.parameters(), formula(goal)
    gradient, hessian = derivatives(value, like)
    measured = dense(goal.hessian(draws, SPREAD), like)
    assert goal.value(draws) == pytest.approx(value(like).item(), rel=0.02)
    gradients = goal.gradients(draws)
    each = torch.cat([gradients[name].flatten(1) for name in like], 1)
    error = each.std(0) / len(each) ** 0.5
    assert ((each.mean(0) - gradient).abs() < 5 * error).all()
    assert abs(smoothed_norm(gradients) - gradient.norm().item()) < 5 * error.norm().item()
    width = torch.linalg.matrix_norm(hessian, ord=2).item()
    torch.testing.assert_close(measured, hessian, rtol=0, atol=0.02 * width)
    torch.testing.assert_close(measured, measured.T, rtol=0, atol=1e-10 * width)
    # without the kinks it is another matrix
    smooth = dense(goal.hessian(draws, {"W": 1e-9, "V": 1e-9}), like)
    assert torch.linalg.matrix_norm(smooth - hessian, ord=2).item() > 0.05 * width


@pytest.mark.parametrize(("name", "loss", "k"), [("two_layer", "cross_entropy", 3), ("three_layer", "cross_entropy", 3),
                                                 ("three_layer", "huber", 2)])
def test_hessian_equals_differences_of_the_mean_gradient(name, loss, k):
    """Common random numbers and a step within the noise, for other losses and several outputs."""
    goal = objective(name, 2, 2, 2, loss=loss, k=k, biases=True, penalty=0.1)
    draws, like, h = gaussian_draws(goal, 200_000), goal.parameters(), 0.05

    def mean_gradient(sign, direction):
        moved = {key: goal.weights[key] + sign * h * direction[key] for key in like}
        at = Objective(goal.net, goal.loss, goal.regularizer, goal.weights | moved, goal.initial, goal.scale,
                       goal.x, goal.y)
        return flat({key: value.mean(0) for key, value in at.gradients(draws).items()})

    rng = torch.Generator().manual_seed(5)
    direction = {key: torch.randn(value.shape, generator=rng).double() for key, value in like.items()}
    differences = torch.cat([mean_gradient(sign, direction) for sign in (1, -1)])
    differences = (differences[:len(differences) // 2] - differences[len(differences) // 2:]) / (2 * h)
    reordered = list(goal.gradients(NONE))
    product = goal.hessian(draws, SPREAD)(direction)
    torch.testing.assert_close(flat({key: product[key] for key in reordered}), differences, rtol=0,
                               atol=0.03 * differences.norm().item())


@pytest.mark.parametrize("m2", [None, 2, 7])
@pytest.mark.parametrize("trained", ["quadratic", "hidden"])
def test_unsmoothed_value_and_gradient_equal_their_formula(trained, m2):
    goal = objective("three_layer", 4, 3, 5, trained=trained, penalty=0.2, scale=0.6, m2=m2)

    def value(parameters):
        output = goal.net.output(goal.weights | parameters, goal.x)  # a has lambda in it already
        W, V = (0.6**0.5 * (parameters[name] - goal.initial[name])[0] for name in ("W", "V"))
        return (output - goal.y).square().mean() + 0.2 * (W.norm(dim=1).pow(4).sum() + V.square().sum() / 2)

    gradient, _ = derivatives(value, goal.parameters())
    torch.testing.assert_close(flat(goal.gradients(NONE)), gradient)
    assert goal.value(NONE) == pytest.approx(value(goal.parameters()).item())


def test_decay_scales_output_and_regularizer():
    goal = objective("three_layer", 4, 3, 5, penalty=0.2, scale=0.6)
    output = 0.9 * goal.net.output(goal.weights, goal.x)
    W, V = ((0.54**0.5 * (goal.weights[name] - goal.initial[name]))[0] for name in ("W", "V"))
    expected = (output - goal.y).square().mean() + 0.2 * (W.norm(dim=1).pow(4).sum() + V.square().sum() / 2)
    assert goal.value(NONE, 0.9) == pytest.approx(expected.item())


def test_signs_flip_the_increments_and_their_derivatives():
    """Under one draw the objective of Algorithm 2 is Algorithm 3's at W0 + Sigma W' and V0 + V' Sigma."""
    goal = objective("three_layer", 5, 3, 4, m2=3)
    draws = gaussian_draws(goal, 1, signs=True)
    flips = {"W": draws.signs[:, :, None], "V": draws.signs[:, None, :]}
    moved = {name: goal.initial[name] + flips[name] * (goal.weights[name] - goal.initial[name]) for name in flips}
    plain = Objective(goal.net, goal.loss, goal.regularizer, goal.weights | moved, goal.initial, goal.scale,
                      goal.x, goal.y)
    noise = Perturbation(draws.smoothing, None, {})
    assert goal.value(draws) == pytest.approx(plain.value(noise))
    flip = flat({name: flips[name].expand_as(goal.weights[name]) for name in flips})
    expected = flip[:, None] * dense(plain.hessian(noise, SPREAD), goal.parameters()) * flip
    torch.testing.assert_close(dense(goal.hessian(draws, SPREAD), goal.parameters()), expected)


@pytest.mark.parametrize("name", ["two_layer", "three_layer"])
def test_lanczos_finds_the_ends_of_the_dense_spectrum(name):
    goal = objective(name, 12, 4, 20, penalty=0.01)
    like, product = goal.parameters(), goal.hessian(gaussian_draws(goal, 8), SPREAD)
    matrix = dense(product, like)
    values = torch.linalg.eigvalsh((matrix + matrix.T) / 2)
    first = np.random.default_rng(0).standard_normal(len(matrix))
    smallest, largest, direction = extremes(product, like, first, 12)
    assert smallest < 0 < largest
    allowed = 2e-3 * (values[-1] - values[0]).item()
    assert abs(smallest - values[0].item()) < allowed
    assert abs(largest - values[-1].item()) < allowed
    assert abs(along(product, direction) - smallest) < allowed
    assert extremes(product, like, first, len(matrix))[:2] == pytest.approx((values[0].item(), values[-1].item()))
