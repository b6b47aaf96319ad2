"""How far the net is from its approximations at initialization (Sections 6.2, 6.3) along training.

With D_w, D_v the signs at initialization, the increments W' = W - W0 and V' = V - V0 and (where they are trained) the
current a, b1 and b2:

    quadratic:  a D_v (V D_w (W x + b1) + b2)
    linear:     a D_v (V0 D_w (W x + b1) + V' D_w (W0 x + b1_0) + b2)

Two layers have one and the same, a D_w (W x + b). They are the learners `quadratic` and `ntk` at the current weights.
"""

import torch
from torch import Tensor

from ovpnet.nets.base import Factors, Net, Weights, gram, initial
from ovpnet.nets.three_layer import FrozenThreeLayerNet
from ovpnet.nets.two_layer import FrozenTwoLayerNet
from ovpnet.training.diagnostics.net import pre_activations


def gaps(learner: Net, weights: Weights, start: Weights, now: Weights, x: Tensor) -> dict[str, Tensor]:
    """[E] each: `gap_quadratic`, `gap_linear`, the root mean square over x [E, n, d] and outputs of f - quadratic and
    f - linear, and both `_relative` to that of f - f_0, the change since initialization.

    f is the learner's own function of `weights`; `start` and `now` are the plain net then and now.
    """
    f = learner.output(weights, x)
    frozen = now | {initial(name): value for name, value in start.items()}
    names = {"gap_linear": "ntk", "gap_quadratic": "quadratic"}
    models = {name: (FrozenThreeLayerNet(trained) if "V" in now else FrozenTwoLayerNet()).output(frozen, x)
              for name, trained in names.items()}
    change = _root_mean_square(f - pre_activations(start, x)[-1].relu() @ start["a"].mT)
    measured = {name: _root_mean_square(f - model) for name, model in models.items()}
    return measured | {f"{name}_relative": value / change for name, value in measured.items()}


def ntk_drift(start: Weights, now: Weights, x: Tensor, frozen_signs: bool) -> dict[str, Tensor]:
    """`ntk_drift` [E]: ||K - K0||_F / ||K0||_F of the Gram matrices K of f's gradients in W and V at x [E, n, d], now
    and at initialization; of several outputs, of each one's own gradients together.

    f is the plain net, or with `frozen_signs` (at initialization) its quadratic approximation.
    """
    change = size = torch.zeros((), dtype=x.dtype, device=x.device)
    signs = _signs(start, x)
    for r in range(now["a"].shape[1]):
        before = _kernel(start, signs, r, x)
        after = _kernel(now, signs if frozen_signs else _signs(now, x), r, x)
        change = change + (after - before).square().sum((1, 2))
        size = size + before.square().sum((1, 2))
    return {"ntk_drift": (change / size).sqrt()}


def _signs(net: Weights, x: Tensor) -> list[Tensor]:
    return [z >= 0 for z in pre_activations(net, x)]


def _kernel(net: Weights, signs: list[Tensor], r: int, x: Tensor) -> Tensor:
    """Gram matrix [E, n, n] of the gradients of f_r = a_r D_v (V D_w (W x + b1) + b2), or a_r D_w (W x + b)."""
    a = net["a"][:, r:r + 1]
    if "V" not in net:
        factors: Factors = [(signs[0] * a, {"W": x})]
    else:
        g_v = signs[1] * a
        first = torch.baddbmm(net["b1"].unsqueeze(1), x, net["W"].mT) * signs[0]
        factors = [((g_v @ net["V"]) * signs[0], {"W": x}), (g_v, {"V": first})]
    return gram(factors, factors)


def _root_mean_square(values: Tensor) -> Tensor:
    return values.square().mean((1, 2)).sqrt()
