"""Regularizers R(W): a penalty a trained matrix, each with a coefficient of its own for every member."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ovpnet.spec.config import Config, RegularizerConfig
from ovpnet.training.algorithms.table1 import table1

# R(c W) = c^degree R(W).
DEGREES = {"frobenius": 2, "row_24": 4}


@dataclass(frozen=True)
class Penalty:
    """`kind` times `coefficient` [E]: `frobenius` is ||W||_F^2 / 2 (torch's weight decay), `row_24` is ||W||_{2,4}^4 =
    sum_i ||w_i||_2^4 (Section 2's row norm, w_i the i-th row: one neuron; of a vector, its i-th entry)."""

    kind: str
    coefficient: Tensor

    def value(self, weights: Tensor, scale: Tensor | None = None) -> Tensor:
        """R(W) [E] at weights [E, rows, columns] or [E, rows]; with a scale [E], R(sqrt(scale) W)."""
        rows = _squared_rows(weights)
        norm = rows.sum(-1) / 2 if self.kind == "frobenius" else rows.square().sum(-1)
        return self._coefficient(scale) * norm

    def add_gradient(self, gradient: Tensor, weights: Tensor, scale: Tensor | None = None) -> None:
        """Add the gradient of `value` in `weights`, [E, ...], to `gradient` in place."""
        coefficient = per_member(self._coefficient(scale), weights)
        if self.kind == "row_24":
            coefficient = coefficient * 4 * _squared_rows(weights).view(*weights.shape[:2], *[1] * (weights.dim() - 2))
        gradient.addcmul_(weights, coefficient)

    def _coefficient(self, scale: Tensor | None) -> Tensor:
        return self.coefficient if scale is None else self.coefficient * scale ** (DEGREES[self.kind] / 2)


@dataclass(frozen=True)
class Regularizer:
    """The penalties of the trained matrices that have one."""

    penalties: Mapping[str, Penalty]
    of_increments: bool = False  # R(W - W0) in place of R(W)

    def point(self, name: str, weights: Mapping[str, Tensor], initial: Mapping[str, Tensor]) -> Tensor:
        """Where R is taken: the matrix itself, or its increment since initialization."""
        return weights[name] - initial[name] if self.of_increments else weights[name]

    def value(self, weights: Mapping[str, Tensor], initial: Mapping[str, Tensor],
              scale: Tensor | None = None) -> Tensor | float:
        """R [E]; with a scale lambda [E], at sqrt(lambda) times its point (Section 4's R(sqrt(l) W, sqrt(l) V))."""
        return sum(penalty.value(self.point(name, weights, initial), scale) for name, penalty in self.penalties.items())


def coefficients(config: Config) -> dict[str, float]:
    """Coefficients of the penalties of W, V and the rest: weight_decay times each one's weight (times Table 1's).

    Table 1's R has ||V'||_F^2 where the penalty `frobenius` has half of it. Raises ConfigError as `table1` does.
    """
    named = config.regularizer
    unit = {"W": 1.0, "V": 1.0, "rest": 1.0}
    if named.name == "table1":
        parameters = table1(config)
        unit |= {"W": parameters.lambda_w, "V": 2 * parameters.lambda_v}
    return {layer: config.weight_decay * getattr(named, f"weight_{layer}") * unit[layer] for layer in unit}


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
