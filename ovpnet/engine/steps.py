"""The interface of what takes an engine's steps: advance an ensemble by a chunk of SGD steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ovpnet.nets.base import Net, Network, Weights
from ovpnet.nets.regularization import Penalties
from ovpnet.spec.choices import Loss


@dataclass(frozen=True)
class Rule:
    """The rule of a step, the same at every step: v <- momentum v + grad (L + R); W <- W - lr v."""

    net: Net
    loss: Loss
    regularizer: Penalties
    momentum: Tensor  # [E]


@dataclass
class State:
    """An ensemble in training. An engine changes weights and velocity in place."""

    weights: Weights  # [E, ...]
    velocity: Weights  # [E, ...], of what is trained
    initial: Weights  # [E, ...], what is trained, at initialization
    # [E, ...], what an engine goes on from besides and cannot make again from the rest: a checkpoint holds it.
    kept: dict[str, Tensor] = field(default_factory=dict)

    def select(self, members: Tensor) -> "State":
        """Return the state of some members (indices [e])."""
        return State(*({name: value[members] for name, value in each.items()}
                       for each in (self.weights, self.velocity, self.initial)))


@dataclass(frozen=True)
class Perturbation:
    """The random part of one step of Algorithms 2 and 3; a matrix or the signs may be left out."""

    smoothing: Mapping[str, Tensor]  # W^rho [E, m1, d], V^rho [E, m2, m1]
    signs: Tensor | None  # [E, m1], the diagonal of Sigma
    iterate_noise: Mapping[str, Tensor]  # added to W and V after the step

    def apply(self, weights: Weights, initial: Weights) -> Weights:
        """Return W0 + W^rho + Sigma W' and V0 + V^rho + V' Sigma, for the increments W' = W - W0, V' = V - V0."""
        perturbed = dict(weights)
        for name, signs in self._signs().items():
            perturbed[name] = torch.addcmul(initial[name], weights[name] - initial[name], signs)
        for name, noise in self.smoothing.items():
            perturbed[name] = perturbed[name] + noise
        return perturbed

    def pull_back(self, gradients: Weights) -> None:
        """Turn the gradients at the perturbed weights into those in W' and V', in place: Sigma G_W and G_V Sigma."""
        for name, signs in self._signs().items():
            gradients[name].mul_(signs)

    def _signs(self) -> Weights:
        """Return Sigma as it multiplies the rows of W and the columns of V."""
        return {} if self.signs is None else {"W": self.signs[:, :, None], "V": self.signs[:, None, :]}


@dataclass(frozen=True)
class Chunk:
    """The data of S consecutive steps with minibatches of B samples, for E members."""

    x: Tensor  # [E, N, d], the training sets, padded to the largest N
    y: Tensor  # [E, N, k]
    index: Tensor  # [E, S, B], which samples each step takes
    lr: Tensor  # [E, S]
    monitor_x: Tensor | None = None  # [E, S, B, d], fresh samples: each step's iterate is tested on its B of them
    monitor_y: Tensor | None = None  # [E, S, B, k]
    scale: Tensor | None = None  # [E, S], lambda: the net is lambda f, and R is taken at sqrt(lambda) times its point
    perturbation: Callable[[int], Perturbation] | None = None  # of each of the S steps


@dataclass(frozen=True)
class StepLosses:
    """Mean losses of the iterate before each step."""

    train: Tensor  # [E, S], on the step's own minibatch
    monitor: Tensor | None  # [E, S], on the chunk's fresh samples, if it has any


def scaled(weights: Weights, scale: Tensor) -> Weights:
    """Return the weights of scale [E] times f: a factor of the output weights."""
    return weights | {"a": weights["a"] * scale[:, None, None]}


class Stepper(Protocol):
    """Takes the steps of one ensemble: every engine's runs the same mathematics."""

    def advance(self, rule: Rule, state: State, chunk: Chunk) -> StepLosses:
        """Take the chunk's steps, changing `state` in place. No member's numbers depend on another member's."""
        ...

    def measured(self, net: Net) -> Network:
        """Return the net that risks are measured with: the net itself, or a form of it that takes less."""
        ...
