"""Regularizers R(W): a penalty a trained matrix, each with a coefficient of its own for every member."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ovpnet.config import RegularizerConfig

# R(c W) = c^degree R(W).
DEGREES = {"frobenius": 2, "row_24": 4}


@dataclass(frozen=True)
class Penalty:
    """`kind` times `coefficient` [E]: `frobenius` is ||W||_F^2 / 2 (torch's weight decay), `row_24` is ||W||_{2,4}^4 =
    sum_i ||w_i||_2^4 (Section 2's row norm, w_i the i-th row: one neuron; of a vector, its i-th entry)."""

    kind: str
    coefficient: Tensor

    def value(self, weights: Tensor) -> Tensor:
        """R [E] at weights [E, rows, columns] or [E, rows]."""
        rows = _squared_rows(weights)
        norm = rows.sum(-1) / 2 if self.kind == "frobenius" else rows.square().sum(-1)
        return self.coefficient * norm

    def add_gradient(self, gradient: Tensor, weights: Tensor, scale: Tensor | float = 1.0) -> None:
        """Add `scale` times R's gradient at `weights`, [E, ...], to `gradient` in place."""
        coefficient = per_member(self.coefficient * scale, weights)
        if self.kind == "row_24":
            coefficient = coefficient * 4 * _squared_rows(weights).view(*weights.shape[:2], *[1] * (weights.dim() - 2))
        gradient.addcmul_(weights, coefficient)


@dataclass(frozen=True)
class Regularizer:
    """The penalties of the trained matrices that have one."""

    penalties: Mapping[str, Penalty]
    of_increments: bool = False  # R(W - W0) in place of R(W)

    def point(self, name: str, weights: Mapping[str, Tensor], initial: Mapping[str, Tensor]) -> Tensor:
        """Where R is taken: the matrix itself, or its increment since initialization."""
        return weights[name] - initial[name] if self.of_increments else weights[name]

    def value(self, weights: Mapping[str, Tensor], initial: Mapping[str, Tensor]) -> Tensor | float:
        """R [E]."""
        return sum(penalty.value(self.point(name, weights, initial)) for name, penalty in self.penalties.items())


def regularizer(config: RegularizerConfig, trained: tuple[str, ...], coefficients: Mapping[str, Tensor]) -> Regularizer:
    """The regularizer a config names, with the coefficients [E] of W, V and the rest."""
    penalties = {}
    for name in trained:
        layer = layer_of(name)
        kind = getattr(config, layer)
        if kind != "none":
            penalties[name] = Penalty(kind, coefficients[layer])
    return Regularizer(penalties, config.of == "increments")


def layer_of(name: str) -> str:
    """Whose keys of the config are those of a weight: W, V or the rest."""
    return name if name in ("W", "V") else "rest"


def per_member(values: Tensor, like: Tensor) -> Tensor:
    """[E] -> [E, 1, ...], to scale a tensor [E, ...]."""
    return values.view(-1, *[1] * (like.dim() - 1))


def _squared_rows(weights: Tensor) -> Tensor:
    """Squared norms [E, rows] of the rows."""
    squares = weights.square()
    return squares.sum(-1) if weights.dim() == 3 else squares
