"""`python -m benchmarks.tracking [--runs 1000]`: what tracking in W&B costs, in jobs and when runs are uploaded.

Runs are rows of 60 columns with a curve of 20 points, in packs of 100. Jobs: time and files of a run in each mode of
the tracker, beside the offline run of W&B's client that a job would write otherwise (one service process for all, and
nothing collected that need not be). Uploads: `ovpnet launch sync` beside `wandb sync` of as many offline runs, which
have to be written first, both to the server on loopback that the tests use, 8 at a time. The server is this process
and the client others, on one machine: these are what the client can do, not what a network lets it do.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb

from launch.sync import sync
from ovpnet.record.store import Store
from ovpnet.record.tracking import Target, report, track, tracked
from ovpnet.spec.config import TrackerConfig
from tests.wandb_server import KEY, WandbServer

PACK, POINTS, PARALLEL = 100, 20, 8


def row(number: int) -> dict[str, Any]:
    return {"run_id": f"{number:012x}", "width": 64, "samples": 400, "seed": number, "lr": 0.25, "steps": 200,
            "study": "s", "concept.name": "figure1", "learner.name": "two_layer", "tracker.project": "p",
            **{f"algorithm.key{i}": i / 7 for i in range(25)}, "status": "done", "reached": True,
            **{f"result_{i}": number / (i + 1) for i in range(23)}, "pack_id": str(number // PACK),
            "finished_at": "2026-01-01T00:00:00+00:00"}


def curve(number: int) -> list[dict[str, Any]]:
    return [{"run_id": f"{number:012x}", "step": 10 * i, "samples_seen": 100 * i, "train_risk": 1 / i,
             "test_risk": 2 / i, "test_risk_se": 0.01} for i in range(1, POINTS + 1)]


def packs(runs: int) -> Iterator[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """Rows and curves of each pack."""
    for start in range(0, runs, PACK):
        numbers = range(start, min(start + PACK, runs))
        yield [row(n) for n in numbers], [point for n in numbers for point in curve(n)]


def files(directory: Path) -> int:
    return sum(1 for _ in directory.rglob("*"))


def job(directory: Path, runs: int, config: TrackerConfig | None) -> tuple[float, float]:
    """Seconds and files a run of what a job does about W&B; None: the client's own offline runs."""
    directory.mkdir()
    started = time.perf_counter()
    for rows, curves in packs(runs):
        if config is not None:
            track(config, directory, rows, curves)
            continue
        for number, each in enumerate(rows):
            points = curves[number * POINTS:(number + 1) * POINTS]
            report(tracked("run", [each], points), Target("", "p", "", "run"), directory, "offline", resume=False)
        wandb.teardown()
    return (time.perf_counter() - started) / runs, files(directory) / runs


def upload(store: Path, per: str) -> float:
    """Seconds of a sync."""
    started = time.perf_counter()
    assert not sync(store, per=per, parallel=PARALLEL).failed
    return time.perf_counter() - started


def child(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns in a process of its own, with the environment of this one."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


@contextmanager
def server() -> Iterator[WandbServer]:
    with WandbServer() as running:
        os.environ |= {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": running.url}
        yield running


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        print(f"{'in jobs':34} {'ms a run':>9} {'ratio':>7} {'files a run':>12}")
        base = 0.0
        cases: list[tuple[str, TrackerConfig | None, int]] = [
            ("wandb offline, a folder a run", None, runs),
            ("tracker.mode=offline", TrackerConfig(name="wandb", mode="offline"), runs),
            ("tracker.mode=online", TrackerConfig(name="wandb", mode="online", project="p"), min(runs, 200)),
            ("tracker.mode=online per=pack", TrackerConfig(name="wandb", mode="online", project="p", per="pack"), runs)]
        with server():
            for number, (name, config, count) in enumerate(cases):
                seconds, made = child(job, root / f"job{number}", count, config)
                base = base or seconds
                print(f"{name:34} {1e3 * seconds:9.3f} {base / max(seconds, 1e-9):6.0f}x {made:12.2f}", flush=True)

        print(f"\n{f'{runs} runs, {PARALLEL} at a time':34} {'s':>9} {'runs/s':>7} {'requests a run':>15}")
        with server() as running:
            started = time.perf_counter()
            log = (root / "wandb.log").open("wb")
            subprocess.run([sys.executable, "-m", "wandb", "sync", "-n", str(PARALLEL), str(root / "job0" / "wandb")],
                           stdout=log, stderr=log, check=True, env=os.environ | {"WANDB_DIR": temporary})
            show("wandb sync, without writing them", time.perf_counter() - started, running)
        for per in ("run", "pack", "sweep"):
            store = Store(root / f"store-{per}")
            store.prepare()
            for rows, curves in packs(runs):
                store.write_pack(rows, curves)
            with server() as running:
                show(f"launch sync --per {per}", child(upload, store.path, per), running, runs)
                print(f"{'  again':34} {child(upload, store.path, per):9.1f}", flush=True)


def show(name: str, seconds: float, running: WandbServer, runs: int | None = None) -> None:
    count = runs or len(running.runs)
    print(f"{name:34} {seconds:9.1f} {count / seconds:7.0f} {len(running.requests) / count:15.2f}", flush=True)


if __name__ == "__main__":
    main()
