import multiprocessing
import os
import subprocess

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ovpnet.errors import StoreError
from ovpnet.store import Store


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


@pytest.mark.parametrize("foreign", [{"name": "x"}, {"run_id": 3}, {"run_id": "b", "test_risk": ["a", "list"]}])
def test_a_file_of_another_kind_is_skipped_and_named(tmp_path, foreign):
    store = Store(tmp_path)
    store.write_pack([row("whole")], [])
    pq.write_table(pa.Table.from_pylist([foreign]), tmp_path / "runs-Z.parquet")
    assert store.runs()["run_id"].tolist() == ["whole"]
    assert ["runs-Z.parquet" in message for message in store.skipped] == [True]


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
