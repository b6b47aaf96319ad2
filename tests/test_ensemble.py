"""A run's result is its own: alone, packed with any others, in any order, and next to one that diverges."""

import math

import numpy as np
import pytest
import torch

from ovpnet.engine.choice import shape_of
from ovpnet.engine.sizes import Sizes
from ovpnet.engine.steppers.reference import ReferenceStepper
from ovpnet.problem.opt import Opt, compute_opt
from ovpnet.run.results import result_rows
from ovpnet.spec.identity import run_id
from ovpnet.training.ensemble import Ensemble
from ovpnet.training.outcome import goal

VARIATIONS = [[], ["seed=1"], ["samples=25"], ["lr=0.1"], ["weight_decay=0.01"], ["noise=gaussian"],
              ["epsilon=0.5"], ["concept.seed=4"], ["seed=7", "samples=33", "lr=0.7", "algorithm.momentum=0.3"]]
SIGNATURES = [[], ["learner=three_layer"], ["learner.trained=last", "lr_scaling=none", "lr=0.05"],
              ["algorithm=sgd", "batch_size=1", "steps=60"],
              ["algorithm.sampling=one_pass", "steps=null", "batch_size=5", "algorithm.judged=average"],
              ["loss=cross_entropy", "concept.k=3"], ["regularizer=row_24"]]


def trained(configs):
    goals = [goal(config, compute_opt(config)) for config in configs]
    outcome = Ensemble(shape_of(configs), goals, ReferenceStepper(), torch.device("cpu")).train()
    rows, curves = result_rows(configs, goals, outcome)
    return {row["run_id"]: row for row in rows}, curves


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda overrides: overrides[0] if overrides else "default")
def test_alone_packed_and_reordered_agree(make, signature):
    classes = "loss=cross_entropy" in signature
    one_pass = "algorithm.sampling=one_pass" in signature
    configs = [make(*signature, *variation) for variation in VARIATIONS
               if not (classes and "noise=gaussian" in variation)
               and not (one_pass and any(key.startswith("samples") for key in variation))]
    packed, packed_curves = trained(configs)
    reordered, _ = trained(configs[::-1])
    assert len(packed) == len(configs)
    for config in configs:
        alone, curve = trained([config])
        run = run_id(config)
        for other in (packed[run], reordered[run]):
            assert other.keys() == alone[run].keys()
            for name, value in alone[run].items():
                assert other[name] == (pytest.approx(value, rel=2e-4) if isinstance(value, float) else value), name
        together = [point for point in packed_curves if point["run_id"] == run]
        assert [point["test_risk"] for point in together] == pytest.approx([point["test_risk"] for point in curve],
                                                                          rel=2e-4)


def test_a_diverging_run_is_recorded_and_poisons_no_other(make):
    good = make("seed=1")
    rows, curves = trained([make("lr=1e12"), good, make("lr=1e9")])
    alone, _ = trained([good])
    assert rows[run_id(good)]["test_risk"] == pytest.approx(alone[run_id(good)]["test_risk"], rel=2e-4)
    bad = rows[run_id(make("lr=1e12"))]
    assert bad["status"] == "diverged"
    assert bad["reached"] is False
    assert bad["test_risk"] is None
    assert bad["train_risk"] is None
    assert bad["opt"] == 0
    assert all(point["test_risk"] is None or math.isfinite(point["test_risk"]) for point in curves)


def test_members_of_other_signatures_are_refused(make):
    opt = Opt("", 0, 0, "noise", 0, 0, 1)
    configs = [make(), make("width=17")]
    with pytest.raises(ValueError, match="static signature"):
        Ensemble(shape_of(configs), [goal(config, opt) for config in configs], ReferenceStepper(), torch.device("cpu"))


def test_risk_is_measured_to_the_stated_precision(make):
    config = make("noise=gaussian", "noise.level=1", "test.se=0.05", "test.samples=256", "concept.scales=[3]")
    rows, _ = trained([config])
    row = rows[run_id(config)]
    for risk, se in (("test_risk", "test_risk_se"), ("validation_risk", "validation_risk_se")):
        assert row[se] <= 0.05 * max(row["epsilon_absolute"], row[risk] - row["opt"])
    difference = row["test_risk"] - row["validation_risk"]
    assert 0 < abs(difference) < 5 * math.hypot(row["test_risk_se"], row["validation_risk_se"])


def test_average_over_iterates_agrees_with_the_risks_of_stored_iterates(make):
    """Theorem 1's statistic against its definition: the risk of every iterate on one large sample, averaged."""
    config = make("algorithm=sgd", "batch_size=1", "steps=600", "evaluations=600", "test.curve_samples=2000",
                  "lr=0.2", "concept.scales=[2]")
    rows, curves = trained([config])
    definition = np.mean([point["test_risk"] for point in curves])
    row = rows[run_id(config)]
    assert row["test_risk"] == row["average_risk"] != row["last_risk"]
    assert abs(row["test_risk"] - definition) < 5 * row["test_risk_se"]
    assert row["test_risk_se"] < 0.3 * definition


def test_goal_units(make):
    opt = Opt("", 0.5, 0, "noise", 0.5, 0, 4.0)
    assert goal(make("epsilon=0.1"), opt).threshold == pytest.approx(0.9)
    assert goal(make("epsilon=0.1", "epsilon_unit=absolute"), opt).threshold == pytest.approx(0.6)


def test_complexities_are_recorded_where_the_concept_has_them(make):
    row = next(iter(trained([make("C_star=1")])[0].values()))
    # sin: sum over odd i of (i+1)^1.75 / i!, by hand from its first terms
    assert math.exp(row["log_C_s"]) == pytest.approx(sum((i + 1) ** 1.75 / math.factorial(i) for i in range(1, 30, 2)))
    assert row["log_C_eps"] > 0
    assert next(iter(trained([make("concept=relu_teacher", "opt.method=noise")])[0].values()))["log_C_s"] is None


def test_first_reached_is_on_the_curve(make):
    config = make("steps=300", "lr=1", "samples=200", "evaluations=30", "epsilon=0.5")
    rows, curves = trained([config])
    row = rows[run_id(config)]
    assert row["reached"]
    first = next(point["step"] for point in curves if point["test_risk"] <= row["threshold"])
    assert row["reached_step"] == first
    assert row["reached_samples"] == min(200, first * 10)


@pytest.mark.parametrize("overrides", [["learner=two_layer"], ["learner=three_layer"],
                                       ["learner=three_layer", "width2=50"],
                                       ["learner=three_layer", "learner.trained=ntk", "width2=9"]], ids=" ".join)
def test_output_weights_follow_the_last_hidden_layers_width(make, overrides):
    shared = [*overrides, "dtype=float64", "width=16"]
    plain, unscaled, scaled = (make(*shared, *each) for each in (
        ["learner.a_std=1"], ["learner.a_std=0.3", "learner.a_std_exponent=0"],
        ["learner.a_std=0.3", "learner.a_std_exponent=0.5"]))
    states = [_ensemble(each).state.weights for each in (plain, unscaled, scaled)]
    factor = 0.3 * scaled.second_width**-0.5
    for name, value in states[0].items():
        assert torch.equal(states[2][name], states[1][name]) or name == "a", name
        if name != "a":
            assert torch.equal(states[2][name], value)
    torch.testing.assert_close(states[1]["a"], 0.3 * states[0]["a"], rtol=1e-15, atol=0)
    torch.testing.assert_close(states[2]["a"], factor * states[0]["a"], rtol=1e-15, atol=0)
    x = torch.randn(1, 20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    net = scaled.learner.net()
    torch.testing.assert_close(net.output(states[2], x), factor * net.output(states[0], x), rtol=1e-12, atol=1e-13)


def test_members_of_one_ensemble_have_their_own_exponents(make):
    configs = [make(f"learner.a_std_exponent={s}") for s in (0, 0.5, 1)]
    together = _ensemble(*configs).state.weights["a"]
    for e, config in enumerate(configs):
        assert torch.equal(together[e], _ensemble(config).state.weights["a"][0])


@pytest.mark.parametrize("width2", ["null", 7, 40])
@pytest.mark.parametrize("trained", ["hidden", "last", "ntk", "quadratic", "all"])
def test_planned_sizes_are_those_of_the_weights(make, trained, width2):
    config = make("learner=three_layer", f"learner.trained={trained}", f"width2={width2}", "concept.k=2")
    weights, sizes = _ensemble(config).state.weights, Sizes(config)
    assert sizes.weights == sum(value.numel() for value in weights.values())
    assert sizes.trained == sum(weights[name].numel() for name in config.learner.net().trained)


def _ensemble(*configs):
    return Ensemble(shape_of(configs), [goal(each, Opt("", 0, 0, "noise", 0, 0, 1)) for each in configs],
                    ReferenceStepper(), torch.device("cpu"))
