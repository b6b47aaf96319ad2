"""Runs that did not end well, counted: a too large lr diverges in long rows of runs."""

from collections.abc import Iterator

import pandas as pd

from analysis.exhibits.base import Note, Part, Table, columns
from analysis.exhibits.registry import PAGE, Exhibit


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
        yield Note(f"{len(rows)} of {len(runs)} runs did not end well. `python -m launch retry` trains the failed ones "
                   "again.")
        rows = rows.assign(failure=text_of(rows, "failure"), error=text_of(rows, "error"))
        table = rows.groupby(["problem", "status", "failure", "width", "lr"], as_index=False).agg(
            runs=("run_id", "size"), error=("error", lambda errors: str(errors.iloc[0])[:200]))
        yield Table(table, columns(table, error="first error"))


def text_of(runs: pd.DataFrame, column: str, missing: str = "") -> pd.Series:
    """Return a column of text that not every store, and not every row, has."""
    values = runs[column] if column in runs else pd.Series(None, index=runs.index, dtype=object)
    return values.astype(object).where(values.notna(), missing).astype(str)
