"""Runs reported to W&B, after they are safely in the store. Nothing here can lose a result or stop a sweep.

The store is the offline record: its rows and curves are all that W&B gets. So jobs write nothing for W&B unless they
report live (online), and `ovpnet launch sync` makes W&B's own files of stored rows later, by the same functions. What
becomes a W&B run is tracker.per: each run, each pack, or each study (`sweep`). Sync alone can report a study, as no job
sees all of it. W&B runs are short and many, so each costs as little as the client allows. One service process serves
all of a pack. What it would collect by default (console, git, code, machine, system metrics) is turned off.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ovpnet.record.uploads import remember
from ovpnet.spec.config import Config, TrackerConfig
from ovpnet.spec.errors import TrackerError
from ovpnet.spec.identity import digest
from ovpnet.terminal.commands import as_typed
from ovpnet.terminal.words import count

log = logging.getLogger(__name__)

Row = Mapping[str, Any]

# Seconds that one W&B run may take to reach W&B before the rest of the pack is left to `ovpnet launch sync`.
PATIENCE = 60.0

# Dotted keys are config whatever follows the dot; of the others, a group's name (`opt`) may be a result.
_GROUPS = {item.name for item in fields(Config) if is_dataclass(item.type)}
_LEAVES = {item.name for item in fields(Config)} - _GROUPS


@dataclass(frozen=True)
class Target:
    """The place where W&B runs go, and what each of them holds; entity "" is the default one of the API key."""

    entity: str
    project: str
    base_url: str
    per: str


@dataclass(frozen=True)
class Tracked:
    """A W&B run to be; `points` are in order of their step."""

    id: str
    name: str
    group: str
    config: Row
    summary: Row
    points: Sequence[Row]
    table: Sequence[Row]
    tags: Sequence[str]
    failed: bool


def track(config: TrackerConfig, store: Path, rows: Sequence[Row], curves: Sequence[Row]) -> None:
    """Report a pack's finished runs (rows of the store) and their learning curves, if the tracker is online.

    What is not reported here, or cannot be, `ovpnet launch sync` uploads from the store; whatever fails is logged as a
    warning that says so. On return no W&B run of this process is open.
    """
    if config.name == "none" or not rows:
        return
    later = f"{as_typed('launch sync')} --store {store}"
    try:
        mode = "offline" if config.per == "sweep" else _mode(config)
        if mode == "offline":
            log.info("%s in the store; to upload to W&B: %s", count(len(rows), "run"), later)
        if mode != "online":
            return
        _report_live(config, store, rows, curves)
    except Exception as error:  # the store has the results: no failure of a tracker is worth a sweep
        log.warning("W&B failed (%s). The results are safe in the store, but not all of %s may be in W&B; "
                    "to upload: %s", _reason(error), count(len(rows), "run"), later)


def _report_live(config: TrackerConfig, store: Path, rows: Sequence[Row], curves: Sequence[Row]) -> None:
    """Report W&B runs one by one, and remember in the store which arrived, so that a later sync leaves them out."""
    import wandb

    target = Target(config.entity or "", config.project, base_url(), config.per)
    points: dict[str, list[Row]] = {row["run_id"]: [] for row in rows}
    for point in curves:
        points[point["run_id"]].append(point)
    arrived: list[Row] = []
    with TemporaryDirectory(prefix="ovpnet-wandb-") as directory:  # the client's files, a dozen a run, are not to keep
        try:
            for members in [rows] if config.per == "pack" else [[row] for row in rows]:
                curve = [point for row in members for point in points[row["run_id"]]]
                report(tracked(config.per, members, curve), target, Path(directory), "online", resume=True)
                arrived.append(upload(members, target))
        finally:
            wandb.teardown()  # the service may still hold a run that failed; and it must not outlive the pack
            if arrived:
                remember(store, arrived)


def _mode(config: TrackerConfig) -> str:
    """Return online, offline or disabled: WANDB_MODE, else tracker.mode; online only with an API key."""
    asked = os.environ.get("WANDB_MODE") or config.mode
    if asked not in ("auto", "online"):
        return asked
    if has_key():
        return "online"
    if asked == "online":
        log.warning("tracker.mode=online, but W&B has no API key here. Set WANDB_API_KEY or run `wandb login`")
    return "offline"


def has_key() -> bool:
    """Tell whether there is an API key where the client looks for it: WANDB_API_KEY, its settings, .netrc."""
    import wandb  # takes 0.3 s, which runs without W&B need not spend

    client()
    return wandb.login(prompt=False, verify=False)


def log_in() -> None:
    """Make sure that there is a server, and that it knows the API key. Raises TrackerError."""
    import wandb
    from wandb.errors import AuthenticationError

    try:
        client()
        if not wandb.login(prompt=False, verify=True):
            raise TrackerError("WANDB_API_KEY is not set, and nobody has logged in here; set it, or run `wandb login`")
    except AuthenticationError as error:
        reason = str(error).splitlines()[0]
        raise TrackerError(f"WANDB_BASE_URL={base_url()}: {reason}. Check that it can be reached from here, and that "
                           "WANDB_API_KEY is of an account there") from error
    finally:
        wandb.teardown()


def base_url() -> str:
    """Return the URL of the W&B server that the client talks to."""
    return client().settings.base_url


def client() -> Any:
    """Return the client, quiet, and online whatever WANDB_MODE says: whoever asks has looked at that, or need not."""
    import wandb

    return wandb.setup(wandb.Settings(silent=True, mode="online"))


# --- what becomes a W&B run --------------------------------------------------------------------------


def upload(rows: Sequence[Row], target: Target) -> dict[str, Any]:
    """Return what the store remembers of rows that became a W&B run: where it is, its id, and of which runs."""
    return {**vars(target), "id": tracked_id(target.per, rows), "runs": len(rows),
            "finished_at": max(row["finished_at"] for row in rows)}


def tracked_id(per: str, rows: Sequence[Row]) -> str:
    """Return the id of the W&B run of these rows: it follows from what they are, so that they are never there twice."""
    if per == "run":
        return rows[0]["run_id"]
    if per == "pack":
        return f"pack-{digest({'runs': sorted(row['run_id'] for row in rows)})}"
    return f"study-{digest({'study': rows[0]['study']})}"


def tracked(per: str, rows: Sequence[Row], curves: Iterable[Row]) -> Tracked:
    """Return the W&B run of a run, of a pack or of a study (`sweep`, without curves), from its rows and their curves.

    Columns without a value are left out.
    """
    points: list[Row] = [{name: value for name, value in point.items() if name != "run_id" and value is not None}
                         for point in sorted(curves, key=lambda point: point["step"])]
    row, statuses = rows[0], {row["status"] for row in rows}
    title = f"{row['concept.name']} {row['learner.name']} m={row['width']}"
    if per == "run":
        what: dict[str, Any] = {
            "name": f"{title} N={row['samples']} lr={row['lr']:g} seed={row['seed']}", "config": _config(row),
            "summary": _results(row), "points": points, "table": []}
    else:
        name, points = (f"{title}, {count(len(rows), 'run')}", _spread(points)) if per == "pack" else (row["study"], [])
        what = {"name": name, "points": points, **_side_by_side(rows)}
    return Tracked(id=tracked_id(per, rows), group=row["study"], tags=sorted(statuses - {"done"}),
                   failed="done" not in statuses, **what)


def _side_by_side(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the config that runs share, a table of what differs and of what came out, and how many ended how."""
    configs = [_config(row) for row in rows]
    names = dict.fromkeys(name for config in configs for name in config)
    shared = {name: configs[0][name] for name in names
              if all(name in config and config[name] == configs[0][name] for config in configs)}
    table = [{"run_id": row["run_id"], **{name: config.get(name) for name in names if name not in shared},
              **_results(row)} for row, config in zip(rows, configs, strict=True)]
    counts = Counter(row["status"] for row in rows)
    return {"config": shared, "table": table,
            "summary": {"runs": len(rows), **counts, "reached": sum(bool(row.get("reached")) for row in rows)}}


def _spread(points: Sequence[Row]) -> list[Row]:
    """Return mean, median and 10% and 90% quantiles over members of every measurement, at each step."""
    at: dict[int, dict[str, list[float]]] = {}
    for point in points:
        for name, value in point.items():
            if name != "step":
                at.setdefault(point["step"], {}).setdefault(name, []).append(value)
    return [{"step": step, **{f"{name}/{kind}": float(value) for name, values in measured.items()
                              for kind, value in zip(("mean", "q10", "median", "q90"), (
                                  np.mean(values), *np.quantile(values, [0.1, 0.5, 0.9])), strict=True)}}
            for step, measured in sorted(at.items())]


def _config(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None and _is_config(name)}


def _results(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.items()
            if value is not None and name != "run_id" and not _is_config(name)}


def _is_config(column: str) -> bool:
    group, dot, _ = column.partition(".")
    return group in _GROUPS if dot else column in _LEAVES


# --- the client ---------------------------------------------------------------------------------------


def report(run: Tracked, target: Target, directory: Path, mode: str, resume: bool) -> None:
    """Write one W&B run, to the server (mode=online) or to files in directory/wandb (offline).

    The client adds to a run of the same id that it may `resume`. Online it then leaves out the steps that are there;
    files are written without knowing them, so that their points must be later ones.
    """
    live = begin(run, target, directory, mode, resume)
    live.define_metric("*", step_metric="step")
    for point in run.points:
        live.log(dict(point), step=point["step"], commit=True)
    if run.table:
        live.log({"table": table(run.table)})
    live.summary.update(dict(run.summary))
    live.finish(exit_code=1 if run.failed else 0)


def begin(run: Tracked, target: Target, directory: Path, mode: str, resume: bool) -> Any:
    """Begin a W&B run as `report` does, with its config alone; return the client's run, which is to be finished."""
    import wandb

    return wandb.init(
        project=target.project, entity=target.entity or None, dir=directory, mode=mode,  # type: ignore[arg-type]
        id=run.id, name=run.name, group=run.group, tags=run.tags or None,
        config=_nested(run.config), resume="allow" if resume else None, reinit="create_new",
        settings=wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, x_disable_meta=True,
            x_disable_stats=True, x_disable_machine_info=True, x_save_requirements=False,
            init_timeout=PATIENCE, finish_timeout=PATIENCE, finish_timeout_raises=True))


def table(rows: Sequence[Row]) -> Any:
    """Return rows as a wandb.Table with all their columns, for a W&B run or an artifact."""
    import wandb

    wandb.Table.MAX_ROWS = max(wandb.Table.MAX_ROWS, len(rows))  # beyond it the client leaves rows out
    wandb.Table.MAX_ARTIFACT_ROWS = max(wandb.Table.MAX_ARTIFACT_ROWS, len(rows))
    columns: list[str | int] = list(dict.fromkeys(name for row in rows for name in row))
    return wandb.Table(columns=columns, data=[[row.get(str(name)) for name in columns] for row in rows],
                       allow_mixed_types=True)


def _nested(flat: Row) -> dict[str, Any]:
    """Return dotted keys as nested dictionaries: {"concept.k": 1} -> {"concept": {"k": 1}}."""
    nested: dict[str, Any] = {}
    for dotted, value in flat.items():
        *groups, leaf = dotted.split(".")
        node = nested
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = value
    return nested


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
