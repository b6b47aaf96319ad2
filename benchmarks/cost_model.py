"""`python -m benchmarks.cost_model`: predicted bytes and seconds against measured ones, over a range of sizes.

Bytes: the peak of a process's resident memory while it trains and measures an ensemble, less what it had before (after
an ensemble of two narrow nets); on a GPU the peak of what its allocator gave, less what it had given before. Seconds:
the least time of a step of all members; and of a whole pack, measuring included. The rates are measured at the
beginning, on as many threads. With --write-docs the figure and the table go to docs/images/cost_model.png and
benchmarks/results/. Linux only.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from matplotlib.figure import Figure

from benchmarks.tables import DOCS, keep
from ovpnet.engine.choice import engine_on, shape_of
from ovpnet.engine.rates import Machine
from ovpnet.problem.opt import Opt
from ovpnet.run.calibrate import measured
from ovpnet.spec.config import Config
from ovpnet.spec.schemas import conf_dir, register_schemas, resolve
from ovpnet.training.ensemble import Ensemble
from ovpnet.training.outcome import goal

BASE = ["concept=figure1", "inputs=normalized_gaussian", "inputs.d=4", "samples=400", "lr_scaling=none", "lr=1e-6",
        "evaluations=2", "test.samples=2048", "test.max_samples=2048", "test.curve_samples=1024"]
TWO, THREE = ["learner=two_layer"], ["learner=three_layer"]
HIDDEN, NTK, LAST = ([f"learner.trained={trained}"] for trained in ("hidden", "ntk", "last"))
REFERENCE, FUSED, DUAL = ([f"engine={name}"] for name in ("reference", "fused", "dual"))
KINDS = ("step", "pack", "bytes")
# Overrides, and (width, members) of what is measured.
Cases = list[tuple[list[str], list[tuple[int, int]]]]
BYTES: Cases = [
    ([*TWO, *HIDDEN, *REFERENCE], [(1000, 128), (10_000, 16), (100, 512), (100_000, 4)]),
    ([*TWO, *HIDDEN, *FUSED], [(1000, 512), (100_000, 16), (10_000, 128)]),
    ([*TWO, *LAST, *REFERENCE], [(100_000, 4)]),
    ([*THREE, *HIDDEN, *REFERENCE], [(300, 64), (1000, 4), (1000, 16), (2000, 2)]),
    ([*THREE, *HIDDEN, *FUSED], [(300, 64), (1000, 16), (2000, 4)]),
    ([*THREE, *NTK, *DUAL], [(1000, 8), (300, 32)]),
    ([*TWO, *NTK, *DUAL], [(10_000, 8), (1000, 64)]),
    ([*TWO, *LAST, *DUAL], [(10_000, 8)]),
    ([*THREE, *NTK, "algorithm=kernel_ridge", "samples=2000"], [(1000, 4)]),
    ([*TWO, *LAST, "algorithm=kernel_ridge", "samples=2000"], [(10_000, 4)]),
]
STEPS: Cases = [
    ([*TWO, *HIDDEN, *FUSED], [(30, 64), (100, 16), (1000, 8), (3000, 8), (30_000, 4), (100_000, 2)]),
    ([*TWO, *NTK, *FUSED], [(300, 16), (3000, 8)]), ([*TWO, *LAST, *FUSED], [(1000, 8)]),
    ([*THREE, *HIDDEN, *FUSED], [(100, 16), (300, 8), (500, 4), (1000, 2), (2000, 1)]),
    ([*THREE, *NTK, *FUSED], [(500, 4)]), ([*THREE, *LAST, *FUSED], [(500, 4)]),
    ([*TWO, *HIDDEN, *REFERENCE], [(30, 1), (30, 64), (300, 16), (2000, 1), (2000, 8), (10_000, 4)]),
    ([*THREE, *HIDDEN, *REFERENCE], [(100, 1), (100, 32), (500, 4), (1000, 2), (2000, 1)]),
    ([*THREE, *NTK, *DUAL], [(300, 1), (300, 8)]),
    ([*TWO, *LAST, *DUAL], [(1000, 1), (1000, 16)]),
]
PACKS: Cases = [([*TWO, *HIDDEN, *FUSED, "steps=2000"], [(100, 16), (1000, 8)]),
                ([*THREE, *HIDDEN, *FUSED, "steps=500"], [(300, 8)]),
                ([*TWO, *HIDDEN, *REFERENCE, "steps=1000"], [(300, 8)]),
                ([*THREE, *HIDDEN, *REFERENCE, "steps=300"], [(300, 4)]),
                ([*THREE, *NTK, *DUAL, "steps=2000"], [(300, 4)])]

# On a GPU, where as many members are no burden; bytes are the device's alone, of which the model's are an upper bound.
CUDA_BYTES: Cases = [([*TWO, *HIDDEN, *FUSED], [(1000, 512), (100_000, 64), (1_000_000, 8)]),
                     ([*THREE, *HIDDEN, *FUSED], [(300, 128), (1000, 64), (5000, 4)]),
                     ([*THREE, *NTK, *DUAL], [(1000, 16)]), ([*TWO, *LAST, *DUAL], [(10_000, 16)]),
                     ([*TWO, *HIDDEN, *REFERENCE], [(1000, 256)])]
CUDA_STEPS: Cases = [
    ([*TWO, *HIDDEN, *FUSED], [(30, 512), (100, 64), (300, 512), (1000, 16), (1000, 256), (3000, 64), (10_000, 4),
                               (10_000, 64), (100_000, 1), (100_000, 16), (1_000_000, 2)]),
    ([*TWO, *NTK, *FUSED], [(300, 256)]), ([*TWO, *LAST, *FUSED], [(1000, 256)]),
    ([*THREE, *HIDDEN, *FUSED], [(100, 64), (300, 8), (300, 128), (1000, 1), (1000, 16), (2000, 8)]),
    ([*TWO, *HIDDEN, *REFERENCE], [(30, 64), (2000, 8), (1000, 512)]),
    ([*THREE, *HIDDEN, *REFERENCE], [(100, 64), (1000, 16)]),
    ([*THREE, *NTK, *DUAL], [(300, 8), (1000, 16)]), ([*TWO, *LAST, *DUAL], [(1000, 64)]),
]
CUDA_PACKS: Cases = [([*TWO, *HIDDEN, *FUSED, "steps=2000"], [(100, 512), (1000, 128)]),
                     ([*TWO, *HIDDEN, *FUSED, "steps=2000", "evaluations=20"], [(100, 64)]),
                     ([*THREE, *HIDDEN, *FUSED, "steps=2000"], [(300, 64)]),
                     ([*THREE, *NTK, *DUAL, "steps=2000"], [(300, 16)])]


def configs(overrides: Sequence[str], width: int, members: int) -> list[Config]:
    """Members of different seeds."""
    given = {each.split("=")[0] for each in overrides}
    base = [each for each in [*BASE, "steps=16"] if each.split("=")[0] not in given]
    if "algorithm=kernel_ridge" in overrides:
        base.remove("steps=16")
    with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        config = resolve(compose("config", [*base, *overrides, f"width={width}"]))
    return [replace(config, seed=seed) for seed in range(members)]


def ensemble(members: Sequence[Config]) -> Ensemble:
    goals = [goal(config, Opt("", 0, 0, "noise", 0, 0, 1)) for config in members]
    where, shape = torch.device(members[0].device), shape_of(members)
    return Ensemble(shape, goals, engine_on(shape, where).stepper(where), where)


def peak_bytes(overrides: list[str], width: int, members: int) -> int:
    """Rise of this process's resident memory, or of a GPU's that it has taken, while it trains."""
    ensemble(configs(overrides, 10, 2)).train()
    asked = configs(overrides, width, members)
    if asked[0].device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        ensemble(asked).train()
        return torch.cuda.max_memory_allocated() - before
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    ensemble(asked).train()
    return _status("VmHWM") - before


def least_step_seconds(members: Sequence[Config], budget: float = 1.0) -> float:
    """Least time of a step of all members: of whole chunks where they take no longer than the budget."""
    trained, steps, best = ensemble([replace(config, steps=512) for config in members]), 2, float("inf")

    def taken() -> float:
        chunk = trained.feed.chunk(0, 0, steps)
        started = time.perf_counter()
        trained.stepper.advance(trained.rule, trained.state, chunk)
        if trained.members.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    taken()  # a GPU's kernels are compiled
    deadline = time.perf_counter() + budget
    while time.perf_counter() < deadline:
        now = taken()
        best = min(best, now / steps)
        if now < budget / 5:
            steps = min(512, 2 * steps)
    return best


def pack_seconds(members: Sequence[Config]) -> float:
    started = time.perf_counter()
    ensemble(members).train()
    return time.perf_counter() - started


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name))) << 10


def compare(machine: Machine, device: str, what: Sequence[str]) -> list[dict[str, object]]:
    rows = []

    def add(kind: str, overrides: list[str], width: int, members: int, predicted: float, found: float) -> None:
        names = " ".join(each.split("=")[1] for each in overrides)
        rows.append({"kind": kind, "what": names, "width": width, "members": members, "predicted": predicted,
                     "measured": found})
        scale, unit = {"bytes": (1e-6, "MB"), "step": (1e6, "us"), "pack": (1, "s")}[kind]
        print(f"{kind:6} {names:38} m={width:7} E={members:4} predicted {predicted * scale:10.2f} measured "
              f"{found * scale:10.2f} {unit} ratio {predicted / found:5.2f}", flush=True)

    of_device = (STEPS, PACKS, BYTES) if device == "cpu" else (CUDA_STEPS, CUDA_PACKS, CUDA_BYTES)
    for kind, cases in zip(KINDS, of_device, strict=True):
        for overrides, sizes in cases if kind in what else []:
            for width, members in sizes:
                asked = configs([*overrides, f"device={device}"], width, members)
                if kind == "step":
                    asked = [replace(config, steps=512) for config in asked]
                    predicted = shape_of(asked).step_seconds(machine)
                    add(kind, overrides, width, members, predicted, least_step_seconds(asked))
                elif kind == "pack":
                    assert asked[0].total_steps > 16
                    add(kind, overrides, width, members, shape_of(asked).seconds(machine), pack_seconds(asked))
                else:
                    command = [sys.executable, "-m", "benchmarks.cost_model", "--threads", str(machine.threads),
                               "--peak", json.dumps([[*overrides, f"device={device}"], width, members])]
                    # How the allocator's heap comes to be cut up differs between processes.
                    found = min(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                                for _ in range(3 if device == "cpu" else 1))
                    add(kind, overrides, width, members, shape_of(asked).memory, found)
    return rows


def plot(rows: Sequence[dict[str, object]]) -> Figure:
    """Predicted against measured, with lines at equality and 25% off."""
    kinds = [("step", "a step of all members (s)"), ("pack", "a pack (s)"), ("bytes", "peak memory (bytes)")]
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    for axis, (kind, label) in zip(figure.subplots(1, 3), kinds, strict=True):
        of_kind = [row for row in rows if row["kind"] == kind]
        for what in dict.fromkeys(row["what"] for row in of_kind):
            points = [row for row in of_kind if row["what"] == what]
            axis.plot([row["measured"] for row in points], [row["predicted"] for row in points], "o", label=what)
        low, high = axis.get_xlim()
        low = min((row["measured"] for row in of_kind), default=low)
        axis.plot([low, high], [low, high], "k-", lw=0.8)
        for factor in (0.75, 1.25):
            axis.plot([low, high], [factor * low, factor * high], "k:", lw=0.8)
        axis.set(xscale="log", yscale="log", xlabel=f"measured: {label}", ylabel="predicted")
        if of_kind:
            axis.legend(fontsize=6)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", choices=KINDS, action="append")
    parser.add_argument("--write-docs", action="store_true")
    parser.add_argument("--peak", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    register_schemas()
    torch.set_num_threads(given.threads)
    if given.peak:
        print(peak_bytes(*given.peak))
        return
    started = time.perf_counter()
    rates = measured(torch.device(given.device))
    print(f"rates measured in {time.perf_counter() - started:.1f} s, {given.threads} threads: {rates}")
    machine = Machine(rates, 1 << 34, given.threads if given.device == "cpu" else 1)
    rows = compare(machine, given.device, given.only or KINDS)
    within = sum(0.75 <= float(row["predicted"]) / float(row["measured"]) <= 1.25 for row in rows)  # type: ignore[arg-type]
    print(f"{within} of {len(rows)} within 25%")
    if given.write_docs:
        name = "cost_model" if given.device == "cpu" else "cost_model_cuda"
        keep(name, pd.DataFrame(rows))
        plot(rows).savefig(DOCS / "images" / f"{name}.png", dpi=130)


if __name__ == "__main__":
    main()
