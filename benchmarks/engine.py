"""`python -m benchmarks.engine`: our engines beside what a user would take instead, in one run on one machine.

Each measurement is a process of its own, with the same number of threads. A call takes enough steps for about 0.3
seconds; the first one is compile time, and the median of the next five counts. With --write-docs the rows go to
benchmarks/results/, and their tables and figures to docs/benchmarks.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np
import pandas as pd

from benchmarks import machine, tables
from benchmarks.peers import PEERS
from benchmarks.task import Task

CALLS = 5
CALL_SECONDS = 0.3
MOST_STEPS = 2000
# What a measurement may take of memory, roughly, and of time before the next larger E of its peer is left out.
MOST_BYTES = 4 << 30
TIMEOUT = 300

FULL = [Task(2, m, E) for m in (100, 1000, 10_000, 100_000) for E in (1, 16, 128, 1024)] + [
    Task(3, m, E) for m in (100, 500, 1000, 2000) for E in (1, 8)]
# By torch's name for it, JAX's.
PRECISIONS = {"highest": "highest", "high": "high", "medium": "default"}
# A GPU has room for more members, and needs them.
FULL_CUDA = [Task(2, m, E) for m in (100, 1000, 10_000) for E in (1, 128, 1024)] + [
    Task(3, m, E) for m in (100, 500, 1000, 2000) for E in (1, 8, 64)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--precision", default="highest", choices=list(PRECISIONS), help="of all peers' float32 matrix "
                        "products on a GPU: float32, three TF32 products, or one, which is JAX's own default there")
    parser.add_argument("--peers", help=f"of {', '.join(PEERS)} (default: all; on cuda, none sharded)")
    parser.add_argument("--tasks", help="instead of all, as layers:m:E: 2:1000:128,3:500:8")
    parser.add_argument("--check", action="store_true", help="compare the losses of all peers on small tasks instead")
    parser.add_argument("--write-docs", action="store_true", help="write the tables and figures of docs/benchmarks.md")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _work(**json.loads(options.worker))
        return
    sharded = {"JAX sharded"} if options.device == "cuda" else set()  # over the cores of a processor
    peers = options.peers.split(",") if options.peers else [peer for peer in PEERS if peer not in sharded]
    if unknown := [peer for peer in peers if peer not in PEERS]:
        parser.error(f"--peers {unknown[0]}: allowed: {', '.join(PEERS)}")
    if options.check:
        _check(peers, options)
        return
    tasks = FULL if options.device == "cpu" else FULL_CUDA
    if options.tasks:
        try:
            tasks = [Task(*map(int, each.split(":"))) for each in options.tasks.split(",")]
        except (TypeError, ValueError):
            parser.error(f"--tasks {options.tasks}: allowed: layers:m:E, as 2:1000:128, separated by commas")
    rows = _measure(tasks, peers, options)
    table = pd.DataFrame(rows)
    print(tables.markdown(table))
    if options.write_docs:
        tables.keep(f"engine-{options.device}", table)
        tables.write_docs(table)


def _measure(tasks: list[Task], peers: list[str], options: argparse.Namespace) -> list[dict]:
    about = machine.about(options.device, options.threads)
    print(f"{about['cpu']}, {options.threads} threads: {about['gemm_gflops']:.0f} GFLOP/s in a matrix product, "
          f"{about['bandwidth_gb']:.0f} GB/s", flush=True)
    rows = []
    for task in tasks:
        for peer in peers:
            if (peer == "naive loop" and task.E > 1) or _too_large(task, peer):
                continue
            best: dict = {}
            for way in range(len(PEERS[peer])):
                found = _worker(options, peer=peer, way=way, layers=task.layers, m=task.m, E=task.E)
                if found and (not best or found["us"] < best["us"]):
                    best = found
            if not best:
                continue
            gflops = task.flops / best["us"] / 1e3
            # Weights and velocity read and written once a step, at least where they do not fit a cache.
            floor = max(task.flops / about["peak_gflops"] / 1e3, 2 * task.weight_bytes / about["bandwidth_gb"] / 1e3
                        if task.E * task.weight_bytes > machine.CACHE_BYTES[options.device] else 0)
            rows.append({"peer": peer, "layers": task.layers, "m": task.m, "E": task.E, **best, "gflops": gflops,
                         "precision": options.precision, "of_gemm_peak": gflops / about["gemm_gflops"],
                         "of_roofline": floor / best["us"], **about})
            print(f"{task.layers} layers  m {task.m:6}  E {task.E:5}  {peer:14} {best['us']:12.3f} us a step and member"
                  f"  {gflops:7.1f} GFLOP/s  compiled in {best['compile_seconds']:.1f} s", flush=True)
    return rows


def _too_large(task: Task, peer: str) -> bool:
    activations = 0 if peer in ("fused", "naive loop") else 4 * task.activation_bytes
    return activations + 3 * task.E * task.weight_bytes > MOST_BYTES


def _worker(options: argparse.Namespace, **what: object) -> dict | None:
    """The measurement of one way of one peer; None, with a note, where it failed."""
    environment = os.environ | {name: str(options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, "-m", "benchmarks.engine", "--worker",
               json.dumps({**what, "device": options.device, "threads": options.threads,
                           "precision": options.precision})]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=True)
    except subprocess.TimeoutExpired:
        print(f"left out, over {TIMEOUT} s: {what}", file=sys.stderr)
        return None
    except subprocess.CalledProcessError as error:
        print(f"left out, failed: {what}: {error.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def _work(peer: str, way: int, layers: int, m: int, E: int, device: str, threads: int, precision: str,
          losses_of: int = 0) -> None:
    """In a process of its own: measure, and print the result as JSON."""
    os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = PRECISIONS[precision]
    if precision != "highest":  # torch's default
        import torch

        torch.set_float32_matmul_precision(precision)
    if device == "cpu":  # for libraries that count the processor's cores themselves
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    task, prepare = Task(layers, m, E), PEERS[peer][way]
    if losses_of:
        print(json.dumps(prepare(task, task.arrays(losses_of), device)().tolist()))
        return
    steps = _steps_for(task, prepare, device)
    train = prepare(task, task.arrays(steps), device)
    first, *seconds = (timed(train) for _ in range(CALLS + 1))
    median = statistics.median(seconds)
    print(json.dumps({"us": median / steps / E * 1e6, "fastest_us": min(seconds) / steps / E * 1e6, "steps": steps,
                      "compile_seconds": max(0.0, first - median), "way": prepare.__name__,
                      "peak_mb": machine.peak_memory() / 1e6}))


def _steps_for(task: Task, prepare: object, device: str) -> int:
    """As many steps as take about CALL_SECONDS."""
    few = 10
    train = prepare(task, task.arrays(few), device)
    timed(train)
    return int(np.clip(CALL_SECONDS / (timed(train) / few), few, MOST_STEPS))


def timed(train: object) -> float:
    started = time.perf_counter()
    train()
    return time.perf_counter() - started


def _check(peers: list[str], options: argparse.Namespace) -> None:
    """All peers' losses of 20 steps against those of the reference engine."""
    for layers, m in ((2, 100), (3, 60)):
        base = {"layers": layers, "m": m, "losses_of": 20}
        for peer in peers:
            E = 1 if peer == "naive loop" else 3
            expected = np.array(_worker(options, peer="reference", way=0, E=E, **base))
            for way, prepare in enumerate(PEERS[peer]):
                found = _worker(options, peer=peer, way=way, E=E, **base)
                apart = np.inf if found is None else np.abs(np.array(found) / expected - 1).max()
                print(f"{layers} layers  {prepare.__name__:14} losses differ by {apart:.1e}", flush=True)
                if apart > 1e-3:
                    sys.exit(1)


if __name__ == "__main__":
    main()
