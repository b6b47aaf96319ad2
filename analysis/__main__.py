"""`ovpnet analysis verdict|table|tuning|rates|compare|figures|report|dashboard|paper`: what the runs of a store say.

The parser alone: what a command needs is imported when it runs (analysis/commands.py), so that --help is there at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ovpnet.terminal.packages import enter

if __name__ == "__main__":
    enter()

from ovpnet.terminal.pipe import broken_pipe_ends

FILTER_HELP = ("only runs with these config values, written as in a Hydra override: width=64,256 concept=two_layer "
               "'width=range(64,1025,64)' 'lr=interval(0.1,1)' 'concept=glob(two*)', or 'width>=256'. A filter on "
               "epsilon picks runs by the epsilon they were trained with; --epsilon judges all runs at another. A run "
               "of two studies has the `study` that trained it.")
FORMATS = ("text", "csv", "parquet", "latex", "markdown")
WATCH_SECONDS = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; return the exit code: 0, or 1 after a one-line message on stderr."""
    options = _parser().parse_args(arguments)
    from analysis import commands  # pandas alone takes half a second
    from ovpnet.spec.errors import OvpnetError

    try:
        commands.run(options)
    except OvpnetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        out = getattr(options, "out", None)
        found = f"--out={out}: cannot be written ({error.strerror})" if out else str(error)
        print(f"error: {found}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--store", metavar="DIR",
                        help="the run store (default: environment variable OVPNET_STORE, else ./store)")
    common.add_argument("--epsilon", type=_numbers, default=(), metavar="E[,E...]",
                        help="judge the stored runs at these epsilons, in their own epsilon_unit, without training. If "
                        "there are several, each is a problem, and verdict fits the law over all of them, too. The "
                        "runs that verdict asks for next are trained with the runs' own epsilon; judge them with this "
                        "option again")
    filters = argparse.ArgumentParser(add_help=False)
    filters.add_argument("filters", nargs="*", metavar="key=value[,value...]", help=FILTER_HELP)
    per = argparse.ArgumentParser(add_help=False)
    per.add_argument("--tune-per", choices=("pool", "seed"), default="pool", help="one lr and weight decay for all "
                     "seeds of a width and samples, by the mean over them (the default), or each seed's own")
    tuning = argparse.ArgumentParser(add_help=False, parents=[per])
    tuning.add_argument("--tune", choices=("validation", "test"), default="validation", help="choose lr and weight "
                        "decay by validation risk (the default), or by test risk as the paper does, which flatters")
    delta = argparse.ArgumentParser(add_help=False)
    delta.add_argument("--delta", type=float, metavar="D",
                       help="exponents of m within (-D, D) count as none (default: 0.1)")
    directory = argparse.ArgumentParser(add_help=False)
    directory.add_argument("--out", type=Path, default=Path("report"), metavar="DIR",
                           help="directory that is written to (default: ./report)")
    file = argparse.ArgumentParser(add_help=False)
    file.add_argument("--format", choices=FORMATS, help="default: what --out's suffix "
                      "says, else text. latex needs \\usepackage{booktabs}")
    file.add_argument("--out", type=Path, metavar="FILE",
                      help="write it to a file instead: .txt, .csv, .parquet, .tex or .md")

    parser = argparse.ArgumentParser(prog="ovpnet analysis", description="Does the sample complexity of the runs in "
                                     "a store scale with width? Reads the store only; nothing is trained.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    commands.add_parser("verdict", parents=[common, filters, tuning, delta, file],
                        help="print one verdict per problem, why, and what to run next")
    table = commands.add_parser("table", parents=[common, filters, tuning, file],
                                help="print the best-tuned risk at each width and samples")
    table.add_argument("--seeds", action="store_true", help="print one row per seed, in place of means over seeds")
    commands.add_parser("tuning", parents=[common, filters, per, file],
                        help="print how much the best test risk of the grid flatters, at each width and samples")
    commands.add_parser("rates", parents=[common, filters, tuning, file], help="print exponents of N, 1/epsilon, p, k, "
                        "d, the concept's complexity (and m, for Theorem 3), beside those of the theorems")
    compare = commands.add_parser("compare", parents=[common, tuning, delta, file], help="print two stores, or two "
                                  "sets of runs of one, side by side: verdicts, exponents, risks")
    for name in ("A", "B"):
        compare.add_argument(name, help="a store's directory, or filters in one quoted argument: "
                                        "'learner=three_layer learner.trained=ntk'")
    compare.add_argument("filters", nargs="*", metavar="key=value[,value...]", help="of both; " + FILTER_HELP)
    compare.add_argument("--risks", action="store_true", help="print the risks at each width and samples")
    commands.add_parser("figures", parents=[common, filters, tuning, delta, directory],
                        help="draw the figures as PDF (for a paper), SVG and PNG")
    report = commands.add_parser("report", parents=[common, filters, tuning, delta, directory],
                                 help="write the report, one interactive HTML file")
    report.add_argument("--watch", type=float, nargs="?", const=WATCH_SECONDS, metavar="SECONDS",
                        help="write it again whenever the store has something new, until Ctrl-C; an open page reloads "
                             "itself (every %(const)g seconds by default)")
    dashboard = commands.add_parser("dashboard", parents=[common, filters, tuning, delta], help="make the same story "
                                    "in W&B: a saved workspace, a report, and the tables as an artifact")
    dashboard.add_argument("--project", metavar="NAME", help="W&B project (default: tracker.project of the runs)")
    dashboard.add_argument("--entity", metavar="NAME",
                           help="W&B entity (default: tracker.entity of the runs, else yours)")
    dashboard.add_argument("--name", metavar="NAME", help="name of the workspace and the report; what has this name is "
                           "written over (default: Sample complexity, and the filters)")
    dashboard.add_argument("--dry-run", action="store_true", help="say what would be made, and ask nothing of W&B")
    section7 = commands.add_parser("paper", parents=[common, filters, directory], help="print and draw Figures 1 to 3 "
                                   "of the paper from our runs, beside its published points")
    section7.add_argument("--reference", type=Path, metavar="CSV",
                          help="published points (default: those of Figure 1, read off the published figure)")
    return parser


def _numbers(text: str) -> list[float]:
    try:
        return [float(each) for each in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number, nor several with commas between") from None


if __name__ == "__main__":
    with broken_pipe_ends():
        sys.exit(main())
