import math

import numpy as np
import pytest
from scipy import integrate

from ovpnet.problem.data import Problem
from ovpnet.problem.opt import compute_opt, empirical_opt, fitted_class, target_is_optimal
from ovpnet.problem.streams import Stream
from ovpnet.record.store import Store

MANY = "opt.samples=300000"


@pytest.mark.parametrize(("overrides", "exact"), [
    ([], 0.0),
    (["noise=gaussian", "noise.level=0.3"], 0.09),
    (["noise=uniform", "noise.level=0.3", "concept.k=2"], 2 * 0.03),
    (["concept=random_labels"], 1.0),
])
def test_closed_forms_are_confirmed_by_monte_carlo(make, overrides, exact):
    opt = compute_opt(make(MANY, *overrides))
    assert opt.opt == pytest.approx(exact)
    assert opt.opt_se == 0
    assert opt.opt_method == "noise"
    assert abs(opt.opt_monte_carlo - exact) <= 5 * opt.opt_monte_carlo_se + 1e-12


def test_huber_noise_risk_against_quadrature(make):
    density = lambda z: math.exp(-z * z / 2 / 0.64) / math.sqrt(2 * math.pi * 0.64)  # noqa: E731
    huber = lambda z: z * z / 2 if abs(z) <= 1 else abs(z) - 0.5  # noqa: E731
    exact, _ = integrate.quad(lambda z: density(z) * huber(z), -8, 8, points=[-1, 1])
    opt = compute_opt(make(MANY, "loss=huber", "noise=gaussian", "noise.level=0.8"))
    assert abs(opt.opt - exact) < 5 * opt.opt_se
    assert 0 < opt.opt_se < 0.01 * exact


def test_sampled_classes_have_the_entropy_of_the_target(make):
    config = make(MANY, "loss=logistic", "concept.scales=[3]")
    problem = Problem(config)
    x, _ = problem.sample(99, Stream.TEST, 200_000)
    p = 1 / (1 + np.exp(-problem.target(x).numpy()))
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    opt = compute_opt(config)
    assert opt.opt_method == "noise"
    assert abs(opt.opt - entropy.mean()) < 5 * math.hypot(opt.opt_se, entropy.std() / math.sqrt(len(entropy)))


def test_which_targets_are_optimal(make):
    for overrides in ([], ["noise=uniform"], ["loss=logistic"], ["concept=random_labels", "loss=logistic"]):
        assert target_is_optimal(make(*overrides)), overrides
    for overrides in (["loss=logistic", "loss.labels=hard"], ["loss=logistic", "noise=flip"],
                      ["concept=relu_teacher"], ["concept=parity"]):
        assert not target_is_optimal(make(*overrides)), overrides


FIT = ["opt.method=fit", "opt.fit_samples=4000", "opt.steps=600", "opt.restarts=4"]


def test_a_fit_of_the_targets_own_class_finds_the_noise(make):
    config = make(*FIT, "noise=gaussian", "noise.level=0.2")
    opt = compute_opt(config)
    assert fitted_class(config) == config.concept
    assert abs(opt.opt - 0.04) < 5 * opt.opt_se + 0.001


def test_random_restarts_alone_find_a_single_neuron(make):
    """Fit sin(<w1, x>)<w2, x> with another class of one neuron whose restarts do not hold the target."""
    config = make(*FIT, "concept=relu_teacher", "concept.p=1", "opt.p=4", "opt.activations=[sin,poly]")
    opt = compute_opt(config)
    assert opt.opt_method == "fit"
    # A smooth class cannot be a ReLU, but does better than the best constant and linear function by far.
    x, y = Problem(config).sample(0, Stream.TEST, 20000)
    features = np.concatenate([x.numpy(), np.ones((len(x), 1))], 1)
    linear = y.numpy() - features @ np.linalg.lstsq(features, y.numpy(), rcond=None)[0]
    assert 0 < opt.opt < 0.5 * (linear**2).mean()


def test_flipped_labels_have_a_positive_opt_below_chance(make):
    opt = compute_opt(make("opt.fit_samples=4000", "opt.steps=600", "opt.restarts=2", "loss=logistic",
                           "loss.labels=hard", "noise=flip", "noise.level=0.1"))
    entropy = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    assert entropy - 5 * opt.opt_se < opt.opt < math.log(2)


def test_opt_is_computed_once_a_problem(make, tmp_path, monkeypatch):
    store = Store(tmp_path)
    first = empirical_opt(make("noise=gaussian"), store)
    monkeypatch.setattr("ovpnet.problem.opt.compute_opt", lambda *_: pytest.fail("computed again"))
    assert empirical_opt(make("noise=gaussian", "width=99", "seed=5", "lr=3"), store) == first
    assert len(list(tmp_path.glob("opt-*.parquet"))) == 1
