"""Kernels of the learners at infinite width, in closed form (Cho and Saul's arc-cosine kernels).

At the paper's initialization every row of W with its bias is Gaussian with variance 1/m. So the bias is one more input
coordinate of value 1. The first layer's pre-activations at x and x' are then jointly Gaussian with covariance
(<x, x'> + 1) / m. And <relu(W x + b), relu(W x' + b)>, a sum of m terms, converges to Q = relu_mean(<x, x'> + 1).
Likewise V and b2 make the second layer's pre-activations Gaussian with covariance (Q + 1) / m.

The conjugate kernel, the Gram matrix of the gradients in `a`, converges as it is. The NTK is that of the gradients in W
(two layers) or in W and V (three layers), with or without the hidden biases. It grows like m: `tangent_kernel` is the
limit of NTK / m.

Shapes: x [..., n, d], x2 [..., n2, d] -> [..., n, n2]; leading axes broadcast.
"""

import math

import torch
from torch import Tensor


def conjugate_kernel(layers: int, x: Tensor, x2: Tensor) -> Tensor:
    """Return lim <h(x), h(x')>, h the last hidden activations of a net of `layers` (2 or 3) layers: its NNGP kernel."""
    covariance = _covariance(x, x2)
    for _ in range(layers - 2):
        covariance = _next_layer(covariance)
    return relu_mean(*covariance)


def tangent_kernel(layers: int, x: Tensor, x2: Tensor, a_std: float | Tensor = 1.0, biases: bool = False) -> Tensor:
    """Return lim NTK / m, with a_std (broadcast to the kernel) the standard deviation of the output weights.

    Two layers: a_std^2 <x, x'> S, with S = step_mean(<x, x'> + 1) the share of neurons that are active at both.
    Three layers: a_std^2 step_mean(Q + 1) (Q + <x, x'> S). The gradients in V give Q, those in W give <x, x'> S, and
    both pass the second layer's ReLU. Trained `biases` add 1, their input, to <x, x'> and to Q.
    """
    covariance = _covariance(x, x2)
    kernel = (x @ x2.mT + biases) * step_mean(*covariance)
    if layers == 3:
        kernel = step_mean(*_next_layer(covariance)) * (relu_mean(*covariance) + biases + kernel)
    return a_std**2 * kernel


def relu_mean(product: Tensor, square: Tensor, square2: Tensor) -> Tensor:
    """Return E[relu(u) relu(v)] of Gaussians with E[uv] = product, E[u^2] = square > 0, E[v^2] = square2 > 0.

    It is sqrt(E[u^2] E[v^2]) (sin t + (pi - t) cos t) / (2 pi), t the angle whose cosine is their correlation.
    """
    scale = (square * square2).sqrt()
    cosine = _cosine(product, scale)
    angle = cosine.arccos()
    return scale * ((1 - cosine.square()).sqrt() + (math.pi - angle) * cosine) / (2 * math.pi)


def step_mean(product: Tensor, square: Tensor, square2: Tensor) -> Tensor:
    """Return E[1[u >= 0] 1[v >= 0]] = (pi - t) / (2 pi) of the same Gaussians: the kernel of ReLU's derivative."""
    return (math.pi - _cosine(product, (square * square2).sqrt()).arccos()) / (2 * math.pi)


def _covariance(x: Tensor, x2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return m times the first layer's covariance: of x and x2 [..., n, n2], of x [..., n, 1], of x2 [..., 1, n2]."""
    return (x @ x2.mT + 1, x.square().sum(-1).unsqueeze(-1) + 1, x2.square().sum(-1).unsqueeze(-2) + 1)


def _next_layer(covariance: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return m times the covariance of the layer above one of this covariance; E[relu(u)^2] = E[u^2] / 2."""
    _, square, square2 = covariance
    return relu_mean(*covariance) + 1, square / 2 + 1, square2 / 2 + 1


def _cosine(product: Tensor, scale: Tensor) -> Tensor:
    """Return the correlation: 1 if rounding alone keeps it from 1, since arccos would blow 1e-16 up to 1e-8."""
    cosine = product / scale
    return torch.where(cosine > 1 - 8 * torch.finfo(cosine.dtype).eps, 1.0, cosine.clamp(min=-1.0))
