"""The plain net at an ensemble's weights, now and at initialization, whatever part of it is trained and however."""

import torch
from torch import Tensor

from ovpnet.engine.steps import State
from ovpnet.nets.base import Weights

_NAMES = ("W", "b", "b1", "V", "b2", "a")


def net(weights: Weights) -> Weights:
    """Return the weights of the plain net: without the frozen copies of learners whose signs are frozen."""
    return {name: weights[name] for name in _NAMES if name in weights}


def start(state: State) -> Weights:
    """Return the plain net at initialization."""
    return net(state.weights) | state.initial


def pre_activations(net: Weights, x: Tensor) -> list[Tensor]:
    """Return W x + b [E, n, m] and, with three layers, V relu(W x + b1) + b2."""
    if "V" not in net:
        return [_affine(net["W"], net["b"], x)]
    first = _affine(net["W"], net["b1"], x)
    return [first, _affine(net["V"], net["b2"], first.relu())]


def _affine(weights: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return torch.baddbmm(bias.unsqueeze(1), x, weights.mT)
