"""The marks of what is in W&B already: marks are added, the newest counts, and what cannot be read costs an upload."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ovpnet.record.uploads import KEY, SCHEMA, Uploads, remember
from ovpnet.spec.errors import StoreError


def mark(run: str, **changes: Any) -> dict[str, Any]:
    return {"base_url": "u", "entity": "e", "project": "p", "per": "run", "id": run, "finished_at": "2026", "runs": 3,
            **changes}


def test_what_is_added_is_there_at_once_and_when_the_store_is_opened_again(tmp_path: Path):
    uploads = Uploads(tmp_path)
    assert not uploads.has(mark("a"))
    uploads.add([mark("a"), mark("b")])
    for each in (uploads, Uploads(tmp_path)):
        assert each.has(mark("a"))
        assert each.has(mark("b"))
        assert not each.has(mark("c"))


@pytest.mark.parametrize("name", [*KEY, "finished_at", "runs"])
def test_a_run_that_differs_in_anything_is_not_there(tmp_path: Path, name: str):
    remember(tmp_path, [mark("a")])
    assert not Uploads(tmp_path).has(mark("a", **{name: 4 if name == "runs" else "other"}))


def test_the_newest_of_a_run_counts_whatever_its_file_is_called(tmp_path: Path):
    for name, uploaded_at, runs in [("Z", "2026-01-01", 1), ("A", "2026-01-03", 3), ("M", "2026-01-02", 2)]:
        rows = [mark("a", uploaded_at=uploaded_at, runs=runs)]
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), tmp_path / f"uploads-{name}.parquet")
    assert [Uploads(tmp_path).has(mark("a", runs=runs)) for runs in (1, 2, 3)] == [False, False, True]


def test_a_file_that_cannot_be_read_costs_its_own_runs_alone(tmp_path: Path):
    remember(tmp_path, [mark("a")])
    remember(tmp_path, [mark("b")])
    (tmp_path / "uploads-A.parquet").write_bytes(b"half")
    pq.write_table(pa.table({"id": ["c"]}), tmp_path / "uploads-B.parquet")
    uploads = Uploads(tmp_path)
    assert uploads.has(mark("a"))
    assert uploads.has(mark("b"))
    uploads.merge()
    left = {file.name for file in tmp_path.iterdir()}
    assert {"uploads-A.parquet", "uploads-B.parquet"} < left, "nobody knows what they hold"
    assert len(left) == 3


def test_files_are_merged_into_one_that_holds_all(tmp_path: Path):
    uploads = Uploads(tmp_path)
    uploads.add([mark("a"), mark("b", runs=1)])
    uploads.merge()
    [file] = tmp_path.iterdir()
    uploads.add([mark("b", runs=2)])
    uploads.merge()
    [whole] = tmp_path.iterdir()
    assert whole != file
    for each in (uploads, Uploads(tmp_path)):
        assert [each.has(mark("a")), each.has(mark("b", runs=1)), each.has(mark("b", runs=2))] == [True, False, True]
    uploads.merge()
    assert list(tmp_path.iterdir()) == [whole], "one file is not written again"


def test_a_mark_that_cannot_be_written_names_the_store_and_what_follows(tmp_path: Path):
    with pytest.raises(StoreError, match=r"gone: uploads-.*No such file.*uploads it once more"):
        remember(tmp_path / "gone", [mark("a")])
