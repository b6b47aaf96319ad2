"""algorithm=kernel_ridge against explicit features, the gradient of SGD's objective, SGD itself, and its own limits."""

import functools
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.func import jacrev

from launch.packs import packed
from ovpnet.engine.choice import shape_of
from ovpnet.engine.steppers.reference import ReferenceStepper
from ovpnet.nets.regularization import layer_of
from ovpnet.problem.opt import Opt
from ovpnet.problem.streams import Stream
from ovpnet.run.results import result_rows
from ovpnet.spec.errors import ConfigError
from ovpnet.spec.identity import run_id, signature
from ovpnet.spec.rules import check
from ovpnet.training.ensemble import Ensemble
from ovpnet.training.outcome import Goal

RIDGE = ["algorithm=kernel_ridge", "inputs=normalized_gaussian", "noise=gaussian", "noise.level=0.3"]
LEARNERS = [["learner.trained=last", "concept.k=2"], ["learner.trained=ntk", "learner.biases=true"],
            ["learner=three_layer", "learner.trained=last", "concept.k=2"],
            ["learner=three_layer", "learner.trained=ntk"],
            ["learner=three_layer", "learner.trained=ntk", "width2=4"],
            ["learner=three_layer", "learner.trained=ntk", "learner.biases=true"]]
LIMITS = [["learner=two_layer_limit", "learner.trained=last", "concept.k=2"],
          ["learner=three_layer_limit", "learner.biases=true"]]
SEEDS = range(4)
# More features than samples, and fewer: the dual and the primal. The NTK of three layers has 3 (4 + 3 + 2) features.
SHAPES = [{"width": 50, "samples": 15}, {"width": 3, "samples": 60}]


def ids(overrides):
    return " ".join(overrides) if isinstance(overrides, list) else str(overrides)


@pytest.fixture(scope="module")
def base(make):
    """`make`, which takes a tenth of a second, once for each set of overrides."""
    return functools.cache(make)


def fitted(*configs):
    """The ensemble after training, and its outcome."""
    goals = [Goal(Opt("", 0.0, 0.0, "noise", 0.0, 0.0, 1.0), 0.1) for _ in configs]
    ensemble = Ensemble(shape_of(configs), goals, ReferenceStepper(), torch.device("cpu"))
    return ensemble, ensemble.train()


def objective(ensemble, config, flat):
    """What SGD minimizes, from the config's own words, at the trained weights of member 0 as one vector."""
    weights = ensemble.state.weights | unflat(ensemble, flat)
    n = config.samples
    residual = ensemble.members.net.output(weights, ensemble.members.x[:1, :n]) - ensemble.members.y[:1, :n]
    value = residual.square().sum() / n
    for name in ensemble.members.net.trained:
        layer = layer_of(name)
        if getattr(config.regularizer, layer) == "frobenius":
            start = ensemble.state.initial[name] if config.regularizer.of == "increments" else 0.0
            weight = getattr(config.regularizer, f"weight_{layer}")
            value = value + config.weight_decay * weight * (weights[name] - start).square().sum() / 2
    return value


def unflat(ensemble, flat):
    parts = flat.split([ensemble.state.initial[name][0].numel() for name in ensemble.members.net.trained])
    return {name: part.view_as(ensemble.state.initial[name][:1])
            for name, part in zip(ensemble.members.net.trained, parts, strict=True)}


def trained(ensemble, weights):
    return torch.cat([weights[name][0].flatten() for name in ensemble.members.net.trained])


def linear_model(ensemble, config, start):
    """Features [N k, P] of the trained weights, and the residuals [N k] of the labels at `start`."""
    def output(flat):
        return ensemble.members.net.output(ensemble.state.weights | unflat(ensemble, flat),
                                           ensemble.members.x[:1, :config.samples]).flatten()

    residual = ensemble.members.y[0, :config.samples].flatten() - output(start)
    return jacrev(output)(start), residual


@pytest.mark.parametrize("of", ["weights", "increments"])
@pytest.mark.parametrize("shape", SHAPES, ids=ids)
@pytest.mark.parametrize("learner", LEARNERS, ids=ids)
def test_the_solution_is_that_of_explicit_features_and_has_no_gradient(base, learner, shape, of):
    config = base(*RIDGE, *learner)
    penalty = replace(config.regularizer, of=of, weight_W=0.5, weight_V=3.0, weight_rest=2.0)
    config = replace(config, **shape, weight_decay=0.02, regularizer=penalty)
    ensemble, _ = fitted(config)
    initial, found = (trained(ensemble, each) for each in (ensemble.state.initial, ensemble.state.weights))

    slope = jacrev(lambda flat: objective(ensemble, config, flat))
    assert slope(found).norm() < 1e-11 * slope(initial).norm()

    start = initial if of == "increments" else torch.zeros_like(initial)
    phi, residual = linear_model(ensemble, config, start)
    factors = torch.cat([torch.full((ensemble.state.initial[name].numel(),), factor, dtype=torch.float64)
                         for name in ensemble.members.net.trained
                         for factor in [{"W": 0.5, "V": 3.0}.get(name, 2.0)]])
    ridge = config.samples * config.weight_decay / 2
    primal = torch.linalg.solve(phi.mT @ phi + ridge * factors.diag(), phi.mT @ residual)
    dual = phi.mT / factors[:, None] @ torch.linalg.solve(
        phi / factors @ phi.mT + ridge * torch.eye(len(phi), dtype=torch.float64), residual)
    for expected in (primal, dual):
        torch.testing.assert_close(found - start, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("penalty", [["regularizer.of=weights"], ["regularizer.of=increments"], ["regularizer=none"]],
                         ids=ids)
@pytest.mark.parametrize("shape", SHAPES, ids=ids)
@pytest.mark.parametrize("learner", LEARNERS, ids=ids)
def test_without_weight_decay_the_solution_of_least_norm(base, learner, shape, penalty):
    """Of least squares, by lstsq's singular values. The hypercube has 16 points: of 60 samples, most are repeated."""
    shaped = replace(base(*RIDGE, *learner, *penalty), **shape)
    for inputs in ("normalized_gaussian", "hypercube"):
        config = replace(shaped, inputs=replace(shaped.inputs, family=inputs))
        ensemble, outcome = fitted(config)
        initial, found = (trained(ensemble, each) for each in (ensemble.state.initial, ensemble.state.weights))
        start = torch.zeros_like(initial) if "regularizer.of=weights" in penalty else initial
        phi, residual = linear_model(ensemble, config, start)
        expected = torch.from_numpy(np.linalg.lstsq(phi.numpy(), residual.numpy(), rcond=1e-7)[0])
        torch.testing.assert_close(found - start, expected, rtol=1e-6, atol=1e-6)
        if inputs == "normalized_gaussian" and config.width == 50:
            assert outcome.train.item() < 1e-15


@pytest.mark.parametrize("learner", LEARNERS[:2], ids=ids)
def test_sgd_ends_there(make, learner):
    shared = [*RIDGE[1:], *learner, "width=20", "samples=12", "batch_size=12", "weight_decay=0.1", "dtype=float64"]
    exact, _ = fitted(make("algorithm=kernel_ridge", *shared))
    sgd, _ = fitted(make("algorithm=momentum_sgd", *shared, "lr=0.05", "lr_scaling=none", "steps=4000",
                         "algorithm.decay_at=1"))
    for name in sgd.members.net.trained:
        torch.testing.assert_close(sgd.state.weights[name], exact.state.weights[name], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("learner", LEARNERS + LIMITS, ids=ids)
def test_members_share_a_decomposition_and_are_as_alone(base, learner, monkeypatch):
    config = base(*RIDGE, *learner)
    configs = [replace(config, **changed) for changed in
               ({"weight_decay": 0.1}, {"samples": 9}, {"weight_decay": 0.01}, {"seed": 1}, {"weight_decay": 0.0},
                {"samples": 9, "seed": 1, "weight_decay": 1.0}, {"noise": replace(config.noise, level=0.1)},
                {"learner": replace(config.learner, a_std=0.5)})]
    assert len({signature(config) for config in configs}) == 1
    calls, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: calls.append(len(matrix)) or eigh(matrix))
    _, packed = fitted(*configs)
    assert len(calls) == 5  # (seed, samples): four; and one more a_std
    for e, config in enumerate(configs):
        _, alone = fitted(config)
        assert packed.train[e].item() == pytest.approx(alone.train.item(), rel=1e-9, abs=1e-18)
        assert packed.test[e].mean == pytest.approx(alone.test[0].mean, rel=1e-9)
        assert packed.points[0].test[e].mean().item() == pytest.approx(alone.points[0].test.mean().item(), rel=1e-9)


@pytest.mark.parametrize("learner", LEARNERS + LIMITS, ids=ids)
def test_a_row_is_one_point_and_says_what_was_seen(base, learner):
    config = base(*RIDGE, *learner)
    ensemble, outcome = fitted(config)
    rows, curves = result_rows([config], ensemble.goals, outcome)
    assert [(point["step"], point["samples_seen"]) for point in curves] == [(1, 40)]
    assert rows[0]["train_risk"] == curves[0]["train_risk"]
    assert rows[0]["status"] == "done"
    assert rows[0]["test_risk"] == pytest.approx(curves[0]["test_risk"], rel=0.5)
    assert rows[0]["width"] == (0 if "limit" in learner[0] else 16)


@pytest.mark.parametrize(("layers", "trained"), [("two", "last"), ("two", "ntk"), ("three", "last"), ("three", "ntk")])
def test_finite_widths_approach_the_limit(make, layers, trained):
    """The NTK of width m at m times the limit's weight decay; a small a_std leaves f_0 out, as the limit does."""
    a_std = 0.01 if trained == "ntk" else 1.0
    shared = [*RIDGE, f"learner.trained={trained}", f"learner.a_std={a_std}", "concept.scales=[3.0]"]
    decay = 1e-3 * (a_std**2 if trained == "ntk" else 1)
    infinite = make(*shared, f"learner={layers}_layer_limit", f"weight_decay={decay}")
    ensemble, limit = fitted(*(replace(infinite, seed=seed) for seed in SEEDS))
    x = ensemble.members.problems[0].sample(99, Stream.TEST, 500)[0].repeat(len(SEEDS), 1, 1)
    expected = ensemble.members.net.output(ensemble.state.weights, x)
    distances = []
    for m in (32, 128, 512):
        scaled = decay * (m if trained == "ntk" else 1)
        net = make(*shared, f"learner={layers}_layer", f"width={m}", f"weight_decay={scaled}")
        nets, outcome = fitted(*(replace(net, seed=seed) for seed in SEEDS))
        distances.append((nets.members.net.output(nets.state.weights, x) - expected).square().mean().item())
    assert distances[0] > 2 * distances[1] > 4 * distances[2]  # squared: of order 1/m
    risks = [np.mean([each.mean for each in measured.test]) for measured in (outcome, limit)]
    assert risks[0] == pytest.approx(risks[1], rel=0.1)


@pytest.mark.parametrize("other", [["lr=0.1"], ["lr_scaling=none"], ["steps=77"], ["steps=null", "epochs=3"],
                                   ["batch_size=7"], ["evaluations=4"], ["dtype=float32"], ["algorithm.momentum=0.5"],
                                   ["algorithm.sampling=shuffle"]], ids=ids)
def test_settings_of_sgd_do_not_multiply_runs(base, other):
    config = base(*RIDGE, "learner.trained=last", *other)
    assert config == base(*RIDGE, "learner.trained=last")
    check(config)  # what is stored can be asked for again


def test_a_grid_of_weight_decay_is_one_pack_at_every_width(base):
    for learner in (LEARNERS[1], LIMITS[1]):
        grid = [replace(base(*RIDGE, *learner), weight_decay=decay) for decay in (0.0, 0.1, 1.0)]
        packs = packed(grid, set())
        assert [len(pack.configs) for pack in packs] == [3]
        assert packs[0].seconds > 0


def test_width_does_not_multiply_runs_of_infinite_width(make):
    configs = {run_id(make(*RIDGE, *LIMITS[0], f"width={width}")) for width in (0, 1, 512)}
    assert len(configs) == 1
    assert len({run_id(make(*RIDGE, *LIMITS[0], f"weight_decay={decay}")) for decay in (0, 0.1)}) == 2


@pytest.mark.parametrize(("overrides", "names", "allowed"), [
    (["learner.trained=hidden"], "learner.trained=hidden", "last, ntk"),
    (["learner.trained=quadratic"], "learner.trained=quadratic", "last, ntk"),
    (["loss=huber"], "loss.name=huber", "l2"),
    (["regularizer=row_24"], "regularizer.W=row_24", "frobenius, none"),
    (["learner=three_layer", "regularizer.V=none"], "regularizer.V=none", "one kind"),
    (["regularizer.weight_W=0"], "regularizer.weight_W=0.0", "greater than 0"),
    (["concept.k=2"], "concept.k=2", "must be 1"),
    (["algorithm.sampling=one_pass"], "algorithm.sampling=one_pass", "replacement"),
    (["algorithm.judged=average"], "algorithm.judged=average", "last"),
    (["width=0"], "width=0", "two_layer_limit"),
    (["learner=two_layer_limit", "algorithm=sgd"], "algorithm.name=sgd", "kernel_ridge"),
    (["learner=two_layer_limit", "learner.trained=hidden"], "learner.trained=hidden", "last, ntk"),
    (["learner=two_layer_limit", "regularizer.weight_W=2"], "regularizer.weight_W=2.0", "must be 1"),
], ids=lambda each: each if isinstance(each, str) else ids(each))
def test_what_has_no_closed_form_is_refused(make, overrides, names, allowed):
    chosen = {override.split("=")[0] for override in overrides}
    base = [each for each in (*RIDGE, "learner.trained=ntk") if each.split("=")[0] not in chosen]
    with pytest.raises(ConfigError, match=re.escape(names)) as error:
        make(*base, *overrides)
    assert allowed in str(error.value)


def test_a_layer_that_is_not_trained_may_have_another_penalty(make):
    config = make(*RIDGE, "learner.trained=last", "regularizer.W=none", "regularizer.weight_V=0")
    assert math.isfinite(fitted(config)[1].train.item())
