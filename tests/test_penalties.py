"""Penalties of a matrix against sums over its rows, and their slopes against autograd."""

import math

import pytest
import torch

from ovpnet.spec.choices import PENALTIES

# The independent references: every registered penalty has a row, R of one matrix as lists of numbers.
REFERENCES = {
    "frobenius": lambda rows: sum(each**2 for row in rows for each in row) / 2,
    "row_24": lambda rows: sum(math.hypot(*row) ** 4 for row in rows),
}
MATRICES = torch.randn(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", REFERENCES)
def test_values_agree_with_sums_over_rows(name):
    expected = [REFERENCES[name](matrix) for matrix in MATRICES.tolist()]
    torch.testing.assert_close(PENALTIES[name]().value(MATRICES), torch.tensor(expected, dtype=torch.float64))
    vectors = MATRICES[..., 0]
    expected = [REFERENCES[name]([[each] for each in vector]) for vector in vectors.tolist()]
    torch.testing.assert_close(PENALTIES[name]().value(vectors), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("weights", [MATRICES, MATRICES[..., 0]], ids=["matrices", "vectors"])
def test_slopes_times_weights_are_the_gradient(name, weights):
    kind, leaf = PENALTIES[name](), weights.clone().requires_grad_()
    kind.value(leaf).sum().backward()
    slope = kind.slope(weights)
    if isinstance(slope, torch.Tensor) and weights.dim() == 3:
        slope = slope[..., None]
    torch.testing.assert_close(slope * weights, leaf.grad)


@pytest.mark.parametrize("name", REFERENCES)
def test_the_degree_is_that_of_the_value(name):
    kind = PENALTIES[name]()
    torch.testing.assert_close(kind.value(3 * MATRICES), 3**kind.degree * kind.value(MATRICES))
    if kind.quadratic:
        torch.testing.assert_close(kind.value(MATRICES), MATRICES.square().sum((1, 2)) / 2)
