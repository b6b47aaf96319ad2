"""`python -m benchmarks.launch [--runs 1000] [--peer-runs 100]`: a sweep of small runs through our launcher and others.

The sweep goes through (a) `ovpnet train -m hydra/launcher=slurm`, (b) hydra-submitit-launcher, one run a job,
and (c) Hydra's basic launcher, one run after the other in one process; (a) and (b) on the SLURM cluster of two nodes
that the tests start on this machine, with the same cores and memory a job. (b) and (c) train the same runs by the same
code (`benchmarks/one_run.py`) under Hydra's own sweeper, write no folders of Hydra's, and do not ask the store what it
has, which would cost them more with every run. Each has a folder of its own, and the results are compared at the end.

Jobs of (b) and runs of (c) cost the same whatever their number is, so --peer-runs may be less than --runs; ours is then
measured with that number too. With --write-docs the rows go to benchmarks/results/launch.csv and the table to
docs/benchmarks.md.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import machine, tables
from ovpnet.record.store import Store
from tests.slurm.cluster import Cluster, missing, wait_for

ROOT = Path(__file__).parents[1]
# Runs of two static signatures, of which each trains for some tens of milliseconds.
GRID = ["width=32,64", "samples=50,100", "steps=200", "evaluations=5"]
SEEDS = 4  # runs a seed
JOB = ["hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1", "hydra.launcher.timeout_min=60"]
# What may differ in a test risk between a run alone and packed with others, relatively.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Way:
    """A way to run the sweep: commands that are given one after the other, each of which has to succeed."""

    name: str
    module: str
    overrides: Sequence[str]
    then: Sequence[str] = ()

    def commands(self, runs: int) -> list[list[str]]:
        sweep = [*GRID, f"seed=range({runs // SEEDS})"]
        first = [sys.executable, "-m", self.module, "-m", *self.overrides, *sweep]
        return [first, [sys.executable, "-m", *self.then]] if self.then else [first]


OURS = Way("ours", "ovpnet.train", ["hydra/launcher=slurm", *JOB], then=["launch", "wait"])
BASIC = Way("Hydra's basic launcher", "benchmarks.one_run", ["hydra/sweeper=basic", "hydra/launcher=basic"])


def submitit_launcher(parallel: int) -> Way:
    """One run a job. Its command waits for the jobs itself."""
    return Way("hydra-submitit-launcher", "benchmarks.one_run", [
        "hydra/sweeper=basic", "hydra/launcher=submitit_slurm", *JOB, f"hydra.launcher.array_parallelism={parallel}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=_runs, default=1000, metavar="N", help="runs of ours (default: %(default)s)")
    parser.add_argument("--peer-runs", type=_runs, metavar="M", help="runs of the others (default: as many)")
    # The cluster would take 30, all on the cores of this machine: with 16 at a time a job takes a third more CPU time.
    parser.add_argument("--parallel", type=int, default=2 * (os.cpu_count() or 1), metavar="P",
                        help="jobs of hydra-submitit-launcher at a time (default: two a core, %(default)s)")
    parser.add_argument("--write-docs", action="store_true", help="write the table of docs/benchmarks.md")
    options = parser.parse_args()
    if lack := missing() or _no_launcher():
        print(f"benchmarks.launch: skipped: {lack}", file=sys.stderr)
        return
    table = pd.DataFrame(measure(options.runs, options.peer_runs or options.runs, options.parallel))
    print(f"\n{markdown(table)}")
    if options.write_docs:
        tables.keep("launch", table)
        tables.put("benchmarks.launch", markdown(table))


def measure(runs: int, peer_runs: int, parallel: int) -> list[dict[str, Any]]:
    """A row for each way and number of runs, ours first."""
    cases = [(OURS, runs), *[(OURS, peer_runs)] * (peer_runs != runs), (submitit_launcher(parallel), peer_runs),
             (BASIC, peer_runs)]
    about = {"cpu": machine.cpu(), "cores": os.cpu_count(), "parallel": parallel,
             "hydra_submitit_launcher": version("hydra-submitit-launcher"), "load_before": os.getloadavg()[0]}
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory(prefix="ovpnet-launch-") as folder, Cluster() as cluster:
        # The first to import torch waits for the disk, so it is none of those that are measured.
        measured(BASIC, SEEDS, Path(folder) / "warm-up", cluster)
        expected = None
        for number, (way, count) in enumerate(cases):
            where = Path(folder) / str(number)
            rows.append(measured(way, count, where, cluster) | about)
            print(", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                            for name, value in rows[-1].items() if name not in about), flush=True)
            risks = Store(where / "store").runs().set_index("run_id")["test_risk"]
            expected = risks if expected is None else expected
            check(way, count, risks, expected)
    return rows


def measured(way: Way, runs: int, folder: Path, cluster: Cluster) -> dict[str, Any]:
    """What a sweep takes, in a new folder."""
    folder.mkdir()
    known = {job["JobID"] for job in cluster.jobs()}
    started, returned, cpu = time.time(), 0.0, 0.0
    for command in way.commands(runs):
        cpu += _run(command, folder, cluster)
        returned = returned or time.time() - started
    stored = max(file.stat().st_mtime for file in (folder / "store").glob("runs-*.parquet")) - started
    jobs, cpu_of_jobs = _accounts(cluster, known)
    files, inodes = _made(folder)
    return {"way": way.name, "runs": runs, "returned_seconds": returned, "stored_seconds": stored, "slurm_jobs": jobs,
            "files": files, "inodes": inodes, "cpu_seconds": cpu + cpu_of_jobs, "cpu_seconds_commands": cpu}


def check(way: Way, runs: int, risks: pd.Series, expected: pd.Series) -> None:
    """Exit unless every run is there, with the test risk that it has in ours."""
    if len(risks) != runs or not risks.index.isin(expected.index).all():
        sys.exit(f"{way.name} stored {len(risks)} runs of {runs}, or other runs than ours")
    differences = (risks / expected[risks.index] - 1).abs()
    if not differences.max() < TOLERANCE:
        sys.exit(f"{way.name}: test risks differ from ours by up to {differences.max():.2g} of them")


def markdown(table: pd.DataFrame) -> str:
    """What each took; of what a run takes also how many times what it takes of ours, with the most runs."""
    head = ["", "runs", "command returned, s", "all stored, s", "a run, ms", "SLURM jobs", "files", "inodes",
            "inodes a run", "CPU, s", "CPU a run, ms"]
    a_run = table[["stored_seconds", "inodes", "cpu_seconds"]].div(table["runs"], axis=0)
    ratios = a_run / a_run.iloc[0]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for number, row in table.iterrows():
        def cell(column: str, scale: int = 1, number: Any = number) -> str:
            ratio = f" ({_short(ratios.at[number, column])}x)" if number else ""
            return _short(scale * a_run.at[number, column]) + ratio

        lines.append("| " + " | ".join([
            row["way"], f"{row['runs']:,}", _short(row["returned_seconds"]), _short(row["stored_seconds"]),
            cell("stored_seconds", 1000), f"{row['slurm_jobs']:,}", f"{row['files']:,}", f"{row['inodes']:,}",
            cell("inodes"), _short(row["cpu_seconds"]), cell("cpu_seconds", 1000)]) + " |")
    first = table.iloc[0]
    about = (f"{first['cpu']}, {first['cores']} cores; hydra-submitit-launcher {first['hydra_submitit_launcher']}, "
             f"{first['parallel']} of its jobs at a time; load before: {first['load_before']:.1f}. In brackets, times "
             f"ours with {first['runs']:,} runs.")
    return about + "\n\n" + "\n".join(lines)


def _run(command: Sequence[str], folder: Path, cluster: Cluster) -> float:
    """CPU seconds of the command and of what it waited for. Exits, with the end of what it said, where it failed."""
    environment = cluster.env | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    before = os.times()
    done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    after = os.times()
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout[-3000:]}")
    return after.children_user + after.children_system - before.children_user - before.children_system


def _accounts(cluster: Cluster, known: set[str]) -> tuple[int, float]:
    """How many jobs there are but the known ones, each task of an array counted, and their CPU seconds."""
    wait_for(lambda: not cluster.run("squeue", "--noheader") and all(
        job["State"] == "COMPLETED" for job in cluster.jobs(fields="JobID,State")), "completed jobs", seconds=120)
    # Without --allocations the line of a job has what its steps took.
    lines = cluster.run("sacct", "--parsable2", "--noheader", "--starttime=now-1days", "--format=JobID,TotalCPU")
    taken = dict(line.split("|") for line in lines.splitlines())
    new = {job["JobID"] for job in cluster.jobs()} - known
    return len(new), sum(_seconds(taken[job]) for job in new)


def _seconds(duration: str) -> float:
    """Of [DD-[HH:]]MM:SS.mmm, as sacct has it."""
    days, _, rest = duration.rpartition("-")
    parts = [float(part) for part in rest.split(":")]
    return 86400 * float(days or 0) + sum(part * 60**place for place, part in enumerate(reversed(parts)))


def _made(folder: Path) -> tuple[int, int]:
    """Files in the folder; and inodes: files that are not links of others, and folders."""
    found = list(folder.rglob("*"))
    return sum(not path.is_dir() for path in found), len({path.lstat().st_ino for path in found})


def _short(number: float) -> str:
    """Three digits, thousands separated."""
    digits = max(0, 2 - int(np.floor(np.log10(max(abs(number), 1e-9)))))
    return f"{number:,.{min(digits, 3)}f}"


def _runs(text: str) -> int:
    number = int(text)
    if number < SEEDS or number % SEEDS:
        raise argparse.ArgumentTypeError(f"{text}: a multiple of {SEEDS}")
    return number


def _no_launcher() -> str | None:
    try:
        version("hydra-submitit-launcher")
    except PackageNotFoundError:
        return "no hydra-submitit-launcher here: pip install -c constraints.txt -e '.[bench]'"
    return None


if __name__ == "__main__":
    main()
