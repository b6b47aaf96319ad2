"""Target functions against plain loops over their formulas; constraint sets; batches; seeds."""

import math
import subprocess
import sys
from dataclasses import replace

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
from ovpnet.problem.data import target
from ovpnet.problem.sets import orthogonal_unit, unit

D = 4
POLY = [0.5, 0.0, -2.0, 1.5]
CONFIGS = {
    "two_layer": TwoLayer(k=2, p=5, activations=["sin", "tanh", "poly"], scales=[1.0, 2.0], poly=POLY),
    "plain": TwoLayer(k=1, p=3, plain=True),
    "three_layer": ThreeLayer(k=2, p1=3, p2=4, outer=["cos", "exp"], phi1=["sin", "erf"], phi1_scales=[3.0],
                                     phi2=["sigmoid", "poly"], poly=POLY),
    "general": ThreeLayer(k=2, p1=2, p2=3, general=True, outer=["poly"], poly=POLY),
    "figure1": Figure1(),
    "figure2": Figure2(),
    "cos_exp": CosExp(c=2.0),
    "relu_teacher": ReluTeacher(k=3, p=5),
    "parity": Parity(sparsity=3),
    "random_labels": RandomLabels(k=2),
}
every_family = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
WITHOUT_WEIGHTS = Figure1 | Figure2 | RandomLabels
every_family_with_weights = pytest.mark.parametrize("config", [
    pytest.param(config, id=name) for name, config in CONFIGS.items() if not isinstance(config, WITHOUT_WEIGHTS)])


def phi(name, c, z):
    functions = {"sin": math.sin, "cos": math.cos, "exp": math.exp, "tanh": math.tanh, "erf": math.erf,
                 "sigmoid": lambda u: 1 / (1 + math.exp(-u)),
                 "poly": lambda u: sum(coefficient * u**i for i, coefficient in enumerate(POLY))}
    return functions[name](c * z)


def cycled(names, scales, i, z):
    return phi(names[i % len(names)], scales[i % len(scales)], z)


def by_loops(config, weights, x):
    """F*_r(x) for one x, one output at a time."""
    w = {name: value.tolist() for name, value in weights.items()}

    def dot(u):
        return sum(a * b for a, b in zip(u, x, strict=True))

    match config:
        case TwoLayer():
            return [sum(w["a"][r][i] * cycled(config.activations, config.scales, i, dot(w["w1"][i])) * dot(w["w2"][i])
                        for i in range(config.p)) for r in range(config.k)]
        case ThreeLayer():
            one = [cycled(config.phi1, config.phi1_scales, j, dot(w["w1"][j])) for j in range(config.p2)]
            two = [cycled(config.phi2, config.phi2_scales, j, dot(w["w2"][j])) for j in range(config.p2)]
            if config.general:
                one = [one[j] * dot(w["w3"][j]) for j in range(config.p2)]
                two = [two[j] * dot(w["w4"][j]) for j in range(config.p2)]
            out = []
            for r in range(config.k):
                total = 0.0
                for i in range(config.p1):
                    inner = sum(w["v1"][i][j] * one[j] for j in range(config.p2))
                    factor = sum(w["v2"][i][j] * two[j] for j in range(config.p2))
                    total += w["a"][r][i] * cycled(config.outer, config.outer_scales, i, inner) * factor
                out.append(total)
            return out
        case Figure1():
            return [(math.sin(3 * x[0]) + math.sin(3 * x[1]) + math.sin(3 * x[2]) - 2) ** 2 * math.cos(7 * x[3])]
        case Figure2():
            return [(math.tanh(8 * x[0]) + math.tanh(8 * x[1]) + math.tanh(8 * x[2]) - 2) ** 2 * math.tanh(8 * x[3])]
        case CosExp():
            return [math.cos(config.c * dot(w["w1"])) * math.exp(config.c * dot(w["w2"]))]
        case ReluTeacher():
            return [sum(w["a"][r][i] * max(dot(w["w"][i]), 0.0) for i in range(config.p)) for r in range(config.k)]
        case Parity():
            return [math.prod(1.0 if x[i] >= 0 else -1.0 for i in range(D) if w["mask"][i] == 1)]
        case RandomLabels():
            return [0.0] * config.k


def inputs(*shape, seed=0):
    return unit(torch.randn(*shape, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))


def drawn(config, seed=0):
    return config.draw(np.random.default_rng(seed), D)


def stacked(config, restarts):
    draws = [drawn(config, seed) for seed in range(restarts)]
    return draws, {name: torch.stack([weights[name] for weights in draws]) for name in draws[0]}


def assert_on_the_constraint_set(config, weights):
    for name, value in weights.items():
        assert value.dtype == torch.float64
        if name == "a":
            assert value.abs().max() <= 1
        elif name == "mask":
            assert torch.equal((value == 1).sum(-1), torch.full(value.shape[:-1], config.sparsity))
            assert torch.equal((value == 0).sum(-1), torch.full(value.shape[:-1], D - config.sparsity))
        else:
            torch.testing.assert_close(value.norm(dim=-1), torch.ones_like(value[..., 0]), rtol=0, atol=1e-14)
    if getattr(config, "general", False):
        assert (weights["w1"] * weights["w3"]).sum(-1).abs().max() < 1e-14
    if getattr(config, "plain", False):
        assert torch.equal(weights["w2"][..., -1], torch.ones_like(weights["w2"][..., -1]))


@every_family
def test_evaluate_agrees_with_loops(config):
    x = torch.cat([inputs(20), torch.tensor([[0.0, -1.0, 0.0, 0.0], [-0.0, 0.0, 0.6, -0.8]], dtype=torch.float64)])
    weights = drawn(config)
    expected = torch.tensor([by_loops(config, weights, row) for row in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(config.evaluate(weights, x), expected, rtol=1e-12, atol=1e-13)


@every_family
def test_drawn_weights_are_on_the_constraint_set(config):
    for seed in range(5):
        assert_on_the_constraint_set(config, drawn(config, seed))


def test_drawn_unit_vectors_are_uniform_on_the_sphere():
    weights = TwoLayer(p=20_000).draw(np.random.default_rng(0), D)
    for rows in (weights["w1"], weights["w2"]):
        torch.testing.assert_close(rows.mean(0), torch.zeros(D, dtype=torch.float64), rtol=0, atol=0.02)
        torch.testing.assert_close(rows.T @ rows / len(rows), torch.eye(D, dtype=torch.float64) / D, rtol=0, atol=0.01)
    assert abs(weights["a"].mean()) < 0.02
    assert abs(weights["a"].var() - 1 / 3) < 0.01


@every_family_with_weights
def test_batched_weights_equal_stacked_single_ones(config):
    f, x = config, inputs(6)
    draws, batch = stacked(config, 3)
    expected = torch.stack([f.evaluate(weights, x) for weights in draws])
    assert expected.shape == (3, 6, config.k)
    torch.testing.assert_close(f.evaluate(batch, x), expected, rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(f.evaluate(batch, x.expand(3, 6, D)), expected, rtol=1e-13, atol=1e-14)


@every_family
def test_batched_inputs_equal_stacked_single_ones(config):
    f, x, weights = config, inputs(3, 6), drawn(config)
    expected = torch.stack([f.evaluate(weights, each) for each in x])
    torch.testing.assert_close(f.evaluate(weights, x), expected, rtol=1e-13, atol=1e-14)


@every_family
def test_project_lands_on_the_set_and_is_idempotent(config):
    f = config
    _, batch = stacked(config, 3)
    generator = torch.Generator().manual_seed(1)
    moved = {name: value + torch.randn(value.shape, dtype=torch.float64, generator=generator)
             for name, value in batch.items()}
    once = f.project(moved)
    assert once.keys() == moved.keys()
    assert_on_the_constraint_set(config, once)
    twice = f.project(once)
    for name, value in once.items():
        torch.testing.assert_close(twice[name], value, rtol=0, atol=1e-14)


@every_family
def test_project_leaves_drawn_weights_where_they_are(config):
    weights = drawn(config)
    for name, value in config.project(weights).items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["two_layer", "three_layer", "general", "cos_exp", "relu_teacher"])
def test_evaluate_is_differentiable_in_the_weights(name):
    f, x = CONFIGS[name], inputs(3)
    names, values = zip(*drawn(CONFIGS[name]).items(), strict=True)
    leaves = tuple(value.requires_grad_() for value in values)
    assert torch.autograd.gradcheck(lambda *w: f.evaluate(dict(zip(names, w, strict=True)), x), leaves)


@every_family
def test_same_seed_same_target_other_seed_other_target(config):
    x = inputs(50)
    first, same, other = target(config, D)(x), target(config, D)(x), target(replace(config, seed=1), D)(x)
    assert first.shape == (50, config.k)
    assert first.dtype == torch.float64
    assert torch.equal(first, same)
    assert torch.equal(first, other) == isinstance(config, WITHOUT_WEIGHTS)


def test_degenerate_vectors_still_project_onto_the_set():
    assert unit(torch.zeros(2, 3, dtype=torch.float64)).tolist() == [[0.0, 0.0, 1.0]] * 2
    to = unit(torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64))
    nearly = to[0] + torch.tensor([1e-7, 0.0, 0.0], dtype=torch.float64)
    w = orthogonal_unit(torch.stack([nearly, -2 * to[1], torch.zeros(3, dtype=torch.float64)]), to)
    torch.testing.assert_close(w.norm(dim=-1), torch.ones(3, dtype=torch.float64))
    assert (w * to).sum(-1).abs().max() < 1e-15


def test_which_concepts_are_in_the_papers_class():
    outside = {name for name, config in CONFIGS.items() if not config.in_class}
    assert outside == {"relu_teacher", "parity"}


def test_the_domain_check_is_importable_without_torch():
    code = ("import sys; from ovpnet.spec.choices import CONCEPTS; [CONCEPTS[name]().series(4) for name in "
            "CONCEPTS.names()]; sys.exit('torch' in sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True)
