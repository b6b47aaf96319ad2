"""Three-layer SGD in Triton: batched GEMMs whose neighbours are fused into them, five launches per step.

    first      step t-1's update of W and b1, then h1 = relu(W x + b1) of step t's minibatch
    second     z2 = V h1 + b2, and each block of rows' part of the outputs      reads V
    residuals  outputs, losses and dL/df
    backward   dL/dh1 = V^T dL/dz2                                              reads V
    update     of V and b2: gradient, penalty, momentum and step in one pass    reads and writes V and its velocity

dL/dz2 = a dL/df 1[z2 >= 0] is never stored: whoever needs it has z2. A step moves 6 m^2 numbers per member beside the
activations. The least is 5 m^2, with `backward` and `update` in one pass; in two, each tile of V is a program of its
own.

The GEMMs are not torch's, because those may choose another order of sums for another number of members. Here a member's
numbers are bitwise the same alone or packed. Their precision is what torch.set_float32_matmul_precision says: `highest`
(torch's default) is float32 throughout, `high` three TF32 products on tensor cores, `medium` one.
"""

from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor

from ovpnet.engine.cuda.parts import (
    gather,
    loss_name,
    outer,
    penalized,
    penalty_kind,
    power_of_2,
    preactivations,
    refuse_more_outputs,
    relu,
    residual_sizes,
    residuals,
)
from ovpnet.engine.steps import Chunk, Rule, State

# Rows or columns of V of a program, and those that it takes in at a time.
BLOCK = 64
STRIP = 32
# Samples of a tile of a GEMM, at most; at least 16, the least that tl.dot takes.
SAMPLES = 64
# Entries of W of a program of `first`.
SLICE_ENTRIES = 1024

PRECISIONS = {"highest": "ieee", "high": "tf32x3", "medium": "tf32"}


@triton.jit(do_not_specialize=["N", "S", "B", "step"])
def first(W_ptr, b_ptr, W_initial_ptr, b_initial_ptr, W_velocity_ptr, b_velocity_ptr, x_ptr, index_ptr, lr_ptr,
          momentum_ptr, W_decay_ptr, b_decay_ptr, h_ptr, h_slopes_ptr, N, S, B, m, d, step,
          BIASES: tl.constexpr, W_KIND: tl.constexpr, B_KIND: tl.constexpr, INCREMENTS: tl.constexpr,
          SLICE: tl.constexpr, D: tl.constexpr, TILE: tl.constexpr):
    """Update slice program_id(0) of the first layer by step - 1 (if step > 0); write h1 [E, B, m] of step (if < S)."""
    e = tl.program_id(1).to(tl.int64)
    i, j, c = tl.program_id(0) * SLICE + tl.arange(0, SLICE), tl.arange(0, D), tl.arange(0, TILE)
    neurons, entries = i < m, (j[:, None] < d) & (i[None, :] < m)
    at_W, at_b = (e * m + i[None, :]) * d + j[:, None], e * m + i
    W = tl.load(W_ptr + at_W, mask=entries, other=0.0)
    b = tl.load(b_ptr + at_b, mask=neurons, other=0.0)
    x_ptr += e * N * d
    index_ptr += (e * S + step) * B
    h_ptr += e * B * m
    h_slopes_ptr += e * B * m

    if step > 0:
        momentum, lr = tl.load(momentum_ptr + e), tl.load(lr_ptr + e * S + step - 1)
        W0, b0, W_decay, b_decay, b_velocity = W, b, 0.0, 0.0, tl.zeros_like(b)
        if W_KIND != "none":
            W_decay = tl.load(W_decay_ptr + e)
            if INCREMENTS:
                W0 = tl.load(W_initial_ptr + at_W, mask=entries, other=0.0)
        W_velocity = penalized(tl.load(W_velocity_ptr + at_W, mask=entries, other=0.0), momentum, W, W0, W_decay,
                               W_KIND, INCREMENTS)
        if BIASES:
            if B_KIND != "none":
                b_decay = tl.load(b_decay_ptr + e)
                if INCREMENTS:
                    b0 = tl.load(b_initial_ptr + at_b, mask=neurons, other=0.0)
            b_velocity = penalized(tl.load(b_velocity_ptr + at_b, mask=neurons, other=0.0), momentum, b, b0, b_decay,
                                   B_KIND, INCREMENTS)
        for start in range(0, B, TILE):
            valid = start + c < B
            x = gather(x_ptr, tl.load(index_ptr - B + start + c, mask=valid, other=0), valid, d, D)
            slopes = tl.load(h_slopes_ptr + (start + c)[:, None] * m + i[None, :],
                             mask=valid[:, None] & neurons[None, :], other=0.0)
            slopes = tl.where(preactivations(x, W, b) >= 0, slopes, 0.0).to(W.dtype)
            W_velocity += outer(slopes, x)
            if BIASES:
                b_velocity += tl.sum(slopes, axis=0)
        W -= lr * W_velocity
        tl.store(W_ptr + at_W, W, mask=entries)
        tl.store(W_velocity_ptr + at_W, W_velocity, mask=entries)
        if BIASES:
            b -= lr * b_velocity
            tl.store(b_ptr + at_b, b, mask=neurons)
            tl.store(b_velocity_ptr + at_b, b_velocity, mask=neurons)

    if step < S:
        for start in range(0, B, TILE):
            valid = start + c < B
            x = gather(x_ptr, tl.load(index_ptr + start + c, mask=valid, other=0), valid, d, D)
            tl.store(h_ptr + (start + c)[:, None] * m + i[None, :], relu(preactivations(x, W, b)),
                     mask=valid[:, None] & neurons[None, :])


@triton.jit(do_not_specialize=["B"])
def second(V_ptr, b_ptr, a_ptr, V_initial_ptr, h_ptr, z_ptr, outputs_ptr, squares_ptr, B, m,
           KIND: tl.constexpr, INCREMENTS: tl.constexpr, PRECISION: tl.constexpr,
           BLOCK: tl.constexpr, STRIP: tl.constexpr, SAMPLES: tl.constexpr):
    """Write z2 [E, B, m] of rows BLOCK of V and a tile of samples, and their part of the outputs [E, blocks, B].

    A row_24 penalty's squared norms of the rows, squares [E, m], are taken on the way.
    """
    p, e, s = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2)
    i, c, k = p * BLOCK + tl.arange(0, BLOCK), s * SAMPLES + tl.arange(0, SAMPLES), tl.arange(0, STRIP)
    rows, valid = i < m, c < B
    h_ptr += e * B * m
    z_ptr += e * B * m
    z = tl.zeros([SAMPLES, BLOCK], V_ptr.dtype.element_ty)
    squares = tl.zeros([BLOCK], V_ptr.dtype.element_ty)
    for start in range(0, m, STRIP):
        columns = start + k < m
        at_V = (e * m + i[:, None]) * m + (start + k)[None, :]
        inside = rows[:, None] & columns[None, :]
        V = tl.load(V_ptr + at_V, mask=inside, other=0.0)
        h = tl.load(h_ptr + c[:, None] * m + (start + k)[None, :], mask=valid[:, None] & columns[None, :], other=0.0)
        z = tl.dot(h, tl.trans(V), acc=z, input_precision=PRECISION, out_dtype=z.dtype)
        if KIND == "row_24":
            point = V
            if INCREMENTS:
                point = V - tl.load(V_initial_ptr + at_V, mask=inside, other=0.0)
            squares += tl.sum(point * point, axis=1)
    z += tl.load(b_ptr + e * m + i, mask=rows, other=0.0)[None, :]
    tl.store(z_ptr + c[:, None] * m + i[None, :], z, mask=valid[:, None] & rows[None, :])
    a = tl.load(a_ptr + e * m + i, mask=rows, other=0.0)
    tl.store(outputs_ptr + (e * tl.num_programs(0) + p) * B + c, tl.sum(relu(z) * a[None, :], axis=1), mask=valid)
    if KIND == "row_24" and s == 0:
        tl.store(squares_ptr + e * m + i, squares, mask=rows)


@triton.jit
def _z_slopes(z_ptr, a_ptr, slopes_ptr, c, i, B, m):
    """Return dL/dz2 [samples, rows] of one member: a dL/df 1[z2 >= 0]."""
    valid, rows = c < B, i < m
    z = tl.load(z_ptr + c[:, None] * m + i[None, :], mask=valid[:, None] & rows[None, :], other=0.0)
    a = tl.load(a_ptr + i, mask=rows, other=0.0)
    slope = tl.load(slopes_ptr + c, mask=valid, other=0.0)
    return tl.where(z >= 0, slope[:, None] * a[None, :], 0.0).to(z.dtype)


@triton.jit(do_not_specialize=["B"])
def backward(V_ptr, a_ptr, z_ptr, slopes_ptr, h_slopes_ptr, B, m, PRECISION: tl.constexpr,
             BLOCK: tl.constexpr, STRIP: tl.constexpr, SAMPLES: tl.constexpr):
    """Write dL/dh1 [E, B, m] of columns BLOCK of V and a tile of samples."""
    e = tl.program_id(1).to(tl.int64)
    j, c = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(2) * SAMPLES + tl.arange(0, SAMPLES)
    columns = j < m
    h_slopes = tl.zeros([SAMPLES, BLOCK], V_ptr.dtype.element_ty)
    for start in range(0, m, STRIP):
        i = start + tl.arange(0, STRIP)
        V = tl.load(V_ptr + (e * m + i[:, None]) * m + j[None, :], mask=(i < m)[:, None] & columns[None, :], other=0.0)
        z_slopes = _z_slopes(z_ptr + e * B * m, a_ptr + e * m, slopes_ptr + e * B, c, i, B, m)
        h_slopes = tl.dot(z_slopes, V, acc=h_slopes, input_precision=PRECISION, out_dtype=h_slopes.dtype)
    tl.store(h_slopes_ptr + (e * B + c[:, None]) * m + j[None, :], h_slopes,
             mask=(c < B)[:, None] & columns[None, :])


@triton.jit(do_not_specialize=["S", "B", "step"])
def update(V_ptr, b_ptr, a_ptr, V_initial_ptr, b_initial_ptr, V_velocity_ptr, b_velocity_ptr, lr_ptr, momentum_ptr,
           V_decay_ptr, b_decay_ptr, h_ptr, z_ptr, slopes_ptr, squares_ptr, S, B, m, step,
           BIASES: tl.constexpr, KIND: tl.constexpr, B_KIND: tl.constexpr, INCREMENTS: tl.constexpr,
           PRECISION: tl.constexpr, BLOCK: tl.constexpr, SAMPLES: tl.constexpr):
    """Take the step of one tile of V, rows program_id(0), columns program_id(1); those of column 0 update b2 too."""
    p, q, e = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    i, j = p * BLOCK + tl.arange(0, BLOCK), q * BLOCK + tl.arange(0, BLOCK)
    rows, columns = i < m, j < m
    inside = rows[:, None] & columns[None, :]
    at_V, at_b = (e * m + i[:, None]) * m + j[None, :], e * m + i
    gradient = tl.zeros([BLOCK, BLOCK], V_ptr.dtype.element_ty)
    b_gradient = tl.zeros([BLOCK], V_ptr.dtype.element_ty)
    for start in range(0, B, SAMPLES):
        c = start + tl.arange(0, SAMPLES)
        z_slopes = _z_slopes(z_ptr + e * B * m, a_ptr + e * m, slopes_ptr + e * B, c, i, B, m)
        h = tl.load(h_ptr + (e * B + c[:, None]) * m + j[None, :], mask=(c < B)[:, None] & columns[None, :], other=0.0)
        gradient = tl.dot(tl.trans(z_slopes), h, acc=gradient, input_precision=PRECISION, out_dtype=gradient.dtype)
        if BIASES:
            b_gradient += tl.sum(z_slopes, axis=0)
    momentum, lr = tl.load(momentum_ptr + e), tl.load(lr_ptr + e * S + step)
    V = tl.load(V_ptr + at_V, mask=inside, other=0.0)
    velocity = momentum * tl.load(V_velocity_ptr + at_V, mask=inside, other=0.0) + gradient
    if KIND != "none":
        decay = tl.load(V_decay_ptr + e)
        point = V
        if INCREMENTS:
            point = V - tl.load(V_initial_ptr + at_V, mask=inside, other=0.0)
        if KIND == "row_24":
            point *= 4 * tl.load(squares_ptr + at_b, mask=rows, other=0.0)[:, None]
        velocity += decay * point
    tl.store(V_velocity_ptr + at_V, velocity, mask=inside)
    tl.store(V_ptr + at_V, V - lr * velocity, mask=inside)
    if BIASES and q == 0:
        b = tl.load(b_ptr + at_b, mask=rows, other=0.0)
        b0, b_decay = b, 0.0
        if B_KIND != "none":
            b_decay = tl.load(b_decay_ptr + e)
            if INCREMENTS:
                b0 = tl.load(b_initial_ptr + at_b, mask=rows, other=0.0)
        b_velocity = penalized(tl.load(b_velocity_ptr + at_b, mask=rows, other=0.0), momentum, b, b0, b_decay, B_KIND,
                               INCREMENTS) + b_gradient
        tl.store(b_velocity_ptr + at_b, b_velocity, mask=rows)
        tl.store(b_ptr + at_b, b - lr * b_velocity, mask=rows)


def steps(rule: Rule, state: State, chunk: Chunk, losses: Tensor) -> Callable[[], None]:
    """Return what takes the chunk's steps when it is called; as `two_layer.steps`, for W and V trained."""
    if rule.net.frozen or "V" not in rule.net.trained or "a" in rule.net.trained:
        raise ValueError("the Triton kernels cover three-layer nets whose hidden weights alone are trained")
    weights, velocity, start, penalties = state.weights, state.velocity, state.initial, rule.regularizer.penalties
    W, V, a = weights["W"], weights["V"], weights["a"]
    refuse_more_outputs(a)
    (E, m, d), (S, B), N = W.shape, chunk.index.shape[1:], chunk.x.shape[1]
    biases, increments, loss = "b1" in rule.net.trained, rule.regularizer.of_increments, loss_name(rule)
    decay = {name: penalty.coefficient for name, penalty in penalties.items()}
    kind = {name: penalty_kind(penalties.get(name)) for name in weights}
    inputs = power_of_2(d)
    piece = min(max(32, SLICE_ENTRIES // inputs), power_of_2(max(m, 32)))
    samples, blocks = min(SAMPLES, max(16, power_of_2(B))), triton.cdiv(m, BLOCK)
    outputs, slopes, squares = (W.new_empty(shape) for shape in ((E, blocks, B), (E, B), (E, m)))
    h, h_slopes, z = (W.new_empty(E, B, m) for _ in range(3))
    gemm = {"INCREMENTS": increments, "KIND": kind["V"], "BLOCK": BLOCK,
            "PRECISION": PRECISIONS[torch.get_float32_matmul_precision()] if W.dtype == torch.float32 else "ieee"}

    def take_steps() -> None:
        for step in range(S + 1):
            first[(triton.cdiv(m, piece), E)](
                W, weights["b1"], start["W"], start.get("b1"), velocity["W"], velocity.get("b1"), chunk.x, chunk.index,
                chunk.lr, rule.momentum, decay.get("W"), decay.get("b1"), h, h_slopes, N, S, B, m, d, step,
                BIASES=biases, W_KIND=kind["W"], B_KIND=kind["b1"], INCREMENTS=increments, SLICE=piece, D=inputs,
                TILE=max(2, min(8, 32 // inputs)), num_warps=max(1, min(4, piece // 32)))
            if step == S:
                break
            second[(blocks, E, triton.cdiv(B, samples))](
                V, weights["b2"], a, start["V"], h, z, outputs, squares, B, m, STRIP=STRIP, SAMPLES=samples, **gemm)
            residuals[(E,)](chunk.y, chunk.index, outputs, slopes, losses, N, S, B, blocks, step,
                            LOSS=loss, **residual_sizes(blocks, B))
            backward[(blocks, E, triton.cdiv(B, samples))](
                V, a, z, slopes, h_slopes, B, m, PRECISION=gemm["PRECISION"], BLOCK=BLOCK, STRIP=STRIP,
                SAMPLES=samples)
            update[(blocks, blocks, E)](
                V, weights["b2"], a, start["V"], start.get("b2"), velocity["V"], velocity.get("b2"), chunk.lr,
                rule.momentum, decay.get("V"), decay.get("b2"), h, z, slopes, squares, S, B, m, step, BIASES=biases,
                B_KIND=kind["b2"], SAMPLES=16, num_warps=8, **gemm)

    return take_steps
