"""Sweeps on a real SLURM cluster: whatever happens to their jobs, every run is stored once, with its own values."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from launch.scheduler import jobs
from launch.sweep import Sweep, read_json, sweeps
from ovpnet.record.store import Store
from ovpnet.terminal.commands import as_typed
from tests.pace import slow_pack
from tests.slurm.cluster import Cluster, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]  # one cluster

SMALL = ["steps=100", "evaluations=2", "test.samples=512", "test.curve_samples=256", "opt.samples=4096"]
JOBS = ["hydra/launcher=slurm", "hydra.launcher.mem_gb=1", "hydra.launcher.cpus_per_task=1",
        "hydra.launcher.job_minutes=0", "hydra.launcher.timeout_min=10"]
# Of the results, what may differ between two trainings of one run.
ABOUT = ["train_seconds", "pack_id", "pack_members", "finished_at", "checkpoint_minutes", "store", "tracker.mode",
         "device", "slurm_job_id", "git_revision"]


class Sweeper:
    """Gives the commands that a user would, in a folder of its own."""

    def __init__(self, folder: Path):
        self.folder, self.store = folder, folder / "store"

    def start(self, *command: str, **options: object) -> "subprocess.Popen[str]":
        return subprocess.Popen([sys.executable, "-m", *command], cwd=self.folder, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, **options)  # type: ignore[call-overload,no-any-return]

    def __call__(self, *command: str, code: int = 0) -> str:
        process = self.start(*command)
        told, _ = process.communicate(timeout=400)
        assert process.returncode == code, told
        return str(told)

    def train(self, *overrides: str) -> Sweep:
        """Submit; the sweep that is on record then."""
        told = self("ovpnet.train", "-m", *JOBS, *overrides)
        assert "submitted" in told, told
        return sweeps(self.store)[-1]

    def wait(self, code: int = 0) -> str:
        return self("launch", "wait", code=code)


@pytest.fixture
def ovpnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweeper:
    monkeypatch.setenv("OVPNET_CACHE", str(tmp_path.parent / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Sweeper(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, slow: list[str]) -> pd.DataFrame:
    """The runs of the slow pack, trained here."""
    return trained_here(tmp_path_factory.mktemp("undisturbed"), slow)


def trained_here(folder: Path, overrides: list[str]) -> pd.DataFrame:
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "ovpnet.train", "-m", *overrides], cwd=folder, env=environment, check=True,
                   capture_output=True)
    return Store(folder / "store").runs()


def assert_once_and_as(undisturbed: pd.DataFrame, store: Path, *, packed_alike: bool = True) -> None:
    """Every run is in one file of the store, once, with the values of an undisturbed training: bit for bit, or where it
    was packed with others up to the rounding of batched kernels."""
    stored = pd.concat([pq.read_table(file).to_pandas() for file in store.glob("runs-*.parquet")])
    left, right = (rows.drop(columns=ABOUT).sort_values("run_id").reset_index(drop=True)
                   for rows in (stored, undisturbed))
    tolerance = {"check_exact": True} if packed_alike else {"rtol": 2e-4}
    # (A file of which no run has some result has no type for it.)
    pd.testing.assert_frame_equal(left[right.columns].astype(right.dtypes), right, **tolerance)
    assert not list(store.glob("**/.tmp-*"))
    assert not list((store / "checkpoints").glob("*.npz"))


def training(ovpnet: Sweeper) -> Callable[[], bool]:
    """Whether the sweep has kept a checkpoint."""
    return lambda: bool(list((ovpnet.store / "checkpoints").glob("*.npz")))


def told(sweep: Sweep) -> str:
    return "".join(file.read_text() for file in sorted((sweep.path / "logs").glob("*_log.*")))


def starts(sweep: Sweep) -> int:
    return (read_json(sweep.job_file(0, 0)) or {"starts": 0})["starts"]


def test_from_an_array_to_a_verdict(cluster: Cluster, ovpnet: Sweeper):
    sweep = ovpnet.train("experiment=quickstart", *SMALL, "width=16,32,64", "samples=20,40,80", "seed=range(3)", "lr=1",
                         "epsilon=1", "hydra.launcher.gpus_per_node=1", "device=cpu")
    [group] = sweep.groups()
    assert len(group.jobs) == 3
    ovpnet.wait()
    given = [read_json(sweep.job_file(0, task)) for task in range(3)]
    places = {(job.node, tuple(about["gpus"])) for job, about in zip(jobs(sweep, [group]), given, strict=True)}
    assert len(places) == 3, "each job has a GPU of its own"
    assert all(len(gpus) == 1 for _, gpus in places)
    stored = Store(ovpnet.store)
    assert stored.runs()["status"].eq("done").all()
    assert len(stored.finished()) == 27
    assert "two_layer (hidden)" in ovpnet("analysis", "verdict")
    assert "27" in ovpnet("launch", "status", sweep.id[-4:])
    assert "nothing to train" in ovpnet("ovpnet.train", "-m", *JOBS, "experiment=quickstart", *SMALL, "width=16,32,64",
                                        "samples=20,40,80", "seed=range(3)", "lr=1", "epsilon=1", "device=cpu")
    files = [file for file in ovpnet.store.rglob("*") if ".code" not in file.parts]
    assert len(files) < 50


def test_a_preempted_job_goes_on_where_it_was(cluster: Cluster, ovpnet: Sweeper, slow: list[str],
                                              undisturbed: pd.DataFrame):
    sweep = ovpnet.train(*slow, "hydra.launcher.partition=low", "hydra.launcher.nodelist=gpu1",
                         "hydra.launcher.gres=gpu:h100:4", "+hydra.launcher.additional_parameters.nodes=1",
                         "device=cpu")
    wait_for(training(ovpnet), "checkpoint", 240)
    cluster.run("srun", "--partition=high", "--nodes=1", "--nodelist=gpu1", "--gpus=4", "true")
    ovpnet.wait()
    assert starts(sweep) == 2
    assert "go on from step" in told(sweep)
    assert_once_and_as(undisturbed, ovpnet.store)


@pytest.mark.slow
def test_a_job_whose_time_is_over_is_requeued(cluster: Cluster, ovpnet: Sweeper, tmp_path: Path):
    # SLURM looks at the time limits of jobs every half a minute, so its signal comes 15 to 45 s after the start here:
    # not before the job can hear it, and before training ends.
    long = slow_pack(75)
    sweep = ovpnet.train(*long, "hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=75")
    ovpnet.wait()
    assert "this job is timed-out" in told(sweep)
    assert starts(sweep) >= 2
    assert_once_and_as(trained_here(tmp_path / "undisturbed", long), ovpnet.store)


def test_requeued_by_hand_and_a_worker_that_dies(cluster: Cluster, ovpnet: Sweeper, slow: list[str],
                                                 undisturbed: pd.DataFrame):
    sweep = ovpnet.train(*slow)
    wait_for(training(ovpnet), "checkpoint", 240)
    progress = read_json(sweep.job_file(0, 0, "progress"))
    os.kill(progress["pid"], signal.SIGKILL)  # as the kernel does where memory runs out
    wait_for(lambda: "the worker died (signal 9" in told(sweep), "word of it", 240)
    wait_for(lambda: len((read_json(sweep.job_file(0, 0, "progress")) or {}).get("training", [])) == 1,
             "half a pack", 240)
    [job] = jobs(sweep, sweep.groups())
    cluster.run("scontrol", "requeue", job.id)
    ovpnet.wait()
    assert starts(sweep) == 2
    assert_once_and_as(undisturbed, ovpnet.store, packed_alike=False)
    assert Store(ovpnet.store).runs()["pack_members"].eq(1).all()


@pytest.mark.slow
def test_the_job_of_a_node_that_dies_goes_on_on_the_other(cluster: Cluster, ovpnet: Sweeper, slow: list[str],
                                                          undisturbed: pd.DataFrame):
    sweep = ovpnet.train(*slow)
    wait_for(training(ovpnet), "checkpoint", 240)
    [job] = jobs(sweep, sweep.groups())
    cluster.kill_node(job.node or cluster.run("squeue", "--noheader", "--format=%N", f"--jobs={job.id}"))
    ovpnet.wait()
    assert starts(sweep) == 2
    assert "go on from step" in told(sweep)
    assert_once_and_as(undisturbed, ovpnet.store)


def test_cancelled_and_tried_again(cluster: Cluster, ovpnet: Sweeper, slow: list[str],
                                   undisturbed: pd.DataFrame):
    sweep = ovpnet.train(*slow)
    wait_for(training(ovpnet), "checkpoint", 240)
    assert "1 job asked to end" in ovpnet("launch", "cancel")
    told_of = ovpnet.wait(code=1)
    assert "CANCELLED" in told_of
    assert as_typed("launch retry") in told_of
    assert "2 runs submitted again" in ovpnet("launch", "retry", "mem_gb=2")
    assert "nothing to submit" in ovpnet("launch", "retry")
    ovpnet.wait()
    assert [group.options["mem_gb"] for group in sweep.groups()] == [1, 2]
    assert "go on from step" in told(sweep)
    assert_once_and_as(undisturbed, ovpnet.store)


def test_two_sweeps_at_once_that_share_runs(cluster: Cluster, ovpnet: Sweeper, slow: list[str],
                                            undisturbed: pd.DataFrame):
    first = ovpnet.train(*slow[:-1], "seed=1")
    second = ovpnet.train(*slow)
    assert sum(len(pack.runs) for pack in second.packs(0)) == 1, "the other one is the first sweep's"
    for sweep in (first, second):
        ovpnet("launch", "wait", sweep.id)
    assert_once_and_as(undisturbed, ovpnet.store, packed_alike=False)


def test_a_job_takes_the_packs_of_one_that_waits(cluster: Cluster, ovpnet: Sweeper):
    sweep = ovpnet.train(*SMALL, "width=8,16,32", "seed=range(4)", "hydra.launcher.runs_per_pack=2",
                         "hydra.launcher.max_jobs=2", "hydra.launcher.array_parallelism=1")
    assert [len(packs) for packs in sweep.groups()[0].jobs] == [3, 3]
    ovpnet.wait()
    assert read_json(sweep.job_file(0, 0, "progress"))["runs_done"] == 12
    assert read_json(sweep.job_file(0, 1, "progress"))["runs_done"] == 0
    rows = pd.concat([pq.read_table(file).to_pandas() for file in ovpnet.store.glob("runs-*.parquet")])
    assert (len(rows), rows["run_id"].nunique(), set(rows["status"])) == (12, 12, {"done"})


def test_the_pack_of_a_job_that_was_stopped_is_gone_on_with_by_another(cluster: Cluster, ovpnet: Sweeper,
                                                                       slow: list[str], undisturbed: pd.DataFrame):
    sweep = ovpnet.train(*slow, "hydra.launcher.runs_per_pack=1", "hydra.launcher.array_parallelism=1")
    wait_for(training(ovpnet), "checkpoint", 240)
    stopped = next(job for job in jobs(sweep, sweep.groups()) if job.state == "RUNNING")
    cluster.run("scancel", stopped.id)
    ovpnet.wait()
    assert read_json(sweep.job_file(0, 1 - stopped.task, "progress"))["runs_done"] == 2
    assert "go on from step" in told(sweep)
    assert_once_and_as(undisturbed, ovpnet.store, packed_alike=False)


@pytest.mark.parametrize("moment", ["recorded", "submitted"])
def test_the_submitter_may_be_killed(cluster: Cluster, ovpnet: Sweeper, moment: str):
    shell = ovpnet.start("ovpnet.train", "-m", *JOBS, *SMALL, "width=8,16", "seed=1,2")
    if moment == "recorded":
        wait_for(lambda: bool(list(ovpnet.store.glob("sweeps/*/*/group-0.json"))), "record", 240)
    else:
        wait_for(lambda: bool(cluster.run("squeue", "--noheader")), "jobs", 240)
    shell.send_signal(signal.SIGKILL)
    shell.wait()
    time.sleep(1)
    ovpnet("launch", "status")
    again = ovpnet("ovpnet.train", "-m", *JOBS, *SMALL, "width=8,16", "seed=1,2")
    for sweep in sweeps(ovpnet.store):
        process = ovpnet.start("launch", "wait", sweep.id)
        process.communicate(timeout=400)
    runs = Store(ovpnet.store).runs()
    assert (len(runs), set(runs["status"])) == (4, {"done"}), again


def test_a_run_that_fails_does_not_take_others_with_it(cluster: Cluster, ovpnet: Sweeper):
    # Nothing has room for the samples of the second one.
    ovpnet.train(*SMALL, "width=8", "samples=20,1000000000000,40,80", "hydra.launcher.max_jobs=1")
    shown = ovpnet.wait(code=1)
    assert "1 out of memory" in shown
    runs = Store(ovpnet.store).runs().set_index("samples")["status"]
    assert runs.to_dict() == {20: "done", 40: "done", 80: "done", 1_000_000_000_000: "failed"}
    assert "Traceback" in ovpnet("launch", "status", "--failed")


@pytest.mark.slow
def test_a_search_waits_for_its_rounds_of_jobs(cluster: Cluster, ovpnet: Sweeper, tmp_path: Path):
    asked = [*SMALL, "hydra/sweeper=bisect_samples", "hydra.sweeper.resolution=2", "hydra.sweeper.samples_max=256",
             "experiment=quickstart", "width=16,32", "seed=range(2)", "lr=1,2", "device=cpu"]
    told = ovpnet("ovpnet.train", "-m", *JOBS, *asked)
    assert len(sweeps(ovpnet.store)) > 1, "a sweep a round"
    here = trained_here(tmp_path / "undisturbed", asked)
    assert len(here) < 2 * 2 * 2 * 5, told  # which a grid has
    assert_once_and_as(here, ovpnet.store, packed_alike=False)


def test_options_that_sbatch_refuses_are_told(cluster: Cluster, ovpnet: Sweeper):
    refused = ovpnet("ovpnet.train", "-m", *JOBS, *SMALL, "seed=1,2", "hydra.launcher.partition=nowhere", code=1)
    assert "invalid partition specified: nowhere" in refused
    assert "Traceback" not in refused
    assert as_typed("launch retry") in refused
    assert "left" in ovpnet("launch", "status")
    assert "2 runs submitted again" in ovpnet("launch", "retry", "partition=low")
    ovpnet.wait()
