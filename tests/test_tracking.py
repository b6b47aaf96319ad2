"""The tracker against the real W&B client, offline: what was written is read back from its files."""

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

from ovpnet import tracking
from ovpnet.config import TrackerConfig
from ovpnet.tracking import track

wandb = pytest.importorskip("wandb")

CONFIG = {"width": 64, "samples": 400, "seed": 3, "lr": 0.25, "steps": 200, "epochs": None, "study": "figure1a",
          "concept.name": "figure1", "concept.k": 1, "concept.family": "figure1", "learner.name": "two_layer",
          "opt.method": "noise", "test.se": 0.05, "tracker.name": "wandb"}
RESULTS = {"status": "done", "opt": 0.125, "opt_se": 0.001, "test_risk": 0.5, "test_risk_se": 0.01,
           "validation_risk": 0.5, "excess_risk": 0.375, "reached": False, "reached_step": None, "train_seconds": 1.5}


def row(run_id: str, **changes: Any) -> dict[str, Any]:
    return {"run_id": run_id, **CONFIG, **RESULTS, **changes}


def curve(run_id: str, points: int = 3) -> list[dict[str, Any]]:
    return [{"run_id": run_id, "step": 10 * i, "samples_seen": 100 * i, "train_risk": 1 / (1 + i),
             "test_risk": 2 / (1 + i), "test_risk_se": 0.01} for i in range(1, points + 1)]


@pytest.fixture(autouse=True)
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which nobody has logged in to W&B, and a client that has not read any settings yet."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "home" / "config"))
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


def test_a_run_is_written_offline_as_it_was_measured(store: Path):
    track(TrackerConfig(name="wandb", project="p", entity="e"), "figure1a", store, [row("abc")], curve("abc"))

    written = Written(store, "abc")
    assert (written.run.run_id, written.run.project, written.run.entity) == ("abc", "p", "e")
    assert written.run.run_group == "figure1a"
    assert written.run.display_name == "figure1 two_layer m=64 N=400 lr=0.25 seed=3"
    assert list(written.run.tags) == []
    assert written.exit_code == 0

    config = {name: value for name, value in written.config.items() if name != "_wandb"}
    assert config == {
        "width": 64, "samples": 400, "seed": 3, "lr": 0.25, "steps": 200, "epochs": None, "study": "figure1a",
        "concept": {"name": "figure1", "k": 1, "family": "figure1"}, "learner": {"name": "two_layer"},
        "opt": {"method": "noise"}, "test": {"se": 0.05}, "tracker": {"name": "wandb"}}

    logged = [{name: value for name, value in point.items() if not name.startswith("_")} for point in written.history]
    assert logged == [{name: value for name, value in point.items() if name != "run_id"} for point in curve("abc")]
    assert [point["_step"] for point in written.history] == [10, 20, 30]

    assert {name: written.summary[name] for name in RESULTS} == RESULTS
    assert not set(CONFIG) & set(written.summary)


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_run_without_a_result_is_marked(store: Path, status: str):
    bad = row("bad", status=status, test_risk=None, excess_risk=math.nan)
    track(TrackerConfig(name="wandb"), "s", store, [row("good"), bad], [*curve("good"), *curve("bad", points=1)])

    written = Written(store, "bad")
    assert written.exit_code == 1
    assert list(written.run.tags) == [status]
    assert written.summary["status"] == status
    assert len(written.history) == 1
    assert Written(store, "good").exit_code == 0


def test_missing_measurements_are_left_out_of_the_curve(store: Path):
    points = [{**curve("a")[0], "test_risk": None}]
    track(TrackerConfig(name="wandb"), "s", store, [row("a")], points)
    assert "test_risk" not in Written(store, "a").history[0]
    assert "train_risk" in Written(store, "a").history[0]


def test_curves_are_sorted_by_step(store: Path):
    track(TrackerConfig(name="wandb"), "s", store, [row("a"), row("b")], [*reversed(curve("b")), *curve("a")])
    assert [point["step"] for point in Written(store, "b").history] == [10, 20, 30]


def test_every_file_is_whole_on_return(store: Path):
    """The client's own finish() returns a moment too early, now and then: one run is too few to see it."""
    names = [f"r{i}" for i in range(20)]
    for name in names:
        track(TrackerConfig(name="wandb"), "s", store, [row(name)], curve(name))
        assert Written(store, name).exit_code == 0


def test_no_tracker_writes_nothing_and_does_not_import_wandb(store: Path):
    code = ("import sys; from pathlib import Path; from ovpnet.tracking import track; "
            "from ovpnet.config import TrackerConfig; "
            f"track(TrackerConfig(), 's', Path({str(store)!r}), [dict(run_id='a')], []); "
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


def test_disabled_writes_no_run(store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    track(TrackerConfig(name="wandb"), "s", store, [row("a")], curve("a"))
    assert not list(store.rglob("*.wandb"))


# --- failures --------------------------------------------------------------------------------------


def test_a_server_that_cannot_be_reached_turns_the_pack_offline(store: Path, monkeypatch: pytest.MonkeyPatch,
                                                                caplog: pytest.LogCaptureFixture):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr(tracking, "PATIENCE", 2.0)
    track(TrackerConfig(name="wandb"), "s", store, [row("a"), row("b")], [*curve("a"), *curve("b")])

    assert "written offline" in caplog.text
    assert caplog.text.count("cannot be reached") == 1, "one run waits for the network, not every run"
    assert len(Written(store, "a").history) == len(Written(store, "b").history) == 3


def test_a_tracker_that_fails_warns_and_does_not_raise(store: Path, caplog: pytest.LogCaptureFixture):
    store.write_text("a file where a directory is needed")
    track(TrackerConfig(name="wandb"), "s", store, [row("a")], curve("a"))
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    message = warning.getMessage()
    assert "safe in the store" in message
    assert "tracker=none" in message


def test_rows_that_make_no_sense_warn_and_do_not_raise(store: Path, caplog: pytest.LogCaptureFixture):
    track(TrackerConfig(name="wandb"), "s", store, [row("a")], curve("of another run"))
    assert "safe in the store" in caplog.text


def test_offline_runs_come_with_the_command_that_uploads_them(store: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        track(TrackerConfig(name="wandb"), "s", store, [row("a")], curve("a"))
    assert f"wandb sync {store / 'wandb'}" in caplog.text
