"""Runs reported to W&B, after they are safely in the store. Nothing here can lose a result or stop a sweep.

One W&B run a row, so that W&B's own tables and parallel-coordinate plots see what a person sees. Runs
are short and many, so each costs as little as the client allows: one service process serves them all,
and what it would collect by default (console, git, code, machine, system metrics) is turned off. 50 runs
of 20 points take 1.0 s offline (20 ms and 40 kB a run) and 0.2 s to start and end the service, against
3.4 s with the client's defaults; measured with wandb 0.31 on 2 CPU cores. Online, every run waits for the
network instead: for thousands of runs choose tracker.mode=offline and upload them at the end with
`wandb sync`, which is parallel.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from ovpnet.config import Config, TrackerConfig

log = logging.getLogger(__name__)

Row = Mapping[str, Any]

# Seconds that one run may take to reach W&B before the rest of the pack is written offline.
PATIENCE = 60.0

# Dotted keys are config whatever follows the dot; of the others, a group's name (`opt`) may be a result.
_GROUPS = {item.name for item in fields(Config) if is_dataclass(item.type)}
_LEAVES = {item.name for item in fields(Config)} - _GROUPS


def track(config: TrackerConfig, study: str, directory: Path, rows: Sequence[Row], curves: Sequence[Row]) -> None:
    """Report finished runs (rows of the store) and their learning curves; W&B's files go to directory/wandb.

    Offline where there is no API key, and from the first run on that cannot be uploaded. Whatever fails is
    logged as a warning that says what to do. On return everything is written, and no W&B run of this process is open.
    """
    if config.name == "none" or not rows:
        return
    try:
        mode = _report_all(config, study, directory, rows, curves)
    except Exception as error:  # the store has the results: no failure of a tracker is worth a sweep
        log.warning("tracker=wandb failed (%s). The results are safe in the store, but not all of these %d runs are in "
                    "W&B. Check that %s can be written and that `wandb status` works, or use tracker=none",
                    _reason(error), len(rows), directory)
        return
    if mode == "offline":
        log.info("%d runs written for W&B; upload them with: wandb sync %s", len(rows), directory / "wandb")


def _report_all(config: TrackerConfig, study: str, directory: Path, rows: Sequence[Row], curves: Sequence[Row]) -> str:
    """Report the runs one by one; returns the mode of the last."""
    import wandb  # takes 0.3 s, which runs without W&B need not spend

    points: dict[str, list[Row]] = {row["run_id"]: [] for row in rows}
    for point in sorted(curves, key=lambda point: point["step"]):
        points[point["run_id"]].append(point)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        mode = _mode(config)
        for row in rows:
            try:
                _report(config, mode, study, directory, row, points[row["run_id"]])
            except Exception as error:
                if mode != "online":
                    raise
                log.warning("W&B cannot be reached (%s); these runs are written offline from here on", _reason(error))
                wandb.teardown()  # the service still holds the run that failed, under the same id
                mode = "offline"
                _report(config, mode, study, directory, row, points[row["run_id"]])
    finally:
        wandb.teardown()  # the files are whole only when the service has ended, a moment after run.finish()
    return mode


def _mode(config: TrackerConfig) -> str:
    """The client's mode: WANDB_MODE, else tracker.mode; online only with an API key where the client looks for it."""
    import wandb

    wandb.setup(wandb.Settings(silent=True))
    asked = os.environ.get("WANDB_MODE") or config.mode
    if asked not in ("auto", "online"):
        return asked
    if wandb.login(prompt=False, verify=False):
        return "online"
    if asked == "online":
        log.warning("tracker.mode=online, but W&B has no API key here: writing offline. Set WANDB_API_KEY or run "
                    "`wandb login`")
    return "offline"


def _report(config: TrackerConfig, mode: str, study: str, directory: Path, row: Row, points: Sequence[Row]) -> None:
    """Write one run: its config, its curve, then every result column as the summary."""
    import wandb

    failed = row["status"] != "done"
    run = wandb.init(
        project=config.project, entity=config.entity, dir=directory, mode=mode,  # type: ignore[arg-type]
        id=row["run_id"], name=_name(row), group=study, tags=[row["status"]] if failed else None,
        config=_nested({name: value for name, value in row.items() if _is_config(name)}),
        resume="allow", reinit="create_new", settings=wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, x_disable_meta=True,
            x_disable_stats=True, x_disable_machine_info=True, x_save_requirements=False,
            init_timeout=PATIENCE, finish_timeout=PATIENCE, finish_timeout_raises=True))
    run.define_metric("*", step_metric="step")
    for point in points:
        # The step is also W&B's own, which drops what it has already: a run reported twice has one curve.
        run.log({name: value for name, value in point.items() if name != "run_id" and value is not None},
                step=point["step"])
    run.summary.update({name: value for name, value in row.items() if name != "run_id" and not _is_config(name)})
    run.finish(exit_code=1 if failed else 0)


def _name(row: Row) -> str:
    return (f"{row['concept.name']} {row['learner.name']} m={row['width']} N={row['samples']} "
            f"lr={row['lr']:g} seed={row['seed']}")


def _is_config(column: str) -> bool:
    group, dot, _ = column.partition(".")
    return group in _GROUPS if dot else column in _LEAVES


def _nested(flat: Row) -> dict[str, Any]:
    """Dotted keys as nested dictionaries: {"concept.k": 1} -> {"concept": {"k": 1}}."""
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
