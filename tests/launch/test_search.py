"""The search for N_eps against oracles in place of training, and once with nets: what it finds is what a grid finds."""

import math
import os
import re
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.plugins import Plugins
from hydra.errors import CompactHydraException
from hydra.types import RunMode

from analysis.complexity import sample_complexity
from analysis.load import with_problem
from analysis.tune import best_tuned
from launch import run
from launch.bisection import points, spacing
from launch.launchers.local import Local
from launch.launchers.subprocess import Subprocess
from launch.search import Search, cells, search
from ovpnet.record.store import Store
from ovpnet.run.results import config_row
from ovpnet.spec.errors import OvpnetError
from ovpnet.spec.identity import run_id
from ovpnet.spec.schemas import conf_dir, register_schemas
from ovpnet.terminal.commands import as_typed
from tests.launch.conftest import eventually

RESOLUTION = 1.2
AMONG = points(16, 1024, RESOLUTION)  # 25 N


@pytest.fixture
def grid(make, tmp_path):
    """grid(width=[8, 16], seed=[0, 1]) -> the overrides of the grid's jobs, and their configs."""
    base = make(f"store={tmp_path / 'store'}")

    def grid(**values):
        jobs: list[dict] = [{}]
        for name, each in values.items():
            jobs = [{**job, name: value} for job in jobs for value in each]
        return ([[f"{name}={value}" for name, value in job.items()] for job in jobs],
                [replace(base, samples=AMONG[0], **job) for job in jobs])

    return grid


@pytest.fixture
def oracle(monkeypatch):
    """oracle(risks) -> the configs trained from now on, round by round. risks(config) gives the (test risk, validation
    risk) of a run, of which 1 is the threshold; inf for one that diverges, nan for one that fails."""
    def oracle(risks):
        rounds = []

        def train(configs, options):
            store = Store(configs[0].store)
            store.prepare()
            new = [config for config in configs if run_id(config) not in store.finished()]
            rounds.append(new)
            store.write_pack([row(config, *risks(config)) for config in new], [])

        monkeypatch.setattr(run, "train", train)
        return rounds

    return oracle


def row(config, test, validation):
    status = "failed" if math.isnan(test) else "done" if math.isfinite(test) else "diverged"
    done = status == "done"
    return config_row(config) | {
        "status": status, "finished_at": "2026-01-01T00:00:00+00:00", "threshold": 1.0, "opt": 0.5,
        "second_moment": 1.0, "test_risk": test if done else None, "validation_risk": validation if done else None,
        "test_risk_se": 0.01, "failure": "exception" if status == "failed" else None,
        "error": "a bad N" if status == "failed" else None}


def found(store):
    """(low, high) that the analysis reads from the store of one problem, by width and seed."""
    table = sample_complexity(best_tuned(Store(store).runs().assign(problem="")))
    return {(row.width, row.seed): (row.low, row.high) for row in table.itertuples()}


def sought(jobs, configs, among=AMONG):
    """Search to the end; the store."""
    what = Search(cells(jobs, configs, among), spacing(RESOLUTION))
    search(what, Local())
    return what.store.path


def around(N):
    """The interval of N_eps = N."""
    return (max((each for each in AMONG if each < N), default=0), min((each for each in AMONG if each >= N),
                                                                      default=math.inf))


def test_every_seed_of_every_width_gets_its_interval_and_few_runs_are_trained(grid, oracle):
    """N_eps grows with the width and differs between seeds; the better lr, by validation, decides."""
    n_eps = {(width, seed): 100 * (width / 8) ** 0.3 * 1.2 ** (seed - 1) for width in (8, 64, 512) for seed in range(3)}

    def risks(config):
        risk = n_eps[config.width, config.seed] / config.samples * (1 if config.lr == 2 else 3)
        return risk, risk

    rounds = oracle(risks)
    store = sought(*grid(width=[8, 64, 512], seed=range(3), lr=[1.0, 2.0]))
    assert found(store) == {key: around(N) for key, N in n_eps.items()}
    trained = [run_id(config) for configs in rounds for config in configs]
    assert len(trained) == len(set(trained)) < 18 * len(AMONG) / 2
    # The narrowest width is looked at alone until its N_eps is known; the others start from there, together.
    widths = [{config.width for config in configs} for configs in rounds]
    alone = widths.index({64, 512})
    assert set.union(*widths[:alone]) == {8}
    assert {config.samples for config in rounds[alone]} <= {around(n_eps[8, seed])[1] for seed in range(3)}
    # At every N that a cell is looked at, all its runs are trained: tuning sees there what it sees in a grid.
    counts = Store(store).runs().groupby(["width", "samples"]).size()
    assert counts.eq(6).all()


def test_a_lone_setting_lets_every_seed_be_looked_at_where_it_needs_it(grid, oracle):
    n_eps = {0: 20.0, 1: 120.0, 2: 900.0}
    rounds = oracle(lambda config: (n_eps[config.seed] / config.samples,) * 2)
    store = sought(*grid(width=[8, 16], seed=range(3)))
    assert found(store) == {(width, seed): around(N) for width in (8, 16) for seed, N in n_eps.items()}
    assert Store(store).runs().groupby(["width", "samples"]).size().lt(3).any()
    wide = [config for configs in rounds for config in configs if config.width == 16]
    assert len(wide) <= 3 * 4, "each seed starts from its own N_eps at the other width"


def test_the_tuning_choice_is_that_of_the_analysis_on_a_whole_grid(grid, oracle, tmp_path):
    """Test and validation risks with noise of their own: often another lr has the least test risk. All of it falls
    with N, so the grid has one crossing, and the search must find that one."""
    noise = np.random.default_rng(0)
    factors = {(width, seed, lr): noise.uniform(0.5, 2, 2) for width in (8, 16) for seed in range(4)
               for lr in (1.0, 2.0, 4.0)}

    def risks(config):
        return tuple(150 / config.samples * factors[config.width, config.seed, config.lr])

    jobs, configs = grid(width=[8, 16], seed=range(4), lr=[1.0, 2.0, 4.0])
    oracle(risks)
    store = sought(jobs, configs)
    whole = Store(tmp_path / "whole")
    whole.prepare()
    whole.write_pack([row(each, *risks(each)) for config in configs for N in AMONG
                      for each in [replace(config, samples=N)]], [])
    assert found(store) == found(whole.path)
    assert len(Store(store).runs()) < len(whole.runs()) / 2
    assert len(set(found(store).values())) > 2


def test_results_that_are_not_monotone_end_at_a_crossing_of_the_grid(grid, oracle, tmp_path):
    chance = np.random.default_rng(1)
    table = {(seed, N): chance.uniform(0.5, 1.5) for seed in range(5) for N in AMONG}
    oracle(lambda config: (table[config.seed, config.samples],) * 2)
    for (_, seed), (low, high) in found(sought(*grid(width=[8], seed=range(5)))).items():
        assert (low, high) == around(high)
        assert low == 0 or table[seed, low] > 1
        assert high == math.inf or table[seed, high] <= 1


def test_what_passes_everywhere_or_nowhere_is_censored_and_no_guide(grid, oracle, capsys):
    """m = 8 cannot reach epsilon at all, so m = 16 is looked at next, from the whole range, and then m = 64."""
    n_eps = {8: 1e9, 16: 60.0, 64: 1.0}
    rounds = oracle(lambda config: (n_eps[config.width] / config.samples,) * 2)
    store = sought(*grid(width=[8, 16, 64], seed=[0]))
    assert found(store) == {(8, 0): (AMONG[-1], math.inf), (16, 0): around(60), (64, 0): (0, AMONG[0])}
    assert [config.width for configs in rounds for config in configs] == sorted(
        config.width for configs in rounds for config in configs)
    told = capsys.readouterr().out
    assert f"> {AMONG[-1]}" in told
    assert f"<= {AMONG[0]}" in told
    assert "(54, 64]" in told or "(59, 64]" in told


def test_the_same_command_trains_nothing_again_and_a_finer_one_goes_on(grid, oracle):
    jobs, configs = grid(width=[8, 16], seed=range(2), lr=[1.0, 2.0])
    rounds = oracle(lambda config: ((100 + 9 * config.seed) / config.samples,) * 2)
    store = sought(jobs, configs)
    first, before = len(rounds), Store(store).finished()
    assert sought(jobs, configs) == store
    assert len(rounds) == first
    sought(jobs, configs, points(16, 1024, 1.1))
    assert rounds[first:]
    new = Store(store).finished() - before
    assert 0 < len(new) < len(before)


def test_it_goes_on_from_any_moment_and_completes_what_is_begun(grid, oracle, tmp_path):
    """However much of the runs is stored when a command ends, the next one ends with the same intervals and has no N of
    which a part of the runs is stored."""
    jobs, configs = grid(width=[8, 16], seed=range(3), lr=[1.0, 2.0])
    risks = {seed: 70 * 1.5 ** seed for seed in range(3)}
    rounds = oracle(lambda config: (risks[config.seed] / config.samples * config.lr,) * 2)
    whole = found(sought(jobs, configs))
    order = [config for configs in rounds for config in configs]
    for moment in (len(rounds[0]) + 1, len(order) * 2 // 3):
        again = [replace(config, store=str(tmp_path / f"until{moment}")) for config in configs]
        left = Store(again[0].store)
        left.prepare()
        left.write_pack([row(config, *(risks[config.seed] / config.samples * config.lr,) * 2)
                         for config in order[:moment]], [])
        assert found(sought(jobs, again)) == whole
        assert left.runs().groupby(["width", "samples"]).size().eq(6).all()


def test_runs_that_fail_or_diverge_do_not_pass_and_are_told(grid, oracle):
    bad = {1: math.nan, 2: math.inf}

    def risks(config):
        bad_here = config.seed in bad and config.samples < 100 * (1 + config.seed)
        return (bad[config.seed] if bad_here else 100 / config.samples,) * 2

    jobs, configs = grid(width=[8], seed=range(3))
    rounds = oracle(risks)
    with pytest.raises(OvpnetError, match=r"runs failed and count as not passing: a bad N \(exception\)"):
        sought(jobs, configs)
    intervals = found(configs[0].store)
    assert intervals[8, 0] == around(100)
    assert intervals[8, 1][1] == min(N for N in AMONG if N >= 200)
    assert intervals[8, 2] == around(300)
    # What made them fail is mended: they are tried again.
    del bad[1]
    before = len(rounds)
    store = sought(jobs, configs)
    assert {config.seed for configs in rounds[before:] for config in configs} == {1}
    assert found(store) == {(8, 0): around(100), (8, 1): around(100), (8, 2): around(300)}


def test_a_round_of_which_everything_fails_ends_the_search(grid, oracle):
    rounds = oracle(lambda config: (math.nan, math.nan))
    with pytest.raises(OvpnetError, match="every run of round 1 failed: a bad N"):
        sought(*grid(width=[8], seed=range(4), lr=[1.0]))
    assert len(rounds) == 1


def test_problems_are_searched_apart_and_named(grid, oracle, capsys, make):
    jobs, configs = grid(width=[8, 16], seed=[0])
    jobs = [[*job, f"concept.p={p}"] for p in (1, 4) for job in jobs]
    configs = [replace(config, concept=replace(config.concept, p=p)) for p in (1, 4) for config in configs]
    rounds = oracle(lambda config: (30 * config.concept.p / config.samples,) * 2)
    sought(jobs, configs)
    assert len({(config.concept.p, config.width) for config in rounds[0]}) == 2, "the narrowest of each, side by side"
    told = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("concept.p")]
    assert [line[:2] for line in told] == [["concept.p=1", "8"], ["concept.p=1", "16"], ["concept.p=4", "8"],
                                           ["concept.p=4", "16"]]


def submitted(monkeypatch, *answers):
    """Rounds are submitted from now on, and nothing is trained; live jobs say in turn what they have to train."""
    monkeypatch.setattr(run, "train", lambda configs, options: None)
    given = iter(answers)

    def under_way(store, wanted):
        answer = next(given)
        return answer() if callable(answer) else answer

    monkeypatch.setattr("launch.search.under_way", under_way)
    monkeypatch.setattr(Subprocess, "poll_seconds", 0.0)
    monkeypatch.setattr(Subprocess, "patience_seconds", 0.0)


def test_a_round_that_others_train_is_waited_for_whatever_the_scheduler_says(grid, monkeypatch, capsys):
    jobs, configs = grid(width=[8], seed=[0])
    store = Store(configs[0].store)
    store.prepare()

    def busy():
        raise OvpnetError("squeue did not answer")

    def stored():  # at the least N, where it passes: the search ends
        store.write_pack([row(replace(configs[0], samples=N), 0.5, 0.5) for N in AMONG], [])
        return {"another sweep": {"its run"}}

    submitted(monkeypatch, {"a sweep": {"a run"}}, busy, stored)
    search(Search(cells(jobs, configs, AMONG), spacing(RESOLUTION)), Subprocess())
    told = capsys.readouterr()
    assert "squeue did not answer; asking again" in told.err
    assert f"<= {AMONG[0]}" in told.out


def test_a_round_that_nobody_trains_is_an_error(grid, monkeypatch):
    jobs, configs = grid(width=[8], seed=[0, 1], lr=[1.0, 2.0])
    submitted(monkeypatch, {"a sweep": {"a run"}}, {})
    logs = re.escape(as_typed("launch logs"))
    with pytest.raises(OvpnetError, match=f"4 runs not trained: {logs}.*the same command goes on"):
        search(Search(cells(jobs, configs, AMONG), spacing(RESOLUTION)), Subprocess())


# --- with nets ---


def test_nets_have_the_intervals_of_a_grid(make, tmp_path):
    among = points(16, 256, 1.5)
    base = make("concept.scales=[3]", "inputs.d=6", "steps=500", "batch_size=50", "test.samples=2048", "samples=16",
                f"store={tmp_path / 'bisected'}")
    jobs = [[f"width={width}", f"seed={seed}", f"lr={lr}"] for width in (64, 128) for seed in range(3) for lr in (1, 3)]
    configs = [replace(base, width=width, seed=seed, lr=float(lr)) for width in (64, 128) for seed in range(3)
               for lr in (1, 3)]
    run.sweep([replace(config, samples=N, store=str(tmp_path / "grid")) for config in configs for N in among],
              Local())
    what = Search(cells(jobs, configs, among), spacing(1.5))
    search(what, Local())
    table = sample_complexity(best_tuned(with_problem(Store(tmp_path / "grid").runs())))
    bisected = found(what.store.path)
    expected = {(row.width, row.seed): (row.low, row.high) for row in table.itertuples() if row.monotone}
    assert {key: bisected[key] for key in expected} == expected
    assert len(expected) >= 4
    assert table["censored"].eq("").all()
    assert len(what.store.runs()) < len(Store(tmp_path / "grid").runs())


# --- the sweeper ---


@pytest.fixture(scope="module")
def loader():
    register_schemas()
    Plugins.instance()
    return ConfigLoaderImpl(config_search_path=create_config_search_path(str(conf_dir().resolve())))


@pytest.fixture
def swept(loader, monkeypatch, tmp_path):
    """swept(*overrides) -> the Search that the sweeper begins."""
    from hydra_plugins.ovpnet.plugins import BisectSweeper, LocalLauncher

    def swept(*overrides):
        jobs = [each for each in overrides if "hydra" not in each]
        fixed = [each for each in overrides if "hydra" in each or not any(sign in each for sign in (",", "range"))]
        config = loader.load_configuration("config", ["hydra/sweeper=bisect_samples", f"store={tmp_path}", *fixed],
                                           run_mode=RunMode.MULTIRUN)
        conf = config.hydra.sweeper
        sweeper = BisectSweeper(conf.params, conf.grids, conf.resolution, conf.samples_min, conf.samples_max)
        sweeper.config, sweeper.launcher = config, LocalLauncher()
        sweeper.hydra_context = SimpleNamespace(config_loader=loader)
        sweeper.launcher.setup(hydra_context=sweeper.hydra_context, task_function=lambda _: None, config=config)
        begun = []
        monkeypatch.setattr("launch.search.search", lambda what, options: begun.append(what))
        sweeper.sweep(jobs)
        return begun[0]

    return swept


def test_a_study_is_searched_without_its_samples(swept):
    what = swept("experiment=quickstart", "seed=0,1")
    assert [(cell.width, cell.seeds, len(cell.members)) for cell in what.cells] == [
        (width, [0, 1], 6) for width in (32, 128, 512, 2048)]
    assert (what.points[0], what.points[-1]) == (16, 16384)
    assert {config.samples for config in what.cells[0].at(3)} == {what.points[3]}


def test_studies_of_several_grids_are_searched(swept):
    what = swept("experiment=quickstart", "hydra.sweeper.samples_max=64", "seed=0,1",
                 "hydra.sweeper.grids=[{width: '8,16', lr: 5}, {learner.trained: last, samples: 50, width: 8}]")
    assert what.points[-1] == 64
    # One lr: a cell a seed. Three: all seeds together.
    assert [(cell.label, cell.width, cell.seeds) for cell in what.cells] == [
        ("", 8, [0]), ("", 8, [1]), ("", 16, [0]), ("", 16, [1]), ("learner.trained=last", 8, [0, 1])]
    assert len({cell.problem for cell in what.cells}) == 2


@pytest.mark.parametrize(("given", "error"), [
    (["samples=10,20"], r"samples=10,20: hydra/sweeper=bisect_samples chooses the samples; give .*samples_min"),
    (["++samples=10"], "chooses the samples"),
    (["hydra.sweeper.samples_min=100", "hydra.sweeper.samples_max=50"],
     r"hydra.sweeper.samples_min=100: must be less than hydra.sweeper.samples_max \(50\)"),
    (["hydra.sweeper.samples_min=0"], "hydra.sweeper.samples_min=0: must be at least 1"),
    (["hydra.sweeper.resolution=1"], "hydra.sweeper.resolution=1.0: must be at least 1.01"),
    (["hydra.sweeper.resolution=nan"], "hydra.sweeper.resolution=nan: must be a finite number"),
    (["hydra.sweeper.samples_min=33", "hydra.sweeper.samples_max=34"], "leaves 0 N from 33 to 34, and 2 are needed"),
    (["batch_size=${samples}"], "batch_size=16: follows samples"),
    (["width=0,8"], "width=0: must be at least 1"),
    (["seed=range(0)"], "seed=range.0.*: no run; a range or a list .* is empty"),
    (["experiment=one_pass", "batch_size=50"], r"batch_size=50: must be at most samples \(16\)"),
    (["experiment=quickstart,one_pass"], "one experiment per sweep")])
def test_what_cannot_be_searched_is_refused(swept, given, error):
    with pytest.raises(CompactHydraException, match=error):
        swept(*given, *(["steps=10"] if "experiment" not in given[0] else []))


SMALL = ["hydra/sweeper=bisect_samples", "hydra.sweeper.resolution=1.5", "hydra.sweeper.samples_min=8",
         "hydra.sweeper.samples_max=64", "width=8,16", "seed=0,1", "lr=1,3", "batch_size=10", "evaluations=2",
         "epsilon=0.3", "test.samples=512", "test.curve_samples=256", "opt.samples=4096"]


@pytest.mark.slow
def test_a_command_that_is_killed_and_given_again_ends_as_an_undisturbed_one(shell):
    command = ["ovpnet.train", "-m", *SMALL, "engine=reference", "steps=4000", "checkpoint_minutes=0"]
    process = shell.start(*command)
    eventually(lambda: len(list(shell.store.glob("runs-*.parquet"))) >= 2 and shell.kept(), "second round's checkpoint")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    stored = Store(shell.store).finished()
    assert f"Next: {as_typed('analysis verdict')}" in shell(*command)
    assert stored < Store(shell.store).finished()
    rows = pd.concat([pd.read_parquet(file) for file in shell.store.glob("runs-*.parquet")])
    assert rows["run_id"].is_unique, "nothing is trained twice"
    first = found(shell.store)
    shell(*command, "store=undisturbed")
    assert found(shell.folder / "undisturbed") == first
    assert "training" not in shell(*command)


@pytest.mark.slow
def test_rounds_are_trained_by_processes_of_this_machine_and_waited_for(shell):
    few = [*SMALL, "steps=30", "width=8", "hydra.sweeper.resolution=2"]
    told = shell("ovpnet.train", "-m", *few, "hydra/launcher=subprocess")
    assert "each round waits for the last one" in told
    assert told.count("\nsubmitted") == told.count("\nround ") > 1
    assert f"Next: {as_typed('analysis verdict')}" in told
    shell("ovpnet.train", "-m", *few, "store=here")
    assert found(shell.store) == found(shell.folder / "here")


@pytest.mark.slow
def test_a_plan_says_what_the_search_begins_with(shell):
    told = shell("launch", "plan", *SMALL, "steps=30")
    assert "looking for N_eps among 7 N from 8 to 64" in told
    assert "round 1: 1 cell at N = " in told
    assert "What later rounds train depends on what comes out of this one." in told
    assert not shell.store.exists()
