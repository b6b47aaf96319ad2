import numpy as np
import pytest
import torch

from ovpnet.nets.base import gaussian, initial
from ovpnet.nets.three_layer import ThreeLayerNet
from ovpnet.nets.two_layer import TwoLayerNet
from ovpnet.spec.choices import LEARNERS, LOSSES

MEMBERS, N, M, D = 3, 7, 11, 5
# A second hidden layer that is narrower or wider than the first, or as wide.
WIDTHS = [("two_layer", None), ("three_layer", None), ("three_layer", 4), ("three_layer", 17)]


def build(name, trained, k, dtype=torch.float64, m2=None):
    trained, _, biases = trained.partition("+")
    net = LEARNERS[name](trained=trained, biases=bool(biases)).net()
    rng = np.random.default_rng(0)
    members = [net.init(rng, M, D, k, 1.0, m2) for _ in range(MEMBERS)]
    weights = {key: torch.stack([member[key] for member in members]).to(dtype) for key in members[0]}
    for key in net.trained:  # away from the initialization
        weights[key] = weights[key] + 0.2 * gaussian(rng, 1, *weights[key].shape)
    return net, weights


def problem(loss, k):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(MEMBERS, N, D, generator=generator, dtype=torch.float64)
    y = torch.randn(MEMBERS, N, k, generator=generator, dtype=torch.float64)
    if loss == "logistic":
        y = y.sign()
    if loss == "cross_entropy":
        y = torch.nn.functional.one_hot(y.argmax(-1), k).double()
    return x, y


def formula(name, trained, weights, x):
    """The networks of (3.2), Section 4 and 6.2, one member and one sample at a time, with no line of the learners'."""
    outputs = []
    for e in range(len(x)):
        w = {key: value[e] for key, value in weights.items()}
        of = FORMULAS[name, trained.removesuffix("+biases")]
        outputs.append([of(w, each) for each in x[e]])
    return torch.stack([torch.stack(rows) for rows in outputs])


def frozen(w, x):
    """The net with frozen signs (6.2): D_w and D_v as diagonal matrices."""
    D_w = torch.diag((w["W0"] @ x + w["b1_0"] >= 0).double())
    D_v = torch.diag((w["V0"] @ D_w @ (w["W0"] @ x + w["b1_0"]) + w["b2_0"] >= 0).double())
    return w["a"] @ D_v @ (w["V"] @ D_w @ (w["W"] @ x + w["b1"]) + w["b2"])


def frozen_two(w, x):
    return w["a"] @ torch.diag((w["W0"] @ x + w["b0"] >= 0).double()) @ (w["W"] @ x + w["b"])


def three(w, x):
    return w["a"] @ torch.relu(w["V"] @ torch.relu(w["W"] @ x + w["b1"]) + w["b2"])


def linearized(w, x):
    """f + <grad f, increments of W, V, b1, b2>, by torch.func at the initialization."""
    start = {"W": w["W0"], "V": w["V0"], "b1": w["b1_0"], "b2": w["b2_0"]}
    value, change = torch.func.jvp(lambda leaves: three(w | leaves, x), (start,),
                                   ({key: w[key] - value for key, value in start.items()},))
    return value + change


def two(w, x):
    return w["a"] @ torch.relu(w["W"] @ x + w["b"])


FORMULAS = {
    ("two_layer", "hidden"): two, ("two_layer", "last"): two, ("two_layer", "all"): two,
    ("two_layer", "ntk"): frozen_two, ("two_layer", "quadratic"): frozen_two,
    ("three_layer", "hidden"): three, ("three_layer", "last"): three, ("three_layer", "all"): three,
    ("three_layer", "ntk"): linearized, ("three_layer", "quadratic"): frozen,
}
CASES = [(name, trained + biases, loss) for name, trained in FORMULAS
         for biases in ("", "+biases") if not biases or trained in ("hidden", "ntk", "quadratic")
         for loss in LOSSES.names()]
# The learners that have an independent reference: a formula above, or as limits the finite nets of test_kernels.py.
REFERENCES = {*(name for name, _ in FORMULAS), "two_layer_limit", "three_layer_limit"}


@pytest.mark.parametrize(("name", "trained", "loss", "m2"), [
    *((*case, None) for case in CASES),
    *((*case, m2) for case in CASES for m2 in (4, 17) if case[0] == "three_layer" and case[2] == "l2")])
def test_outputs_and_gradients_equal_autograd_in_float64(name, trained, loss, m2):
    k = 1 if loss == "logistic" else 3
    net, weights = build(name, trained, k, m2=m2)
    x, y = problem(loss, k)
    leaves = {key: value.clone().requires_grad_() for key, value in weights.items()}
    expected = formula(name, trained, leaves, x)
    LOSSES[loss]().value(expected, y).sum().backward()
    output, pullback = net.output_and_gradient(weights, x)
    torch.testing.assert_close(output, expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(net.output(weights, x), expected.detach(), rtol=1e-12, atol=1e-12)
    gradients = pullback(LOSSES[loss]().gradient(output, y))
    assert set(gradients) == set(net.trained)
    for key, gradient in gradients.items():
        torch.testing.assert_close(gradient, leaves[key].grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "trained", "loss"), CASES)
def test_gradients_equal_finite_differences(name, trained, loss):
    k = 1 if loss == "logistic" else 3
    net, weights = build(name, trained, k)
    x, y = problem(loss, k)
    output, pullback = net.output_and_gradient(weights, x)
    gradients = pullback(LOSSES[loss]().gradient(output, y))
    for key in net.trained:
        direction = torch.randn(weights[key].shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        sides = [LOSSES[loss]().value(net.output(weights | {key: weights[key] + h * direction}, x), y).sum(-1)
                 for h in (1e-6, -1e-6)]
        slope = (sides[0] - sides[1]) / 2e-6
        torch.testing.assert_close(slope, (gradients[key] * direction).flatten(1).sum(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("net", [TwoLayerNet("hidden"), ThreeLayerNet("hidden")])
def test_relu_has_slope_one_at_zero(net):
    """The paper's convention 1[z >= 0]; torch's own is 0."""
    weights = {key: torch.zeros(1, *shape, dtype=torch.float64) for key, shape in
               {"W": (2, 3), "b": (2,), "b1": (2,), "V": (2, 2), "b2": (2,)}.items()}
    weights["a"] = torch.ones(1, 1, 2, dtype=torch.float64)
    weights["V"] += torch.eye(2, dtype=torch.float64)
    x = torch.tensor([[[1.0, 2.0, 3.0]]], dtype=torch.float64)
    _, pullback = net.output_and_gradient(weights, x)
    expected = torch.tensor([[[1.0, 2.0, 3.0]] * 2], dtype=torch.float64)
    torch.testing.assert_close(pullback(torch.ones(1, 1, 1, dtype=torch.float64))["W"], expected)


@pytest.mark.parametrize("net", [TwoLayerNet("hidden"), ThreeLayerNet("hidden")])
def test_initialization_has_the_papers_variances(net):
    m, d, k, a_std = 400, 6, 50, 0.3
    weights = net.init(np.random.default_rng(5), m, d, k, a_std)
    for key, value in weights.items():
        variance = a_std**2 if key == "a" else 1 / m
        n = value.numel()
        # mean and variance of n Gaussians, within five of their standard errors
        assert abs(value.mean().item()) < 5 * (variance / n) ** 0.5, key
        assert abs(value.var().item() / variance - 1) < 5 * (2 / n) ** 0.5, key
    flat = torch.cat([value.flatten() for value in weights.values()])
    assert len(flat.unique()) == len(flat)


@pytest.mark.parametrize("trained", ["last", "ntk", "ntk+biases"])
@pytest.mark.parametrize(("name", "m2"), WIDTHS)
def test_kernels_equal_gram_matrices_of_torch_func_jacobians(name, m2, trained):
    net, weights = build(name, trained, 1, m2=m2)
    draw = torch.Generator().manual_seed(0)
    x, x2 = (torch.randn(MEMBERS, n, D, generator=draw, dtype=torch.float64) for n in (4, 6))
    found = net.kernel(weights, x, x2)
    assert net.linear is net
    for e in range(MEMBERS):
        w = {key: value[e] for key, value in weights.items()}
        # Of the net itself, at the initialization: the linearization has the same gradients.
        start = {key: w.get(initial(key), w[key]) for key in net.trained}
        frozen_biases = {key[:-2 if "_" in key else -1]: w[key] for key in ("b0", "b1_0", "b2_0") if key in w}
        w, net_formula = w | frozen_biases, FORMULAS[name, "hidden"]

        def gradients(points, start=start, w=w, net_formula=net_formula):
            rows = [torch.func.jacrev(lambda leaves, each=each: net_formula(w | leaves, each)[0])(start)
                    for each in points]
            return torch.stack([torch.cat([row[key].flatten() for key in start]) for row in rows])

        torch.testing.assert_close(found[e], gradients(x[e]) @ gradients(x2[e]).T, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("trained", ["hidden", "last", "ntk", "quadratic", "all"])
@pytest.mark.parametrize("name", LEARNERS.names())
def test_linear_nets_alone_have_a_kernel(name, trained):
    chosen = LEARNERS[name](trained=trained)
    net = chosen.net()
    # Two layers have no quadratic terms, and the limits are functions of a kernel.
    linear = chosen.linear or chosen.infinite or (chosen.hidden_layers, trained) == (1, "quadratic")
    assert (net.linear is net) is linear
    assert hasattr(net, "kernel") is hasattr(net, "factors") is linear
    if not linear:
        assert net.linear is None
        with pytest.raises(AttributeError, match="kernel"):
            net.kernel({}, None, None)


def test_linearity_is_how_f_depends_on_what_is_trained():
    """f is affine on a line through the weights exactly for the nets that say so."""
    x, _ = problem("l2", 1)
    for name, trained in {(name, trained) for name, trained, _ in CASES}:
        net, weights = build(name, trained, 1)
        step = {key: gaussian(np.random.default_rng(1), 1, *weights[key].shape) for key in net.trained}
        f = [net.output(weights | {key: weights[key] + t * step[key] for key in step}, x) for t in (0.0, 1.0, 2.0)]
        bend = (f[2] - 2 * f[1] + f[0]).abs().max().item()
        assert (bend < 1e-12) is (net.linear is not None), (name, trained, bend)


def test_a_second_width_has_its_own_variances():
    m, m2 = 300, 500
    weights = ThreeLayerNet("hidden").init(np.random.default_rng(5), m, 6, 50, 0.3, m2)
    assert {key: tuple(value.shape) for key, value in weights.items()} == {
        "W": (m, 6), "b1": (m,), "V": (m2, m), "b2": (m2,), "a": (50, m2)}
    for key, variance in {"W": 1 / m, "b1": 1 / m, "V": 1 / m2, "b2": 1 / m2, "a": 0.09}.items():
        n = weights[key].numel()
        assert abs(weights[key].var().item() / variance - 1) < 5 * (2 / n) ** 0.5, key


@pytest.mark.parametrize("name", ["two_layer", "three_layer"])
def test_constant_linear_and_quadratic_terms_reproduce_f_while_no_sign_changes(name):
    """Section 6.2: f = a D_v (V0 D_w (W0 x + b1) + b2) + linear terms + a D_v V' D_w W' x while D_w, D_v hold."""
    net, quadratic, linear = (LEARNERS[name](trained=trained).net()
                              for trained in ("hidden", "quadratic", "ntk"))
    weights = {key: value[None] for key, value in quadratic.init(np.random.default_rng(3), M, D, 2, 1.0).items()}
    x = torch.randn(1, 50, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = net.output(weights, x)
    torch.testing.assert_close(quadratic.output(weights, x), start)
    torch.testing.assert_close(linear.output(weights, x), start)
    step = {key: 1e-6 * torch.randn(weights[key].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
            for key in net.trained}
    moved = weights | {key: weights[key] + step[key] for key in net.trained}
    f = net.output(moved, x)
    assert (f - start).abs().max() > 1e-7
    torch.testing.assert_close(quadratic.output(moved, x), f, rtol=0, atol=1e-13)
    if name == "three_layer":
        D_w = (x @ weights["W"].mT + weights["b1"][:, None] >= 0).double()
        first = D_w * (x @ weights["W"].mT + weights["b1"][:, None])
        D_v = (first @ weights["V"].mT + weights["b2"][:, None] >= 0).double()
        pseudo = (D_v * ((D_w * (x @ step["W"].mT)) @ step["V"].mT)) @ weights["a"].mT
        assert pseudo.abs().max() > 1e-13
        torch.testing.assert_close(quadratic.output(moved, x) - linear.output(moved, x), pseudo, rtol=0, atol=2e-15)
    far = weights | {key: weights[key] + 1e6 * step[key] for key in net.trained}
    assert (quadratic.output(far, x) - net.output(far, x)).abs().max() > 0.1
