"""The run store: a directory of whole Parquet files, safe for many writers on a shared file system.

A writer puts a file under a temporary name and renames it, so a reader sees a whole file or none.
Each pack adds one `runs-*.parquet` (one row a run) and one `curves-*.parquet` (one row a run and
evaluated step); `opt-*.parquet` holds the empirical OPT of one problem. Nothing is ever changed in
place: of several rows with one run_id the newest counts, a failed one only where there is no other.
"""

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ovpnet.errors import StoreError

Row = Mapping[str, Any]

# What `status` says of a run that need not be trained again; the other one is `failed`.
FINISHED = ("done", "diverged")


class Store:
    """A store directory. Made when first written to; `skipped` tells what the last reads left out, and why."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.skipped: list[str] = []
        self._finished: dict[str, set[str]] = {}  # of the files read so far

    def prepare(self) -> None:
        """Make the directory and prove that it can be written, before anything is trained. Raises StoreError."""
        probe = self.path / f".probe-{uuid.uuid4().hex}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"ovpnet")
        except OSError as error:
            raise StoreError(f"store={self.path}: cannot be written ({_reason(error)}); "
                             "give a directory that you can write to, with free space") from error
        finally:
            remove(probe)

    def write_pack(self, rows: Sequence[Row], curves: Sequence[Row]) -> None:
        """Add the finished runs of a pack: curves first, so that a run that is listed has its curve."""
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        if curves:
            self._write(f"curves-{stamp}.parquet", curves)
        self._write(f"runs-{stamp}.parquet", rows)

    def write_opt(self, opt_id: str, row: Row) -> None:
        """Keep the empirical OPT of a problem. Two writers at once write the same numbers, so either may win."""
        self._write(f"opt-{opt_id}.parquet", [row])

    def read_opt(self, opt_id: str) -> dict[str, Any] | None:
        """The row kept under `opt_id`, or None."""
        table = self._read(self.path / f"opt-{opt_id}.parquet")
        return None if table is None else table.to_pylist()[0]

    def runs(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """One row a run, the newest of each run_id (a failed one only where there is no other); empty where nothing is
        stored. `columns` must contain run_id, status and finished_at."""
        table = self._read_all("runs", columns)
        if table.empty:
            return table
        order = table.assign(_finished=table["status"].isin(FINISHED)).sort_values(
            ["_finished", "finished_at"], kind="stable")
        return order.drop(columns="_finished").drop_duplicates("run_id", keep="last").reset_index(drop=True)

    def curves(self) -> pd.DataFrame:
        """One row a run and evaluated step; of a run stored twice the newest curve."""
        table = self._read_all("curves", None)
        return table if table.empty else table.drop_duplicates(["run_id", "step"], keep="last").reset_index(drop=True)

    def finished(self) -> set[str]:
        """run_ids that need no training: done or diverged (the same config would diverge again).

        Files are never changed, so each is read once: to ask again costs what is new.
        """
        for file in self.path.glob("runs-*.parquet"):
            if file.name in self._finished:
                continue
            table = self._read(file, ["run_id", "status"])
            if table is not None and table.num_columns == 2:
                rows = zip(table["run_id"].to_pylist(), table["status"].to_pylist(), strict=True)
                self._finished[file.name] = {run for run, status in rows if status in FINISHED}
        return set().union(*self._finished.values())

    def _read_all(self, kind: str, columns: Sequence[str] | None) -> pd.DataFrame:
        whole: list[pa.Table] = []
        schema = pa.schema([])
        for file in sorted(self.path.glob(f"{kind}-*.parquet")):
            table = self._read(file, columns)
            if table is None:
                continue
            if "run_id" not in table.column_names:
                self._skip(file, "it has no column run_id")
                continue
            try:
                schema = pa.unify_schemas([schema, table.schema], promote_options="permissive")
            except pa.ArrowException as error:
                self._skip(file, f"its columns are of other types than those of the files before it ({_reason(error)})")
                continue
            whole.append(table)
        if not whole:
            return pd.DataFrame(columns=list(columns or []))
        return pa.concat_tables(whole, promote_options="permissive").to_pandas()

    def _read(self, file: Path, columns: Sequence[str] | None = None) -> pa.Table | None:
        try:
            return pq.ParquetFile(file).read(columns=columns)
        except FileNotFoundError:
            return None
        except (OSError, pa.ArrowException) as error:
            self._skip(file, f"not a whole Parquet file ({_reason(error)})")
            return None

    def _skip(self, file: Path, why: str) -> None:
        message = f"skipped {file}: {why}; its runs count as not trained"
        if message not in self.skipped:
            self.skipped.append(message)

    def _write(self, name: str, rows: Sequence[Row]) -> None:
        try:
            table = pa.Table.from_pylist(_same_keys(rows))
            write_whole(self.path / name, lambda sink: pq.write_table(table, sink, compression="zstd"))
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"store={self.path}: {name} could not be written ({_reason(error)}); nothing stored "
                             "before is lost: make room or give another store, and run the same command "
                             "again") from error


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Put what `write` writes under a temporary name, .tmp-STEM-..., and rename it. Raises OSError."""
    temporary = path.with_name(f".tmp-{path.stem}-{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as sink:
            write(sink)
            sink.flush()
            os.fsync(sink.fileno())
        os.replace(temporary, path)
    finally:
        remove(temporary)


def remove(path: Path) -> None:
    """Remove a file if that can be done."""
    try:
        path.unlink()
    except OSError:  # never made, or the file system went away: the caller's own error says so
        pass


def _same_keys(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Arrow takes the columns from the first row alone, so give every row every key."""
    keys = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in keys} for row in rows]


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0]
