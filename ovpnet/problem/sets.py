"""Sets of unit and orthogonal vectors, which weights and inputs are drawn from and projected onto.

Vectors are the last axis of a tensor; all other axes are batch axes.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Weights = dict[str, Tensor]  # of a target function, float64


def sphere_rows(rng: np.random.Generator, n: int, d: int) -> Floats:
    """Return rows uniform on the unit sphere of R^d."""
    return normalized(rng.standard_normal((n, d)))


def normalized(rows: Floats) -> Floats:
    """Return the rows divided by their norms."""
    unit_rows: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit_rows


def draw_unit(rng: np.random.Generator, *shape: int) -> Tensor:
    """Return vectors uniform on the unit sphere of R^shape[-1]."""
    return unit(torch.from_numpy(rng.standard_normal(shape)))


def draw_outer(rng: np.random.Generator, *shape: int) -> Tensor:
    """Return output weights a*_{r,i}, uniform on [-1, 1]: the paper only asks for |a*| <= 1."""
    return torch.from_numpy(rng.uniform(-1.0, 1.0, shape))


def unit(vectors: Tensor) -> Tensor:
    """Return the nearest unit vectors; of a zero vector, to which all are equally near, the last basis vector."""
    norms = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return torch.where(norms > 0, vectors / torch.where(norms > 0, norms, 1.0), last_basis_vector(vectors))


def orthogonal_unit(vectors: Tensor, to: Tensor) -> Tensor:
    """Return unit vectors orthogonal to the unit vectors `to` (same shape), nearest to the directions of `vectors`.

    A vector parallel to its `to` has no nearest one: the basis vector least aligned with `to` stands in for it.
    """
    directions = unit(vectors)
    residual = _without(directions, to)
    parallel = torch.linalg.vector_norm(residual, dim=-1, keepdim=True) < 1e-8
    stand_in = torch.zeros_like(to).scatter(-1, to.abs().argmin(dim=-1, keepdim=True), 1.0)
    # The component is removed twice: if little is left after the first time, rounding has brought some of it back.
    return unit(_without(unit(torch.where(parallel, _without(stand_in, to), residual)), to))


def orthonormal(frames: Tensor) -> Tensor:
    """Return the nearest orthonormal rows [..., r, d], r <= d: the polar factor, uniform for Gaussian entries."""
    left, _, right = torch.linalg.svd(frames, full_matrices=False)
    return left @ right


def last_basis_vector(like: Tensor) -> Tensor:
    """Return (0, ..., 0, 1) in the shape of `like`."""
    basis = torch.zeros_like(like)
    basis[..., -1] = 1.0
    return basis


def _without(vectors: Tensor, direction: Tensor) -> Tensor:
    return vectors - (vectors * direction).sum(dim=-1, keepdim=True) * direction
