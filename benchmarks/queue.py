"""`python -m benchmarks.queue`: how large should jobs and packs be on a shared cluster?

Simulates sweeps (`benchmarks.queue_model`) whose packs and jobs are those that would be submitted: the studies' own
grids, `launch.packs` and `launch.plan.shared_out`. With --write-docs the table goes to benchmarks/results/ and the
figures to docs/images/queue_*.png (docs/queue.md). One process.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.queue_model import CHECKPOINT_MINUTES as CHECKPOINTS
from benchmarks.queue_model import HOUR, Cluster, Sharing, Work, simulate, work
from benchmarks.tables import DOCS, keep
from launch.compose import compose
from launch.launchers.slurm import Slurm
from launch.packs import packed
from launch.plan import SHARE_OF_TIMEOUT, shared_out
from ovpnet.engine.choice import shape_of
from ovpnet.engine.rates import EXAMPLE, Machine
from ovpnet.spec.config import Config
from ovpnet.spec.schemas import conf_dir, register_schemas

# As launch.machines plans for a job of the default memory, before one has told of its own.
MACHINE = Machine(EXAMPLE.rates, int(0.7 * 7.5 * 2**30))
DEFAULTS = Slurm()

QUIET, BUSY = Cluster(load=0.5), Cluster(load=0.95)
PREEMPTED = {"preemptions": 0.5}
CLUSTERS = {"quiet": QUIET, "quiet, preempted": replace(QUIET, **PREEMPTED),
            "busy": BUSY, "busy, preempted": replace(BUSY, **PREEMPTED)}
# As SLURM preempts: there is notice always.
NOTICED_CLUSTERS = {name.replace("preempted", "preempted with notice"): replace(cluster, noticed=1.0)
                    for name, cluster in CLUSTERS.items()}
# Okabe and Ito's colours, which the colour-blind tell apart; preempted is dashed besides.
LOOKS: dict[str, dict[str, Any]] = {
    "quiet": {"color": "#0072B2", "marker": "o"},
    "quiet, preempted": {"color": "#56B4E9", "marker": "s", "linestyle": "--"},
    "busy": {"color": "#D55E00", "marker": "^"},
    "busy, preempted": {"color": "#E69F00", "marker": "v", "linestyle": "--"}}
LOOKS |= {noticed: LOOKS[name] for name, noticed in zip(CLUSTERS, NOTICED_CLUSTERS, strict=True)}

JOB_MINUTES = (0.1, 0.3, 1, 2, 5, 10, 20, 60, 240)
MAX_JOBS = (25, 50, 100, 200, 400)
SHARES = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
CHECKPOINT_MINUTES = (0.5, 1, 2, 5, 10, 20, 60)
PREEMPTIONS = (0.1, 0.5, 2.0)
SPREADS = (0.0, 0.1, 0.25, 0.5)
TIMEOUT_MINUTES = (120, 240, 480, 1440)
NOTICED = (0.0, 0.5, 0.9, 1.0)
# With colours, beside a job a run's.
SHARINGS: dict[Sharing, str] = {"assigned": "packs assigned", "claims": "claims", "queue": "one ideal queue of packs"}
HUES = ("#999999", "#0072B2", "#009E73", "#E69F00")

SWEEPS = ("quickstart, 160 seeds", "figure1a", "figure1a, 10 x epochs")

Row = dict[str, Any]


# --- sweeps ---


def study(*overrides: str) -> list[Config]:
    """The configs of `ovpnet train -m OVERRIDES`."""
    register_schemas()
    Plugins.instance()  # finds the sweeper
    from hydra_plugins.ovpnet.plugins import PackSweeper

    loader = ConfigLoaderImpl(config_search_path=create_config_search_path(str(conf_dir().resolve())))
    config = loader.load_configuration("config", list(overrides), run_mode=RunMode.MULTIRUN)
    jobs: list[list[str]] = []
    sweeper = PackSweeper(*(config.hydra.sweeper[name] for name in ("max_batch_size", "params", "grids")))
    sweeper.config, sweeper.hydra_context = config, SimpleNamespace(config_loader=loader)
    sweeper.launcher = SimpleNamespace(launch=lambda asked, initial_job_idx: jobs.extend(asked))
    sweeper.sweep(list(overrides))
    return compose(loader, config, jobs)


@cache
def sweeps() -> dict[str, list[Config]]:
    """From minutes to a week of one slot's work."""
    quickstart = study("experiment=quickstart")
    full = study("experiment=figure1a", "scale=full")
    return dict(zip(SWEEPS, (
        [replace(config, seed=config.seed + 8 * turn) for config in quickstart for turn in range(20)], full,
        [replace(config, epochs=10 * config.epochs) for config in full]), strict=True))


def jobs_of(packs: Sequence[Any], options: Slurm = DEFAULTS) -> list[list[Work]]:
    """The packs of each job, as they would be submitted."""
    works = [work(pack) for pack in packs]
    return [[works[index] for index in job]
            for job in shared_out(packs, options.max_jobs, 60 * options.job_minutes)]


@cache
def packs_of(sweep: str, share: float = SHARE_OF_TIMEOUT) -> list[Any]:
    """The packs of a sweep, each of at most that part of the job's time."""
    return packed(sweeps()[sweep], set(), machine=lambda: MACHINE, pack_seconds=60 * DEFAULTS.timeout_min * share)


# --- questions ---


def row(jobs: Sequence[Sequence[Work]], cluster: Cluster, seeds: int, options: Slurm = DEFAULTS,
        **more: Any) -> Row:
    """Median over seeds, and the range from the 10th to the 90th percentile, of what the sweep takes and wastes."""
    outcomes = [simulate(jobs, cluster, seed, options, **more) for seed in range(seeds)]
    found: Row = {"jobs": len(jobs), "packs": sum(map(len, jobs)),
                  "predicted_hours": sum(pack.seconds for job in jobs for pack in job) / HOUR}
    measures: dict[str, Callable[[Any], float]] = {
        "makespan": lambda each: each.makespan / HOUR, "waited": lambda each: each.waited / HOUR,
        "wasted": lambda each: each.wasted / HOUR, "wasted_percent": lambda each: 100 * each.wasted / each.trained,
        "starting": lambda each: each.starting / HOUR, "lost": lambda each: each.lost / HOUR,
        "saving": lambda each: each.saving / HOUR, "starts": lambda each: each.starts}
    for name, measure in measures.items():
        low, middle, high = np.percentile([measure(each) for each in outcomes], [10, 50, 90])
        found |= {name: middle, f"{name}_low": low, f"{name}_high": high}
    return found


def job_minutes(seeds: int) -> Iterator[Row]:
    """How much work should a job have at least?"""
    for sweep in SWEEPS:
        known: dict[tuple[int, str], Row] = {}  # as many jobs are the same jobs
        for minutes in JOB_MINUTES:
            jobs = jobs_of(packs_of(sweep), replace(DEFAULTS, job_minutes=minutes))
            for name, cluster in CLUSTERS.items():
                if (len(jobs), name) not in known:
                    known[len(jobs), name] = row(jobs, cluster, seeds)
                yield {"sweep": sweep, "cluster": name, "value": minutes} | known[len(jobs), name]


def quick_start(seeds: int) -> Iterator[Row]:
    """The same where a start takes 5 seconds."""
    for minutes in (1, 2, 5, 10):
        jobs = jobs_of(packs_of(SWEEPS[0]), replace(DEFAULTS, job_minutes=minutes))
        yield {"sweep": SWEEPS[0], "cluster": "quiet", "value": minutes} | row(jobs, replace(QUIET, start=5.0), seeds)


def max_jobs(seeds: int) -> Iterator[Row]:
    """How many jobs should a sweep have at most?"""
    for most in MAX_JOBS:
        jobs = jobs_of(packs_of(SWEEPS[2]), replace(DEFAULTS, max_jobs=most))
        for name, cluster in NOTICED_CLUSTERS.items():
            yield {"sweep": SWEEPS[2], "cluster": name, "value": most} | row(jobs, cluster, seeds)


def share_of_timeout(seeds: int) -> Iterator[Row]:
    """How long may a pack be, as a part of the job's time?"""
    for share in SHARES:
        jobs = jobs_of(packs_of(SWEEPS[2], share))
        for name, cluster in NOTICED_CLUSTERS.items():
            yield {"sweep": SWEEPS[2], "cluster": name, "value": share} | row(jobs, cluster, seeds)


def checkpoint_minutes(seeds: int) -> Iterator[Row]:
    """How often should a pack keep a checkpoint, where preemptions come without notice?"""
    jobs = jobs_of(packs_of(SWEEPS[2]))
    for rate in PREEMPTIONS:
        cluster = replace(QUIET, preemptions=rate, noticed=0.0)
        for minutes in CHECKPOINT_MINUTES:
            yield {"sweep": SWEEPS[2], "cluster": f"{rate:g} an hour", "value": minutes} | row(
                jobs, cluster, seeds, checkpoint_minutes=minutes)


def sharing(seeds: int) -> Iterator[Row]:
    """What do claims save of what packs cost that are assigned at submission, and what would be left to save?"""
    for sweep in SWEEPS[1:]:
        jobs = jobs_of(packs_of(sweep))
        for name, cluster in CLUSTERS.items():
            for how in SHARINGS:
                yield {"sweep": sweep, "cluster": name, "value": 0, "how": how} | row(jobs, cluster, seeds, sharing=how)


def notice(seeds: int) -> Iterator[Row]:
    """What does it matter how many of the preemptions come with notice?"""
    for sweep in SWEEPS[1:]:
        jobs = jobs_of(packs_of(sweep))
        for name, cluster in CLUSTERS.items():
            if cluster.preemptions:
                for how in SHARINGS:
                    for part in NOTICED:
                        yield {"sweep": sweep, "cluster": name, "value": part, "how": how} | row(
                            jobs, replace(cluster, noticed=part), seeds, sharing=how)


def run_a_job(seeds: int) -> Iterator[Row]:
    """The same where every run is a job of its own, and trains alone."""
    alone = [[Work(shape_of([config]).seconds(MACHINE))] for config in sweeps()[SWEEPS[1]]]
    for name, cluster in CLUSTERS.items():
        yield {"sweep": SWEEPS[1], "cluster": name, "value": 0, "how": "run a job"} | row(
            alone, cluster, seeds, sharing="assigned")


def errors(seeds: int) -> Iterator[Row]:
    """What do wrong predictions cost?"""
    jobs = jobs_of(packs_of(SWEEPS[2]))
    for spread in SPREADS:
        for name, cluster in CLUSTERS.items():
            yield {"sweep": SWEEPS[2], "cluster": name, "value": spread} | row(
                jobs, replace(cluster, prediction_spread=spread), seeds)


def timeout_minutes(seeds: int) -> Iterator[Row]:
    """How much time should a job ask for?"""
    jobs = jobs_of(packs_of(SWEEPS[2]))
    for minutes in TIMEOUT_MINUTES:
        for name, cluster in NOTICED_CLUSTERS.items():
            yield {"sweep": SWEEPS[2], "cluster": name, "value": minutes} | row(
                jobs, cluster, seeds, replace(DEFAULTS, timeout_min=minutes))


QUESTIONS = (job_minutes, quick_start, max_jobs, share_of_timeout, checkpoint_minutes, sharing, notice, run_a_job,
             errors, timeout_minutes)


# --- figures ---


def line(axes: Axes, rows: pd.DataFrame, measure: str, **look: Any) -> None:
    """Medians, with the band from the 10th to the 90th percentile."""
    axes.plot(rows["value"], rows[measure], markersize=4, linewidth=1.4, **look)
    axes.fill_between(rows["value"], rows[f"{measure}_low"], rows[f"{measure}_high"], color=look["color"], alpha=0.15,
                      linewidth=0)


def against(axes: Axes, rows: pd.DataFrame, measure: str, default: float, **labels: str) -> None:
    """A line a cluster, and a thin one at the default."""
    for name, of_cluster in rows.groupby("cluster", sort=False):
        line(axes, of_cluster, measure, label=name, **LOOKS[name])
    axes.axvline(default, color="grey", linestyle=":", linewidth=1)
    logarithmic(axes, **labels)


def logarithmic(axes: Axes, **labels: str) -> None:
    """Both axes, with plain numbers."""
    axes.set(xscale="log", yscale="log", **labels)
    axes.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_formatter=NullFormatter())
    axes.xaxis.set(major_formatter="{x:g}", minor_formatter=NullFormatter())
    axes.grid(alpha=0.3)


def plot_job_minutes(rows: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    grid = figure.subplots(2, rows["sweep"].nunique(), sharex=True, sharey="row")
    for (sweep, of_sweep), (above, below) in zip(rows.groupby("sweep", sort=False), grid.T, strict=True):
        against(above, of_sweep, "makespan", DEFAULTS.job_minutes,
                title=f"{sweep}\n({of_sweep['predicted_hours'].iloc[0]:.3g} hours of one slot)")
        against(below, of_sweep, "wasted_percent", DEFAULTS.job_minutes, xlabel="job_minutes (dotted: the default)")
    grid[0, 0].set_ylabel("makespan (hours)")
    grid[1, 0].set_ylabel("wasted (% of the training)")
    grid[0, 0].legend(fontsize=8)
    return figure


def plot_packs(most: pd.DataFrame, share: pd.DataFrame, checkpoints: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(12, 4), layout="constrained")
    of_jobs, of_share, kept = figure.subplots(1, 3)
    of_share.sharey(of_jobs)
    against(of_jobs, most, "makespan", DEFAULTS.max_jobs, xlabel="max_jobs (dotted: the default)",
            ylabel="makespan (hours)", title=SWEEPS[2])
    of_jobs.set_xticks(MAX_JOBS)
    against(of_share, share, "makespan", SHARE_OF_TIMEOUT, title=SWEEPS[2],
            xlabel="a pack's part of the job's time (dotted: the default)")
    of_share.legend(fontsize=8, loc="upper left")
    for (name, rows), color, marker in zip(checkpoints.groupby("cluster", sort=False),
                                           ("#0072B2", "#D55E00", "#009E73"), "o^s", strict=True):
        line(kept, rows, "wasted_percent", color=color, marker=marker, label=f"preempted {name}")
    kept.axvline(CHECKPOINTS, color="grey", linestyle=":", linewidth=1)
    logarithmic(kept, xlabel="checkpoint_minutes (dotted: the default)", ylabel="wasted (% of the training)",
                title="Preempted without notice")
    kept.legend(fontsize=8)
    return figure


def plot_sharing(rows: pd.DataFrame, alone: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    looks = dict(zip([*SHARINGS, "run a job"], HUES, strict=True))
    for (sweep, of_sweep), axes in zip(pd.concat([rows, alone]).groupby("sweep", sort=False), figure.subplots(1, 2),
                                       strict=True):
        ways = dict(iter(of_sweep.groupby("how", sort=False)))
        for number, (how, of_how) in enumerate(ways.items()):
            middle, width = of_how["makespan"].to_numpy(), 0.85 / len(ways)
            ends = np.abs(of_how[["makespan_low", "makespan_high"]].to_numpy().T - middle)
            axes.bar(np.arange(len(of_how)) + (number - (len(ways) - 1) / 2) * width, middle, width=width, yerr=ends,
                     error_kw={"linewidth": 0.8}, capsize=1.5, color=looks[how],
                     label=SHARINGS.get(how, "no packs: a job a run"))
        axes.set_xticks(range(len(CLUSTERS)), [name.replace(", ", ",\n") for name in CLUSTERS], fontsize=8)
        axes.set(ylabel="makespan (hours)", title=f"{sweep} (preempted: half with notice)")
        axes.grid(alpha=0.3, axis="y")
        axes.legend(fontsize=8, loc="upper left")
    return figure


def plot_interrupted(parts: pd.DataFrame, timeouts: pd.DataFrame) -> Figure:
    """Makespans by the part of the preemptions with notice, and by the time that jobs ask for."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    *each, last = figure.subplots(1, 3)
    for (name, of_cluster), axes in zip(parts[parts["sweep"].eq(SWEEPS[2])].groupby("cluster", sort=False), each,
                                        strict=True):
        for (how, rows), color, marker in zip(of_cluster.groupby("how", sort=False), HUES, "so^", strict=False):
            line(axes, rows, "makespan", color=color, marker=marker, label=SHARINGS[how])
        axes.set(xlabel="part of the preemptions with notice", ylabel="makespan (hours)", title=f"{SWEEPS[2]}, {name}",
                 ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower left")
    against(last, timeouts, "makespan", DEFAULTS.timeout_min, xlabel="timeout_min (dotted: the default)",
            ylabel="makespan (hours)", title=f"{SWEEPS[2]}, claims")
    last.set_xticks(TIMEOUT_MINUTES)
    last.legend(fontsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", choices=[question.__name__ for question in QUESTIONS], action="append")
    parser.add_argument("--write-docs", action="store_true", help="of all questions")
    given = parser.parse_args()
    if given.write_docs and given.only:
        parser.error("--write-docs is of all questions")
    tables = {}
    for question in QUESTIONS:
        if question.__name__ in (given.only or [question.__name__]):
            started = time.perf_counter()
            tables[question.__name__] = table = pd.DataFrame(question(given.seeds))
            shown = [name for name in table if not name.endswith(("_low", "_high"))]
            print(f"{question.__name__} ({time.perf_counter() - started:.0f} s): {question.__doc__}\n"
                  f"{table[shown].to_string(index=False, float_format='{:.3g}'.format)}\n", flush=True)
    if given.write_docs:
        keep("queue", pd.concat([table.assign(question=name) for name, table in tables.items()]))
        figures = {"job_minutes": plot_job_minutes(tables["job_minutes"]),
                   "packs": plot_packs(*(tables[name] for name in ("max_jobs", "share_of_timeout",
                                                               "checkpoint_minutes"))),
                   "sharing": plot_sharing(tables["sharing"], tables["run_a_job"]),
                   "interrupted": plot_interrupted(tables["notice"], tables["timeout_minutes"])}
        for name, figure in figures.items():
            figure.savefig(DOCS / "images" / f"queue_{name}.png", dpi=130)


if __name__ == "__main__":
    main()
