"""`python -m analysis verdict|table|figures|report|paper`: what the runs of a store say."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Column, Table

from analysis import complexity, diagnostics, paper, tune
from analysis.load import Stored, load, width_text
from analysis.verdict import DELTA, Analysis, analyze, differences, interval_text
from ovpnet.config import default_store
from ovpnet.errors import OvpnetError

FILTER_HELP = ("only runs with these config values, written as in a Hydra override: width=64,256 concept=two_layer "
               "learner.name=three_layer. A filter on epsilon picks runs by the epsilon they were trained with; "
               "--epsilon judges all runs at another. A run of two studies has the `study` that trained it.")
NON_TTY_WIDTH = 80


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit code: 0, or 1 after a one-line message on stderr."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except OvpnetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a path that cannot be written to
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("filters", nargs="*", metavar="key=value[,value...]", help=FILTER_HELP)
    common.add_argument("--store", default=default_store(), metavar="DIR",
                        help="the run store (default: environment variable OVPNET_STORE, else ./store)")
    common.add_argument("--epsilon", type=_numbers, default=(), metavar="E[,E...]",
                        help="judge the stored runs at these epsilons, in their own epsilon_unit, without training; of "
                        "several, each is a problem, and verdict fits the law over all of them too")
    delta = argparse.ArgumentParser(add_help=False)
    delta.add_argument("--delta", type=float, default=DELTA, metavar="D",
                       help="exponents of m within (-D, D) count as none (default: %(default)s)")
    out = argparse.ArgumentParser(add_help=False)
    out.add_argument("--out", type=Path, default=Path("report"), metavar="DIR",
                     help="directory that is written to (default: ./report)")

    parser = argparse.ArgumentParser(prog="python -m analysis", description="Does the sample complexity of the runs in "
                                     "a store scale with width? Reads the store only; nothing is trained.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    verdict = commands.add_parser("verdict", parents=[common, delta], help="print one verdict a problem, why, and what "
                                  "to run next")
    verdict.set_defaults(run=_verdict)
    table = commands.add_parser("table", parents=[common], help="print the best-tuned risk at each width and samples")
    table.add_argument("--csv", type=Path, metavar="PATH", help="write it, one row a seed, to a CSV file instead")
    table.set_defaults(run=_table)
    figures = commands.add_parser("figures", parents=[common, delta, out], help="draw the figures as PNG and SVG")
    figures.set_defaults(run=_figures)
    report = commands.add_parser("report", parents=[common, delta, out], help="write the report, one HTML file")
    report.set_defaults(run=_report)
    section7 = commands.add_parser("paper", parents=[common, out], help="print and draw Figures 1 to 3 of the paper "
                                   "from our runs, beside its published points")
    section7.add_argument("--reference", type=Path, default=paper.REFERENCE, metavar="CSV",
                       help="published points (default: those of Figure 1, read off the published figure)")
    section7.set_defaults(run=_paper)
    return parser


def _numbers(text: str) -> list[float]:
    return [float(each) for each in text.split(",")]


def _load(options: argparse.Namespace) -> Stored:
    stored = load(options.store, options.filters, options.epsilon)
    for message in stored.skipped:
        print(f"warning: {message}", file=sys.stderr)
    return stored


def _analyze(stored: Stored, options: argparse.Namespace) -> Analysis:
    analysis = analyze(stored.runs, options.delta)
    for message in [*tune.warnings(analysis.best), *complexity.warnings(analysis.intervals)]:
        print(f"warning: {message}", file=sys.stderr)
    return analysis


def _console() -> Console:
    """Rich's console; without a terminal, 80 columns (or $COLUMNS) whatever the environment is."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else NON_TTY_WIDTH, highlight=False)


def _verdict(options: argparse.Namespace) -> None:
    analysis = _analyze(_load(options), options)
    console = _console()
    otherwise = differences(analysis.verdicts)
    last = [Column(name, no_wrap=True) for name in ("alpha", "95% interval", "verdict")]
    columns = [Column(name, overflow="fold") for name in ("concept", "learner", *["otherwise"] * any(otherwise))]
    table = Table("#", *columns, *last, box=None, padding=(0, 1))
    for index, row in enumerate(analysis.verdicts.itertuples(), start=1):
        alpha = "" if pd.isna(row.alpha) else f"{row.alpha:z.2f}"
        interval = "" if pd.isna(row.alpha) else interval_text(row.alpha_low, row.alpha_high)
        table.add_row(str(index), row.concept, f"{row.learner} ({row.trained})",
                      *([_literal(otherwise[index - 1])] if any(otherwise) else []), alpha, _literal(interval),
                      row.verdict)
    console.print(table)
    for index, row in enumerate(analysis.verdicts.itertuples(), start=1):
        # Not through rich: a wrapped command could not be copied, and its brackets are not markup.
        print(f"\n{index}. {row.problem}\n   why: {row.why}")
        checks = _checks(row, analysis.models[analysis.models["problem"].eq(row.problem)])
        if checks:
            print(f"   beside it: {checks}")
        if row.next:
            print(f"   next: {row.next}")
    for problem, rows in analysis.epsilons.groupby("problem", sort=False):
        found = ", ".join(f"{each.coefficient} = {each.estimate:z.2f} {interval_text(each.low, each.high)}"
                          for each in rows.itertuples())
        listed = ", ".join(f"{each:g}" for each in rows["epsilons"].iloc[0])
        print(f"\n{problem}\n   over epsilon {listed}: N_eps ~ m^alpha (1/epsilon)^beta, {found}")


def _checks(row: Any, models: pd.DataFrame) -> str:
    """Other estimates of alpha, which decide nothing, and how the laws compare."""
    parts = []
    if not pd.isna(row.logistic_alpha):
        found = interval_text(row.logistic_low, row.logistic_high)
        parts.append(f"logistic regression {row.logistic_alpha:z.2f} {found}")
    if not pd.isna(row.bootstrap_low):
        parts.append(f"bootstrap over seeds {interval_text(row.bootstrap_low, row.bootstrap_high)}")
    weighed = models[models["aicc_weight"].notna()].sort_values("aicc_weight", ascending=False)
    if len(weighed):
        weights = ", ".join(f"{each.model} {each.aicc_weight:.0%}" for each in weighed.itertuples())
        parts.append(f"laws by AICc {weights}")
    return "; ".join(parts)


def _literal(text: str) -> str:
    return text.replace("[", r"\[")


def _table(options: argparse.Namespace) -> None:
    stored = _load(options)
    best = tune.best_tuned(stored.runs)
    for message in tune.warnings(best):
        print(f"warning: {message}", file=sys.stderr)
    if options.csv:
        options.csv.parent.mkdir(parents=True, exist_ok=True)
        best.to_csv(options.csv, index=False)
        print(options.csv)
        return
    console = _console()
    for problem, rows in tune.choices(best).groupby("problem"):
        table = Table("m", "N", "lr", "weight decay", "seeds", "test risk", "OPT + eps", "pass", box=None,
                      padding=(0, 1), title=_literal(str(problem)), title_justify="left")
        for row in rows.itertuples():
            table.add_row(width_text(row.width), str(row.samples), f"{row.lr:g}", f"{row.weight_decay:g}",
                          str(row.seeds), f"{row.test_risk:.4g}", f"{row.threshold:.4g}", f"{row.reached:.0%}")
        console.print(table)


def _figures(options: argparse.Namespace) -> None:
    stored = _load(options)
    analysis = _analyze(stored, options)
    from analysis import diagnostic_figures, figures  # matplotlib takes a second to import; a verdict need not wait

    directory = options.out / "figures"
    drawn = figures.save(analysis, directory)
    diagnosed = diagnostic_figures.save(diagnostics.last_values(analysis.runs, analysis.best), stored.curves, directory)
    for paths in [*drawn.values(), *diagnosed.values()]:
        for path in paths:
            print(path)


def _report(options: argparse.Namespace) -> None:
    stored = _load(options)
    analysis = _analyze(stored, options)
    from analysis import report  # as above

    print(report.write(stored, analysis, options.out, options.delta))


def _paper(options: argparse.Namespace) -> None:
    stored, published = _load(options), paper.reference(options.reference)
    compared = paper.compare(paper.points(stored), published)
    for message in [*paper.warnings(stored), *tune.warnings(tune.best_tuned(stored.runs))]:
        print(f"warning: {message}", file=sys.stderr)
    options.out.mkdir(parents=True, exist_ok=True)
    console = _console()
    orderings = paper.orderings(compared)
    names = ("series", "m", "N", "lr", "decay", "paper", "ours", "s.e.", "ratio", "")
    for (number, panel), rows in compared.groupby(["figure", "panel"]):
        table = Table(*(Column(name, no_wrap=True) for name in names), box=None,
                      padding=(0, 1), title=f"Figure {number} ({panel}): {rows['metric'].iloc[0].replace('_', ' ')}",
                      title_justify="left")
        for row in rows.itertuples():
            table.add_row(row.series, width_text(row.m), str(row.n), f"{row.lr:g}", f"{row.weight_decay:g}",
                          *("" if pd.isna(each) else f"{each:.4g}" for each in (row.paper, row.value)),
                          "" if pd.isna(row.value_se) else f"{row.value_se:.2g}",
                          "" if pd.isna(row.ratio) else f"{row.ratio:.2f}",
                          "" if pd.isna(row.ratio) or paper.close(row.ratio) else "off")
        console.print(table)
        for row in orderings[orderings["figure"].eq(number) & orderings["panel"].eq(panel)].itertuples():
            order = "the paper's order of the series" if row.agree else f"ours {row.ours}\n    paper {row.paper}"
            print(f"{'m' if panel == 'a' else 'N'} = {row.at}: {order}")
        print()
    known = compared.dropna(subset=["ratio"])
    if len(known):
        print(f"{int(paper.close(known['ratio']).sum())} of {len(known)} points are within a factor of {paper.CLOSE:g} "
              f"of the paper's; the series are in its order at {int(orderings['agree'].sum())} of {len(orderings)}")
    print("ours: mean over seeds of the test error, at the lr and weight decay of least validation risk; the paper\n"
          "shows the best test error of its grid, which is the column best_over_grid of the files")
    for number, rows in compared.groupby("figure"):
        path = options.out / f"ovpnet_figure{number}.csv"
        rows.to_csv(path, index=False, float_format="%.6g")
        print(path)
    from analysis import paper_figures  # as above

    for path in paper_figures.save(compared, published, options.out):
        print(path)


if __name__ == "__main__":
    sys.exit(main())
