"""The regularizer of an ensemble: a penalty per trained matrix, with a coefficient for every member."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ovpnet.spec.choices import PENALTIES, PenaltyKind, Regularizer
from ovpnet.spec.config import Config


@dataclass(frozen=True)
class Penalty:
    """`kind` (`frobenius`, `row_24`) times `coefficient` [E], a penalty of weights [E, rows, columns] or [E, rows]."""

    kind: str
    coefficient: Tensor

    def value(self, weights: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return R(W) [E] at weights [E, rows, columns] or [E, rows]; with a scale [E], R(sqrt(scale) W)."""
        return self._coefficient(scale) * self._form.value(weights)

    def add_gradient(self, gradient: Tensor, weights: Tensor, scale: Tensor | None = None) -> None:
        """Add the gradient of `value` in `weights`, [E, ...], to `gradient` in place."""
        coefficient = per_member(self._coefficient(scale), weights)
        slope = self._form.slope(weights)
        if isinstance(slope, Tensor):
            coefficient = coefficient * slope.view(*weights.shape[:2], *[1] * (weights.dim() - 2))
        else:
            coefficient = coefficient * slope
        gradient.addcmul_(weights, coefficient)

    @property
    def _form(self) -> PenaltyKind:
        return PENALTIES[self.kind]()

    def _coefficient(self, scale: Tensor | None) -> Tensor:
        return self.coefficient if scale is None else self.coefficient * scale ** (self._form.degree / 2)


@dataclass(frozen=True)
class Penalties:
    """R(W), the sum of the penalties of the trained matrices that have one."""

    penalties: Mapping[str, Penalty]
    of_increments: bool = False  # R(W - W0) in place of R(W)

    def point(self, name: str, weights: Mapping[str, Tensor], initial: Mapping[str, Tensor]) -> Tensor:
        """Return the weights that R is taken of: the matrix itself, or its increment since initialization."""
        return weights[name] - initial[name] if self.of_increments else weights[name]

    def value(self, weights: Mapping[str, Tensor], initial: Mapping[str, Tensor],
              scale: Tensor | None = None) -> Tensor | float:
        """Return R [E]; with a scale lambda [E], of sqrt(lambda) times its point (Section 4)."""
        return sum(penalty.value(self.point(name, weights, initial), scale) for name, penalty in self.penalties.items())


def coefficients(config: Config) -> dict[str, float]:
    """Return the coefficients of the penalties of W, V and the rest: weight_decay times each one's weight.

    With regularizer=table1 they are multiplied by Table 1's. Raises ConfigError if Table 1's C0 is asked of a concept
    that has none.
    """
    named = config.regularizer
    return {layer: config.weight_decay * getattr(named, f"weight_{layer}") * unit
            for layer, unit in named.units(config).items()}


def penalties(chosen: Regularizer, trained: tuple[str, ...], coefficients: Mapping[str, Tensor]) -> Penalties:
    """Return the penalties that a regularizer is made of, with the coefficients [E] of W, V and the rest."""
    found = {}
    for name in trained:
        layer = layer_of(name)
        kind = getattr(chosen, layer)
        if kind != "none":
            found[name] = Penalty(kind, coefficients[layer])
    return Penalties(found, chosen.of == "increments")


def layer_of(name: str) -> str:
    """Return the layer whose keys of the regularizer a weight goes by: W, V or rest."""
    return name if name in ("W", "V") else "rest"


def per_member(values: Tensor, like: Tensor) -> Tensor:
    """Return values [E] as [E, 1, ...], to scale a tensor [E, ...]."""
    return values.view(-1, *[1] * (like.dim() - 1))

