"""Exhibits in W&B: a saved workspace and a report, as objects of wandb-workspaces. Nothing is sent from here.

Panels name the keys that ovpnet logs (ovpnet/record/tracking.py). Config is nested, so `concept.name` is the key
`concept.value.name` of a filter or a column. If every run is a W&B run, a curve is logged as it is. If every pack is
one, it is logged as `NAME/mean`; if a study is one, not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import wandb_workspaces.expr as expr
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from analysis import diagnostics
from analysis.exhibits.base import Note, Table
from analysis.exhibits.evidence import Evidence
from analysis.exhibits.registry import WANDB, exhibits
from analysis.exhibits.words import plain
from analysis.filters import ALIASES, decode, key_of
from analysis.render.markup import markdown
from analysis.render.page import provenance

GROUPING = ("concept.name", "learner.name", "width")
CONFIG_COLUMNS = ("concept.name", "learner.name", "learner.trained", "width", "samples", "seed", "lr", "weight_decay")
RESULT_COLUMNS = ("test_risk", "threshold", "reached", "status", "norm_ratio")
MOST_LINES = 100  # lines of a panel, one per group of runs; W&B shows 10 by default


@dataclass(frozen=True)
class Dashboard:
    """A dashboard, and its place in W&B.

    `per` says what a W&B run there is (tracker.per). `figures` are the media keys of each problem's figures in the W&B
    run `run`; the tables are in `artifact`.
    """

    name: str
    entity: str
    project: str
    per: str
    filters: Sequence[str]
    command: str
    evidence: Evidence
    figures: dict[str, list[str]]
    run: str
    artifact: str


def workspace(dashboard: Dashboard) -> ws.Workspace:
    """Return the saved view of the project: the runs of the store's studies, in groups of GROUPING, and their panels.
    """
    sections = _sections(dashboard)
    return ws.Workspace(
        entity=dashboard.entity, project=dashboard.project, name=dashboard.name,
        sections=[ws.Section(name=title, panels=panels, is_open=True) for title, panels in sections.items()],
        settings=ws.WorkspaceSettings(max_runs=MOST_LINES),
        runset_settings=ws.RunsetSettings(
            filters=_filters(dashboard), groupby=[expr.Config(name) for name in GROUPING],
            pinned_columns=_columns(dashboard)))


def report(dashboard: Dashboard) -> wr.Report:
    """Return the report: what exhibits say, their pictures, the runs behind them, warnings, tables, and provenance."""
    return wr.Report(entity=dashboard.entity, project=dashboard.project, title=dashboard.name, width="fluid",
                     blocks=[*_exhibits(dashboard), *_pictures(dashboard), *_runs(dashboard), *_warnings(dashboard),
                             *_tables(dashboard), *_provenance(dashboard)])


# --- panels -------------------------------------------------------------------------------------------


def _sections(dashboard: Dashboard) -> dict[str, list[Any]]:
    """Return panels by the title of their section. A W&B run of a study has a table of its runs, and no curves."""
    if dashboard.per == "sweep":
        return {"Runs": [wr.WeavePanelSummaryTable(table_name="table", layout=wr.Layout(w=24, h=12))]}
    sections = {"Test risk by width": [_curves(dashboard, ["test_risk"], x) for x in ("samples_seen", "step")]}
    evidence = dashboard.evidence
    measured = diagnostics.families(diagnostics.last_values(evidence.stored.runs, evidence.best))
    named = {column for family in measured for column in family.columns}
    if "norm_ratio" in named:
        sections["Norm ratio"] = [_curves(dashboard, ["norm_ratio"]), *_scatter(dashboard, "width", "norm_ratio")]
    sections["Samples against risk"] = [*_scatter(dashboard, "samples", "test_risk"),
                                        *_scatter(dashboard, "width", "test_risk")]
    others = [_curves(dashboard, list(family.columns)) for family in measured if "norm_ratio" not in family.columns]
    sections["Diagnostics"] = others
    return {title: panels for title, panels in sections.items() if panels}


def _curves(dashboard: Dashboard, names: Sequence[str], x: str = "step") -> Any:
    keys = [name if dashboard.per == "run" else f"{name}/mean" for name in names]
    axis = x if dashboard.per == "run" or x == "step" else f"{x}/mean"
    # The panel has no grouping of its own: that of the runs tells concepts and learners apart, too.
    return wr.LinePlot(title=f"{', '.join(names)} against {x}", x=axis, y=list(keys), log_y=True,
                       groupby_aggfunc="mean", groupby_rangefunc="minmax", max_runs_to_show=MOST_LINES,
                       layout=wr.Layout(w=12, h=8))


def _scatter(dashboard: Dashboard, key: str, result: str) -> list[Any]:
    """Return a panel with a result of every run against a key of its config; none for packs, which have no such pair.
    """
    if dashboard.per != "run":
        return []
    return [wr.ScatterPlot(title=f"{result} against {key}", x=wr.Config(key), y=wr.SummaryMetric(result), log_x=True,
                           log_y=True, layout=wr.Layout(w=12, h=8))]


# --- runs and columns ---------------------------------------------------------------------------------


def _filters(dashboard: Dashboard) -> str:
    """Return a filter for the runs of the store's studies with the values that the command's filters let through.

    The W&B run of a pack or a study has the config that its members share, so only their study can be asked for.
    """
    runs, asked = dashboard.evidence.stored.runs, dashboard.filters if dashboard.per == "run" else ()
    keys = [key_of(each) for each in asked]
    columns = dict.fromkeys(["study", *(ALIASES.get(key, key) for key in keys)])
    return " and ".join(f"{_metric(column)} in {_distinct(runs[column])!r}" for column in columns if column in runs)


def _metric(column: str) -> str:
    """Return a column as a filter names it: `status` is the only result that may be filtered by (analysis.load)."""
    return f"Summary({column!r})" if column == "status" else f"Config({_key(column)!r})"


def _distinct(column: pd.Series) -> list[Any]:
    """Return the distinct values as W&B has them: lists as the store's text, whole numbers as int."""
    values = column.drop_duplicates().tolist()
    return sorted((value if isinstance(value, str) else decode(value) for value in values),
                  key=lambda value: (str(type(value)), value is not None and value))


def _key(column: str) -> str:
    """Return a config key as W&B's filters, groups and columns name it: `concept.name` is concept.value.name."""
    group, dot, leaf = column.partition(".")
    return f"{group}.value{dot}{leaf}"


def _columns(dashboard: Dashboard) -> list[str]:
    """Return the columns of the table of runs that the store has anything for, in W&B's names."""
    runs = dashboard.evidence.stored.runs
    has = [name for name in (*CONFIG_COLUMNS, *RESULT_COLUMNS) if name in runs and runs[name].notna().any()]
    return [f"config:{_key(name)}" if name in CONFIG_COLUMNS else f"summary:{name}" for name in has]


# --- the report's blocks ------------------------------------------------------------------------------


def _exhibits(dashboard: Dashboard) -> list[Any]:
    blocks: list[Any] = []
    for exhibit in exhibits(dashboard.evidence, WANDB):
        found = [part for part in exhibit.of_all() if isinstance(part, Table | Note)]
        if found:
            blocks += [wr.H1(exhibit.title), wr.P(plain(exhibit.words))]
        for part in found:
            blocks += [wr.MarkdownBlock(markdown(part))] if isinstance(part, Table) else _note(part)
    return blocks


def _note(note: Note) -> list[Any]:
    blocks: list[Any] = [wr.P(plain(note.called))]
    blocks += [wr.P(f"{label.capitalize()}: {words}" if label else words) for label, words in note.said]
    if note.command:
        blocks += [wr.P(f"{note.command[0].capitalize()}:"), wr.CodeBlock(note.command[1], language=None)]
    return blocks


def _pictures(dashboard: Dashboard) -> list[Any]:
    figures = wr.Runset(entity=dashboard.entity, project=dashboard.project, name="figures",
                        filters=f"Metric('ID') in {[dashboard.run]!r}")
    panels: list[Any] = [
        wr.MediaBrowser(title=problem, media_keys=[*keys], num_columns=len(keys), layout=wr.Layout(w=24, h=12))
        for problem, keys in dashboard.figures.items() if keys]
    return [wr.H1("Pictures"), wr.PanelGrid(runsets=[figures], panels=panels, hide_run_sets=True)] if panels else []


def _runs(dashboard: Dashboard) -> list[Any]:
    panels = [panel for section in _sections(dashboard).values() for panel in section]
    runs = wr.Runset(entity=dashboard.entity, project=dashboard.project, name="runs", filters=_filters(dashboard),
                     groupby=[f"config.{name}" for name in GROUPING], pinned_columns=_columns(dashboard))
    return [wr.H1("The runs"), wr.PanelGrid(runsets=[runs], panels=panels)]


def _warnings(dashboard: Dashboard) -> list[Any]:
    found = [*dashboard.evidence.warnings, *dashboard.evidence.stored.skipped]
    return [wr.H1("What to be careful with"), wr.UnorderedList(items=list(found))] if found else []


def _tables(dashboard: Dashboard) -> list[Any]:
    return [wr.H1("Tables"),
            wr.P("Verdicts, best-tuned risks and the intervals of N_eps, for W&B and as Parquet:"),
            wr.WeaveBlockArtifact(entity=dashboard.entity, project=dashboard.project, artifact=dashboard.artifact,
                                  tab="files")]


def _provenance(dashboard: Dashboard) -> list[Any]:
    facts = provenance(dashboard.evidence.stored.runs)
    return [wr.H1("How this was made"), wr.CodeBlock(dashboard.command, language=None),
            wr.UnorderedList(items=[f"{name}: {value}" for name, value in facts.items()])]
