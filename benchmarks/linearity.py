"""`python -m benchmarks.linearity`: does the fused engine's cost double when the members or the width double?

Time of a step of all members against E, and (two layers) against m, on all threads. With --write-docs the figure and
the table go to docs/images/linearity.png and benchmarks/results/.
"""

import argparse
import os

import pandas as pd
import torch
from matplotlib.figure import Figure

from benchmarks.engine import timed
from benchmarks.peers import fused
from benchmarks.tables import DOCS, keep
from benchmarks.task import Task

# Series of tasks, of which each doubles the one before: name, and the doubled number.
SERIES = {
    "two layers, m = 100": [Task(2, 100, 2**power) for power in range(1, 12)],
    "two layers, m = 1000": [Task(2, 1000, 2**power) for power in range(1, 11)],
    "three layers, m = 300": [Task(3, 300, 2**power) for power in range(1, 7)],
    "two layers, E = 16": [Task(2, 125 * 2**power, 16) for power in range(11)],
}
CALLS, CALL_SECONDS = 5, 0.2


def seconds(task: Task, device: str) -> float:
    """Time of a step of all members, the least of some calls: what else the machine did is not the engine's cost."""
    steps = 10
    while True:
        train = fused(task, task.arrays(steps), device)
        train()
        taken = min(timed(train) for _ in range(CALLS))
        if taken > CALL_SECONDS / 2:
            return taken / steps
        steps = int(steps * min(100, CALL_SECONDS / taken)) + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for name, tasks in SERIES.items():
        before = None
        for task in tasks:
            time_of_step = seconds(task, options.device)
            ratio = time_of_step / before if before else float("nan")
            rows.append({"series": name, "layers": task.layers, "m": task.m, "E": task.E, "threads": options.threads,
                         "us": 1e6 * time_of_step, "of_the_half": ratio})
            print(f"{name:22} m {task.m:7} E {task.E:5} {1e6 * time_of_step:12.1f} us a step, {ratio:5.2f} times the "
                  "half's", flush=True)
            before = time_of_step
    table = pd.DataFrame(rows)
    if options.write_docs:
        keep(f"linearity-{options.device}", table)
        plot(table).savefig(DOCS / "images" / "linearity.png", dpi=130)


def plot(table: pd.DataFrame) -> Figure:
    """Time against size with a line of slope 1, and what each doubling multiplied it by."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    times, ratios = figure.subplots(1, 2)
    for name, rows in table.groupby("series", sort=False):
        doubled = "m" if rows["m"].nunique() > 1 else "E"
        size = rows[doubled]
        [line] = times.plot(size, rows["us"], marker="o", label=f"{name}, against {doubled}")
        last = rows["us"].iloc[-1] / size.iloc[-1]
        times.plot(size, last * size, color=line.get_color(), linestyle=":", linewidth=1)
        ratios.plot(size, rows["of_the_half"], marker="o", color=line.get_color())
    times.set(xscale="log", yscale="log", xlabel="members E, or width m", ylabel="microseconds a step of all members",
              title="Time (dotted: linear)")
    times.legend(fontsize=8)
    ratios.axhspan(1.8, 2.2, color="grey", alpha=0.2, linewidth=0)
    ratios.set(xscale="log", xlabel="members E, or width m", ylabel="times the half's time",
               title="A doubling (grey: 2 within 10%)")
    for axes in (times, ratios):
        axes.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    main()
