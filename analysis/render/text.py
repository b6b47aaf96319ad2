"""Print tables and notes as text, for a terminal or a file."""

import io
import os
import sys
from collections.abc import Iterable

import pandas as pd
from rich.console import Console
from rich.table import Table as Grid

from analysis.exhibits.base import Note, Part, Table
from analysis.exhibits.words import plain

NON_TTY_WIDTH = 80
UNBROKEN = ("interval", "verdict")  # columns of text that no line breaks
LEAST_TEXT = 7  # characters of a line of other text


def text(parts: Iterable[Part]) -> str:
    """Return the parts of an exhibit that can be read as text: its tables and notes, in their order."""
    sink = io.StringIO()
    for part in parts:
        match part:
            case Table():
                _print(sink, part)
            case Note():
                # This does not go through rich: a wrapped command could not be copied.
                print(_note(part), file=sink)
    return sink.getvalue().lstrip("\n")


def _print(sink: io.StringIO, table: Table) -> None:
    if not table.by:
        _print_grid(sink, table, table.rows, "")
        return
    for value, rows in table.rows.groupby(table.by, sort=False):
        _print_grid(sink, table, rows, str(value))


def _print_grid(sink: io.StringIO, table: Table, rows: pd.DataFrame, title: str) -> None:
    shown = {name: plain(heading) for name, heading in table.headings.items() if name not in (table.by, *table.extra)}
    widths = {name: _unbroken(table, rows, name, heading) for name, heading in shown.items()}
    grid = Grid(box=None, padding=(0, 1), title=title or None, title_justify="left")
    for name, heading in shown.items():
        grid.add_column(heading, overflow="fold", no_wrap=widths[name] is not None, min_width=widths[name])
    for row in rows[list(shown)].itertuples(index=False):
        grid.add_row(*(table.text(name, value) for name, value in zip(shown, row, strict=True)))
    # Nothing that it prints is markup: the store's names may hold brackets and colons. Without a terminal it has 80
    # columns (or $COLUMNS) whatever the environment is, or as many as the table needs if that is more.
    terminal = sys.stdout.isatty()
    console = Console(file=sink, width=None if terminal or "COLUMNS" in os.environ else NON_TTY_WIDTH, highlight=False,
                      markup=False, emoji=False, force_terminal=terminal or None)
    console.width = max(console.width, sum((width or LEAST_TEXT) + 2 for width in widths.values()))
    console.print(grid)


def _unbroken(table: Table, rows: pd.DataFrame, name: str, heading: str) -> int | None:
    """Return the width of a column that no line breaks (numbers, intervals, verdicts); None for other columns."""
    if not (table.numeric(name) or name in UNBROKEN):
        return None
    return max([len(heading), *(len(table.text(name, value)) for value in rows[name])])


def _note(note: Note) -> str:
    said = [f"   {label}: {words}" if label else f"   {words}" for label, words in
            [*note.said, *([note.command] if note.command else [])]]
    return "\n".join([f"\n{plain(note.called)}", *said])
