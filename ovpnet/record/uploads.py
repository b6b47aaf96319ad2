"""The record of what is in W&B already: `uploads-*.parquet` beside the runs, one row per W&B run.

Every writer adds a file of its own, whole or not at all (ovpnet.record.store). The newest row of a W&B run counts, and
a sync puts the files together in one. A file that is lost or cannot be read costs an upload, which W&B takes as the
same run.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ovpnet.record.store import remove, write_whole
from ovpnet.spec.errors import StoreError

KEY = ("base_url", "entity", "project", "per", "id")
SCHEMA = pa.schema([(name, pa.string()) for name in (*KEY, "finished_at")]
                   + [("runs", pa.int64()), ("uploaded_at", pa.string())])

Row = Mapping[str, Any]


class Uploads:
    """The uploads of a store, as they were when it was opened and as they are added."""

    def __init__(self, store: Path):
        self.store = store
        self.files: list[Path] = []
        rows: list[Row] = []
        for file in store.glob("uploads-*.parquet"):
            try:
                rows += pq.ParquetFile(file).read(columns=SCHEMA.names).cast(SCHEMA).to_pylist()
            except (OSError, ValueError, pa.ArrowException):  # ValueError: other columns, or text that is none
                continue
            self.files.append(file)
        self.rows = {_key(row): row for row in sorted(rows, key=lambda row: row["uploaded_at"])}

    def has(self, row: Row) -> bool:
        """Tell whether the W&B run is there, of the same runs of the store at the same time."""
        known = self.rows.get(_key(row))
        return known is not None and all(known[name] == row[name] for name in ("finished_at", "runs"))

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows as `remember` does. Raises StoreError."""
        self.files.append(remember(self.store, rows))
        self.rows |= {_key(row): row for row in rows}

    def merge(self) -> None:
        """Put all into one file, so that their number does not grow. Raises StoreError."""
        if len(self.files) > 1:
            whole = remember(self.store, list(self.rows.values()))
            for file in self.files:
                remove(file)
            self.files = [whole]


def remember(store: Path, rows: Sequence[Row]) -> Path:
    """Add a file that says: these W&B runs (KEY, finished_at and runs of each) are on the server. Raises StoreError."""
    now = datetime.now(UTC)
    file = store / f"uploads-{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}.parquet"
    table = pa.Table.from_pylist([{"uploaded_at": now.isoformat(), **row} for row in rows], SCHEMA)
    try:
        write_whole(file, lambda sink: pq.write_table(table, sink, compression="zstd"))
    except OSError as error:
        raise StoreError(f"store={store}: {file.name} could not be written ({error.strerror}); what was uploaded is in "
                         "W&B, and the next sync uploads it once more") from error
    return file


def _key(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in KEY)
