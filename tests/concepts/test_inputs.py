"""Input distributions: norms, coordinates, and moments within five standard errors or so."""

import math

import numpy as np
import pytest
import torch

from ovpnet.problem.inputs.mixture import Mixture
from ovpnet.spec.choices import INPUTS

N = 40_000


def sphere(config, rng):
    """By Box and Muller: two Gaussian coordinates at a time, from an exponential radius and an angle."""
    columns = []
    while len(columns) < config.d:
        radius, angle = np.sqrt(rng.exponential(2, N)), rng.uniform(0, 2 * math.pi, N)
        columns += [radius * np.cos(angle), radius * np.sin(angle)]
    points = np.column_stack(columns[:config.d])
    return points / np.linalg.norm(points, axis=1)[:, None]


def half_sphere(config, rng):
    rest = rng.standard_normal((N, config.d - 1))
    return np.column_stack([rest / np.linalg.norm(rest, axis=1)[:, None] * math.sqrt(0.75), np.full(N, 0.5)])


def hypercube(config, rng):
    return (2 * rng.binomial(1, 0.5, (N, config.d)) - 1) / math.sqrt(config.d)


def mixture(config, rng):
    """By a loop over the components, with the centres that the stream of the seed draws."""
    draws = np.random.Generator(np.random.Philox(key=np.array([config.seed, 2 << 32], dtype=np.uint64)))
    rows = []
    for centre in draws.standard_normal((config.components, config.d)):
        noise = rng.standard_normal((N // config.components, config.d)) * config.spread / math.sqrt(config.d)
        rows.append(centre / math.sqrt(centre @ centre) + noise)
    rows = np.concatenate(rows)
    return rows / np.linalg.norm(rows, axis=1)[:, None]


# The independent references: every registered distribution has a row of keys for its tests, and another sampler.
REFERENCES = {
    "normalized_gaussian": ([{"d": d} for d in (2, 4, 9)], sphere),
    "half_sphere": ([{"d": d} for d in (2, 4, 9)], half_sphere),
    "hypercube": ([{"d": d} for d in (2, 4, 9)], hypercube),
    "mixture": ([{"d": d, "components": 3, "spread": spread} for d in (2, 5) for spread in (0.1, 2.0)], mixture),
}
CONFIGS = [INPUTS[name](**keys) for name, (each, _) in REFERENCES.items() for keys in each]


def drawn(config, seed=0, n=N):
    return config.sample(np.random.default_rng(seed), n)


def covariance(x):
    return x.T @ x / len(x)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_every_input_has_norm_one(config):
    x = drawn(config, n=500)
    assert x.shape == (500, config.d)
    assert x.dtype == torch.float64
    torch.testing.assert_close(x.norm(dim=1), torch.ones(500, dtype=torch.float64), rtol=0, atol=1e-14)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_moments_agree_with_another_sampler(config):
    """Of order 1, 2 and 4, within 5 standard errors of their difference."""
    other = REFERENCES[config.family][1](config, np.random.default_rng(7))
    pairs = [(i, j) for i in range(config.d) for j in range(i, config.d)]
    moments = []
    for x in (drawn(config).numpy(), other[:N]):
        values = np.column_stack([x, *(x[:, i] * x[:, j] for i, j in pairs), x**4])
        moments.append((values.mean(0), values.var(0) / len(values)))
    (one, variance), (two, others) = moments
    assert (np.abs(one - two) <= 5 * np.sqrt(variance + others) + 1e-12).all()


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_the_generator_alone_decides_the_draw(config):
    assert torch.equal(drawn(config, 1, 10), drawn(config, 1, 10))
    assert not torch.equal(drawn(config, 1, 10), drawn(config, 2, 10))


@pytest.mark.parametrize("name", ["normalized_gaussian", "hypercube"])
def test_symmetric_distributions_have_mean_0_and_covariance_identity_over_d(name):
    x = drawn(INPUTS[name](d=5))
    torch.testing.assert_close(x.mean(0), torch.zeros(5, dtype=torch.float64), rtol=0, atol=0.012)
    torch.testing.assert_close(covariance(x), torch.eye(5, dtype=torch.float64) / 5, rtol=0, atol=0.006)


def test_normalized_gaussian_has_the_fourth_moment_of_the_sphere():
    x = drawn(INPUTS["normalized_gaussian"](d=4))
    torch.testing.assert_close((x**4).mean(0), torch.full((4,), 3 / (4 * 6), dtype=torch.float64), rtol=0, atol=0.005)


def test_half_sphere_has_a_constant_last_coordinate_and_a_uniform_rest():
    x = drawn(INPUTS["half_sphere"](d=4))
    assert (x[:, -1] == 0.5).all()
    torch.testing.assert_close(x[:, :-1].mean(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=0.013)
    torch.testing.assert_close(covariance(x[:, :-1]), torch.eye(3, dtype=torch.float64) / 4, rtol=0, atol=0.007)


def test_hypercube_takes_every_corner_equally_often():
    x = drawn(INPUTS["hypercube"](d=3))
    corners, counts = torch.unique(x, dim=0, return_counts=True)
    assert corners.shape == (8, 3)
    assert torch.allclose(corners.abs(), torch.tensor(1 / math.sqrt(3), dtype=torch.float64))
    torch.testing.assert_close(counts / N, torch.full((8,), 1 / 8), rtol=0, atol=0.009)


def test_a_narrow_mixture_gathers_at_equally_likely_centres_that_its_seed_draws():
    config = Mixture(d=6, components=3, spread=1e-6)
    x = drawn(config)
    centres, counts = torch.unique((x * 1e4).round() / 1e4, dim=0, return_counts=True)
    big = counts > N / 100  # rounding may split a centre that lies on a rounding boundary
    assert big.sum() <= 6
    assert counts[big].sum() > 0.9 * N
    nearest = torch.cdist(x, centres[big][:1]).squeeze(1)
    assert abs((nearest < 1e-3).double().mean() - 1 / 3) < 0.013
    other = drawn(Mixture(d=6, components=3, spread=1e-6, seed=1))
    assert torch.cdist(x[:100], other[:100]).min() > 1e-3


def test_the_spread_of_a_mixture_is_the_size_of_its_noise():
    # With a small spread s, 1 - |mean|^2 is about the squared tangential noise s^2 (d-1)/d.
    s, d = 0.05, 8
    x = drawn(Mixture(d=d, components=1, spread=s))
    assert 1 - (x.mean(0) ** 2).sum() == pytest.approx(s**2 * (d - 1) / d, rel=0.05)


class Counting:
    """A generator that counts the calls made to it."""

    def __init__(self):
        self.rng, self.calls = np.random.default_rng(0), 0

    def __getattr__(self, name):
        self.calls += 1
        return getattr(self.rng, name)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_the_number_of_generator_calls_does_not_depend_on_n(config):
    small, large = Counting(), Counting()
    config.sample(small, 1)
    config.sample(large, 1000)
    assert small.calls == large.calls <= 2
