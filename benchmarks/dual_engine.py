"""`python -m benchmarks.dual_engine`: the dual engine against the reference engine, the same runs side by side.

Time of an SGD step and member of Section 7's NTK and conjugate-kernel series (figure1, N = 1000, batch 50, momentum),
for an ensemble of 6 runs of one seed (a small grid of lr and weight decay): a whole chunk, after one to warm up.
Both engines end at the same weights; the greatest difference relative to their size is printed beside.
"""

import itertools
import time
from dataclasses import replace

import torch
from hydra import compose, initialize_config_dir

from ovpnet.engine.choice import shape_of
from ovpnet.engine.limits import CHUNK_STEPS
from ovpnet.engine.steppers.dual import DualStepper
from ovpnet.engine.steppers.reference import ReferenceStepper
from ovpnet.engine.steps import Stepper
from ovpnet.problem.opt import Opt
from ovpnet.spec.schemas import conf_dir, register_schemas, resolve
from ovpnet.training.ensemble import Ensemble
from ovpnet.training.outcome import goal

OVERRIDES = ["concept=figure1", "inputs=normalized_gaussian", "inputs.d=4", "samples=1000", "lr_scaling=none",
             f"steps={2 * CHUNK_STEPS}", "evaluations=2", "learner=three_layer"]
CASES = [("ntk", 100, 1e-3), ("ntk", 300, 5e-4), ("ntk", 1000, 2e-4), ("last", 300, 0.2), ("last", 1000, 0.2)]


def measure(stepper: Stepper, overrides: list[str]) -> tuple[float, Ensemble]:
    """Seconds a step and member of the second half of the steps, and the trained ensemble."""
    with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        base = resolve(compose("config", overrides))
    configs = [replace(base, lr=base.lr * factor, weight_decay=decay)
               for factor, decay in itertools.product((1, 0.5, 0.2), (0.0, 1e-4))]
    goals = [goal(config, Opt("", 0, 0, "noise", 0, 0, 1)) for config in configs]
    ensemble = Ensemble(shape_of(configs), goals, stepper, torch.device("cpu"))
    seconds = 0.0
    for block in range(2):
        chunk = ensemble.feed.chunk(block, block * CHUNK_STEPS, (block + 1) * CHUNK_STEPS)
        started = time.perf_counter()
        stepper.advance(ensemble.rule, ensemble.state, chunk)
        seconds = time.perf_counter() - started
    return seconds / CHUNK_STEPS / len(configs), ensemble


def main() -> None:
    register_schemas()
    print(f"{torch.get_num_threads()} threads; us a step and member")
    print(f"{'trained':8} {'m':>6} {'reference':>10} {'dual':>8} {'ratio':>7}   difference")
    for trained, width, lr in CASES:
        overrides = [*OVERRIDES, f"learner.trained={trained}", f"width={width}", f"lr={lr}"]
        slow, expected = measure(ReferenceStepper(), overrides)
        fast, found = measure(DualStepper(), overrides)
        apart = max(((found.state.weights[name] - expected.state.weights[name]).norm()
                     / expected.state.weights[name].norm()).item() for name in expected.members.net.trained)
        times = f"{slow * 1e6:10.1f} {fast * 1e6:8.1f} {slow / fast:7.1f}"
        print(f"{trained:8} {width:6} {times}   {apart:.0e}", flush=True)


if __name__ == "__main__":
    main()
