"""Sweeps in processes of this machine, through kills of every kind: nothing is lost, nothing comes out otherwise."""

import os
import signal
import subprocess
import sys

import pandas as pd
import pytest

from launch.sweep import sweeps
from ovpnet.record.checkpoint import Checkpoints
from ovpnet.record.store import Store
from ovpnet.terminal.commands import as_typed
from tests.launch.conftest import CODE, EVIL, assert_stored_as, eventually, said

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="counts on Linux's processes")]

SMALL = ["width=8", "samples=40", "steps=30", "batch_size=10", "evaluations=2", "test.samples=512",
         "test.curve_samples=256", "opt.samples=4096"]

# Found by every process of a sweep: what a run does when its training begins.
POISON = '''
import os
import signal
import ovpnet.training.ensemble

build = ovpnet.training.ensemble.Ensemble.__init__

def poisoned(self, shape, *arguments):
    build(self, shape, *arguments)
    if any(config.seed in {seeds} for config in shape.configs):
        {act}

ovpnet.training.ensemble.Ensemble.__init__ = poisoned
'''


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, slow) -> pd.DataFrame:
    """The runs of the slow pack, trained in one process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    environment = os.environ | {"PYTHONPATH": str(CODE), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "ovpnet.train", "-m", *slow], cwd=folder, env=environment, check=True,
                   capture_output=True)
    return Store(folder / "store").runs()


def poison(shell, act, seeds):
    """Processes that the shell starts from now on act so where they train one of the seeds."""
    folder = shell.folder / "poison"
    folder.mkdir()
    (folder / "poison.py").write_text(POISON.format(seeds=set(seeds), act=act))
    # Once ovpnet.run.pack is imported, so that commands which import no torch stay quick.
    (folder / "sitecustomize.py").write_text(
        "import sys\nif sys.orig_argv[2:4] == ['-m', 'launch.worker'] or 'poison' in sys.argv: import poison\n")
    shell.environment["PYTHONPATH"] = f"{folder}{os.pathsep}{CODE}"


def statuses(shell):
    return Store(shell.store).runs().set_index("seed")["status"].to_dict()


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"


def test_a_command_returns_at_once_and_leaves_no_pipe_open(shell, slow):
    """A shell that reads what the command prints does not wait for the jobs."""
    sweep = shell.train(*slow)
    assert not shell.progress(sweep).get("ended")
    assert Store(shell.store).runs().empty
    shell("launch", "cancel")
    shell.wait(code=1)


def test_a_worker_that_is_killed_loses_nothing(shell, undisturbed, slow):
    sweep = shell.train(*slow)
    eventually(shell.kept, "checkpoint")
    worker = shell.progress(sweep)["pid"]
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: len(shell.progress(sweep)["training"]) == 1, "half a pack")
    shell.wait()
    assert "the worker died (signal 9 (SIGKILL), as by the kernel if memory runs out)" in said(sweep)
    assert "go on from step" in said(sweep)
    assert Store(shell.store).runs()["pack_members"].eq(1).all()
    assert_stored_as(undisturbed, shell.store)


def test_a_run_that_always_kills_its_worker_is_given_up(shell):
    poison(shell, "os.kill(os.getpid(), signal.SIGKILL)", {3})
    sweep = shell.train(*SMALL, "seed=range(5)", "hydra.launcher.retries=1", "hydra.launcher.runs_per_pack=5")
    assert "1 killed" in shell.wait(code=1)
    assert statuses(shell) == {0: "done", 1: "done", 2: "done", 3: "failed", 4: "done"}
    row = Store(shell.store).runs().set_index("seed").loc[3]
    assert row["failure"] == "killed"
    assert "the process that trained it died 2 times; signal 9 (SIGKILL)" in row["error"]
    told = shell("launch", "status", "--failed")
    assert "1 run: the process that trained it died 2 times" in told
    assert row["run_id"] in told
    assert shell.job(sweep)["how"] == "done"
    # What made it fail is mended, and it is tried again.
    shell.environment["PYTHONPATH"] = str(CODE)
    assert "1 run submitted again" in shell("launch", "retry")
    shell.wait()
    assert set(statuses(shell).values()) == {"done"}
    assert "no run of this sweep failed" in shell("launch", "status", "--failed")


def test_a_run_that_raises_is_stored_as_failed_with_its_traceback(shell):
    poison(shell, "raise ZeroDivisionError('a poisoned seed')", {1, 2})
    shell.train(*SMALL, "seed=range(4)")
    assert "2 exception" in shell.wait(code=1)
    assert statuses(shell) == {0: "done", 1: "failed", 2: "failed", 3: "done"}
    told = shell("launch", "status", "--failed")
    assert "2 runs: ZeroDivisionError: a poisoned seed (exception)" in told
    assert "Traceback (most recent call last)" in told


def test_a_supervisor_that_is_killed_leaves_a_checkpoint(shell, undisturbed, slow):
    sweep = shell.train(*slow)
    eventually(shell.kept, "checkpoint")
    worker = shell.progress(sweep)["pid"]
    os.kill(shell.job(sweep)["pid"], signal.SIGKILL)
    eventually(lambda: gone(worker), "end of the worker")
    assert shell.kept()
    told = shell("launch", "status")
    assert "1 KILLED" in told
    assert f"ended with runs left: {as_typed('launch retry')}" in told
    shell.wait(code=1)
    assert "2 runs submitted again in 1 job" in shell("launch", "retry")
    shell.wait()
    assert "go on from step" in said(sweep)
    assert_stored_as(undisturbed, shell.store)


def test_what_is_cancelled_keeps_a_checkpoint(shell, undisturbed, slow):
    sweep = shell.train(*slow)
    eventually(shell.kept, "checkpoint")
    assert "1 job asked to end" in shell("launch", "cancel")
    assert "1 CANCELLED" in shell.wait(code=1)
    assert shell.kept()
    assert "no job runs or waits" in shell("launch", "cancel")
    shell("launch", "retry", "workers=1")
    shell.wait()
    assert "go on from step" in said(sweep)
    assert_stored_as(undisturbed, shell.store)


def test_what_is_cancelled_before_it_trains_ends(shell, slow):
    sweep = shell.train(*slow)
    eventually(lambda: shell.job(sweep), "supervisor")
    assert not shell.progress(sweep), "in training already"
    assert "1 job asked to end" in shell("launch", "cancel")
    assert "1 CANCELLED" in shell.wait(code=1)
    assert Store(shell.store).runs().empty
    assert not shell.kept()


def test_two_sweeps_at_once_train_each_run_once(shell, undisturbed, slow):
    first = shell.train(*slow[:-1], "seed=1")
    second = shell.train(*slow)
    assert [len(pack.runs) for pack in second.packs(0)] == [1]
    assert shell("ovpnet.train", "-m", *slow).splitlines()[-1].startswith("2 runs: 2 not trained")
    for sweep in (first, second):
        shell("launch", "wait", sweep.id)
    assert_stored_as(undisturbed, shell.store)


def test_logs_and_the_states_of_jobs(shell):
    sweep = shell.train(*SMALL, "width=8,9,10", "hydra.launcher.workers=2")
    shell.wait()
    told = shell("launch", "logs", sweep.id[-4:])
    assert told.count("COMPLETED") == 2
    assert "training 1 run" in told
    one = shell("launch", "logs", "--job", "0-1", "-n", "1")
    assert ("== job 0-1" in one, "== job 0-0" in one) == (True, False)
    assert "--job 7-7: no job of" in shell("launch", "logs", "--job", "7-7", code=1)
    table = shell("launch", "status", "--all")
    assert sweep.id in table
    assert "2 completed" in table
    assert "nothing to submit" in shell("launch", "retry")


@pytest.mark.parametrize("study", [each for each in EVIL if "\x00" not in each][:4])
def test_a_study_of_any_name_runs_and_nothing_of_its_name_does(shell, study):
    quoted = "'" + study.replace("\\", "\\\\").replace("'", "\\'") + "'"
    sweep = shell.train(*SMALL, "seed=1", f"study={quoted}")
    shell.wait()
    assert sweep.about()["study"] == study
    assert Store(shell.store).runs()["study"].tolist() == [study]
    assert not [file for file in shell.folder.rglob("*pwned*") if file.is_file()]


# --- stores that cannot be written to ---


def test_a_store_that_fills_is_told_and_loses_nothing(shell):
    shell.train(*SMALL, "seed=1")
    shell.wait()
    full = "raise OSError(28, 'No space left on device')"
    poison(shell, "from ovpnet.record import store\n"
           f"        def fsync(file): {full}\n        store.os.fsync = fsync", {2})
    sweep = shell.train(*SMALL, "seed=1,2,3", "hydra.launcher.retries=0", "hydra.launcher.runs_per_pack=1")
    told = shell.wait(code=1)
    assert "1 FAILED" in told
    assert "No space left on device" in said(sweep)
    assert "nothing stored before is lost" in said(sweep)
    assert statuses(shell)[1] == "done"
    shell.environment["PYTHONPATH"] = str(CODE)
    shell("launch", "retry")
    shell.wait()
    assert statuses(shell) == {1: "done", 2: "done", 3: "done"}


# --- hydra/launcher=local with several workers ---

LOCAL = ["ovpnet.train", "-m", "hydra/launcher=local", "hydra.launcher.workers=2"]


def test_workers_of_one_command_share_the_packs(shell):
    told = shell(*LOCAL, *SMALL, "width=8,9,10,11")
    assert "and 2 jobs" in told
    assert "4/4 runs" in told
    assert "4 runs: 4 done" in told
    [sweep] = sweeps(shell.store)
    assert [shell.job(sweep, 0, task)["how"] for task in (0, 1)] == ["done", "done"]


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGINT", "SIGTERM"])
def test_workers_of_a_command_that_is_stopped_keep_checkpoints(shell, how, slow):
    process = shell.start(*LOCAL, *slow, "hydra.launcher.runs_per_pack=1", start_new_session=True,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    eventually(lambda: len(list((shell.store / "checkpoints").glob("*.npz"))) == 2, "two checkpoints")
    [sweep] = sweeps(shell.store)
    workers = [shell.progress(sweep, 0, task)["pid"] for task in (0, 1)]
    if how == "Ctrl-C":  # reaches all processes of a terminal
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.Signals[how])
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "the same command continues" in told
    eventually(lambda: all(map(gone, workers)), "end of the workers", 10)
    assert len(Checkpoints(shell.store).packs()) == 2
    assert Store(shell.store).runs().empty
    assert "2 runs: 2 done" in shell(*LOCAL, *slow, "hydra.launcher.runs_per_pack=1")


def test_a_command_whose_worker_fails_says_so(shell):
    poison(shell, "os._exit(1)", {2})
    told = shell(*LOCAL, *SMALL, "width=8,9", "seed=1,2", "hydra.launcher.retries=0", "hydra.launcher.runs_per_pack=1",
                 code=1)
    assert as_typed("launch logs") in told
    assert "Traceback" not in told
