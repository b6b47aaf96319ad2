"""The reference engine against torch's own modules, autograd and optimizer, one net at a time; the dual against it."""

import logging

import numpy as np
import pytest
import torch

from ovpnet import native
from ovpnet.engine import choice
from ovpnet.engine.choice import engine_on, shape_of
from ovpnet.engine.steppers.dual import DualStepper
from ovpnet.engine.steppers.reference import ReferenceStepper
from ovpnet.engine.steps import Chunk, Rule, State
from ovpnet.nets.regularization import Penalties, Penalty
from ovpnet.problem.opt import Opt
from ovpnet.spec.choices import LEARNERS, LOSSES
from ovpnet.training.ensemble import Ensemble
from ovpnet.training.outcome import goal

E, N, M, D, K, S, B = 3, 20, 9, 4, 2, 12, 5


class Net(torch.nn.Module):
    def __init__(self, weights, trained):
        super().__init__()
        self.values = torch.nn.ParameterDict({
            name: torch.nn.Parameter(value.clone(), requires_grad=name in trained) for name, value in weights.items()})

    def forward(self, x):
        w = self.values
        if "V" in w:
            hidden = torch.relu(torch.relu(x @ w["W"].T + w["b1"]) @ w["V"].T + w["b2"])
        else:
            hidden = torch.relu(x @ w["W"].T + w["b"])
        return hidden @ w["a"].T


@pytest.mark.parametrize("increments", [False, True])
@pytest.mark.parametrize("regularizer", ["none", "frobenius", "row_24"])
@pytest.mark.parametrize("trained", ["hidden", "last", "all"])
@pytest.mark.parametrize(("name", "m2"), [("two_layer", None), ("three_layer", None), ("three_layer", 6)])
def test_training_equals_torch_sgd(name, m2, trained, regularizer, increments):
    net = LEARNERS[name](trained=trained).net()
    rng = np.random.default_rng(0)
    members = [net.init(rng, M, D, K, 1.0, m2) for _ in range(E)]
    weights = {key: torch.stack([member[key] for member in members]) for key in members[0]}
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(E, N, D, generator=draw, dtype=torch.float64)
    y = torch.randn(E, N, K, generator=draw, dtype=torch.float64)
    index = torch.randint(N, (E, S, B), generator=draw)
    lr = torch.tensor([[0.01], [0.02], [0.03]], dtype=torch.float64).repeat(1, S)
    lr[:, S // 2:] /= 10
    momentum, decay = torch.tensor([0.9, 0.5, 0.0]).double(), torch.tensor([0.0, 0.1, 0.2]).double()
    state = State({key: value.clone() for key, value in weights.items()},
                  {key: torch.zeros_like(weights[key]) for key in net.trained},
                  {key: weights[key].clone() for key in net.trained})
    penalties = {} if regularizer == "none" else {key: Penalty(regularizer, decay) for key in net.trained}
    rule = Rule(net, LOSSES["l2"](), Penalties(penalties, increments), momentum)
    step_losses = ReferenceStepper().advance(rule, state, Chunk(x, y, index, lr))
    for e in range(E):
        module = Net({key: value[e] for key, value in weights.items()}, net.trained)
        torchs_own = regularizer == "frobenius" and not increments
        optimizer = torch.optim.SGD([module.values[key] for key in net.trained], lr=1.0, momentum=momentum[e].item(),
                                    weight_decay=decay[e].item() if torchs_own else 0.0)
        for step in range(S):
            # torch scales its momentum buffer by lr only when it applies it, so lr may change between steps
            optimizer.param_groups[0]["lr"] = lr[e, step].item()
            loss = K * torch.nn.functional.mse_loss(module(x[e, index[e, step]]), y[e, index[e, step]])
            assert step_losses.train[e, step].item() == pytest.approx(loss.item(), rel=1e-9)
            for key in net.trained:
                point = module.values[key] - weights[key][e] if increments else module.values[key]
                if regularizer == "row_24":
                    loss = loss + decay[e] * point.view(len(point), -1).square().sum(1).square().sum()
                elif regularizer == "frobenius" and increments:
                    loss = loss + decay[e] / 2 * point.square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        for key, value in module.values.items():
            torch.testing.assert_close(state.weights[key][e], value.detach(), rtol=1e-9, atol=1e-11)


def test_monitor_measures_the_iterate_before_each_step():
    net = LEARNERS["two_layer"]().net()
    weights = {key: value[None] for key, value in net.init(np.random.default_rng(0), M, D, K, 1.0).items()}
    state = State(weights, {key: torch.zeros_like(weights[key]) for key in net.trained}, {})
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randn(1, N, size, generator=draw, dtype=torch.float64) for size in (D, K))
    index = torch.arange(S * B).view(1, S, B) % N
    zero = torch.zeros(1, dtype=torch.float64)
    chunk = Chunk(x, y, index, torch.full((1, S), 0.01, dtype=torch.float64), x[:, index[0]], y[:, index[0]])
    step_losses = ReferenceStepper().advance(Rule(net, LOSSES["l2"](), Penalties({}), zero), state, chunk)
    # monitored on its own minibatch, each iterate must score just what its training loss says
    torch.testing.assert_close(step_losses.monitor, step_losses.train)


DUAL = ["width=40", "batch_size=6", "algorithm.decay_at=0.5", "lr_scaling=none", "dtype=float64"]


@pytest.mark.parametrize("overrides", [
    ["learner=two_layer", "learner.trained=last"], ["learner=two_layer", "learner.trained=ntk"],
    ["learner=three_layer", "learner.trained=last"], ["learner=three_layer", "learner.trained=ntk"],
    ["learner=three_layer", "learner.trained=last", "width2=25"],
    ["learner=three_layer", "learner.trained=ntk", "width2=60"],
    ["learner=two_layer", "learner.trained=last", "concept.k=3", "loss=cross_entropy"],
    ["learner=three_layer", "learner.trained=ntk", "regularizer.of=increments"],
    ["learner=three_layer", "learner.trained=ntk", "learner.biases=true"],
    ["learner=two_layer", "learner.trained=ntk", "learner.biases=true"],
    ["learner=three_layer", "learner.trained=ntk", "regularizer=none", "weight_decay=0"],
    ["learner=two_layer", "learner.trained=ntk", "algorithm.sampling=replacement", "batch_size=60"],
], ids=" ".join)
def test_dual_engine_takes_the_steps_of_the_reference_engine(make, overrides):
    settings = ["seed=0", "seed=0 lr=0.001 weight_decay=0.3", "seed=1 samples=25 algorithm.momentum=0.5",
                "seed=1 lr=0.003 weight_decay=0.01"]
    given = {each.split("=")[0] for each in overrides}
    base = [each for each in [*DUAL, "steps=40", "lr=0.002", "weight_decay=0.1"] if each.split("=")[0] not in given]
    configs = [make(*base, *overrides, *(each for each in setting.split()
                                         if not (each.startswith("weight_decay") and "weight_decay" in given)))
               for setting in settings]
    opt = Opt("", 0, 0, "noise", 0, 0, 1)
    results = []
    for each in (ReferenceStepper(), DualStepper()):
        ensemble = Ensemble(shape_of(configs), [goal(config, opt) for config in configs], each, torch.device("cpu"))
        results.append((ensemble.train(), ensemble.state))
    (reference, expected), (dual, found) = results
    for name in expected.weights:
        torch.testing.assert_close(found.weights[name], expected.weights[name], rtol=1e-9, atol=1e-10)
    for name in expected.velocity:
        assert expected.velocity[name].abs().max() > 1e-3
        torch.testing.assert_close(found.velocity[name], expected.velocity[name], rtol=1e-9, atol=1e-9)
    for left, right in zip(reference.points, dual.points, strict=True):
        torch.testing.assert_close(right.train, left.train, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(right.test, left.test, rtol=1e-8, atol=1e-9)
    assert reference.points[-1].train.max() < reference.points[0].train.max()


CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def every_warning():
    """A process gives each warning once."""
    choice._warn.cache_clear()


@pytest.fixture
def compiled():
    if native.library() is None:
        pytest.skip("nothing compiled here")


@pytest.mark.parametrize(("overrides", "name"), [
    # Few samples and many steps: the kernel pays. Not so with 4000 samples.
    (["learner=three_layer", "learner.trained=ntk", "width=200", "samples=100", "steps=2000"], "dual"),
    (["learner=three_layer", "learner.trained=last", "width=200", "samples=100", "steps=2000"], "dual"),
    (["learner.trained=last", "width=20000", "samples=4000", "steps=600"], "fused"),
    (["learner=three_layer", "learner.trained=ntk", "width=300", "samples=4000", "steps=100"], "fused"),
    (["learner.trained=hidden"], "fused"),
    (["learner=three_layer", "learner.trained=hidden"], "fused"),
    (["learner=three_layer", "learner.trained=quadratic"], "fused"),
    (["learner.trained=hidden", "engine=reference"], "reference"),
    (["learner.trained=ntk", "regularizer=row_24", "samples=100"], "fused"),
    (["learner.trained=last", "engine=fused"], "fused"),
    (["learner.trained=all"], "reference"),
])
def test_auto_takes_the_fastest_engine_that_covers_a_run(make, compiled, overrides, name):
    assert engine_on(shape_of([make(*overrides)]), CPU).name == name


@pytest.mark.parametrize(("overrides", "what"), [
    (["engine=dual", "learner.trained=hidden"], "learner.trained=hidden"),
    (["engine=dual", "learner.trained=ntk", "concept.k=2"], "concept.k=2"),
    (["engine=dual", "learner.trained=ntk", "regularizer=row_24"], "row_24"),
    (["engine=dual", "learner=three_layer", "learner.trained=ntk", "regularizer.V=none"], "layers"),
    (["engine=dual", "learner.trained=ntk", "learner.biases=true", "regularizer.rest=none"], "layers"),
    (["engine=dual", "learner.trained=ntk", "algorithm.judged=average"], "average"),
    (["engine=fused", "concept.k=2"], "concept.k=2"),
    (["engine=fused", "learner.trained=all"], "learner.trained=all"),
    (["engine=fused", "learner.trained=last", "regularizer=row_24"], "row_24"),
    (["engine=fused", "algorithm.judged=average"], "average"),
    (["engine=fused", "algorithm=algorithm3", "learner=three_layer", "steps=null"], "algorithm=algorithm3"),
    (["engine=fused", "inputs.d=300"], "inputs.d=300"),
    (["engine=fused", "learner=three_layer", "width2=20"], "width2=20"),
])
def test_what_an_engine_does_not_cover_falls_back_loudly(make, caplog, overrides, what):
    with caplog.at_level(logging.WARNING):
        assert engine_on(shape_of([make(*overrides)]), CPU).name == "reference"
    assert what in caplog.text
    assert overrides[0] in caplog.text


def test_an_install_without_a_compiler_says_so(make, caplog, monkeypatch):
    monkeypatch.setattr(native, "library", lambda: None)
    with caplog.at_level(logging.WARNING):
        assert engine_on(shape_of([make()]), CPU).name == "reference"
    assert "C++ compiler" in caplog.text
