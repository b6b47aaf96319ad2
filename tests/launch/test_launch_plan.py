"""The numbers that plans, submissions and jobs go by: each is seen from outside, so none can be changed unseen."""

import os
import re
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ovpnet.run.pack
from launch import __main__ as command
from launch import job, run, start, sweep, work
from launch.bisection import points, spacing
from launch.job import Job
from launch.job_file import JobFile
from launch.launchers import launcher_of
from launch.launchers.local import Local
from launch.launchers.slurm import Slurm
from launch.launchers.subprocess import Subprocess
from launch.machines import is_cpu
from launch.packs import packed
from launch.plan import plan
from launch.search import Search, cells, search
from launch.status import status
from launch.sweep import write_json
from launch.work import Work, train
from ovpnet.engine.choice import shape_of
from ovpnet.engine.rates import EXAMPLE
from ovpnet.record.store import Store
from ovpnet.run.results import config_row
from ovpnet.spec.errors import ConfigError, OvpnetError
from ovpnet.spec.identity import run_id
from ovpnet.terminal.commands import as_typed
from tests.launch.test_launch_status import finished, supervised, training


@pytest.fixture
def configs(make, tmp_path):
    config = make(f"store={tmp_path / 'store'}")
    return [replace(config, seed=seed) for seed in range(64)]


# --- packs and jobs ---


def test_a_pack_takes_half_of_the_time_of_its_job_at_most(configs):
    """Predictions are not exact, and a job has several packs."""
    minutes, launcher = 2, Slurm(timeout_min=2, signal_delay_s=60, job_minutes=0)
    machine = launcher.machine(Path(configs[0].store), "cpu")
    slow = [replace(config, engine="reference", steps=400_000) for config in configs]
    assert shape_of(slow[:1]).seconds(machine) < 0.2 * 60 * minutes
    packs = plan(slow, launcher).packs
    longest = max(pack.seconds for pack in packs)
    assert 0.4 * 60 * minutes < longest <= 0.5 * 60 * minutes
    assert max(len(pack.configs) for pack in packs) > 1
    assert max(pack.seconds for pack in packed(slow, set())) > 60, "without a limit they are longer"


def test_a_sweep_has_the_jobs_that_its_options_say(configs):
    slow = [replace(config, steps=10**6) for config in configs]
    work = plan(slow, Slurm(runs_per_pack=1)).seconds
    for most, minutes in ((3, 0.0), (100, work / 60 / 5.5), (64, 0.0), (100, 1e6)):
        asked = plan(slow, Slurm(runs_per_pack=1, max_jobs=most, job_minutes=minutes))
        assert asked.job_count == min(most, 64, max(1, int(work / 60 / minutes)) if minutes else 64)
    # By default a job is worth its start: 5 minutes of work.
    assert plan(slow, Slurm(runs_per_pack=1)).job_count == max(1, min(64, int(work // 300)))


@pytest.mark.parametrize(("options", "gigabytes"), [
    ({"mem_gb": 8.0}, 0.7 * 7.5), ({"mem_gb": 100.0}, 0.7 * 99.5), ({"mem_gb": 0.1}, 0.25),
    ({"mem_gb": 8.0, "gpus_per_node": 1}, 0.7 * 16), ({"gres": "gpu:h100:1", "gpu_memory_gb": 80.0}, 0.7 * 80),
    ({"gpus_per_task": 1, "gpu_memory_gb": 40.0}, 0.7 * 40), ({"gpus_per_node": 0}, 0.7 * 7.5)], ids=str)
def test_packs_are_sized_for_seven_tenths_of_the_memory_asked_for(options, gigabytes, tmp_path):
    """Of a job without a GPU, Python and torch take half a gigabyte first."""
    machine = Slurm(cpus_per_task=7, **options).machine(tmp_path, "auto")
    assert machine.memory == pytest.approx(gigabytes * 2**30, rel=1e-6)
    assert (machine.threads, machine.rates) == (7, EXAMPLE.rates)


def test_the_memory_of_a_job_that_the_cluster_chooses_is_that_of_the_example(tmp_path):
    assert Slurm(mem_gb=None).machine(tmp_path, "cpu").memory == int(0.7 * EXAMPLE.memory)


def test_what_a_job_has_told_of_its_gpu_is_what_the_next_plan_knows(tmp_path, monkeypatch):
    found = replace(EXAMPLE, memory=12345, threads=3)
    monkeypatch.setattr("launch.machines.here", lambda device: found)
    monkeypatch.setattr("launch.machines.is_cpu", lambda device: False)
    mine, other = Slurm(gpus_per_node=1, partition="a"), Slurm(gpus_per_node=1, partition="b")
    Slurm(partition="a").begin(tmp_path, "auto")
    mine.begin(tmp_path, "cpu")
    assert not list(tmp_path.rglob("*.json")), "CPUs are not measured"
    mine.begin(tmp_path, "auto")
    assert mine.machine(tmp_path, "auto") == replace(mine, timeout_min=3).machine(tmp_path, "auto") == found
    assert other.machine(tmp_path, "auto").memory == int(0.7 * 16 * 2**30)
    monkeypatch.setattr("launch.machines.here", lambda device: 1 / 0)
    mine.begin(tmp_path, "auto")  # it is measured once
    [file] = tmp_path.rglob("*.json")
    for damage in (b"", b"{}", b'{"rates": {"of": 1}, "memory": 1, "threads": 1}'):
        file.write_bytes(damage)
        assert mine.machine(tmp_path, "auto").memory == int(0.7 * 16 * 2**30)


def test_a_gpu_that_torch_does_not_find_is_refused(tmp_path):
    if not is_cpu("auto"):
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="device=auto: SLURM gave this job a GPU, but torch finds none on this node"):
        Slurm(gres="gpu:1").begin(tmp_path, "auto")
    Slurm(gres="gpu:1").begin(tmp_path, "cpu")


def test_workers_share_the_memory_and_the_cores(monkeypatch):
    monkeypatch.setattr("launch.machines.here", lambda device: replace(EXAMPLE, memory=1000, threads=7))
    monkeypatch.setattr("launch.machines.gpus", lambda processes: [])
    for kind in (Local, Subprocess):
        machine = kind(workers=3).machine("store", "cpu")
        assert (machine.memory, machine.threads, kind(workers=3).most_jobs("cpu")) == (333, 2, 3)
        assert (kind().most_jobs("cpu"), kind(workers=3).cores) == (1, max(1, (os.cpu_count() or 1) // 3))
        assert (kind().job_seconds, kind().least_seconds, kind().memory_key) == (float("inf"), 0.0, "")
    assert Slurm(cpus_per_task=5).cores == 5


# --- patience ---


def test_a_process_elsewhere_is_gone_after_two_minutes_of_silence(configs, recorded):
    record = recorded(configs[:1])
    supervised(record, host="elsewhere", started=0.0)
    for silence, state in ((110, "RUNNING"), (130, "KILLED")):
        training(record, [], now=time.time() - silence)
        assert [each.state for each in status(record).jobs] == [state]


@pytest.mark.parametrize(("age", "state"), [(110, "PENDING"), (130, "UNKNOWN")])
def test_a_process_that_never_began_is_waited_for_for_two_minutes(configs, recorded, age, state):
    record = recorded(configs[:1])
    group = vars(record.group(0)) | {"submitted_at": (datetime.now(UTC) - timedelta(seconds=age)).isoformat()}
    write_json(record.path / "group-0.json", group)
    assert [each.state for each in status(record).jobs] == [state]


def test_a_job_has_two_thirds_of_the_notice_for_its_checkpoint():
    assert Slurm(signal_delay_s=90).checkpoint_seconds == 60
    assert Slurm(signal_delay_s=30).checkpoint_seconds == 20
    assert Subprocess().checkpoint_seconds == Local().checkpoint_seconds == 20


def test_a_worker_that_does_not_stop_in_time_is_left(configs, recorded, monkeypatch):
    """SLURM ends it with the job; what must happen before that is the requeue."""
    mine = Job(str(recorded(configs[:1]).path), 0, 0)
    mine._worker, mine._patience = os.getpid(), 12.0
    clock, asked = [0.0], []
    monkeypatch.setattr(job.os, "kill", lambda pid, number: asked.append((pid, number)))
    monkeypatch.setattr(mine, "_ended", lambda: False)
    monkeypatch.setattr(job.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(job.time, "sleep", lambda took: clock.append(clock.pop() + took))
    again = mine.checkpoint()
    assert asked == [(os.getpid(), signal.SIGTERM)]
    assert clock[0] == pytest.approx(12.0, abs=0.2)
    assert (again.function.sweep, again.function.group, again.function.task) == (mine.sweep, 0, 0)


def test_slurm_is_asked_less_often_than_processes_here():
    assert (Slurm.poll_seconds, Subprocess.poll_seconds, Local.poll_seconds) == (10.0, 2.0, 2.0)
    assert (Slurm.patience_seconds, Subprocess.patience_seconds, Local.patience_seconds) == (60.0, 60.0, 0.0)


@pytest.mark.parametrize(("late", "lost"), [(50, False), (70, True)])
def test_a_search_waits_a_minute_for_what_ended_jobs_have_stored(configs, monkeypatch, late, lost):
    """A shared file system shows it late."""
    clock = [0.0]
    among = points(16, 64, 2.0)
    store = Store(configs[0].store)
    store.prepare()

    def sleep(took):
        clock[0] += took
        if clock[0] >= late and not store.finished():
            store.write_pack([config_row(replace(configs[0], samples=N)) | {
                "status": "done", "finished_at": "2026", "threshold": 1.0, "test_risk": 0.5, "validation_risk": 0.5,
                "opt": 0.5, "second_moment": 1.0, "test_risk_se": 0.01} for N in among], [])

    monkeypatch.setattr("launch.search.time.sleep", sleep)
    monkeypatch.setattr("launch.search.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("launch.search.under_way", lambda store, wanted: {})
    monkeypatch.setattr(run, "train", lambda configs, launcher: None)
    what = Search(cells([["seed=0"]], configs[:1], among), spacing(2.0))
    if lost:
        with pytest.raises(OvpnetError, match=re.escape(f"1 run not trained: {as_typed('launch logs')}")):
            search(what, Slurm())
        assert 60 <= clock[0] <= 70
    else:
        search(what, Slurm())
        assert 50 <= clock[0] <= 60


@pytest.mark.parametrize(("seen", "found"), [(50, True), (70, False)])
def test_a_job_waits_a_minute_to_see_its_group(configs, recorded, monkeypatch, seen, found):
    record, clock = recorded(configs[:1]), [0]
    hidden = (record.path / "group-0.json").rename(record.path / "hidden")

    def sleep(took):
        clock[0] += took
        if clock[0] == seen:
            hidden.rename(record.path / "group-0.json")

    monkeypatch.setattr(sweep.time, "sleep", sleep)
    if found:
        assert record.group(0).number == 0
    else:
        with pytest.raises(OvpnetError, match=r"no group-0.json, so nothing says what this job is to train"):
            record.group(0)
    assert clock[0] == min(seen, 60)


# --- retries ---


def test_a_node_that_trains_nothing_is_given_up_after_as_many_deaths_as_find_one_run_of_512(configs, recorded):
    record = recorded(configs[:2], size=2)
    file, died = JobFile(record, 0, 0, retries=10**6), 0
    for since in range(1, 100):
        training(record, [run_id(configs[0])], since=since + time.time())
        if not file.died(-9):
            break
        died += 1
    assert died == 17
    assert 2**(died - 1) > 512, "the halves of a pack of 512 are down to one run before"
    assert not file.content["condemned"]


def test_a_run_is_given_up_when_it_has_ended_its_process_more_often_than_its_retries(configs, recorded):
    for retries in (0, 2):
        record = recorded(configs[:1])
        file = JobFile(record, 0, 0, retries)
        for death in range(retries + 1):
            assert not file.content["condemned"]
            training(record, [run_id(configs[0])], since=time.time() + 1 + death)
            assert file.died(-9)
        assert list(file.content["condemned"]) == [run_id(configs[0])]
    assert (Slurm().retries, Subprocess().retries, Local().retries) == (2, 2, 2)


@pytest.mark.parametrize("retries", [0, 2])
def test_a_worker_that_cannot_start_is_tried_again_so_often(configs, recorded, monkeypatch, retries):
    record, tried, slept = recorded(configs[:1]), [], []
    write_json(record.path / "group-0.json", vars(record.group(0)) | {"options": {"retries": retries}})
    mine = Job(str(record.path), 0, 0)
    monkeypatch.setattr(job.signal, "signal", lambda *_: None)
    monkeypatch.setattr(job.submitit, "JobEnvironment", lambda: type("Alone", (), {"global_rank": 0, "job_id": "1"}))
    monkeypatch.setattr(mine, "_work", lambda cores: tried.append(cores) or 1)
    monkeypatch.setattr(job.time, "sleep", slept.append)
    with pytest.raises(OvpnetError, match=f"the worker of job 0-0 failed {retries + 1} time"):
        mine()
    assert (len(tried), slept) == (retries + 1, [5.0] * retries)
    assert [each.state for each in status(record).jobs] == ["FAILED"]


def test_a_job_whose_worker_slurm_has_stopped_waits_ten_minutes_to_be_ended(configs, recorded, monkeypatch):
    """If it ended by itself, it would count as done, and SLURM would not requeue it."""
    record, slept = recorded(configs[:1], launcher="slurm"), []
    mine, ends = Job(str(record.path), 0, 0), iter([job.INTERRUPTED, -signal.SIGTERM, 0])
    monkeypatch.setattr(job.submitit, "JobEnvironment", lambda: type("Alone", (), {"global_rank": 0, "job_id": "1"}))
    monkeypatch.setattr(mine, "_work", lambda cores: next(ends))
    monkeypatch.setattr(job.time, "sleep", slept.append)
    mine()
    assert slept == [600.0, 600.0]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "SLURM asks the worker itself"


def test_processes_here_have_no_end_of_their_time(configs, recorded, monkeypatch):
    given = []

    class Executor:
        def __init__(self, folder):
            assert folder == record.path / "logs"

        def update_parameters(self, **parameters):
            given.append(parameters)

        def submit(self, job):
            given[-1] |= {"task": job.task}

    record = recorded(configs[:2])
    monkeypatch.setattr(start.submitit, "LocalExecutor", Executor)
    start.main([str(record.path), "0", "none", "3"])
    year = 365 * 24 * 60
    assert given == [{"timeout_min": year, "gpus_per_node": 0, "visible_gpus": [], "task": 0},
                     {"timeout_min": year, "gpus_per_node": 1, "visible_gpus": [3], "task": 1}]


# --- what is told meanwhile ---


@pytest.mark.parametrize(("launcher", "took", "slept"), [("subprocess", 0.1, 2.0), ("subprocess", 3.0, 15.0),
                                                         ("slurm", 0.1, 10.0), ("slurm", 3.0, 15.0)])
def test_a_sweep_is_looked_at_less_often_if_a_look_takes_long(configs, recorded, monkeypatch, launcher, took, slept):
    record, clock, sleeps = recorded(configs[:1], launcher=launcher), [0.0], []
    found = SimpleNamespace(ended=False)

    def look(sweep):
        clock[0] += took
        found.ended = len(sleeps) == 2
        return found

    monkeypatch.setattr(command, "status", look)
    monkeypatch.setattr(command.display, "status_view", lambda found: "")
    monkeypatch.setattr(command.time, "sleep", sleeps.append)
    monkeypatch.setattr(command.time, "monotonic", lambda: clock[0])
    command._watch(record)
    assert sleeps[1] == pytest.approx(slept)


@pytest.mark.parametrize(("launcher", "given", "mode"), [("slurm", "auto", "offline"), ("slurm", "online", "online"),
                                                         ("subprocess", "auto", "auto"), ("local", "auto", "auto")])
def test_nodes_of_a_cluster_have_no_network_unless_told_otherwise(configs, recorded, launcher, given, mode):
    """`ovpnet launch sync` reports their runs."""
    config = replace(configs[0], tracker=replace(configs[0].tracker, mode=given))
    record = recorded([config], launcher=launcher)
    [pack] = Work(record, record.group(0), 0, launcher_of(record.group(0))).left()
    assert [each.tracker.mode for each in pack.configs] == [mode]


def test_a_worker_tells_what_it_is_at_every_five_seconds(configs, recorded, monkeypatch):
    record, clock, told = recorded(configs[:1]), [1e9], []
    monkeypatch.setattr(work.time, "time", lambda: clock[0])
    monkeypatch.setattr(work, "write_json", lambda file, content: told.append(clock[0]))

    def run_pack(configs, advance, interrupted):
        for _ in range(120):
            clock[0] += 0.1
            advance(1)
        finished(record, configs[0])

    monkeypatch.setattr(ovpnet.run.pack, "run_pack", run_pack)
    train(Work(record, record.group(0), 0, launcher_of(record.group(0))), lambda: False)
    # At its beginning, after 5 and 10 seconds, and at its end.
    assert np.diff(told) == pytest.approx([5, 5, 2], abs=0.2)
