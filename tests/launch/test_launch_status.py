"""How a sweep is told to fare, of records made up for it."""

import os
import re
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from launch import display
from launch.__main__ import main
from launch.display import announcement, warnings
from launch.job_file import JobFile
from launch.launchers import here, launcher_of
from launch.launchers.local import Local
from launch.launchers.slurm import Slurm
from launch.plan import Plan, plan
from launch.processes import process
from launch.run import kinds_of_failures
from launch.scheduler import cancel
from launch.status import status
from launch.submit import record
from launch.sweep import write_json
from launch.work import Work
from ovpnet.record.store import Store
from ovpnet.run.pack import failed_row
from ovpnet.run.results import config_row
from ovpnet.spec.errors import OvpnetError
from ovpnet.spec.identity import run_id
from tests.launch.conftest import packed


def supervised(sweep, task=0, group=0, **more):
    """A job's supervisor has told of itself: this process, unless told otherwise."""
    write_json(sweep.job_file(group, task), {
        "parts": {}, "deaths": {}, "condemned": {}, "job_id": "1", "host": socket.gethostname(), "pid": os.getpid(),
        "process": process(os.getpid()), "gpus": [], "starts": 1, "started": time.time() - 60, "ended": None,
        "how": None, **more})


def training(sweep, runs, task=0, group=0, **more):
    """Its worker has told what it is at."""
    now = time.time()
    write_json(sweep.job_file(group, task, "progress"), {
        "pid": os.getpid(), "host": socket.gethostname(), "started": now - 60, "since": now - 1, "now": now,
        "training": runs, "runs_done": 0, "seconds_done": 0.0, "seconds_total": 100.0, "seconds_in_pack": 0.0, **more})


def finished(sweep, config, how="done", hours=0.0):
    when = (datetime.now(UTC) + timedelta(hours=hours)).isoformat()
    row = failed_row(config, "exception", "ValueError: no") if how == "failed" else config_row(config) | {"status": how}
    Store(sweep.store).write_pack([row | {"finished_at": when}], [])


def runs_of(sweep):
    return {state: number for state, number in status(sweep).runs.items() if number}


def packs_of(sweep):
    return {state: number for state, number in status(sweep).packs.items() if number}


@pytest.fixture
def configs(make):
    config = make()
    return [replace(config, seed=seed) for seed in range(12)]


def test_every_state_is_counted(configs, recorded):
    # Job 0 trains its second pack, job 1 waits, packs 4 and 5 are no job's.
    sweep = recorded(configs, size=2, jobs=[[0, 1, 2], [3]], finished=7)
    supervised(sweep)
    training(sweep, [run_id(config) for config in configs[2:4]])
    finished(sweep, configs[0])
    finished(sweep, configs[1], "diverged")
    found = status(sweep)
    assert runs_of(sweep) == {"done": 7 + 1, "diverged": 1, "running": 2, "pending": 4, "left": 4}
    assert packs_of(sweep) == {"done": 1, "running": 1, "pending": 2, "left": 2}
    assert [job.state for job in found.jobs] == ["RUNNING", "PENDING"]
    assert (found.ended, found.complete) == (False, False)
    assert found.seconds_left > 0
    assert sum(found.runs.values()) == 7 + 12


def test_a_run_that_failed_in_a_job_that_goes_on_has_failed(configs, recorded):
    sweep = recorded(configs[:4], size=2)
    supervised(sweep)
    training(sweep, [run_id(config) for config in configs[2:4]])
    finished(sweep, configs[0])
    finished(sweep, configs[1], "failed", hours=0.1)
    assert runs_of(sweep) == {"done": 1, "failed": 1, "running": 2}
    assert packs_of(sweep) == {"failed": 1, "running": 1}
    assert status(sweep).failures["error"].tolist() == ["ValueError: no"]


def test_runs_that_another_sweep_trains_are_waited_for(configs, recorded, capsys):
    other = recorded(configs[:3], size=3)
    supervised(other)
    training(other, [run_id(config) for config in configs[:3]])
    mine = recorded(configs[4:5], size=1)
    mine.add(packed(configs[:2], 2), [], "subprocess", {}, None)  # as they are put on record that are left to others
    supervised(mine, ended=time.time(), how="done")
    finished(mine, configs[4])
    found = status(mine)
    assert (found.ended, found.complete) == (False, False)
    assert runs_of(mine) == {"done": 1, "pending": 2}
    assert main(["status", mine.id, "--store", str(mine.store)]) == 0
    told = capsys.readouterr().out
    assert f"2 runs left to the sweep {other.id}, which trains them" in told
    assert "retry" not in told
    supervised(other, ended=time.time(), how="done")
    assert runs_of(mine) == {"done": 1, "left": 2}
    assert status(mine).ended


def test_a_run_that_failed_before_and_is_submitted_again_is_pending(configs, recorded):
    sweep = recorded(configs[:2])
    supervised(sweep, ended=time.time(), how="done")
    finished(sweep, configs[0])
    finished(sweep, configs[1], "failed")
    assert runs_of(sweep) == {"done": 1, "failed": 1}
    sweep.add(packed(configs[1:2]), [[0]], "subprocess", {}, None)
    assert runs_of(sweep) == {"done": 1, "pending": 1}
    assert packs_of(sweep) == {"done": 1, "pending": 1}
    supervised(sweep, group=1)
    training(sweep, [run_id(configs[1])], group=1)
    assert runs_of(sweep) == {"done": 1, "running": 1}
    finished(sweep, configs[1])
    supervised(sweep, group=1, ended=time.time(), how="done")
    assert runs_of(sweep) == {"done": 2}
    assert (status(sweep).ended, status(sweep).complete) == (True, True)
    assert status(sweep).failures.empty


def test_brackets_of_the_store_are_shown_as_they_are(configs, recorded, capsys):
    """To rich they are markup, of which an end without a beginning is an error."""
    sweep = recorded(configs[:2])
    supervised(sweep, ended=time.time(), how="done")
    Store(sweep.store).write_pack([failed_row(configs[0], "[/exception]", "no") | {"finished_at": "2026"}], [])
    (sweep.store / "runs-[red]lost.parquet").write_bytes(b"no table")
    found = replace(status(sweep), about={"launcher": "[/i]", "user": "[b]"})
    display.console().print(display.status_view(found))
    display.console().print(display.sweeps_table([found]))
    told = capsys.readouterr().out
    assert "failed: 1 [/exception]" in told
    assert "runs-[red]lost.parquet" in told.replace("\n", "")
    assert "[/i], by [b] on" in told
    assert told.count("[/i]") == 2


@pytest.mark.parametrize(("about", "state"), [
    ({"how": "done", "ended": 1.0}, "COMPLETED"), ({"how": "failed", "ended": 1.0}, "FAILED"),
    ({"how": "interrupted", "ended": 1.0}, "CANCELLED"), ({}, "RUNNING"), ({"process": "of another boot"}, "KILLED"),
    ({"host": "elsewhere"}, "RUNNING"), ({"host": "elsewhere", "started": 1.0}, "KILLED")], ids=str)
def test_the_states_of_a_process(configs, recorded, about, state):
    sweep = recorded(configs[:1])
    supervised(sweep, **about)
    [job] = status(sweep).jobs
    assert job.state == state
    assert status(sweep).runs["left"] == (state != "RUNNING")


def test_what_was_submitted_and_never_began_is_not_waited_for(configs, recorded, monkeypatch):
    sweep = recorded(configs[:1])
    assert runs_of(sweep) == {"pending": 1}
    monkeypatch.setattr(here, "_SILENCE", 0.0)
    assert runs_of(sweep) == {"left": 1}
    assert main(["wait", "--store", str(sweep.store)]) == 1


def test_a_job_that_has_not_begun_cannot_be_cancelled(configs, recorded):
    sweep = recorded(configs[:1])
    with pytest.raises(OvpnetError, match=r"1 of 1 job cannot be asked to end before it has begun.*in a few seconds"):
        cancel(sweep, sweep.groups())


def test_a_job_of_another_machine_is_cancelled_there(configs, recorded):
    sweep = recorded(configs[:1])
    supervised(sweep, host="elsewhere", started=time.time())
    with pytest.raises(OvpnetError, match="job 0-0 runs on elsewhere; cancel it there"):
        cancel(sweep, sweep.groups())


def test_a_run_given_up_is_not_trained_again_by_a_node_whose_clock_is_behind(configs, recorded):
    sweep = recorded(configs[:2], size=2)
    lost, other = map(run_id, configs[:2])
    supervised(sweep, condemned={lost: "died"})
    [group] = sweep.groups()
    work = Work(sweep, group, 0, launcher_of(group))
    finished(sweep, configs[0], "failed", hours=-1)
    assert [run_id(config) for pack in work.left() for config in pack.configs] == [other]


def test_the_deaths_of_workers_halve_a_pack_down_to_the_run_that_causes_them(configs, recorded):
    sweep = recorded(configs[:5], size=5)
    [group] = sweep.groups()
    ids = [run_id(config) for config in configs]
    state = JobFile(sweep, 0, 0, retries=1)
    assert not state.died(-9), "it trained nothing yet"
    seen = []
    while True:
        work = Work(sweep, group, 0, launcher_of(group))
        parts = [[run_id(config) for config in pack.configs] for pack in work.left()]
        seen.append([len(part) for part in parts])
        [bad] = [part for part in parts if ids[3] in part] or [[]]
        for part in parts[:parts.index(bad)] if bad else parts:
            for run in part:
                finished(sweep, configs[ids.index(run)])
        if not bad:
            break
        time.sleep(0.01)
        training(sweep, bad, since=time.time())
        assert state.died(-9)
        assert not state.died(-9), "this death is known"
    assert seen == [[5], [2, 3], [1, 2], [1, 1], [1, 1], [1]]
    assert list(state.content["condemned"]) == [ids[3]]
    Work(sweep, group, 0, launcher_of(group)).bury()
    assert runs_of(sweep) == {"done": 4, "failed": 1}
    assert set(Store(sweep.store).runs()["failure"].dropna()) == {"killed"}


def test_a_user_without_a_name_has_a_number(configs, tmp_path, monkeypatch):
    """As in a container that runs under a number of its own."""
    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    mine = [replace(configs[0], store=str(tmp_path), device="cpu")]
    sweep, _ = record(plan(mine, Local()), mine[0], Local(), ["python"], None)
    assert sweep.about()["user"] == str(os.getuid())


def test_runs_that_fit_no_job_and_packs_that_outlast_one_are_told_before_they_are_submitted(make, tmp_path):
    options = Slurm(mem_gb=4, timeout_min=1)
    runs = [make(f"store={tmp_path}", *more) for more in (
        ["seed=1"], ["samples=1000000000"], ["width=100000", "steps=1000000"])]
    memory, time = warnings(plan(runs, options))
    assert re.fullmatch(r"warning: 1 run may not fit the memory, the largest with [0-9.]+ GB of 2.4 GB; "
                        r"hydra.launcher.mem_gb is what a job has", memory)
    assert re.match("warning: the longest pack takes .*, more than a job's timeout_min=1; it goes on", time)
    assert not warnings(plan(runs[:1], options))


def test_all_sweeps_of_no_store(tmp_path, capsys):
    assert main(["status", "--all", "--store", str(tmp_path)]) == 1
    assert f"error: no sweep in {tmp_path}" in capsys.readouterr().err


def test_a_job_that_is_not_there(configs, recorded, capsys):
    sweep = recorded(configs, jobs=[[0], [1]])
    for task in (0, 1):
        supervised(sweep, task)
    assert main(["logs", "--store", str(sweep.store), "--job", "7-7"]) == 1
    assert f"--job 7-7: no job of {sweep.id}; there are: 0-0, 0-1" in capsys.readouterr().err


@pytest.mark.parametrize(("runs", "finished", "elsewhere", "told"), [
    (1, 1, {}, "1 run of which 1 is in store already and is skipped; nothing to train"),
    (2, 2, {}, "2 runs of which 2 are in store already and are skipped; nothing to train"),
    (1, 0, {"s": 1}, "1 run of which 1 is left to the sweep s, which trains it; nothing to train"),
    (3, 1, {"s": 2}, "3 runs of which 1 is in store already and is skipped and 2 are left to the sweep s, which trains "
                     "them; nothing to train")])
def test_one_run_is_spoken_of_as_one(runs, finished, elsewhere, told):
    assert announcement(Plan([], runs, runs, finished, elsewhere, []), "store") == told


def test_failures_of_one_kind_are_not_counted_twice():
    failed = pd.DataFrame({"failure": "exception", "error": ["a", "a", "b"]})
    assert kinds_of_failures(failed) == "2 of them: a (exception); 1 of them: b (exception)"
    assert kinds_of_failures(failed[:2]) == "a (exception)"
