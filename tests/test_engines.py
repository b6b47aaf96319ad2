"""The facts that engines state of themselves: without torch, completely, and in one place."""

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from launch.packs import packed
from ovpnet.engine.base import Engine
from ovpnet.engine.choice import chosen, engine_on, shape_of
from ovpnet.engine.registry import ENGINES, engine, engines, lookup
from ovpnet.engine.steps import StepLosses
from ovpnet.record.store import Store
from ovpnet.run.pack import run_pack
from ovpnet.spec.errors import ConfigError

ROOT = Path(__file__).parents[1]
RUNS = [["learner.trained=hidden"], ["learner=three_layer", "learner.trained=ntk"], ["learner.trained=all"],
        ["learner=three_layer", "learner.trained=ntk", "width=200", "samples=100", "steps=2000"],
        ["algorithm=kernel_ridge", "learner.trained=last"],
        ["algorithm=algorithm2", "learner=three_layer", "steps=null"]]

ASK = """
import pickle, sys
from launch.packs import packed
from ovpnet.engine.choice import shape_of
from ovpnet.engine.rates import EXAMPLE
from ovpnet.engine.registry import engines

names = set()
for configs in pickle.load(sys.stdin.buffer):
    shape = shape_of(configs)
    names.add(shape.engine.name)
    assert shape.memory > 0 and shape.seconds(EXAMPLE) > 0 and shape.step_seconds(EXAMPLE) > 0
    for engine in engines():
        engine.work(configs[0])
        if engine.lacks(configs[0]) is None:
            engine.lacks_on(configs[0], "cuda")
    assert packed(configs, set())[0].shape.engine is shape.engine
print(*sorted(names), "torch" in sys.modules)
"""


@pytest.fixture
def scratch(monkeypatch):
    """A registry that forgets what the test adds."""
    monkeypatch.setattr(ENGINES, "_classes", {each.name: type(each) for each in engines()})
    yield
    lookup.cache_clear()


class Null(Engine):
    """Covers everything and takes no step: all that an engine must state."""

    def lacks(self, config):
        return None

    def lacks_on(self, config, device):
        return None

    def work(self, config):
        return float("inf")

    def step_bytes(self, shape):
        return 0

    def evaluated_activations(self, shape):
        return shape.activations

    def step_seconds(self, shape, machine):
        return 0.0

    def stepper(self, device):
        return NullStepper()


class NullStepper:
    def measured(self, learner):
        return learner

    def advance(self, rule, state, chunk):
        return StepLosses(torch.zeros(chunk.index.shape[:2]), None)


def test_a_planner_asks_every_fact_without_torch(make):
    runs = pickle.dumps([[replace(make(*overrides), seed=seed) for seed in range(3)] for overrides in RUNS])
    found = subprocess.run([sys.executable, "-c", ASK], input=runs, capture_output=True, cwd=ROOT)
    assert found.returncode == 0, found.stderr.decode()
    assert found.stdout.decode().split() == ["dual", "fused", "reference", "False"]


@pytest.mark.parametrize("fact", sorted(Engine.__abstractmethods__))
def test_an_engine_that_lacks_a_fact_is_refused_when_it_is_defined(scratch, fact):
    kind = type("Incomplete", (Null,), {fact: getattr(Engine, fact)})
    with pytest.raises(TypeError, match=rf"engine incomplete \(Incomplete\) must state: {fact}$"):
        engine("incomplete")(kind)
    with pytest.raises(ConfigError, match="engine=incomplete"):
        lookup("incomplete")


def test_two_engines_of_one_name_are_refused(scratch):
    with pytest.raises(TypeError, match="engine dual is already Dual"):
        engine("dual")(Null)


def test_an_unknown_engine_is_told_with_what_is_allowed():
    with pytest.raises(ConfigError, match="engine=slow: not known; allowed: "):
        lookup("slow")


def test_a_new_engine_is_planned_and_trains_by_its_name_alone(scratch, make, tmp_path):
    engine("null")(Null)
    config = replace(make(f"store={tmp_path}", "steps=30"), engine="null")
    Store(tmp_path).prepare()
    [pack] = packed([config], set())
    assert pack.shape.engine.name == "null"
    assert pack.memory > 0
    [row] = run_pack([config])
    assert (row["status"], row["engine_used"]) == ("done", "null")
    [other] = run_pack([replace(config, engine="auto", seed=1)])
    assert other["engine_used"] != "null"


def test_runs_of_different_engines_are_trained_by_the_one_that_covers_all(make):
    few, many = (make("learner.trained=last", "width=200", "steps=300", f"samples={samples}") for samples in (40, 4000))
    assert chosen(few) is not chosen(many)
    assert shape_of([few, many]).engine is lookup("reference")
    assert engine_on(shape_of([few, few]), torch.device("cpu")).name == chosen(few).name == "dual"


def test_every_engine_covers_something_and_has_a_row_in_the_docs(make):
    page = (ROOT / "docs" / "engines.md").read_text()
    covered = {each.name for overrides in RUNS for each in engines() if each.lacks(make(*overrides)) is None}
    assert covered == {each.name for each in engines()}
    for each in engines():
        assert f"\n| `{each.name}` |" in page, f"docs/engines.md has no row for {each.name}"
