"""Target functions against plain loops over their formulas; constraint sets; batches; seeds."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from ovpnet.problem import series
from ovpnet.problem.concepts.two_layer import TwoLayer
from ovpnet.problem.data import target
from ovpnet.problem.sets import orthogonal_unit, unit
from ovpnet.spec.errors import ConfigError
from tests.concepts.references import CONFIGS, REFERENCES, D

every_family = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
every_family_with_weights = pytest.mark.parametrize("config", [
    pytest.param(config, id=name) for name, config in CONFIGS.items() if REFERENCES[config.family].sets])

every_smooth_family = pytest.mark.parametrize("config", [
    pytest.param(config, id=name) for name, config in CONFIGS.items()
    if REFERENCES[config.family].sets and REFERENCES[config.family].smooth])


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
        REFERENCES[config.family].sets[name](config, value)
    if getattr(config, "general", False):
        assert (weights["w1"] * weights["w3"]).sum(-1).abs().max() < 1e-14


@every_family
def test_evaluate_agrees_with_loops(config):
    x = torch.cat([inputs(20), torch.tensor([[0.0, -1.0, 0.0, 0.0], [-0.0, 0.0, 0.6, -0.8]], dtype=torch.float64)])
    weights, formula = drawn(config), REFERENCES[config.family].formula
    w = {name: value.tolist() for name, value in weights.items()}
    expected = torch.tensor([formula(config, w, row) for row in x.tolist()], dtype=torch.float64)
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


@every_smooth_family
def test_evaluate_is_differentiable_in_the_weights(config):
    f, x = config, inputs(3)
    names, values = zip(*drawn(config).items(), strict=True)
    leaves = tuple(value.requires_grad_() for value in values)
    assert torch.autograd.gradcheck(lambda *w: f.evaluate(dict(zip(names, w, strict=True)), x), leaves)


@every_family
def test_same_seed_same_target_other_seed_other_target(config):
    x = inputs(50)
    first, same, other = target(config, D)(x), target(config, D)(x), target(replace(config, seed=1), D)(x)
    assert first.shape == (50, config.k)
    assert first.dtype == torch.float64
    assert torch.equal(first, same)
    assert torch.equal(first, other) == (not REFERENCES[config.family].sets)


def test_degenerate_vectors_still_project_onto_the_set():
    assert unit(torch.zeros(2, 3, dtype=torch.float64)).tolist() == [[0.0, 0.0, 1.0]] * 2
    to = unit(torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64))
    nearly = to[0] + torch.tensor([1e-7, 0.0, 0.0], dtype=torch.float64)
    w = orthogonal_unit(torch.stack([nearly, -2 * to[1], torch.zeros(3, dtype=torch.float64)]), to)
    torch.testing.assert_close(w.norm(dim=-1), torch.ones(3, dtype=torch.float64))
    assert (w * to).sum(-1).abs().max() < 1e-15


@every_family
def test_which_concepts_are_in_the_papers_class(config):
    assert config.in_class == REFERENCES[config.family].in_class


@every_family
def test_no_value_exceeds_the_largest_that_the_domain_check_allows(config, monkeypatch):
    """The largest number is put just below the largest value that is found: a sound bound then refuses the concept."""
    if config.series(D) is None or config.pure_noise:
        return
    x = torch.cat([inputs(2000), torch.eye(D, dtype=torch.float64), -torch.eye(D, dtype=torch.float64)])
    largest = max(config.evaluate(drawn(config, seed), x).abs().max().item() for seed in range(20))
    config.series(D).check_domain("float32")
    monkeypatch.setitem(series._LARGEST, "float32", 0.999 * largest)
    with pytest.raises(ConfigError, match="allowed: at most"):
        config.series(D).check_domain("float32")


def test_the_domain_check_is_importable_without_torch():
    code = ("import sys; from ovpnet.spec.choices import CONCEPTS; [CONCEPTS[name]().series(4) for name in "
            "CONCEPTS.names()]; sys.exit('torch' in sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True)
