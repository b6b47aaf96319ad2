"""How often the interval of alpha covers, how often a verdict is false, and what decides it, on problems of known law.

    python -m benchmarks.calibration                 # a table in benchmarks/results/
    python -m benchmarks.calibration --write-docs    # and in docs/statistics.md, with its figure

Simulated are pass and fail on a grid of samples, for seeds whose log N_eps is c + (alpha + a_s) log m + u_s + e with
a_s ~ N(0, tilt^2), u_s ~ N(0, tau^2) and e ~ N(0, sigma^2); the place of the grid is drawn anew for every problem. They
go through `complexity.sample_complexity` and `scaling.Inference`, as a store's runs do.
"""

import argparse
import time
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.censored import Observations, maximize
from analysis.complexity import sample_complexity
from analysis.power import Estimates, Grid, power
from analysis.scaling import Inference, observations_of
from analysis.verdict import ALONE, DELTA
from benchmarks import tables

PAGE = "statistics.md"
WIDTHS = (64, 256, 1024, 4096)
ROUND = 100  # problems a setting and round
RESAMPLED = 40  # of the first of these, the bootstrap's interval is found too


@dataclass(frozen=True)
class Truth:
    """A law and the design that looks at it. sigma, tau: in log N; tilt: in alpha; ratio: of neighbours in the grid."""

    name: str
    seeds: int = 5
    alpha: float = 0.0
    sigma: float = 0.1
    tau: float = 0.1
    tilt: float = 0.0
    ratio: float = 1.1
    widths: tuple[int, ...] = WIDTHS
    least: float = 1e-3  # ends of the grid of samples, in units of N_eps at the geometric mean width
    most: float = 1e3
    misjudged: float = 0.0  # probability that a run's pass is taken for a fail, or the reverse


FINE = [
    Truth("3 seeds", seeds=3), Truth("5 seeds"), Truth("8 seeds", seeds=8), Truth("16 seeds", seeds=16),
    Truth("alpha = 0.5", alpha=0.5), Truth("no effect of the seed", tau=0.0),
    Truth("large effect of the seed", tau=0.5), Truth("seeds that tilt", tilt=0.1),
    Truth("2 widths", widths=(64, 4096), seeds=8),
    Truth("6 widths, grid of sqrt 2", seeds=8, widths=(64, 128, 256, 512, 1024, 2048), ratio=2**0.5, sigma=0.2),
]
HARD = [
    Truth("2 seeds", seeds=2), Truth("3 seeds, grid of 2", seeds=3, ratio=2.0, sigma=0.3),
    Truth("grid of 2, sigma 0.1", ratio=2.0), Truth("grid of 2, sigma 0.02", ratio=2.0, sigma=0.02, tau=0.02),
    Truth("12 seeds, grid of 2", seeds=12, ratio=2.0),
    Truth("largest width beyond the grid", alpha=0.5, ratio=1.25, most=1.6),
    Truth("5% of runs misjudged", misjudged=0.05, ratio=1.25, least=0.1, most=10.0),
]
AT_DELTA = [Truth("alpha = delta, 5 seeds", alpha=DELTA), Truth("alpha = delta, 3 seeds", seeds=3, alpha=DELTA),
            Truth("alpha = delta, 8 seeds, grid of 2", seeds=8, alpha=DELTA, ratio=2.0)]
POWER = [Truth(f"{seeds} seeds, sigma 0.3", seeds=seeds, sigma=0.3, ratio=1.25) for seeds in (3, 5, 8, 12)]


def runs(truth: Truth, problems: int, rng: np.random.Generator) -> pd.DataFrame:
    """Simulated rows of `tune.best_tuned`, of many problems: problem, width, seed, samples, reached."""
    log_m = np.log(truth.widths) - np.log(truth.widths).mean()
    shape = problems, truth.seeds, 1
    slope = truth.alpha + truth.tilt * rng.standard_normal(shape)
    log_n = slope * log_m + truth.tau * rng.standard_normal(shape) + truth.sigma * rng.standard_normal(
        (problems, truth.seeds, len(log_m)))
    step = np.log(truth.ratio)
    points = step * np.arange(np.floor(np.log(truth.least) / step), np.ceil(np.log(truth.most) / step) + 1)
    if not truth.misjudged:  # runs far from N_eps say nothing that its neighbours do not
        points = points[(points > log_n.min() - 3 * step) & (points < log_n.max() + 3 * step)]
    grid = points + step * rng.random((problems, 1, 1, 1))
    passes = (grid >= log_n[..., None]) ^ (rng.random((*log_n.shape, len(points))) < truth.misjudged)
    axes = [np.arange(problems), np.arange(truth.seeds), np.array(truth.widths), np.arange(len(points))]
    index = pd.MultiIndex.from_product(axes, names=["problem", "seed", "width", "point"]).to_frame(index=False)
    samples = np.broadcast_to(1000 * np.exp(grid), passes.shape)
    return index.drop(columns="point").assign(samples=samples.ravel(), reached=passes.ravel())


class Laws:
    """The laws of problems of one shape, all fits of one kind in one batch: the same as one by one, sooner."""

    def __init__(self, intervals: pd.DataFrame):
        centre = float(np.log(intervals["width"].unique().astype(float)).mean())
        several = [observations_of(rows, lambda cells: [np.log(cells["width"]) - centre])
                  for _, rows in intervals.groupby("problem")]
        self.data = Observations(np.stack([each.low for each in several]), np.stack([each.high for each in several]),
                                 several[0].design)
        seeds = self.data.low.shape[1]
        self.floor = float(np.median([each.floor for each in several]))  # those of one grid differ by rounding alone
        self.best = maximize(self.data, floor=self.floor)
        repeated = Observations(self.data.low.repeat(seeds, axis=0), self.data.high.repeat(seeds, axis=0),
                                self.data.design)
        left_out = maximize(repeated, np.tile(1 - np.eye(seeds), (len(several), 1)),
                            self.best.parameters.repeat(seeds, axis=0), self.floor)
        self.each = [
            Inference(data, replace(self.best, **{name: value[i:i + 1] for name, value in vars(self.best).items()}),
                      left_out.beta[i * seeds:(i + 1) * seeds]) for i, data in enumerate(several)]

    def p_values(self, value: float) -> tuple[np.ndarray, np.ndarray]:
        """One-sided p-values of alpha = `value`, away from the estimates: those of the seeds, of the likelihood."""
        profiled = maximize(self.data.with_fixed(1, np.full(len(self.each), value)), floor=self.floor, search=True,
                            start=np.delete(self.best.parameters, 1, axis=1))
        roots = np.sqrt(2 * np.maximum(self.best.log_likelihood - profiled.log_likelihood, 0.0))
        return (np.array([law.p_of_seeds(1, abs(law.estimate(1) - value)) for law in self.each]),
                np.array([law.p_of_root(root) for law, root in zip(self.each, roots, strict=True)]))

    def claims(self, value: float) -> np.ndarray:
        """What the test of one value says at its level: 1 above it, -1 below it, 0 neither."""
        sides = np.sign(self.best.beta[:, 1] - value)
        return np.where(np.maximum(*self.p_values(value)) < ALONE, sides, 0)


def study(truth: Truth, rng: np.random.Generator, bootstrap: bool) -> dict[str, float]:
    """Frequencies over ROUND simulated problems.

    covers, seeds_cover, likelihood_covers: of the interval that decides, and of its two parts; bootstrap_covers (nan
    unless `bootstrap`): of the percentiles of a cluster bootstrap; flat, scales, shrinks: verdicts; bias, error: mean
    and standard deviation of the estimate less the truth; predicted: power.power at the true parameters; ms: processor
    time a problem.
    """
    began = time.process_time()
    laws = Laws(sample_complexity(runs(truth, ROUND, rng)))
    off = laws.best.beta[:, 1] - truth.alpha
    seeds, likelihood = (each >= ALONE for each in laws.p_values(truth.alpha))
    low, high = laws.claims(-DELTA), laws.claims(DELTA)
    grid = Grid(truth.seeds, truth.widths, float(np.log(truth.ratio)))
    row = {"covers": (seeds | likelihood).mean(), "seeds_cover": seeds.mean(), "likelihood_covers": likelihood.mean(),
           "bootstrap_covers": np.nan, "bias": off.mean(), "error": off.std(),
           "flat": ((low == 1) & (high == -1)).mean(), "scales": (high == 1).mean(), "shrinks": (low == -1).mean(),
           "predicted": power(Estimates(truth.alpha, truth.sigma, truth.tilt), grid, DELTA),
           "ms": 1e3 * (time.process_time() - began) / ROUND}
    if bootstrap:
        ends = np.array([law.bootstrap(1) for law in laws.each[:RESAMPLED]])
        row["bootstrap_covers"] = ((ends[:, 0] <= truth.alpha) & (truth.alpha <= ends[:, 1])).mean()
    return {name: float(value) for name, value in row.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2, help=f"of {ROUND} problems a setting (default: %(default)s)")
    parser.add_argument("--write-docs", action="store_true", help=f"put the table into docs/{PAGE}, with its figure")
    options = parser.parse_args()
    settings = [(kind, number, truth) for kind, truths in (("fine", FINE), ("hard", HARD), ("at delta", AT_DELTA),
                                                           ("power", POWER)) for number, truth in enumerate(truths)]
    rows = []
    for turn in range(options.rounds):
        for kind, number, truth in settings:
            found = study(truth, np.random.default_rng([ord(kind[0]), number, turn]),
                          bootstrap=turn == 0 and kind in ("fine", "hard"))
            rows.append({"kind": kind, **asdict(truth), "problems": ROUND, **found})
            print(f"{turn + 1} {kind:9}{truth.name:34} covers {found['covers']:.0%}, seeds alone "
                  f"{found['seeds_cover']:.0%}, flat {found['flat']:.0%} ({found['ms']:.0f} ms a problem)", flush=True)
        table = together(pd.DataFrame(rows))
        tables.keep("calibration", table)
    print(f"{time.process_time():.0f} s of processor time")
    if options.write_docs:
        write_docs(table)


def together(rows: pd.DataFrame) -> pd.DataFrame:
    """The rounds of every setting as one row: means of frequencies, the number of problems."""
    truth = [name for name in asdict(FINE[0]) if name != "name"]
    return rows.groupby(["kind", "name"], sort=False, as_index=False).agg(
        dict.fromkeys(truth, "first") | {"problems": "sum"}
        | dict.fromkeys(rows.columns.difference(["kind", "name", "problems", *truth], sort=False), "mean"))


def write_docs(table: pd.DataFrame) -> None:
    """Put the tables between the markers of the page, and draw the figure beside it."""
    tables.put("benchmarks.calibration", markdown(table), PAGE)
    plot(table).savefig(tables.DOCS / "images" / "calibration.png", dpi=130)


def markdown(table: pd.DataFrame) -> str:
    """Coverage, false verdicts and power as Markdown tables."""
    problems = int(table["problems"].iloc[0])
    error = np.sqrt(0.95 * 0.05 / problems)
    parts = [f"{problems} problems a setting: the standard error of a coverage of 95% is {error:.1%} (of the "
             f"bootstrap's, by {RESAMPLED} of the problems: {np.sqrt(0.95 * 0.05 / RESAMPLED):.1%})."]
    for kind, title in (("fine", "Grids finer than the seeds' spread, 3 seeds or more"), ("hard", "Harder settings")):
        lines = [f"**{title}**\n", "| setting | seeds | sigma | tau | grid | covers | seeds alone | likelihood alone | "
                 "bootstrap | bias | error |", "|---" * 11 + "|"]
        lines += [f"| {row.name} | {row.seeds} | {row.sigma:g} | {row.tau:g} | {row.ratio:.3g} | "
                  f"**{row.covers:.1%}** | {row.seeds_cover:.1%} | {row.likelihood_covers:.1%} | "
                  f"{row.bootstrap_covers:.0%} | {row.bias:z.3f} | {row.error:.3f} |"
                  for row in table[table["kind"].eq(kind)].itertuples(index=False)]
        parts.append("\n".join(lines))
    lines = ["**False verdicts** (each at most 2.5% by its level)\n",
             "| setting | says \"does not scale\" | says \"scales\" | says \"shrinks\" |", "|---|---|---|---|"]
    null = table[table["kind"].isin(["fine", "hard"]) & table["alpha"].eq(0)]
    lines += [f"| {row['name']} | {row['flat']:.1%} | {row['scales']:.1%} | {row['shrinks']:.1%} |"
              for row in table[table["kind"].eq("at delta")].to_dict("records")]
    lines.append(f"| alpha = 0, the {len(null)} settings above, on average | (true) | {null['scales'].mean():.1%} | "
                 f"{null['shrinks'].mean():.1%} |")
    parts.append("\n".join(lines))
    lines = ["**Power** (alpha = 0: how often the verdict is \"does not scale\"; predicted by `analysis/power.py`)\n",
             "| setting | decided | predicted |", "|---|---|---|"]
    lines += [f"| {row['name']} | {row['flat']:.1%} | {row['predicted']:.1%} |"
              for row in table[table["kind"].eq("power")].to_dict("records")]
    return "\n\n".join([*parts, "\n".join(lines)])


def plot(table: pd.DataFrame) -> Figure:
    """Coverage of every setting, with that of the bootstrap; power against seeds."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    coverage, against = figure.subplots(1, 2, width_ratios=[3, 2])
    rows = table[table["kind"].isin(["fine", "hard"])].iloc[::-1]
    error = 1.96 * np.sqrt(rows["covers"] * (1 - rows["covers"]) / rows["problems"])
    coverage.axvspan(0.93, 0.97, color="grey", alpha=0.2, linewidth=0)
    coverage.errorbar(rows["covers"], rows["name"], xerr=error, fmt="o", color="#0072B2",
                      label="the interval that decides")
    coverage.plot(rows["bootstrap_covers"], rows["name"], "x", color="#D55E00", label="bootstrap over seeds")
    coverage.set(xlabel="coverage of the 95% interval (grey: 93 to 97%)", xlim=(None, 1.005))
    coverage.legend(fontsize=8, loc="lower left")
    rows = table[table["kind"].eq("power")]
    against.plot(rows["seeds"], rows["flat"], "o-", color="#0072B2", label="simulated")
    against.plot(rows["seeds"], rows["predicted"], "--", color="#222222", label="predicted")
    against.set(xlabel="seeds", ylabel='how often "does not scale" (alpha = 0)', ylim=(0, 1.02))
    against.legend(fontsize=8)
    for axes in (coverage, against):
        axes.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    main()
