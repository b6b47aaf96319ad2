"""Regularizers R(W) of a batch of matrices W [E, rows, columns], as the gradient that is added to the loss's."""

from collections.abc import Callable

from torch import Tensor


def _frobenius_gradient(weights: Tensor) -> Tensor:
    """Gradient of ||W||_F^2 / 2: torch's weight decay."""
    return weights


def _row_24_gradient(weights: Tensor) -> Tensor:
    """Gradient of ||W||_{2,4}^4 = sum_i ||w_i||_2^4 (Section 2's row norm, w_i the i-th row): 4 ||w_i||^2 w_i."""
    return 4 * weights.square().sum(-1, keepdim=True) * weights


GRADIENTS: dict[str, Callable[[Tensor], Tensor] | None] = {
    "none": None,
    "frobenius": _frobenius_gradient,
    "row_24": _row_24_gradient,
}
