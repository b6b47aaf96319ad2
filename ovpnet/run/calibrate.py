"""The rates of this machine for `ovpnet.engine`, from small ensembles trained for a second or two, and kept."""

import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

import ovpnet
from ovpnet import native
from ovpnet.engine.base import Shape
from ovpnet.engine.choice import FALLBACK
from ovpnet.engine.limits import CHUNK_STEPS
from ovpnet.engine.rates import Machine, Rates, Table
from ovpnet.engine.registry import lookup
from ovpnet.problem.opt import Opt
from ovpnet.problem.streams import Stream
from ovpnet.run import memory
from ovpnet.spec.choices import ALGORITHMS, CONCEPTS, INPUTS, LEARNERS, LOSSES, NOISES, REGULARIZERS
from ovpnet.spec.config import Config, DiagnosticsConfig, RiskConfig, TrackerConfig
from ovpnet.spec.identity import digest
from ovpnet.training.ensemble import Ensemble
from ovpnet.training.outcome import Goal
from ovpnet.training.risk import losses

# Seconds that one of a measurement's repetitions takes, about, and the part of the free memory that a pack may.
_BUDGET, _SHARE = 0.05, 0.7
# Widths at which the fused engine is measured. A GPU keeps W on chip up to about m = 2000, and rounds m up there.
_TWO_LAYERS = {"cpu": (100, 1000, 100_000), "cuda": (100, 300, 1000, 3000, 10_000, 100_000)}
_THREE_LAYERS = (100, 300, 1000)
_CONFIG = Config(
    width=8, samples=64, lr=1e-9, steps=512, evaluations=1, batch_size=50, concept=CONCEPTS["figure1"](),
    inputs=INPUTS["normalized_gaussian"](), noise=NOISES["none"](), loss=LOSSES["l2"](),
    learner=LEARNERS["two_layer"](), regularizer=REGULARIZERS["frobenius"](),
    algorithm=ALGORITHMS["momentum_sgd"](momentum=0.9, sampling="shuffle"),
    diagnostics=DiagnosticsConfig(), tracker=TrackerConfig(), test=RiskConfig(samples=2048, curve_samples=2048))


@cache
def machine(device: torch.device) -> Machine:
    """Return this machine, with the rates measured now or kept from before.

    They are kept in the folder OVPNET_CACHE, else in the user's cache directory.
    """
    file = _cache() / f"rates-{digest(_measured_with(device))}.json"
    try:
        kept: Any = {name: _table(value) if isinstance(value, list) else value
                     for name, value in json.loads(file.read_text()).items()}
        rates = Rates(**kept)
    except (OSError, ValueError, TypeError):
        print("measuring the speed of this machine for plans and progress, once", file=sys.stderr)
        rates = measured(device)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(asdict(rates)))
        except OSError:
            pass  # measured again the next time
    return Machine(rates, free_memory(device), torch.get_num_threads() if device.type == "cpu" else 1)


def free_memory(device: torch.device) -> int:
    """Return the bytes that a pack may take: a part of what is free now."""
    if device.type == "cuda":
        return int(_SHARE * torch.cuda.mem_get_info(device)[0])
    return int(_SHARE * memory.free())


def measured(device: torch.device) -> Rates:
    """Measure the rates."""
    base = {E: _step(_CONFIG, E, "reference", device) for E in (1, 64)}
    member = max(0.0, (base[64] - base[1]) / 63)
    call = max(1e-7, base[1] - member)
    wide = replace(_CONFIG, width=1000)
    entry = _table([(E * 50_000, (_step(wide, E, "reference", device) - call - E * member) / (E * 50_000))
                    for E in _side_by_side(device, cpu=(1, 4, 16, 64), cuda=(1, 64, 256, 1024))])
    flop, weight = _three_layers(device, call + member, entry)
    fused, fused_flop, fused_member, fused_alone, fused_flop_alone = _fused(device)
    dual, dual_entry = _dual(device)
    forward, sample = _evaluation(device)
    return Rates(call, member, entry, weight, flop, fused, fused_flop, fused_member, fused_alone, fused_flop_alone,
                 dual, dual_entry, _look(device), forward, sample, _eigen(device))


def _side_by_side(device: torch.device, cpu: tuple[int, ...], cuda: tuple[int, ...]) -> tuple[int, ...]:
    """Return the members that are measured together: what a core's caches tell apart, or so many as fill a GPU."""
    return cpu if device.type == "cpu" else cuda


def _three_layers(device: torch.device, calls: float, entry: Table) -> tuple[float, Table]:
    m, [several] = 1000, _side_by_side(device, (1,), (32,))
    x, weights = torch.randn(several, 50, m, device=device), torch.randn(several, m, m, device=device)
    flop = _least(lambda: x @ weights, device) / (2 * several * 50 * m * m)
    weight = []
    for width, E in zip((300, m, m), _side_by_side(device, (1, 1, 3), (1, 1, 32)), strict=True):
        config = replace(_CONFIG, width=width, learner=LEARNERS["three_layer"]())
        others = 2 * calls + 2 * E * 50 * width * entry[0][1] + E * 6 * 50 * width**2 * flop
        weights_of_all = E * width * (width + 4)
        weight.append((weights_of_all, (_step(config, E, "reference", device) - others) / weights_of_all))
    return flop, _table(weight)


def _fused(device: torch.device) -> tuple[Table, Table, float, Table, Table]:
    """Return the rates of two layers, three, a narrow net; and, of a GPU, two and three layers of a member alone."""
    threads = torch.get_num_threads() if device.type == "cpu" else 1

    def of(learner: str, width: int, E: int) -> float:
        config = replace(_CONFIG, width=width, learner=LEARNERS[learner]())
        return _step(config, E * threads, "fused", device)

    [several] = _side_by_side(device, (16,), (1024,))
    member = of("two_layer", _CONFIG.width, several) / several
    widths, many = _TWO_LAYERS[device.type], _side_by_side(device, (16, 4, 1), (1024, 1024, 512, 64, 64, 8))
    two = [(m, (of("two_layer", m, E) / E - member) / (50 * 6 * m))
           for m, E in zip(widths, many, strict=True)]
    many = _side_by_side(device, (1, 1, 1), (256, 64, 32))
    three = [(m, (of("three_layer", m, E) / E - member) / (6 * 50 * m * m))
             for m, E in zip(_THREE_LAYERS, many, strict=True)]
    alone, flop_alone = [(1, 0.0)], [(1, 0.0)]
    if device.type == "cuda":
        alone = [(m, of("two_layer", m, 1)) for m in widths]
        flop_alone = [(m, of("three_layer", m, 1)) for m in _THREE_LAYERS]
    return _table(two), _table(three), member, tuple(alone), tuple(flop_alone)


def _dual(device: torch.device) -> tuple[float, Table]:
    linear = replace(_CONFIG, learner=LEARNERS["two_layer"](trained="last"))
    call = _step(linear, 1, "dual", device, 128)
    entry = []
    for E, samples in ((1, 400), (4, 600), (8, 1200)):
        time = _step(replace(linear, samples=samples), E, "dual", device, 128)
        entry.append((E * samples**2, (time - call) / (E * 50 * samples)))
    return call, _table(entry)


def _look(device: torch.device) -> float:
    """Return the seconds from one chunk of a step to the next, each with an evaluation."""
    ensemble = _ensemble(replace(_CONFIG, steps=24, evaluations=24), 8, "fused", device)
    times = [time.perf_counter()]
    ensemble.train(on_chunk=lambda: times.append(time.perf_counter()))
    return statistics.median(after - before for before, after in itertools.pairwise(times))


def _evaluation(device: torch.device) -> tuple[float, float]:
    ensemble = _ensemble(replace(_CONFIG, width=1000), 8, "reference", device)
    n = 2048
    started = time.perf_counter()
    x, y = ensemble.members.fresh(Stream.TEST, n)
    sample = (time.perf_counter() - started) / (8 * n * 5)
    net, loss = ensemble.evaluator.net, ensemble.members.loss
    forward = _least(lambda: losses(net, loss, ensemble.state.weights, x, y), device)
    return forward / (8 * n * 1000), sample


def _eigen(device: torch.device) -> float:
    matrix = torch.eye(400, dtype=torch.float64, device=device) + 0.01
    return _least(lambda: torch.linalg.eigh(matrix), device) / 400**3


def _ensemble(config: Config, E: int, engine: str, device: torch.device) -> Ensemble:
    """Return an ensemble in this engine's hands, or in the reference engine's if it cannot train here."""
    goal = Goal(Opt("", 0.0, 0.0, "noise", 0.0, 0.0, 1.0), 1.0)
    able = lookup(engine) if lookup(engine).lacks_on(config, device.type) is None else lookup(FALLBACK)
    shape = Shape.of([replace(config, seed=seed) for seed in range(E)], able)
    return Ensemble(shape, [goal] * E, able.stepper(device), device)


def _step(config: Config, E: int, engine: str, device: torch.device, most: int = CHUNK_STEPS) -> float:
    """Return the least seconds of a step of all members, of three chunks.

    A chunk takes about the budget, and has `most` steps at most.
    """
    ensemble, steps = _ensemble(config, E, engine, device), 2
    while True:
        chunk = ensemble.feed.chunk(0, 0, steps)
        advance = partial(ensemble.stepper.advance, ensemble.rule, ensemble.state, chunk)
        taken = min(_least(advance, device, 0.0) for _ in range(3))
        if taken > _BUDGET / 2 or steps >= most:
            return taken / steps
        steps = min(most, max(2 * steps, int(steps * _BUDGET / taken)))


def _least(work: Callable[[], object], device: torch.device, budget: float = _BUDGET) -> float:
    """Return the least seconds of some work, which is done once at least.

    torch.utils.benchmark.Timer tells the means of blocks of calls. While other programs ran on the same two cores, the
    least of these means was 1.5 to 2.8 times the least call (a matrix product, a sum).
    """
    best, deadline = float("inf"), time.perf_counter() + budget
    while True:
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        best = min(best, now - started)
        if now >= deadline:
            return best


def _table(rates: Iterable[tuple[float, float]]) -> Table:
    """Return rates of a size each, none of them 0 or less (a difference of measurements may be)."""
    return tuple((size, max(1e-13, rate)) for size, rate in rates)


def _measured_with(device: torch.device) -> dict[str, object]:
    # A processor's instructions, caches and cores tell it from others. Its name takes py-cpuinfo 1.2 s.
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else dict(torch.cpu.get_capabilities())
    return {"device": processor, "threads": torch.get_num_threads(), "torch": torch.__version__,
            "ovpnet": ovpnet.__version__, "compiled": native.library() is not None}


def _cache() -> Path:
    given = os.environ.get("OVPNET_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ovpnet"
