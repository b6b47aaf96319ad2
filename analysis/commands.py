"""What the commands of `ovpnet analysis` do; __main__.py has their options."""

import argparse
import io
import math
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Column, Table

from analysis import compare, complexity, diagnostics, output, paper, tune
from analysis.filters import key_of
from analysis.load import Stored, load, width_text
from analysis.tune import Tuning
from analysis.verdict import DELTA, Analysis, analyze, differences, interval_text
from ovpnet.spec.errors import ConfigError, StoreError
from ovpnet.spec.schemas import default_store

NON_TTY_WIDTH = 80
# What of the verdicts formats for reading show; CSV and Parquet have all.
VERDICT_COLUMNS = ["problem", "alpha", "alpha_low", "alpha_high", "verdict"]

_warned: set[str] = set()


def run(options: argparse.Namespace) -> None:
    """Run the command that `options` (from __main__'s parser) name. Raises OvpnetError for what a person can mend."""
    _warned.clear()
    options.store = options.store or default_store()
    if getattr(options, "delta", None) is None:
        options.delta = DELTA
    {"verdict": _verdict, "table": _table, "tuning": _tuning, "rates": _rates, "compare": _compare, "figures": _figures,
     "report": _report, "dashboard": _dashboard, "paper": _paper}[options.command](options)


def _warn(message: str) -> None:
    """Say it once, however often the store is read."""
    if message not in _warned:
        _warned.add(message)
        print(f"warning: {message}", file=sys.stderr)


def _load(options: argparse.Namespace, store: str | None = None, filters: list[str] | None = None) -> Stored:
    stored = load(store or options.store, options.filters if filters is None else filters, options.epsilon)
    for message in stored.skipped:
        _warn(message)
    return stored


def _analyze(stored: Stored, options: argparse.Namespace) -> Analysis:
    analysis = analyze(stored.runs, options.delta, Tuning(options.tune, options.tune_per))
    for message in [*tune.warnings(analysis.best), *complexity.warnings(analysis.intervals)]:
        _warn(message)
    return analysis


def _console(sink: io.StringIO | None = None) -> Console:
    """Rich's console; without a terminal, 80 columns (or $COLUMNS) whatever the environment is. What it prints is no
    markup: the store's names may hold brackets and colons."""
    terminal = sys.stdout.isatty()
    return Console(file=sink, width=None if terminal or "COLUMNS" in os.environ else NON_TTY_WIDTH, highlight=False,
                   markup=False, emoji=False, force_terminal=terminal or None)


# --- verdict -----------------------------------------------------------------------------------------


def _verdict(options: argparse.Namespace) -> None:
    output.chosen(options.format, options.out)  # before anything is read
    analysis = _analyze(_load(options), options)
    output.write(analysis.verdicts, options.format, options.out, lambda: _verdict_text(analysis), VERDICT_COLUMNS)


def _verdict_text(analysis: Analysis) -> str:
    sink = io.StringIO()
    otherwise = differences(analysis.verdicts)
    last = [Column(name, no_wrap=True) for name in ("alpha", "95% interval", "verdict")]
    columns = [Column(name, overflow="fold") for name in ("concept", "learner", *["otherwise"] * any(otherwise))]
    table = Table("#", *columns, *last, box=None, padding=(0, 1))
    for index, row in enumerate(analysis.verdicts.itertuples(), start=1):
        alpha = "" if pd.isna(row.alpha) else f"{row.alpha:z.2f}"
        interval = "" if pd.isna(row.alpha) else interval_text(row.alpha_low, row.alpha_high)
        table.add_row(str(index), row.concept, f"{row.learner} ({row.trained})",
                      *([otherwise[index - 1]] if any(otherwise) else []), alpha, interval,
                      row.verdict)
    _console(sink).print(table)
    for index, row in enumerate(analysis.verdicts.itertuples(), start=1):
        # Not through rich: a wrapped command could not be copied, and its brackets are not markup.
        print(f"\n{index}. {row.problem}\n   why: {row.why}", file=sink)
        checks = _checks(row, analysis.models[analysis.models["problem"].eq(row.problem)])
        if checks:
            print(f"   beside it: {checks}", file=sink)
        if row.next:
            print(f"   next: {row.next}", file=sink)
    for problem, rows in analysis.epsilons.groupby("problem", sort=False):
        found = ", ".join(f"{each.coefficient} = {each.estimate:z.2f} {interval_text(each.low, each.high)}"
                          for each in rows.itertuples())
        listed = ", ".join(f"{each:g}" for each in rows["epsilons"].iloc[0])
        print(f"\n{problem}\n   over epsilon {listed}: N_eps ~ m^alpha (1/epsilon)^beta, {found}", file=sink)
    return sink.getvalue()


def _checks(row: Any, models: pd.DataFrame) -> str:
    """Other estimates of alpha, which decide nothing, and how the laws compare."""
    parts = []
    if not pd.isna(row.logistic_alpha):
        found = interval_text(row.logistic_low, row.logistic_high)
        parts.append(f"logistic regression {row.logistic_alpha:z.2f} {found}")
    bounded = math.isfinite(row.alpha_low) or math.isfinite(row.alpha_high)
    if bounded and not pd.isna(row.bootstrap_low):  # where every seed is censored alike it is a point, of no meaning
        parts.append(f"bootstrap over seeds {interval_text(row.bootstrap_low, row.bootstrap_high)}")
    weighed = models[models["aicc_weight"].notna()].sort_values("aicc_weight", ascending=False)
    if len(weighed):
        weights = ", ".join(f"{each.model} {each.aicc_weight:.0%}" for each in weighed.itertuples())
        parts.append(f"laws by AICc {weights}")
    return "; ".join(parts)


# --- table -------------------------------------------------------------------------------------------


def _table(options: argparse.Namespace) -> None:
    output.chosen(options.format, options.out)
    stored = _load(options)
    best = tune.best_tuned(stored.runs, Tuning(options.tune, options.tune_per))
    for message in tune.warnings(best):
        _warn(message)
    if options.seeds:
        output.write(best, options.format, options.out)
        return
    choices = tune.choices(best)
    output.write(choices, options.format, options.out, lambda: _choices_text(choices))


def _tuning(options: argparse.Namespace) -> None:
    output.chosen(options.format, options.out)
    table = tune.winners_curse(_load(options).runs, options.tune_per)
    shown = ["problem", "width", "samples", "settings", "seeds", "validated_risk", "best_risk", "gap", "gap_se",
             "gap_epsilons", "optimism_epsilons"]
    output.write(table, options.format, options.out, shown=shown)


def _rates(options: argparse.Namespace) -> None:
    output.chosen(options.format, options.out)
    stored = _load(options)
    from analysis import rates

    table = rates.rates(stored.runs, Tuning(options.tune, options.tune_per))
    output.write(table, options.format, options.out, lambda: _rates_text(table))


def _rates_text(table: pd.DataFrame) -> str:
    """A table of exponents, and below it the problems that each is of."""
    sink = io.StringIO()
    console = _console(sink)
    shown = Table("#", "of", "in", "exponent", "95% interval", "theorem", "bound", "finding", box=None, padding=(0, 1))
    for index, row in enumerate(table.itertuples(), start=1):
        bound = "" if pd.isna(row.predicted) else f"{row.predicted:g}"
        theorem = "" if pd.isna(row.theorem) else f"{row.theorem:.0f}" + ("" if row.stated else " *")
        shown.add_row(str(index), row.of, row.quantity, f"{row.exponent:z.2f}",
                      interval_text(row.low, row.high), theorem, bound, row.finding)
    console.print(shown)
    lines = [sink.getvalue().rstrip("\n")]
    for index, row in enumerate(table.itertuples(), start=1):
        lines += [f"\n{index}. {row.quantity} = {row.values}", *(f"   {each}" for each in row.problems.split("\n"))]
    if len(table) and not table["stated"].all():
        lines.append("\n* beyond what the theorem states: of another algorithm or concept")
    return "\n".join(lines) + "\n"


def _choices_text(choices: pd.DataFrame) -> str:
    sink = io.StringIO()
    console = _console(sink)
    for problem, rows in choices.groupby("problem"):
        table = Table("m", "N", "lr", "weight decay", "seeds", "test risk", "OPT + eps", "pass", box=None,
                      padding=(0, 1), title=str(problem), title_justify="left")
        for row in rows.itertuples():
            table.add_row(width_text(row.width), str(row.samples), f"{row.lr:g}", f"{row.weight_decay:g}",
                          str(row.seeds), f"{row.test_risk:.4g}", f"{row.threshold:.4g}", f"{row.reached:.0%}")
        console.print(table)
    return sink.getvalue()


# --- compare -----------------------------------------------------------------------------------------


def _compare(options: argparse.Namespace) -> None:
    output.chosen(options.format, options.out)
    (first, first_keys), (second, second_keys) = (_side(options, text) for text in (options.A, options.B))
    pairs = compare.matched(first, second, [*first_keys, *second_keys])
    risks = compare.risks(first, second, pairs)
    if options.risks:
        output.write(risks, options.format, options.out)
        return
    verdicts = compare.verdicts(first, second, pairs)
    output.write(verdicts, options.format, options.out, lambda: _compare_text(verdicts, risks))


def _side(options: argparse.Namespace, text: str) -> tuple[Analysis, list[str]]:
    """The analysis of what A or B names, and the keys that it was chosen by."""
    if Path(text).is_dir():
        return _analyze(_load(options, store=text), options), []
    own = shlex.split(text)
    keys = [key_of(each) for each in own]
    if not own or not all(keys):
        raise StoreError(f"{text}: neither the directory of a store nor filters (key=value ...)")
    return _analyze(_load(options, filters=[*own, *options.filters]), options), keys


def _compare_text(verdicts: pd.DataFrame, risks: pd.DataFrame) -> str:
    lines = []
    for index, row in enumerate(verdicts.itertuples(), start=1):
        same = row.problem_a == row.problem_b
        lines.append(f"{index}. {row.problem_a}" if same else f"{index}. A: {row.problem_a}\n   B: {row.problem_b}")
        lines.append(f"   verdict: {row.verdict_a}, in both" if not row.changed else
                     f"   verdict: {row.verdict_a} in A, {row.verdict_b} in B")
        if not pd.isna(row.difference):
            lines.append(f"   alpha: {row.alpha_a:z.2f} in A, {row.alpha_b:z.2f} in B; B - A = {row.difference:z.2f}, "
                         f"95% {interval_text(row.low, row.high)}")
        cells = risks[risks["problem_a"].eq(row.problem_a) & risks["problem_b"].eq(row.problem_b)]
        if len(cells):
            known = cells[cells["se"].notna()]
            lower, higher = (int((sign * known["difference"] > 2 * known["se"]).sum()) for sign in (-1, 1))
            lines.append(f"   best-tuned test risk, over {len(cells)} widths and N that both have: B's is lower by "
                         f"more than 2 s.e. at {lower}, higher at {higher}")
        else:
            lines.append("   best-tuned test risk: no width, N and seed is in both")
    return "\n".join([*lines, ""])


# --- figures, report, paper --------------------------------------------------------------------------


def _figures(options: argparse.Namespace) -> None:
    stored = _load(options)
    analysis = _analyze(stored, options)
    from analysis import diagnostic_figures, figures  # matplotlib takes a second to import

    directory = options.out / "figures"
    drawn = figures.save(analysis, directory)
    measured = diagnostics.last_values(analysis.runs, analysis.best)
    along = stored.curves_of(measured["run_id"], diagnostics.TRACED)
    diagnosed = diagnostic_figures.save(measured, along, directory)
    for paths in [*drawn.values(), *diagnosed.values()]:
        for path in paths:
            print(path)


def _report(options: argparse.Namespace) -> None:
    from analysis import report, watch  # plotly, likewise

    def write(reload_seconds: float | None) -> None:
        stored = _load(options)
        print(report.write(stored, _analyze(stored, options), options.out, options.delta, reload_seconds), flush=True)

    if options.watch is None:
        write(None)
        return
    if not options.watch > 0:
        raise ConfigError("--watch", options.watch, "must be greater than 0")
    watch.watch(Path(options.store), write, options.watch)


def _dashboard(options: argparse.Namespace) -> None:
    stored = _load(options)
    analysis = _analyze(stored, options)
    from analysis import dashboard  # wandb-workspaces and matplotlib, likewise

    asked = dashboard.Asked(Path(options.store), options.filters, options.epsilon, options.delta,
                            Tuning(options.tune, options.tune_per), options.project, options.entity, options.name)
    if options.dry_run:
        print(dashboard.described(dashboard.plan(asked, stored, analysis)))
        return
    made = dashboard.publish(asked, stored, analysis)
    print("\n".join([made.workspace, made.report, made.artifact]))
    if not made.changed:
        print("nothing to write: all of it is there already, as it would be now")


def _paper(options: argparse.Namespace) -> None:
    stored, published = _load(options), paper.reference(options.reference or paper.REFERENCE)
    compared = paper.compare(paper.points(stored), published)
    for message in [*paper.warnings(stored), *tune.warnings(tune.best_tuned(stored.runs))]:
        _warn(message)
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
    from analysis import paper_figures  # matplotlib takes a second to import

    for path in paper_figures.save(compared, published, options.out):
        print(path)
