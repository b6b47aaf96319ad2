"""Algorithms 2 and 3: the step against autograd of the objective as it is written, the output weights against what the
row says, and everything random against who draws it."""

import dataclasses
import math
import re
import shlex

import pandas as pd
import pytest
import torch

from analysis.load import with_problem
from analysis.rerun import problem_overrides
from ovpnet.engine.choice import shape_of
from ovpnet.engine.steppers.reference import ReferenceStepper
from ovpnet.problem.data import Problem
from ovpnet.problem.opt import compute_opt
from ovpnet.problem.streams import Stream
from ovpnet.run.results import config_row, result_rows
from ovpnet.spec.errors import ConfigError
from ovpnet.spec.identity import run_id, signature
from ovpnet.spec.schemas import resolve
from ovpnet.training.ensemble import Ensemble
from ovpnet.training.outcome import goal
from ovpnet.training.perturbation import StepDraws
from ovpnet.training.table1 import Table1

SMALL = ["learner=three_layer", "steps=null", "algorithm.rounds=4", "algorithm.inner_steps=5", "algorithm.draws=7",
         "lr=0.05", "width=12"]
NO_NOISE = ["algorithm.sigma_w=0", "algorithm.sigma_v=0", "algorithm.iterate_noise=0"]
# Numbers that are no longer small: the penalties matter, and so do lambda and the noise.
STRONG = ["algorithm.C0=20", "algorithm.lambda_rate=0.3", "algorithm.sigma_w=0.2", "algorithm.sigma_v=0.3",
          "algorithm.iterate_noise=0.01", "dtype=float64"]


def of_run(what, config, *steps):
    return getattr(config.algorithm, what)(config, *steps)


@pytest.fixture
def perturbed(make):
    def perturbed(algorithm, *overrides):
        keys = {override.split("=")[0] for override in overrides}
        return make(f"algorithm={algorithm}", *(each for each in SMALL if each.split("=")[0] not in keys), *overrides)

    return perturbed


def ensemble(*configs):
    goals = [goal(config, compute_opt(config)) for config in configs]
    return Ensemble(shape_of(configs), goals, ReferenceStepper(), torch.device("cpu"))


def trained(*configs):
    runs = ensemble(*configs)
    outcome = runs.train()
    rows, curves = result_rows(runs.members.configs, runs.goals, outcome)
    return runs, {row["run_id"]: row for row in rows}, curves


# --- parameters ------------------------------------------------------------------------------------


def test_table_1_by_hand():
    """m1 = m2 = 100, so every power is one of 10; eps0 = 1/4; C0 = 3."""
    table = Table1(100, 100, 0.25, 3.0)
    assert table.reached_tau_v == pytest.approx(2 * 10**0.99 / 10)
    assert table.reached_tau_w == pytest.approx(3 * math.sqrt(2) / 10**1.49)
    assert table.tau_v == pytest.approx(10**-0.002)
    assert table.tau_w == pytest.approx(10**-1.48)
    assert table.lambda_v == pytest.approx(0.5 * 10**0.02)
    assert table.lambda_w == pytest.approx(2 * 10**5.96 / (3**4 * 4))
    assert table.sigma_v == pytest.approx(0.1 * 10**-0.02)
    assert table.sigma_w == pytest.approx(0.01 * 10**0.02)
    other = Table1(16, 256, 0.25, 3.0)
    assert other.reached_tau_v == pytest.approx(2 * 16**0.495 / 16)
    assert other.sigma_v == pytest.approx(256**-0.51)
    assert other.sigma_w == pytest.approx(16**-0.99)


def test_table_1_of_a_run(perturbed):
    assert of_run("table1", perturbed("algorithm2", "algorithm.eps0=0.2", "algorithm.C0=5")) == Table1(12, 12, 0.2, 5.0)
    assert of_run("table1", perturbed("algorithm2", "width2=7")) == Table1(12, 7, 0.1, 1.0)
    own = perturbed("algorithm2", "concept=three_layer", "concept.outer=[poly]", "concept.phi1=[poly]",
                    "concept.phi2=[poly]", "algorithm.C0=null", "C_star=2", "inputs.d=4")
    # Phi and phi are z: C_s(z, R) = C* 2^1.75 R; C_eps(z, R) = (1 + sqrt(log(1/eps))) C* R; p1 = p2 = 2, k = 1.
    c_s = 2 * 2**1.75
    epsilon = 0.1 / (1 * 2 * 2**2 * (c_s * 2 * c_s) * c_s**2)
    c_eps = (1 + math.sqrt(math.log(1 / epsilon))) * 2
    computed = of_run("table1", own).C0
    assert computed == pytest.approx(c_eps * (math.sqrt(2) * c_eps) * c_eps * 2 * math.sqrt(2))
    astronomical = perturbed("algorithm2", "concept=three_layer", "algorithm.C0=null")
    assert of_run("table1", astronomical).lambda_w == 0


def test_rounds_lambda_and_draws_follow_the_theorem_where_they_are_not_given(perturbed):
    free = ["algorithm.rounds=null", "algorithm.draws=null"]
    config = perturbed("algorithm2", *free, "width=100", "algorithm.eps0=0.2", "algorithm.lambda_rate=0.02")
    expected = math.ceil(math.log(math.log(100 * 100) / 0.2) / 0.02)
    assert config.algorithm.total_rounds(config) == expected
    assert config.total_steps == 5 * expected
    assert config.algorithm.final_draws(config) == 25
    schedule = config.algorithm.lambdas(config, 0, config.total_steps)
    assert schedule[:6] == pytest.approx([1, 1, 1, 1, 1, 0.98])
    assert schedule[-1] == pytest.approx(0.98 ** (expected - 1))
    assert config.algorithm.lambdas(config, 7, 12) == pytest.approx(schedule[7:12])
    eta = perturbed("algorithm2", *free, "width=100", "algorithm.eps0=0.2", "lr=3", "algorithm.lambda_rate=null")
    assert eta.algorithm.total_rounds(eta) == math.ceil(math.log(math.log(100 * 100) / 0.2) / 0.03)
    halved = dataclasses.replace(config.algorithm, rounds_multiplier=0.5, draws_multiplier=2.0)
    assert halved.total_rounds(config) == math.ceil(expected / 2 - 0.5)
    assert of_run("final_draws", dataclasses.replace(config, algorithm=halved)) == 50
    assert of_run("final_draws", perturbed("algorithm2", *free, "algorithm.eps0=0.001")) == 1000
    assert of_run("final_draws", perturbed("algorithm2", *free, *NO_NOISE)) == 1
    assert config.algorithm.smoothing(config) == {"W": 100**-0.99, "V": 100**-0.51}
    other = perturbed("algorithm2", "algorithm.sigma_w=0.5", "algorithm.sigma_v_multiplier=2")
    assert of_run("smoothing", other) == {
        "W": 0.5, "V": 2 * 12**-0.51}
    assert set(of_run("lambdas", perturbed("algorithm2", "algorithm.lambda_decay=false"), 0, 20)) == {1.0}
    wide = perturbed("algorithm2", *free, "width=100", "width2=10000", "algorithm.eps0=0.2",
                     "algorithm.lambda_rate=0.02")
    assert wide.algorithm.total_rounds(wide) == math.ceil(math.log(math.log(100 * 10000) / 0.2) / 0.02) > expected
    assert wide.algorithm.smoothing(wide) == {"W": 100**-0.99, "V": 10000**-0.51}


@pytest.mark.parametrize(("overrides", "names", "allowed"), [
    (["learner=two_layer"], "learner.name=two_layer", "three_layer"),
    (["learner.trained=ntk"], "learner.trained=ntk", "hidden, quadratic"),
    (["algorithm.momentum=0.9"], "algorithm.momentum=0.9", "allowed: 0"),
    (["algorithm.judged=average"], "algorithm.judged=average", "last"),
    (["algorithm.sampling=one_pass"], "algorithm.sampling=one_pass", "replacement, shuffle"),
    (["steps=100"], "steps=100", "must be null"),
    (["epochs=2"], "epochs=2", "must be null"),
    (["lr=20", "algorithm.lambda_rate=null"], "lr=20", "less than 1"),
    (["concept=two_layer", "algorithm.C0=null"], "algorithm.C0=null", "give a number"),
    (["concept=three_layer", "concept.outer=[tanh]", "algorithm.C0=null"], "algorithm.C0=null",
     "concept.outer=tanh does not"),
    (["regularizer.of=weights"], "regularizer.of=weights", "must be increments"),
])
def test_impossible_combinations_are_named_with_what_is_allowed(perturbed, overrides, names, allowed):
    with pytest.raises(ConfigError, match=re.escape(names)) as error:
        perturbed("algorithm2", *overrides)
    assert allowed in str(error.value)


# --- the step --------------------------------------------------------------------------------------


def literal(config, W, V, draw, weights, x, y, scale):
    """The objective of one member as the paper writes it, in the increments W and V."""
    W0, V0, b1, b2, a = (weights[name][0] for name in ("W", "V", "b1", "b2", "a"))
    sigma = torch.eye(config.width, dtype=torch.float64) if draw.signs is None else torch.diag(draw.signs[0])
    in_W, in_V = W0 + draw.smoothing["W"][0] + sigma @ W, V0 + draw.smoothing["V"][0] + V @ sigma
    if config.learner.trained == "quadratic":
        z1 = x @ W0.T + b1
        active1, active2 = z1 >= 0, z1.relu() @ V0.T + b2 >= 0
        output = (((x @ in_W.T + b1) * active1 @ in_V.T + b2) * active2) @ a.T
    else:
        output = ((x @ in_W.T + b1).relu() @ in_V.T + b2).relu() @ a.T
    table, root = of_run("table1", config), math.sqrt(scale)
    return ((scale * output - y).square().sum(-1).mean()
            + table.lambda_v * (root * V).square().sum() + table.lambda_w * (root * W).norm(dim=1).pow(4).sum())


@pytest.mark.parametrize("width2", ["null", 7, 20])
@pytest.mark.parametrize("trained_part", ["hidden", "quadratic"])
@pytest.mark.parametrize("algorithm", ["algorithm2", "algorithm3"])
def test_steps_follow_autograd_of_the_objective_as_written(perturbed, algorithm, trained_part, width2):
    config = perturbed(algorithm, *STRONG, f"learner.trained={trained_part}", "concept.k=2", f"width2={width2}")
    runs = ensemble(config)
    start = {name: value.clone() for name, value in runs.state.weights.items()}
    chunk = runs.feed.chunk(0, 0, 20)
    W, V = torch.zeros_like(start["W"][0]), torch.zeros_like(start["V"][0])
    for step in range(20):
        W.requires_grad_(), V.requires_grad_()
        draw, index = runs.perturbed.draw(step), chunk.index[0, step]
        scale = 0.7 ** (step // 5)
        objective = literal(config, W, V, draw, start, runs.members.x[0, index], runs.members.y[0, index], scale)
        gradients = torch.autograd.grad(objective, (W, V))
        with torch.no_grad():
            W, V = (each - 0.05 / 12 * gradient + draw.iterate_noise[name][0]
                    for name, each, gradient in zip("WV", (W, V), gradients, strict=True))
    runs.stepper.advance(runs.rule, runs.state, chunk)
    torch.testing.assert_close(runs.state.weights["W"][0], start["W"][0] + W, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(runs.state.weights["V"][0], start["V"][0] + V, rtol=1e-10, atol=1e-12)
    assert all(torch.equal(runs.state.weights[name], start[name]) for name in ("a", "b1", "b2"))


@pytest.mark.parametrize("regularizer", ["frobenius", "row_24"])
def test_algorithm_3_without_noise_and_decay_is_plain_sgd_bit_for_bit(perturbed, make, regularizer):
    penalty = [f"regularizer={regularizer}", "weight_decay=0.3", "dtype=float64"]
    plain, _, _ = trained(make("algorithm=sgd", "algorithm.judged=last", "learner=three_layer", "width=12", "lr=0.05",
                               "steps=20", *penalty))
    own, rows, _ = trained(perturbed("algorithm3", *NO_NOISE, "algorithm.lambda_decay=false", "algorithm.draws=1",
                                     "batch_size=10", *penalty))
    for name, value in plain.state.weights.items():
        assert torch.equal(value, own.state.weights[name]), name
    row = next(iter(rows.values()))
    assert (row["lambda_T"], row["draw"]) == (1, 0)


def test_noise_has_the_stated_spread_and_is_fresh_every_step(perturbed):
    runs = ensemble(perturbed("algorithm2", "width=64", "algorithm.iterate_noise=0.01"))
    draws = [runs.perturbed.draw(step) for step in range(3)]
    table = of_run("table1", runs.members.shared)
    smoothed = {"W": table.sigma_w, "V": table.sigma_v}
    for noise, std in (("smoothing", smoothed), ("iterate_noise", {"W": 0.01, "V": 0.01})):
        for name in "WV":
            values = torch.stack([getattr(draw, noise)[name] for draw in draws])
            assert values.std().item() == pytest.approx(std[name], rel=0.1)
            assert abs(values.mean().item()) < 5 * std[name] / values.numel() ** 0.5
            assert torch.corrcoef(values.flatten(1)).fill_diagonal_(0).abs().max() < 0.3
    signs = torch.stack([draw.signs[0] for draw in draws])
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.4
    assert not torch.equal(signs[0], signs[1])


# --- the end ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("width2", ["null", 7])
@pytest.mark.parametrize("algorithm", ["algorithm2", "algorithm3"])
def test_output_weights_score_what_the_row_says(perturbed, algorithm, width2):
    config = perturbed(algorithm, *STRONG, "test.max_samples=512", f"width2={width2}")
    runs = ensemble(config)
    before = {}
    finish = runs.perturbed.finish

    def spy(state, train_risk):
        before.update({name: value.clone() for name, value in state.weights.items()})
        return finish(state, train_risk)

    runs.perturbed.finish = spy
    rows, _ = result_rows(runs.members.configs, runs.goals, runs.train())
    row, weights = rows[0], {name: value[0] for name, value in runs.state.weights.items()}

    def risk(W, V, a, x, y):
        return (((x @ W.T + before["b1"][0]).relu() @ V.T + before["b2"][0]).relu() @ a.T - y).square().sum(-1)

    train, test = (Problem(config).sample(0, Stream.DATA, 40), Problem(config).sample(0, Stream.TEST, 512, 1))
    own = [weights[name] for name in ("W", "V", "a")]
    assert row["train_risk"] == pytest.approx(risk(*own, *train).mean().item(), rel=1e-12)
    assert row["test_risk"] == pytest.approx(risk(*own, *test).mean().item(), rel=1e-12)
    torch.testing.assert_close(weights["a"], row["lambda_T"] * before["a"][0], rtol=1e-12, atol=0)
    assert row["lambda_T"] == pytest.approx(0.7**3)
    # every candidate, put together by hand
    sigma = torch.eye(12, dtype=torch.float64)
    if algorithm == "algorithm2":
        sigma = torch.diag(runs.perturbed.draw(20).signs[0])
    W0, V0 = runs.state.initial["W"][0], runs.state.initial["V"][0]
    risks = []
    for j in range(7):
        noise = runs.perturbed.draw(20 + j).smoothing
        W = W0 + noise["W"][0] + sigma @ (before["W"][0] - W0)
        V = V0 + noise["V"][0] + (before["V"][0] - V0) @ sigma
        risks.append(risk(W, V, 0.7**3 * before["a"][0], *train).mean().item())
    assert row["draw"] == min(range(7), key=risks.__getitem__)
    assert row["draw_train_risk"] == pytest.approx(min(risks), rel=1e-12)
    assert row["draw_train_risk"] == pytest.approx(row["train_risk"], rel=1e-12)
    assert row["draw_train_risk_median"] == pytest.approx(sorted(risks)[3], rel=1e-12)


def test_curve_measures_lambda_f_without_noise(perturbed):
    config = perturbed("algorithm3", "algorithm.sigma_w=0", "algorithm.sigma_v=0", "algorithm.lambda_rate=0.3",
                       "test.samples=100000", "test.curve_samples=100000")
    _, rows, curves = trained(config)
    row = rows[run_id(config)]
    assert curves[-1]["test_risk"] == pytest.approx(row["test_risk"], abs=5 * row["test_risk_se"])
    assert row["draw_train_risk"] == row["train_risk"]


def test_a_diverging_run_is_recorded_and_poisons_no_other(perturbed):
    good, bad = perturbed("algorithm2"), perturbed("algorithm2", "lr=1e12")
    _, rows, _ = trained(bad, good)
    _, alone, _ = trained(good)
    assert rows[run_id(bad)]["status"] == "diverged"
    assert rows[run_id(bad)]["draw_train_risk"] is None
    assert rows[run_id(good)]["test_risk"] == pytest.approx(alone[run_id(good)]["test_risk"], rel=2e-4)


# --- whose draws they are --------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["algorithm2", "algorithm3"])
def test_alone_packed_and_reordered_agree(perturbed, algorithm):
    variations = [[], ["seed=1"], ["lr=0.02"], ["samples=25"], ["weight_decay=2"], ["algorithm.sigma_v=0"],
                  ["algorithm.iterate_noise=0"], ["algorithm.lambda_decay=false"], ["algorithm.C0=3"],
                  ["algorithm.rounds=10", "algorithm.inner_steps=2"], ["algorithm.draws=3"], NO_NOISE]
    configs = [perturbed(algorithm, *variation) for variation in variations]
    _, packed, _ = trained(*configs)
    _, reordered, _ = trained(*configs[::-1])
    assert len(packed) == len(configs)
    for config in configs:
        _, alone, _ = trained(config)
        for name, value in alone[run_id(config)].items():
            for other in (packed, reordered):
                expected = pytest.approx(value, rel=2e-4) if isinstance(value, float) else value
                assert other[run_id(config)][name] == expected, name


def test_chunks_do_not_matter(perturbed):
    """Shuffled minibatches do not depend on the chunks either, which end at every evaluation."""
    few, many = (perturbed("algorithm2", "algorithm.sampling=shuffle", f"evaluations={number}") for number in (1, 20))
    assert signature(few) != signature(many)
    (one, _, _), (other, _, _) = trained(few), trained(many)
    for name, value in one.state.weights.items():
        assert torch.equal(value, other.state.weights[name]), name


@pytest.mark.parametrize(("ablation", "gone"), [
    ("algorithm.signs=false", "signs"), ("algorithm.sigma_w=0", "smoothing W"), ("algorithm.sigma_v=0", "smoothing V"),
    ("algorithm.iterate_noise=0", "iterate_noise"), ("algorithm.lambda_decay=false", "scale")])
def test_an_ablation_takes_away_one_thing_and_nothing_else(perturbed, ablation, gone):
    def drawn(config):
        perturbation = StepDraws([config], ensemble(config).state, ensemble(config).members.put)
        draw = perturbation.draw(11)
        signs = torch.ones(12) if draw.signs is None else draw.signs[0]
        return {"signs": signs, "scale": perturbation.scale(0, 20)} | {
            f"{kind} {name}": getattr(draw, kind).get(name, torch.zeros(1))
            for kind in ("smoothing", "iterate_noise") for name in "WV"}

    complete, ablated = (perturbed("algorithm2", *each) for each in ([], [ablation]))
    assert complete.total_steps == ablated.total_steps
    assert run_id(complete) != run_id(ablated)
    before, after = drawn(complete), drawn(ablated)
    for name, value in before.items():
        assert torch.equal(value.double(), after[name].double()) != name.startswith(gone), name
        if name.startswith(gone):
            assert (after[name] == (1 if name in ("signs", "scale") else 0)).all()
    _, rows, _ = trained(complete)
    _, other, _ = trained(ablated)
    assert rows[run_id(complete)]["test_risk"] != other[run_id(ablated)]["test_risk"]


def test_algorithm_2_without_signs_is_algorithm_3(perturbed):
    two, _, _ = trained(perturbed("algorithm2", "algorithm.signs=false"))
    three, _, _ = trained(perturbed("algorithm3"))
    for name, value in two.state.weights.items():
        assert torch.equal(value, three.state.weights[name]), name


# --- studies ---------------------------------------------------------------------------------------


def test_analysis_sees_one_problem_over_the_widths_and_knows_how_to_train_it_again(perturbed, composed):
    """The rounds grow with log log m, and algorithm2 takes a regularizer that is not the default."""
    for regularizer in ([], ["regularizer=frobenius", "weight_decay=0.1"]):
        configs = [perturbed("algorithm2", f"width={width}", "algorithm.rounds=null", *regularizer)
                   for width in (8, 64)]
        assert configs[0].total_steps < configs[1].total_steps
        runs = with_problem(pd.DataFrame([config_row(config) | {"status": "done", "finished_at": "now"}
                                          for config in configs]))
        assert runs["problem"].nunique() == 1
        overrides = shlex.split(" ".join(problem_overrides(runs)))
        for config in configs:
            within = [f"{name}={getattr(config, name)}" for name in ("width", "samples", "seed", "lr", "weight_decay")]
            assert run_id(resolve(composed(*overrides, *within))) == run_id(config)


@pytest.mark.parametrize("experiment", ["algorithm2_vs_3", "saddles"])
def test_studies_are_of_both_algorithms_with_table_1(make, experiment):
    for number in (2, 3):
        config = make(f"experiment={experiment}", f"algorithm=algorithm{number}", "steps=null")
        assert (config.algorithm.signs, config.regularizer.name) == (number == 2, "table1")
        assert config.weight_decay > 0
