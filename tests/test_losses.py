import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from ovpnet.nets.losses.classification import CrossEntropy, Logistic
from ovpnet.nets.losses.regression import L2
from ovpnet.problem.noise.flip import Flip
from ovpnet.problem.noise.none import NoNoise
from ovpnet.spec.choices import LOSSES, NOISES

numbers = st.floats(-20, 20)


def vectors(k):
    return st.lists(numbers, min_size=k, max_size=k).map(lambda each: torch.tensor(each, dtype=torch.float64))


@dataclass
class Reference:
    """A row: torch's own function of one F and y, the labels that it takes of numbers, and its Lipschitz constant."""

    value: Callable
    lipschitz: float
    k: int = 3
    labels: Callable = lambda y: y


# The independent references: every registered loss has a row.
REFERENCES = {
    "l2": Reference(lambda output, y: functional.mse_loss(output, y, reduction="sum"), math.inf),
    # torch's has no vectors: it is the Huber function of the norm of the difference.
    "huber": Reference(lambda output, y: functional.huber_loss((output - y).norm(), torch.zeros(()).double()), 1),
    "logistic": Reference(functional.soft_margin_loss, 1, 1, lambda y: torch.where(y >= 0, 1.0, -1.0).double()),
    "cross_entropy": Reference(lambda output, y: functional.cross_entropy(output, y.argmax()), math.sqrt(2), 3,
                               lambda y: functional.one_hot(y.argmax(), 3).double()),
}


@pytest.mark.parametrize("name", REFERENCES)
@given(output=vectors(3), y=vectors(3))
def test_values_equal_torchs_own(name, output, y):
    row = REFERENCES[name]
    output, y = output[:row.k], row.labels(y[:row.k])
    assert LOSSES[name]().value(output, y).item() == pytest.approx(row.value(output, y).item(), abs=1e-12)


@pytest.mark.parametrize("name", REFERENCES)
@given(first=vectors(3), second=vectors(3), y=vectors(3))
def test_losses_are_convex_with_the_stated_slope(name, first, second, y):
    row = REFERENCES[name]
    first, second, y = first[:row.k], second[:row.k], row.labels(y[:row.k])
    loss = LOSSES[name]()
    tangent = loss.value(first, y) + (loss.gradient(first, y) * (second - first)).sum()
    assert loss.value(second, y) >= tangent - 1e-9
    assert loss.gradient(first, y).norm() <= row.lipschitz + 1e-12


def test_gradients_are_smooth_at_the_hubers_joint():
    y = torch.zeros(1, 2, dtype=torch.float64)
    inside, outside = (LOSSES["huber"]().gradient(torch.tensor([[r * 0.6, r * 0.8]], dtype=torch.float64), y)
                       for r in (1 - 1e-9, 1 + 1e-9))
    torch.testing.assert_close(inside, outside, rtol=1e-7, atol=1e-7)


N = 200_000


@pytest.mark.parametrize(("kind", "variance"), [("gaussian", 0.09), ("uniform", 0.03), ("none", 0.0)])
def test_additive_noise_has_its_moments(kind, variance):
    target = torch.linspace(-1, 1, N, dtype=torch.float64)[:, None]
    noise = NOISES[kind](level=0.3 if kind != "none" else 0.0)
    y = L2().label(target, noise, np.random.default_rng(0))
    difference = y - target
    assert abs(difference.mean().item()) <= 5 * math.sqrt(variance / N)
    assert difference.var().item() == pytest.approx(variance, rel=0.03)
    if kind == "uniform":
        assert difference.abs().max() <= 0.3


def test_sampled_labels_have_the_losss_own_probabilities():
    rng = np.random.default_rng(0)
    y = Logistic().label(torch.full((N, 1), 0.7, dtype=torch.float64), NoNoise(), rng)
    assert set(y.flatten().tolist()) == {-1.0, 1.0}
    assert (y > 0).double().mean().item() == pytest.approx(1 / (1 + math.exp(-0.7)), abs=0.006)
    scores = torch.tensor([[0.0, 1.0, -1.0]], dtype=torch.float64)
    y = CrossEntropy().label(scores.expand(N, 3), NoNoise(), rng)
    torch.testing.assert_close(y.mean(0), torch.softmax(scores[0], 0), atol=0.006, rtol=0)


def test_hard_labels_and_flips():
    rng = np.random.default_rng(0)
    hard = CrossEntropy(labels="hard")
    scores = torch.tensor([[0.0, 1.0, -1.0]], dtype=torch.float64).expand(N, 3)
    assert hard.label(scores, NoNoise(), rng).mean(0).tolist() == [0, 1, 0]
    flipped = hard.label(scores, Flip(level=0.2), rng).mean(0)
    torch.testing.assert_close(flipped, torch.tensor([0.1, 0.8, 0.1], dtype=torch.float64), atol=0.006, rtol=0)
    sign = Logistic(labels="hard").label(torch.full((N, 1), 3.0, dtype=torch.float64), Flip(level=0.2), rng)
    assert sign.mean().item() == pytest.approx(0.6, abs=0.012)
