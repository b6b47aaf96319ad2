"""Independent references of the concepts: every registered one has a row in `REFERENCES`, which the tests run over.

Nothing here calls the code under test: formulas are plain loops over one x, for one output at a time.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from scipy.special import eval_hermitenorm

from ovpnet.spec.choices import CONCEPTS

D = 4
POLY = [0.5, 0.0, -2.0, 1.5]


@dataclass
class Reference:
    """A row: configs by their labels, F*(x) of lists of numbers, and the set that weights are drawn from."""

    configs: dict[str, dict]
    # formula(config, w, x) -> F*(x) [k], with w the weights as nested lists, and x as a list.
    formula: Callable
    in_class: bool
    # Whether F* is smooth in its weights.
    smooth: bool = True
    # The sets of the weights by their names: each asserts of a tensor with leading batch axes. No weights: none.
    sets: dict[str, Callable] = field(default_factory=dict)


def unit_rows(config, value):
    torch.testing.assert_close(value.norm(dim=-1), torch.ones_like(value[..., 0]), rtol=0, atol=1e-14)


def orthonormal_rows(config, value):
    gram = value @ value.mT
    torch.testing.assert_close(gram, torch.eye(gram.shape[-1], dtype=gram.dtype).expand(gram.shape), rtol=0, atol=1e-14)


def bounded(config, value):
    assert value.abs().max() <= 1


def second_factor(config, value):
    unit_rows(config, value)
    if config.plain:
        assert torch.equal(value[..., -1], torch.ones_like(value[..., -1]))


def mask(config, value):
    assert torch.equal((value == 1).sum(-1), torch.full(value.shape[:-1], config.sparsity))
    assert torch.equal((value == 0).sum(-1), torch.full(value.shape[:-1], D - config.sparsity))


def dot(u, x):
    return sum(a * b for a, b in zip(u, x, strict=True))


def phi(name, c, z):
    functions = {"sin": math.sin, "cos": math.cos, "exp": math.exp, "tanh": math.tanh, "erf": math.erf,
                 "sigmoid": lambda u: 1 / (1 + math.exp(-u)),
                 "poly": lambda u: sum(coefficient * u**i for i, coefficient in enumerate(POLY))}
    return functions[name](c * z)


def cycled(names, scales, i, z):
    return phi(names[i % len(names)], scales[i % len(scales)], z)


def two_layer(config, w, x):
    return [sum(w["a"][r][i] * cycled(config.activations, config.scales, i, dot(w["w1"][i], x)) * dot(w["w2"][i], x)
                for i in range(config.p)) for r in range(config.k)]


def three_layer(config, w, x):
    one = [cycled(config.phi1, config.phi1_scales, j, dot(w["w1"][j], x)) for j in range(config.p2)]
    two = [cycled(config.phi2, config.phi2_scales, j, dot(w["w2"][j], x)) for j in range(config.p2)]
    if config.general:
        one = [one[j] * dot(w["w3"][j], x) for j in range(config.p2)]
        two = [two[j] * dot(w["w4"][j], x) for j in range(config.p2)]
    out = []
    for r in range(config.k):
        total = 0.0
        for i in range(config.p1):
            inner = sum(w["v1"][i][j] * one[j] for j in range(config.p2))
            factor = sum(w["v2"][i][j] * two[j] for j in range(config.p2))
            total += w["a"][r][i] * cycled(config.outer, config.outer_scales, i, inner) * factor
        out.append(total)
    return out


def figure1(config, w, x):
    return [(math.sin(3 * x[0]) + math.sin(3 * x[1]) + math.sin(3 * x[2]) - 2) ** 2 * math.cos(7 * x[3])]


def figure2(config, w, x):
    return [(math.tanh(8 * x[0]) + math.tanh(8 * x[1]) + math.tanh(8 * x[2]) - 2) ** 2 * math.tanh(8 * x[3])]


def cos_exp(config, w, x):
    return [math.cos(config.c * dot(w["w1"], x)) * math.exp(config.c * dot(w["w2"], x))]


def relu_teacher(config, w, x):
    return [sum(w["a"][r][i] * max(dot(w["w"][i], x), 0.0) for i in range(config.p)) for r in range(config.k)]


def parity(config, w, x):
    return [math.prod(1.0 if x[i] >= 0 else -1.0 for i in range(D) if w["mask"][i] == 1)]


def random_labels(config, w, x):
    return [0.0] * config.k


def hermite(config, w, x):
    scale = math.sqrt(len(x)) if config.scale is None else config.scale
    out = []
    for r in range(config.k):
        total = 0.0
        for t, degrees in enumerate(config.degrees):
            term = config.coefficients[t % len(config.coefficients)]
            for i, j in enumerate(degrees):
                term *= eval_hermitenorm(j, scale * dot(w["u"][r][i], x)) / math.sqrt(math.factorial(j))
            total += term
        out.append(total)
    return out


REFERENCES = {
    "two_layer": Reference(
        {"two_layer": {"k": 2, "p": 5, "activations": ["sin", "tanh", "poly"], "scales": [1.0, 2.0], "poly": POLY},
         "plain": {"k": 1, "p": 3, "plain": True}},
        two_layer, in_class=True, sets={"a": bounded, "w1": unit_rows, "w2": second_factor}),
    "three_layer": Reference(
        {"three_layer": {"k": 2, "p1": 3, "p2": 4, "outer": ["cos", "exp"], "phi1": ["sin", "erf"],
                         "phi1_scales": [3.0], "phi2": ["sigmoid", "poly"], "poly": POLY},
         "general": {"k": 2, "p1": 2, "p2": 3, "general": True, "outer": ["poly"], "poly": POLY}},
        three_layer, in_class=True,
        sets={"a": bounded, **dict.fromkeys(("v1", "v2", "w1", "w2", "w3", "w4"), unit_rows)}),
    "figure1": Reference({"figure1": {}}, figure1, in_class=True),
    "figure2": Reference({"figure2": {}}, figure2, in_class=True),
    "cos_exp": Reference({"cos_exp": {"c": 2.0}}, cos_exp, in_class=True, sets={"w1": unit_rows, "w2": unit_rows}),
    "relu_teacher": Reference({"relu_teacher": {"k": 3, "p": 5}}, relu_teacher, in_class=False,
                              sets={"a": bounded, "w": unit_rows}),
    "parity": Reference({"parity": {"sparsity": 3}}, parity, in_class=False, smooth=False, sets={"mask": mask}),
    "random_labels": Reference({"random_labels": {"k": 2}}, random_labels, in_class=True),
    "hermite": Reference(
        {"single_index": {"k": 2, "degrees": [[0], [2], [5]], "coefficients": [0.5, 1.0, -0.3]},
         "staircase": {"k": 2, "degrees": [[1], [1, 1], [1, 1, 1]]},
         "multi_index": {"degrees": [[2, 0, 1], [0, 3], [3], [2, 0, 1]], "coefficients": [0.7, -0.4], "scale": 1.5}},
        hermite, in_class=True, sets={"u": orthonormal_rows}),
}

CONFIGS = {label: CONCEPTS[family](**keys) for family, row in REFERENCES.items() for label, keys in row.configs.items()}
