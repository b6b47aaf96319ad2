"""`python -m benchmarks.settling`: do the commands that open verdicts print settle them, and how often falsely?

Simulated problems of known law (as in benchmarks/calibration.py) whose first design leaves the verdict open are
analysed as a store is; the printed `next:` command is read with Hydra's grammar, the runs it asks for are simulated (a
seed and width keep their N_eps), and so on, up to MOST_COMMANDS times. With --write-docs the rows go to
benchmarks/results/, and their table to docs/statistics.md.
"""

import argparse
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from analysis.load import with_problem
from analysis.verdict import DELTA, FLAT, OPEN, SCALES, analyze
from benchmarks import tables
from benchmarks.calibration import PAGE
from ovpnet.run.results import config_row
from ovpnet.spec import schemas

MOST_COMMANDS = 4
MOST_SEEDS = 64  # a command for more is not followed: few would
CENTRE = 1000.0  # N_eps at the width CENTRAL_WIDTH
CENTRAL_WIDTH = 512.0


@dataclass(frozen=True)
class Setting:
    """A law, log N_eps = c + alpha log m + u_seed + e, and the design that looks at it first. sigma, tau: in log N;
    ratio: of neighbours in the grid of samples, from `least` to `most` (in units of N_eps at CENTRAL_WIDTH)."""

    name: str
    alpha: float = 0.0
    seeds: int = 3
    sigma: float = 0.2
    tau: float = 0.1
    ratio: float = 1.25
    widths: tuple[int, ...] = (64, 256, 1024, 4096)
    least: float = 0.2
    most: float = 5.0

    @property
    def truth(self) -> str | None:
        """The verdict that is true; None where |alpha| is delta, and none may be given."""
        return None if self.alpha == DELTA else FLAT if abs(self.alpha) < DELTA else SCALES


SETTINGS = [
    Setting("alpha 0, few seeds"), Setting("alpha 0, sigma 0.4", sigma=0.4),
    Setting("alpha 0, coarse grid", seeds=5, sigma=0.05, ratio=3.0, least=0.05, most=20.0),
    Setting("alpha 0, near widths", seeds=5, sigma=0.1, widths=(256, 512, 1024)),
    Setting("alpha 0.3, few seeds", alpha=0.3, sigma=0.4, least=0.1, most=10.0),
    Setting("alpha 0.5, beyond the grid", alpha=0.5, most=0.5),
    Setting("alpha = delta", alpha=DELTA), Setting("alpha = delta, near widths", alpha=DELTA, widths=(256, 512, 1024)),
]

Axes = Mapping[str, Sequence[int]]


def first_axes(setting: Setting, rng: np.random.Generator) -> Axes:
    """Width, samples and seed of the first design; the place of the grid of samples is drawn."""
    step = np.log(setting.ratio)
    points = np.arange(np.log(setting.least), np.log(setting.most), step) + step * rng.random()
    return {"width": setting.widths, "samples": np.unique(np.round(CENTRE * np.exp(points)).astype(int)).tolist(),
            "seed": range(setting.seeds)}


def simulated(setting: Setting, problem: int, axes: Axes, base: Mapping[str, object]) -> pd.DataFrame:
    """Rows of the store for all runs of `axes`: excess risk falls as 1/N, through epsilon at N_eps."""
    index = pd.MultiIndex.from_product(axes.values(), names=list(axes)).to_frame(index=False)
    cells = {}
    for seed in axes["seed"]:
        shift = setting.tau * np.random.default_rng([problem, seed]).normal()
        for width in axes["width"]:
            noise = setting.sigma * np.random.default_rng([problem, seed, width]).normal()
            cells[width, seed] = CENTRE * (width / CENTRAL_WIDTH) ** setting.alpha * np.exp(shift + noise)
    n_eps = np.array([cells[width, seed] for width, seed in zip(index["width"], index["seed"], strict=True)])
    risk = 0.2 + 0.1 * n_eps / index["samples"]
    constant = {"status": "done", "opt": 0.2, "opt_se": 0.0, "opt_method": "noise", "opt_id": "x", "second_moment": 1.0,
                "epsilon_absolute": 0.1, "threshold": 0.3, "finished_at": "2026-01-01T00:00:00"}
    rows = pd.DataFrame({name: [value] * len(index) for name, value in (base | constant).items()})
    return rows.assign(run_id=index.astype(str).agg("-".join, axis=1), test_risk=risk, validation_risk=risk,
                       test_risk_se=0.001, excess_risk=risk - 0.2, excess_risk_se=0.001, reached=risk <= 0.3,
                       train_seconds=0.1, **{name: index[name] for name in index})


def asked(command: str) -> Axes:
    """Width, samples and seed of a printed command."""
    axes: dict[str, list[int]] = {}
    for word in shlex.split(command):
        if word.startswith(("width=", "samples=", "seed=")):
            override = OverridesParser.create().parse_override(word)
            values = override.sweep_string_iterator() if override.is_sweep_override() else [override.value()]
            axes[override.key_or_group] = [int(value) for value in values]
    return {name: axes[name] for name in ("width", "samples", "seed")}


def follow(setting: Setting, problem: int, base: Mapping[str, object]) -> dict[str, object] | None:
    """What came of one problem; None where the first design settled it.

    promised: the probability that the first plan gave its command (nan where it gave none: a grid of samples that must
    be extended first); commands: followed; first: the verdict after one command; last: the verdict in the end; runs:
    how many times those of the first design there were then.
    """
    axes = first_axes(setting, np.random.default_rng(problem))
    verdicts, promised, began = [], np.nan, 0
    while True:
        rows = simulated(setting, problem, axes, base)
        analysis = analyze(with_problem(rows))
        [row] = analysis.verdicts.to_dict("records")
        verdicts.append(row["verdict"])
        began = began or len(rows)
        if row["verdict"] != OPEN:
            break
        if len(verdicts) == 1 and len(analysis.plans):
            promised = float(analysis.plans.set_index("command")["power"].get(row["next"], np.nan))
        if len(verdicts) > MOST_COMMANDS or not row["next"] or len(asked(row["next"])["seed"]) > MOST_SEEDS:
            break
        axes = asked(row["next"])
    if verdicts[0] != OPEN:
        return None
    return {"promised": promised, "commands": len(verdicts) - 1, "first": verdicts[min(1, len(verdicts) - 1)],
            "last": verdicts[-1], "runs": len(rows) / began}


def study(setting: Setting, problems: int, base: Mapping[str, object]) -> dict[str, object]:
    """Frequencies over the problems that their first design left open."""
    began = time.process_time()
    found = pd.DataFrame([each for problem in range(problems) if (each := follow(setting, problem, base))])
    first, last = found["first"], found["last"]
    return {**asdict(setting), "problems": problems, "open": len(found), "promised": found["promised"].mean(),
            "settled_by_one": first.ne(OPEN).mean(), "settled": last.ne(OPEN).mean(),
            "false": (last.ne(OPEN) & last.ne(setting.truth)).mean(), "commands": found["commands"].mean(),
            "runs": found["runs"].median(), "seconds": time.process_time() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=100, help="a setting (default: %(default)s)")
    parser.add_argument("--write-docs", action="store_true", help=f"put the table into docs/{PAGE}")
    options = parser.parse_args()
    schemas.register_schemas()
    with initialize_config_dir(str(schemas.conf_dir()), version_base="1.3"):
        base = config_row(schemas.resolve(compose("config", overrides=["lr=0.5"])))
    rows = []
    for setting in SETTINGS:
        rows.append(study(setting, options.problems, base))
        print(", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{value}"
                        for name, value in rows[-1].items()), flush=True)
        tables.keep("settling", pd.DataFrame(rows))
    if options.write_docs:
        tables.put("benchmarks.settling", markdown(pd.DataFrame(rows)), PAGE)


def markdown(table: pd.DataFrame) -> str:
    """A row a setting."""
    lines = ["| law and first design | left open | promised | settled by one command | by up to "
             f"{MOST_COMMANDS} | commands | runs, in first designs | false verdicts |", "|---" * 8 + "|"]
    for row in table.itertuples(index=False):
        promised = "" if np.isnan(row.promised) else f"{row.promised:.0%}"
        lines.append(f"| {row.name} | {row.open} of {row.problems} | {promised} | {row.settled_by_one:.0%} "
                     f"| {row.settled:.0%} | {row.commands:.1f} | {row.runs:.1f} | {row.false:.1%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
