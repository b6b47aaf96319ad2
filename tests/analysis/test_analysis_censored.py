"""The likelihood of intervals with a random effect of the seed, against integrals, differences and statsmodels."""

import numpy as np
import pytest
from scipy.stats import norm
from statsmodels.base.model import GenericLikelihoodModel
from statsmodels.regression.mixed_linear_model import MixedLM

from analysis import censored
from analysis.censored import Observations, log_likelihoods, maximize
from analysis.scaling import Inference

X = np.log(4.0) * (np.arange(4) - 1.5)


def observations(rng, *, seeds=5, sigma=0.1, tau=0.2, step=0.3, alpha=0.4, top=np.inf):
    """Intervals of a grid of log N with neighbours `step` apart; above `top` none passes."""
    y = alpha * X + tau * rng.normal(size=(seeds, 1)) + sigma * rng.normal(size=(seeds, 4)) + rng.uniform(0, step)
    low, high = (np.ceil(y / step) - 1) * step, np.ceil(y / step) * step
    beyond = high > top
    last = np.floor(top / step) * step if np.isfinite(top) else 0.0
    design = np.broadcast_to(np.stack([np.ones(4), X], axis=-1), (seeds, 4, 2))
    return Observations(np.where(beyond, last, low), np.where(beyond, np.inf, high), design)


@pytest.mark.parametrize("data", [{}, {"sigma": 0.4, "tau": 0.02}, {"sigma": 0.02, "tau": 0.5, "step": 0.2},
                                  {"step": 0.7, "sigma": 0.03}, {"top": 0.4}])
@pytest.mark.parametrize(("sigma", "tau"), [(0.1, 0.2), (0.3, 0.05), (0.05, 0.6)])
def test_likelihood_is_the_integral(data, sigma, tau):
    one = observations(np.random.default_rng(1), **data)
    beta = np.array([0.1, 0.35])
    found = log_likelihoods(one, np.array([[*beta, tau, 1.0]]) / sigma)[0]
    for seed, value in enumerate(found):
        law = one.design[seed] @ beta

        u = np.linspace(-7 * tau, 7 * tau, 4001)
        away = law[:, None] + u
        mass = norm.cdf((one.high[seed][:, None] - away) / sigma) - norm.cdf((one.low[seed][:, None] - away) / sigma)
        exact = np.trapezoid(mass.prod(axis=0) * norm.pdf(u, scale=tau), u)
        if exact > 1e-12:  # the differences of cdf have no digits below
            assert value == pytest.approx(np.log(exact), abs=2e-3)


def test_seeds_far_apart_are_integrated_where_they_are():
    """A seed's own level may be many sigmas from 0, where an integrand as narrow as a sigma is."""
    sigma, tau = 0.02, 1.0
    one = observations(np.random.default_rng(1), sigma=sigma, tau=tau, step=0.03)
    found = log_likelihoods(one, np.array([[0.0, 0.4, tau, 1.0]]) / sigma)[0]
    u = np.linspace(-6, 6, 200_001)
    for low, high, likelihood in zip(one.low, one.high, found, strict=True):
        cells = norm.cdf((high - 0.4 * X)[:, None], u, sigma) - norm.cdf((low - 0.4 * X)[:, None], u, sigma)
        exact = np.trapezoid(cells.prod(axis=0) * norm.pdf(u, scale=tau), u)
        assert likelihood == pytest.approx(np.log(exact), abs=1e-4)


@pytest.mark.parametrize("top", [np.inf, 0.5])
def test_derivatives_are_differences(top):
    one = observations(np.random.default_rng(0), top=top)
    data = Observations(one.low[None], one.high[None], one.design)
    fit = censored._Fit(data, np.array([[1.0, 2.0, 0.0, 1.0, 1.0]]), 0.01)
    point = np.array([[0.5, 2.0, 1.5, 6.0]])
    _, gradient, hessian = fit.derivatives(point)
    for column, step in enumerate(1e-4 * np.eye(4)):
        ahead, behind = fit.derivatives(point + step), fit.derivatives(point - step)
        assert gradient[0, column] == pytest.approx((ahead[0] - behind[0])[0] / 2e-4, rel=1e-3, abs=1e-3)
        np.testing.assert_allclose(hessian[0, column], (ahead[1] - behind[1])[0] / 2e-4, rtol=1e-3, atol=1e-3)


def test_a_batch_is_its_elements():
    several = [observations(np.random.default_rng(seed), top=0.9) for seed in range(4)]
    both = maximize(Observations(np.stack([each.low for each in several]), np.stack([each.high for each in several]),
                                 several[0].design), floor=0.02)
    alone = [maximize(each, floor=0.02) for each in several]
    np.testing.assert_allclose(both.log_likelihood, [each.log_likelihood[0] for each in alone], atol=1e-4)
    np.testing.assert_allclose(both.beta, [each.beta[0] for each in alone], atol=1e-3)


def test_weights_repeat_seeds_and_leave_them_out():
    one = observations(np.random.default_rng(3))
    counts = np.array([2, 0, 1, 1, 1])
    rows = np.repeat(np.arange(5), counts)
    weighted = maximize(one, counts[None].astype(float), floor=0.02)
    repeated = maximize(Observations(one.low[rows], one.high[rows], one.design[rows]), floor=0.02)
    np.testing.assert_allclose(weighted.beta, repeated.beta, atol=1e-4)
    assert weighted.log_likelihood == pytest.approx(repeated.log_likelihood, abs=1e-4)


# --- a peer's view: the same data through statsmodels ------------------------------------------------


def test_fine_grid_gives_the_mixed_model_of_statsmodels():
    one = observations(np.random.default_rng(5), seeds=12, sigma=0.2, tau=0.3, step=0.01)
    middle, seed = (one.low + one.high) / 2, np.repeat(np.arange(12), 4)
    peer = MixedLM(middle.ravel(), np.tile(one.design[0], (12, 1)), groups=seed).fit(reml=False)
    found = maximize(one)
    np.testing.assert_allclose(found.beta[0], peer.fe_params, atol=1e-3)
    assert found.sigma[0] == pytest.approx(np.sqrt(peer.scale), rel=0.01)
    assert found.tau[0] == pytest.approx(np.sqrt(peer.cov_re[0, 0]), rel=0.02)
    # its standard error is the model's, ours is over seeds: the same in expectation
    assert Inference(one).error(1) == pytest.approx(peer.bse[1], rel=0.5)


class IntervalRegression(GenericLikelihoodModel):
    """Interval-censored regression with Gauss-Hermite nodes for the seed's effect, as a statsmodels user writes it."""

    NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)

    def __init__(self, one: Observations):
        self.one = one
        super().__init__(np.zeros(one.low.size), one.design.reshape(-1, one.design.shape[-1]),
                         extra_params_names=["log_sigma", "log_tau"])

    def loglike(self, params):
        sigma, tau = np.exp(params[-2:])
        law = (self.one.design @ params[:-2])[..., None] + tau * self.NODES
        mass = norm.cdf((self.one.high[..., None] - law) / sigma) - norm.cdf((self.one.low[..., None] - law) / sigma)
        return np.log(mass.prod(axis=1) @ self.WEIGHTS / np.sqrt(2 * np.pi) + 1e-300).sum()


@pytest.mark.parametrize("data", [{}, {"top": 0.9, "sigma": 0.2}, {"step": 0.6, "sigma": 0.25, "seeds": 8}])
def test_the_likelihood_written_for_statsmodels_gives_the_same_alpha(data):
    one = observations(np.random.default_rng(11), **data)
    peer = IntervalRegression(one).fit(start_params=[0.2, 0.3, np.log(0.2), np.log(0.2)], method="nm", maxiter=2000,
                                       disp=0, skip_hessian=True)
    found = maximize(one)
    assert found.log_likelihood[0] == pytest.approx(peer.llf, abs=0.02)
    assert found.beta[0, 1] == pytest.approx(peer.params[1], abs=0.1 * Inference(one).error(1) + 1e-3)


def test_missing_cells_say_nothing():
    """A seed that lacks a width counts with its others; a seed that lacks all counts for nothing."""
    one = observations(np.random.default_rng(2))
    nothing = np.full((1, 4), np.inf)
    more = Observations(np.vstack([one.low, -nothing]), np.vstack([one.high, nothing]),
                        np.broadcast_to(one.design[0], (6, 4, 2)))
    np.testing.assert_allclose(maximize(more).beta, maximize(one).beta, atol=1e-4)
