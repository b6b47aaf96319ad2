"""Training that stops and goes on, or runs out of memory, gives the results of training that did neither."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

import ovpnet.run.pack
from launch.packs import packed
from ovpnet.engine.choice import engine_on, shape_of
from ovpnet.engine.engines.reference import Reference
from ovpnet.engine.steppers.reference import ReferenceStepper
from ovpnet.problem.opt import Opt
from ovpnet.record.checkpoint import Checkpoints
from ovpnet.record.store import Store
from ovpnet.run.interruption import interruptions
from ovpnet.run.pack import run_pack
from ovpnet.spec.errors import CheckpointError, InterruptionError
from ovpnet.spec.identity import run_id
from ovpnet.training.ensemble import Ensemble
from ovpnet.training.evaluator import Evaluator
from ovpnet.training.outcome import goal

OPT = Opt("", 0, 0, "noise", 0, 0, 1)
MEMBERS = [["seed=0"], ["seed=0", "lr=0.1"], ["seed=1", "samples=25"], ["seed=2", "weight_decay=0.01"]]
SIGNATURES = [
    [], ["learner=three_layer", "learner.biases=true"], ["dtype=float64", "loss=huber"],
    ["learner.trained=last", "engine=dual"], ["learner=three_layer", "learner.trained=ntk", "engine=dual"],
    ["learner.trained=ntk", "engine=dual", "regularizer.of=increments"], ["learner.trained=ntk", "engine=reference"],
    ["algorithm.sampling=one_pass", "steps=null", "batch_size=1", "algorithm.judged=average"],
    ["algorithm=sgd", "algorithm.judged=average"], ["engine=reference"],
    ["algorithm=algorithm2", "learner=three_layer", "steps=null", "algorithm.rounds=15", "algorithm.inner_steps=2"],
    ["diagnostics=all", "diagnostics.draws=2"],
]
# Of the results, what may differ between two trainings of one run.
ABOUT = ["train_seconds", "pack_id", "pack_members", "finished_at", "checkpoint_minutes", "store"]


def ensemble_of(configs):
    goals = [goal(config, OPT) for config in configs]
    shape, where = shape_of(configs), torch.device("cpu")
    return Ensemble(shape, goals, engine_on(shape, where).stepper(where), where)


def signature_members(make, signature):
    one_pass = "algorithm.sampling=one_pass" in signature
    return [make("evaluations=4", *signature, *member) for member in MEMBERS
            if not (one_pass and any(key.startswith("samples") for key in member))]


def assert_equal(outcome, other):
    """Bit for bit; nan equals nan."""
    same = np.testing.assert_array_equal
    assert [point.step for point in outcome.points] == [point.step for point in other.points]
    for left, right in zip(outcome.points, other.points, strict=True):
        same(left.train, right.train)
        same(left.test, right.test)
        assert left.diagnostics.keys() == right.diagnostics.keys()
        for name, value in left.diagnostics.items():
            same(value, right.diagnostics[name])
    same(outcome.train, other.train)
    assert repr((outcome.test, outcome.validation)) == repr((other.test, other.validation))
    assert (outcome.iterates is None) == (other.iterates is None)
    if outcome.iterates is not None:
        same(outcome.iterates, other.iterates)
    assert outcome.extras.keys() == other.extras.keys()
    for name, value in outcome.extras.items():
        same(value, other.extras[name])


@pytest.mark.parametrize("signature", SIGNATURES, ids=" ".join)
def test_going_on_from_any_checkpoint_is_bitwise_not_having_stopped(make, tmp_path, signature, monkeypatch):
    monkeypatch.setattr("ovpnet.training.schedule.CHUNK_STEPS", 5)  # so that chunks end within the curve's intervals
    configs = signature_members(make, signature)
    whole, kept, store = ensemble_of(configs), [], Checkpoints(tmp_path)
    identity = {"run_ids": [run_id(config) for config in configs]}

    def keep():
        store.save(identity, whole.checkpoint())
        kept.append(store.load(identity))

    outcome = whole.train(on_chunk=keep)
    assert len(kept) > 6
    assert len(outcome.points) == 4
    for arrays in kept:
        again = ensemble_of(configs)
        again.restore(arrays)
        assert_equal(outcome, again.train())
        for name, value in whole.state.weights.items():
            np.testing.assert_array_equal(value, again.state.weights[name])
        for name, value in whole.state.velocity.items():
            np.testing.assert_array_equal(value, again.state.velocity[name])


def test_no_checkpoint_is_made_within_a_chunk(make):
    class Failing(ReferenceStepper):
        def advance(self, rule, state, chunk):
            super().advance(rule, state, chunk)
            raise MemoryError

    config = make()
    ensemble = Ensemble(shape_of([config]), [goal(config, OPT)], Failing(), torch.device("cpu"))
    with pytest.raises(MemoryError):
        ensemble.train()
    with pytest.raises(ValueError, match="not finished"):
        ensemble.checkpoint()


# --- files ---


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    store = Checkpoints(tmp_path)
    identity = {"run_ids": ["a", "b"], "engine": "dual", "git_revision": "1"}
    assert store.load(identity) is None
    store.save(identity, {"step": np.array(3)})
    assert store.load(identity)["step"] == 3
    assert (store.step(["a", "b"]), store.step(["b", "a"])) == (3, 0)
    with pytest.raises(CheckpointError, match="engine=dual, not reference"):
        store.load(identity | {"engine": "reference"})
    with pytest.raises(CheckpointError, match="git_revision=1, not 2"):
        store.load(identity | {"git_revision": "2"})
    assert store.load(identity | {"run_ids": ["b", "a"]}) is None
    assert store.packs() == [["a", "b"]]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "pickle"])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    store, identity = Checkpoints(tmp_path), {"run_ids": ["a"]}
    store.save(identity, {"weights.W": np.arange(1000.0)})
    file = next(store.path.iterdir())
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "pickle":
        np.savez(file, identity=np.array(json.dumps(identity)), code=np.array([print], dtype=object))
    else:
        file.write_bytes({"cut": content[:5000], "flip": content, "empty": b""}[damage])
    with pytest.raises(CheckpointError, match=file.name):
        store.load(identity)
    assert store.step(["a"]) == 0


def test_no_code_of_a_checkpoint_is_ever_run(tmp_path):
    store, identity = Checkpoints(tmp_path), {"run_ids": ["a", "b"]}
    store.save(identity, {})
    file, hidden = store._file(["a", "b"]), np.array(Bomb(), dtype=object)
    for arrays in ({"identity": hidden, "step": hidden}, {"identity": np.array(json.dumps(identity)), "step": hidden}):
        np.savez(file, **arrays)
        for read in (lambda: store.load(identity), lambda: store.halve(["a", "b"])):
            with pytest.raises(CheckpointError):
                read()
        assert store.step(["a", "b"]) == 0
        store.packs()


class Bomb:
    """A pickle that fails the test that reads it."""

    def __reduce__(self):
        return pytest.fail, ("code was run",)


def test_checkpoints_of_finished_runs_are_removed_with_their_litter(tmp_path):
    store = Checkpoints(tmp_path)
    store.clean(set())
    for run_ids in (["a", "b"], ["c"]):
        store.save({"run_ids": run_ids}, {})
    file = store._file(["a", "b"])
    (store.path / f".tmp-{file.stem}-killed").write_bytes(b"half")
    store.clean({"b", "x"})
    assert list(store.path.iterdir()) == [store._file(["c"])]


def test_a_checkpoint_is_halved_with_its_members_and_their_share_of_the_seconds(tmp_path):
    store, identity = Checkpoints(tmp_path), {"run_ids": list("abcde"), "engine": "dual"}
    shared = {"step": np.array(7), "points": np.array([0, 7])}
    store.save(identity, shared | {"seconds": np.array(10.0), "weights.W": np.arange(10.0).reshape(5, 2)})
    store.halve(list("abcde"))
    assert sorted(store.packs()) == [["a", "b"], ["c", "d", "e"]]
    for run_ids, seconds, weights in ((["a", "b"], 4.0, [[0, 1], [2, 3]]),
                                      (["c", "d", "e"], 6.0, [[4, 5], [6, 7], [8, 9]])):
        found = store.load(identity | {"run_ids": run_ids})
        assert found["weights.W"].tolist() == weights
        assert found["seconds"] == pytest.approx(seconds)
        assert {name: found[name].tolist() for name in shared} == {name: each.tolist() for name, each in shared.items()}
    with pytest.raises(CheckpointError, match="engine=dual, not reference"):
        store.load({"run_ids": ["a", "b"], "engine": "reference"})


def test_halving_what_is_not_kept_does_nothing_and_what_is_damaged_is_told(tmp_path):
    store, identity = Checkpoints(tmp_path), {"run_ids": ["a", "b"]}
    store.halve(["a", "b"])
    store.split(identity, [range(1), range(1, 2)])
    assert store.packs() == []
    store.save(identity, {"seconds": np.array(1.0)})
    file = store._file(["a", "b"])
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(CheckpointError, match=f"{file.name}: not a whole checkpoint"):
        store.halve(["a", "b"])
    assert file.exists()


def test_a_damaged_checkpoint_is_no_pack_and_hides_no_other(tmp_path):
    store = Checkpoints(tmp_path)
    for run_ids in (["a"], ["b"], ["c"]):
        store.save({"run_ids": run_ids}, {"step": np.array(1)})
    store._file(["b"]).write_bytes(b"half")
    assert sorted(store.packs()) == [["a"], ["c"]]
    store.save({"run_ids": ["a"]}, {"step": np.array(2)})
    assert (store.step(["a"]), len(store.packs())) == (2, 2), "in place of what was kept"


# --- packs ---


def rows_of(path):
    return Store(path).runs().sort_values("run_id").drop(columns=ABOUT).reset_index(drop=True)


def curves_of(path):
    return Store(path).curves().sort_values(["run_id", "step"]).reset_index(drop=True)


def assert_same_store(path, other, **tolerance):
    for read in (rows_of, curves_of):
        pd.testing.assert_frame_equal(read(path), read(other), check_exact=not tolerance, **tolerance)


@pytest.fixture
def pack(make, tmp_path):
    """pack("store") -> a pack of four runs for that store under tmp_path, with a checkpoint after every chunk."""
    def pack(name, *more):
        Store(tmp_path / name).prepare()
        settings = [f"store={tmp_path / name}", "checkpoint_minutes=0", "engine=reference", *more]
        return [make(*settings, *member) for member in MEMBERS]

    return pack


def after_chunks(number):
    """An interruption that comes while a pack takes its chunks of steps."""
    asked = itertools.count()
    return lambda: next(asked) == number


def test_an_interrupted_pack_goes_on_and_forgets_its_checkpoint(pack, tmp_path):
    run_pack(pack("whole"))
    heard = []
    with pytest.raises(InterruptionError):
        run_pack(pack("cut"), interrupted=after_chunks(2))
    assert len(Checkpoints(tmp_path / "cut").packs()) == 1
    run_pack(pack("cut"), heard.append)
    assert heard == [80, 40]
    assert_same_store(tmp_path / "cut", tmp_path / "whole")
    assert Checkpoints(tmp_path / "cut").packs() == []
    seconds = Store(tmp_path / "cut").runs()["train_seconds"]
    assert (seconds > 0).all()


def test_ctrl_c_in_training_keeps_a_checkpoint_and_a_second_one_stops_at_once(pack, tmp_path, capsys):
    run_pack(pack("whole"))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptionError), interruptions() as interrupted:
        run_pack(pack("cut", "checkpoint_minutes=10"), lambda steps: steps and os.kill(os.getpid(), signal.SIGINT),
                 interrupted)
    assert "once more to stop at once" in capsys.readouterr().err
    heard = []
    run_pack(pack("cut"), heard.append)
    assert heard[0] == 40
    assert_same_store(tmp_path / "cut", tmp_path / "whole")
    with interruptions():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_short_packs_write_no_checkpoint(pack, tmp_path):
    run_pack(pack("short", "checkpoint_minutes=10"))
    assert not (tmp_path / "short" / "checkpoints").exists()


def test_a_checkpoint_of_another_version_is_told_and_not_used(pack, tmp_path, monkeypatch, caplog):
    with pytest.raises(InterruptionError):
        run_pack(pack("cut"), interrupted=after_chunks(1))
    now = ovpnet.run.pack.versions()
    monkeypatch.setattr(ovpnet.run.pack, "versions", lambda: now | {"git_revision": "another"})
    heard = []
    run_pack(pack("cut"), heard.append)
    assert heard == [0, 40, 40, 40]
    assert "git_revision=" in caplog.text
    assert "trained from its beginning" in caplog.text


def test_a_full_disk_stops_no_training(pack, tmp_path, caplog):
    configs = pack("full")
    (tmp_path / "full" / "checkpoints").write_text("in the way")
    assert len(run_pack(configs)) == 4
    assert "no checkpoint kept" in caplog.text


def test_packs_that_have_begun_are_packs_again(make):
    configs = [make(f"seed={seed}") for seed in range(6)]
    ids = [run_id(config) for config in configs]
    begun = [[ids[4], ids[1]], [ids[2], "of another sweep"], [ids[0], ids[5]], [ids[1], ids[3]]]
    found = packed(configs, {ids[5]}, runs_per_pack=2, begun=begun)
    packs = {tuple(run_id(config) for config in pack.configs) for pack in found}
    assert packs == {(ids[4], ids[1]), (ids[0], ids[2]), (ids[3],)}


# --- out of memory ---


ERRORS = [MemoryError("Unable to allocate 3 GiB"), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.")]


class Small(ReferenceStepper):
    """Has room for a number of members only, from some step on."""

    def __init__(self, error, room, chunks):
        self.error, self.room, self.chunks = error, room, chunks

    def advance(self, rule, state, chunk):
        self.chunks -= 1
        if self.chunks < 0 and len(chunk.x) > self.room:
            state.weights["W"].zero_()  # half a step
            raise self.error
        return super().advance(rule, state, chunk)


class SmallEngine(Reference):
    """The reference engine with steps that have little room."""

    def __init__(self, small):
        self.small = small

    def stepper(self, device):
        return self.small


@pytest.mark.parametrize("error", ERRORS, ids=str)
@pytest.mark.parametrize(("minutes", "heard"), [
    (10, [0, 40, 40, -80, 0, 20, 20, 20, 0, 20, 20, 20]),
    (0, [0, 40, 40, -80, 40, 20, 40, 20])], ids=["from the beginning", "from the checkpoint"])
def test_out_of_memory_halves_the_pack_and_loses_nothing(pack, tmp_path, monkeypatch, caplog, error, minutes, heard):
    run_pack(pack("whole"))
    monkeypatch.setattr(ovpnet.run.pack, "engine_on", lambda shape, where: SmallEngine(Small(error, 2, 2)))
    steps = []
    rows = run_pack(pack("small", f"checkpoint_minutes={minutes}"), steps.append)
    assert [row["pack_members"] for row in rows] == [2, 2, 2, 2]
    assert len(re.findall("4 runs do not fit the memory of (cpu|cuda) together", caplog.text)) == 1
    assert steps == heard
    assert_same_store(tmp_path / "small", tmp_path / "whole", rtol=2e-4)
    assert Checkpoints(tmp_path / "small").packs() == []


def test_out_of_memory_in_the_last_measurement_keeps_the_training(pack, tmp_path, monkeypatch):
    run_pack(pack("whole"))
    measure = Evaluator.population_risk

    def small(self, weights, stream):
        if len(self.members.configs) > 1:
            raise MemoryError
        return measure(self, weights, stream)

    monkeypatch.setattr(Evaluator, "population_risk", small)
    steps = []
    run_pack(pack("small", "checkpoint_minutes=10"), steps.append)
    assert steps == [0, 40, 40, 40, -120, 60, -60, 30, 30, 60, -60, 30, 30]
    assert_same_store(tmp_path / "small", tmp_path / "whole", rtol=2e-4)


def test_a_run_that_does_not_fit_alone_is_marked_failed(pack, monkeypatch, tmp_path):
    monkeypatch.setattr(ovpnet.run.pack, "engine_on", lambda shape, where: SmallEngine(Small(ERRORS[0], 0, 0)))
    run_pack(pack("small"))
    rows = Store(tmp_path / "small").runs()
    assert rows["status"].eq("failed").all()
    assert rows["failure"].eq("out of memory").all()
    assert rows["error"].str.contains("3 GiB").all()


LIMITED = """
import resource, sys
# Before the limit: what it needs is not counted.
import ovpnet.run.pack, torch
import hydra_plugins.ovpnet.plugins, pyarrow.dataset, rich.progress, scipy.special
from ovpnet.train import main
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
limit = used + {room}
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_a_real_allocator_that_fails_halves_the_pack(tmp_path):
    settings = ["-m", "width=200000", "samples=2000", "steps=4", "evaluations=1", "batch_size=5", "test.samples=512",
                "test.curve_samples=64", "opt.samples=4096", "seed=range(8)", "engine=reference", "device=cpu",
                "hydra.launcher.runs_per_pack=8"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    for store, room in (("whole", 1 << 40), ("small", 500 << 20)):
        done = subprocess.run([sys.executable, "-c", LIMITED.format(room=room), *settings, f"store={tmp_path / store}"],
                              env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=170)
        assert done.returncode == 0, done.stderr
        assert ("do not fit the memory" in done.stderr) == (store == "small")
    assert_same_store(tmp_path / "small", tmp_path / "whole", rtol=2e-4)


# --- for real ---


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_sweep_that_is_stopped_goes_on_from_its_last_checkpoint(tmp_path, how):
    command = [sys.executable, "-m", "ovpnet.train", "-m", "width=64", "samples=200", "steps=6000", "evaluations=3",
               "test.samples=512", "opt.samples=4096", "seed=range(3)", "checkpoint_minutes=0"]
    whole = subprocess.run([*command, "store=whole"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert whole.returncode == 0, whole.stderr
    files = tmp_path / "cut" / "checkpoints"
    sweep = subprocess.Popen([*command, "store=cut"], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    deadline = time.monotonic() + 60
    while not list(files.glob("*.npz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    sweep.send_signal(how)
    sweep.communicate(timeout=30)
    assert sweep.returncode == {signal.SIGINT: 130, signal.SIGKILL: -9}[how]
    assert Store(tmp_path / "cut").runs().empty
    assert len(Checkpoints(tmp_path / "cut").packs()) == 1
    again = subprocess.run([*command, "store=cut"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert_same_store(tmp_path / "cut", tmp_path / "whole")
    assert list(files.iterdir()) == []
