"""Sweeps through Hydra: composing, planning, running here."""

import itertools
from dataclasses import replace

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.types import RunMode
from omegaconf import open_dict

from launch.compose import compose
from launch.plan import plan
from ovpnet.config import conf_dir, resolve, run_id, signature
from ovpnet.errors import ConfigError, OvpnetError


@pytest.fixture(scope="module")
def loader():
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
         ["epochs=3", "steps=null"]])]
    assert compose(loader, master, jobs) == [hydras_own(loader, master, job) for job in jobs]


def test_bad_jobs_name_the_override(loader, master):
    with pytest.raises(ConfigError, match="width=0: must be at least 1"):
        compose(loader, master, [["width=8"], ["width=0"]])
    with pytest.raises(OvpnetError, match="width=wide"):
        compose(loader, master, [["width=8"], ["width=wide"]])
    with pytest.raises(Exception, match="widht"):
        compose(loader, master, [["widht=8"]])


def test_plan_trains_each_unfinished_run_once_in_packs_of_one_signature(make):
    configs = [make(f"width={width}", f"seed={seed}", f"samples={samples}")
               for width in (8, 300) for seed in range(4) for samples in (20, 30)]
    finished = {run_id(configs[0]), run_id(configs[3]), "not of this sweep"}
    planned = plan([*configs, *configs[:5]], finished, runs_per_pack=3)
    trained = [run_id(config) for pack in planned.packs for config in pack.configs]
    assert sorted(trained) == sorted({run_id(config) for config in configs} - finished)
    assert all(len({signature(config) for config in pack.configs}) == 1 for pack in planned.packs)
    assert max(len(pack.configs) for pack in planned.packs) == 3
    assert (planned.asked, planned.distinct, planned.finished) == (21, 16, 2)
    work = [pack.work for pack in planned.packs]
    assert work == sorted(work, reverse=True)


def test_runs_for_other_stores_or_trackers_are_not_packed_together(make):
    planned = plan([make(), make("seed=1", "store=other"), make("seed=2", "tracker=wandb")], set())
    assert len(planned.packs) == 3


def test_wide_nets_come_in_smaller_packs(make):
    base = make()
    sizes = []
    for width in (8, 1000, 100_000):
        configs = [replace(base, width=width, seed=seed) for seed in range(600)]
        sizes.append(max(len(pack.configs) for pack in plan(configs, set()).packs))
    assert sizes[0] > sizes[1] > sizes[2] >= 1


def test_large_training_sets_come_in_smaller_packs(make):
    base = make()
    configs = [replace(base, width=8, samples=10_000_000, seed=seed) for seed in range(20)]
    entries = [len(pack.configs) * 10_000_000 * 5 for pack in plan(configs, set()).packs]
    assert max(entries) <= 1 << 26
