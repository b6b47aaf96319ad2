"""Sweeps through Hydra: composing, planning, running here."""

import itertools
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.plugins import Plugins
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import open_dict

from launch.compose import compose
from launch.launchers.local import Local
from launch.launchers.slurm import Slurm
from launch.packs import packed
from launch.plan import plan
from launch.run import sweep
from ovpnet.engine.choice import chosen, shape_of
from ovpnet.engine.rates import EXAMPLE
from ovpnet.record.store import Store
from ovpnet.run.results import config_row
from ovpnet.spec.errors import ConfigError, OvpnetError
from ovpnet.spec.identity import run_id, signature
from ovpnet.spec.schemas import conf_dir, register_schemas, resolve


@pytest.fixture(scope="module")
def loader():
    register_schemas()
    Plugins.instance()  # finds the sweeper and the launcher
    return ConfigLoaderImpl(config_search_path=create_config_search_path(str(conf_dir().resolve())))


@pytest.fixture(scope="module")
def master(loader):
    return loader.load_configuration("config", ["width=32"], run_mode=RunMode.MULTIRUN)


def hydras_own(loader, master, job):
    config = loader.load_sweep_config(master, list(job))
    with open_dict(config):
        del config["hydra"]
    return resolve(config)


def test_configs_equal_those_that_hydra_composes_one_by_one(loader, master):
    jobs = [[*a, *b] for a, b in itertools.product(
        [["width=8"], ["width=16", "concept.scales=[1,3]"], ["concept=parity", "width=4"], ["concept=figure1"]],
        [["seed=1", "lr=2"], ["algorithm=sgd", "lr=1e-3"], ["seed=2", "lr=3"], ["++noise.level=0", "steps=7"],
         ["epochs=3", "steps=null"], ["test={samples:256}"], ["test={samples:512}"]])]
    assert compose(loader, master, jobs) == [hydras_own(loader, master, job) for job in jobs]


# Of each job the overrides of some of these keys: plain values, lists, null, choices of files, other keys; some of
# which cannot be, alone or together.
KEYS = {"width": ["8", "16", "0"], "seed": ["1", "-0", "007"], "lr": ["2", "1e-3"], "steps": ["7", "null"],
        "epochs": ["3", "null"], "weight_decay": ["0", "0.5", "${lr}"], "concept.p": ["2", "3"],
        "concept.scales": ["[1,3]", "[0.5]", "[]"], "noise": ["none", "gaussian"], "noise.level": ["0", "0.5"],
        "learner.trained": ["hidden", "last", "quadratic"], "algorithm": ["sgd", "kernel_ridge"],
        "regularizer.weight_V": ["1", "2"], "study": ["a", "7", "'b c'"], "++loss.name": ["l2"]}


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), keys=st.sets(st.sampled_from(sorted(KEYS)), min_size=1, max_size=6))
def test_any_sweep_is_what_hydra_composes(loader, master, data, keys):
    jobs = data.draw(st.lists(st.tuples(*(st.sampled_from([f"{key}={value}" for value in KEYS[key]]) for key in keys)),
                              min_size=2, max_size=3))
    assert outcome(lambda: compose(loader, master, jobs)) == outcome(
        lambda: [hydras_own(loader, master, job) for job in jobs])


def outcome(composed):
    """The configs, with the ids that tell 1 from 1.0, or the words of their refusal."""
    try:
        return [(config, run_id(config)) for config in composed()]
    except ConfigError as error:
        return str(error)


def test_interpolations_follow_the_values_they_name(loader, master):
    jobs = [["lr=1", "weight_decay=${lr}"], ["lr=2", "weight_decay=${lr}"], ["lr=2", "weight_decay=${lr}", "seed=1"]]
    assert [config.weight_decay for config in compose(loader, master, jobs)] == [1.0, 2.0, 2.0]


def test_configs_of_a_sweep_share_their_nodes(loader, master):
    one, other, third = compose(loader, master, [["seed=1", "concept.p=2"], ["seed=2", "concept.p=2"],
                                                 ["seed=2", "concept.p=3"]])
    assert one.concept is other.concept
    assert one.regularizer is third.regularizer
    assert third.concept.p == 3


def test_hydra_composes_once_for_each_choice_of_files(loader, master, monkeypatch):
    composed, own = [], loader.load_sweep_config
    monkeypatch.setattr(loader, "load_sweep_config", lambda master, job: composed.append(job) or own(master, job))
    jobs = [[f"concept={name}", f"seed={seed}", f"lr={lr}", "study=a"] for name in ("two_layer", "parity")
            for seed in (1, 2) for lr in (0.5, 0.25)]
    assert len(set(map(run_id, compose(loader, master, jobs)))) == 8
    assert len(composed) == 2


def test_bad_jobs_name_the_override(loader, master):
    with pytest.raises(ConfigError, match="width=0: must be at least 1"):
        compose(loader, master, [["width=8"], ["width=0"]])
    with pytest.raises(ConfigError, match="samples=0: must be at least 1"):
        compose(loader, master, [["width=8", "samples=9"], ["seed=-1", "samples=0"]])
    with pytest.raises(ConfigError, match=r"weight_decay=0\.1: must be 0 with regularizer=none"):
        compose(loader, master, [["regularizer=none", "weight_decay=0"], ["regularizer=none", "weight_decay=0.1"]])
    with pytest.raises(OvpnetError, match="width=wide"):
        compose(loader, master, [["width=8"], ["width=wide"]])
    with pytest.raises(ConfigError, match=r"lr=-1\.0: must be greater than 0"):
        compose(loader, master, [["width=8", "lr=1"], ["width=8", "lr=-1"]])
    with pytest.raises(ConfigError, match=r"concept\.foo=1: no such key; allowed: .*activations"):
        compose(loader, master, [["width=8"], ["width=8", "+concept.foo=1"]])
    with pytest.raises(ConfigError, match=r"width=\?\?\?: a value is needed"):
        compose(loader, master, [["width=8"], ["width=???"]])
    with pytest.raises(Exception, match="widht"):
        compose(loader, master, [["widht=8"]])


def test_plan_trains_each_unfinished_run_once_in_packs_of_one_signature(make, tmp_path):
    configs = [make(f"width={width}", f"seed={seed}", f"samples={samples}", f"store={tmp_path}")
               for width in (8, 300) for seed in range(4) for samples in (20, 30)]
    Store(tmp_path).write_pack([config_row(each) | {"status": "done", "finished_at": "2026"}
                                for each in (configs[0], configs[3], make("seed=77"))], [])
    finished = {run_id(configs[0]), run_id(configs[3])}
    planned = plan([*configs, *configs[:5]], Slurm(runs_per_pack=3))
    trained = [run_id(config) for pack in planned.packs for config in pack.configs]
    assert sorted(trained) == sorted({run_id(config) for config in configs} - finished)
    assert all(len({signature(config) for config in pack.configs}) == 1 for pack in planned.packs)
    assert max(len(pack.configs) for pack in planned.packs) == 3
    assert (planned.asked, planned.distinct, planned.finished) == (21, 16, 2)
    for pack in planned.packs:
        assert pack.cost * len(pack.configs) * pack.configs[0].total_steps == pytest.approx(pack.seconds)
    seconds = [pack.seconds for pack in planned.packs]
    assert seconds == sorted(seconds, reverse=True)


def test_packs_take_at_most_the_time_they_are_given(make):
    base = make("learner=three_layer", "steps=1000")
    configs = [replace(base, width=width, seed=seed) for width in (50, 1000) for seed in range(40)]
    alone = [pack.seconds for pack in packed(configs, set(), runs_per_pack=1)]
    limit = 4 * min(alone)
    assert max(alone) > limit, "a run that is longer alone is a pack all the same"
    packs = packed(configs, set(), pack_seconds=limit)
    assert sum(len(pack.configs) for pack in packs) == 80
    assert all(pack.seconds <= limit or len(pack.configs) == 1 for pack in packs)
    assert max(len(pack.configs) for pack in packs) > 2
    assert max(len(pack.configs) for pack in packed(configs, set(), 2, pack_seconds=limit)) == 2


@pytest.mark.parametrize("runs_per_pack", [None, 20])
def test_packs_fit_the_memory_whatever_shares_its_data(make, runs_per_pack):
    """Members of the dual engine that share a seed share a kernel; here those of the larger training sets do."""
    base = make("learner.trained=last", "width=200", "samples=4000", "engine=dual")
    shared = [replace(base, lr=1.0 + number, samples=4001) for number in range(20)]
    machine = replace(EXAMPLE, memory=shape_of(shared).memory)
    packs = packed([*shared, *(replace(base, seed=seed) for seed in range(20))], set(), runs_per_pack,
                   machine=lambda: machine)
    assert sum(len(pack.configs) for pack in packs) == 40
    assert max(pack.memory for pack in packs) <= machine.memory
    assert max(len(pack.configs) for pack in packs) > 1


def test_a_pack_may_take_all_of_the_memory_and_all_of_the_time(make):
    configs = [make(f"seed={seed}") for seed in range(4)]
    [whole] = packed(configs, set())
    full = replace(EXAMPLE, memory=whole.memory)
    assert len(packed(configs, set(), machine=lambda: full, pack_seconds=whole.seconds)) == 1
    for parts in (packed(configs, set(), machine=lambda: replace(full, memory=whole.memory - 1)),
                  packed(configs, set(), pack_seconds=whole.seconds * (1 - 1e-9))):
        assert len(parts) == 2


def test_a_sweep_that_is_finished_asks_for_no_machine(make, tmp_path, monkeypatch):
    config = make(f"store={tmp_path}")
    Store(tmp_path).write_pack([config_row(config) | {"status": "done", "finished_at": "2026"}], [])
    monkeypatch.setattr(Slurm, "machine", lambda *_: 1 / 0)
    assert plan([config], Slurm()).packs == []


def test_runs_for_other_stores_or_trackers_are_not_packed_together(make):
    packs = packed([make(), make("seed=1", "store=other"), make("seed=2", "tracker=wandb")], set())
    assert len(packs) == 3


def test_the_engine_of_a_run_does_not_depend_on_its_pack(make):
    few, many = (make("learner.trained=last", "width=200", "steps=300", f"samples={samples}") for samples in (40, 4000))
    assert (chosen(few).name, chosen(many).name) == ("dual", "fused")
    assert [len(pack.configs) for pack in packed([few, many], set())] == [1, 1]


@pytest.mark.parametrize("key", ["store", "study", "device"])
def test_a_sweep_has_one_store_study_and_device(make, tmp_path, key):
    with pytest.raises(ConfigError, match=f"{key}=.*one value per sweep"):
        sweep([make(f"store={tmp_path}", f"{key}=cpu"), make(f"store={tmp_path}", f"{key}=auto")], Local())


def test_wide_nets_come_in_smaller_packs(make):
    base = make()
    sizes = []
    for width in (8, 10_000, 100_000):
        configs = [replace(base, width=width, seed=seed) for seed in range(600)]
        sizes.append(max(len(pack.configs) for pack in packed(configs, set())))
    assert sizes[0] > sizes[1] > sizes[2] >= 1


def test_packs_fill_a_device_that_takes_no_longer_for_more_members(make):
    base = make("width=1000", "steps=100000")
    configs = [replace(base, seed=seed) for seed in range(256)]
    few = packed(configs, set(), machine=lambda: EXAMPLE)
    wide = replace(EXAMPLE, rates=replace(EXAMPLE.rates, fused_alone=((1000, 0.01),)))
    many = packed(configs, set(), machine=lambda: wide)
    assert len(many[0].configs) > 4 * len(few[0].configs)
    assert many[0].seconds > 100_000 * 0.01 * base.batch_size / 50, "a step takes as long as one member's alone"


def test_large_training_sets_come_in_smaller_packs(make):
    base = make()
    sizes = []
    for samples in (100, 10_000_000):
        packs = packed([replace(base, width=8, samples=samples, seed=seed) for seed in range(20)], set())
        assert max(shape_of(pack.configs).memory for pack in packs) <= EXAMPLE.memory
        sizes.append(max(len(pack.configs) for pack in packs))
    assert sizes[0] > sizes[1]


def test_a_run_that_fits_nowhere_does_not_make_the_packs_of_others_small(make):
    base = make()
    few = [replace(base, seed=seed) for seed in range(20)]
    packs = packed([*few, replace(base, samples=10**12)], set())
    assert [len(pack.configs) for pack in packs] == [1, 20]
    assert packs[0].memory > EXAMPLE.memory


# --- studies of several grids ---


@pytest.fixture
def asked(loader):
    """asked("experiment=...", "width=8,16") -> the jobs that the sweeper hands to the launcher, as dictionaries."""
    from hydra_plugins.ovpnet.plugins import PackSweeper  # after Hydra has found it: it reloads what it finds

    def asked(*overrides):
        swept = [each for each in overrides if "hydra." not in each]
        fixed = [each for each in overrides if "hydra." in each or not re.search(r",|range", each)]
        config = loader.load_configuration("config", fixed, run_mode=RunMode.MULTIRUN)
        launched = []
        sweeper = PackSweeper(*(config.hydra.sweeper[name] for name in ("max_batch_size", "params", "grids")))
        sweeper.config = config
        sweeper.hydra_context = SimpleNamespace(config_loader=loader)
        sweeper.launcher = SimpleNamespace(launch=lambda jobs, initial_job_idx: launched.append(jobs))
        sweeper.sweep(swept)
        assert len(launched) == 1, "one plan, whatever the number of grids"
        return [dict(each.split("=", 1) for each in job) for job in launched[0]]

    return asked


GRIDS = "hydra.sweeper.grids=[{width: '8,16', lr: 5}, {learner.trained: last, samples: 50}]"


def test_a_study_is_the_union_of_its_grids(asked):
    jobs = asked("experiment=quickstart", GRIDS)  # whose params are 4 widths, 7 samples, 8 seeds, 3 lr
    first, second = jobs[:2 * 7 * 8], jobs[2 * 7 * 8:]
    assert {(job["width"], job["lr"]) for job in first} == {("8", "5"), ("16", "5")}
    assert {(job["samples"], job["learner.trained"]) for job in second} == {("50", "last")}
    assert len(second) == 4 * 8 * 3
    assert all("learner.trained" not in job for job in first)


def test_the_command_line_wins_in_every_grid(asked):
    jobs = asked("experiment=quickstart", GRIDS, "width=64", "seed=7,8", "lr=1", "samples=40")
    assert jobs == [job | {"experiment": "quickstart", "width": "64", "seed": seed, "lr": "1", "samples": "40"}
                    for job in ({}, {"learner.trained": "last"}) for seed in "78"]


def test_a_bad_grid_is_named(asked, loader):
    with pytest.raises(CompactHydraException, match=r"grid 2 of hydra.sweeper.grids: .*'width=1,,2'"):
        asked("hydra.sweeper.grids=[{width: 8}, {width: '1,,2'}]")
    with pytest.raises(Exception, match=r"hydra.sweeper.grids=\[3\]"):
        asked("hydra.sweeper.grids=[3]")
    jobs = [[f"{key}={value}" for key, value in job.items()] for job in asked("hydra.sweeper.grids=[{widht: 8}]")]
    with pytest.raises(Exception, match="widht"):
        compose(loader, loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN), jobs)


@pytest.mark.parametrize("swept", ["experiment=quickstart,figure1a", "scale=full,small"])
def test_a_sweep_is_of_one_study(asked, swept):
    with pytest.raises(CompactHydraException, match=f"{swept}: one {swept.split('=')[0]} per sweep"):
        asked(swept)


# --- conf/experiment ---

EXPERIMENTS = sorted(path.stem for path in conf_dir().glob("experiment/*.yaml"))
SCALED = sorted(name for name in EXPERIMENTS if "${scale}" in (conf_dir() / f"experiment/{name}.yaml").read_text())


def test_the_figures_of_section_7_have_scales():
    assert SCALED == ["figure1a", "figure1b", "figure2a", "figure2b", "figure3"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_study_composes(asked, loader, name):
    one = ["seed=0", "lr=0.5", "weight_decay=0", "samples=40"]
    jobs = [[f"{key}={value}" for key, value in job.items()] for job in asked(f"experiment={name}", *one)]
    master = loader.load_configuration("config", [f"experiment={name}"], run_mode=RunMode.MULTIRUN)
    configs = compose(loader, master, jobs)
    assert {config.study for config in configs} == {name}
    assert len({run_id(config) for config in configs}) > 1


@pytest.mark.parametrize("name", SCALED)
def test_small_studies_are_small(asked, name):
    full, medium, small = (asked(f"experiment={name}", f"scale={scale}") for scale in ("full", "medium", "small"))
    assert len(small) < len(full) / 5
    assert len(small) < len(medium) < len(full)
    assert max(int(job.get("width", 0)) for job in small) <= 1000


@pytest.mark.parametrize(("given", "name"), [(["experiment=quickstart"], "quickstart"), ([], "null")])
def test_a_study_of_one_scale_says_so(asked, given, name):
    with pytest.raises(CompactHydraException, match=f"scale=small: experiment={name} has one scale; allowed: full"):
        asked(*given, "scale=small")


def test_a_sweep_of_no_run_says_so(asked):
    with pytest.raises(CompactHydraException, match=r"seed=range\(0\): no run"):
        asked("seed=range(0)")


def test_the_series_of_figure_1(asked):
    series = {(job["learner"], job["learner.trained"]): set() for job in asked("experiment=figure1a")}
    for job in asked("experiment=figure1a"):
        series[job["learner"], job["learner.trained"]].add(int(job["width"]))
    three = {100, 200, 500, 1000, 2000, 5000}
    last = three | {10_000, 20_000, 50_000, 100_000, 200_000}
    assert series == {("three_layer", "hidden"): three, ("three_layer", "last"): three, ("three_layer", "ntk"): three,
                      ("two_layer", "hidden"): last | {500_000, 1_000_000}, ("two_layer", "last"): last}
