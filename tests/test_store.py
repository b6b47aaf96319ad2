import multiprocessing
import os
import subprocess

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ovpnet.record.store import Store
from ovpnet.spec.errors import StoreError


def row(run, finished_at="2026-01-01", **more):
    return {"run_id": run, "status": "done", "finished_at": finished_at, "test_risk": 0.5} | more


def test_what_is_written_is_read_back(tmp_path):
    store = Store(tmp_path / "new" / "store")
    store.prepare()
    store.write_pack([row("a", lr=0.1), row("b", test_risk=None, status="diverged", extra="x")],
                     [{"run_id": "a", "step": 1, "test_risk": 0.7}])
    runs = store.runs().set_index("run_id")
    assert runs.loc["a", "lr"] == 0.1
    assert runs.loc["b", "extra"] == "x"
    assert pd.isna(runs.loc["b", "test_risk"])
    assert store.finished() == {"a", "b"}
    assert store.curves()["step"].tolist() == [1]
    assert [path.name for path in store.path.iterdir() if path.name.startswith(".")] == []


def test_newest_row_of_a_run_counts(tmp_path):
    store = Store(tmp_path)
    store.write_pack([row("a", "2026-01-02", test_risk=2.0)], [])
    store.write_pack([row("a", "2026-01-01", test_risk=1.0)], [])
    store.write_pack([row("b", status="failed")], [])
    assert store.runs().set_index("run_id")["test_risk"].to_dict() == {"a": 2.0, "b": 0.5}
    assert store.finished() == {"a"}


def test_empty_and_missing_stores(tmp_path):
    assert Store(tmp_path / "missing").runs().empty
    assert Store(tmp_path / "missing").curves().empty
    assert list(Store(tmp_path / "missing").curves().columns) == ["run_id", "step"]
    assert Store(tmp_path / "missing").finished() == set()


@pytest.mark.parametrize("keep", [0, 3, 200, -1])
def test_truncated_file_is_skipped_and_named(tmp_path, keep):
    store = Store(tmp_path)
    store.write_pack([row("whole")], [])
    store.write_pack([row("cut")], [])
    victim = max(tmp_path.glob("runs-*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    victim.write_bytes(victim.read_bytes()[:keep])
    assert store.runs()["run_id"].tolist() == ["whole"]
    assert len(store.skipped) == 1
    assert victim.name in store.skipped[0]
    assert "not a whole Parquet file (Parquet " in store.skipped[0]


@pytest.mark.parametrize("foreign", [{"name": "x"}, {"run_id": 3}, {"run_id": "b", "test_risk": ["a", "list"]}])
def test_a_file_of_another_kind_is_skipped_and_named(tmp_path, foreign):
    store = Store(tmp_path)
    store.write_pack([row("whole")], [])
    pq.write_table(pa.Table.from_pylist([foreign]), tmp_path / "runs-Z.parquet")
    assert store.runs()["run_id"].tolist() == ["whole"]
    assert ["runs-Z.parquet" in message for message in store.skipped] == [True]


def test_a_column_that_is_missing_is_told_from_one_that_is_there_twice(tmp_path):
    whole = pa.Table.from_pylist([row("a")])
    pq.write_table(whole.drop_columns("status"), tmp_path / "runs-1.parquet")
    pq.write_table(whole.append_column("status", whole["status"]), tmp_path / "runs-2.parquet")
    store = Store(tmp_path)
    assert store.runs().empty
    for message, why in zip(store.skipped, ("no column status", "the column status twice"), strict=True):
        assert f"it has {why}; its runs count as not trained" in message


@pytest.mark.parametrize("names", ["aZZ", "Zaa"])
def test_most_files_say_of_what_kind_a_column_is(tmp_path, names):
    """Whichever comes first: a reader that takes the first one's word skips all the good ones after a bad one."""
    for number, name in enumerate(names):
        value = 0.5 if names.count(name) == 2 else "half"
        pq.write_table(pa.Table.from_pylist([row(f"r{number}", lr=value)]), tmp_path / f"runs-{name}{number}.parquet")
    store = Store(tmp_path)
    assert store.runs()["lr"].tolist() == [0.5, 0.5]
    (message,) = store.skipped
    assert "its column lr has values of the type string, not number as in most files" in message


def test_values_that_are_neither_numbers_nor_text_are_of_a_kind_of_their_own(tmp_path):
    for number, value in enumerate([True, False, "true"]):
        pq.write_table(pa.Table.from_pylist([row(f"r{number}", reached=value)]), tmp_path / f"runs-{number}.parquet")
    store = Store(tmp_path)
    assert store.runs()["reached"].tolist() == [True, False]
    assert "its column reached has values of the type string, not bool" in store.skipped[0]


def test_a_row_that_does_not_say_when_is_older_than_one_that_does(tmp_path):
    store = Store(tmp_path)
    store.write_pack([row("a", "2026-01-01", test_risk=1.0)], [])
    store.write_pack([row("a", None, test_risk=2.0)], [])
    assert store.runs()["test_risk"].tolist() == [1.0]


def test_curves_of_some_runs_and_columns(tmp_path):
    store = Store(tmp_path)
    for number, (run, risk) in enumerate([("a", 1.0), ("b", 2.0), ("a", 3.0)]):
        points = [{"run_id": run, "step": step, "test_risk": risk, "gap": 0.0} for step in (1, 2)]
        pq.write_table(pa.Table.from_pylist(points), tmp_path / f"curves-{number}.parquet")
    (tmp_path / "curves-Z.parquet").write_bytes(b"")
    first = store.curves(["a"], ["test_risk", "never_measured"])
    assert first.to_dict("list") == {"run_id": ["a", "a"], "step": [1, 2], "test_risk": [3.0, 3.0]}  # the newest
    assert "curves-Z.parquet" in store.skipped[0]
    assert list(store.curves(["none"], ["test_risk"]).columns) == ["run_id", "step", "test_risk"]
    assert len(store.curves()) == 4


def test_store_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file: cannot be written"):
        Store(tmp_path / "file").prepare()


def test_full_disk_loses_nothing_and_leaves_no_litter(tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], check=False).returncode:
        pytest.skip("mounting a small file system needs more rights")
    try:
        store = Store(tmp_path)
        store.prepare()
        store.write_pack([row("a")], [])
        with pytest.raises(StoreError, match=r"No space left on device.*nothing stored before is lost"):
            store.write_pack([row("b", noise=os.urandom(200_000).hex())], [])
        assert store.finished() == {"a"}
        assert store.skipped == []
        assert len(list(tmp_path.iterdir())) == 1
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def _write(path, name):
    for number in range(20):
        Store(path).write_pack([row(f"{name}-{number}")], [{"run_id": f"{name}-{number}", "step": 1}])


def test_many_writers_at_once(tmp_path):
    writers = [multiprocessing.get_context("spawn").Process(target=_write, args=(tmp_path, name)) for name in "abc"]
    for writer in writers:
        writer.start()
    store = Store(tmp_path)
    while any(writer.is_alive() for writer in writers):
        store.runs()  # a reader in the midst of it sees whole files only
    assert store.skipped == []
    assert len(store.runs()) == 60


def test_opt_is_kept(tmp_path):
    store = Store(tmp_path)
    assert store.read_opt("x") is None
    store.write_opt("x", {"opt": 0.25})
    assert store.read_opt("x") == {"opt": 0.25}
