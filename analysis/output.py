"""Tables on their way out: as text for people, CSV and Parquet for programs, LaTeX and Markdown for papers."""

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.load import width_text
from ovpnet.record.store import write_whole
from ovpnet.spec.errors import ConfigError

NOISE = 1e-9  # an exponent below it is 0, but for rounding
SUFFIXES = {"text": ".txt", "csv": ".csv", "parquet": ".parquet", "latex": ".tex", "markdown": ".md"}


def chosen(format_name: str | None, out: Path | None) -> str:
    """The format asked for; where none is, that of the file's suffix, else text.

    Raises ConfigError for a suffix that is no format's, and for Parquet, which is binary, without a file.
    """
    if format_name is None and out is not None:
        found = [name for name, suffix in SUFFIXES.items() if suffix == out.suffix]
        if not found:
            raise ConfigError("--out", out, f"its suffix is no format's; {', '.join(SUFFIXES.values())}, or give "
                                            f"--format {{{','.join(SUFFIXES)}}}")
        return found[0]
    if format_name == "parquet" and out is None:
        raise ConfigError("--format", "parquet", "is binary: give --out FILE")
    return format_name or "text"


def write(table: pd.DataFrame, format_name: str | None = None, out: Path | None = None,
          text: Callable[[], str] | None = None, shown: Sequence[str] | None = None) -> None:
    """Print `table` in a format, or write it to `out` (whole or not at all; its directory is made) and print that path.

    CSV and Parquet hold every column and digit; the others are for reading, with 4 digits, of the columns `shown` (all,
    where there are none). `text` makes the text, where a table has a layout of its own.
    """
    name = chosen(format_name, out)
    if name == "text" and text is not None:
        content = text().encode()
    elif name in ("csv", "parquet") or shown is None:
        content = WRITERS[name](table)
    else:
        content = WRITERS[name](table[list(shown)])
    if out is None:
        print(content.decode(), end="")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, lambda sink: sink.write(content))
    print(out)


# --- formats -----------------------------------------------------------------------------------------


def _text(table: pd.DataFrame) -> bytes:
    from rich.console import Console
    from rich.table import Table

    shown = Table(*(str(name) for name in table), box=None, padding=(0, 1))
    for row in _words(table):
        shown.add_row(*row)
    sink = io.StringIO()
    Console(file=sink, width=max(80, 24 * len(table.columns)), highlight=False, markup=False,
            emoji=False).print(shown)
    return sink.getvalue().encode()


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode()


def _parquet(table: pd.DataFrame) -> bytes:
    return table.to_parquet(index=False)


def _markdown(table: pd.DataFrame) -> bytes:
    numeric = [_numeric(table[name]) for name in table]
    head = [str(name) for name in table]
    rows = [head, ["---:" if each else "---" for each in numeric], *_words(table)]
    return "".join("| " + " | ".join(map(markdown_text, row)) + " |\n" for row in rows).encode()


def markdown_text(value: object) -> str:
    """Text as a cell of a Markdown table, of which nothing is markup (an underscore within a word is none)."""
    return re.sub(r"([\\`*\[\]<>|~$]|(?<!\w)_|_(?!\w)|&(?=[#\w]))", r"\\\1", " ".join(str(value).splitlines()))


def _latex(table: pd.DataFrame) -> bytes:
    """A tabular with booktabs' rules."""
    columns = "".join("r" if _numeric(table[name]) else "l" for name in table)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _latex_row([str(name) for name in table]), r"\midrule",
             *(_latex_row(row) for row in _words(table)), r"\bottomrule", r"\end{tabular}"]
    return ("\n".join(lines) + "\n").encode()


def _latex_row(cells: list[str]) -> str:
    return " & ".join(_latex_escape(cell) for cell in cells) + r" \\"


LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\n": " ", "–": "--",
         "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
         "[": "{[}", "*": "{*}",  # which \\ and \midrule before them would take for their own
         **{character: "\\" + character for character in "&%$#_{}"}}


def _latex_escape(cell: str) -> str:
    return "".join(LATEX.get(character, character) for character in cell)


WRITERS: dict[str, Callable[[pd.DataFrame], bytes]] = {
    "text": _text, "csv": _csv, "parquet": _parquet, "latex": _latex, "markdown": _markdown}


# --- cells as words ----------------------------------------------------------------------------------


def _words(table: pd.DataFrame) -> list[list[str]]:
    return [[words(value, str(name)) for name, value in zip(table, row, strict=True)]
            for row in table.itertuples(index=False)]


def _numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def words(value: Any, name: str = "") -> str:
    """A value for people: numbers with 4 significant digits, yes and no, missing ones as a dash."""
    if value is None or (not isinstance(value, str) and pd.isna(value)):
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if name == "width":
        return width_text(value)
    if name.startswith("alpha") and abs(value) < NOISE:
        return "0"
    return f"{value:.4g}" if abs(value) < 1e4 or abs(value) == float("inf") else f"{value:.0f}"
