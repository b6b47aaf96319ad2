"""The penalties of a matrix, one class each: every class here is a value of `regularizer.W`, `V` and `rest`."""

from typing import TYPE_CHECKING

from ovpnet.spec.choices import PenaltyKind, penalty

if TYPE_CHECKING:
    from torch import Tensor


@penalty("frobenius")
class Frobenius(PenaltyKind):
    """||W||_F^2 / 2, torch's weight decay."""

    degree = 2
    quadratic = True

    def value(self, weights: "Tensor") -> "Tensor":
        return squared_rows(weights).sum(-1) / 2

    def slope(self, weights: "Tensor") -> float:
        return 1.0


@penalty("row_24")
class Row24(PenaltyKind):
    """||W||_{2,4}^4 = sum_i ||w_i||_2^4 (Section 2's row norm, w_i the i-th row: one neuron)."""

    degree = 4
    quadratic = False

    def value(self, weights: "Tensor") -> "Tensor":
        return squared_rows(weights).square().sum(-1)

    def slope(self, weights: "Tensor") -> "Tensor":
        return 4 * squared_rows(weights)


def squared_rows(weights: "Tensor") -> "Tensor":
    """Return the squared norms [E, rows] of the rows of weights [E, rows, columns] or [E, rows]."""
    squares = weights.square()
    return squares.sum(-1) if weights.dim() == 3 else squares
