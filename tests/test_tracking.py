"""The tracker with the real W&B client: its offline files are read back, its uploads arrive at a server on loopback."""

import json
import logging
import math
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ovpnet.record import tracking
from ovpnet.record.tracking import Target, report, track, tracked
from ovpnet.record.uploads import Uploads
from ovpnet.spec.config import TrackerConfig
from ovpnet.terminal.commands import as_typed
from tests import wandb_server
from tests.wandb_server import KEY, WandbServer

wandb = pytest.importorskip("wandb")

CONFIG = {"width": 64, "samples": 400, "seed": 3, "lr": 0.25, "steps": 200, "epochs": None, "study": "figure1a",
          "concept.name": "figure1", "concept.k": 1, "concept.family": "figure1", "learner.name": "two_layer",
          "opt.method": "noise", "test.se": 0.05, "tracker.name": "wandb"}
RESULTS = {"status": "done", "opt": 0.125, "opt_se": 0.001, "test_risk": 0.45, "test_risk_se": 0.005,
           "validation_risk": 0.5, "excess_risk": 0.375, "reached": False, "reached_step": None, "train_seconds": 1.5,
           "pack_id": "p1", "finished_at": "2026-01-01T00:00:00+00:00"}


def row(run_id: str, **changes: Any) -> dict[str, Any]:
    return {"run_id": run_id, **CONFIG, **RESULTS, **changes}


def given(values: dict[str, Any]) -> dict[str, Any]:
    """W&B gets no column that has no value: of a store with several concepts, a run's row has all their columns."""
    return {name: value for name, value in values.items() if value is not None}


def curve(run_id: str, points: int = 3) -> list[dict[str, Any]]:
    return [{"run_id": run_id, "step": 10 * i, "samples_seen": 100 * i, "train_risk": 1 / (1 + i),
             "test_risk": 2 / (1 + i), "test_risk_se": 0.01} for i in range(1, points + 1)]


@pytest.fixture(autouse=True)
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which nobody has logged in to W&B, and a client that has not read any settings yet."""
    wandb_server.account(tmp_path / "home", monkeypatch)
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def records(file: Path) -> Iterator[Any]:
    """The protobuf records of a .wandb file: a LevelDB log (32 KiB blocks of checksum, length, type, fragment)."""
    from wandb.proto.wandb_internal_pb2 import Record

    block_size, first_or_full, last_or_full, full = 32768, (1, 2), (1, 4), 7
    data, at, fragments = file.read_bytes(), 7, b""  # the file begins with 7 bytes of W&B's own
    while at < len(data):
        if block_size - at % block_size < full:
            at += block_size - at % block_size
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        fragment = data[at + 7:at + 7 + length]
        fragments = fragment if kind in first_or_full else fragments + fragment
        if kind in last_or_full:
            record = Record()
            record.ParseFromString(fragments)
            yield record
        at += 7 + length


class Written:
    """What one offline run would upload."""

    def __init__(self, directory: Path, run_id: str):
        [file] = directory.glob(f"wandb/offline-run-*-{run_id}/run-{run_id}.wandb")
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        for record in records(file):
            if record.WhichOneof("record_type") == "run":
                self.run = record.run
            elif record.WhichOneof("record_type") == "history":
                self.history.append(self._values(record.history.item))
            elif record.WhichOneof("record_type") == "summary":
                self.summary.update(self._values(record.summary.update))
            elif record.WhichOneof("record_type") == "exit":
                self.exit_code = record.exit.exit_code
        self.config = self._values(self.run.config.update)

    @staticmethod
    def _values(items: Any) -> dict[str, Any]:
        return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def write(directory: Path, rows: list[dict[str, Any]], curves: list[dict[str, Any]], per: str = "run") -> None:
    """Offline files, as `ovpnet launch sync` has them written."""
    directory.mkdir(exist_ok=True)
    for each in rows:
        points = [point for point in curves if point["run_id"] == each["run_id"]]
        report(tracked(per, [each], points), Target("e", "p", "", per), directory, "offline", resume=False)
    wandb.teardown()


def test_a_run_is_written_offline_as_it_was_measured(store: Path):
    write(store, [row("abc")], curve("abc"))

    written = Written(store, "abc")
    assert (written.run.run_id, written.run.project, written.run.entity) == ("abc", "p", "e")
    assert written.run.run_group == "figure1a"
    assert written.run.display_name == "figure1 two_layer m=64 N=400 lr=0.25 seed=3"
    assert list(written.run.tags) == []
    assert written.exit_code == 0

    config = {name: value for name, value in written.config.items() if name != "_wandb"}
    assert config == {
        "width": 64, "samples": 400, "seed": 3, "lr": 0.25, "steps": 200, "study": "figure1a",
        "concept": {"name": "figure1", "k": 1, "family": "figure1"}, "learner": {"name": "two_layer"},
        "opt": {"method": "noise"}, "test": {"se": 0.05}, "tracker": {"name": "wandb"}}

    logged = [{name: value for name, value in point.items() if not name.startswith("_")} for point in written.history]
    assert logged == [{name: value for name, value in point.items() if name != "run_id"} for point in curve("abc")]
    assert [point["_step"] for point in written.history] == [10, 20, 30]

    assert {name: written.summary[name] for name in given(RESULTS)} == given(RESULTS)
    assert "reached_step" not in written.summary
    assert not set(CONFIG) & set(written.summary)


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_run_without_a_result_is_marked(store: Path, status: str):
    bad = row("bad", status=status, test_risk=None, excess_risk=math.nan)
    write(store, [row("good"), bad], [*curve("good"), *curve("bad", points=1)])

    written = Written(store, "bad")
    assert written.exit_code == 1
    assert list(written.run.tags) == [status]
    assert written.summary["status"] == status
    assert len(written.history) == 1
    assert Written(store, "good").exit_code == 0


def test_missing_measurements_are_left_out_of_the_curve():
    [point] = tracked("run", [row("a")], [{**curve("a")[0], "test_risk": None}]).points
    assert "test_risk" not in point
    assert "train_risk" in point


def test_curves_are_sorted_by_step():
    assert [point["step"] for point in tracked("run", [row("b")], reversed(curve("b"))).points] == [10, 20, 30]


def test_every_file_is_whole_once_the_service_has_ended(store: Path):
    """The client's own finish() returns a moment too early, now and then: one run is too few to see it."""
    names = [f"r{i}" for i in range(20)]
    write(store, [row(name) for name in names], [point for name in names for point in curve(name)])
    assert [Written(store, name).exit_code for name in names] == [0] * 20


# --- packs and studies ---------------------------------------------------------------------------------


def test_a_pack_is_its_shared_config_a_table_and_the_spread_of_its_curves():
    rows = [row("a", seed=0), row("b", seed=1, reached=True, reached_step=20), row("c", seed=2, status="diverged")]
    curves = [point | {"test_risk": factor * point["test_risk"]}
              for name, factor in (("a", 1.0), ("b", 2.0), ("c", 6.0)) for point in curve(name)]
    pack = tracked("pack", rows, curves)

    assert "seed" not in pack.config
    assert pack.config["width"] == 64
    assert [(line["run_id"], line["seed"], line["status"], line.get("reached_step")) for line in pack.table] == [
        ("a", 0, "done", None), ("b", 1, "done", 20), ("c", 2, "diverged", None)]
    assert pack.summary == {"runs": 3, "done": 2, "diverged": 1, "reached": 1}
    assert [point["step"] for point in pack.points] == [10, 20, 30]
    assert pack.points[0] | {"test_risk/mean": 3.0, "test_risk/median": 2.0, "test_risk/q10": 1.2,
                             "test_risk/q90": 5.2} == pytest.approx(pack.points[0])
    assert pack.tags == ["diverged"]
    assert not pack.failed


def test_the_id_of_a_pack_is_of_its_runs_and_that_of_a_study_of_its_name():
    rows = [row("a"), row("b")]
    assert tracked("pack", rows, []).id == tracked("pack", rows[::-1], []).id != tracked("pack", rows[:1], []).id
    assert tracked("sweep", rows, []).id == tracked("sweep", rows[:1], []).id
    assert tracked("sweep", rows, []).id != tracked("sweep", [row("a", study="other")], []).id


# --- jobs ----------------------------------------------------------------------------------------------


def test_no_tracker_writes_nothing_and_does_not_import_wandb(store: Path):
    code = ("import sys; from pathlib import Path; from ovpnet.record.tracking import track; "
            "from ovpnet.spec.config import TrackerConfig; "
            f"track(TrackerConfig(), Path({str(store)!r}), [dict(run_id='a')], []); "
            "assert 'wandb' not in sys.modules and 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not store.exists()


# --- mode ------------------------------------------------------------------------------------------


def mode(asked: str) -> str:
    return tracking._mode(TrackerConfig(name="wandb", mode=asked))


def test_without_a_key_every_mode_is_offline(caplog: pytest.LogCaptureFixture):
    assert mode("auto") == mode("offline") == "offline"
    assert not caplog.records
    assert mode("online") == "offline"
    assert "WANDB_API_KEY" in caplog.text


def test_with_a_key_auto_is_online(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert mode("auto") == mode("online") == "online"
    assert mode("offline") == "offline"


def test_a_key_in_netrc_counts(tmp_path: Path):
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "netrc").write_text(f"machine api.wandb.ai login user password {'0' * 40}\n")
    (tmp_path / "home" / "netrc").chmod(0o600)
    assert mode("auto") == "online"


@pytest.mark.parametrize("chosen", ["offline", "disabled"])
def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch, chosen: str):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", chosen)
    assert mode("online") == mode("auto") == chosen


def test_jobs_that_are_not_online_write_nothing_and_do_not_load_the_client(store: Path):
    """The store is the offline record: neither files nor time are spent a run."""
    code = ("import os, sys; from pathlib import Path; from ovpnet.record.tracking import track; "
            "from ovpnet.spec.config import TrackerConfig; "
            "configs = [TrackerConfig(name='wandb', mode='offline', per=per) for per in ('run', 'pack', 'sweep')];"
            f"[track(config, Path({str(store)!r}), [dict(run_id='a')], []) for config in configs]; "
            "os.environ['WANDB_MODE'] = 'disabled'; "
            f"track(TrackerConfig(name='wandb', mode='online'), Path({str(store)!r}), [dict(run_id='a')], []); "
            "assert 'wandb' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not store.exists()


def test_jobs_say_how_to_upload_what_they_do_not(store: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        track(TrackerConfig(name="wandb"), store, [row("a")], curve("a"))
    assert f"{as_typed('launch sync')} --store {store}" in caplog.text
    assert not store.exists()


# --- online ----------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server


def test_online_runs_arrive_as_they_were_measured_and_are_remembered(store: Path, server: WandbServer):
    store.mkdir()
    config = TrackerConfig(name="wandb", mode="online", project="p", entity="e")
    track(config, store, [row("a"), row("b", status="diverged")], [*curve("a"), *curve("b", 1)])

    a, b = server.runs["a"], server.runs["b"]
    assert (a.entity, a.project, a.group, a.tags, a.exit_code) == ("e", "p", "figure1a", [], 0)
    assert a.config["concept"] == {"name": "figure1", "k": 1, "family": "figure1"}
    assert a.history == [{name: value for name, value in point.items() if name != "run_id"} for point in curve("a")]
    assert a.summary | given(RESULTS) == a.summary
    assert (b.tags, b.exit_code, len(b.history)) == (["diverged"], 1, 1)
    mark = {"base_url": server.url, "entity": "e", "project": "p", "per": "run", "id": "a", "runs": 1,
            "finished_at": RESULTS["finished_at"]}
    assert Uploads(store).has(mark)
    assert not Uploads(store).has(mark | {"finished_at": "later"})
    assert not (store / "wandb").exists(), "the client's own files are not kept"


def test_a_run_that_is_reported_again_is_there_once(store: Path, server: WandbServer):
    store.mkdir()
    for _ in range(2):
        track(TrackerConfig(name="wandb"), store, [row("a")], curve("a"))
    assert len(server.runs["a"].history) == 3


def test_a_pack_is_reported_live_as_one_run(store: Path, server: WandbServer):
    store.mkdir()
    track(TrackerConfig(name="wandb", per="pack"), store, [row("a", seed=0), row("b", seed=1)],
          [*curve("a"), *curve("b")])
    [pack] = server.runs.values()
    columns, lines = pack.table("table")
    assert [line[columns.index("seed")] for line in lines] == [0, 1]
    assert pack.complete
    assert len(Uploads(store).rows) == 1


def test_what_a_server_takes_before_it_is_gone_is_remembered(store: Path, server: WandbServer,
                                                            caplog: pytest.LogCaptureFixture):
    store.mkdir()
    server.status = lambda request: 400 if request.run == "b" else 200
    track(TrackerConfig(name="wandb"), store, [row("a"), row("b")], [*curve("a"), *curve("b")])
    assert as_typed("launch sync") in caplog.text
    assert [row["id"] for row in Uploads(store).rows.values()] == ["a"]


# --- failures --------------------------------------------------------------------------------------


def test_a_server_that_cannot_be_reached_leaves_the_pack_to_sync(store: Path, monkeypatch: pytest.MonkeyPatch,
                                                                 caplog: pytest.LogCaptureFixture):
    store.mkdir()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr(tracking, "PATIENCE", 2.0)
    track(TrackerConfig(name="wandb"), store, [row("a"), row("b")], [*curve("a"), *curve("b")])

    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "safe in the store" in warning.getMessage()
    assert as_typed("launch sync") in warning.getMessage()
    assert not Uploads(store).rows


def test_rows_that_make_no_sense_warn_and_do_not_raise(store: Path, caplog: pytest.LogCaptureFixture,
                                                       server: WandbServer):
    track(TrackerConfig(name="wandb"), store, [row("a")], curve("of another run"))
    assert "safe in the store" in caplog.text
