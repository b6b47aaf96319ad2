"""The goal of a run, and what is measured of an ensemble."""

from dataclasses import dataclass, field

from torch import Tensor

from ovpnet.problem.means import Mean
from ovpnet.problem.opt import Opt
from ovpnet.spec.config import Config


@dataclass(frozen=True)
class Goal:
    """The goal that a run is judged against."""

    opt: Opt
    epsilon: float  # in units of the loss

    @property
    def threshold(self) -> float:
        """The goal OPT + epsilon, in units of the loss."""
        return self.opt.opt + self.epsilon


def goal(config: Config, opt: Opt) -> Goal:
    """Return the goal OPT + epsilon of a run; a relative epsilon is in units of E ||y||^2."""
    unit = opt.second_moment if config.epsilon_unit == "relative" else 1.0
    return Goal(opt, config.epsilon * unit)


@dataclass(frozen=True)
class Point:
    """A point of the learning curves."""

    step: int
    train: Tensor  # [E], mean minibatch loss since the point before
    test: Tensor  # [E, n], losses of the current iterate on fresh samples
    diagnostics: dict[str, Tensor] = field(default_factory=dict)  # [E], columns of what is measured besides


@dataclass(frozen=True)
class Outcome:
    """Everything measured of an ensemble."""

    points: list[Point]
    train: Tensor  # [E], empirical risk of the last iterate on the training set
    test: list[Mean]  # [E], population risk of the last iterate
    validation: list[Mean]  # [E], the same on samples of its own, for choices such as the best lr
    iterates: Tensor | None  # [E, T], risks of W_0 ... W_{T-1} on fresh samples, if the average is judged
    diverged: Tensor  # [E] bool: a weight is no longer a finite number
    extras: dict[str, Tensor] = field(default_factory=dict)  # [E], further columns of the algorithm's own
