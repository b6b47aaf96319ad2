"""`python -m analysis verdict | table | figures | report`."""

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from analysis.load import load, rejudged
from analysis.verdict import DELTA, Study, study
from ovpnet.errors import OvpnetError


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        runs, skipped = load(options.store, options.filters)
        if options.epsilon is not None:
            runs = rejudged(runs, options.epsilon, options.epsilon_unit)
        found = study(runs, options.delta)
    except OvpnetError as error:
        print(error, file=sys.stderr)
        return 1
    for message in [*skipped, *found.warnings]:
        print(f"warning: {message}", file=sys.stderr)
    {"verdict": _verdict, "table": _table, "figures": _figures, "report": _report}[options.command](
        found, options, skipped)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis",
        description="Does the sample complexity of the runs in a store scale with the width?")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help in (("verdict", "print whether N_eps scales with m, why, and what to run next"),
                       ("table", "print the best-tuned runs; with --csv write them"),
                       ("figures", "draw N_eps against m, and test risk against N"),
                       ("report", "write figures, tables and one HTML page")):
        command = commands.add_parser(name, help=help, description=help)
        command.add_argument("filters", nargs="*", metavar="KEY=VALUE[,VALUE]",
                             help="only runs with these values, e.g. concept=two_layer width=64,256")
        command.add_argument("--store", type=Path, default=Path(os.environ.get("OVPNET_STORE", "store")),
                             help="directory of the run store (default: $OVPNET_STORE or ./store)")
        command.add_argument("--epsilon", type=float, help="judge the runs at another epsilon, without training")
        command.add_argument("--epsilon-unit", choices=["relative", "absolute"], default="relative",
                             help="epsilon times E||y||^2 (default), or in units of the loss")
        command.add_argument("--delta", type=float, default=DELTA,
                             help="exponents of m in (-delta, delta) count as independent of m (default: %(default)g)")
        if name in ("figures", "report"):
            command.add_argument("--out", type=Path, default=Path("report"), help="folder to write (default: ./report)")
        if name == "table":
            command.add_argument("--csv", type=Path, help="file to write")
    return parser


def _verdict(found: Study, options: argparse.Namespace, skipped: list[str]) -> None:
    table = Table("problem", "m", "seeds", "alpha", "95% interval", "verdict")
    for row in found.verdicts.itertuples():
        table.add_row(row.label, row.widths, str(row.seeds), f"{row.alpha:.3f}",
                      f"{row.alpha_low:.3f} to {row.alpha_high:.3f}", row.verdict)
    console = Console()
    console.print(table)
    for row in found.verdicts.itertuples():
        print(f"{row.label}: {row.verdict}: {row.why}.")
        if row.next:
            print(f"  next: {row.next}")


def _table(found: Study, options: argparse.Namespace, skipped: list[str]) -> None:
    columns = ["problem", "width", "samples", "seed", "lr", "weight_decay", "test_risk", "test_risk_se", "opt",
               "threshold", "excess_risk", "reached", "reached_step"]
    if options.csv:
        options.csv.parent.mkdir(parents=True, exist_ok=True)
        found.best.to_csv(options.csv, index=False)
        print(f"wrote {options.csv}")
    else:
        print(found.best[columns].to_string(index=False))


def _figures(found: Study, options: argparse.Namespace, skipped: list[str]) -> None:
    from analysis.figures import figures, save  # matplotlib takes half a second

    for path in save(figures(found), options.out):
        print(path)


def _report(found: Study, options: argparse.Namespace, skipped: list[str]) -> None:
    from analysis.report import write

    print(f"wrote {write(found, options.out, skipped)}")


if __name__ == "__main__":
    sys.exit(main())
