"""Tables on their way out: as text for people, CSV and Parquet for programs, LaTeX and Markdown for papers."""

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
    """Return the format asked for; if none is, that of the file's suffix, else text.

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


def write(parts: Sequence[Part], format_name: str | None = None, out: Path | None = None) -> None:
    """Print what an exhibit shows in a format, or write it to `out` (whole or not at all; its directory is made) and
    print that path.

    Text has all that can be read of it. The other formats are of its first table: CSV and Parquet hold every column
    and digit, Markdown and LaTeX what people read.
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
