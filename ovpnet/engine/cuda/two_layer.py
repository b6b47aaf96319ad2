"""Two-layer SGD in Triton: a member on chip for a whole chunk, or in slices of its neurons, one sweep per step.

`on_chip`: one program holds a member's weights and velocity in registers and takes all steps of a chunk in one launch.
A step reads a minibatch and writes a loss. Minibatches go by in tiles of a few samples. A tile's pre-activations,
output (the only sum across threads), loss and gradient are done before the next tile is looked at.

`sweep` and `residuals`, for members that do not fit: a program has one slice of a member's neurons. Step t's update and
the forward pass of step t+1 are one sweep, so weights and velocity are read and written once per step. Then `residuals`
adds up the slices' outputs. S steps are S + 1 sweeps with S residuals between them. What passes from one to the other
lies in global memory between launches, so that programs never wait for each other.

The decomposition depends on m, d and the dtype alone, and every sum has a fixed order. So a member's numbers are
bitwise the same alone or packed.

`outputs`: f at many samples, for risks; no activation leaves the chip.
"""

from collections.abc import Callable
from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from ovpnet.engine.cuda.parts import (
    gather,
    loss_and_slope,
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
from ovpnet.nets.base import Weights

# Entries of W (padded to powers of 2) that one program holds in registers, beside as many of v, by bytes of a number.
# An SM has 64 Ki registers of 4 bytes: W and v of 8192 entries take a quarter of them; W0, a, b and a tile of
# activations take their part too.
ON_CHIP_ENTRIES = {4: 8192, 8: 4096}
# Inputs of the widest net whose outputs have a kernel; for more, a matrix product is the better way.
MOST_OUTPUT_INPUTS = 32
# Entries of W of a slice: few enough that several programs share an SM and one's reading hides behind another's sums.
SLICE_ENTRIES = 2048


@triton.jit
def _forward(x, W, b, W0, b0, FROZEN: tl.constexpr):
    """Return activations and signs [samples, neurons]: D (W x + b), D = 1[z >= 0] now or at initialization."""
    z = preactivations(x, W, b)
    if FROZEN:
        active = preactivations(x, W0, b0) >= 0
        hidden = tl.where(active, z, 0.0).to(z.dtype)
    else:
        active = z >= 0
        hidden = relu(z)
    return hidden, active


@triton.jit(do_not_specialize=["N", "S", "B"])
def on_chip(W_ptr, b_ptr, a_ptr, W_initial_ptr, b_initial_ptr, a_initial_ptr, W_velocity_ptr, b_velocity_ptr,
            a_velocity_ptr, x_ptr, index_ptr, lr_ptr, momentum_ptr, W_decay_ptr, b_decay_ptr, a_decay_ptr,
            y_ptr, losses_ptr, N, S, B, m, d,
            LAST: tl.constexpr, BIASES: tl.constexpr, FROZEN: tl.constexpr, LOSS: tl.constexpr,
            W_KIND: tl.constexpr, B_KIND: tl.constexpr, A_KIND: tl.constexpr, INCREMENTS: tl.constexpr,
            M: tl.constexpr, D: tl.constexpr, TILE: tl.constexpr):
    """Take all S steps of member program_id(0). Pointers of what the run does not have are None."""
    e = tl.program_id(0).to(tl.int64)
    i, j = tl.arange(0, M), tl.arange(0, D)
    neurons, entries = i < m, (j[:, None] < d) & (i[None, :] < m)
    at_W, at_b = e * m * d + i[None, :] * d + j[:, None], e * m + i
    W = tl.load(W_ptr + at_W, mask=entries, other=0.0)
    b = tl.load(b_ptr + at_b, mask=neurons, other=0.0)
    a = tl.load(a_ptr + at_b, mask=neurons, other=0.0)
    W0, b0, a0 = W, b, a
    if FROZEN or (INCREMENTS and W_KIND != "none"):
        W0 = tl.load(W_initial_ptr + at_W, mask=entries, other=0.0)
    if FROZEN or (INCREMENTS and B_KIND != "none"):
        b0 = tl.load(b_initial_ptr + at_b, mask=neurons, other=0.0)
    if INCREMENTS and A_KIND != "none":
        a0 = tl.load(a_initial_ptr + at_b, mask=neurons, other=0.0)
    W_velocity, b_velocity, a_velocity = tl.zeros_like(W), tl.zeros_like(b), tl.zeros_like(a)
    W_decay, b_decay, a_decay = 0.0, 0.0, 0.0
    if LAST:
        a_velocity = tl.load(a_velocity_ptr + at_b, mask=neurons, other=0.0)
        if A_KIND != "none":
            a_decay = tl.load(a_decay_ptr + e)
    else:
        W_velocity = tl.load(W_velocity_ptr + at_W, mask=entries, other=0.0)
        if W_KIND != "none":
            W_decay = tl.load(W_decay_ptr + e)
        if BIASES:
            b_velocity = tl.load(b_velocity_ptr + at_b, mask=neurons, other=0.0)
            if B_KIND != "none":
                b_decay = tl.load(b_decay_ptr + e)
    momentum = tl.load(momentum_ptr + e)
    x_ptr += e * N * d
    y_ptr += e * N
    index_ptr += e * S * B
    lr_ptr += e * S
    losses_ptr += e * S

    # The samples of the next tile and the indices of the one after it are on their way while a tile is worked on.
    tiles = tl.cdiv(B, TILE)
    c = tl.arange(0, TILE)
    valid = c < B
    samples = tl.load(index_ptr + c, mask=valid, other=0)
    x, y = gather(x_ptr, samples, valid, d, D), tl.load(y_ptr + samples, mask=valid, other=0.0)
    following, following_valid = _indices(index_ptr, 1, tiles, S, B, TILE)
    for step in range(S):
        lr = tl.load(lr_ptr + step)
        total = tl.zeros([TILE], W.dtype)
        if LAST:
            a_velocity = penalized(a_velocity, momentum, a, a0, a_decay, A_KIND, INCREMENTS)
        else:
            W_velocity = penalized(W_velocity, momentum, W, W0, W_decay, W_KIND, INCREMENTS)
            if BIASES:
                b_velocity = penalized(b_velocity, momentum, b, b0, b_decay, B_KIND, INCREMENTS)
        for tile in range(tiles):
            next_x = gather(x_ptr, following, following_valid, d, D)
            next_y = tl.load(y_ptr + following, mask=following_valid, other=0.0)
            following, following_valid = _indices(index_ptr, step * tiles + tile + 2, tiles, S, B, TILE)
            hidden, active = _forward(x, W, b, W0, b0, FROZEN)
            value, slope = loss_and_slope(tl.sum(hidden * a[None, :], axis=1), y, LOSS)
            valid = tile * TILE + c < B
            total += tl.where(valid, value, 0.0).to(W.dtype)
            slope = tl.where(valid, slope / B, 0.0).to(W.dtype)
            if LAST:
                a_velocity += tl.sum(slope[:, None] * hidden, axis=0)
            else:
                slopes = tl.where(active, slope[:, None], 0.0).to(W.dtype)
                W_velocity += a[None, :] * outer(slopes, x)
                if BIASES:
                    b_velocity += a * tl.sum(slopes, axis=0)
            x, y = next_x, next_y
        tl.store(losses_ptr + step, tl.sum(total, axis=0) / B)
        if LAST:
            a -= lr * a_velocity
        else:
            W -= lr * W_velocity
            if BIASES:
                b -= lr * b_velocity

    if LAST:
        tl.store(a_ptr + at_b, a, mask=neurons)
        tl.store(a_velocity_ptr + at_b, a_velocity, mask=neurons)
    else:
        tl.store(W_ptr + at_W, W, mask=entries)
        tl.store(W_velocity_ptr + at_W, W_velocity, mask=entries)
        if BIASES:
            tl.store(b_ptr + at_b, b, mask=neurons)
            tl.store(b_velocity_ptr + at_b, b_velocity, mask=neurons)


@triton.jit
def _indices(index_ptr, position, tiles, S, B, TILE: tl.constexpr):
    """Return the samples of the tile at a position in the chunk's sequence of tiles, and which of them are valid."""
    step, c = position // tiles, (position % tiles) * TILE + tl.arange(0, TILE)
    valid = (c < B) & (step < S)
    return tl.load(index_ptr + step.to(tl.int64) * B + c, mask=valid, other=0), valid


@triton.jit(do_not_specialize=["N", "S", "B", "step"])
def sweep(W_ptr, b_ptr, a_ptr, W_initial_ptr, b_initial_ptr, a_initial_ptr, W_velocity_ptr, b_velocity_ptr,
          a_velocity_ptr, x_ptr, index_ptr, lr_ptr, momentum_ptr, W_decay_ptr, b_decay_ptr, a_decay_ptr,
          outputs_ptr, slopes_ptr, N, S, B, m, d, step,
          LAST: tl.constexpr, BIASES: tl.constexpr, FROZEN: tl.constexpr,
          W_KIND: tl.constexpr, B_KIND: tl.constexpr, A_KIND: tl.constexpr, INCREMENTS: tl.constexpr,
          SLICE: tl.constexpr, D: tl.constexpr, TILE: tl.constexpr):
    """Do the update of step - 1 (if step > 0) and the forward pass of `step` (if step < S), of one slice of neurons.

    It reads dL/df of step - 1 from slopes [E, B] and writes the slice's part of the outputs [E, slices, B].
    """
    p, e = tl.program_id(0), tl.program_id(1).to(tl.int64)
    i, j, c = p * SLICE + tl.arange(0, SLICE), tl.arange(0, D), tl.arange(0, TILE)
    neurons, entries = i < m, (j[:, None] < d) & (i[None, :] < m)
    at_W, at_b = (e * m + i[None, :]) * d + j[:, None], e * m + i
    W = tl.load(W_ptr + at_W, mask=entries, other=0.0)
    b = tl.load(b_ptr + at_b, mask=neurons, other=0.0)
    a = tl.load(a_ptr + at_b, mask=neurons, other=0.0)
    W0, b0, a0 = W, b, a
    if FROZEN or (INCREMENTS and W_KIND != "none"):
        W0 = tl.load(W_initial_ptr + at_W, mask=entries, other=0.0)
    if FROZEN or (INCREMENTS and B_KIND != "none"):
        b0 = tl.load(b_initial_ptr + at_b, mask=neurons, other=0.0)
    if INCREMENTS and A_KIND != "none":
        a0 = tl.load(a_initial_ptr + at_b, mask=neurons, other=0.0)
    x_ptr += e * N * d
    index_ptr += (e * S + step) * B

    if step > 0:
        momentum, lr = tl.load(momentum_ptr + e), tl.load(lr_ptr + e * S + step - 1)
        W_velocity, b_velocity, a_velocity = tl.zeros_like(W), tl.zeros_like(b), tl.zeros_like(a)
        if LAST:
            a_decay = 0.0
            if A_KIND != "none":
                a_decay = tl.load(a_decay_ptr + e)
            a_velocity = penalized(tl.load(a_velocity_ptr + at_b, mask=neurons, other=0.0), momentum, a, a0, a_decay,
                                   A_KIND, INCREMENTS)
        else:
            W_decay, b_decay = 0.0, 0.0
            if W_KIND != "none":
                W_decay = tl.load(W_decay_ptr + e)
            W_velocity = penalized(tl.load(W_velocity_ptr + at_W, mask=entries, other=0.0), momentum, W, W0, W_decay,
                                   W_KIND, INCREMENTS)
            if BIASES:
                if B_KIND != "none":
                    b_decay = tl.load(b_decay_ptr + e)
                b_velocity = penalized(tl.load(b_velocity_ptr + at_b, mask=neurons, other=0.0), momentum, b, b0,
                                       b_decay, B_KIND, INCREMENTS)
        for start in range(0, B, TILE):
            valid = start + c < B
            x = gather(x_ptr, tl.load(index_ptr - B + start + c, mask=valid, other=0), valid, d, D)
            slope = tl.load(slopes_ptr + e * B + start + c, mask=valid, other=0.0)
            hidden, active = _forward(x, W, b, W0, b0, FROZEN)
            if LAST:
                a_velocity += tl.sum(slope[:, None] * hidden, axis=0)
            else:
                slopes = tl.where(active, slope[:, None], 0.0).to(W.dtype)
                W_velocity += a[None, :] * outer(slopes, x)
                if BIASES:
                    b_velocity += a * tl.sum(slopes, axis=0)
        if LAST:
            a -= lr * a_velocity
            tl.store(a_ptr + at_b, a, mask=neurons)
            tl.store(a_velocity_ptr + at_b, a_velocity, mask=neurons)
        else:
            W -= lr * W_velocity
            tl.store(W_ptr + at_W, W, mask=entries)
            tl.store(W_velocity_ptr + at_W, W_velocity, mask=entries)
            if BIASES:
                b -= lr * b_velocity
                tl.store(b_ptr + at_b, b, mask=neurons)
                tl.store(b_velocity_ptr + at_b, b_velocity, mask=neurons)

    if step < S:
        part = e * tl.num_programs(0) + p
        for start in range(0, B, TILE):
            valid = start + c < B
            x = gather(x_ptr, tl.load(index_ptr + start + c, mask=valid, other=0), valid, d, D)
            hidden, _ = _forward(x, W, b, W0, b0, FROZEN)
            tl.store(outputs_ptr + part * B + start + c, tl.sum(hidden * a[None, :], axis=1), mask=valid)


@triton.jit(do_not_specialize=["n"])
def outputs(W_ptr, b_ptr, a_ptr, W_initial_ptr, b_initial_ptr, x_ptr, outputs_ptr, n, m, d,
            FROZEN: tl.constexpr, SAMPLES: tl.constexpr, D: tl.constexpr, TILE: tl.constexpr):
    """Write f(x) [E, n] of x [E, n, d], some samples per program, tile after tile of neurons.

    Samples are in the last dimension here, and neurons where a step's kernels have the samples of a tile. So an output
    is summed by one thread.
    """
    e, i, j = tl.program_id(1).to(tl.int64), tl.arange(0, TILE), tl.arange(0, D)
    s = tl.program_id(0) * SAMPLES + tl.arange(0, SAMPLES)
    x = tl.load(x_ptr + (e * n + s[None, :]) * d + j[:, None], mask=(j[:, None] < d) & (s[None, :] < n), other=0.0)
    none = tl.zeros([SAMPLES], x.dtype)
    total = tl.zeros([SAMPLES], x.dtype)
    for start in range(0, m, TILE):
        neurons, at = start + i < m, e * m + start + i
        W = gather(W_ptr, at, neurons, d, D)
        z = preactivations(W, x, none) + tl.load(b_ptr + at, mask=neurons, other=0.0)[:, None]
        if FROZEN:
            z0 = preactivations(gather(W_initial_ptr, at, neurons, d, D), x, none)
            z0 += tl.load(b_initial_ptr + at, mask=neurons, other=0.0)[:, None]
            hidden = tl.where(z0 >= 0, z, 0.0).to(z.dtype)
        else:
            hidden = relu(z)
        total += tl.sum(hidden * tl.load(a_ptr + at, mask=neurons, other=0.0)[:, None], axis=0)
    tl.store(outputs_ptr + e * n + s, total, mask=s < n)


@dataclass(frozen=True)
class Sizes:
    """The cut of a member's work, by its own shape only."""

    on_chip: bool
    neurons: int  # of a program
    inputs: int
    samples: int  # of a tile
    warps: int

    @staticmethod
    def of(m: int, d: int, itemsize: int) -> "Sizes":
        inputs, whole = power_of_2(d), power_of_2(max(m, 32))
        fits = whole * inputs <= ON_CHIP_ENTRIES[itemsize]
        neurons = whole if fits else min(whole, max(32, SLICE_ENTRIES * 4 // itemsize // inputs))
        # About 16 entries of W per thread, or 32 if a thread has only a part of a neuron; half as many in float64.
        entries = neurons * inputs
        warps = min(max(1, min(entries // 512, neurons // 32), entries * itemsize // 4096), 16)
        # A tile's inputs lie in every thread (and the next tile's, on their way): at most about 32 registers, or 16
        # if 16 warps leave a thread 128 registers.
        samples = 128 // itemsize // inputs // (2 if warps == 16 else 1)
        return Sizes(fits, neurons, inputs, max(2, min(8, samples)), warps)


def steps(rule: Rule, state: State, chunk: Chunk, losses: Tensor) -> Callable[[], None]:
    """Return what takes the chunk's steps when it is called, once or again: launches that look at no number.

    `losses` [E, S] receives the mean losses. Raises ValueError for a loss or outputs that no kernel covers.
    """
    W, a = state.weights["W"], state.weights["a"]
    refuse_more_outputs(a)
    (E, m, d), (S, B), N = W.shape, chunk.index.shape[1:], chunk.x.shape[1]
    trained, penalties = rule.net.trained, rule.regularizer.penalties
    if {"W", "a"} <= set(trained):
        raise ValueError("the Triton kernels cover learner.trained=hidden, last and ntk, not all")
    if "a" in penalties and penalties["a"].kind == "row_24":  # whose gradient needs the norm of all of a
        raise ValueError("the Triton kernels cover no row_24 penalty of the last layer")
    sizes = Sizes.of(m, d, W.element_size())
    initial = {name: state.initial.get(name, state.weights.get(f"{name}0")) for name in ("W", "b", "a")}
    tensors = [*(state.weights[name] for name in initial), *initial.values(),
               *(state.velocity.get(name) for name in initial), chunk.x, chunk.index, chunk.lr, rule.momentum,
               *(penalties[name].coefficient if name in penalties else None for name in initial)]
    options = {
        "LAST": "a" in trained, "BIASES": "b" in trained, "FROZEN": rule.net.frozen,
        **{f"{name.upper()}_KIND": penalty_kind(penalties.get(name)) for name in initial},
        "INCREMENTS": rule.regularizer.of_increments, "D": sizes.inputs, "TILE": sizes.samples,
        "num_warps": sizes.warps}
    loss = loss_name(rule)

    def in_one_launch() -> None:
        on_chip[(E,)](*tensors, chunk.y, losses, N, S, B, m, d, LOSS=loss, M=sizes.neurons, **options)

    if sizes.on_chip:
        return in_one_launch
    slices = triton.cdiv(m, sizes.neurons)
    parts, slopes = W.new_empty(E, slices, B), W.new_empty(E, B)

    def in_sweeps() -> None:
        for step in range(S + 1):
            sweep[(slices, E)](*tensors, parts, slopes, N, S, B, m, d, step, SLICE=sizes.neurons, **options)
            if step < S:
                residuals[(E,)](chunk.y, chunk.index, parts, slopes, losses, N, S, B, slices, step, LOSS=loss,
                                **residual_sizes(slices, B))

    return in_sweeps


def output(weights: Weights, x: Tensor) -> Tensor:
    """Return f(x) [E, n, 1] of a net of one output at x [E, n, d]; with frozen signs if the weights have those."""
    refuse_more_outputs(weights["a"])
    (E, n, d), m, found = x.shape, weights["W"].shape[1], x.new_empty(*x.shape[:2], 1)
    sizes = output_sizes(d)
    outputs[(triton.cdiv(n, sizes["SAMPLES"]), E)](
        weights["W"], weights["b"], weights["a"], weights.get("W0"), weights.get("b0"), x.contiguous(), found, n, m, d,
        FROZEN="W0" in weights, num_warps=1, **sizes)
    return found


def output_sizes(d: int) -> dict[str, int]:
    """Return how `outputs` cuts its work: at most 64 numbers of x per thread of its one warp, and 64 of a tile's W."""
    inputs = power_of_2(d)
    return {"SAMPLES": min(128, max(32, 2048 // inputs)), "D": inputs, "TILE": max(2, min(8, 32 // inputs))}
