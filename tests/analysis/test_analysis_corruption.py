"""Damaged stores: what is bad is named and left out, what is good is analysed, and nothing ends in a traceback."""

import random

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.__main__ import main
from analysis.load import load
from analysis.tune import best_tuned
from ovpnet.record.store import Store
from ovpnet.spec.errors import OvpnetError, StoreError


@pytest.fixture
def good(make_runs, tmp_path):
    """A store of three files; its directory and rows. One width needs no fit, so a verdict takes no time."""
    runs = make_runs(widths=[64], samples=[400, 800, 1600], seeds=range(3), lrs=[0.2, 0.5])
    write(tmp_path, runs)
    return tmp_path, runs


def write(directory, runs, parts=3):
    """Each seed a file, with a learning curve."""
    for part in range(parts):
        rows = runs[runs["seed"] % parts == part].astype(object).where(runs.notna(), None).to_dict("records")
        Store(directory).write_pack(rows, [{"run_id": row["run_id"], "step": 1, "train_risk": 1.0, "test_risk": 1.0}
                                           for row in rows])


def of_other_runs(runs):
    return runs.assign(run_id="x" + runs["run_id"], seed=runs["seed"] + 10)


def put(path, frame):
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)


FOREIGN_FILES = {
    "nothing": lambda path, runs: path.write_bytes(b""),
    "no Parquet": lambda path, runs: path.write_bytes(b"PAR1 this is none PAR1"),
    "a directory": lambda path, runs: path.mkdir(),
    "a dangling link": lambda path, runs: path.symlink_to(path.parent / "gone"),
    "no columns": lambda path, runs: pq.write_table(pa.table({}), path),
    "other columns": lambda path, runs: put(path, pd.DataFrame({"name": ["x"]})),
    "no rows": lambda path, runs: put(path, runs[:0]),
    "no width": lambda path, runs: put(path, runs.drop(columns="width")),
    "no status": lambda path, runs: put(path, runs.drop(columns="status")),
    "no epsilon": lambda path, runs: put(path, runs.drop(columns="epsilon")),
    "no concept": lambda path, runs: put(path, runs.drop(columns="concept.name")),
    "no threshold": lambda path, runs: put(path, runs.drop(columns="threshold")),
    "widths as text": lambda path, runs: put(path, runs.assign(width=runs["width"].astype(str))),
    "risks as text": lambda path, runs: put(path, runs.assign(test_risk="small")),
    "risks as lists": lambda path, runs: put(path, runs.assign(test_risk=[[1.0]] * len(runs))),
    "another config key as text": lambda path, runs: put(path, runs.assign(batch_size="fifty")),
    "a config key as truth values": lambda path, runs: put(path, runs.assign(steps=True)),
    "run_ids as numbers": lambda path, runs: put(path, runs.assign(run_id=range(len(runs)))),
    "dates": lambda path, runs: put(path, runs.assign(finished_at=pd.Timestamp("2026-01-01"))),
    "no text": lambda path, runs: pq.write_table(bad_text(runs), path),
    "a column twice": lambda path, runs: pq.write_table(twice(runs), path),
}
BAD_ROWS = {
    "thresholds that are nan": {"threshold": np.nan}, "thresholds that are infinite": {"threshold": np.inf},
    "risks that are nan": {"test_risk": np.nan}, "no validation risk": {"validation_risk": None},
    "no width": {"width": None}, "half widths": {"width": 64.5}, "negative widths": {"width": -64},
    "infinite widths of finite learners": {"width": 0}, "widths beyond whole numbers": {"width": 1e300},
    "no samples": {"samples": 0}, "no seed": {"seed": None}, "infinite lr": {"lr": np.inf}, "no lr": {"lr": None},
    "an unknown status": {"status": "half"}, "no status": {"status": None}, "no run_id": {"run_id": None},
    "no concept": {"concept.name": None}, "no OPT": {"opt": None}, "no epsilon": {"epsilon": np.nan},
}


def bad_text(runs):
    table = pa.Table.from_pandas(runs, preserve_index=False)
    column = pa.array([b"\xff\xfe"] * len(runs), pa.binary()).view(pa.string())
    return table.set_column(table.schema.get_field_index("study"), "study", column)


def twice(runs):
    table = pa.Table.from_pandas(runs, preserve_index=False)
    return table.append_column("width", table["width"])


@pytest.mark.parametrize("kind", FOREIGN_FILES)
def test_a_bad_file_of_runs_is_named_and_left_out(good, kind):
    directory, runs = good
    name = "runs-0.parquet"  # read before the good ones
    FOREIGN_FILES[kind](directory / name, of_other_runs(runs))
    stored = load(directory)
    assert set(stored.runs["run_id"]) == set(runs["run_id"])
    named = [message for message in stored.skipped if name in message]
    assert len(named) == (0 if kind in ("no rows", "a dangling link") else 1)
    assert len(stored.skipped) == len(named)


def test_a_bad_file_after_the_good_ones_is_left_out_too(good):
    directory, runs = good
    for number, kind in enumerate(kind for kind in FOREIGN_FILES if kind not in ("no rows", "a dangling link")):
        FOREIGN_FILES[kind](directory / f"runs-Z{number}.parquet", of_other_runs(runs))
    stored = load(directory)
    assert set(stored.runs["run_id"]) == set(runs["run_id"])
    assert len(stored.skipped) == len(FOREIGN_FILES) - 2


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_rows_are_named_and_left_out(good, kind):
    directory, runs = good
    bad = of_other_runs(runs[:2]).assign(**BAD_ROWS[kind])
    Store(directory).write_pack(bad.astype(object).where(bad.notna(), None).to_dict("records"), [])
    stored = load(directory)
    assert set(stored.runs["run_id"]) == set(runs["run_id"])
    assert stored.runs["width"].dtype == np.int64
    (message,) = stored.skipped
    (column,) = BAD_ROWS[kind]
    assert column in message
    assert kind == "no run_id" or bad["run_id"].iloc[0] in message


@pytest.mark.slow
def test_every_command_on_a_store_with_every_damage(good, capsys):
    directory, runs = good
    for number, damage in enumerate(FOREIGN_FILES.values()):
        damage(directory / f"runs-0{number:02}.parquet", of_other_runs(runs))
        damage(directory / f"curves-0{number:02}.parquet", of_other_runs(runs))
    for values in BAD_ROWS.values():
        bad = of_other_runs(runs[:2]).assign(**values)
        Store(directory).write_pack(bad.astype(object).where(bad.notna(), None).to_dict("records"), [])
    for name in (".tmp-runs-1.parquet", "runs-notes.txt", "opt-x.parquet", "README"):
        (directory / name).write_text("something else")
    out = directory / "report"
    for command in (["verdict"], ["table"], ["figures", "--out", str(out)], ["report", "--out", str(out)]):
        assert main([*command, "--store", str(directory)]) == 0, capsys.readouterr().err
        told = capsys.readouterr().err
        assert "runs-000.parquet" in told
        assert "Traceback" not in told
    assert "runs-000.parquet" in (out / "index.html").read_text()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.sampled_from(["runs", "curves"]))
def test_flipped_bytes_crash_nothing(good, tmp_path_factory, seed, kind):
    directory, _ = good
    victim = sorted(directory.glob(f"{kind}-*.parquet"))[0]
    whole, draw = victim.read_bytes(), random.Random(seed)
    damaged = bytearray(whole)
    for _ in range(draw.choice([1, 3, 100])):
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    victim.write_bytes(damaged[:draw.choice([len(damaged), draw.randrange(len(damaged))])])
    try:
        stored = load(directory)
        assert best_tuned(stored.runs)["seed"].nunique() >= 2  # the two files that are whole
        assert len(stored.store.curves()) >= 0
    except OvpnetError as error:
        raise AssertionError("whole files were refused") from error
    finally:
        victim.write_bytes(whole)


def test_all_failed_is_one_clear_line(make_runs, tmp_path, capsys):
    config = make_runs(widths=[64], samples=[100], lrs=[0.5]).loc[:, :"tracker.per"]
    rows = config.astype(object).where(config.notna(), None).assign(
        run_id=[f"r{number}" for number in range(len(config))], status="failed", failure="out_of_memory",
        error="OutOfMemoryError: 3 GB are not there", finished_at="2026-01-01").to_dict("records")
    Store(tmp_path).write_pack(rows, [])
    for command in ("verdict", "table", "report", "figures"):
        out = ["--out", str(tmp_path)] if command in ("report", "figures") else []
        assert main([command, "--store", str(tmp_path), *out]) == 1
        told = capsys.readouterr().err
        assert told.startswith("error: all 5 runs failed: OutOfMemoryError: 3 GB are not there (5 runs)")
        assert told.count("\n") == 1
    with pytest.raises(StoreError, match="launch status --failed"):
        load(tmp_path)


def test_only_bad_files_is_one_clear_line(tmp_path, capsys):
    (tmp_path / "runs-1.parquet").write_bytes(b"")
    assert main(["verdict", "--store", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "holds no runs; skipped" in told
    assert told.count("\n") == 1


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False))
def test_duplicate_files_and_their_order_change_no_table(make_runs, tmp_path_factory, draw):
    runs = make_runs(widths=[64], samples=[400, 800], seeds=range(3), lrs=[0.2, 0.5])
    directory = tmp_path_factory.mktemp("store")
    write(directory, runs)
    once = load(directory)
    curves = once.store.curves()
    copies = [(file.name.partition("-")[0], file.read_bytes()) for file in directory.glob("*.parquet")
              for _ in range(draw.randrange(1, 3))]
    for file in directory.glob("*.parquet"):
        file.unlink()
    draw.shuffle(copies)
    for number, (kind, content) in enumerate(copies):
        (directory / f"{kind}-{number:02}.parquet").write_bytes(content)
    again = load(directory)
    pd.testing.assert_frame_equal(once.runs, again.runs)
    pd.testing.assert_frame_equal(best_tuned(once.runs), best_tuned(again.runs))
    order = ["run_id", "step"]
    pd.testing.assert_frame_equal(curves.sort_values(order, ignore_index=True),
                                  again.store.curves().sort_values(order, ignore_index=True))


def test_curves_of_some_runs_are_those_of_all(good):
    directory, runs = good
    stored = load(directory)
    wanted = list(runs["run_id"][::5])
    some = stored.curves_of(wanted, ["test_risk", "never_measured"])
    assert list(some.columns) == ["run_id", "step", "test_risk"]
    whole = stored.store.curves()
    whole = whole[whole["run_id"].isin(wanted)]
    pd.testing.assert_frame_equal(some, whole[["run_id", "step", "test_risk"]].reset_index(drop=True))
