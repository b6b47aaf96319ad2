"""The reference engine against torch's own modules, autograd and optimizer, one net at a time."""

import numpy as np
import pytest
import torch

from ovpnet.config import LearnerConfig
from ovpnet.engine import Chunk, ReferenceEngine, Rule, State
from ovpnet.learners import learner
from ovpnet.losses import LOSSES

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


@pytest.mark.parametrize("regularizer", ["none", "frobenius", "row_24"])
@pytest.mark.parametrize("trained", ["hidden", "last"])
@pytest.mark.parametrize("name", ["two_layer", "three_layer"])
def test_training_equals_torch_sgd(name, trained, regularizer):
    net = learner(LearnerConfig(name=name, trained=trained))
    rng = np.random.default_rng(0)
    members = [net.init(rng, M, D, K, 1.0) for _ in range(E)]
    weights = {key: torch.stack([member[key] for member in members]) for key in members[0]}
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(E, N, D, generator=draw, dtype=torch.float64)
    y = torch.randn(E, N, K, generator=draw, dtype=torch.float64)
    index = torch.randint(N, (E, S, B), generator=draw)
    lr = torch.tensor([[0.01], [0.02], [0.03]], dtype=torch.float64).repeat(1, S)
    lr[:, S // 2:] /= 10
    momentum, decay = torch.tensor([0.9, 0.5, 0.0]).double(), torch.tensor([0.0, 0.1, 0.2]).double()
    state = State({key: value.clone() for key, value in weights.items()},
                  {key: torch.zeros_like(weights[key]) for key in net.trained})
    rule = Rule(net, LOSSES["l2"], regularizer, momentum, decay)
    step_losses = ReferenceEngine().advance(rule, state, Chunk(x, y, index, lr))
    for e in range(E):
        module = Net({key: value[e] for key, value in weights.items()}, net.trained)
        optimizer = torch.optim.SGD([module.values[key] for key in net.trained], lr=1.0, momentum=momentum[e].item(),
                                    weight_decay=decay[e].item() if regularizer == "frobenius" else 0.0)
        for step in range(S):
            # torch scales its momentum buffer by lr only when it applies it, so lr may change between steps
            optimizer.param_groups[0]["lr"] = lr[e, step].item()
            loss = K * torch.nn.functional.mse_loss(module(x[e, index[e, step]]), y[e, index[e, step]])
            assert step_losses.train[e, step].item() == pytest.approx(loss.item(), rel=1e-9)
            if regularizer == "row_24":
                loss = loss + decay[e] * sum(module.values[key].norm(dim=1).pow(4).sum() for key in net.trained)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        for key, value in module.values.items():
            torch.testing.assert_close(state.weights[key][e], value.detach(), rtol=1e-9, atol=1e-11)


def test_monitor_measures_the_iterate_before_each_step():
    net = learner(LearnerConfig(name="two_layer"))
    weights = {key: value[None] for key, value in net.init(np.random.default_rng(0), M, D, K, 1.0).items()}
    state = State(weights, {key: torch.zeros_like(weights[key]) for key in net.trained})
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randn(1, N, size, generator=draw, dtype=torch.float64) for size in (D, K))
    index = torch.arange(S * B).view(1, S, B) % N
    zero = torch.zeros(1, dtype=torch.float64)
    chunk = Chunk(x, y, index, torch.full((1, S), 0.01, dtype=torch.float64), x[:, index[0]], y[:, index[0]])
    step_losses = ReferenceEngine().advance(Rule(net, LOSSES["l2"], "none", zero, zero), state, chunk)
    # monitored on its own minibatch, each iterate must score just what its training loss says
    torch.testing.assert_close(step_losses.monitor, step_losses.train)
