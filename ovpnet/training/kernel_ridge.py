"""Kernel ridge regression: the minimum, in closed form, of what SGD minimizes when a linear learner is fitted to l2.

A linear learner is f(x) = f(x; start) + J(x) (theta - start), and its objective is

    (1/N) sum_i |f(x_i) - y_i|^2 + weight_decay sum_l s_l ||theta_l - start_l||_F^2 / 2

with a factor s_l for each trained matrix (`regularizer.weight_W` etc.). Here start = 0 if the regularizer is of the
weights, and the initialization if it is of the increments. With r_i = y_i - f(x_i; start) and the ridge rho = N
weight_decay / 2 it is least at

    theta_l - start_l = J_l^T alpha / s_l,    (K + rho I) alpha = r,    K = sum_l J_l J_l^T / s_l            (dual)
    theta - start = S^(-1/2) (Phi^T Phi + rho I)^(-1) Phi^T r,          Phi = J S^(-1/2)                   (primal)

The primal is taken if there are more samples than features. Both go through one eigendecomposition, in float64, that
serves every weight decay of the same training set and features.

With weight_decay = 0 the minimum need not be unique, and the one of least sum_l s_l ||theta_l - start_l||^2 is taken.
It is the limit of a vanishing weight decay, and (with s_l = 1) of gradient descent from `start`. Eigenvalues up to
max(samples, features) eps times the largest, eps = 2.2e-16, count as zero. For eigh finds them with an error of that
size, so one below it need not be there at all. Dividing by it would turn rounding into weights. A ridge that is large
against this cut-off keeps every direction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ovpnet.engine.steppers.dual import group_numbers
from ovpnet.engine.steps import State
from ovpnet.nets.base import Factors, Net, Weights, gram
from ovpnet.nets.regularization import layer_of
from ovpnet.spec.config import Config


@torch.no_grad()
def fit(net: Net, state: State, x: Tensor, y: Tensor, configs: Sequence[Config]) -> None:
    """Put the minimum into the weights of every member of a linear net. Raises TypeError for one that is not linear.

    x [E, N, d] and y [E, N, k] are the training sets, padded to the largest N, in float64. Of the configs (of one
    signature, as `config.check` wants them for algorithm=kernel_ridge) samples, weight_decay and the regularizer count.
    An infinitely wide net gets its training inputs and alpha.
    """
    linear = net.linear
    if linear is None:
        raise TypeError(f"{type(net).__name__} is not linear in what it trains: {', '.join(net.trained)}")
    layers, regularizer = configs[0].learner.trained_layers, configs[0].regularizer
    free = getattr(regularizer, layers[0]) == "none"
    # With no penalty, what gradient descent finds from the initialization.
    of_increments = free or regularizer.of == "increments"
    scales = [{layer: 1.0 if free else getattr(config.regularizer, f"weight_{layer}") for layer in layers}
              for config in configs]
    solutions: dict[int, Weights] = {}
    for members in _sharing(linear, state, x, scales):
        first = slice(members[0], members[0] + 1)
        n = configs[members[0]].samples
        weights = {name: value[first] for name, value in state.weights.items()}
        if not of_increments:
            weights |= {name: torch.zeros_like(weights[name]) for name in linear.trained}
        residuals = y[members, :n] - linear.output(weights, x[first, :n])
        ridges = [0.0 if free else n * configs[e].weight_decay / 2 for e in members]
        factors = linear.factors(weights, x[first, :n])
        if factors is None:
            system = _decompose(linear.kernel(weights, x[first, :n], x[first, :n])[0], n)
            room = (0, 0, 0, x.shape[1] - n)
            solutions |= {e: {"x": x[e], "alpha": torch.nn.functional.pad(system.solve(r, ridge), room)}
                          for e, r, ridge in zip(members, residuals, ridges, strict=True)}
            continue
        of_matrices = {name: scales[members[0]][layer_of(name)] for name in linear.trained}
        moves = _moves(factors, of_matrices, residuals, ridges)
        for e, move in zip(members, moves, strict=True):
            solutions[e] = {name: weights[name][0] + move[name].view_as(weights[name][0]) for name in move}
    for name in solutions[0]:
        state.weights[name] = torch.stack([solutions[e][name] for e in range(len(configs))])


def _sharing(net: Net, state: State, x: Tensor, scales: Sequence[dict[str, float]]) -> list[list[int]]:
    """Return the members in groups of one training set, features, start and scales."""
    frozen = [value for name, value in state.weights.items() if name not in net.trained]
    numbers = group_numbers([x, torch.tensor([list(each.values()) for each in scales]), *frozen,
                             *state.initial.values()])
    return [[e for e, number in enumerate(numbers) if number == group] for group in range(max(numbers) + 1)]


def _moves(factors: Factors, scales: dict[str, float], residuals: Tensor, ridges: Sequence[float]) -> list[Weights]:
    """Return theta - start of every trained matrix, flat, for each of the residuals [e, N, k] and ridges."""
    n = residuals.shape[1]
    matrices = {name: (outer[0], each[0]) for outer, inputs in factors for name, each in inputs.items()}
    sizes = {name: outer.shape[1] * inputs.shape[1] for name, (outer, inputs) in matrices.items()}
    features = sum(sizes.values())
    if n <= features:
        system = _decompose(gram(factors, factors, {name: 1 / scales[name] for name in matrices})[0], features)
        alphas = [system.solve(r, ridge) for r, ridge in zip(residuals, ridges, strict=True)]
        return [{name: ((alpha * outer).mT @ inputs / scales[name]).flatten()
                 for name, (outer, inputs) in matrices.items()} for alpha in alphas]
    roots = {name: scales[name]**-0.5 for name in matrices}
    phi = torch.cat([roots[name] * torch.einsum("ni,nj->nij", outer, inputs).flatten(1)
                     for name, (outer, inputs) in matrices.items()], 1)
    system = _decompose(phi.mT @ phi, n)
    moves = [system.solve(phi.mT @ r, ridge) for r, ridge in zip(residuals, ridges, strict=True)]
    return [{name: roots[name] * part.mT.flatten()
             for name, part in zip(sizes, move.split(list(sizes.values())), strict=True)} for move in moves]


@dataclass(frozen=True)
class _Spectrum:
    """Eigenvalues [n] and eigenvectors [n, n] of a positive semidefinite matrix, and what counts as zero."""

    values: Tensor
    vectors: Tensor
    cutoff: float

    def solve(self, right: Tensor, ridge: float) -> Tensor:
        """Return (matrix + ridge I)^(-1) right; with no ridge, the pseudo-inverse times right."""
        shifted = self.values + ridge
        kept = shifted > self.cutoff
        vectors = self.vectors[:, kept]
        return vectors @ ((vectors.mT @ right) / shifted[kept, None])


def _decompose(matrix: Tensor, other_size: int) -> _Spectrum:
    values, vectors = torch.linalg.eigh(matrix)
    size = max(len(matrix), other_size)
    return _Spectrum(values, vectors, size * torch.finfo(matrix.dtype).eps * values[-1].item())
