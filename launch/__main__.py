"""`ovpnet launch status|plan|retry|cancel|logs|wait|sync`: sweeps that were submitted, or would be."""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from ovpnet.terminal.packages import enter

if __name__ == "__main__":
    enter()

from rich.live import Live

from launch import display, scheduler, sync
from launch.retry import retry
from launch.status import Status, status
from launch.sweep import Sweep, check_private, find, listed, store_option
from ovpnet.spec.errors import OvpnetError
from ovpnet.spec.schemas import default_store
from ovpnet.terminal.commands import as_typed
from ovpnet.terminal.pipe import broken_pipe_ends
from ovpnet.terminal.words import count, some


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; return the exit code: 0, or 1 after a one-line message on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["plan"]:
        return _plan(given[1:])
    options = _parser().parse_args(given)
    try:
        return int(options.run(options) or 0)
    except (OvpnetError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--store", default=default_store(), type=Path, metavar="DIR",
                        help="the run store (default: environment variable OVPNET_STORE, else ./store)")
    one = argparse.ArgumentParser(add_help=False, parents=[common])
    one.add_argument("sweep", nargs="?", metavar="SWEEP", help="its id, or a part of it (default: the latest)")

    parser = argparse.ArgumentParser(prog="ovpnet launch", description="Sweeps that were begun with "
                                     "`ovpnet train -m`, from any shell that sees their store.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    looks = commands.add_parser("status", parents=[one], help="show the runs, packs and jobs of a sweep: which "
                                "are done, run, wait or failed, and how long it will take")
    looks.add_argument("--watch", action="store_true", help="show them again every few seconds, until the sweep ends")
    looks.add_argument("--all", action="store_true", help="show every sweep of the store, one per line")
    looks.add_argument("--failed", action="store_true", help="show each kind of failure, with a traceback")
    looks.set_defaults(run=_status)
    commands.add_parser("plan", add_help=False, help="show what `ovpnet train -m` with these arguments would "
                        "run: packs, members, memory, GPU-hours; nothing is submitted")
    again = commands.add_parser("retry", parents=[one], help="submit what is left of a sweep once more, and its "
                                "failed runs")
    again.add_argument("options", nargs="*", metavar="KEY=VALUE", help="set options of the launcher from now on: "
                       "mem_gb=32 timeout_min=600 partition=long")
    again.set_defaults(run=_retry)
    ends = commands.add_parser("cancel", parents=[one], help="ask the jobs of a sweep to end; they keep checkpoints")
    ends.set_defaults(run=_cancel)
    waits = commands.add_parser("wait", parents=[one], help="wait until a sweep has ended; exit code 0 if every run is "
                                "done or diverged, else 1")
    waits.set_defaults(run=_wait)
    said = commands.add_parser("logs", parents=[one], help="show what the jobs of a sweep printed")
    said.add_argument("--job", metavar="G-T", help="show one job: its group and task, as in the listing")
    said.add_argument("-n", "--lines", type=sync.positive, default=20, help="last lines of each (default: %(default)s)")
    said.set_defaults(run=_logs)
    sync.add_parser(commands)
    return parser


def _plan(arguments: list[str]) -> int:
    from ovpnet import train

    sys.argv = ["ovpnet launch plan", "-m", *arguments, "hydra.launcher.dry_run=true"]
    train.cli()
    return 0


def _status(options: argparse.Namespace) -> int:
    if options.all:
        display.console().print(display.sweeps_table([status(sweep) for sweep in listed(options.store)]))
        return 0
    sweep = find(options.store, options.sweep)
    if options.failed:
        display.show_failures(status(sweep))
    elif options.watch:
        _watch(sweep)
    else:
        display.console().print(display.status_view(status(sweep)))
    return 0


def _watch(sweep: Sweep) -> Status:
    """Show the sweep until it has ended; return its last state."""
    found, took, console = status(sweep), 0.0, display.console()
    # A file, like all that is no terminal, gets the last state alone.
    view = display.status_view(found)
    shown = Live(view, console=console, auto_refresh=False) if console.is_terminal else nullcontext()
    with shown as live:
        while not found.ended:
            time.sleep(max(scheduler.poll_seconds(sweep), 5 * took))  # less often if a look takes long
            began = time.monotonic()
            try:
                found = status(sweep)
            except OvpnetError as error:  # the scheduler may be busy, which must not end a wait of days
                print(f"{error}; asking again", file=sys.stderr)
            took = time.monotonic() - began
            if live is not None:
                live.update(display.status_view(found), refresh=True)
    if live is None:
        console.print(display.status_view(found))
    return found


def _wait(options: argparse.Namespace) -> int:
    return 0 if _watch(find(options.store, options.sweep)).complete else 1


def _retry(options: argparse.Namespace) -> int:
    # argparse takes a first KEY=VALUE for the sweep's id.
    if options.sweep and "=" in options.sweep:
        options.sweep, options.options = None, [options.sweep, *options.options]
    print(retry(find(options.store, options.sweep), options.options))
    return 0


def _cancel(options: argparse.Namespace) -> int:
    sweep = find(options.store, options.sweep)
    check_private(sweep.path)
    asked = scheduler.cancel(sweep, sweep.groups())
    again = f"{as_typed('launch retry')} {sweep.id}{store_option(sweep.store)}"
    print(f"{sweep.id}: {count(asked, 'job')} asked to end; to go on from their checkpoints: {again}"
          if asked else f"{sweep.id}: no job runs or waits")
    return 0


def _logs(options: argparse.Namespace) -> int:
    sweep = find(options.store, options.sweep)
    jobs = {f"{job.group}-{job.task}": job for job in scheduler.jobs(sweep, sweep.groups())}
    wanted = [job for name, job in jobs.items() if options.job in (None, name)]
    if not wanted:
        raise OvpnetError(f"--job {options.job}: no job of {sweep.id}; there are: {some(jobs, 10)}" if jobs else
                          f"{sweep.id} has no jobs")
    for job in wanted:
        print(f"== job {job.group}-{job.task}: {job.state} {job.node} {job.id or ''}".rstrip())
        for file in scheduler.logs(sweep, job):
            print(f"-- {file}")
            print("\n".join(file.read_text(errors="replace").splitlines()[-options.lines:]))
    return 0


if __name__ == "__main__":
    with broken_pipe_ends():
        sys.exit(main())
