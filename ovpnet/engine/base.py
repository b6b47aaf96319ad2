"""The interface of a training engine: advance an ensemble by a chunk of SGD steps."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ovpnet.learners import Learner, Weights
from ovpnet.losses import Loss
from ovpnet.regularizers import Regularizer


@dataclass(frozen=True)
class Rule:
    """What a step does, the same at every step: v <- momentum v + grad (L + R);  W <- W - lr v."""

    learner: Learner
    loss: Loss
    regularizer: Regularizer
    momentum: Tensor  # [E]


@dataclass
class State:
    """An ensemble in training. An engine changes weights and velocity in place."""

    weights: Weights  # [E, ...]
    velocity: Weights  # [E, ...], of what is trained
    initial: Weights  # [E, ...], what is trained, at initialization

    def select(self, members: Tensor) -> "State":
        """The state of some members (indices [e])."""
        return State(*({name: value[members] for name, value in each.items()}
                       for each in (self.weights, self.velocity, self.initial)))


@dataclass(frozen=True)
class Chunk:
    """The data of S consecutive steps with minibatches of B samples, for E members."""

    x: Tensor  # [E, N, d], the training sets, padded to the largest N
    y: Tensor  # [E, N, k]
    index: Tensor  # [E, S, B], which samples each step takes
    lr: Tensor  # [E, S]
    monitor_x: Tensor | None = None  # [E, S, B, d], fresh samples: each step's iterate is tested on its B of them
    monitor_y: Tensor | None = None  # [E, S, B, k]


@dataclass(frozen=True)
class StepLosses:
    """Mean losses of the iterate before each step."""

    train: Tensor  # [E, S], on the step's own minibatch
    monitor: Tensor | None  # [E, S], on the chunk's fresh samples, if it has any


class Engine(Protocol):
    """Runs the same mathematics on some kind of device."""

    name: str

    def advance(self, rule: Rule, state: State, chunk: Chunk) -> StepLosses:
        """Take the chunk's steps, changing `state` in place. No member's numbers depend on another member's."""
        ...
