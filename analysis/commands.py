"""The commands of `ovpnet analysis`; __main__.py has their options."""

import argparse
import shlex
import sys
from itertools import chain
from pathlib import Path

from analysis import compare, output, paper, tune
from analysis.exhibits.base import Chart, Table
from analysis.exhibits.evidence import Evidence
from analysis.exhibits.registry import FIGURES, registered
from analysis.filters import key_of
from analysis.load import load
from analysis.tune import POOLED, Tuning
from analysis.verdict import DELTA
from ovpnet.spec.errors import ConfigError, StoreError
from ovpnet.spec.schemas import default_store

# The exhibit that a command shows as text or as a table.
SHOWN = {"verdict": "verdicts", "table": "settings", "tuning": "optimism", "rates": "rates"}

_warned: set[str] = set()


def run(options: argparse.Namespace) -> None:
    """Run the command that `options` (from __main__'s parser) name. Raises OvpnetError for errors that a person can
    mend."""
    _warned.clear()
    options.store = options.store or default_store()
    if "format" in options:
        output.chosen(options.format, options.out)  # refuse a wrong one before the store is read
    {"verdict": _verdict, "table": _table, "tuning": _show, "rates": _show, "compare": _compare, "figures": _figures,
     "report": _report, "dashboard": _dashboard, "paper": _paper}[options.command](options)


def _warn(messages: list[str]) -> None:
    """Print each message once, however often the store is read."""
    for message in messages:
        if message not in _warned:
            _warned.add(message)
            print(f"warning: {message}", file=sys.stderr)


def _evidence(options: argparse.Namespace, store: str | None = None, filters: list[str] | None = None) -> Evidence:
    """Return what the store says, judged as the options say; warn of what was skipped in it."""
    stored = load(store or options.store, options.filters if filters is None else filters, options.epsilon)
    _warn(stored.skipped)
    chosen = {name: getattr(options, option, None) for name, option in (("by", "tune"), ("per", "tune_per"))}
    return Evidence(stored, DELTA if getattr(options, "delta", None) is None else options.delta,
                    Tuning(chosen["by"] or POOLED.by, chosen["per"] or POOLED.per))


def _analyzed(options: argparse.Namespace, store: str | None = None, filters: list[str] | None = None) -> Evidence:
    """Return the evidence; warn of what may make its verdicts untrustworthy."""
    evidence = _evidence(options, store, filters)
    _warn(evidence.warnings)
    return evidence


# --- as text -----------------------------------------------------------------------------------------


def _show(options: argparse.Namespace) -> None:
    _write(options, _evidence(options))


def _write(options: argparse.Namespace, evidence: Evidence) -> None:
    exhibit = registered()[SHOWN[options.command]](evidence)
    output.write([*exhibit.of_all()], options.format, options.out)


def _verdict(options: argparse.Namespace) -> None:
    _write(options, _analyzed(options))


def _table(options: argparse.Namespace) -> None:
    evidence = _evidence(options)
    _warn(tune.warnings(evidence.best))
    if options.seeds:
        output.write([Table(evidence.best)], options.format, options.out)
    else:
        _write(options, evidence)


def _compare(options: argparse.Namespace) -> None:
    (first, first_keys), (second, second_keys) = (_side(options, text) for text in (options.A, options.B))
    pairs = compare.matched(first.analysis, second.analysis, [*first_keys, *second_keys])
    risks = compare.risks(first.analysis, second.analysis, pairs)
    verdicts = compare.verdicts(first.analysis, second.analysis, pairs)
    if options.risks:
        output.write([Table(risks)], options.format, options.out)
    elif output.chosen(options.format, options.out) == "text":
        output.write([*compare.notes(verdicts, risks)], options.format, options.out)
    else:
        output.write([Table(verdicts)], options.format, options.out)


def _side(options: argparse.Namespace, text: str) -> tuple[Evidence, list[str]]:
    """Return the evidence that A or B names, and the keys that it was chosen by."""
    if Path(text).is_dir():
        return _analyzed(options, store=text), []
    own = shlex.split(text)
    keys = [key_of(each) for each in own]
    if not own or not all(keys):
        raise StoreError(f"{text}: neither the directory of a store nor filters (key=value ...)")
    return _analyzed(options, filters=[*own, *options.filters]), keys


# --- as pictures -------------------------------------------------------------------------------------


def _figures(options: argparse.Namespace) -> None:
    evidence = _analyzed(options)
    from analysis.render import figures  # matplotlib takes a second to import

    directory = options.out / "figures"
    for path in chain.from_iterable(figures.save(evidence, directory, FIGURES).values()):
        print(path)


def _report(options: argparse.Namespace) -> None:
    from analysis import watch
    from analysis.render import page  # plotly, likewise

    def write(reload_seconds: float | None) -> None:
        print(page.write(_analyzed(options), options.out, reload_seconds), flush=True)

    if options.watch is None:
        write(None)
        return
    if not options.watch > 0:
        raise ConfigError("--watch", options.watch, "must be greater than 0")
    watch.watch(Path(options.store), write, options.watch)


def _dashboard(options: argparse.Namespace) -> None:
    evidence = _analyzed(options)
    from analysis import dashboard  # wandb-workspaces and matplotlib, likewise

    asked = dashboard.Asked(Path(options.store), evidence, options.filters, options.epsilon, options.project,
                            options.entity, options.name)
    if options.dry_run:
        print(dashboard.described(dashboard.plan(asked)))
        return
    made = dashboard.publish(asked)
    print("\n".join([made.workspace, made.report, made.artifact]))
    if not made.changed:
        print("nothing to write: all of it is there already, as it would be now")


def _paper(options: argparse.Namespace) -> None:
    from analysis.exhibits import paper as beside
    from analysis.render import figures, text

    evidence = _evidence(options)
    _warn([*paper.warnings(evidence.stored), *tune.warnings(evidence.best)])
    published = paper.reference(options.reference or paper.REFERENCE)
    compared = paper.compare(paper.points(evidence.stored), published)
    shown = [*beside.parts(compared, published)]
    print(text.text(shown), end="")
    options.out.mkdir(parents=True, exist_ok=True)
    for number, rows in compared.groupby("figure"):
        path = options.out / f"ovpnet_figure{number}.csv"
        rows.to_csv(path, index=False, float_format="%.6g")
        print(path)
    for part in shown:
        if isinstance(part, Chart):
            print(figures.write(part, options.out))
