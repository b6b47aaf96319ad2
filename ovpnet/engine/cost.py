"""What training an ensemble takes: bytes from its sizes, seconds from its sizes and the rates of a machine.

Both are for planning: how many runs to train side by side, and which packs first. `python -m benchmarks.cost_model`
compares them with what is measured. Counts follow the code of the engines and of `Ensemble`; the rates are measured on
the machine (`ovpnet.run.calibrate`). No torch here.
"""

import math
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ovpnet.engine.choice import chosen_engine
from ovpnet.spec.config import Config

# Steps between two looks at an ensemble, at most (ovpnet.training.schedule.CHUNK_STEPS).
_CHUNK_STEPS = 512
# Activations of a block of an evaluation, and its samples, at least (ovpnet.training.risk.losses).
_EVALUATED, _FEWEST = 1 << 20, 64
# Draws of samples that a problem keeps in float64 (ovpnet.problem.data.Problem).
_KEPT_DRAWS = 32
# Libraries' buffers and the allocator's own.
_FIXED = 8 << 20

# Seconds that a pack takes whatever its runs, and that a member's row of a learning curve does: Python's part.
_PACK_SECONDS, _ROW_SECONDS = 0.02, 3e-5

# Up to this size V and its velocity are one thread's (ovpnet/native/three_layer.cpp); and a step of the fused engine by
# what is trained, measured in those of the hidden weights (1 where not named).
_CORE_CACHE = 1 << 20
_FUSED_PARTS = {1: {"last": 1.1, "ntk": 1.5, "quadratic": 1.5}, 2: {"quadratic": 1.25, "ntk": 1.7, "last": 0.37}}

MOST_MEMBERS = 512
# A smaller pack that takes this many times as long a run is preferred: its results are stored the sooner.
_SLACK = 1.05
# Seconds that a pack takes at least, where there are runs enough: each one adds files to the store.
_WORTH_A_FILE = 2.0

# (size, seconds a unit) at increasing sizes: between them by the logarithm of the size, outside as at the nearest.
Table = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Rates:
    """Seconds of the parts of training, in float32."""

    call: float  # of the reference engine: a step and hidden layer
    member: float  # and each member's share of it
    entry: Table  # an activation of a step, by the step's activations of all members
    weight: Table  # a trained weight of a step, by the step's weights of all members
    flop: float  # in matrix products of three-layer nets
    fused: Table  # of the fused engine, two layers: a sample, neuron and weight of it, by the net's width
    fused_flop: Table  # three layers: one of the 6 B m^2 of a step, by the net's width
    fused_member: float  # of a narrow net: a step, at a batch of 50
    # A GPU's fused steps take as long as a member's alone, whatever the members, until they fill it; both by the width.
    fused_alone: Table
    fused_flop_alone: Table
    dual: float  # of the dual engine: a step
    dual_entry: Table  # an entry of the kernel that a step reads, by the entries of all groups' kernels
    look: float  # a chunk of steps and an evaluation, besides the steps and the samples
    forward: float  # an activation in an evaluation
    sample: float  # a sample drawn, and coordinate of it
    eigen: float  # an eigendecomposition's n^3, float64


@dataclass(frozen=True)
class Machine:
    """What a pack is trained on."""

    rates: Rates
    memory: int  # bytes that a pack may take
    threads: int = 1  # that the fused engine spreads members over


# One core with AVX-512, about: for planning where nothing is measured.
EXAMPLE = Machine(Rates(
    call=5e-5, member=2e-6, entry=((5e4, 2e-9), (8e5, 6e-9), (3e6, 8e-9)), weight=((1e5, 2e-9), (4e6, 4e-9)),
    flop=1e-11, fused=((300, 2e-11), (1e5, 4e-11)), fused_flop=((300, 5e-12),),
    fused_member=4e-7, fused_alone=((1, 0.0),), fused_flop_alone=((1, 0.0),), dual=1e-4,
    dual_entry=((1e4, 1e-9), (1e6, 2e-9)), look=1e-3, forward=1e-9, sample=5e-8, eigen=1e-9), memory=4 << 30)


@dataclass(frozen=True)
class Sizes:
    """The sizes of one member, of a config and a size of the training set."""

    config: Config
    samples: int

    @cached_property
    def itemsize(self) -> int:
        """Bytes of a number in training."""
        return 4 if self.config.dtype == "float32" else 8

    @cached_property
    def layers(self) -> int:
        """Hidden layers."""
        return self.config.learner.layers

    @cached_property
    def inputs(self) -> int:
        """Numbers of a sample, x and y."""
        return self.config.inputs.d + self.config.concept.k

    @cached_property
    def neurons(self) -> tuple[int, ...]:
        """Neurons of each hidden layer."""
        return (self.config.width, self.config.second_width)[:self.layers]

    @cached_property
    def squares(self) -> int:
        """Entries of V, m^2 if both hidden layers have m neurons; 0 of two layers."""
        return self.neurons[0] * self.neurons[1] if self.layers == 2 else 0

    @cached_property
    def hidden(self) -> int:
        """Weights and biases of the hidden layers."""
        return self.config.width * self.config.inputs.d + self.squares + sum(self.neurons)

    @cached_property
    def trained(self) -> int:
        """Trained weights."""
        learner, last = self.config.learner, self.config.concept.k * self.neurons[-1]
        if learner.trained == "last":
            return last
        if learner.trained == "all":
            return self.hidden + last
        return self.hidden - (0 if learner.biases else sum(self.neurons))

    @cached_property
    def frozen(self) -> bool:
        """Signs are frozen at initialization, whose weights are kept among the net's own."""
        return self.config.learner.trained in ("ntk", "quadratic")

    @cached_property
    def weights(self) -> int:
        """Weights, the frozen ones included."""
        return self.hidden * (2 if self.frozen else 1) + self.config.concept.k * self.neurons[-1]

    @cached_property
    def products(self) -> int:
        """Multiplications of a sample's way through the net."""
        return self.config.width * self.config.inputs.d + self.squares + self.config.concept.k * self.neurons[-1]


def memory(configs: Sequence[Config]) -> int:
    """Bytes that training the configs as one ensemble takes at its peak, on its device and on the host together."""
    sizes, E = Sizes(configs[0], max(config.samples for config in configs)), len(configs)
    config, s, inputs = sizes.config, sizes.itemsize, sizes.inputs
    solved, limit = not config.algorithm.iterative, config.learner.infinite
    evaluations = config.evaluations
    kept = s * inputs * (sizes.samples + config.test.curve_samples) + s * evaluations * config.test.curve_samples
    if limit:
        kept += s * sizes.samples * inputs
    else:
        kept += s * (sizes.weights + (1 if sizes.frozen else 2) * sizes.trained)
    drawn = max(config.test.samples, sizes.samples)
    fixed = _FIXED + 8 * inputs * drawn * min(E, _KEPT_DRAWS)
    drawing = 0 if limit else 8 * (sizes.weights + sizes.hidden)  # a member's weights, in float64
    alive = sizes.samples if limit else max(sizes.neurons)
    if chosen_engine(config) == "fused" and sizes.layers == 1:
        alive = 1  # its outputs come without activations in memory
    block = max(_FEWEST, _EVALUATED // (E * alive))
    of_block = min(block, drawn) * s * alive * (6 if limit else _forward_entries(sizes))
    measuring = E * (s * (config.test.samples * inputs + (0 if limit else sizes.weights)) + of_block)
    if solved:
        stepping = _solving(sizes, E)
    else:
        stepping = E * _table(config) + (_dual(configs, sizes) if chosen_engine(config) == "dual"
                                         else E * _step(sizes))
    return int(fixed + E * kept + max(drawing, measuring, stepping))


def seconds(configs: Sequence[Config], machine: Machine) -> float:
    """Time of training the configs as one ensemble and measuring them."""
    sizes, E, rates = Sizes(configs[0], max(config.samples for config in configs)), len(configs), machine.rates
    config = sizes.config
    slow = sizes.itemsize / 4
    measured = config.evaluations * config.test.curve_samples + 2 * config.test.samples + sizes.samples
    # A net of frozen signs is computed at initialization and at its weights, the linearization in one product more.
    ways = {"quadratic": 2, "ntk": 3 if sizes.layers == 2 else 2}.get(config.learner.trained, 1)
    forward = ways * rates.forward * sum(sizes.neurons)
    if sizes.layers == 2:
        forward += ways * 2 * rates.flop * sizes.squares
    if config.learner.infinite:
        forward = 10 * rates.forward * sizes.samples
    drawing = rates.sample * sizes.inputs * (config.test.curve_samples + 2 * config.test.samples + sizes.samples)
    if not config.algorithm.iterative:
        n, features = sizes.samples, sizes.trained
        side = n if config.learner.infinite else min(n, features)
        training = _groups(configs) * (rates.eigen * side**3 + 4 * rates.flop * n * side * max(config.width, side))
    else:
        training = config.total_steps * step_seconds(configs, machine)
    looks = math.ceil(config.total_steps / _CHUNK_STEPS) + config.evaluations
    rows = config.evaluations * _ROW_SECONDS
    return _PACK_SECONDS + looks * rates.look + training + E * (slow * measured * forward + drawing + rows)


def step_seconds(configs: Sequence[Config], machine: Machine) -> float:
    """Time of one step of all members."""
    sizes, E, rates = Sizes(configs[0], max(config.samples for config in configs)), len(configs), machine.rates
    config, slow = sizes.config, sizes.itemsize / 4
    B, m, layers = config.batch_size, config.width, sizes.layers
    match chosen_engine(config):
        case "fused":
            # Threads take a member each, or share one member after another: where those are too few, or too large.
            shared = machine.threads > E or 2 * sizes.squares * sizes.itemsize > _CORE_CACHE
            turns = E / machine.threads if shared else math.ceil(E / machine.threads)
            part = _FUSED_PARTS[layers].get(config.learner.trained, 1.0)
            work = (_at(rates.fused, m) * B * m * (config.inputs.d + 2) if layers == 1
                    else _at(rates.fused_flop, m) * 6 * B * m * m)
            alone = _at(rates.fused_alone if layers == 1 else rates.fused_flop_alone, m)
            return max(turns * (rates.fused_member * B / 50 + slow * part * work), slow * alone * B / 50)
        case "dual":
            G, N = _groups(configs), sizes.samples
            # A chunk's end: all samples' activations, and two gradients from them.
            passes = 1 if config.learner.trained == "last" else 3
            products = 2 * (6 if layers == 2 and sizes.frozen else 1) * N * sizes.products
            neurons, widest = sum(sizes.neurons), max(sizes.neurons)
            per_chunk = E * (products * rates.flop + passes * N * neurons * _at(rates.entry, E * N * widest))
            kernel = G * N * N * neurons * 2 * rates.flop / config.total_steps
            entries = G * B * N
            return rates.dual + slow * (_at(rates.dual_entry, G * N * N) * entries + per_chunk / _CHUNK_STEPS + kernel)
        case _:
            activations = E * B * sum(sizes.neurons)
            passes = 3 if config.learner.trained != "last" else 1
            products = 2 * E * B * passes * sizes.squares
            time = layers * (rates.call + E * rates.member) + slow * (
                activations * _at(rates.entry, activations) * (1.5 if sizes.frozen else 1) + products * rates.flop)
            if layers == 2:
                time += slow * E * sizes.trained * _at(rates.weight, E * sizes.trained)
            if config.algorithm.perturbed:
                time += 2e-8 * E * sizes.trained  # two Gaussians a weight
            return time


def members(configs: Sequence[Config], machine: Machine, most: int | None = None,
            pack_seconds: float = math.inf) -> int:
    """How many of these runs of one signature to train side by side: of the numbers that fit the machine's memory and
    that take at most `pack_seconds` the fewest that take little longer a run than the best does, and some seconds in
    all; or `most` if given.

    At least 1, even where a run alone does not fit or takes longer.
    """
    largest = sorted(configs, key=lambda config: config.samples, reverse=True)

    def too_many(E: int) -> bool:
        return memory(largest[:E]) > machine.memory or seconds(largest[:E], machine) > pack_seconds

    fitting = max(1, bisect(range(1, min(len(configs), most or MOST_MEMBERS) + 1), False, key=too_many))
    if most is not None:
        return fitting
    tried = sorted({*(1 << power for power in range(fitting.bit_length())), fitting})
    times = [seconds(largest[:E], machine) / E for E in tried]
    fast = [(E, E * time) for E, time in zip(tried, times, strict=True) if time <= _SLACK * min(times)]
    return next((E for E, time in fast if time >= _WORTH_A_FILE), fast[-1][0])


def _step(sizes: Sizes) -> int:
    """Bytes of a member in a step of the reference engine; the fused engine works on the weights in place."""
    config, s = sizes.config, sizes.itemsize
    if chosen_engine(config) == "fused":
        return 0
    # Activations, their signs (a byte) and gradients; a product with signs makes a copy of them as numbers.
    numbers = (1, 1) if config.learner.trained == "last" else (3, 1)
    if sizes.layers == 2:
        numbers = (2, 2) if config.learner.trained == "last" else (6, 2) if sizes.frozen else (5, 2)
    drawn = 5 if config.algorithm.perturbed else 0
    return config.batch_size * max(sizes.neurons) * (numbers[0] * s + numbers[1]) + (1 + drawn) * s * sizes.trained


def _dual(configs: Sequence[Config], sizes: Sizes) -> int:
    """Bytes of the dual engine: kernels, put together of a group's each, and all samples' activations."""
    E, G, N, s = len(configs), _groups(configs), sizes.samples, sizes.itemsize
    kernels = G * N * N * s
    numbers = {(1, True): (2, 1), (2, True): (5, 2), (1, False): (1, 1), (2, False): (2, 2)}[sizes.layers, sizes.frozen]
    activations = E * N * max(sizes.neurons) * (numbers[0] * s + numbers[1])
    return kernels + activations + 5 * E * s * sizes.trained


def _solving(sizes: Sizes, E: int) -> int:
    """Bytes of kernel ridge regression: one group's matrix with its eigenvectors and workspace, in float64."""
    n, m = sizes.samples, max(sizes.neurons)
    side = n if sizes.config.learner.infinite else min(n, sizes.trained)
    features = n * (m * 2 * sizes.layers if side == n else 2 * sizes.trained)
    return 8 * (5 * side * side + features) + 2 * 8 * E * sizes.trained


def _forward_entries(sizes: Sizes) -> int:
    """Numbers that are alive an evaluated sample and neuron."""
    return (4 if sizes.frozen else 2) if sizes.layers == 2 else (3 if sizes.frozen else 1)


def _table(config: Config) -> int:
    """Bytes of a member's minibatch table of a chunk."""
    return 8 * min(_CHUNK_STEPS, config.total_steps) * config.batch_size * 2


def _groups(configs: Sequence[Config]) -> int:
    """Members that share data and features, counted once."""
    return len({(config.seed, config.samples, config.concept.seed, config.noise.level) for config in configs})


def _at(table: Table, size: float) -> float:
    """The rate at a size."""
    sizes = [each for each, _ in table]
    place = bisect(sizes, size)
    if place in (0, len(table)):
        return table[min(place, len(table) - 1)][1]
    (low, before), (high, after) = table[place - 1:place + 1]
    share = math.log(size / low) / math.log(high / low)
    return before * (after / before) ** share
