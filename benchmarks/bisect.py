"""`python -m benchmarks.bisect`: what N_eps takes to train by bisection, beside a grid with intervals as wide.

The study is experiment=quickstart at three widths. *grid*: all N from 16 to 1024 that differ by a factor of 2^(1/8);
*bisection*: hydra/sweeper=bisect_samples with resolution=1.1, which has these N to choose from. Once with the study's
three learning rates, where an N is trained for all seeds together, and once with one, where each seed is searched
alone. *the N needed*: of the grid those from the lowest interval to the highest of all widths, which nobody knows
before. Each is a command of its own; processor seconds are all that it took, training seconds those that the store has
of its runs. With --write-docs the rows go to benchmarks/results/, and their table to docs/benchmarks.md.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from analysis.complexity import sample_complexity
from analysis.load import with_problem
from analysis.tune import best_tuned
from benchmarks import machine, tables
from launch.bisection import points
from ovpnet.record.store import Store

LEAST, GREATEST, RESOLUTION = 16, 1024, 1.1
STUDY = ["experiment=quickstart", "width=32,128,512"]
GRID = [f"samples={','.join(map(str, points(LEAST, GREATEST, RESOLUTION)))}"]
BISECTION = ["hydra/sweeper=bisect_samples", f"hydra.sweeper.resolution={RESOLUTION}",
             f"hydra.sweeper.samples_min={LEAST}", f"hydra.sweeper.samples_max={GREATEST}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    rows = []
    trained([*STUDY, "samples=16", "seed=0", "lr=1"])  # the machine's rates are measured once
    for rates in ("1,2,4", "2"):
        rows += compared(rates, trained([*STUDY, f"lr={rates}", *GRID]), trained([*STUDY, f"lr={rates}", *BISECTION]))
    table = pd.DataFrame(rows)
    print(markdown(table))
    if options.write_docs:
        tables.keep("bisect", table)
        tables.put("benchmarks.bisect", markdown(table))


def trained(overrides: list[str]) -> tuple[pd.DataFrame, float]:
    """The runs of a command, in a store of its own, and the processor's seconds that it took."""
    with TemporaryDirectory() as folder:
        before = machine.children_seconds()
        subprocess.run([sys.executable, "-m", "ovpnet.train", "-m", *overrides, f"store={folder}/store"], check=True,
                       cwd=folder, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
                       stdout=subprocess.DEVNULL)
        return Store(f"{folder}/store").runs(), machine.children_seconds() - before


def compared(rates: str, grid: tuple[pd.DataFrame, float],
             bisection: tuple[pd.DataFrame, float]) -> list[dict[str, object]]:
    """A row each for the grid, the part of it that was needed, and the bisection."""
    wanted, found = intervals(grid[0]), intervals(bisection[0])
    needed = grid[0][grid[0]["samples"].between(wanted["low"].min(), wanted["high"].max())]
    same = int((wanted[["low", "high"]] == found[["low", "high"]]).all(axis=1).sum())
    return [{"lr": rates, "way": way, "runs": len(runs), "different_N": runs["samples"].nunique(),
             "steps": int(runs["steps"].sum()), "train_seconds": runs["train_seconds"].sum(), "cpu_seconds": seconds,
             "intervals": len(wanted), "same_intervals": same, "cpu": machine.cpu(), "cores": os.cpu_count()}
            for way, runs, seconds in (("grid", *grid), ("the N needed", needed, None), ("bisection", *bisection))]


def intervals(runs: pd.DataFrame) -> pd.DataFrame:
    """N_eps by width and seed, in one order."""
    return sample_complexity(best_tuned(with_problem(runs))).sort_values(["width", "seed"], ignore_index=True)


def markdown(table: pd.DataFrame) -> str:
    """A row a way, and beside each how many times less the bisection takes."""
    lines = [f"{table['cpu'][0]}, {table['cores'][0]} cores. In brackets, how many times less bisection takes.", "",
             "| lr | | different N | runs | steps, millions | training, s | processor, s | intervals as the grid's |",
             "|---" * 8 + "|"]
    for rates, ways in table.groupby("lr", sort=False):
        ours = ways[ways["way"].eq("bisection")].iloc[0]
        for _, row in ways.iterrows():
            cells = [str(row["different_N"])]
            for name, text in (("runs", "{:,}"), ("steps", "{:.2f}"), ("train_seconds", "{:.1f}"),
                               ("cpu_seconds", "{:.1f}")):
                value = row[name] / 1e6 if name == "steps" else row[name]
                times = "" if row["way"] == "bisection" else f" ({row[name] / ours[name]:.1f}x)"
                cells.append("" if pd.isna(value) else text.format(value) + times)
            same = f"{row['same_intervals']} of {row['intervals']}" if row["way"] == "bisection" else ""
            lines.append(f"| {rates} | {row['way']} | {' | '.join(cells)} | {same} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
