"""`python -m analysis dashboard`: exhibits of a store in W&B, as a saved workspace, a report and tables.

The names of all three follow from the command, so the same command writes over what it wrote before. It writes nothing
if nothing has changed: the report, written last, carries a digest of all that was made.
"""

import hashlib
import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import wandb
from wandb_workspaces.reports.v2 import H1, Report
from wandb_workspaces.workspaces import Workspace

from analysis.exhibits.evidence import Evidence
from analysis.exhibits.registry import WANDB
from analysis.filters import key_of
from analysis.render import figures
from analysis.render.wandb import Dashboard, report, workspace
from analysis.tune import POOLED
from analysis.verdict import DELTA, Analysis
from ovpnet.record.tracking import PATIENCE, Target, Tracked, base_url, begin, client, log_in, table
from ovpnet.record.uploads import Uploads
from ovpnet.spec.config import TrackerConfig
from ovpnet.spec.errors import TrackerError
from ovpnet.spec.identity import digest
from ovpnet.terminal.commands import as_typed
from ovpnet.terminal.words import count

TITLE = "Sample complexity"
MARK = "Made by python -m analysis dashboard; content "  # a report's description, before a digest of what it shows
LONGEST = 128  # characters of a report's title
UNNAMEABLE = ("So", "Sk", "Sm", "Sc", "Cs", "Cc")  # Unicode categories that a workspace's name must not have


@dataclass(frozen=True)
class Asked:
    """The options of the command line."""

    store: Path
    evidence: Evidence
    filters: Sequence[str] = ()
    epsilons: Sequence[float] = ()
    project: str | None = None
    entity: str | None = None
    name: str | None = None

    @property
    def command(self) -> str:
        """The command line that asks for this."""
        epsilons, tuning, delta = (",".join(f"{each:.12g}" for each in self.epsilons), self.evidence.tuning,
                                   self.evidence.delta)
        options = {"store": self.store, "epsilon": epsilons or None, "delta": None if delta == DELTA else delta,
                   "tune": None if tuning.by == POOLED.by else tuning.by,
                   "tune-per": None if tuning.per == POOLED.per else tuning.per, "project": self.project,
                   "entity": self.entity, "name": self.name}
        return as_typed(shlex.join(["analysis", "dashboard", *self.filters, *(
            word for name, value in options.items() if value is not None for word in (f"--{name}", str(value)))]))


@dataclass(frozen=True)
class Made:
    """The dashboard's addresses; `changed` is True if anything of it was written."""

    workspace: str
    report: str
    artifact: str
    changed: bool


def publish(asked: Asked) -> Made:
    """Make the dashboard in W&B, or bring it up to date.

    Raises TrackerError, before anything is sent, if W&B cannot be reached, does not know the API key, or has no such
    project.
    """
    dashboard = plan(asked)
    log_in()
    with TemporaryDirectory(prefix="ovpnet-dashboard-") as directory:
        try:
            client()
            api = wandb.Api()
            return _write(api, replace(dashboard, entity=dashboard.entity or _default_entity(api)), Path(directory))
        except TrackerError:
            raise
        except Exception as error:  # the clients' errors have no class in common
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise TrackerError(f"W&B at {base_url()} did not take the dashboard ({reason}); the same command writes it "
                               "whole") from error
        finally:
            wandb.teardown()  # before its files go


def plan(asked: Asked) -> Dashboard:
    """Return what is to be shown, and its place in W&B; nothing is asked of W&B.

    There are no figures yet, and perhaps no entity. Raises TrackerError if the runs do not agree on the place, or the
    name cannot be one.
    """
    target, name = _target(asked, asked.evidence.stored.runs), _name(asked)
    # With --epsilon the rows have that epsilon, but in W&B the runs have the one that they were trained with.
    filters = [each for each in asked.filters if not asked.epsilons or key_of(each) != "epsilon"]
    return Dashboard(name=name, entity=target.entity, project=target.project, per=target.per, filters=filters,
                     command=asked.command, evidence=asked.evidence, figures={},
                     run=f"dashboard-{digest({'dashboard': name})}",
                     artifact="results-" + re.sub(r"[^A-Za-z0-9_.]+", "-", name))


def described(dashboard: Dashboard) -> str:
    """Describe what `publish` would make, in words."""
    place = f"{dashboard.entity or 'your default entity'}/{dashboard.project} at {base_url()}"
    sections = [f"    {section.name}: {count(len(section.panels), 'panel')}"
                for section in workspace(dashboard).sections]
    headings = [f"    {block.text}" for block in report(dashboard).blocks if isinstance(block, H1)]
    rows = [f"    {name}: {count(len(rows), 'row')}" for name, rows in tables(dashboard.evidence.analysis).items()]
    return "\n".join([f"to {place}, of runs uploaded with tracker.per={dashboard.per}:",
                      f"  workspace {dashboard.name!r}", *sections, f"  report {dashboard.name!r}", *headings,
                      f"  artifact {dashboard.artifact!r}, each table for W&B and as Parquet", *rows])


def tables(analysis: Analysis) -> dict[str, pd.DataFrame]:
    """Return the tables of the artifact.

    They are `verdicts` (verdict.analyze), `best_tuned` (tune.best_tuned) and `sample_complexity`
    (complexity.sample_complexity).
    """
    return {"verdicts": analysis.verdicts, "best_tuned": analysis.best, "sample_complexity": analysis.intervals}


# --- where it goes, and what it is called -------------------------------------------------------------


def _target(asked: Asked, runs: pd.DataFrame) -> Target:
    """Return the place of the runs in W&B: as the command says, else as the runs say (tracker.*).

    The store's record of its uploads says whether a W&B run there is a run, a pack or a sweep.
    """
    default = TrackerConfig()
    project = asked.project or _agreed(runs, "project", default.project)
    entity = asked.entity or _agreed(runs, "entity", "")
    uploaded = {row["per"] for row in Uploads(asked.store).rows.values()
                if row["base_url"] == base_url() and row["project"] == project and row["entity"] == entity}
    # If there are several, take those whose panels show most.
    per = next((each for each in ("run", "pack", "sweep") if each in uploaded), None)
    return Target(entity, project, base_url(), per or _agreed(runs, "per", default.per))


def _agreed(runs: pd.DataFrame, key: str, default: str) -> str:
    """Return the value of tracker.`key` that all runs have. Raises TrackerError if they have several."""
    column = f"tracker.{key}"
    values = sorted(runs[column].fillna(default).unique()) if column in runs else [default]
    if len(values) > 1:
        again = f"upload them alike first: {as_typed('launch sync')} --per"
        how = f"choose one with --{key}" if key != "per" else again
        raise TrackerError(f"tracker.{key}: the runs have {', '.join(values)}; {how}, or choose runs by a filter")
    return values[0]


def _name(asked: Asked) -> str:
    """Return the name of workspace and report; W&B allows no symbols in it, `=` among them."""
    name = asked.name
    if name is None:
        whole = ", ".join([TITLE, *asked.filters])
        return "".join(" " if unicodedata.category(each) in UNNAMEABLE else each for each in whole)[:LONGEST]
    wrong = sorted({each for each in name if unicodedata.category(each) in UNNAMEABLE})
    if wrong or not 0 < len(name.strip()) <= LONGEST:
        raise TrackerError(f"--name={name}: W&B allows 1 to {LONGEST} characters, none of them a symbol"
                           + (f" ({' '.join(map(repr, wrong))})" if wrong else ""))
    return name


# --- what is sent -------------------------------------------------------------------------------------


def _write(api: Any, dashboard: Dashboard, directory: Path) -> Made:
    there = _report_there(api, dashboard)  # refuses a project that is not there, before anything is sent
    saved = figures.save(dashboard.evidence, directory, WANDB)
    keys = {of: list(map(_media_key, paths)) for of, paths in saved.items()}
    dashboard = replace(dashboard, figures=keys)
    drawn = [path.with_suffix(".png") for paths in saved.values() for path in paths]
    view, page = workspace(dashboard), report(dashboard)
    files = _save(tables(dashboard.evidence.analysis), directory)
    page.description = f"{MARK}{_digest(view, page, [*files.values(), *drawn])}"

    view._internal_name, view._internal_id = _view(dashboard)
    artifact = f"{dashboard.entity}/{dashboard.project}/{dashboard.artifact}"
    if there is not None and view._internal_id and there.description == page.description:
        return Made(view.url, there.url, artifact, changed=False)
    _send_results(dashboard, files, drawn, directory)
    view.save()
    page.id = there.id if there is not None else ""
    page.save()
    return Made(view.url, page.url, artifact, changed=True)


def _default_entity(api: Any) -> str:
    if not api.default_entity:
        raise TrackerError("--entity: needed, since this account has no default entity")
    return str(api.default_entity)


def _report_there(api: Any, dashboard: Dashboard) -> Any:
    """Return the report that was made before under this name, or None. Raises TrackerError if there is no project."""
    try:
        reports = list(api.reports(f"{dashboard.entity}/{dashboard.project}"))
    except ValueError as error:
        raise TrackerError(f"--project={dashboard.project} --entity={dashboard.entity}: W&B at {base_url()} has no "
                           f"such project, or this account may not see it; upload runs to it first "
                           f"({as_typed('launch sync')}), or choose another") from error
    return next((each for each in reports if each.display_name == dashboard.name
                 and (each.description or "").startswith(MARK)), None)


def _view(dashboard: Dashboard) -> tuple[str, str]:
    """Return the name under which W&B keeps the workspace, and its id; "" if there is no such workspace yet.

    The name follows from the name that people see.
    """
    name = digest({"workspace": dashboard.name})[:11]  # as long as the client's own
    try:
        there = Workspace.from_url(f"{base_url()}/{dashboard.entity}/{dashboard.project}?nw={name}")
    except ValueError as error:
        if "not found" not in str(error):
            raise
        return f"nw-{name}-v", ""
    return there._internal_name, there._internal_id


def _save(tables: Mapping[str, pd.DataFrame], directory: Path) -> dict[str, Path]:
    """Write each table as Parquet."""
    files = {name: directory / f"{name}.parquet" for name in tables}
    for name, rows in tables.items():
        rows.to_parquet(files[name], index=False)
    return files


def _digest(view: Workspace, page: Report, files: Sequence[Path]) -> str:
    """Return a digest of all that is shown. The clients give panels new ids each time, which their texts leave out."""
    return digest({"views": [repr(view), repr(page)],
                   "files": [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]})


def _send_results(dashboard: Dashboard, files: Mapping[str, Path], drawn: Sequence[Path], directory: Path) -> None:
    """Log figures and tables in a W&B run of their own, the same each time.

    W&B makes no second version of an artifact whose files are the same.
    """
    run = begin(Tracked(id=dashboard.run, name=dashboard.name, group="dashboard", config={"command": dashboard.command},
                        summary={}, points=[], table=[], tags=["dashboard"], failed=False),
                Target(dashboard.entity, dashboard.project, base_url(), dashboard.per), directory, "online",
                resume=True)
    if drawn:
        run.log({_media_key(path): wandb.Image(str(path)) for path in drawn})
    artifact = wandb.Artifact(dashboard.artifact, type="results", description=f"Made by {dashboard.command}")
    for name, rows in tables(dashboard.evidence.analysis).items():
        artifact.add(table(_rows(rows)), name)
        artifact.add_file(str(files[name]), skip_cache=True, policy="immutable")
    run.log_artifact(artifact).wait(timeout=int(PATIENCE))
    run.finish()


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows of plain values, as JSON has them; missing and infinite values are None (Parquet keeps both)."""
    plain = table.astype(object).where(table.notna() & ~table.isin([np.inf, -np.inf]), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def _media_key(figure: Path) -> str:
    return f"figures/{figure.stem}"
