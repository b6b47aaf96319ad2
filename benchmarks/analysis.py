"""`python -m benchmarks.analysis`: time and memory of the analysis of large stores, beside pandas reading all files.

A synthetic store has 500 runs a file, of 20 problems, 5 widths, 20 N, 50 seeds and 10 learning rates, with all columns
of a real row, and 100 points a learning curve. It is written file by file, and removed afterwards (a million: 3 GB).
Each measurement is a process of its own. The peer is `pandas.concat(map(pandas.read_parquet, files))`, with which every
question about the rows or the curves begins where there is no analysis. With --write-docs the rows go to
benchmarks/results/, and their table to docs/benchmarks.md.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import machine, tables
from ovpnet.run.results import config_row
from ovpnet.spec import schemas
from ovpnet.spec.config import Config

RUNS = (10_000, 100_000, 1_000_000)
A_FILE, POINTS, SEEDS = 500, 100, 50
WIDTHS, LRS = (64, 256, 1024, 4096, 16384), np.geomspace(0.1, 10, 10)
SAMPLES = np.round(100 * 1.25 ** np.arange(20)).astype(int)
A_PROBLEM = SEEDS * len(WIDTHS) * len(LRS) * len(SAMPLES)
VERDICT = "from analysis.__main__ import main; assert main(['verdict', '--store', {store!r}]) == 0"
PEER = "import glob, pandas; pandas.concat(map(pandas.read_parquet, glob.glob('{store}/{kind}-*.parquet')))"
# One problem's best-tuned runs: 5,000 learning curves, more than a report shows.
CURVES = """
from analysis.load import load
from analysis.tune import best_tuned
stored, keys = load({store!r}, ["concept.seed=0"]), ["width", "samples", "seed", "lr"]
best = best_tuned(stored.runs)[keys].merge(stored.runs[[*keys, "run_id"]], on=keys)
assert len(stored.curves_of(best["run_id"], ["test_risk"]))
"""
# The peak of what wait4 says counts the parent's memory at the fork too.
PEAK = """
import sys
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1], file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", default=RUNS, help="sizes of the store")
    parser.add_argument("--peer-points", type=int, default=10**7, help="most points that pandas is given to read whole")
    parser.add_argument("--directory", help="where the stores are written (default: the system's for temporary files)")
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    rows = []
    for runs in options.runs:
        with TemporaryDirectory(dir=options.directory) as store:
            write(Path(store), runs)
            for row in measurements(store, runs, options.peer_points):
                rows.append(row)
                print(json.dumps(row), flush=True)
    table = pd.DataFrame(rows).assign(cpu=machine.cpu(), cores=os.cpu_count())
    print(markdown(table))
    if options.write_docs:
        tables.keep("analysis", table)
        tables.put("benchmarks.analysis", markdown(table))


# --- the store ---------------------------------------------------------------------------------------


def write(store: Path, runs: int) -> None:
    """A store of `runs` runs: N_eps = 900 (m / 64)^alpha, alpha from 0 to 0.5 by problem; excess risk falls as 1/N."""
    base = config_row(replace(_config(), store=str(store)))
    rng = np.random.default_rng(0)
    for first in range(0, runs, A_FILE):
        number = np.arange(first, min(first + A_FILE, runs))
        rows = pa.table(_rows(base, number, rng))
        pq.write_table(rows, store / f"runs-{first:08}.parquet", compression="zstd")
        pq.write_table(_curves(rows["run_id"], rng), store / f"curves-{first:08}.parquet", compression="zstd")


def _config() -> Config:
    from hydra import compose, initialize_config_dir

    schemas.register_schemas()
    with initialize_config_dir(str(schemas.conf_dir()), version_base="1.3"):
        return schemas.resolve(compose("config", overrides=["experiment=quickstart"]))


def _rows(base: dict[str, object], number: np.ndarray, rng: np.random.Generator) -> dict[str, object]:
    inside, problem = number % A_PROBLEM, number // A_PROBLEM
    seed, rest = inside % SEEDS, inside // SEEDS
    lr, rest = LRS[rest % len(LRS)], rest // len(LRS)
    samples, width = SAMPLES[rest % len(SAMPLES)], np.array(WIDTHS)[rest // len(SAMPLES)]
    n_eps = 900 * (width / 64) ** (problem / 40) * np.exp(0.2 * np.random.default_rng(seed[0]).normal(size=len(seed)))
    excess = 0.1 * n_eps / samples * (1 + abs(np.log(lr))) * np.exp(0.05 * rng.normal(size=len(seed)))
    constant = {"status": "done", "opt": 0.2, "opt_se": 0.0, "opt_method": "noise", "opt_id": "x", "second_moment": 1.0,
                "epsilon_absolute": 0.1, "threshold": 0.3, "reached_step": None, "reached_samples": None,
                "log_C_s": 10.0, "log_C_eps": 20.0, "train_seconds": 0.1, "pack_id": "p", "pack_members": A_FILE,
                "engine_used": "fused", "device_used": "cpu", "ovpnet_version": "0", "git_revision": "0" * 40,
                "torch_version": "0", "python_version": "0", "host": "host", "slurm_job_id": None,
                "finished_at": "2026-01-01T00:00:00"}
    columns = {name: pa.repeat(pa.scalar(value), len(number)) for name, value in (base | constant).items()}
    noisy = 0.2 + excess * (1 + 0.01 * rng.normal(size=(4, len(number))))
    return columns | {
        "run_id": pa.array([f"{each:012x}" for each in number]), "width": width, "samples": samples, "seed": seed,
        "lr": lr, "concept.seed": problem, "train_risk": noisy[0], "last_risk": noisy[1], "test_risk": noisy[1],
        "validation_risk": noisy[2], "excess_risk": noisy[1] - 0.2, "reached": noisy[1] <= 0.3,
        **{f"{name}_risk_se": 0.01 * excess for name in ("last", "test", "validation", "excess")}}


def _curves(run_ids: pa.ChunkedArray, rng: np.random.Generator) -> pa.Table:
    count = len(run_ids) * POINTS
    step = np.tile(10 * np.arange(1, POINTS + 1), len(run_ids))
    return pa.table({"run_id": run_ids.take(pa.array(np.repeat(np.arange(len(run_ids)), POINTS))), "step": step,
                     "samples_seen": np.minimum(50 * step, 1000), "train_risk": rng.random(count),
                     "test_risk": rng.random(count), "test_risk_se": rng.random(count)})


# --- measurements ------------------------------------------------------------------------------------


def measurements(store: str, runs: int, peer_points: int) -> Iterator[dict[str, object]]:
    about = {"runs": runs, "points": runs * POINTS, "files": len(list(Path(store).iterdir())),
             "gb": sum(file.stat().st_size for file in Path(store).iterdir()) / 1e9}
    yield about | measured("verdict", VERDICT.format(store=store))
    yield about | measured("pandas: all rows", PEER.format(kind="runs", store=store))
    yield about | measured("curves of 5,000 runs", CURVES.format(store=store))
    if runs * POINTS <= peer_points:
        yield about | measured("pandas: all curves", PEER.format(kind="curves", store=store))


def measured(what: str, code: str) -> dict[str, object]:
    """Seconds from starting Python on, those of the processor, and the peak of memory of the process."""
    load, started = os.getloadavg()[0], time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code + PEAK], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    told = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, told
    return {"what": what, "seconds": time.perf_counter() - started, "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "peak_gb": int(told.split()[-1]) * 1024 / 1e9, "load_before": load}


def markdown(table: pd.DataFrame) -> str:
    """A row a size and measurement."""
    first = table.iloc[0]
    lines = [f"{first['cpu']}, {first['cores']} cores; load when it began: {first['load_before']:.1f}.", "",
             "| runs | points of curves | files | GB | | seconds | of the processor | peak of memory, GB |",
             "|---" * 8 + "|"]
    for row in table.itertuples():
        lines.append(f"| {row.runs:,} | {row.points:,} | {row.files:,} | {row.gb:.2f} | {row.what} | "
                     f"{row.seconds:.1f} | {row.cpu_seconds:.1f} | {row.peak_gb:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
