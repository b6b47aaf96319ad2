"""One self-contained HTML page: the verdict first, then what it rests on."""

import io
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pandas as pd
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from analysis.figures import figures, save
from analysis.verdict import Study

FAILURE = ["run_id", "status", "width", "samples", "lr", "weight_decay", "seed"]
PROVENANCE = ["ovpnet_version", "git_revision", "torch_version", "python_version", "device_used", "engine_used", "host"]


def write(study: Study, directory: Path, skipped: list[str]) -> Path:
    """Write figures (PNG, SVG), tables (CSV) and index.html into the directory; returns the page's path."""
    made = figures(study)
    save(made, directory)
    study.verdicts.to_csv(directory / "verdict.csv", index=False)
    study.intervals.to_csv(directory / "sample_complexity.csv", index=False)
    study.best.to_csv(directory / "best_tuned.csv", index=False)
    page = directory / "index.html"
    page.write_text(_page(study, made, skipped))
    return page


def _page(study: Study, made: dict[str, Figure], skipped: list[str]) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("analysis").joinpath("report.html.j2").read_text())
    runs = study.runs
    problems = [{
        "row": row._asdict(),
        "figures": [_svg(made[f"{kind}_{row.problem}"]) for kind in ("sample_complexity", "test_risk")],
        "intervals": _interval_table(study.intervals[study.intervals["problem"] == row.problem]),
        "tuning": _tuning_table(study.best[study.best["problem"] == row.problem]),
    } for row in study.verdicts.itertuples(index=False)]
    failures = runs.loc[runs["status"] != "done", FAILURE]
    facts = {name: ", ".join(sorted(str(value) for value in runs[name].dropna().unique())) for name in PROVENANCE}
    return template.render(
        problems=problems, warnings=[*skipped, *study.warnings], failures=failures.to_dict("records"), facts=facts,
        runs=len(runs), seconds=float(runs["train_seconds"].sum()), made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")


def _svg(figure: Figure) -> str:
    sink = io.StringIO()
    figure.savefig(sink, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = sink.getvalue()
    return text[text.index("<svg"):]


def _interval_table(intervals: pd.DataFrame) -> list[dict[str, object]]:
    """A row a width: N_eps of every seed."""
    shown = intervals.assign(text=[
        f"≤ {each.high:g}" if each.censored == "left" else f"> {each.low:g}" if each.censored == "right"
        else f"{each.low:g}–{each.high:g}" for each in intervals.itertuples()])
    return [{"width": f"{width:g}", "seeds": list(group["text"])} for width, group in shown.groupby("width")]


def _tuning_table(best: pd.DataFrame) -> list[dict[str, object]]:
    cells = best.groupby(["width", "samples"]).agg(
        lr=("lr", "first"), weight_decay=("weight_decay", "first"), test_risk=("test_risk", "mean"),
        reached=("reached", "sum"), seeds=("seed", "nunique"))
    return [{"width": f"{width:g}", "samples": f"{samples:g}", **row} for (width, samples), row in
            cells.to_dict("index").items()]
