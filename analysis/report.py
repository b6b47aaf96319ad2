"""The report: one self-contained HTML file that answers first and shows why below; it loads nothing from anywhere."""

import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pandas.api import types
from plotly.offline import get_plotlyjs

from analysis import charts, complexity, tune
from analysis.load import Stored, width_text
from analysis.sections import MOST_PROBLEMS, Chart, Section, Table, sections
from analysis.verdict import DELTA, Analysis, interval_text

PROVENANCE = ("ovpnet_version", "git_revision", "torch_version", "engine_used", "device_used", "study")
FACETS = ("concept", "learner", "algorithm", "epsilon")  # of a problem, by which the page filters
MOST_ROWS = 500  # of a table
MOST_PROVENANCE = 12  # values of one kind
HEADINGS = {"width": "m", "samples": "N", "weight_decay": "weight decay", "epsilon": "ε", "alpha": "α",
            "alpha_low": "α from", "alpha_high": "α to", "opt": "OPT", "aicc": "AICc", "aicc_weight": "AICc weight",
            "bic": "BIC", "bic_weight": "BIC weight"}


@dataclass(frozen=True)
class Labels:
    """What the problems of a page are called: their index by label, and a short name of what tells each apart."""

    index: dict[str, int]
    short: dict[str, str]


def write(stored: Stored, analysis: Analysis, directory: Path, delta: float = DELTA,
          reload_seconds: float | None = None) -> Path:
    """Write `directory`/index.html and return its path. A reader of the file sees the old page or the new one, whole.

    With `reload_seconds` an open page reloads itself that often, for a sweep that is still running.
    """
    environment = Environment(loader=PackageLoader("analysis"), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number}
    page = environment.get_template("report.html.j2").render(**_content(stored, analysis, delta),
                                                             reload_seconds=reload_seconds)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "index.html"
    temporary = directory / f".index-{uuid.uuid4().hex}.html"
    try:
        temporary.write_text(page, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _content(stored: Stored, analysis: Analysis, delta: float) -> dict[str, Any]:
    runs, verdicts = analysis.runs, analysis.verdicts
    labels = _labels(verdicts)
    shown = sections(stored, analysis)
    return {
        "delta": delta,
        "cards": _cards(verdicts, labels),
        "counts": verdicts["verdict"].value_counts().to_dict(),
        "exponents": _exponents(charts.bounded(verdicts), labels, delta),
        "sections": [_section(section, labels, number) for number, section in enumerate(shown)],
        "facets": _facets(verdicts, analysis),
        "left_out": max(len(verdicts) - MOST_PROBLEMS, 0),
        "warnings": [*tune.warnings(analysis.best), *complexity.warnings(analysis.intervals)],
        "skipped": stored.skipped,
        "provenance": _provenance(runs),
        # Not escaped, as scripts are not: our own files, and a library's.
        "plotly": Markup(get_plotlyjs().replace("</script", r"<\/script")),
        "style": _own("report.css"), "script": _own("report.js"),
    }


def _own(name: str) -> Markup:
    return Markup((Path(__file__).parent / "templates" / name).read_text(encoding="utf-8"))


# --- problems ----------------------------------------------------------------------------------------


def _labels(verdicts: pd.DataFrame) -> Labels:
    said = [str(problem).split(", ") for problem in verdicts["problem"]]
    common = set.intersection(*map(set, said)) if len(said) > 1 else set()
    short = [", ".join(part for part in parts if part not in common) for parts in said]
    if len(said) == 1:  # nothing to be told from
        short = [said[0][1]]
    problems = [str(each) for each in verdicts["problem"]]
    return Labels({problem: number for number, problem in enumerate(problems)}, dict(zip(problems, short, strict=True)))


def _cards(verdicts: pd.DataFrame, labels: Labels) -> list[dict[str, Any]]:
    return [{**{str(key): value for key, value in row.items()}, "number": labels.index[row["problem"]],
             "exponent": _exponent_text(row), "kind": row["verdict"].split()[0], "facets": _facets_of(row)}
            for row in verdicts.to_dict("records")]


def _exponent_text(row: dict[Any, Any]) -> str:
    if np.isnan(row["alpha"]):
        return ""
    if not np.isfinite([row["alpha_low"], row["alpha_high"]]).any():
        return "α unbounded"
    return f"α = {row['alpha']:z.2f}, 95% {interval_text(row['alpha_low'], row['alpha_high'])}"


def _facets_of(row: dict[Any, Any]) -> dict[str, str]:
    return {"concept": str(row["concept"]), "learner": f"{row['learner']} ({row['trained']})",
            "algorithm": str(row["algorithm"]), "epsilon": f"{row['epsilon']:g} {row['epsilon_unit']}"}


def _facets(verdicts: pd.DataFrame, analysis: Analysis) -> dict[str, list[tuple[str, str]]]:
    """What can be filtered by: (value, words) of each facet that has at least two."""
    rows = [_facets_of(row) for row in verdicts.to_dict("records")]
    found = {name: [(each, each) for each in sorted({row[name] for row in rows})] for name in FACETS}
    found["width"] = [(str(each), width_text(each)) for each in sorted(analysis.runs["width"].unique())]
    found["samples"] = [(str(each), str(each)) for each in sorted(analysis.runs["samples"].unique())]
    return {name: values for name, values in found.items() if len(values) > 1}


def _provenance(runs: pd.DataFrame) -> dict[str, str]:
    stamps = sorted(runs["finished_at"].dropna().astype(str)) if "finished_at" in runs else []
    known = {"runs": f"{len(runs):,}", "training time": duration(float(runs["train_seconds"].sum())),
             "finished": f"{_stamp(stamps[0])} to {_stamp(stamps[-1])}" if stamps else "unknown"}
    for name in PROVENANCE:
        values = sorted(runs[name].dropna().astype(str).unique()) if name in runs else []
        if values:
            more = f", and {len(values) - MOST_PROVENANCE} more" if len(values) > MOST_PROVENANCE else ""
            known[name.replace("_", " ")] = ", ".join(values[:MOST_PROVENANCE]) + more
    return known


def _stamp(stored: str) -> str:
    """A time of the store to the minute; as it is where it is none."""
    try:
        return f"{datetime.fromisoformat(stored).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return stored


# --- charts and tables -------------------------------------------------------------------------------


def _exponents(verdicts: pd.DataFrame, labels: Labels, delta: float) -> dict[str, Any] | None:
    if verdicts.empty:
        return None
    names = [_shortened(labels.short[str(problem)]) for problem in verdicts["problem"]]
    words = "; ".join(f"{row.problem}: alpha {row.alpha:z.2f} {interval_text(row.alpha_low, row.alpha_high)}"
                      for row in verdicts.head(charts.MOST_EXPONENTS).itertuples())
    chart = Chart(charts.exponents(names, verdicts, delta), "The exponent α of m", words)
    return _chart(chart, labels, "exponents")


def _shortened(label: str, most: int = 44) -> str:
    return label if len(label) <= most else f"{label[:most - 1]}…"


def _section(section: Section, labels: Labels, number: int) -> dict[str, Any]:
    return {"title": section.title, "about": section.about, "empty": section.empty,
            "charts": [_chart(chart, labels, f"{number}-{index}") for index, chart in enumerate(section.charts)],
            "tables": [_table(table, labels) for table in section.tables]}


def _chart(chart: Chart, labels: Labels, name: str) -> dict[str, Any]:
    # As JSON in the page: `<` would end its script element.
    figure = Markup(chart.figure.to_json().replace("<", "\\u003c"))
    return {"name": f"chart-{name}", "title": chart.title, "text": chart.text, "figure": figure, "small": chart.small,
            "number": None if chart.problem is None else labels.index[chart.problem],
            "problem": chart.problem if len(labels.index) > 1 else None, "height": chart.figure.layout.height}


def _table(table: Table, labels: Labels) -> dict[str, Any]:
    rows = table.rows.head(MOST_ROWS)
    columns = [*[name for name in ("problem",) if name in rows and len(labels.index) > 1],
               *[name for name in rows if name != "problem"]]
    numeric = {name for name in columns if types.is_numeric_dtype(rows[name]) and not types.is_bool_dtype(rows[name])}
    return {
        "title": table.title, "omitted": len(table.rows) - len(rows),
        "columns": [(HEADINGS.get(str(name), str(name).replace("_", " ")), name in numeric) for name in columns],
        "rows": [{"number": labels.index.get(str(row.get("problem"))), "width": row.get("width"),
                  "samples": row.get("samples"),
                  "cells": [_cell(name, row[name], name in numeric, labels) for name in columns]}
                 for row in rows.to_dict("records")]}


def _cell(name: Any, value: Any, numeric: bool, labels: Labels) -> dict[str, Any]:
    """A cell's words, and for a number what to sort by."""
    if name == "problem":
        return {"text": labels.short.get(str(value), str(value)), "sort": None}
    if numeric:
        shown = width_text(int(value)) if name == "width" else number(value)
        return {"text": shown, "sort": None if pd.isna(value) else float(value)}
    if isinstance(value, bool | np.bool_):
        return {"text": "yes" if value else "no", "sort": None}
    missing = value is None or (isinstance(value, float) and np.isnan(value))
    return {"text": "–" if missing else str(value), "sort": None}


# --- numbers as text ---------------------------------------------------------------------------------


def number(value: float) -> str:
    """A number with 4 significant digits; infinite and missing ones in words."""
    if pd.isna(value):
        return "–"
    if np.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    if abs(value) < 1e-12:  # rounding
        return "0"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """A time span in its two largest units."""
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{int(hours)} h {int(minutes % 60)} min"
    return f"{int(minutes)} min {seconds % 60:.0f} s" if minutes >= 1 else f"{seconds:.1f} s"
