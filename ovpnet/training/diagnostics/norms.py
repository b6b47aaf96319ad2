"""Norms of the increments W' = W - W0 and V' = V - V0, and Figure 3's norm ratio."""

import torch
from torch import Tensor

from ovpnet.nets.base import Weights


def norms(start: Weights, now: Weights) -> dict[str, Tensor]:
    """Return the norms [E] of W' and V': `norm_W`, `norm_V` (Frobenius), `spectral_W`, `spectral_V`.

    Further `norm_W_24`, ||W'||_{2,4}, and `norm_ratio`, of the whole W. A member with a weight that is no finite number
    has nan.
    """
    measured: dict[str, Tensor] = {}
    for name in ("W", "V"):
        if name in now:
            increment = now[name] - start[name]
            measured |= {f"norm_{name}": torch.linalg.matrix_norm(increment), f"spectral_{name}": spectral(increment)}
    return measured | {"norm_W_24": norm_24(now["W"] - start["W"]), "norm_ratio": norm_ratio(now["W"])}


def norm_24(matrix: Tensor) -> Tensor:
    """Return ||W||_{2,4} = (sum_i ||w_i||_2^4)^(1/4) [E] of [E, m, d], w_i the i-th row (Section 2)."""
    return matrix.square().sum(-1).square().sum(-1) ** 0.25


def norm_ratio(matrix: Tensor) -> Tensor:
    """Return ||W||_{2,4}^4 m / ||W||_F^4 [E] of [E, m, d], in [1, m] (Figure 3).

    It is 1 if all rows are of one length, and m if one row has it all.
    """
    rows = matrix.square().sum(-1)
    return matrix.shape[1] * rows.square().sum(-1) / rows.sum(-1).square()


def spectral(matrix: Tensor) -> Tensor:
    """Return the largest singular value [E]."""
    # LAPACK refuses a whole batch for one member with an inf or nan.
    finite = matrix.isfinite().flatten(1).all(1)
    values = torch.linalg.matrix_norm(torch.where(finite[:, None, None], matrix, 0.0), ord=2)
    return torch.where(finite, values, torch.nan)
