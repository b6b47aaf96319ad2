"""The run store: a directory of whole Parquet files, safe for many writers on a shared file system.

A writer puts a file under a temporary name and renames it, so a reader sees a whole file or none. Each pack adds one
`runs-*.parquet` (one row per run) and one `curves-*.parquet` (one row per run and evaluated step). `opt-*.parquet`
holds the empirical OPT of one problem, and `uploads-*.parquet` are of ovpnet/record/uploads.py. Nothing is ever changed
in place: of several rows with one run_id the newest counts, a failed one only if there is no other.
"""

import os
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ovpnet.record.columns import with_later_keys
from ovpnet.spec.errors import StoreError

Row = Mapping[str, Any]
Refuse = Callable[[pa.Schema], str | None]

# Kinds of columns: whole numbers and others may stand for each other, text may not.
NUMBER, TEXT = "number", "text"

# What `status` says of a run that need not be trained again; the other one is `failed`.
FINISHED = ("done", "diverged")


class Store:
    """A store directory, made when it is first written to. `skipped` tells what the last reads left out, and why."""

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
        """Return the row kept under `opt_id`, or None."""
        table = self._read(self.path / f"opt-{opt_id}.parquet")
        return None if table is None else table.to_pylist()[0]

    def runs(self, columns: Sequence[str] | None = None, refuse: Refuse | None = None) -> pd.DataFrame:
        """Return one row per run: the newest of each run_id, a failed one only if there is no other.

        It is empty if nothing is stored. `columns` must contain run_id, status and finished_at. `refuse` may say of a
        file's schema why the file is to be skipped.
        """
        table = self.newest_runs(columns, refuse)
        if not table.num_columns:
            return pd.DataFrame(columns=list(columns or []))
        return with_later_keys(table, columns).to_pandas()

    def curves(self, run_ids: Collection[str] | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return one row per run and evaluated step, of these runs (or all); of a run stored twice the newest curve.

        Columns: run_id, step and those of `columns` (or all) that the store has. Files are read one after the other, so
        memory is taken for what is asked for only.
        """
        wanted = None if run_ids is None else pa.array(sorted(run_ids), pa.string())
        names = None if columns is None else list(dict.fromkeys(["run_id", "step", *columns]))
        table = self._newest_points(names, wanted)
        return table.to_pandas() if table.num_columns else pd.DataFrame(columns=names or ["run_id", "step"])

    def newest_runs(self, columns: Sequence[str] | None = None, refuse: Refuse | None = None) -> pa.Table:
        """Return `runs` as they were written: integers with missing values among them stay integers."""
        table = self._whole("runs", {"run_id": TEXT, "status": TEXT, "finished_at": TEXT}, columns, refuse)
        if table is None:
            return pa.table({})
        rows = table.select(["run_id", "status", "finished_at"]).to_pandas()
        rows["status"] = rows["status"].isin(FINISHED)
        # A row that does not say when it was finished is older than any that does.
        rows = rows.sort_values(["status", "finished_at"], kind="stable", na_position="first")
        newest = rows.drop_duplicates("run_id", keep="last").index.to_numpy()
        return table if len(newest) == len(table) and (newest[1:] > newest[:-1]).all() else table.take(newest)

    def newest_curves(self) -> pa.Table:
        """Return all learning curves as they were written; of a run stored twice the newest."""
        return self._newest_points(None, None)

    def _newest_points(self, columns: Sequence[str] | None, run_ids: pa.Array | None) -> pa.Table:
        table = self._whole("curves", {"run_id": TEXT, "step": NUMBER}, columns, None, run_ids)
        if table is None:
            return pa.table({})
        points = table.select(["run_id", "step"]).to_pandas().drop_duplicates(keep="last")
        return table if len(points) == len(table) else table.take(points.index.to_numpy())

    def finished(self) -> set[str]:
        """Return the run_ids that need no training: done or diverged (the same config would diverge again).

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

    def _whole(self, kind: str, needed: Mapping[str, str], columns: Sequence[str] | None, refuse: Refuse | None,
               run_ids: pa.Array | None = None) -> pa.Table | None:
        """Return the rows of all files of a kind that can be read, one after the other; None if there are none.

        `needed`: columns without which a file is skipped, with their kinds. With `run_ids`, only their rows.
        """
        tables: dict[Path, pa.Table] = {}
        for file in sorted(self.path.glob(f"{kind}-*.parquet")):
            table = self._read(file, columns, run_ids)
            if table is None:
                continue
            why = wrong_columns(table.schema, needed) or (refuse(table.schema) if refuse else None)
            if why:
                self._skip(file, why)
            elif len(table):
                tables[file] = table
        agreeing = self._agreeing(tables)
        return pa.concat_tables(agreeing, promote_options="permissive") if agreeing else None

    def _agreeing(self, tables: Mapping[Path, pa.Table]) -> list[pa.Table]:
        """Return the tables whose columns are of the kinds that they have in most files; the others are skipped."""
        files = Counter(table.schema for table in tables.values())
        kinds: dict[str, Counter[str]] = {}
        for schema, count in files.items():
            for field in schema:
                if not pa.types.is_null(field.type):
                    kinds.setdefault(field.name, Counter())[kind_of(field.type)] += count
        usual = {name: counter.most_common(1)[0][0] for name, counter in kinds.items()}
        wrong = {schema: wrong_columns(schema, {name: kind for name, kind in usual.items() if name in schema.names})
                 for schema in files}
        for file, table in tables.items():
            if why := wrong[table.schema]:
                self._skip(file, f"{why} as in most files")
        return [table for table in tables.values() if not wrong[table.schema]]

    def _read(self, file: Path, columns: Sequence[str] | None = None,
              run_ids: pa.Array | None = None) -> pa.Table | None:
        try:
            opened = pq.ParquetFile(file)
            table = opened.read(columns=columns) if run_ids is None else _rows_of(opened, columns, run_ids)
            table.validate(full=True)  # a page that is damaged may still decode, to text that is none
            return table
        except FileNotFoundError:
            return None
        except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: a column's name that is no text
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


def kind_of(type_: pa.DataType) -> str:
    """Return the kind of an Arrow type's values: NUMBER, TEXT, or the type's name."""
    if pa.types.is_integer(type_) or pa.types.is_floating(type_):
        return NUMBER
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return TEXT
    return str(type_)


def wrong_columns(schema: pa.Schema, kinds: Mapping[str, str]) -> str | None:
    """Return why a file with this schema has not the columns `kinds`, or None; a column of nulls is of any kind."""
    for name, kind in kinds.items():
        if schema.names.count(name) != 1:
            return f"it has no column {name}" if name not in schema.names else f"it has the column {name} twice"
        found = schema.field(name).type
        if not pa.types.is_null(found) and kind_of(found) != kind:
            return f"its column {name} has values of the type {found}, not {kind}"
    return None


def _rows_of(file: pq.ParquetFile, columns: Sequence[str] | None, run_ids: pa.Array) -> pa.Table:
    """Return the rows of these runs; the other columns are read only if there is such a row."""
    schema = file.schema_arrow
    if schema.names.count("run_id") != 1 or kind_of(schema.field("run_id").type) != TEXT:
        return schema.empty_table()
    chosen = pc.is_in(file.read(columns=["run_id"])["run_id"], value_set=run_ids)
    return file.read(columns=columns).filter(chosen) if pc.any(chosen).as_py() else schema.empty_table()


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
    """Return the rows, each with every key: Arrow takes the columns from the first row alone."""
    keys = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in keys} for row in rows]


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0]
