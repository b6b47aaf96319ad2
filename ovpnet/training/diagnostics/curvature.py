"""Extreme eigenvalues of a Hessian that is known by its products with vectors, by Lanczos iteration.

SciPy's `eigsh` (ARPACK) fits: it restarts, keeps few vectors and is a dependency already. curvlinops does not: its
Hessians are autograd's, and autograd's Hessian of a ReLU net leaves out the kinks. Given products of our own, it would
only wrap them for the same `eigsh`.
"""

import math

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from ovpnet.nets.base import Weights
from ovpnet.training.diagnostics.smoothed import Product

# An eigenvalue is found when its residual is at most this fraction of the spectrum's width: its error is no larger.
TOLERANCE = 1e-3
_RESTARTS = 20


def extremes(product: Product, like: Weights, first: np.ndarray, vectors: int) -> tuple[float, float, Weights]:
    """Return the smallest and largest eigenvalue, and the smallest one's eigenvector of norm 1.

    `like` has the tensors' shapes, dtype and device; `first` is the starting vector; `vectors` are kept at most. All
    are nan if Lanczos does not converge.
    """
    size = sum(value.numel() for value in like.values())

    def times(vector: np.ndarray) -> np.ndarray:
        return _flat(product(_shaped(vector, like)))

    if size <= vectors + 1:
        dense = np.stack([times(row) for row in np.eye(size)])
        values, columns = np.linalg.eigh((dense + dense.T) / 2)
        return values[0], values[-1], _shaped(columns[:, 0], like)
    options = {"k": 1, "v0": first, "ncv": vectors, "maxiter": _RESTARTS, "tol": TOLERANCE}
    try:
        operator = LinearOperator((size, size), times, dtype=np.float64)
        largest = eigsh(operator, which="LA", return_eigenvectors=False, **options)[0]
        # ARPACK's tolerance is relative to the eigenvalue; after the shift that is the width of the spectrum.
        shifted = LinearOperator((size, size), lambda v: times(v) - largest * v.ravel(), dtype=np.float64)
        values, columns = eigsh(shifted, which="SA", **options)
    except ArpackNoConvergence:
        return math.nan, math.nan, {name: torch.full_like(value, torch.nan) for name, value in like.items()}
    return values[0] + largest, largest, _shaped(columns[:, 0], like)


def along(product: Product, direction: Weights) -> float:
    """Return the curvature v^T H v of a direction of norm 1."""
    moved = product(direction)
    return sum((direction[name].double() * moved[name].double()).sum().item() for name in direction)


def _flat(weights: Weights) -> np.ndarray:
    return torch.cat([value.flatten() for value in weights.values()]).double().cpu().numpy()


def _shaped(vector: np.ndarray, like: Weights) -> Weights:
    parts = torch.from_numpy(np.ascontiguousarray(vector).ravel()).split([value.numel() for value in like.values()])
    return {name: part.view_as(value).to(value) for part, (name, value) in zip(parts, like.items(), strict=True)}
