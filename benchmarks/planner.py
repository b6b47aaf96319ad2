"""`python -m benchmarks.planner`: how long a sweep takes from its command to its packs, beside Hydra's own sweeper.

*ours*: `ovpnet train -m experiment=quickstart seed=...` up to the packs that it would train, with the
machine's own rates (measured before). *Hydra*: its BasicSweeper and basic launcher, with Hydra's own folders and logs,
on a task of the same config that does nothing. Each is a process of its own, and Python's start is counted. With
--write-docs the rows go to benchmarks/results/, and their table to docs/benchmarks.md.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from benchmarks import machine, tables

SEEDS = (120, 12_000)  # of the 84 runs of experiment=quickstart: 10,080 and 1,008,000 runs
EMPTY = 200  # runs that Hydra does nothing in
HYDRAS_OWN = ["hydra/sweeper=basic", "hydra/launcher=basic", "hydra/job_logging=default", "hydra/hydra_logging=default",
              "hydra.output_subdir=.hydra", "hydra.sweep.dir=multirun", "hydra.sweep.subdir=${hydra.job.num}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="84 runs each")
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    measured("ours", ["experiment=quickstart"])  # the machine's rates are measured once
    rows = [measured("Hydra", [f"seed=range({EMPTY // 4})", "width=32,128,512,2048", *HYDRAS_OWN])]
    rows += [measured("ours", ["experiment=quickstart", f"seed=range({seeds})"]) for seeds in options.seeds]
    table = pd.DataFrame(rows)
    print(markdown(table))
    if options.write_docs:
        tables.keep("planner", table)
        tables.put("benchmarks.planner", markdown(table))


def measured(planner: str, overrides: list[str]) -> dict[str, object]:
    """Seconds from the command on, and what the process said of itself, for a sweep in an empty folder."""
    load = os.getloadavg()[0]
    with TemporaryDirectory() as folder:
        started, before = time.perf_counter(), machine.children_seconds()
        subprocess.run([sys.executable, "-m", "benchmarks.planner_task", planner, "-m", *overrides], check=True,
                       cwd=folder, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
                       stdout=subprocess.DEVNULL)
        seconds, used = time.perf_counter() - started, machine.children_seconds() - before
        about = json.loads(Path(folder, "about.json").read_text())
        files = sum(path.is_file() for path in Path(folder).rglob("*")) - 1
    return {"planner": planner, "runs": about["runs"], "packs": about["packs"], "seconds": seconds,
            "cpu_seconds": used, "files": files,
            "peak_mb": about["peak"] / 1e6, "cpu": machine.cpu(), "cores": os.cpu_count(), "load_before": load}


def markdown(table: pd.DataFrame) -> str:
    """A row a sweep; the last column compares the processor's time a run with Hydra's."""
    first = table.iloc[0]
    lines = [f"{first['cpu']}, {first['cores']} cores; load when it began: {first['load_before']:.1f}.", "",
             "| | runs | packs | seconds | of the processor | ms a run | files | MB | times as fast a run |",
             "|---" * 9 + "|"]
    for row in table.itertuples():
        packs = "" if row.planner == "Hydra" else f"{row.packs:,}"
        times = first["cpu_seconds"] / first["runs"] / (row.cpu_seconds / row.runs)
        lines.append(f"| {row.planner} | {row.runs:,} | {packs} | {row.seconds:.1f} | {row.cpu_seconds:.1f} | "
                     f"{1e3 * row.seconds / row.runs:.3g} | {row.files:,} | {row.peak_mb:,.0f} | {times:,.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
