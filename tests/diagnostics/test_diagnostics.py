"""What is measured, against literal formulas in float64, and how it gets into the rows."""

import dataclasses
import math
from functools import partial

import pytest
import torch

from ovpnet.engine.choice import shape_of
from ovpnet.engine.steppers.reference import ReferenceStepper
from ovpnet.problem.opt import Opt
from ovpnet.run.results import result_rows
from ovpnet.spec.config import DiagnosticsConfig
from ovpnet.spec.diagnostic import DIAGNOSTICS
from ovpnet.spec.errors import ConfigError
from ovpnet.training.diagnostics.approximations import gaps, held_out
from ovpnet.training.diagnostics.choices.saddles import events
from ovpnet.training.diagnostics.net import net, start
from ovpnet.training.diagnostics.norms import norms
from ovpnet.training.diagnostics.signs import sign_changes
from ovpnet.training.ensemble import Ensemble
from ovpnet.training.outcome import goal

LEARNERS = [("two_layer", "hidden"), ("three_layer", "hidden"), ("three_layer", "quadratic"), ("three_layer", "ntk"),
            ("three_layer", "all")]
SMALL = ["width=8", "steps=20", "evaluations=2", "dtype=float64", "lr=0.5", "diagnostics=all", "diagnostics.samples=40",
         "diagnostics.drift_samples=7", "diagnostics.draws=3"]


def ensemble(*configs):
    goals = [goal(config, Opt("", 0, 0, "noise", 0, 0, 1)) for config in configs]
    return Ensemble(shape_of(configs), goals, ReferenceStepper(), torch.device("cpu"))


def rows_of(*configs):
    made = ensemble(*configs)
    return result_rows(configs, made.goals, made.train())


def moved(make, name, trained, *overrides):
    """An ensemble of two after some steps, and its nets then and now."""
    options = [f"learner={name}", f"learner.trained={trained}", *SMALL, *overrides]
    made = ensemble(make(*options), make(*options, "seed=1"))
    made.stepper.advance(made.rule, made.state, made.feed.chunk(0, 0, 20))
    return made, start(made.state), net(made.state.weights)


def member(weights, e):
    return {name: value[e] for name, value in weights.items()}


def layers(w, x):
    """Pre-activations at one x."""
    if "V" not in w:
        return [w["W"] @ x + w["b"]]
    first = w["W"] @ x + w["b1"]
    return [first, w["V"] @ torch.relu(first) + w["b2"]]


def plain(w, x):
    return w["a"] @ torch.relu(layers(w, x)[-1])


def quadratic(w0, w, x):
    signs = [(z >= 0).double() for z in layers(w0, x)]
    if "V" not in w:
        return w["a"] @ (signs[0] * (w["W"] @ x + w["b"]))
    return w["a"] @ (signs[1] * (w["V"] @ (signs[0] * (w["W"] @ x + w["b1"])) + w["b2"]))


def linear(w0, w, x):
    if "V" not in w:
        return quadratic(w0, w, x)
    D_w, D_v = ((z >= 0).double() for z in layers(w0, x))
    of_W = w0["V"] @ (D_w * (w["W"] @ x + w["b1"]))
    of_V = (w["V"] - w0["V"]) @ (D_w * (w0["W"] @ x + w0["b1"]))
    return w["a"] @ (D_v * (of_W + of_V + w["b2"]))


@pytest.mark.parametrize(("name", "trained", "width2"), [
    *((*each, "null") for each in LEARNERS), *((*each, 5) for each in LEARNERS[1:])])
def test_norms_signs_and_gaps_equal_their_formulas(make, name, trained, width2):
    made, before, now = moved(make, name, trained, "concept.k=2" if trained != "ntk" else "concept.k=1",
                              f"width2={width2}")
    x = held_out(made.members.configs)
    measured = made.evaluator.diagnostics.measure(20, made.state)
    f_of = {"quadratic": quadratic, "ntk": linear}.get(trained, lambda w0, w, x: plain(w, x))
    for e in range(2):
        w0, w = member(before, e), member(now, e)
        values = {key: value[e].item() for key, value in measured.items()}
        step = w["W"] - w0["W"]
        assert values["norm_W"] == pytest.approx(step.norm().item())
        assert values["norm_W_24"] == pytest.approx(sum(row.norm() ** 4 for row in step).item() ** 0.25)
        assert values["spectral_W"] == pytest.approx(torch.linalg.svdvals(step)[0].item())
        total = [row.norm().item() ** 2 for row in w["W"]]
        assert values["norm_ratio"] == pytest.approx(8 * sum(each**2 for each in total) / sum(total) ** 2)
        assert 1 <= values["norm_ratio"] <= 8
        if "V" in w:
            assert values["norm_V"] == pytest.approx((w["V"] - w0["V"]).norm().item())
            assert values["spectral_V"] == pytest.approx(torch.linalg.svdvals(w["V"] - w0["V"])[0].item())
        for layer in range(2 if "V" in w else 1):
            changed = [(layers(w0, each)[layer] >= 0) != (layers(w, each)[layer] >= 0) for each in x[e]]
            assert values[f"sign_changes_{layer + 1}"] == pytest.approx(torch.stack(changed).double().mean().item())
        f = torch.stack([f_of(w0, w, each) for each in x[e]])
        change = (f - torch.stack([plain(w0, each) for each in x[e]])).square().mean().sqrt().item()
        for column, model in (("gap_quadratic", quadratic), ("gap_linear", linear)):
            gap = (f - torch.stack([model(w0, w, each) for each in x[e]])).square().mean().sqrt().item()
            assert values[column] == pytest.approx(gap, abs=1e-12)
            assert values[f"{column}_relative"] == pytest.approx(gap / change, abs=1e-12)


def grams(f, w, x, k):
    """Gram matrices [k, n, n] of the gradients of each output of f(w, x) in the hidden weights."""
    hidden = {key: w[key] for key in ("W", "V") if key in w}

    def gradient(each, r):
        return torch.cat([value.flatten() for value in
                          torch.func.grad(lambda part: f(w | part, each)[r])(hidden).values()])

    rows = torch.stack([torch.stack([gradient(each, r) for each in x]) for r in range(k)])
    return rows @ rows.mT


@pytest.mark.parametrize(("name", "trained", "k", "width2"), [
    ("two_layer", "hidden", 1, "null"), ("three_layer", "hidden", 2, "null"), ("three_layer", "quadratic", 1, "null"),
    ("three_layer", "hidden", 2, 5), ("three_layer", "quadratic", 1, 13)])
def test_ntk_drift_equals_jacobians(make, name, trained, k, width2):
    made, before, now = moved(make, name, trained, f"concept.k={k}", f"width2={width2}")
    x = held_out(made.members.configs)[:, :7]
    measured = made.evaluator.diagnostics.measure(20, made.state)["ntk_drift"]
    for e in range(2):
        w0 = member(before, e)
        f = plain if trained == "hidden" else partial(quadratic, w0)
        at_start, later = grams(plain, w0, x[e], k), grams(f, member(now, e), x[e], k)
        assert measured[e].item() == pytest.approx(((later - at_start).norm() / at_start.norm()).item())


def test_nothing_has_moved_at_initialization(make):
    made = ensemble(make("learner=three_layer", *SMALL))
    measured = made.evaluator.diagnostics.measure(1, made.state)
    for name in ("norm_W", "norm_W_24", "norm_V", "spectral_W", "spectral_V", "sign_changes_1", "sign_changes_2",
                 "ntk_drift"):
        assert measured[name].item() == 0, name
    for name in ("gap_quadratic", "gap_linear"):
        assert measured[name].item() < 1e-14, name
        assert math.isnan(measured[f"{name}_relative"].item()) or measured["gap_quadratic"].item() > 0


def test_the_quadratic_approximation_is_exact_until_a_sign_changes(make):
    made = ensemble(make("learner=three_layer", *SMALL))
    before, x = start(made.state), held_out(made.members.configs)[:, :3]
    draw = torch.Generator().manual_seed(0)
    for size in (1e-4, 1.0):
        now = before | {key: before[key] + size * torch.randn(before[key].shape, generator=draw).double()
                        for key in ("W", "V")}
        changed = sum(sign_changes(before, now, x).values()).item()
        found = gaps(made.members.net, now, before, now, x)
        if size < 1:
            assert changed == 0
            assert found["gap_quadratic"].item() < 1e-13 < found["gap_linear"].item()
        else:
            assert changed > 0
            assert found["gap_quadratic"].item() > 0.01


def test_a_member_that_is_not_finite_has_nan_and_spares_the_others():
    matrix = torch.ones(2, 3, 4, dtype=torch.float64)
    matrix[1, 0, 0] = math.inf
    found = norms({"W": torch.zeros_like(matrix)}, {"W": matrix})
    assert found["spectral_W"][0].item() == pytest.approx(12**0.5)
    assert math.isnan(found["spectral_W"][1].item())
    assert found["norm_ratio"][0].item() == pytest.approx(1)


@pytest.mark.parametrize("overrides", [["learner=three_layer"], ["learner=two_layer"],
                                       ["learner=three_layer", "width2=5"],
                                       ["learner=three_layer", "learner.trained=ntk"],
                                       ["learner=three_layer", "learner.trained=last", "lr_scaling=none", "lr=0.05"],
                                       ["learner=three_layer", "algorithm=algorithm2", "steps=null", "lr=0.05",
                                        "algorithm.rounds=2", "algorithm.inner_steps=10", "algorithm.draws=2"]])
def test_alone_and_packed_agree_and_the_run_has_the_last_values(make, overrides):
    options = [*[each for each in SMALL if each.split("=")[0] not in {o.split("=")[0] for o in overrides}], *overrides]
    configs = [make(*options), make(*options, "seed=1", "samples=25"), make(*options, "weight_decay=0.01")]
    rows, curves = rows_of(*configs)
    for e, config in enumerate(configs):
        (alone,), curve = rows_of(config)
        packed = [point for point in curves if point["run_id"] == alone["run_id"]]
        columns = [name for name in curve[0] if name not in ("run_id", "step", "samples_seen")]
        assert [point.keys() for point in packed] == [point.keys() for point in curve]
        for name in columns:
            for one, other in zip(packed, curve, strict=True):
                assert one[name] == pytest.approx(other[name], rel=1e-6, abs=1e-9), name
        assert rows[e]["gradient_norm"] == pytest.approx(curve[-1]["gradient_norm"])
        linear_learner = config.learner.trained in ("ntk", "last")
        assert ("smallest_eigenvalue" in curve[0]) is not linear_learner
        assert (rows[e]["saddle_events"] is None) is linear_learner
        assert ("norm_W" in curve[0]) is (config.learner.trained != "last")


def test_off_adds_no_column_and_no_other_run(make):
    off, on = make(), make("diagnostics=norms")
    made = ensemble(off)
    assert made.evaluator.diagnostics is None
    (row,), curves = result_rows([off], made.goals, made.train())
    (measured,), curves_on = rows_of(on)
    added = {name for name in measured if name not in row}
    assert added == {"norm_W", "spectral_W", "norm_W_24", "norm_ratio"}
    assert set(curves_on[0]) - set(curves[0]) == added
    assert measured["run_id"] != row["run_id"]
    assert measured["test_risk"] == row["test_risk"]
    assert make("diagnostics.samples=9").diagnostics.samples == 9
    assert rows_of(make("diagnostics.samples=9"))[0][0]["run_id"] == row["run_id"]


@pytest.mark.parametrize(("overrides", "allowed"), [
    (["learner.trained=last", "diagnostics=norms"], "none, saddles, all"),
    (["learner=two_layer_limit", "algorithm=kernel_ridge", "diagnostics=all", "learner.trained=last"], "none")])
def test_what_would_measure_nothing_is_refused(make, overrides, allowed):
    with pytest.raises(ConfigError, match=rf"diagnostics.name=.*; allowed: {allowed}$"):
        make(*overrides)


def test_kernel_ridge_is_measured_once(make):
    (row,), curve = rows_of(make("algorithm=kernel_ridge", "learner.trained=ntk", "diagnostics=all", "width=8"))
    assert len(curve) == 1
    assert row["norm_W"] > 0
    assert row["gap_linear"] < 1e-9
    assert row["decay_decrease"] is None


def point(step, objective, saddle):
    return {"step": step, "objective": objective, "saddle": saddle}


def test_visits_to_saddle_points_and_their_escapes():
    curve = [point(1, 10.0, 1.0), point(2, 9.5, 1.0), point(3, 8.0, 0.0), point(4, 7.9, 1.0), point(5, 7.0, 0.0),
             point(6, 6.9, 1.0)]
    # 1 -> 9.0 at 3 (2 steps); 4 -> 7.11 at 5 (1 step); the last never falls
    assert events(curve, 0.1) == {"saddle_events": 3, "saddle_escape_steps": 1.5}
    assert events(curve, 0.9) == {"saddle_events": 3, "saddle_escape_steps": None}
    assert events([point(1, 1.0, None)], 0.1) == {"saddle_events": None, "saddle_escape_steps": None}
    assert events([point(1, 1.0, 0.0)], 0.1) == {"saddle_events": 0, "saddle_escape_steps": None}


def test_every_diagnostic_has_a_switch():
    switches = {item.name for item in dataclasses.fields(DiagnosticsConfig) if item.default is False}
    assert switches == set(DIAGNOSTICS.names())
    assert not DiagnosticsConfig().measured
    for name in DIAGNOSTICS.names():
        only = DiagnosticsConfig(**{name: True})
        assert only.measured
        assert [each.name for each in only.chosen()] == [name]


@pytest.mark.parametrize("name", DIAGNOSTICS.names())
def test_a_diagnostic_measures_the_columns_that_it_states(make, name):
    options = ["learner=three_layer", *(each for each in SMALL if not each.startswith("diagnostics=")),
               f"diagnostics={name}"]
    config = make(*options)
    (row,), curve = rows_of(config)
    made = ensemble(off := make(*options[:-1]))
    (plain,), plain_curve = result_rows([off], made.goals, made.train())
    diagnostic = DIAGNOSTICS[name]
    assert set(curve[0]) - set(plain_curve[0]) == set(diagnostic.columns)
    assert set(row) - set(plain) == {*diagnostic.columns, *diagnostic.run_columns}
    assert all([*diagnostic.columns.values(), *diagnostic.run_columns.values()])
