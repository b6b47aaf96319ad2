"""Parts that the Triton kernels share: the losses and penalties on chip, and how a launch is told of them.

Every tensor of a kernel keeps its neurons in the last dimension. Triton's default layout then gives a thread whole
columns (all of a neuron's inputs, all of a tile's samples). So sums over inputs and samples stay within a thread.
"""

import triton
import triton.language as tl
from torch import Tensor

from ovpnet.engine.limits import LOSSES
from ovpnet.engine.steps import Rule
from ovpnet.nets.regularization import Penalty


@triton.jit
def loss_and_slope(output, y, LOSS: tl.constexpr):
    """Return L(F, y) and dL/dF, entry by entry."""
    if LOSS == "l2":
        difference = output - y
        value = difference * difference
        slope = 2 * difference
    elif LOSS == "huber":
        difference = output - y
        distance = tl.abs(difference)
        value = tl.where(distance <= 1, difference * difference * 0.5, distance - 0.5)
        slope = difference / tl.where(distance < 1, 1.0, distance).to(difference.dtype)
    else:
        margin = y * output
        small = tl.exp(-tl.abs(margin))  # in (0, 1]: neither of the two overflows
        value = tl.where(margin < 0, -margin, 0.0).to(margin.dtype) + tl.log(1 + small)
        slope = -y * tl.where(margin < 0, 1.0, small).to(margin.dtype) / (1 + small)
    return value, slope


@triton.jit
def relu(z):
    """Return relu(z), where NaN stays NaN, so that a diverged member shows."""
    return tl.where(z < 0, 0.0, z).to(z.dtype)


@triton.jit
def gather(x_ptr, samples, valid, d, D: tl.constexpr):
    """Return x [samples, inputs] at indices into one member's training set; zeros if not valid."""
    j = tl.arange(0, D)
    return tl.load(x_ptr + samples[:, None] * d + j[None, :], mask=valid[:, None] & (j[None, :] < d), other=0.0)


@triton.jit
def preactivations(x, W, b):
    """Return z [samples, neurons] of x [samples, inputs], W [inputs, neurons] and b [neurons]."""
    return tl.sum(x[:, :, None] * W[None, :, :], axis=1) + b[None, :]


@triton.jit
def outer(slopes, x):
    """Return the gradient [inputs, neurons] of W, from dL/dz [samples, neurons] and x [samples, inputs]."""
    return tl.sum(x[:, :, None] * slopes[:, None, :], axis=0)


@triton.jit
def penalized(velocity, momentum, weights, initial, coefficient, KIND: tl.constexpr, INCREMENTS: tl.constexpr):
    """Return momentum velocity + grad R of weights [neurons], or [inputs, neurons] with each neuron's row a column."""
    velocity = momentum * velocity
    if KIND != "none":
        point = weights
        if INCREMENTS:
            point = weights - initial
        if KIND == "frobenius":
            velocity += coefficient * point
        elif len(weights.shape) == 2:
            velocity += 4 * coefficient * point * tl.sum(point * point, axis=0)[None, :]
        else:
            velocity += 4 * coefficient * point * point * point
    return velocity


@triton.jit(do_not_specialize=["N", "S", "B", "slices", "step"])
def residuals(y_ptr, index_ptr, outputs_ptr, slopes_ptr, losses_ptr, N, S, B, slices, step,
              LOSS: tl.constexpr, ROWS: tl.constexpr, BATCH: tl.constexpr):
    """Sum the outputs f [B] of a step of member program_id(0) from their parts; write its loss and slopes dL/df / B."""
    e = tl.program_id(0).to(tl.int64)
    r, c = tl.arange(0, ROWS), tl.arange(0, BATCH)
    valid = c < B
    y = tl.load(y_ptr + e * N + tl.load(index_ptr + (e * S + step) * B + c, mask=valid, other=0), mask=valid, other=0.0)
    parts = tl.zeros([ROWS, BATCH], y.dtype)
    for start in range(0, slices, ROWS):
        rows = start + r < slices
        part = e * slices + start + r
        parts += tl.load(outputs_ptr + part[:, None] * B + c[None, :], mask=rows[:, None] & valid[None, :], other=0.0)
    value, slope = loss_and_slope(tl.sum(parts, axis=0), y, LOSS)
    tl.store(losses_ptr + e * S + step, tl.sum(tl.where(valid, value, 0.0).to(y.dtype), axis=0) / B)
    tl.store(slopes_ptr + e * B + c, slope / B, mask=valid)


def residual_sizes(slices: int, B: int) -> dict[str, int]:
    """Return how `residuals` reads the parts of a minibatch of B: rows of them at a time, so that loads overlap."""
    batch = power_of_2(B)
    return {"ROWS": min(max(8192 // batch, 1), power_of_2(slices)), "BATCH": batch, "num_warps": 8}


def refuse_more_outputs(a: Tensor) -> None:
    """Raise ValueError if output weights [E, k, m] have k > 1."""
    if a.shape[1] != 1:
        raise ValueError(f"the Triton kernels cover nets of one output, not of {a.shape[1]}")


def loss_name(rule: Rule) -> str:
    """Return the name of the rule's loss. Raises ValueError for a loss without a kernel."""
    if rule.loss.name in LOSSES:
        return rule.loss.name
    raise ValueError(f"the Triton kernels cover the losses {', '.join(LOSSES)}, not {rule.loss.name}")


def penalty_kind(penalty: Penalty | None) -> str:
    return "none" if penalty is None else penalty.kind


def power_of_2(number: int) -> int:
    """Return the least power of 2 that is no smaller: the sizes of Triton's tensors."""
    return 1 << max(number - 1, 0).bit_length()
