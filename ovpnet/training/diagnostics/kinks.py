"""The part of the smoothed objective's Hessian that lies in the kinks of ReLU.

At a neuron's kink z = 0 the gradient of the loss jumps by (dL/dh) grad z, h = relu(z). So the Hessian of the loss has
the term delta(z) (dL/dh) grad z grad z^T there, which almost no draw of the noise meets. The neuron's own noise is
Gaussian, so its expectation is taken exactly: of z = z0 + N(0, s^2), with s = sigma_w ||x|| or sigma_v ||h||,

    E[delta(z) G] = density of z at 0  x  E[G | z = 0],

with G = (dL/dh) grad z grad z^T at the net whose neuron sits at its kink (with h = 0). G is averaged over the draws of
all other noise: of the neuron's own row only the part along its input is fixed by z = 0.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ovpnet.nets.base import Weights
from ovpnet.spec.choices import Loss

# Entries of the nets with one neuron at its kink that are computed at a time.
_ENTRIES = 1 << 22
# A neuron this many standard deviations from its kink is left out: the density there is below 2e-8 of its peak.
_REACH = 6.0


def kinks(loss: Loss, mean: Weights, drawn: Weights, deviations: dict[str, float], x: Tensor,
          y: Tensor) -> Callable[[Weights], Weights]:
    """Return the map from directions of the drawn weights to this part's products, [S, ...] each.

    Their sum over the draws is the expectation. `mean` [1 or S, ...] are the weights without the noise, `drawn` [S,
    ...] with that of standard `deviations` in W and V. x [1, N, d] and y [1, N, k] are the training set.
    """
    bias = "b1" if "V" in drawn else "b"
    z = _affine(drawn["W"], drawn[bias], x)
    density = _density(_affine(mean["W"], mean[bias], x), deviations["W"] * x.norm(dim=-1, keepdim=True))
    S, N = z.shape[:2]
    if "V" not in drawn:
        weight = density * _slopes(loss, z, drawn["a"], y) / (S * N)

        def of_two_layers(direction: Weights) -> Weights:
            return _rows(weight * _move(direction, "W", "b", x), x, "W", "b")

        return of_two_layers

    h, active = z.relu(), z >= 0
    z2 = _affine(drawn["V"], drawn["b2"], h)
    square = h.square().sum(-1, keepdim=True)
    density2 = _density(_affine(mean["V"], mean["b2"], h), deviations["V"] * square.sqrt())
    weight = _first_layer(loss, density.expand_as(z), z2, h, drawn, y[0]) / (S * N)
    weight2 = density2 * _slopes(loss, z2, drawn["a"], y) / (S * N)
    # V with its component along h such that z2 = 0 is V - along h^T.
    along = torch.where(square > 0, z2 / square, 0.0)

    def of_three_layers(direction: Weights) -> Weights:
        first = _move(direction, "W", "b1", x)
        u = first * active
        second = _move(direction, "V", "b2", h) + u @ drawn["V"].mT - along * (u * h).sum(-1, keepdim=True)
        jumps2 = weight2 * second
        back = jumps2 @ drawn["V"] - h * (jumps2 * along).sum(-1, keepdim=True)
        return _rows(weight * first + back * active, x, "W", "b1") | _rows(jumps2, h, "V", "b2")

    return of_three_layers


def _affine(weights: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return x @ weights.mT + bias.unsqueeze(1)


def _density(center: Tensor, deviation: Tensor) -> Tensor:
    """Return the density of N(center, deviation^2) at 0; 0 if nothing is random."""
    ratio = center / deviation
    density = (-ratio.square() / 2).exp() / (math.sqrt(2 * math.pi) * deviation)
    return torch.where((deviation > 0) & (ratio.abs() < _REACH), density, 0.0)


def _slopes(loss: Loss, z: Tensor, a: Tensor, y: Tensor) -> Tensor:
    """Return dL/dh_i [S, N, m] of the last hidden layer with neuron i at its kink, for pre-activations z [S, N, m]."""
    h = z.relu()
    output = h @ a.mT
    total = torch.zeros_like(z)
    block = max(1, _ENTRIES // (z[:, 0].numel() * a.shape[1]))
    for n in range(0, z.shape[1], block):
        without = output[:, n:n + block, None] - h[:, n:n + block, :, None] * a.mT[:, None]  # [S, n, m, k]
        slope = loss.gradient(without, y[:, n:n + block, None])
        total[:, n:n + block] = (slope * a.mT[:, None]).sum(-1)
    return total


def _first_layer(loss: Loss, density: Tensor, z2: Tensor, h: Tensor, drawn: Weights, y: Tensor) -> Tensor:
    """Return the density [S, N, m] of the first layer times dL/dh_j with neuron j at its kink."""
    total, V, a = torch.zeros_like(density), drawn["V"].mT, drawn["a"][0]  # which has no noise
    near = density.nonzero()
    for block in near.split(max(1, _ENTRIES // V.shape[-1])):
        s, n, j = block.unbind(1)
        column = V[s, j]
        at_kink = z2[s, n] - h[s, n, j, None] * column
        slope = loss.gradient(at_kink.relu() @ a.mT, y[n]) @ a
        total[s, n, j] = density[s, n, j] * (slope * (at_kink >= 0) * column).sum(-1)
    return total


def _move(direction: Weights, matrix: str, bias: str, inputs: Tensor) -> Tensor:
    """Return the movement [S, N, m] of pre-activations with a direction, in which the bias may be missing."""
    moved = inputs @ direction[matrix].mT
    return moved + direction[bias].unsqueeze(1) if bias in direction else moved


def _rows(gradient: Tensor, inputs: Tensor, matrix: str, bias: str) -> Weights:
    """Return the gradients in a matrix and its bias from those in its pre-activations."""
    return {matrix: gradient.mT @ inputs, bias: gradient.sum(1)}
