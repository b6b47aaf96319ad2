"""The command line as a user meets it, in processes of its own."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ovpnet.record.store import Store
from ovpnet.terminal.words import verb

SMALL = ["width=16", "steps=40", "opt.samples=4096", "test.samples=512", "test.curve_samples=256", "evaluations=4"]


def train(*arguments, cwd):
    return subprocess.run([sys.executable, "-m", "ovpnet.train", *arguments], cwd=cwd, capture_output=True, text=True,
                          timeout=120)


def test_one_run_then_the_same_again(tmp_path):
    first = train(*SMALL, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "test risk" in first.stdout
    assert "OPT + epsilon" in first.stdout
    again = train(*SMALL, cwd=tmp_path)
    assert "already; nothing to train" in again.stdout
    assert again.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]
    assert len(Store(tmp_path / "store").runs()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["store"], "no output folders"


def test_a_run_that_never_reaches_its_goal_says_so(tmp_path):
    done = train(*SMALL, "epsilon=1e-9", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("not reached")


def test_sweep_skips_what_is_finished_and_equals_single_runs(tmp_path):
    single = train(*SMALL, "width=8", "samples=50", "seed=1", cwd=tmp_path)
    assert single.returncode == 0, single.stderr
    alone = Store(tmp_path / "store").runs().iloc[0]
    sweep = train("-m", *SMALL[1:], "width=8,16", "samples=50,100", "seed=range(3)", "lr=0.5,1e12",
                  "store=other", cwd=tmp_path)
    assert sweep.returncode == 0, sweep.stderr
    assert "24 runs; training 24" in sweep.stdout
    assert "12 done, 12 diverged" in sweep.stdout or "12 diverged, 12 done" in sweep.stdout
    packed = Store(tmp_path / "other").runs().set_index("run_id").loc[alone["run_id"]]
    assert packed["test_risk"] == pytest.approx(alone["test_risk"], rel=1e-4)
    again = train("-m", *SMALL[1:], "width=8,16", "samples=50,100", "seed=range(4)", "lr=0.5",
                  "store=other", cwd=tmp_path)
    assert "16 runs of which 12 are in other already and are skipped; training 4" in again.stdout
    assert len(Store(tmp_path / "other").runs()) == 28


@pytest.mark.parametrize(("arguments", "message"), [
    (["width=0"], "width=0: must be at least 1"),
    (["samples=-1"], "samples=-1: must be at least 1"),
    (["concept=parabola"], "parabola"),
    (["-m", "width=8,0"], "width=0: must be at least 1"),
    (["-m", "concept=two_layer,parabola"], "parabola"),
    (["concept.activations=[relu]"],
     "relu: not known; allowed: sin, cos, exp, tanh, sigmoid, erf, sinh, poly, hermite"),
    (["concept.activations=[exp]", "concept.scales=[1000]"], "concept.scales"),
    (["store=/proc/nowhere"], "store=/proc/nowhere: cannot be written"),
    (["-m", "store=/proc/nowhere", "seed=1,2"], "store=/proc/nowhere: cannot be written"),
    (["device=cuda:9"], "device=cuda:9"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_input_fails_before_training_with_a_message_and_a_code(tmp_path, arguments, message):
    done = train(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert Store(tmp_path / "store").runs().empty


def test_truncated_file_is_reported_and_its_runs_are_trained_again(tmp_path):
    train("-m", *SMALL, "seed=1,2", cwd=tmp_path)
    file = next((tmp_path / "store").glob("runs-*.parquet"))
    file.write_bytes(file.read_bytes()[:100])
    again = train("-m", *SMALL, "seed=1,2", cwd=tmp_path)
    assert again.returncode == 0
    assert f"skipped store/{file.name}" in again.stderr
    assert "training 2" in again.stdout
    assert len(Store(tmp_path / "store").runs()) == 2


def test_interrupted_sweep_keeps_what_is_finished_and_continues(tmp_path):
    command = [sys.executable, "-m", "ovpnet.train", "-m", *SMALL[2:], "steps=1000", "width=32", "seed=range(30)",
               "hydra.launcher.runs_per_pack=1"]
    sweep = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env=os.environ, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    deadline = time.monotonic() + 60
    while not list((tmp_path / "store").glob("runs-*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    sweep.send_signal(signal.SIGINT)
    _, errors = sweep.communicate(timeout=30)
    assert sweep.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    kept = Store(tmp_path / "store").finished()
    assert 0 < len(kept) < 30
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert f"of which {len(kept)} {verb(len(kept), 'is', 'are')} in store already" in again.stdout
    assert len(Store(tmp_path / "store").runs()) == 30


def test_help_and_config_are_readable(tmp_path):
    shown = train("--help", cwd=tmp_path)
    assert shown.returncode == 0
    for word in ("width", "samples", "epsilon", "concept", "figure1", "experiment", "quickstart", "-m"):
        assert word in shown.stdout, word
    assert "schema" not in shown.stdout
    assert "width: 256" in train("--cfg", "job", cwd=tmp_path).stdout
    assert list(tmp_path.iterdir()) == []
