"""The end of each run, and the time that training took."""

from collections.abc import Iterator

import pandas as pd

from analysis.exhibits.base import SYMBOLS, Axis, Chart, Note, Part, Plot, Series, Table, columns, symbol
from analysis.exhibits.registry import PAGE, Exhibit
from analysis.style import QUALITATIVE

TOTALS = {"runs": ("run_id", "size"), "seconds per run": ("train_seconds", "mean"),
          "hours": ("train_seconds", lambda each: each.sum() / 3600)}


class Failures(Exhibit):
    """A table of the diverged and failed runs."""

    name = "failures"
    title = "Failures"
    about = "Diverged and failed runs by width and learning rate."
    place = 100
    media = (PAGE,)

    def of_all(self) -> Iterator[Part]:
        runs = self.evidence.stored.runs
        rows = runs[runs["status"].isin(["diverged", "failed"])].reindex(
            columns=["problem", "status", "failure", "width", "lr", "error", "run_id"])
        if rows.empty:
            yield Note("No run diverged or failed.")
            return
        yield Note(f"{len(rows)} of {len(runs)} runs did not end well. `ovpnet launch retry` trains the failed ones "
                   "again.")
        rows = rows.assign(failure=text_of(rows, "failure"), error=text_of(rows, "error"))
        table = rows.groupby(["problem", "status", "failure", "width", "lr"], as_index=False).agg(
            runs=("run_id", "size"), error=("error", lambda errors: str(errors.iloc[0])[:200]))
        yield Table(table, columns(table, error="first error"))


class Cost(Exhibit):
    """A chart of seconds per run, and tables of totals."""

    name = "cost"
    title = "Cost"
    about = "Seconds of training per run: its share of the time of the pack that it was trained in."
    place = 110
    media = (PAGE,)

    def of_all(self) -> Iterator[Part]:
        known = self.evidence.stored.runs.dropna(subset=["train_seconds"])
        if known.empty:
            return
        device, engine = text_of(known, "device_used", "unknown"), text_of(known, "engine_used", "unknown")
        known = known.assign(device=device, engine=engine, GPU=~device.str.startswith(("CPU", "unknown")))
        gpu_hours = known.loc[known["GPU"], "train_seconds"].sum() / 3600
        yield Note(f"GPU-hours in all: {gpu_hours:.3g}.")
        if (known["width"].gt(0) & known["train_seconds"].gt(0)).any():
            yield _chart(known)
        for by, title in ((["device", "engine", "GPU"], "By device"),
                          (["problem", "width", "samples"], "By width and samples")):
            table = known.groupby(by, as_index=False).agg(**TOTALS)
            yield Table(table, columns(table), title)


def _chart(known: pd.DataFrame) -> Chart:
    what = known["learner.name"] + " (" + known["learner.trained"] + "), " + known["algorithm.name"]
    finite = known.assign(what=what + ", " + known["device"])[known["width"].gt(0) & known["train_seconds"].gt(0)]
    seconds = finite.groupby(["what", "width"], as_index=False).agg(y=("train_seconds", "mean"),
                                                                    runs=("run_id", "size"))
    groups = list(seconds.rename(columns={"width": "x"}).groupby("what", sort=False))[:len(SYMBOLS)]
    marks = [Series(rows=rows, name=str(name), colour=QUALITATIVE[index % len(QUALITATIVE)], symbol=symbol(index),
                    tip="{what}\nm = {x}: {y:.3g} s per run, {runs} runs")
             for index, (name, rows) in enumerate(groups)]
    return Chart("cost", "Training time against the width", "Mean seconds that training a run took, against the width "
                 "m.", [Plot(Axis("width m", "log", seconds["width"]), Axis("seconds per run", "log"), marks)])


def text_of(runs: pd.DataFrame, column: str, missing: str = "") -> pd.Series:
    """Return a column of text that not every store, and not every row, has."""
    values = runs[column] if column in runs else pd.Series(None, index=runs.index, dtype=object)
    return values.astype(object).where(values.notna(), missing).astype(str)
