"""Means of losses with their standard errors."""

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ovpnet.problem.sets import Floats


@dataclass
class Mean:
    """A running mean of n losses, and the sum of their squared deviations from it (Chan et al.'s update)."""

    n: int = 0
    mean: float = 0.0
    deviation: float = 0.0

    @property
    def se(self) -> float:
        """The standard error of the mean; nan for a single loss."""
        return math.sqrt(self.deviation / (self.n - 1) / self.n) if self.n > 1 else math.nan

    def add(self, losses: "Mean") -> None:
        """Take in further losses, by their mean."""
        shift, total = losses.mean - self.mean, self.n + losses.n
        self.deviation += losses.deviation + shift * shift * self.n * losses.n / total
        self.mean += shift * losses.n / total
        self.n = total


def means(losses: Tensor) -> list[Mean]:
    """Return the mean of each row of losses [E, n], summed in the same order whatever rows there are beside it."""
    with np.errstate(invalid="ignore", over="ignore"):  # of members that diverged
        return [_mean(row.astype(np.float64)) for row in losses.cpu().numpy()]


def _mean(losses: Floats) -> Mean:
    mean = losses.mean()
    return Mean(len(losses), mean.item(), np.square(losses - mean).sum().item())
