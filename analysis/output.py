"""Write tables: as text for people, CSV and Parquet for programs, LaTeX and Markdown for papers."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from analysis.exhibits.base import Part, Table
from analysis.render import markup
from analysis.render.text import text
from ovpnet.record.store import write_whole
from ovpnet.spec.errors import ConfigError

SUFFIXES = {"text": ".txt", "csv": ".csv", "parquet": ".parquet", "latex": ".tex", "markdown": ".md"}


def chosen(format_name: str | None, out: Path | None) -> str:
    """Return the format asked for; without one, that of the file's suffix, else text.

    Raises ConfigError for an unknown suffix, and for Parquet, which is binary, without a file.
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


def write(parts: Sequence[Part], format_name: str | None = None, out: Path | None = None) -> None:
    """Print an exhibit in a format; or write it to `out`, whole or not at all, and print that path.

    The directory of `out` is made. Text has all parts of the exhibit that can be read. The other formats have its first
    table: CSV and Parquet hold every column and digit, Markdown and LaTeX the columns that people read.
    """
    name = chosen(format_name, out)
    if name == "text":
        content = text(parts).encode()
    else:
        content = WRITERS[name](next(part for part in parts if isinstance(part, Table)))
    if out is None:
        print(content.decode(), end="")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, lambda sink: sink.write(content))
    print(out)


def _data(table: Table) -> pd.DataFrame:
    return table.rows if table.data is None else table.data


WRITERS: dict[str, Callable[[Table], bytes]] = {
    "csv": lambda table: _data(table).to_csv(index=False).encode(),
    "parquet": lambda table: _data(table).to_parquet(index=False),
    "latex": lambda table: markup.latex(table).encode(), "markdown": lambda table: markup.markdown(table).encode()}
