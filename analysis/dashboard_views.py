"""What a dashboard shows: a saved workspace and a report, as objects of wandb-workspaces. Nothing is sent from here.

Panels name the keys that ovpnet logs (ovpnet/record/tracking.py): config is nested, so that `concept.name` is the key
`concept.value.name` of a filter or a column; a curve is logged as it is where every run is a W&B run, as `NAME/mean`
where every pack is one, and not at all where a study is one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import wandb_workspaces.expr as expr
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from analysis import complexity, diagnostics, tune
from analysis.filters import ALIASES, decode, key_of
from analysis.load import Stored, width_text
from analysis.output import markdown_text
from analysis.report import PROVENANCE, number
from analysis.verdict import Analysis, interval_text

GROUPING = ("concept.name", "learner.name", "width")
CONFIG_COLUMNS = ("concept.name", "learner.name", "learner.trained", "width", "samples", "seed", "lr", "weight_decay")
RESULT_COLUMNS = ("test_risk", "threshold", "reached", "status", "norm_ratio")
MOST_LINES = 100  # lines of a panel, one a group of runs; W&B shows 10 where it is not told


@dataclass(frozen=True)
class Story:
    """What a dashboard tells, and where. `per` is what became a W&B run there (tracker.per); `figures` are the media
    keys of each problem's figures in the W&B run `run`; the tables are in `artifact`."""

    name: str
    entity: str
    project: str
    per: str
    filters: Sequence[str]
    command: str
    delta: float
    stored: Stored
    analysis: Analysis
    figures: dict[str, list[str]]
    run: str
    artifact: str


def workspace(story: Story) -> ws.Workspace:
    """The saved view of the project: the runs of the store's studies, in groups of GROUPING, and panels of them."""
    return ws.Workspace(
        entity=story.entity, project=story.project, name=story.name,
        sections=[ws.Section(name=title, panels=panels, is_open=True) for title, panels in _sections(story).items()],
        settings=ws.WorkspaceSettings(max_runs=MOST_LINES),
        runset_settings=ws.RunsetSettings(
            filters=_filters(story), groupby=[expr.Config(name) for name in GROUPING],
            pinned_columns=_columns(story)))


def report(story: Story) -> wr.Report:
    """The report: verdicts, N_eps against m, the runs behind them, warnings, tables, and how it was made."""
    return wr.Report(entity=story.entity, project=story.project, title=story.name, width="fluid",
                     blocks=[*_verdicts(story), *_complexity(story), *_runs(story), *_warnings(story),
                             *_tables(story), *_provenance(story)])


# --- panels -------------------------------------------------------------------------------------------


def _sections(story: Story) -> dict[str, list[Any]]:
    """Panels by the title of their section. A W&B run of a study has a table of its runs, and no curves."""
    if story.per == "sweep":
        return {"Runs": [wr.WeavePanelSummaryTable(table_name="table", layout=wr.Layout(w=24, h=12))]}
    sections = {"Test risk by width": [_curves(story, ["test_risk"], x) for x in ("samples_seen", "step")]}
    measured = diagnostics.panels(diagnostics.last_values(story.analysis.runs, story.analysis.best))
    named = {column: panel for panel in measured for column in panel.columns}
    if "norm_ratio" in named:
        sections["Norm ratio"] = [_curves(story, ["norm_ratio"]), *_scatter(story, "width", "norm_ratio")]
    sections["Samples against risk"] = [*_scatter(story, "samples", "test_risk"),
                                        *_scatter(story, "width", "test_risk")]
    others = [_curves(story, list(panel.columns)) for panel in measured if "norm_ratio" not in panel.columns]
    sections["Diagnostics"] = others
    return {title: panels for title, panels in sections.items() if panels}


def _curves(story: Story, names: Sequence[str], x: str = "step") -> Any:
    keys = [name if story.per == "run" else f"{name}/mean" for name in names]
    axis = x if story.per == "run" or x == "step" else f"{x}/mean"
    # No grouping of its own: that of the runs tells concepts and learners apart, too.
    return wr.LinePlot(title=f"{', '.join(names)} against {x}", x=axis, y=list(keys), log_y=True,
                       groupby_aggfunc="mean", groupby_rangefunc="minmax", max_runs_to_show=MOST_LINES,
                       layout=wr.Layout(w=12, h=8))


def _scatter(story: Story, key: str, result: str) -> list[Any]:
    """A result of every run against a key of its config; a pack has no such pair."""
    if story.per != "run":
        return []
    return [wr.ScatterPlot(title=f"{result} against {key}", x=wr.Config(key), y=wr.SummaryMetric(result), log_x=True,
                           log_y=True, layout=wr.Layout(w=12, h=8))]


def _media(problem: str, keys: Sequence[str]) -> Any:
    return wr.MediaBrowser(title=problem, media_keys=list(keys), num_columns=len(keys), layout=wr.Layout(w=24, h=12))


# --- runs and columns ---------------------------------------------------------------------------------


def _filters(story: Story) -> str:
    """The runs of the store's studies with the values that the command's filters let through.

    The W&B run of a pack or a study has as its config what its members share, so their study alone can be asked for.
    """
    runs, asked = story.analysis.runs, story.filters if story.per == "run" else ()
    keys = [key_of(each) for each in asked]
    columns = dict.fromkeys(["study", *(ALIASES.get(key, key) for key in keys)])
    return " and ".join(f"{_metric(column)} in {_distinct(runs[column])!r}" for column in columns if column in runs)


def _metric(column: str) -> str:
    """A column as a filter names it: `status` is the one that is a result and may be filtered by (analysis.load)."""
    return f"Summary({column!r})" if column == "status" else f"Config({_key(column)!r})"


def _distinct(column: pd.Series) -> list[Any]:
    """The distinct values as W&B has them: lists as the store's text, whole numbers as int."""
    values = column.drop_duplicates().tolist()
    return sorted((value if isinstance(value, str) else decode(value) for value in values),
                  key=lambda value: (str(type(value)), value is not None and value))


def _key(column: str) -> str:
    """A config key as W&B's filters, groups and columns name it: `concept.name` is concept.value.name."""
    group, dot, leaf = column.partition(".")
    return f"{group}.value{dot}{leaf}"


def _columns(story: Story) -> list[str]:
    """The columns of the table of runs that the store has anything for, in W&B's names."""
    runs = story.analysis.runs
    has = [name for name in (*CONFIG_COLUMNS, *RESULT_COLUMNS) if name in runs and runs[name].notna().any()]
    return [f"config:{_key(name)}" if name in CONFIG_COLUMNS else f"summary:{name}" for name in has]


# --- the report's blocks ------------------------------------------------------------------------------


def _verdicts(story: Story) -> list[Any]:
    verdicts = story.analysis.verdicts
    rows = [(index, row.problem, "" if pd.isna(row.alpha) else f"{row.alpha:z.2f}",
             "" if pd.isna(row.alpha) else interval_text(row.alpha_low, row.alpha_high), row.verdict)
            for index, row in enumerate(verdicts.itertuples(), start=1)]
    blocks: list[Any] = [
        wr.H1("Does the sample complexity scale with the width?"),
        wr.P("N_eps(m) is the least N for which the best-tuned test risk is at most OPT + epsilon, and alpha its "
             f"exponent of the width m. It does not scale with m where the 95% interval of alpha lies inside "
             f"(-{story.delta:g}, {story.delta:g})."),
        _markdown(("#", "problem", "alpha", "95% interval", "verdict"), rows)]
    for index, row in enumerate(verdicts.itertuples(), start=1):
        blocks += [wr.P(f"{index}. {row.problem}: {row.verdict}"), wr.P(f"Why: {row.why}")]
        if row.next:
            blocks += [wr.P("What would settle it:"), wr.CodeBlock(row.next, language=None)]
    return blocks


def _complexity(story: Story) -> list[Any]:
    figures = wr.Runset(entity=story.entity, project=story.project, name="figures",
                        filters=f"Metric('ID') in {[story.run]!r}")
    panels = [_media(problem, keys) for problem, keys in story.figures.items() if keys]
    numbers = {row.problem: index for index, row in enumerate(story.analysis.verdicts.itertuples(), start=1)}
    rows = [(numbers[row.problem], width_text(row.width), row.seeds, *map(number, (row.n_eps, row.low, row.high)),
             row.left, row.right) for row in complexity.by_width(story.analysis.intervals).itertuples()]
    names = ("#", "m", "seeds", "N_eps", "all above", "all at most", "pass at the least N", "pass at no N")
    return [wr.H1("N_eps against the width m"),
            *([wr.PanelGrid(runsets=[figures], panels=panels, hide_run_sets=True)] if panels else []),
            _markdown(names, rows)]


def _runs(story: Story) -> list[Any]:
    panels = [panel for section in _sections(story).values() for panel in section]
    runs = wr.Runset(entity=story.entity, project=story.project, name="runs", filters=_filters(story),
                     groupby=[f"config.{name}" for name in GROUPING], pinned_columns=_columns(story))
    return [wr.H1("The runs"), wr.PanelGrid(runsets=[runs], panels=panels)]


def _warnings(story: Story) -> list[Any]:
    found = [*tune.warnings(story.analysis.best), *complexity.warnings(story.analysis.intervals),
             *story.stored.skipped]
    return [wr.H1("What to be careful with"), wr.UnorderedList(items=list(found))] if found else []


def _tables(story: Story) -> list[Any]:
    return [wr.H1("Tables"),
            wr.P("Verdicts, best-tuned risks and the intervals of N_eps, for W&B and as Parquet:"),
            wr.WeaveBlockArtifact(entity=story.entity, project=story.project, artifact=story.artifact, tab="files")]


def _provenance(story: Story) -> list[Any]:
    runs = story.analysis.runs
    facts = {"runs": [str(len(runs))], "last finished": [str(runs["finished_at"].dropna().astype(str).max())]}
    facts |= {name: sorted(runs[name].dropna().astype(str).unique())
              for name in PROVENANCE if name in runs}
    return [wr.H1("How this was made"), wr.CodeBlock(story.command, language=None),
            wr.UnorderedList(items=[f"{name}: {', '.join(values)}" for name, values in facts.items() if values])]


def _markdown(names: Iterable[str], rows: Iterable[Sequence[object]]) -> wr.MarkdownBlock:
    """A table in Markdown, of which nothing but its frame is markup."""
    lines = [names, *rows]
    texts = ["| " + " | ".join(map(markdown_text, line)) + " |" for line in lines]
    texts.insert(1, "|" + " --- |" * (texts[0].count(" | ") + 1))
    return wr.MarkdownBlock("\n".join(texts))
