"""Columns of stored runs that were written by other versions of the code."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ovpnet.spec.identity import LaterKey, later_keys


def with_later_keys(runs: pa.Table, columns: Sequence[str] | None = None) -> pa.Table:
    """Return rows of runs in which each key that joined the config later has the value that older runs had.

    A column is added if it is missing and among `columns` (all keys, if None). A run whose choice has no such key keeps
    null in it.
    """
    for key in later_keys():
        if key.added is not None and (columns is None or key.name in columns):
            runs = _with(runs, key)
    return runs


def _with(runs: pa.Table, key: LaterKey) -> pa.Table:
    older = pa.scalar(key.added)
    place = runs.schema.get_field_index(key.name)
    stored = pa.nulls(len(runs), older.type) if place < 0 else runs[key.name]
    lacking = pc.is_null(stored)
    if key.selector is not None:
        if key.selector not in runs.schema.names:  # nothing says which runs have the key
            return runs
        lacking = pc.and_(lacking, pc.is_in(runs[key.selector], value_set=pa.array(key.choices, pa.string())))
    filled = pc.if_else(lacking, older, stored)
    return runs.append_column(key.name, filled) if place < 0 else runs.set_column(place, key.name, filled)
