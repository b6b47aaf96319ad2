"""What a person reads of a plan and of a sweep."""

import os
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console, Group
from rich.table import Column, Table
from rich.text import Text

from launch.machines import on_gpu
from launch.options import SlurmConf
from launch.status import STATES, Status
from launch.submit import Planned
from launch.sweep import Sweep
from ovpnet.engine.choice import chosen_engine
from ovpnet.engine.cost import EXAMPLE
from ovpnet.spec.schemas import default_store
from ovpnet.terminal.words import count, verb

_WIDTH = 120


def console() -> Console:
    """Rich's console; without a terminal, 120 columns (or $COLUMNS) whatever the environment is."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDTH, highlight=False)


def announcement(what: Planned, store: str) -> str:
    """In a line, what a command is about to do."""
    parts = [count(what.distinct, "run")]
    if what.asked > what.distinct:
        parts.append(f"({what.asked - what.distinct} asked for twice)")
    if what.finished:
        are = verb(what.finished, "is", "are")
        parts.append(f"of which {what.finished} {are} in {store} already and {are} skipped")
    for sweep, runs in what.elsewhere.items():
        which = "and" if what.finished else "of which"
        are, them = verb(runs, "is", "are"), verb(runs, "it", "them")
        parts.append(f"{which} {runs} {are} left to the sweep {sweep}, which trains {them}")
    packs = what.packs
    if not packs:
        return " ".join(parts) + "; nothing to train"
    engines = Counter(chosen_engine(pack.configs[0]) for pack in packs)
    by = ", ".join(f"{number} by the {name} engine" for name, number in engines.most_common())
    runs = sum(len(pack.configs) for pack in packs)
    jobs = f" and {what.jobs} jobs" * (what.jobs > 1)
    return " ".join(parts) + f"; training {runs} in {count(len(packs), 'pack')} ({by}){jobs}"


def warnings(what: Planned) -> list[str]:
    """What of a plan is likely to fail, or to take many jobs' time one after the other."""
    found = []
    for tier in what.tiers:
        large = [pack for pack in tier.plan.packs if pack.memory > tier.machine.memory]
        if large:
            key = ("gpu_memory_gb" if on_gpu(asdict(tier.options)) else "mem_gb") if isinstance(
                tier.options, SlurmConf) else ""
            more = f"; hydra.launcher.{key} is what a job has" * bool(key)
            found.append(f"warning: {count(sum(len(pack.configs) for pack in large), 'run')} may not fit the memory, "
                         f"the largest with {size(max(pack.memory for pack in large))} of "
                         f"{size(tier.machine.memory)}{more}")
        if isinstance(tier.options, SlurmConf):
            longest = max((pack.seconds for pack in tier.plan.packs), default=0.0)
            if longest > 60 * tier.options.timeout_min:
                found.append(f"warning: the longest pack takes {duration(longest)}, more than a job's timeout_min="
                             f"{tier.options.timeout_min}; it goes on from checkpoints in one requeued job after the "
                             "other")
    return found


def submitted(sweep: Sweep, what: Planned) -> str:
    """After a submission: its id, and what to type next."""
    predicted, of = duration(sum(tier.seconds for tier in what.tiers)), store_option(sweep.store)
    return (f"submitted {sweep.id}: {count(what.jobs, 'job')}, {predicted} of training predicted in all\n"
            f"  python -m launch status {sweep.id}{of} --watch    how it fares; also: wait, logs, retry, cancel\n"
            f"  python -m analysis verdict{of}    any time: of the runs that are stored")


def store_option(store: Path) -> str:
    """What a command needs to find this store."""
    return "" if store == Path(default_store()).resolve() else f" --store {shlex.quote(os.path.relpath(store))}"


def plan(what: Planned) -> None:
    """Packs of one kind a row, the longest first; then what they take together."""
    table = Table("learner", "engine", "m", "runs", "packs", "runs/pack", "memory", "a pack", "all", box=None,
                  padding=(0, 1))
    for number in (4, 5, 6, 7, 8, 2, 3):
        table.columns[number].justify = "right"
    tiers = len(what.tiers) > 1
    for index, tier in enumerate(what.tiers):
        if tiers:
            table.add_row(f"[bold]tier {index}: {count(len(tier.jobs), 'job')}[/bold]")
        kinds: dict[tuple[str, str, int], list[int]] = {}
        packs = tier.plan.packs
        for place, pack in enumerate(packs):
            config = pack.configs[0]
            kind = f"{config.learner.name} ({config.learner.trained})", chosen_engine(config), config.width
            kinds.setdefault(kind, []).append(place)
        for (learner, engine, width), places in kinds.items():
            mine = [packs[place] for place in places]
            sizes = [len(pack.configs) for pack in mine]
            most = max(pack.memory for pack in mine)
            table.add_row(learner, engine, str(width), str(sum(sizes)), str(len(mine)),
                          str(max(sizes)) if len(set(sizes)) == 1 else f"{min(sizes)}-{max(sizes)}", size(most),
                          duration(max(pack.seconds for pack in mine)), duration(sum(pack.seconds for pack in mine)))
    if what.packs:
        console().print(table)
    for tier in what.tiers:
        longest = max(sum(tier.plan.packs[place].seconds for place in job) for job in tier.jobs)
        unit = "GPU" if on_gpu(asdict(tier.options)) else "job"
        print(f"{count(len(tier.jobs), 'job')}, {tier.seconds / 3600:.3g} {unit}-hours, the longest "
              f"{duration(longest)}; packs sized for {size(tier.machine.memory)}. Nothing was submitted.")
    example = [tier for tier in what.tiers if tier.machine.rates == EXAMPLE.rates]
    if example:
        later = ": a first job tells of its GPU, and the next plan knows"
        print(f"Times are those of an example core{later * any(on_gpu(asdict(tier.options)) for tier in example)}.")


def status(found: Status) -> Group:
    """A sweep as a table of its runs, packs and jobs.

    What comes from the store, from SLURM or from a path is Text, since brackets in a string would be rich's markup.
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
                     + f"   python -m launch status {found.sweep.id} --failed{store_option(found.sweep.store)}")
    lines += [f"{count(len(runs), 'run')} left to the sweep {other}, which trains {verb(len(runs), 'it', 'them')}"
              for other, runs in found.elsewhere.items()]
    lines += [f"warning: {message}" for message in found.skipped]
    if found.ended and found.unrecorded > 0:
        lines.append(f"{count(found.unrecorded, 'run')} not on record, for its command was ended before; give it "
                     f"again: {found.about.get('command', '')}")
    elif found.ended and not found.complete:
        lines.append(f"ended with runs left: python -m launch retry {found.sweep.id}{store_option(found.sweep.store)}")
    return Group(title, counts, *map(Text, lines))


def failures(found: Status) -> None:
    """Each kind of failure once, with how many runs it took and a traceback."""
    for (kind, error), rows in found.failures.groupby(["failure", "error"], dropna=False):
        first = rows.iloc[0]
        some = ", ".join(rows["run_id"].head(8)) + ", ..." * (len(rows) > 8)
        print(f"{count(len(rows), 'run')}: {error} ({kind}): {some}")
        if isinstance(first["traceback"], str):
            print("\n".join(f"    {line}" for line in first["traceback"].splitlines()))
    if found.failures.empty:
        print("no run of this sweep failed")


def sweeps(found: Sequence[Status]) -> Table:
    """A sweep a row."""
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
    """In words: 12 s, 3 min, 2 h 5 min, 3 d 4 h."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def size(bytes: float) -> str:
    """In MB or GB (2^20, 2^30 bytes)."""
    return f"{bytes / 2**20:.0f} MB" if bytes < 2**30 else f"{bytes / 2**30:.1f} GB"
