"""`ovpnet launch sync` with the real W&B client, to a server on loopback: each run there once, whole, in time."""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launch import sync as module
from launch.sync import BATCH_REQUESTS, LOGIN_REQUESTS, REQUESTS, RESUME_REQUESTS, Result, add_parser, sync
from ovpnet.record.store import Store
from ovpnet.record.tracking import Target, upload
from ovpnet.record.uploads import Uploads, remember
from ovpnet.spec.errors import TrackerError
from tests import wandb_server
from tests.wandb_server import Request, WandbServer

wandb = pytest.importorskip("wandb")

POINTS = 4
DOCS = Path(__file__).resolve().parents[1] / "docs" / "tracking.md"


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {"run_id": f"r{number}", "width": 64, "samples": 400, "seed": number, "lr": 0.25, "steps": 200,
            "study": "s", "concept.name": "figure1", "concept.k": 1, "learner.name": "two_layer", "opt.method": "noise",
            "tracker.project": "p", "tracker.entity": "e", "status": "done", "opt": 0.125, "test_risk": number / 8,
            "reached": number % 2 == 0, "reached_step": 20 if number % 2 == 0 else None,
            "pack_id": "even" if number % 2 == 0 else "odd", "finished_at": f"2026-01-01T00:00:{number:02d}+00:00",
            **changes}


def curve(number: int) -> list[dict[str, Any]]:
    return [{"run_id": f"r{number}", "step": 10 * i, "samples_seen": 100 * i, "train_risk": number + 1 / i,
             "test_risk": number + 2 / i} for i in range(1, POINTS + 1)]


def logged(number: int) -> list[dict[str, Any]]:
    return [{name: value for name, value in point.items() if name != "run_id"} for point in curve(number)]


def fill(store: Path, *rows: dict[str, Any]) -> Path:
    """Add a pack of these rows, with their curves."""
    store.mkdir(exist_ok=True)
    Store(store).write_pack(rows, [point for each in rows for point in curve(each["seed"])])
    return store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture(autouse=True)
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account of which nothing is known but the key; the client's files go to a directory of the test."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))  # of processes that are killed, and leave theirs
    with wandb_server.known(tmp_path / "home", monkeypatch):
        yield


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server


def whole(server: WandbServer, numbers: range) -> bool:
    """Whether exactly these runs are on the server, each with its curve once, its summary and its end."""
    return server.runs.keys() == {f"r{n}" for n in numbers} and all(
        run.history == logged(n) and run.complete and run.summary["test_risk"] == n / 8
        for n in numbers for run in [server.runs[f"r{n}"]])


def test_every_run_arrives_once_as_it_is_in_the_store(store: Path, server: WandbServer, tmp_path: Path):
    fill(store, *(row(n) for n in range(3)))
    fill(store, row(3, status="diverged", **{"learner.a_std": 0.5}), row(4))
    assert sync(store) == Result(known=0, uploaded=5, failed={})

    assert whole(server, range(5))
    run = server.runs["r1"]
    assert (run.entity, run.project, run.group, run.exit_code) == ("e", "p", "s", 0)
    assert run.name == "figure1 two_layer m=64 N=400 lr=0.25 seed=1"
    assert run.config == {
        "width": 64, "samples": 400, "seed": 1, "lr": 0.25, "steps": 200, "study": "s",
        "concept": {"name": "figure1", "k": 1}, "learner": {"name": "two_layer"}, "opt": {"method": "noise"},
        "tracker": {"project": "p", "entity": "e"}}
    assert server.runs["r0"].summary["reached_step"] == 20
    assert "reached_step" not in run.summary
    assert (server.runs["r3"].tags, server.runs["r3"].exit_code) == (["diverged"], 1)

    counts = server.counts()
    assert 5 * documented("run") <= sum(counts[each] for each in (
        "UpsertBucket", "file_stream", "upload", "CreateRunFiles", "RunResumeStatus")) <= 5 * REQUESTS["run"]
    assert counts["Viewer"] + counts["GetDefaultEntity"] + counts["Runs"] <= LOGIN_REQUESTS + BATCH_REQUESTS

    before = len(server.requests)
    assert sync(store) == Result(known=5, uploaded=0, failed={})
    assert len(server.requests) == before, "what is known to be there costs no request"
    assert not list((tmp_path / "temporary").glob("ovpnet-*"))


def test_only_what_changed_is_uploaded_again_under_the_same_id(store: Path, server: WandbServer):
    fill(store, row(0), row(1))
    sync(store)
    fill(store, row(1, test_risk=7.0, finished_at="2026-02-01T00:00:00+00:00"), row(2))
    assert sync(store) == Result(known=1, uploaded=2, failed={})
    assert server.runs["r1"].summary["test_risk"] == 7.0
    assert [len(run.history) for run in server.runs.values()] == [POINTS] * 3
    assert (server.uploads("r0"), len(list(store.glob("uploads-*")))) == (2, 1)


def test_runs_that_jobs_reported_live_are_left_out(store: Path, server: WandbServer):
    fill(store, row(0), row(1))
    remember(store, [upload([row(0)], Target("e", "p", server.url, "run"))])
    assert sync(store) == Result(known=1, uploaded=1, failed={})
    assert list(server.runs) == ["r1"]


def documented(per: str) -> int:
    """The requests of a W&B run that docs/tracking.md names."""
    line = re.search(rf"^\| `{per}` \|.*\| (\d+) \|$", DOCS.read_text(), re.MULTILINE)
    assert line is not None
    return int(line[1])


def test_help_and_docs_count_requests_alike(capsys: pytest.CaptureFixture[str]):
    counted = [REQUESTS[per] + RESUME_REQUESTS for per in ("run", "pack")]
    with pytest.raises(SystemExit):
        run("--help")
    helped, documents = (" ".join(text.split()) for text in (capsys.readouterr().out, DOCS.read_text()))
    assert f"a W&B run counts as {counted[0]}, one with a table as {counted[1]}" in helped
    assert f"A W&B run counts as {counted[0]} requests there, one with a table as {counted[1]}" in documents
    assert f"a batch as {BATCH_REQUESTS} more, and logging in as {LOGIN_REQUESTS}" in documents


@pytest.mark.parametrize("per", ["pack", pytest.param("sweep", marks=pytest.mark.slow)])
def test_tables_of_packs_and_of_studies_arrive(store: Path, server: WandbServer, per: str):
    fill(store, *(row(n, **{"tracker.per": per}) for n in range(5)))
    runs = 2 if per == "pack" else 1
    assert sync(store) == Result(known=0, uploaded=runs, failed={})
    assert sync(store) == Result(known=runs, uploaded=0, failed={})

    first = next(run for run in server.runs.values() if run.summary["reached"] == 3)
    columns, lines = first.table("table")
    seeds = [0, 2, 4] if per == "pack" else [0, 1, 2, 3, 4]
    assert [line[columns.index("seed")] for line in lines] == seeds
    assert [line[columns.index("test_risk")] for line in lines] == [seed / 8 for seed in seeds]
    assert [line[columns.index("reached_step")] for line in lines] == [20 if s % 2 == 0 else None for s in seeds]
    assert first.config["width"] == 64
    assert "seed" not in first.config
    assert first.summary["runs"] == first.summary["done"] == len(seeds)
    if per == "pack":
        means = [point["test_risk/mean"] for point in first.history[:POINTS]]
        assert means == [2 + 2 / i for i in range(1, POINTS + 1)]
    counts = server.counts()
    once = sum(counts[each] for each in ("Viewer", "GetDefaultEntity", "Runs"))
    assert runs * documented(per) <= len(server.requests) - once <= runs * (REQUESTS[per] + RESUME_REQUESTS)
    assert once <= LOGIN_REQUESTS + BATCH_REQUESTS


def test_a_study_grows_under_one_id(store: Path, server: WandbServer):
    fill(store, row(0))
    sync(store, per="sweep")
    fill(store, row(1), row(2, study="another"))
    assert sync(store, per="sweep").uploaded == 2
    grown = next(run for run in server.runs.values() if run.name == "s")
    assert len(server.runs) == 2
    assert grown.summary["runs"] == len(grown.table("table")[1]) == 2


# --- a server that is not at its best ------------------------------------------------------------------


def test_a_server_that_is_out_of_breath_is_waited_for(store: Path, server: WandbServer):
    """Requests are answered 429, with Retry-After, and 500: the client tries again, and nothing is lost."""
    fill(store, row(0), row(1))
    tired = [("UpsertBucket", 429), ("file_stream", 429), ("CreateRunFiles", 500)]

    def status(request: Request) -> int:
        if tired and request.what == tired[0][0]:
            return tired.pop(0)[1]
        return 200

    server.status = status
    assert sync(store) == Result(known=0, uploaded=2, failed={})
    assert not tired
    assert whole(server, range(2))


def test_a_run_that_is_refused_does_not_count_as_uploaded(store: Path, server: WandbServer):
    """The client itself counts a run as synced of which the history was refused."""
    fill(store, row(0), row(1), row(2))
    refused = {("r1", "UpsertBucket"), ("r2", "file_stream")}
    server.status = lambda request: 400 if (request.run, request.what) in refused else 200
    result = sync(store)
    assert (result.uploaded, set(result.failed)) == (1, {"r1", "r2"})

    server.status = lambda request: 200
    assert sync(store) == Result(known=1, uploaded=2, failed={})
    assert whole(server, range(3))


def test_a_server_that_refuses_everything_ends_the_sync_with_its_reason(store: Path, server: WandbServer,
                                                                       monkeypatch: pytest.MonkeyPatch):
    fill(store, row(0), row(1))
    server.status = lambda request: 403 if request.what == "UpsertBucket" else 200
    with pytest.raises(TrackerError, match=r"2 W&B runs could not be uploaded \(r0: told to fail\); 0 could"):
        run("--store", store)
    monkeypatch.setattr(module, "HOPELESS", 2)
    with pytest.raises(TrackerError, match=r"none of 2 W&B runs in a row could be uploaded \(r1: told to fail\)"):
        run("--store", store)
    server.status = lambda request: 400 if request.what == "Runs" else 200
    with pytest.raises(TrackerError, match=r"does not say which runs it has \(.*told to fail"):
        run("--store", store)
    assert not Uploads(store).rows


@pytest.mark.parametrize("moment", ["file_stream", pytest.param("CreateRunFiles", marks=pytest.mark.slow)])
def test_a_sync_that_is_killed_goes_on_where_it_was(store: Path, server: WandbServer, moment: str,
                                                    monkeypatch: pytest.MonkeyPatch):
    """SIGKILL of the whole process group in the second batch, with some of its points on the server already."""
    count = 8
    fill(store, *(row(n) for n in range(count)))
    code = f"from pathlib import Path; from launch import sync; sync.BATCH = 4; sync.sync(Path({str(store)!r}))"
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stderr=subprocess.DEVNULL)
    second = {f"r{n}" for n in range(4, count)}

    def status(request: Request) -> int:
        if request.run in second and request.what == moment and process.poll() is None and (
                moment != "file_stream" or any(run.lines for name, run in server.runs.items() if name in second)):
            os.killpg(process.pid, signal.SIGKILL)
            return 503
        return 200

    server.status = status
    assert process.wait(timeout=60) == -signal.SIGKILL
    wait_until_quiet(server)
    server.status = lambda request: 200
    assert sync(store) == Result(known=4, uploaded=4, failed={})
    assert whole(server, range(count))
    assert all(server.uploads(f"r{n}") == 2 for n in range(4)), "the first batch was not uploaded again"


@pytest.mark.slow
def test_ctrl_c_remembers_what_has_arrived_and_says_how_to_go_on(store: Path, server: WandbServer):
    fill(store, *(row(n) for n in range(8)))
    # Where the tests run in the background of a shell, Ctrl-C is ignored, and processes inherit that.
    code = ("import argparse, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "from launch import sync; sync.BATCH = 4; parser = argparse.ArgumentParser(); "
            "sync.add_parser(parser.add_subparsers()); "
            f"options = parser.parse_args(['sync', '--store', {str(store)!r}]); options.run(options)")
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stderr=subprocess.PIPE, text=True)

    def status(request: Request) -> int:
        if request.run in {"r6", "r7"} and process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            return 503
        return 200

    server.status = status
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; the same command goes on from here" in told
    assert "Traceback" not in told
    wait_until_quiet(server)
    server.status = lambda request: 200
    result = sync(store)
    assert result.known >= 4
    assert result.known + result.uploaded == 8
    assert whole(server, range(8))


def wait_until_quiet(server: WandbServer) -> None:
    """Until no request has come for half a second: killed processes may have some on the way."""
    before = -1
    while before != len(server.requests):
        before = len(server.requests)
        time.sleep(0.5)


# --- the rate ------------------------------------------------------------------------------------------


def test_no_window_has_more_requests_than_the_rate(store: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch):
    period, rate = 2.0, 35
    monkeypatch.setattr(module, "PERIOD", period)
    fill(store, *(row(n) for n in range(5)))
    assert sync(store, rate=rate).uploaded == 5
    assert whole(server, range(5))
    times = [request.at for request in server.requests]
    most = max(sum(start <= at < start + period for at in times) for start in times)
    assert 10 < most <= rate


def test_a_rate_below_the_requests_of_one_run_is_refused(store: Path, server: WandbServer):
    fill(store, row(0))
    with pytest.raises(TrackerError, match="--rate=5: at least 13"):
        sync(store, rate=5)


# --- asking for less, or for what is not there ---------------------------------------------------------


def run(*arguments: str | Path) -> None:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    options = parser.parse_args(["sync", *map(str, arguments)])
    options.run(options)


def test_options_choose_runs_and_where_they_go(store: Path, server: WandbServer, capsys: pytest.CaptureFixture[str],
                                               monkeypatch: pytest.MonkeyPatch):
    """And not what WANDB_MODE says, which is for jobs."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    fill(store, row(0), row(1, study="other"))
    run("--store", store, "--study", "other", "--dry-run")
    assert "1 W&B run (per=run) to upload to e/p" in capsys.readouterr().out
    assert not server.requests
    run("--store", store, "--study", "other", "--project", "q", "--entity", "f", "--parallel", "2")
    assert "1 W&B run uploaded; 0 there already" in capsys.readouterr().out
    assert {name: (run.entity, run.project) for name, run in server.runs.items()} == {"r1": ("f", "q")}
    run("--store", store, "--study", "other", "--project", "q", "--entity", "f")
    assert "nothing to upload: 1 W&B run there already" in capsys.readouterr().out


def test_mistakes_are_told_with_what_is_allowed(store: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(TrackerError, match=r"--store=.*: no runs are stored there"):
        sync(store)
    fill(store, row(0), row(1, study="other"))
    with pytest.raises(TrackerError, match=r"--study=t: .*allowed: other, s"):
        sync(store, study="t")
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(TrackerError, match="WANDB_API_KEY is not set"):
        sync(store)


def test_a_key_that_the_server_does_not_know_is_told(store: Path, server: WandbServer):
    server.status = lambda request: 401
    with pytest.raises(TrackerError, match=f"WANDB_BASE_URL={server.url}: .*WANDB_API_KEY"):
        sync(fill(store, row(0)))


@pytest.mark.slow
def test_a_server_that_is_not_there_is_told(store: Path, monkeypatch: pytest.MonkeyPatch):
    """The client takes ten seconds to give up."""
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(TrackerError, match=r"WANDB_BASE_URL=http://127\.0\.0\.1:9: .*Check that it can be reached"):
        sync(fill(store, row(0)))


def test_sync_does_not_load_torch():
    code = "import sys, launch.sync; assert 'torch' not in sys.modules and 'wandb' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
