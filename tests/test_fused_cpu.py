"""The fused CPU engine against the reference engine, over random nets, losses, penalties and minibatches."""

import copy
import ctypes

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ovpnet import native
from ovpnet.engine.steppers.fused_cpu import FusedCpuStepper
from ovpnet.engine.steppers.reference import ReferenceStepper
from ovpnet.engine.steps import Chunk, Rule, State
from ovpnet.nets.base import initial
from ovpnet.nets.regularization import Penalties, Penalty, layer_of
from ovpnet.spec.choices import LEARNERS, LOSSES

STEPS, SAMPLES = 15, 40


@pytest.fixture(scope="module", autouse=True, params=native.library_files(), ids=lambda file: file.stem)
def library(request):
    """Each of the compiled libraries that this processor can run, not only the best; without any, tests are skipped."""
    with pytest.MonkeyPatch.context() as patch:
        compiled = ctypes.CDLL(str(request.param))
        patch.setattr(native, "library", lambda: compiled)
        yield


@st.composite
def ensembles(draw, dtype):
    """A rule, a state and a chunk of E members with numbers of their own."""
    name = draw(st.sampled_from(["two_layer", "three_layer"]))
    trained = draw(st.sampled_from(["hidden", "ntk", "quadratic", "last"]))
    biases = trained != "last" and draw(st.booleans())
    net = LEARNERS[name](trained=trained, biases=biases).net()
    widths = {"two_layer": [1, 7, 32, 33, 100, 8200], "three_layer": [1, 7, 32, 65, 100, 130]}
    E, m, d = draw(st.integers(1, 4)), draw(st.sampled_from(widths[name])), draw(st.integers(2, 9))
    B = draw(st.sampled_from([1, 4, 17]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def numbers(low, high):
        return torch.tensor(rng.uniform(low, high, E), dtype=dtype)

    members = [net.init(rng, m, d, 1, 1.0) for _ in range(E)]
    weights = {name: torch.stack([each[name] for each in members]).to(dtype) for name in members[0]}
    start = {name: weights.get(initial(name), weights[name]).clone() for name in net.trained}
    # Not at initialization, so that penalties of increments have something to pull at.
    for name in net.trained:
        weights[name] += torch.from_numpy(rng.normal(0, 0.1 / m**0.5, tuple(weights[name].shape))).to(dtype)
    kinds = ["none", "frobenius"] + ([] if trained == "last" else ["row_24"])
    kind = draw(st.sampled_from(kinds))
    coefficient = {layer: numbers(0, 0.1) for layer in ("W", "V", "rest")}
    penalties = {} if kind == "none" else {name: Penalty(kind, coefficient[layer_of(name)]) for name in net.trained}
    rule = Rule(net, LOSSES[draw(st.sampled_from(["l2", "huber", "logistic"]))](),
                Penalties(penalties, draw(st.booleans())), numbers(0, 0.95))
    state = State(weights, {name: torch.zeros_like(weights[name]) for name in net.trained}, start)
    x = torch.from_numpy(rng.standard_normal((E, SAMPLES, d)))
    chunk = Chunk((x / x.norm(dim=-1, keepdim=True)).to(dtype),
                  torch.from_numpy(rng.choice([-1.0, 1.0], (E, SAMPLES, 1))).to(dtype),
                  torch.from_numpy(rng.integers(SAMPLES, size=(E, STEPS, B))),
                  (numbers(0.05, 0.2) / m)[:, None] * torch.linspace(1, 0.5, STEPS, dtype=dtype))
    return rule, state, chunk


def advanced(engine, rule, state, chunk):
    state = copy.deepcopy(state)
    losses = engine.advance(rule, state, chunk).train
    return {"losses": losses, **state.weights, **{f"velocity {name}": value for name, value in state.velocity.items()}}


@settings(max_examples=150, deadline=None)
@given(ensembles(torch.float64))
def test_fused_steps_are_those_of_the_reference_engine(ensemble):
    expected = advanced(ReferenceStepper(), *ensemble)
    torch.testing.assert_close(advanced(FusedCpuStepper(), *ensemble), expected, rtol=1e-9, atol=1e-11)


@settings(max_examples=60, deadline=None)
@given(ensembles(torch.float32))
def test_in_single_precision_they_are_as_near_as_its_rounding(ensemble):
    """A sum of m terms of size 1 is off by about sqrt(m) 2^-24; a sign that flips by it costs more, but in one neuron
    and one step."""
    rule, state, chunk = ensemble
    expected, found = (advanced(each, rule, state, chunk) for each in (ReferenceStepper(), FusedCpuStepper()))
    scale = expected["losses"].abs().max().clamp(min=1e-30)  # all of them may be 0
    torch.testing.assert_close(found["losses"] / scale, expected["losses"] / scale, rtol=0, atol=2e-4)
    for name in rule.net.trained:
        moved = (expected[name] - state.weights[name]).flatten(1).norm(dim=1)
        assert ((found[name] - expected[name]).flatten(1).norm(dim=1) <= 1e-2 * moved + 1e-6).all()


@settings(max_examples=30, deadline=None)
@given(ensembles(torch.float32), st.integers(1, 5))
def test_a_member_is_bitwise_its_own(ensemble, threads):
    """Alone or packed, whatever the number of threads, and however the steps are cut into chunks."""
    rule, state, chunk = ensemble
    together = advanced(FusedCpuStepper(), rule, state, chunk)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for e in range(len(chunk.x)):
            one = slice(e, e + 1)
            penalties = {name: Penalty(each.kind, each.coefficient[one])
                         for name, each in rule.regularizer.penalties.items()}
            alone = Rule(rule.net, rule.loss, Penalties(penalties, rule.regularizer.of_increments),
                         rule.momentum[one])
            own = copy.deepcopy(state.select(torch.tensor([e])))
            losses = [FusedCpuStepper().advance(alone, own, Chunk(chunk.x[one], chunk.y[one], chunk.index[one, steps],
                                                                 chunk.lr[one, steps])).train
                      for steps in (slice(0, 6), slice(6, STEPS))]
            assert torch.equal(torch.cat(losses, 1), together["losses"][one])
            for name in rule.net.trained:
                assert torch.equal(own.weights[name], together[name][one])
                assert torch.equal(own.velocity[name], together[f"velocity {name}"][one])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("trained", "d", "m", "k", "n"), [
    ("hidden", 4, 100, 1, 700), ("last", 7, 33, 3, 65), ("ntk", 4, 50, 1, 1), ("quadratic", 9, 20, 2, 600)])
def test_outputs_are_those_of_the_learner(trained, d, m, k, n, dtype):
    net = LEARNERS["two_layer"](trained=trained).net()
    rng = np.random.default_rng(0)
    members = [net.init(rng, m, d, k, 1.0) for _ in range(3)]
    weights = {name: torch.stack([each[name] for each in members]).to(dtype) for name in members[0]}
    weights["W"] += 0.1  # other signs than those frozen
    x = torch.from_numpy(rng.standard_normal((3, n, d))).to(dtype)
    fused = FusedCpuStepper().measured(net)
    outputs = fused.output(weights, x)
    expected = net.output({name: value.double() for name, value in weights.items()}, x.double())
    torch.testing.assert_close(outputs.double(), expected, rtol=0, atol=1e-12 if dtype == torch.float64 else 3e-5)
    part = fused.output({name: value[1:2] for name, value in weights.items()}, x[1:2, n // 2:])
    assert torch.equal(part, outputs[1:2, n // 2:])


@pytest.mark.parametrize("name", ["two_layer", "three_layer"])
def test_divergence_ends_in_no_number(name):
    """Not in zeros or large numbers: what is no longer finite must be seen."""
    net = LEARNERS[name](trained="hidden").net()
    weights = {name: value[None].float() for name, value in net.init(np.random.default_rng(0), 64, 4, 1, 1.0).items()}
    state = State(weights, {each: torch.zeros_like(weights[each]) for each in net.trained},
                  {each: weights[each].clone() for each in net.trained})
    x = torch.randn(1, 8, 4, generator=torch.Generator().manual_seed(0))
    chunk = Chunk(x, torch.ones(1, 8, 1), torch.arange(8).repeat(1, 300, 1),
                  torch.full((1, 300), 1e3))
    FusedCpuStepper().advance(Rule(net, LOSSES["l2"](), Penalties({}), torch.tensor([0.9])), state, chunk)
    assert not state.weights["W"].isfinite().all()
