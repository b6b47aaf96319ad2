import numpy as np
import pytest
import torch

from ovpnet.config import LearnerConfig
from ovpnet.learners import ThreeLayer, TwoLayer, learner
from ovpnet.losses import LOSSES

MEMBERS, N, M, D = 3, 7, 11, 5
CASES = [(name, trained, loss) for name in ("two_layer", "three_layer") for trained in ("hidden", "last")
         for loss in LOSSES]


def build(name, trained, k, dtype=torch.float64):
    net = learner(LearnerConfig(name=name, trained=trained))
    rng = np.random.default_rng(0)
    members = [net.init(rng, M, D, k, 1.0) for _ in range(MEMBERS)]
    weights = {key: torch.stack([member[key] for member in members]).to(dtype) for key in members[0]}
    return net, weights


def problem(loss, k):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(MEMBERS, N, D, generator=generator, dtype=torch.float64)
    y = torch.randn(MEMBERS, N, k, generator=generator, dtype=torch.float64)
    if loss == "logistic":
        y = y.sign()
    if loss == "cross_entropy":
        y = torch.nn.functional.one_hot(y.argmax(-1), k).double()
    return x, y


def formula(name, weights, x):
    """The networks of (3.2) and Section 4 in PyTorch's own layers, one member and one sample at a time."""
    outputs = []
    for e in range(len(x)):
        w = {key: value[e] for key, value in weights.items()}
        if name == "two_layer":
            outputs.append([w["a"] @ torch.relu(w["W"] @ each + w["b"]) for each in x[e]])
        else:
            outputs.append([w["a"] @ torch.relu(w["V"] @ torch.relu(w["W"] @ each + w["b1"]) + w["b2"])
                            for each in x[e]])
    return torch.stack([torch.stack(rows) for rows in outputs])


@pytest.mark.parametrize(("name", "trained", "loss"), CASES)
def test_outputs_and_gradients_equal_autograd_in_float64(name, trained, loss):
    k = 1 if loss == "logistic" else 3
    net, weights = build(name, trained, k)
    x, y = problem(loss, k)
    leaves = {key: value.clone().requires_grad_() for key, value in weights.items()}
    expected = formula(name, leaves, x)
    LOSSES[loss].value(expected, y).sum().backward()
    output, pullback = net.output_and_gradient(weights, x)
    torch.testing.assert_close(output, expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(net.output(weights, x), expected.detach(), rtol=1e-12, atol=1e-12)
    gradients = pullback(LOSSES[loss].gradient(output, y))
    assert set(gradients) == set(net.trained)
    for key, gradient in gradients.items():
        torch.testing.assert_close(gradient, leaves[key].grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("name", "trained", "loss"), CASES)
def test_gradients_equal_finite_differences(name, trained, loss):
    k = 1 if loss == "logistic" else 3
    net, weights = build(name, trained, k)
    x, y = problem(loss, k)
    output, pullback = net.output_and_gradient(weights, x)
    gradients = pullback(LOSSES[loss].gradient(output, y))
    for key in net.trained:
        direction = torch.randn(weights[key].shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        sides = [LOSSES[loss].value(net.output(weights | {key: weights[key] + h * direction}, x), y).sum(-1)
                 for h in (1e-6, -1e-6)]
        slope = (sides[0] - sides[1]) / 2e-6
        torch.testing.assert_close(slope, (gradients[key] * direction).sum((-1, -2)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("net", [TwoLayer("hidden"), ThreeLayer("hidden")])
def test_relu_has_slope_one_at_zero(net):
    """The paper's convention 1[z >= 0]; torch's own is 0."""
    weights = {key: torch.zeros(1, *shape, dtype=torch.float64) for key, shape in
               {"W": (2, 3), "b": (2,), "b1": (2,), "V": (2, 2), "b2": (2,)}.items()}
    weights["a"] = torch.ones(1, 1, 2, dtype=torch.float64)
    weights["V"] += torch.eye(2, dtype=torch.float64)
    x = torch.tensor([[[1.0, 2.0, 3.0]]], dtype=torch.float64)
    _, pullback = net.output_and_gradient(weights, x)
    expected = torch.tensor([[[1.0, 2.0, 3.0]] * 2], dtype=torch.float64)
    torch.testing.assert_close(pullback(torch.ones(1, 1, 1, dtype=torch.float64))["W"], expected)


@pytest.mark.parametrize("net", [TwoLayer("hidden"), ThreeLayer("hidden")])
def test_initialization_has_the_papers_variances(net):
    m, d, k, a_std = 400, 6, 50, 0.3
    weights = net.init(np.random.default_rng(5), m, d, k, a_std)
    for key, value in weights.items():
        variance = a_std**2 if key == "a" else 1 / m
        n = value.numel()
        # mean and variance of n Gaussians, within five of their standard errors
        assert abs(value.mean().item()) < 5 * (variance / n) ** 0.5, key
        assert abs(value.var().item() / variance - 1) < 5 * (2 / n) ** 0.5, key
    flat = torch.cat([value.flatten() for value in weights.values()])
    assert len(flat.unique()) == len(flat)
