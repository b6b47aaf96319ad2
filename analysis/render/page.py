"""The page: one self-contained HTML file that answers first and shows why below; it loads nothing from anywhere."""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from analysis.exhibits.base import Chart, Note, Part, Table
from analysis.exhibits.evidence import Evidence
from analysis.exhibits.registry import PAGE, Exhibit, exhibits
from analysis.exhibits.words import plain, value
from analysis.render.interactive import figures, marked_up

PROVENANCE = ("ovpnet_version", "git_revision", "torch_version", "engine_used", "device_used", "study")
FACETS = ("concept", "learner", "algorithm", "epsilon")  # of a problem, by which the page filters
MOST_PROBLEMS = 40  # problems with charts of their own
MOST_ROWS = 500  # of a table
MOST_PROVENANCE = 12  # values of one kind


@dataclass(frozen=True)
class Problems:
    """The index, the short name and the facets of each problem of a page, by the problem's label."""

    index: dict[str, int]
    short: dict[str, str]
    facets: dict[str, dict[str, str]]

    @property
    def several(self) -> bool:
        return len(self.index) > 1


def write(evidence: Evidence, directory: Path, reload_seconds: float | None = None) -> Path:
    """Write `directory`/index.html and return its path. A reader of the file sees the old page or the new one, whole.

    With `reload_seconds` an open page reloads itself that often, for a sweep that is still running.
    """
    environment = Environment(loader=PackageLoader("analysis"), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"label": lambda text: Markup(marked_up(text)), "plain": plain}
    page = environment.get_template("page.html.j2").render(**_content(evidence), reload_seconds=reload_seconds)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "index.html"
    temporary = directory / f".index-{uuid.uuid4().hex}.html"
    try:
        temporary.write_text(page, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _content(evidence: Evidence) -> dict[str, Any]:
    problems = problems_of(evidence)
    shown = [(exhibit, [*parts(exhibit, evidence)]) for exhibit in exhibits(evidence, PAGE)]
    return {
        "sections": [{"name": exhibit.name, "title": exhibit.title, "about": exhibit.words, "blocks": _blocks(
            exhibit.name, found, problems)} for exhibit, found in shown if found],
        "facets": _facets(evidence, problems),
        "problems": len(problems.index), "left_out": max(len(problems.index) - MOST_PROBLEMS, 0),
        "warnings": [f"{each}." for each in evidence.warnings] + evidence.stored.skipped,
        "provenance": provenance(evidence.stored.runs),
        # These are not escaped, since they are our own files and a library's.
        "plotly": Markup(get_plotlyjs().replace("</script", r"<\/script")),
        "style": _own("page.css"), "script": _own("page.js"),
    }


def parts(exhibit: Exhibit, evidence: Evidence) -> Iterator[Part]:
    """Yield the parts of an exhibit that a page shows: the charts of its first problems, then the parts about all."""
    for problem in evidence.finished[:MOST_PROBLEMS]:
        yield from exhibit.of_problem(problem)
    yield from exhibit.of_all()


def _own(name: str) -> Markup:
    return Markup((Path(__file__).parents[1] / "templates" / name).read_text(encoding="utf-8"))


# --- problems ----------------------------------------------------------------------------------------


def problems_of(evidence: Evidence) -> Problems:
    """Return the names and facets of the problems of a page."""
    rows = evidence.analysis.verdicts.to_dict("records")
    return Problems({problem: number for number, problem in enumerate(evidence.problems)}, evidence.names,
                    {str(row["problem"]): _facets_of(row) for row in rows})


def _facets_of(row: dict[Any, Any]) -> dict[str, str]:
    return {"concept": str(row["concept"]), "learner": f"{row['learner']} ({row['trained']})",
            "algorithm": str(row["algorithm"]), "epsilon": f"{row['epsilon']:g} {row['epsilon_unit']}"}


def _facets(evidence: Evidence, problems: Problems) -> dict[str, list[tuple[str, str]]]:
    """Return the filters of a page: (value, words) of each facet that has at least two values."""
    runs = evidence.stored.runs
    found = {name: [(each, each) for each in sorted({facets[name] for facets in problems.facets.values()})]
             for name in FACETS}
    found["width"] = [(str(each), value(each, "width")) for each in sorted(runs["width"].unique())]
    found["samples"] = [(str(each), str(each)) for each in sorted(runs["samples"].unique())]
    return {name: values for name, values in found.items() if len(values) > 1}


# --- parts -------------------------------------------------------------------------------------------


def _blocks(exhibit: str, found: list[Part], problems: Problems) -> list[dict[str, Any]]:
    """Return the parts of a section in their order; charts that follow each other lie side by side."""
    blocks: list[dict[str, Any]] = []
    for _, group in groupby(found, type):
        block: dict[str, Any] = {"charts": [], "tables": [], "notes": []}
        for part in group:
            match part:
                case Chart():
                    block["charts"] += charts(part, problems)
                case Table():
                    block["tables"].append(table(part, problems))
                case Note():
                    block["notes"].append(_note(part, problems))
        block["charts"] = [each | {"id": f"chart-{exhibit}-{len(blocks)}-{index}"}
                           for index, each in enumerate(block["charts"])]
        blocks.append(block)
    return blocks


def charts(chart: Chart, problems: Problems) -> list[dict[str, Any]]:
    """Return the entries of a page that show a chart."""
    drawn = figures(chart)
    return [{"title": plain(title), "says": chart.says, "small": len(drawn) > 1, "height": figure.layout.height,
             # As JSON in the page: `<` would end its script element.
             "figure": Markup(figure.to_json().replace("<", "\\u003c")),
             "number": None if chart.problem is None else problems.index[chart.problem],
             "problem": chart.problem if problems.several else None} for title, figure in drawn]


def table(of: Table, problems: Problems) -> dict[str, Any]:
    """Return a table of a page: at most MOST_ROWS rows, with the values that the page filters and sorts them by."""
    rows = of.rows.head(MOST_ROWS)
    names = [*[name for name in ("problem",) if name in of.headings and problems.several],
             *[name for name in of.headings if name != "problem"]]
    return {
        "title": of.title, "omitted": len(of.rows) - len(rows),
        "columns": [(of.headings[name], of.numeric(name)) for name in names],
        "rows": [{"number": problems.index.get(str(row.get("problem"))), "width": row.get("width"),
                  "samples": row.get("samples"), "cells": [_cell(of, name, row[name], problems) for name in names]}
                 for row in rows.to_dict("records")]}


def _cell(of: Table, name: str, value: Any, problems: Problems) -> dict[str, Any]:
    """Return a cell's words, and for a number the value to sort by."""
    if name == "problem":
        return {"text": problems.short.get(str(value), str(value)), "sort": None}
    return {"text": of.text(name, value), "sort": float(value) if of.numeric(name) and not pd.isna(value) else None}


def _note(note: Note, problems: Problems) -> dict[str, Any]:
    of = {} if note.problem is None else problems.facets[note.problem]
    return {"headline": note.headline, "detail": note.detail, "said": note.said, "command": note.command,
            "problem": note.problem, "index": problems.index.get(note.problem or ""), "number": note.number,
            "kind": note.headline.split()[0], "facets": of}


# --- provenance --------------------------------------------------------------------------------------


def provenance(runs: pd.DataFrame) -> dict[str, str]:
    """Return the versions, devices and times that the runs were made with."""
    stamps = sorted(runs["finished_at"].dropna().astype(str)) if "finished_at" in runs else []
    known = {"runs": f"{len(runs):,}", "training time": _duration(float(runs["train_seconds"].sum())),
             "finished": f"{_stamp(stamps[0])} to {_stamp(stamps[-1])}" if stamps else "unknown"}
    for name in PROVENANCE:
        values = sorted(runs[name].dropna().astype(str).unique()) if name in runs else []
        if values:
            more = f", and {len(values) - MOST_PROVENANCE} more" if len(values) > MOST_PROVENANCE else ""
            known[name.replace("_", " ")] = ", ".join(values[:MOST_PROVENANCE]) + more
    return known


def _stamp(stored: str) -> str:
    """Return a time of the store to the minute; as it is if it is no time."""
    try:
        return f"{datetime.fromisoformat(stored).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return stored


def _duration(seconds: float) -> str:
    """Return a time span in its two largest units."""
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{int(hours)} h {int(minutes % 60)} min"
    return f"{int(minutes)} min {seconds % 60:.0f} s" if minutes >= 1 else f"{seconds:.1f} s"
