"""A sweep from its configs to its end, or to what to type next: what every launcher does with the jobs it is given."""

import sys
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from launch import local, report
from launch.code import snapshot
from launch.options import LocalConf, Options
from launch.submit import Planned, one_of_each, planned, record, submit
from ovpnet.record.checkpoint import Checkpoints
from ovpnet.record.store import Store
from ovpnet.spec.config import Config
from ovpnet.spec.errors import OvpnetError, StoreError
from ovpnet.spec.identity import run_id
from ovpnet.terminal.words import count


def sweep(configs: Sequence[Config], options: Options) -> list[float | None] | None:
    """Train, or submit, what is not in the store yet.

    Returns the test risks of the runs (None where there is none) in the order asked for, or None if it does not wait
    for them. Raises ConfigError, StoreError, InterruptionError, and OvpnetError where a run failed.
    """
    what = train(configs, options)
    if options.dry_run or (what.packs and not isinstance(options, LocalConf)):
        return None
    store = Store(one_of_each(configs).store)
    Checkpoints(store.path).clean(store.finished())
    return _outcome(store, configs, bool(what.elsewhere))


def train(configs: Sequence[Config], options: Options) -> Planned:
    """Train what is not in the store yet, or submit it and return; say so. Raises ConfigError, StoreError,
    InterruptionError, and OvpnetError where it cannot be submitted."""
    shared = one_of_each(configs)
    store = Store(shared.store)
    if not options.dry_run:
        store.prepare()
    what = planned(configs, options)
    print(report.announcement(what, shared.store))
    for warning in report.warnings(what):
        print(warning, file=sys.stderr)
    if options.dry_run:
        report.plan(what)
    elif what.packs:
        here = isinstance(options, LocalConf) and what.jobs == 1
        try:
            code = None if here else snapshot(store.path)
            begun, groups = record(what, shared, options, ["python", "-m", "ovpnet.train", *sys.argv[1:]], code)
        except OSError as error:
            raise StoreError(f"store={store.path}: the sweep could not be put on record ({error.strerror or error}); "
                             "nothing was begun: make room or give another store, and run the same command "
                             "again") from error
        if here:
            local.train_here(begun, groups[0])
        else:
            for group, tier in zip(groups, what.tiers, strict=True):
                submit(begun, group, tier.options)
            if isinstance(options, LocalConf):
                local.watch(begun, groups[0])
            else:
                print(report.submitted(begun, what))
    return what


def _outcome(store: Store, configs: Sequence[Config], elsewhere: bool) -> list[float | None]:
    """Tell what came out; `elsewhere`: other sweeps train some of it. Raises OvpnetError where a run failed."""
    ids = [run_id(config) for config in configs]
    columns = ["run_id", "status", "finished_at", "test_risk", "failure", "error"]
    rows = store.runs(columns).reindex(columns=columns)
    rows = rows[rows["run_id"].isin(set(ids))].set_index("run_id")
    counts = Counter(rows["status"])
    summary = ", ".join(f"{count} {status}" for status, count in sorted(counts.items(), reverse=True))
    missing = len(set(ids)) - len(rows)
    summary = ", ".join(filter(None, [summary, f"{missing} not trained" * bool(missing)]))
    following = "launch status" if missing and elsewhere else "analysis verdict"
    print(f"{count(len(set(ids)), 'run')}: {summary}. Next: python -m {following}"
          f"{report.store_option(store.path.resolve())}")
    failed = rows[rows["status"].eq("failed")]
    if len(failed):
        raise OvpnetError(f"{count(len(failed), 'run')} failed: {failures(failed)}. Tracebacks: "
                          f"python -m launch status --failed{report.store_option(store.path.resolve())}; the same "
                          "command tries again")
    if missing and not elsewhere:
        raise OvpnetError(f"{count(missing, 'run')} not trained: python -m launch logs"
                          f"{report.store_option(store.path.resolve())} has what their processes said")
    risks = {run: None if pd.isna(risk) else float(risk) for run, risk in rows["test_risk"].items()}
    return [risks.get(run) for run in ids]


def failures(failed: pd.DataFrame) -> str:
    """The kinds of failures among these rows, the most common ones first."""
    kinds = failed.groupby(["failure", "error"]).size().sort_values(ascending=False)
    told = [f"{error} ({kind})" for kind, error in kinds.head(5).index]
    return told[0] if len(kinds) == 1 else "; ".join(map("{} of them: {}".format, kinds, told))
