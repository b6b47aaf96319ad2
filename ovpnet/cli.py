"""`ovpnet train|launch|analysis`: the console command. Each command is imported when it is given."""

import argparse
import io
import os
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress

from ovpnet import __version__
from ovpnet.terminal.packages import enter
from ovpnet.terminal.pipe import broken_pipe_ends

COMMANDS = {
    "train": "train one run, or with -m a sweep of runs, and keep them in the store",
    "launch": "sweeps that were submitted, or would be: status, plan, wait, logs, cancel, retry, sync",
    "analysis": "what the runs of a store say: verdict, table, rates, figures, report and more",
}
_EPILOG = """`ovpnet COMMAND --help` explains a command. To complete words with the Tab key:
  bash, zsh:  eval "$(ovpnet train -sc install=bash)"
  fish:       ovpnet train -sc install=fish | source"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    enter()
    given = list(sys.argv[1:] if arguments is None else arguments)
    with broken_pipe_ends():
        if given[:1] == ["-sc"]:  # what the script asks that `ovpnet train -sc install=SHELL` printed
            return _complete(given)
        return _run(_parser().parse_args(given[:1]).command, given[1:])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ovpnet", description="Does the sample complexity of over-parameterized networks depend on their width?",
        formatter_class=argparse.RawDescriptionHelpFormatter, usage="ovpnet [-h] [--version] COMMAND ...",
        epilog="commands:\n" + "\n".join(f"  {name:10}{told}" for name, told in COMMANDS.items()) + f"\n\n{_EPILOG}")
    parser.add_argument("--version", action="version", version=f"ovpnet {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help=argparse.SUPPRESS)
    return parser


def _run(command: str, arguments: list[str]) -> int:
    if command == "launch":
        from launch.__main__ import main as launch

        return launch(arguments)
    if command == "analysis":
        from analysis.__main__ import main as analysis

        return analysis(arguments)
    from ovpnet.train import cli

    sys.argv = ["ovpnet", *arguments]  # where Hydra reads them, and the name that it completes words for
    cli()
    return 0


def _complete(query: list[str]) -> int:
    """Print what can follow the words of COMP_LINE: Hydra knows it of overrides, the help texts of all else."""
    line = os.environ.get("COMP_LINE", "")
    overrides = re.fullmatch(r"\s*\S+\s+(?:train|launch\s+plan)\s(.*)", line)
    if overrides:
        os.environ["COMP_LINE"] = f"ovpnet {overrides[1]}"
        return _run("train", query)
    typed = line.split()[1:] if line[-1:].isspace() else line.split()[1:-1]
    if typed[:1] and typed[0] not in COMMANDS:
        return 0
    print(*(_following(*typed[:2]) if typed else COMMANDS))
    return 0


def _following(command: str, subcommand: str | None = None) -> list[str]:
    """Return the subcommands of a command, or the options of a subcommand."""
    told = io.StringIO()
    with redirect_stdout(told), suppress(SystemExit):
        _run(command, [*filter(None, [subcommand]), "--help"])
    found = re.findall(r"--[a-z][\w-]*" if subcommand else r"^    (\w+)", told.getvalue(), re.MULTILINE)
    return list(dict.fromkeys(found))
