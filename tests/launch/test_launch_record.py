"""The record of a sweep: what is written is what is read, by its owner alone; damage does not stop a look at it."""

import json
import os
import re
from dataclasses import fields, is_dataclass, replace
from types import NoneType, UnionType
from typing import get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launch.__main__ import main
from launch.status import status
from launch.sweep import Sweep, check_private, decode, encode, find, sweeps
from ovpnet.spec import config as nodes_of
from ovpnet.spec.choices import KINDS
from ovpnet.spec.config import Config, OptConfig, RiskConfig
from ovpnet.spec.errors import OvpnetError
from ovpnet.spec.identity import flat, keys_of, run_id
from ovpnet.spec.schemas import schemas
from tests.launch.conftest import packed

NODES = {"test": [RiskConfig], "opt": [OptConfig],
         **{group: list(classes.values()) for group, classes in schemas().items()}}
# What chooses a class: a constant of it.
CHOSEN = {each: registry.selector for registry in KINDS.values() for each in registry}
SELECTORS = {f"{kind}.{registry.selector}" for kind, registry in KINDS.items()}
PLAIN = {int: st.integers(-2**70, 2**70), float: st.floats(allow_nan=False, allow_infinity=False), bool: st.booleans(),
         str: st.text(max_size=8), NoneType: st.none()}


def values(kind):
    """Any value that a field of this type may have."""
    if isinstance(kind, UnionType):
        return st.one_of(*(values(each) for each in get_args(kind)))
    if get_origin(kind) is list:
        return st.lists(values(*get_args(kind)), max_size=3)
    return PLAIN[kind]


def nodes(kind):
    """Any node of this class; what chooses it has its one value."""
    return st.builds(kind, **{item.name: st.one_of(map(nodes, NODES[item.name])) if item.name in NODES
                              else values(item.type) for item in fields(kind) if kind not in CHOSEN
                              or item.name != CHOSEN[kind]})


def changed(node, dotted, value):
    name, _, rest = dotted.partition(".")
    return replace(node, **{name: changed(getattr(node, name), rest, value) if rest else value})


def leaves(node, prefix=""):
    """Dotted keys and their types."""
    for item in fields(node):
        value = getattr(node, item.name)
        yield from leaves(value, f"{prefix}{item.name}.") if is_dataclass(value) else [(prefix + item.name, item.type)]


CONFIGS = nodes(Config)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_any_configs_are_read_as_they_were_written(data):
    first = data.draw(CONFIGS)
    keys = {key: kind for key, kind in leaves(first) if key not in SELECTORS}
    differing = data.draw(st.lists(st.sampled_from(sorted(keys)), max_size=5))
    configs = [first]
    for _ in range(data.draw(st.integers(0, 3))):
        config = first
        for key in differing:
            config = changed(config, key, data.draw(values(keys[key])))
        configs.append(config)
    # As texts, in which 1 is not 1.0, nor 0.0 -0.0: of these a run_id is made.
    assert list(map(repr, decode(encode(configs)))) == list(map(repr, configs))


def test_the_property_covers_every_class():
    assert set(NODES) == set(nodes_of.NODES)
    assert {each for registry in KINDS.values() for each in registry} <= {each for of in NODES.values() for each in of}


def test_a_pack_whose_members_differ_in_the_kind_of_noise_is_read_as_it_was_written(make):
    configs = [make("noise=none"), make("noise=gaussian"), make("noise=uniform")]
    assert decode(encode(configs)) == configs
    assert [type(config.noise) for config in decode(encode(configs))] == [type(config.noise) for config in configs]


def test_records_that_name_the_classes_of_older_code_are_read(make):
    config = make("concept=parity", "noise=gaussian")
    content = json.loads(encode([config]))
    content["config"] |= {"_node_": "Config"} | {name: content["config"][name] | {"_node_": "OfOlderCode"}
                                                 for name in nodes_of.NODES}
    assert decode(json.dumps(content)) == [config]


@pytest.mark.parametrize("settings", [
    ["algorithm=algorithm2", "learner=three_layer", "steps=null", "algorithm.rounds=3", "algorithm.inner_steps=2"],
    ["concept=figure1"], ["concept=parity", "loss=logistic"], ["diagnostics=all", "tracker=wandb"],
    ["noise=gaussian", "noise.level=0.1", "steps=null", "epochs=2"]], ids=" ".join)
def test_runs_are_found_by_the_ids_they_were_recorded_under(make, settings):
    base = make(*settings)
    keys, per_member = flat(base), keys_of(base)[0]
    configs = [base]
    for name in keys:
        if per_member[name]["per_member"] and isinstance(keys[name], float):
            configs.append(changed(base, name, keys[name] / 2 + 0.01))
    configs += [replace(base, seed=2**63 - 1)]
    assert len(configs) > 5
    assert list(map(run_id, decode(encode(configs)))) == list(map(run_id, configs))


def test_minus_zero_is_another_run_than_zero(make):
    configs = [make("weight_decay=0"), make("weight_decay=-0.0")]
    assert len(set(map(run_id, configs))) == 2
    assert list(map(run_id, decode(encode(configs)))) == list(map(run_id, configs))


def test_configs_share_the_nodes_in_which_they_do_not_differ(make):
    one, other = decode(encode([make("seed=1"), make("seed=2")]))
    assert one.concept is other.concept


def test_packs_come_in_the_order_asked_for_and_for_the_store_they_are_found_in(make, recorded, tmp_path):
    base = make("store=of-another-folder")
    configs = [replace(base, seed=seed) for seed in range(70)]
    sweep = recorded(configs, size=2)
    found = list(sweep.configs(0, [33, 0, 7]))
    assert [number for number, _ in found] == [33, 0, 7]
    assert [[config.seed for config in members] for _, members in found] == [[66, 67], [0, 1], [14, 15]]
    assert {config.store for _, members in found for config in members} == {str((tmp_path / "store").resolve())}
    assert list(sweep.configs(0, [])) == []
    assert [pack.runs for pack in sweep.packs(0)][33] == [run_id(config) for config in configs[66:68]]
    assert [pack.number for pack in sweep.packs(0)] == list(range(35))
    os.rename(tmp_path / "store", tmp_path / "moved")
    [moved] = sweeps(tmp_path / "moved")
    [(_, members)] = moved.configs(0, [0])
    assert members[0].store == str((tmp_path / "moved").resolve())


def test_groups_and_jobs_have_files_of_their_own(make, recorded):
    sweep = recorded([make("seed=1")])
    sweep.add(packed([make("seed=2"), make("seed=3")]), [[1], [0]], "slurm", {"mem_gb": 1}, None)
    first, second = sweep.groups()
    assert (first.number, first.jobs, first.launcher) == (0, [[0]], "subprocess")
    assert (second.number, second.jobs, second.launcher, second.options) == (1, [[1], [0]], "slurm", {"mem_gb": 1})
    names = {sweep.job_file(*place, kind).name for place in ((0, 0), (1, 0), (1, 1)) for kind in ("", "progress")}
    assert names == {"0-0.json", "0-0.progress.json", "1-0.json", "1-0.progress.json", "1-1.json", "1-1.progress.json"}


# --- finding a sweep ---


def test_a_sweep_is_found_by_its_id_a_part_of_it_or_as_the_latest(make, recorded, tmp_path):
    store = tmp_path / "store"
    with pytest.raises(OvpnetError, match=f"no sweep in {store}.*--store"):
        find(store, None)
    first, second = recorded([make()], study="first"), recorded([make()], study="second")
    assert find(store, None).id == second.id
    assert find(store, first.id).id == first.id
    assert find(store, "first").id == first.id
    assert find(store, second.id[-4:]).id == second.id
    with pytest.raises(OvpnetError, match=f"^-: is part of several ids.*{first.id}, {second.id}"):
        find(store, "-")
    with pytest.raises(OvpnetError, match=f"^third: is no sweep.*allowed: {first.id}, {second.id}"):
        find(store, "third")


def test_an_id_that_is_part_of_another_is_itself(make, recorded, tmp_path):
    sweep = recorded([make()])
    longer = sweep.path.with_name(f"{sweep.id}5")
    longer.mkdir()
    (longer / "sweep.json").write_bytes((sweep.path / "sweep.json").read_bytes())
    assert find(tmp_path / "store", sweep.id).id == sweep.id


@settings(max_examples=50, deadline=None)
@given(study=st.text())
def test_an_id_is_harmless_whatever_the_study_is_called(study, tmp_path_factory):
    sweep = Sweep.create(tmp_path_factory.getbasetemp() / "names", study, {})
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}-\d{8}-\d{6}-[0-9a-f]{4}", sweep.id)
    assert sweep.path.parent == (tmp_path_factory.getbasetemp() / "names" / "sweeps" / str(os.getuid())).resolve()
    assert sweep.about()["study"] == study


# --- whose it is ---


def test_only_the_owner_can_enter_a_sweep(make, recorded):
    before = os.umask(0)
    try:
        sweep = recorded([make()])
    finally:
        os.umask(before)
    for folder in (sweep.path, sweep.path / "jobs", sweep.path / "logs"):
        assert folder.stat().st_mode & 0o777 == 0o700
    check_private(sweep.path)


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_nothing_is_run_from_a_folder_that_others_can_write_to(make, recorded, mode):
    sweep = recorded([make()])
    sweep.path.chmod(mode)
    with pytest.raises(OvpnetError, match="others can write to it"):
        check_private(sweep.path)


def test_nothing_is_run_from_a_folder_of_somebody_else(make, recorded, monkeypatch):
    sweep = recorded([make()])
    monkeypatch.setattr(os, "getuid", lambda: sweep.path.stat().st_uid + 1)
    with pytest.raises(OvpnetError, match="belongs to another user"):
        check_private(sweep.path)


# --- damage ---

DAMAGES = [b"", b'{"host": "a", "pi', b"[1, 2]", b"\xff\xfe\x00", b"null", b'{"of": "another version"}']


@pytest.mark.parametrize("name", ["sweep.json", "group-0.json", "packs-0.parquet", "jobs/0-0.json",
                                  "jobs/0-0.progress.json"])
def test_a_damaged_record_never_stops_a_look_at_it(make, recorded, tmp_path, capsys, name):
    config = make()
    whole, sweep = recorded([replace(config, seed=1)], study="whole"), recorded([config], study="damaged")
    for damage in DAMAGES:
        (sweep.path / name).write_bytes(damage)
        for arguments in ([], ["--all"], ["--failed"], ["whole"]):
            code = main(["status", "--store", str(tmp_path / "store"), *arguments])
            said = capsys.readouterr()
            assert code == 0 or (code == 1 and said.err.startswith("error: ") and "packs-0.parquet" in said.err)
        assert status(whole).runs["pending"] == 1


def test_a_folder_without_a_record_is_no_sweep(make, recorded, tmp_path):
    sweep = recorded([make()])
    (tmp_path / "store" / "sweeps" / str(os.getuid()) / "stray").mkdir()
    (tmp_path / "store" / "sweeps" / str(os.getuid()) / "file").write_text("")
    assert [each.id for each in sweeps(tmp_path / "store")] == [sweep.id]
