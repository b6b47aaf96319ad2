"""Concepts whose values could leave the floating-point range are refused; those that cannot are not."""

import math

import numpy as np
import pytest
import torch

from ovpnet.problem.concepts.cos_exp import CosExp
from ovpnet.problem.concepts.figures import Figure1, Figure2
from ovpnet.problem.concepts.parity import Parity
from ovpnet.problem.concepts.random_labels import RandomLabels
from ovpnet.problem.concepts.relu_teacher import ReluTeacher
from ovpnet.problem.concepts.three_layer import ThreeLayer
from ovpnet.problem.concepts.two_layer import TwoLayer
from ovpnet.problem.sets import unit
from ovpnet.spec.errors import ConfigError

LOG_MAX = {dtype: math.log(torch.finfo(getattr(torch, dtype)).max) for dtype in ("float32", "float64")}


def check_domain(concept, dtype):
    if (series := concept.series(4)) is not None:
        series.check_domain(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("concept", [
    lambda c: CosExp(c=c),
    lambda c: TwoLayer(p=1, activations=["exp"], scales=[c]),
    lambda c: ThreeLayer(p1=1, p2=1, phi1=["exp"], phi1_scales=[c]),
    lambda c: ThreeLayer(p1=1, p2=1, phi2=["exp"], phi2_scales=[c]),
    # |first inner sum| <= ||(1, 1, 1, 1)|| = 2, |second inner sum| <= ||(1/2, 1/2, 1/2, 1/2)|| = 1
    lambda c: ThreeLayer(p1=1, p2=4, outer=["exp"], outer_scales=[c / 2], phi2=["poly"], poly=[0.0, 0.5]),
])
def test_the_threshold_of_exp_is_the_log_of_the_largest_number(concept, dtype):
    check_domain(concept(LOG_MAX[dtype] - 0.01), dtype)
    with pytest.raises(ConfigError, match=f"allowed: at most .*{dtype}"):
        check_domain(concept(LOG_MAX[dtype] + 0.01), dtype)


def test_the_message_names_the_key_and_the_value():
    with pytest.raises(ConfigError, match=r"concept.c=100: exp\(c <w2, x>\)"):
        check_domain(CosExp(c=100), "float32")
    with pytest.raises(ConfigError, match=r"concept.scales=\[1.0, 200.0\]: exp\(200 z\) of concept.activations"):
        check_domain(TwoLayer(activations=["exp"], scales=[1.0, 200.0]), "float32")
    with pytest.raises(ConfigError, match=r"concept.outer_scales=.*inner sum"):
        check_domain(ThreeLayer(phi1=["exp"], phi1_scales=[10.0], outer=["exp"]), "float64")
    with pytest.raises(ConfigError, match=r"concept.poly=\[0.0, 1e\+30, 1e\+30\]"):
        check_domain(TwoLayer(activations=["poly"], poly=[0.0, 1e30, 1e30], scales=[1e5]), "float32")
    with pytest.raises(ConfigError, match="dtype=float16"):
        check_domain(CosExp(), "float16")


def test_a_power_beyond_float64_is_reported_as_infinite():
    with pytest.raises(ConfigError, match="as large as inf"):
        check_domain(TwoLayer(activations=["poly"], poly=[0.0] * 4 + [1.0], scales=[1e200]), "float64")


def test_sums_and_products_of_representable_values_are_bounded_too():
    with pytest.raises(ConfigError, match=r"concept.p=100: F"):
        check_domain(TwoLayer(p=100, activations=["exp"], scales=[88.0]), "float32")
    with pytest.raises(ConfigError, match=r"concept.p1=1: F"):
        check_domain(ThreeLayer(p1=1, p2=1, phi1=["exp"], phi1_scales=[60.0], phi2=["exp"], phi2_scales=[60.0],
                                       outer=["poly"]), "float32")


@pytest.mark.parametrize("config", [
    TwoLayer(p=100, activations=["sin", "cos", "tanh", "sigmoid", "erf"], scales=[1e300]), ThreeLayer(),
    Figure1(), Figure2(), CosExp(), ReluTeacher(), Parity(), RandomLabels(),
])
def test_what_cannot_overflow_passes(config):
    check_domain(config, "float32")


def test_the_bound_is_reached_by_no_drawn_target():
    config = ThreeLayer(p1=2, p2=3, phi1=["exp"], phi1_scales=[2.0], phi2=["poly"], poly=[1.0, -3.0],
                               outer=["exp"], outer_scales=[6.5])
    check_domain(config, "float32")
    x = unit(torch.from_numpy(np.random.default_rng(0).standard_normal((1000, 4))))
    for seed in range(20):
        weights = config.draw(np.random.default_rng(seed), 4)
        assert config.evaluate(weights, x).float().isfinite().all()
