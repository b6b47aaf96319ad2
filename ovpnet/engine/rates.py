"""The speed of a machine: seconds of the parts of training, as `ovpnet.run.calibrate` measures them."""

import math
from bisect import bisect
from dataclasses import dataclass

# (size, seconds per unit) at increasing sizes: between them by the logarithm of the size, outside as at the nearest.
Table = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Rates:
    """Seconds of the parts of training, in float32."""

    call: float  # of the reference engine: per step and hidden layer
    member: float  # and each member's share of it
    entry: Table  # per activation of a step, by the step's activations of all members
    weight: Table  # per trained weight of a step, by the step's weights of all members
    flop: float  # per operation in matrix products of three-layer nets
    fused: Table  # of the fused engine, two layers: per sample, neuron and weight of it, by the net's width
    fused_flop: Table  # three layers: per one of the 6 B m^2 of a step, by the net's width
    fused_member: float  # of a narrow net: per step, at a batch of 50
    # A GPU's fused steps take as long as a member's alone, whatever the members, until they fill it; both by the width.
    fused_alone: Table
    fused_flop_alone: Table
    dual: float  # of the dual engine: per step
    dual_entry: Table  # per entry of the kernel that a step reads, by the entries of all groups' kernels
    look: float  # per chunk of steps, and per evaluation, besides the steps and the samples
    forward: float  # per activation in an evaluation
    sample: float  # per sample drawn, and coordinate of it
    eigen: float  # per one of an eigendecomposition's n^3, float64


@dataclass(frozen=True)
class Machine:
    """The machine that a pack is trained on."""

    rates: Rates
    memory: int  # bytes that a pack may take
    threads: int = 1  # that the fused engine spreads members over


# One core with AVX-512, about: for planning if nothing is measured.
EXAMPLE = Machine(Rates(
    call=5e-5, member=2e-6, entry=((5e4, 2e-9), (8e5, 6e-9), (3e6, 8e-9)), weight=((1e5, 2e-9), (4e6, 4e-9)),
    flop=1e-11, fused=((300, 2e-11), (1e5, 4e-11)), fused_flop=((300, 5e-12),),
    fused_member=4e-7, fused_alone=((1, 0.0),), fused_flop_alone=((1, 0.0),), dual=1e-4,
    dual_entry=((1e4, 1e-9), (1e6, 2e-9)), look=1e-3, forward=1e-9, sample=5e-8, eigen=1e-9), memory=4 << 30)


def at(table: Table, size: float) -> float:
    """Return the rate at a size."""
    sizes = [each for each, _ in table]
    place = bisect(sizes, size)
    if place in (0, len(table)):
        return table[min(place, len(table) - 1)][1]
    (low, before), (high, after) = table[place - 1:place + 1]
    share = math.log(size / low) / math.log(high / low)
    return before * (after / before) ** share
