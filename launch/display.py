"""Plans and sweeps as tables and sentences, for people."""

import os
import sys
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.console import Group as Stacked
from rich.table import Column, Table
from rich.text import Text

from launch.plan import Plan
from launch.status import STATES, Status
from launch.sweep import Sweep, store_option
from ovpnet.engine.rates import EXAMPLE
from ovpnet.terminal.commands import as_typed
from ovpnet.terminal.words import count, some, verb

_WIDTH = 120


def console() -> Console:
    """Return rich's console; without a terminal, 120 columns (or $COLUMNS) whatever the environment is."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDTH, highlight=False)


def announcement(plan: Plan, store: str) -> str:
    """Return a line that says what a command is about to do."""
    parts = [count(plan.distinct, "run")]
    if plan.asked > plan.distinct:
        parts.append(f"({plan.asked - plan.distinct} asked for twice)")
    if plan.finished:
        are = verb(plan.finished, "is", "are")
        parts.append(f"of which {plan.finished} {are} in {store} already and {are} skipped")
    for sweep, runs in plan.elsewhere.items():
        which = "and" if plan.finished else "of which"
        are, them = verb(runs, "is", "are"), verb(runs, "it", "them")
        parts.append(f"{which} {runs} {are} left to the sweep {sweep}, which trains {them}")
    packs = plan.packs
    if not packs:
        return " ".join(parts) + "; nothing to train"
    engines = Counter(pack.shape.engine.name for pack in packs)
    by = ", ".join(f"{number} by the {name} engine" for name, number in engines.most_common())
    runs = sum(len(pack.configs) for pack in packs)
    jobs = f" and {plan.job_count} jobs" * (plan.job_count > 1)
    return " ".join(parts) + f"; training {runs} in {count(len(packs), 'pack')} ({by}){jobs}"


def warnings(plan: Plan) -> list[str]:
    """Return warnings about packs that may not fit the memory, and about packs that take longer than a job may."""
    found = []
    for tier in plan.tiers:
        launcher = tier.launcher
        if large := [pack for pack in tier.packs if pack.memory > tier.machine.memory]:
            more = f"; hydra.launcher.{launcher.memory_key} is what a job has" * bool(launcher.memory_key)
            found.append(f"warning: {count(sum(len(pack.configs) for pack in large), 'run')} may not fit the memory, "
                         f"the largest with {size(max(pack.memory for pack in large))} of "
                         f"{size(tier.machine.memory)}{more}")
        longest = max((pack.seconds for pack in tier.packs), default=0.0)
        if longest > launcher.job_seconds:
            found.append(f"warning: the longest pack takes {duration(longest)}, more than a job's {launcher.time_key}="
                         f"{launcher.job_seconds / 60:g}; it goes on from checkpoints in one requeued job after the "
                         "other")
    return found


def submitted(sweep: Sweep, plan: Plan) -> str:
    """Return the message after a submission: the sweep's id, and the commands to type next."""
    predicted, of = duration(plan.seconds), store_option(sweep.store)
    return (f"submitted {sweep.id}: {count(plan.job_count, 'job')}, {predicted} of training predicted in all\n"
            f"  {as_typed('launch status')} {sweep.id}{of} --watch    how it fares; also: wait, logs, retry, cancel\n"
            f"  {as_typed('analysis verdict')}{of}    any time: of the runs that are stored")


def show_plan(plan: Plan) -> None:
    """Print a row per kind of pack, the longest first; then what all of them take together."""
    table = Table("learner", "engine", "m", "runs", "packs", "runs/pack", "memory", "a pack", "all", box=None,
                  padding=(0, 1))
    for number in (4, 5, 6, 7, 8, 2, 3):
        table.columns[number].justify = "right"
    tiers = len(plan.tiers) > 1
    for index, tier in enumerate(plan.tiers):
        if tiers:
            table.add_row(f"[bold]tier {index}: {count(len(tier.jobs), 'job')}[/bold]")
        kinds: dict[tuple[str, str, int], list[int]] = {}
        packs = tier.packs
        for place, pack in enumerate(packs):
            config = pack.configs[0]
            kind = f"{config.learner.name} ({config.learner.trained})", pack.shape.engine.name, config.width
            kinds.setdefault(kind, []).append(place)
        for (learner, engine, width), places in kinds.items():
            mine = [packs[place] for place in places]
            sizes = [len(pack.configs) for pack in mine]
            most = max(pack.memory for pack in mine)
            table.add_row(learner, engine, str(width), str(sum(sizes)), str(len(mine)),
                          str(max(sizes)) if len(set(sizes)) == 1 else f"{min(sizes)}-{max(sizes)}", size(most),
                          duration(max(pack.seconds for pack in mine)), duration(sum(pack.seconds for pack in mine)))
    if plan.packs:
        console().print(table)
    for tier in plan.tiers:
        longest = max(sum(tier.packs[place].seconds for place in job) for job in tier.jobs)
        unit = "GPU" if tier.launcher.on_gpu else "job"
        print(f"{count(len(tier.jobs), 'job')}, {tier.seconds / 3600:.3g} {unit}-hours, the longest "
              f"{duration(longest)}; packs sized for {size(tier.machine.memory)}. Nothing was submitted.")
    example = [tier for tier in plan.tiers if tier.machine.rates == EXAMPLE.rates]
    if example:
        later = ": a first job tells of its GPU, and the next plan knows"
        print(f"Times are those of an example core{later * any(tier.launcher.on_gpu for tier in example)}.")


def status_view(found: Status) -> Stacked:
    """Return a sweep as a table of its runs, packs and jobs.

    Texts from the store, from SLURM or from a path are of the type Text, since brackets in a string would be rich's
    markup.
    """
    counts = Table("", *STATES, box=None, padding=(0, 1))
    for column in counts.columns[1:]:
        column.justify = "right"
    counts.add_row("runs", *(str(found.runs[state]) for state in STATES))
    counts.add_row("packs", *(str(found.packs[state]) for state in STATES))
    title = Text.assemble((found.sweep.id, "bold"), f"  {found.about.get('launcher', '')}, by "
                          f"{found.about.get('user', '?')} on "
                          f"{found.about.get('created_at', '')[:16].replace('T', ' ')} UTC")
    by_state = Counter(job.state for job in found.jobs)
    told = [f"{number} {state}" for state, number in by_state.most_common()]
    reasons = Counter(job.reason for job in found.jobs if job.state == "PENDING" and job.reason not in ("", "None"))
    waits = f" (waiting for {', '.join(reasons)})" * bool(reasons)
    used, ran = (sum(getattr(job, name) for job in found.jobs) / 3600 for name in ("gpu_seconds", "seconds"))
    hours = f"{used:.3g} GPU-hours" if used else f"{ran:.3g} job-hours"
    eta = "" if found.seconds_left is None else f", about {duration(found.seconds_left)} left"
    lines = [f"jobs: {', '.join(told) or 'none submitted'}{waits}; {hours} so far{eta}"]
    kinds = Counter(found.failures["failure"].fillna("unknown"))
    if kinds:
        lines.append("failed: " + ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
                     + f"   {as_typed('launch status')} {found.sweep.id} --failed{store_option(found.sweep.store)}")
    lines += [f"{count(len(runs), 'run')} left to the sweep {other}, which trains {verb(len(runs), 'it', 'them')}"
              for other, runs in found.elsewhere.items()]
    lines += [f"warning: {message}" for message in found.skipped]
    if found.ended and found.unrecorded > 0:
        lines.append(f"{count(found.unrecorded, 'run')} not on record, for its command was ended before; give it "
                     f"again: {found.about.get('command', '')}")
    elif found.ended and not found.complete:
        lines.append(f"ended with runs left: {as_typed('launch retry')} {found.sweep.id}"
                     f"{store_option(found.sweep.store)}")
    return Stacked(title, counts, *map(Text, lines))


def show_failures(found: Status) -> None:
    """Print each kind of failure once, with how many runs it took and a traceback."""
    for (kind, error), rows in found.failures.groupby(["failure", "error"], dropna=False):
        first = rows.iloc[0]
        print(f"{count(len(rows), 'run')}: {error} ({kind}): {some(rows['run_id'], 8)}")
        if isinstance(first["traceback"], str):
            print("\n".join(f"    {line}" for line in first["traceback"].splitlines()))
    if found.failures.empty:
        print("no run of this sweep failed")


def sweeps_table(found: Sequence[Status]) -> Table:
    """Return a table with a row per sweep."""
    table = Table(Column("sweep", no_wrap=True, overflow="fold"), Column("launcher", no_wrap=True), *STATES, "jobs",
                  box=None, padding=(0, 1))
    for column in table.columns[2:-1]:
        column.justify = "right"
    for each in found:
        by_state = Counter(job.state.lower() for job in each.jobs)
        name, launcher = Text(each.sweep.id), Text(each.about.get("launcher", ""))
        table.add_row(name, launcher, *(str(each.runs[state]) for state in STATES),
                      ", ".join(f"{number} {state}" for state, number in by_state.most_common(3)))
    return table


def duration(seconds: float) -> str:
    """Return the time in words: 12 s, 3 min, 2 h 5 min, 3 d 4 h."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def size(bytes: float) -> str:
    """Return the size in MB or GB (2^20, 2^30 bytes)."""
    return f"{bytes / 2**20:.0f} MB" if bytes < 2**30 else f"{bytes / 2**30:.1f} GB"
