"""The Triton kernels against the reference engine: on CUDA where there is one, else in Triton's interpreter."""

import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("triton")

import ovpnet.engine.engines.fused
from benchmarks.cuda_kernels import three_layer_floor, two_layer_floor
from ovpnet.engine.choice import engine_on, shape_of
from ovpnet.engine.cuda import two_layer
from ovpnet.engine.registry import lookup
from ovpnet.engine.steppers.fused_cuda import FusedCudaStepper
from ovpnet.engine.steppers.reference import ReferenceStepper
from ovpnet.engine.steps import Chunk, Rule, State
from ovpnet.nets.base import initial
from ovpnet.nets.regularization import Penalties, Penalty
from ovpnet.problem.opt import Opt
from ovpnet.spec.choices import LEARNERS, LOSSES
from ovpnet.training.ensemble import Ensemble
from ovpnet.training.outcome import goal

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# What engines may differ in is the order of sums. In float64 that is far below any mistake; in float32 a sum of some
# hundred terms of about one size is off by some 1e-6 of it, and a handful of stable steps add such errors up.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}


def problem(seed, name, trained, biases, loss, kinds, increments, E, m, d, N, S, B, dtype):
    """A random rule, state and chunk: members of different lr, momentum and coefficients, already in motion."""
    rng, draw = np.random.default_rng(seed), torch.Generator().manual_seed(seed)

    def random(*shape, uniform=False):
        values = (torch.rand if uniform else torch.randn)(*shape, generator=draw, dtype=torch.float64)
        return values.to(DEVICE, dtype)

    net = LEARNERS[name](trained=trained, biases=biases).net()
    members = [net.init(rng, m, d, 1, 1.0) for _ in range(E)]
    weights = {key: torch.stack([member[key] for member in members]).to(DEVICE, dtype) for key in members[0]}
    state = State(weights, {key: random(*weights[key].shape) / 10 for key in net.trained},
                  {key: weights.get(initial(key), weights[key] + 0.3) for key in net.trained})
    y = random(E, N, 1)
    rule = Rule(net, LOSSES[loss](), Penalties(
        {key: Penalty(kind, random(E, uniform=True) / 10) for key, kind in zip(net.trained, kinds, strict=False)
         if kind != "none" and (key, kind) != ("a", "row_24")}, increments), random(E, uniform=True))
    chunk = Chunk(random(E, N, d), y.sign() if loss == "logistic" else y,
                  torch.randint(N, (E, S, B), generator=draw).to(DEVICE), random(E, S, uniform=True) / (20 * m))
    return rule, state, chunk


def copied(state):
    weights = {key: value.clone() for key, value in state.weights.items()}
    return State(weights, {key: value.clone() for key, value in state.velocity.items()}, state.initial)


def assert_same_steps(rule, state, chunk):
    expected, found = copied(state), copied(state)
    reference = ReferenceStepper().advance(rule, expected, chunk)
    fused = FusedCudaStepper().advance(rule, found, chunk)
    tolerance = TOLERANCE[chunk.x.dtype]
    torch.testing.assert_close(fused.train, reference.train, rtol=tolerance, atol=tolerance)
    for left, right in ((found.weights, expected.weights), (found.velocity, expected.velocity)):
        for key in right:
            scale = right[key].abs().max().item()
            torch.testing.assert_close(left[key], right[key], rtol=0, atol=tolerance * scale)
    assert not torch.equal(found.weights[rule.net.trained[0]], state.weights[rule.net.trained[0]])


@pytest.mark.parametrize("trained", ["hidden", "ntk"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (150, 37, 5), (40, 8, 30), (9, 5, 40)])
def test_outputs_equal_the_learners(trained, dtype, n, m, d):
    rule, state, chunk = problem(3, "two_layer", trained, True, "l2", [], False, 2, m, d, n, 1, 1, dtype)
    fused = FusedCudaStepper().measured(rule.net)
    expected, found = rule.net.output(state.weights, chunk.x), fused.output(state.weights, chunk.x)
    torch.testing.assert_close(found, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    one = fused.output({key: value[1:].clone() for key, value in state.weights.items()}, chunk.x[1:].clone())
    if d <= two_layer.MOST_OUTPUT_INPUTS:  # else it is a product of matrices of all members
        assert torch.equal(one[0], found[1])


KINDS = st.lists(st.sampled_from(["none", "frobenius", "row_24"]), min_size=4, max_size=4)
LOSS = st.sampled_from(["l2", "huber", "logistic"])
DTYPE = st.sampled_from([torch.float64, torch.float32])
FIXED = settings(max_examples=20, deadline=None, derandomize=True,
                 suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("on_chip", [True, False])
@FIXED
@given(seed=st.integers(0, 1000), trained=st.sampled_from(["hidden", "last", "ntk", "quadratic"]), biases=st.booleans(),
       loss=LOSS, kinds=KINDS, increments=st.booleans(), E=st.integers(1, 3), m=st.integers(1, 140),
       d=st.integers(1, 9), N=st.integers(1, 20), S=st.integers(1, 4), B=st.integers(1, 19), dtype=DTYPE)
def test_two_layers_equal_the_reference_engine(monkeypatch, on_chip, seed, dtype, **signature):
    if not on_chip:
        monkeypatch.setattr(two_layer, "ON_CHIP_ENTRIES", {4: 0, 8: 0})
        monkeypatch.setattr(two_layer, "SLICE_ENTRIES", 64)
    assert_same_steps(*problem(seed, "two_layer", dtype=dtype, **signature))


@FIXED
@given(seed=st.integers(0, 1000), biases=st.booleans(), loss=LOSS, kinds=KINDS, increments=st.booleans(),
       E=st.integers(1, 2), m=st.integers(1, 80), d=st.integers(1, 9), N=st.integers(1, 20), S=st.integers(1, 3),
       B=st.sampled_from([1, 7, 16, 33, 70]), dtype=DTYPE)
def test_three_layers_equal_the_reference_engine(seed, **signature):
    assert_same_steps(*problem(seed, "three_layer", "hidden", **signature))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "m"), [("two_layer", 100), ("two_layer", 2100), ("three_layer", 70)])
def test_a_member_is_bitwise_the_same_alone_or_packed(name, m, dtype):
    rule, state, chunk = problem(0, name, "hidden", True, "l2", ["frobenius"] * 4, True, 3, m, 4, 20, 3, 10, dtype)
    packed = copied(state)
    losses = FusedCudaStepper().advance(rule, packed, chunk).train
    for e in range(3):
        one = torch.tensor([e], device=DEVICE)
        alone = state.select(one)
        penalties = {key: Penalty(each.kind, each.coefficient[one]) for key, each in rule.regularizer.penalties.items()}
        loss = FusedCudaStepper().advance(
            Rule(rule.net, rule.loss, Penalties(penalties, True), rule.momentum[one]), alone,
            Chunk(chunk.x[one], chunk.y[one], chunk.index[one], chunk.lr[one])).train
        assert torch.equal(loss[0], losses[e])
        for key, value in alone.weights.items():
            assert torch.equal(value[0], packed.weights[key][e]), key


@pytest.mark.parametrize(("name", "m"), [("two_layer", 40), ("two_layer", 1100), ("three_layer", 40)])
def test_chunks_follow_each_other(name, m):
    """The third chunk of a length is a replay of what the second recorded."""
    rule, state, chunk = problem(1, name, "hidden", False, "huber", ["frobenius"] * 2, False, 2, m, 3, 20, 8, 5,
                                 torch.float64)
    whole, parts, fused = copied(state), copied(state), FusedCudaStepper()
    expected = FusedCudaStepper().advance(rule, whole, chunk).train
    found = [fused.advance(rule, parts, Chunk(chunk.x, chunk.y, chunk.index[:, start:stop], chunk.lr[:, start:stop]))
             .train for start, stop in [(0, 2), (2, 4), (4, 6), (6, 7), (7, 8)]]
    assert torch.equal(torch.cat(found, 1), expected)
    for key, value in whole.weights.items():
        assert torch.equal(parts.weights[key], value)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")  # NumPy's, in Triton's interpreter
def test_a_member_that_diverges_shows_it_and_leaves_the_others_alone():
    rule, state, chunk = problem(2, "two_layer", "hidden", False, "l2", [], False, 2, 40, 3, 20, 30, 10, torch.float32)
    alone = copied(state)
    FusedCudaStepper().advance(rule, alone, chunk)
    chunk.lr[0] = 1e6
    losses = FusedCudaStepper().advance(rule, state, chunk).train
    assert not state.weights["W"][0].isfinite().all()
    assert not losses[0, -1].isfinite()
    assert torch.equal(state.weights["W"][1], alone.weights["W"][1])


@pytest.mark.parametrize(("name", "trained", "loss", "k"), [
    ("two_layer", "all", "l2", 1), ("three_layer", "ntk", "l2", 1), ("three_layer", "last", "l2", 1),
    ("two_layer", "hidden", "cross_entropy", 1), ("two_layer", "hidden", "l2", 2), ("three_layer", "hidden", "l2", 2)])
def test_what_the_kernels_do_not_cover_is_refused(name, trained, loss, k):
    rule, state, chunk = problem(0, name, trained, False, loss, [], False, 1, 8, 3, 5, 1, 2, torch.float64)
    state.weights["a"] = state.weights["a"].repeat(1, k, 1)
    with pytest.raises(ValueError, match="kernels cover"):
        FusedCudaStepper().advance(rule, state, chunk)


@pytest.mark.parametrize("name", ["two_layer", "three_layer"])
def test_runs_of_an_ensemble_end_where_the_reference_engine_ends_them(make, name):
    shared = ["dtype=float64", f"learner={name}", "steps=12", "weight_decay=0.01", "algorithm.decay_at=0.5"]
    configs = [make(*shared, *each) for each in (
        ["seed=0"], ["seed=0", "lr=0.01"], ["seed=1", "samples=25", "algorithm.momentum=0.5"])]
    goals = [goal(config, Opt("", 0, 0, "noise", 0, 0, 1)) for config in configs]
    engines = ReferenceStepper(), FusedCudaStepper()
    expected, found = (Ensemble(shape_of(configs), goals, each, DEVICE).train() for each in engines)
    for left, right in zip(found.points, expected.points, strict=True):
        torch.testing.assert_close(left.train, right.train, rtol=1e-10, atol=0)
        torch.testing.assert_close(left.test, right.test, rtol=1e-10, atol=1e-12)


def test_the_fused_engine_on_cuda_and_what_it_lacks(make, monkeypatch, caplog):
    cuda = torch.device("cuda")
    assert isinstance(engine_on(shape_of([make("engine=fused")]), cuda).stepper(cuda), FusedCudaStepper)
    assert "trained=ntk" in lookup("fused").lacks_on(make("learner=three_layer", "learner.trained=ntk"), "cuda")
    monkeypatch.setattr(ovpnet.engine.engines.fused, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        assert engine_on(shape_of([make("engine=fused")]), cuda).name == "reference"
    assert "needs the package triton" in caplog.text


def test_floors_are_the_slower_of_memory_and_arithmetic():
    small, large = two_layer_floor(1000, 4, 50, on_chip=True), three_layer_floor(1000, 4, 50)
    assert small.seconds == small.flops / 67e12  # its weights stay on chip
    assert large.seconds == large.bytes / 3.35e12
    assert two_layer_floor(2000, 4, 50, on_chip=True).flops == 2 * small.flops


COMPILE = """
from benchmarks.cuda_kernels import three_layer_kernels, two_layer_kernels
kernels = [*two_layer_kernels(1000, 4), *two_layer_kernels(10_000, 4), *two_layer_kernels(1000, 4, 8),
           *two_layer_kernels(10_000, 4, LAST=True, W_KIND="none", A_KIND="frobenius", LOSS="logistic"),
           *two_layer_kernels(100, 4, FROZEN=True, BIASES=True, B_KIND="row_24", LOSS="huber", INCREMENTS=True),
           *three_layer_kernels(), *three_layer_kernels(8), *three_layer_kernels(precision="tf32x3", kind="row_24")]
for each in kernels:
    print(each.name, each.registers, each.spilled, each.shared)
"""


@pytest.mark.slow
def test_kernels_compile_for_an_h100():
    """Triton needs no GPU to compile for one: this catches what its interpreter lets pass."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    found = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stderr
    lines = [line.split() for line in found.stdout.splitlines()]
    assert {line[0] for line in lines} == {
        "on_chip", "sweep", "residuals", "outputs", "first", "second", "backward", "update"}
    for _, _, spilled, shared in lines:
        assert int(spilled) <= 128
        assert int(shared) <= 232448  # what a program may have on an H100
