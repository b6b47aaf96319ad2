"""A sweep from its configs to its end, or to its submission: every launcher does this with the jobs it is given."""

import shlex
import sys
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from launch import display
from launch.code import snapshot
from launch.launcher import Launcher
from launch.plan import Plan, one_of_each, plan
from launch.submit import record, submit
from launch.sweep import Group, Sweep, store_option
from ovpnet.record.checkpoint import Checkpoints
from ovpnet.record.store import Store
from ovpnet.spec.config import Config
from ovpnet.spec.errors import OvpnetError, StoreError
from ovpnet.spec.identity import run_id
from ovpnet.terminal.commands import as_typed
from ovpnet.terminal.words import count


def sweep(configs: Sequence[Config], launcher: Launcher) -> list[float | None] | None:
    """Train, or submit, the runs that are not in the store yet.

    Return the test risks of the runs in the order asked for; a risk is None if there is none. Return None if the
    launcher does not wait for its jobs. Raises ConfigError, StoreError, InterruptionError, and OvpnetError if a run
    failed.
    """
    asked = train(configs, launcher)
    if launcher.dry_run or (asked.packs and not launcher.waits):
        return None
    store = Store(one_of_each(configs).store)
    Checkpoints(store.path).clean(store.finished())
    return _outcome(store, configs, bool(asked.elsewhere))


def train(configs: Sequence[Config], launcher: Launcher) -> Plan:
    """Train the runs that are not in the store yet, or submit them; print what is done and return the plan.

    Raises ConfigError, StoreError, InterruptionError, and OvpnetError if the jobs cannot be submitted.
    """
    shared = one_of_each(configs)
    store = Store(shared.store)
    if not launcher.dry_run:
        store.prepare()
    asked = plan(configs, launcher)
    print(display.announcement(asked, shared.store), flush=True)  # before the bar, which goes to stderr
    for warning in display.warnings(asked):
        print(warning, file=sys.stderr)
    if launcher.dry_run:
        display.show_plan(asked)
    elif asked.packs:
        begun, groups = _recorded(asked, shared, launcher, store)
        for group in groups:
            submit(begun, group)
        for group in groups:
            launcher.wait(begun, group)
        if not launcher.waits:
            print(display.submitted(begun, asked))
    return asked


def _recorded(asked: Plan, shared: Config, launcher: Launcher, store: Store) -> tuple[Sweep, list[Group]]:
    """Put the plan on record, with a copy of the code that its jobs run. Raises StoreError."""
    try:
        code = snapshot(store.path) if launcher.copies_code(asked.job_count) else None
        return record(asked, shared, launcher, [*shlex.split(as_typed("train")), *sys.argv[1:]], code)
    except OSError as error:
        raise StoreError(f"store={store.path}: the sweep could not be put on record ({error.strerror or error}); "
                         "nothing was begun: make room or give another store, and run the same command "
                         "again") from error


def _outcome(store: Store, configs: Sequence[Config], elsewhere: bool) -> list[float | None]:
    """Print what came out; `elsewhere`: other sweeps train some of it. Raises OvpnetError if a run failed."""
    ids = [run_id(config) for config in configs]
    columns = ["run_id", "status", "finished_at", "test_risk", "failure", "error"]
    rows = store.runs(columns).reindex(columns=columns)
    rows = rows[rows["run_id"].isin(set(ids))].set_index("run_id")
    counts = Counter(rows["status"])
    summary = ", ".join(f"{count} {status}" for status, count in sorted(counts.items(), reverse=True))
    missing = len(set(ids)) - len(rows)
    summary = ", ".join(filter(None, [summary, f"{missing} not trained" * bool(missing)]))
    following = "launch status" if missing and elsewhere else "analysis verdict"
    print(f"{count(len(set(ids)), 'run')}: {summary}. Next: {as_typed(following)}"
          f"{store_option(store.path.resolve())}")
    failed = rows[rows["status"].eq("failed")]
    if len(failed):
        raise OvpnetError(f"{count(len(failed), 'run')} failed: {kinds_of_failures(failed)}. Tracebacks: "
                          f"{as_typed('launch status')} --failed{store_option(store.path.resolve())}; the same "
                          "command tries again")
    if missing and not elsewhere:
        raise OvpnetError(f"{count(missing, 'run')} not trained: {as_typed('launch logs')}"
                          f"{store_option(store.path.resolve())} has what their processes said")
    risks = {run: None if pd.isna(risk) else float(risk) for run, risk in rows["test_risk"].items()}
    return [risks.get(run) for run in ids]


def kinds_of_failures(failed: pd.DataFrame) -> str:
    """Return the kinds of failures among these rows, the most common ones first."""
    kinds = failed.groupby(["failure", "error"]).size().sort_values(ascending=False)
    told = [f"{error} ({kind})" for kind, error in kinds.head(5).index]
    return told[0] if len(kinds) == 1 else "; ".join(map("{} of them: {}".format, kinds, told))
