"""The report: one self-contained HTML file with the verdicts, figures and tables of a store."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis import complexity, diagnostic_figures, diagnostics, figures, tune
from analysis.load import Stored, width_text
from analysis.verdict import DELTA, Analysis, interval_text

PROVENANCE = ("ovpnet_version", "engine", "device", "study")


def write(stored: Stored, analysis: Analysis, directory: Path, delta: float = DELTA) -> Path:
    """Write `directory`/index.html, and the figures beside it as PNG and SVG; returns the page's path.

    The page holds its figures and its style, and loads nothing: it can be mailed, printed and archived alone.
    """
    drawn = figures.save(analysis, directory / "figures")
    environment = Environment(loader=PackageLoader("analysis"), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "width": width_text}
    page = environment.get_template("report.html.j2").render(**_content(stored, analysis, drawn, directory, delta))
    path = directory / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _content(stored: Stored, analysis: Analysis, drawn: dict[str, list[Path]], directory: Path,
             delta: float) -> dict[str, Any]:
    runs = analysis.runs
    measured = diagnostics.last_values(runs, analysis.best)
    along = stored.curves_of(measured["run_id"], diagnostics.TRACED)
    diagnosed = diagnostic_figures.save(measured, along, directory / "figures")
    failures = runs[runs["status"].isin(["diverged", "failed"])]
    return {
        "delta": delta,
        "verdicts": _verdict_rows(analysis.verdicts),
        "figures": {problem: [_inline(path) for path in paths] for problem, paths in drawn.items()},
        "diagnostics": {problem: [_inline(path) for path in paths] for problem, paths in diagnosed.items()},
        "diagnostics_tables": _diagnostics_tables(measured),
        "complexity": _complexity_rows(analysis.intervals),
        "tuning": _records(tune.choices(analysis.best)),
        "warnings": [*tune.warnings(analysis.best), *complexity.warnings(analysis.intervals)],
        "failures": _failure_rows(failures),
        "skipped": stored.skipped,
        "runs": len(runs),
        "train_time": duration(float(runs["train_seconds"].sum())),
        "finished": _span(runs["finished_at"]),
        "provenance": {name: sorted(runs[name].dropna().astype(str).unique()) for name in PROVENANCE if name in runs},
    }


def _verdict_rows(verdicts: pd.DataFrame) -> list[dict[str, Any]]:
    return [row | {"interval": "" if np.isnan(row["alpha_low"]) else interval_text(row["alpha_low"], row["alpha_high"]),
                   "alpha": "" if np.isnan(row["alpha"]) else f"{row['alpha']:z.2f}",
                   "kind": row["verdict"].split()[0]} for row in _records(verdicts)]


def _complexity_rows(intervals: pd.DataFrame) -> list[dict[str, Any]]:
    table = complexity.by_width(intervals)
    return [row | {"interval": interval_of(row["low"], row["high"])} for row in _records(table)]


def _diagnostics_tables(measured: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """A table a problem: medians, a row a quantity and a column a width."""
    return {str(problem): table.dropna(axis=1, how="all").drop(columns=["problem", "samples"]).set_index("width").T
            for problem, table in diagnostics.medians(measured).groupby("problem")}


def _failure_rows(failures: pd.DataFrame) -> list[dict[str, Any]]:
    """Diverged and failed runs, counted by problem, width and lr: a too large lr diverges in long rows of runs."""
    return _records(failures.groupby(["problem", "status", "width", "lr"], as_index=False).agg(runs=("run_id", "size")))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _span(finished: pd.Series) -> str:
    stamps = sorted(finished.dropna().astype(str))
    return f"{stamps[0]} to {stamps[-1]}" if stamps else "unknown"


def _inline(path: Path) -> Markup:
    """An SVG file as an element of the page: without its XML prolog and metadata, whose addresses HTML has no use for.

    Its ids get the file's name in front, since they would clash with those of the other figures of the page.
    """
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg"):], flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(\sid="|url\(#|href="#)', rf"\1{path.stem}-", text)
    text = re.sub(r'<svg\s[^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', text, count=1)
    return Markup(text)  # drawn by matplotlib: text from the store reaches it as glyph outlines only


# --- numbers as text ---------------------------------------------------------------------------------


def number(value: float) -> str:
    """A number with 4 significant digits; infinite and missing ones in words."""
    if pd.isna(value):
        return "–"
    if np.isinf(value):
        return "infinite"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def interval_of(low: float, high: float) -> str:
    """The interval of N_eps as text, e.g. (400, 500]; with a censored end, what is known."""
    if np.isinf(high):
        return f"above {number(low)}" if low else "unknown"
    return f"({number(low)}, {number(high)}]" if low else f"at most {number(high)}"


def duration(seconds: float) -> str:
    """A time span in its two largest units."""
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{int(hours)} h {int(minutes % 60)} min"
    return f"{int(minutes)} min {seconds % 60:.0f} s" if minutes >= 1 else f"{seconds:.1f} s"
