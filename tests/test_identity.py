"""The identity of a run: keys that join later change no id, changed defaults do, and stores of before stay valid."""

import json
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType

import pandas as pd
import pyarrow as pa
import pytest

from analysis.load import SCHEMA_VERSION, load, usable, with_problem
from ovpnet.problem.concepts.two_layer import TwoLayer
from ovpnet.record.columns import with_later_keys
from ovpnet.record.store import Store
from ovpnet.spec import identity
from ovpnet.spec.choices import KINDS
from ovpnet.spec.config import NODES, Config
from ovpnet.spec.identity import LaterKey, later_keys, run_id, signature
from ovpnet.spec.schemas import node_of

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def joined_later(monkeypatch):
    """joined_later(class, key, value of older runs): as if the key had joined the class after a release."""
    def joined_later(cls, name, added):
        item = cls.__dataclass_fields__[name]
        before = item.metadata
        monkeypatch.setattr(item, "metadata", MappingProxyType({**before, "added": added}))
        for cached in (identity._keys, identity._identifying):
            cached.cache_clear()

    yield joined_later
    monkeypatch.undo()
    for cached in (identity._keys, identity._identifying):
        cached.cache_clear()


def config_of(row):
    """The config that a row of the store was made of."""
    def value(text, kind):
        return json.loads(text) if "list" in str(kind) else None if pd.isna(text) else text

    def given(cls, prefix=""):
        return {item.name: value(row[prefix + item.name], item.type) for item in fields(cls)
                if prefix + item.name in row and item.name not in NODES}

    nodes = {}
    for name in NODES:
        registry = KINDS.get(name)
        of_config = Config.__dataclass_fields__[name].type
        cls = of_config if registry is None else registry[row[f"{name}.{registry.selector}"]]
        nodes[name] = node_of(name, given(cls, f"{name}."))
    config = Config(**given(Config), **nodes)
    return replace(config, steps=None) if config.epochs is not None else config


@pytest.mark.parametrize("store", ["flat", "scales", "censored", "diverged"])
def test_the_runs_of_older_stores_keep_their_ids(store):
    rows = pd.read_parquet(next((GOLDEN / store).glob("runs-*.parquet"))).to_dict("records")
    assert len(rows) >= 12
    assert [run_id(config_of(row)) for row in rows] == [row["run_id"] for row in rows]


def test_a_key_that_joins_later_changes_no_id_while_it_has_the_value_of_older_runs(make, joined_later):
    default, other = make("batch_size=10"), make("batch_size=20")
    before, signed = run_id(default), signature(default)
    joined_later(Config, "batch_size", 10)
    names = identity.identity(default)
    assert "batch_size" not in names
    assert run_id(default) != before  # the older runs of this test knew no such key
    assert run_id(other) != run_id(default)
    assert identity.identity(other) == names | {"batch_size": 20}
    assert signature(default) != signed
    assert signature(default) != signature(other)


def test_a_changed_default_gives_new_ids(make, joined_later):
    """An id is taken against the value of older runs, never against the default of today."""
    joined_later(TwoLayer, "p", 4)
    older, today = make("concept.p=4"), make("concept.p=6")
    assert "concept.p" not in identity.identity(older)
    assert identity.identity(today)["concept.p"] == 6
    assert len({run_id(older), run_id(today)}) == 2


def test_problems_and_opt_of_older_stores_are_those_of_a_key_that_joins_later(make, joined_later):
    same, other = make("concept.p=4"), make("concept.p=5")
    joined_later(TwoLayer, "p", 4)
    assert "p" not in identity.problem_identity(same)["concept"]
    assert identity.problem_identity(other)["concept"]["p"] == 5
    assert identity.opt_id(same) != identity.opt_id(other)


def test_later_keys_say_which_choices_have_them(joined_later):
    joined_later(TwoLayer, "plain", False)
    joined_later(Config, "dtype", "float32")
    found = {key.name: key for key in later_keys()}
    assert found["concept.plain"] == LaterKey("concept.plain", False, "concept.family", ("two_layer",))
    assert found["dtype"] == LaterKey("dtype", "float32", None, ())
    assert found["learner.a_std_exponent"].selector is None, "all learners have it, so no column need say which"


def test_readers_fill_the_missing_column_of_a_key_with_the_value_of_older_runs(joined_later):
    joined_later(TwoLayer, "plain", True)
    table = pa.table({"run_id": ["a", "b"], "concept.family": ["two_layer", "parity"]})
    assert with_later_keys(table)["concept.plain"].to_pylist() == [True, None]
    newer = table.append_column("concept.plain", pa.array([None, None], pa.bool_()))
    assert with_later_keys(newer)["concept.plain"].to_pylist() == [True, None]
    first = newer.select(["concept.plain", "run_id", "concept.family"])
    assert with_later_keys(first, first.column_names).column_names == first.column_names
    assert with_later_keys(first)["concept.plain"].to_pylist() == [True, None]
    assert with_later_keys(table, ["run_id"]).column_names == table.column_names
    assert "concept.plain" not in with_later_keys(table.select(["run_id"])).column_names


def test_what_newer_runs_have_stored_is_kept_as_it_is(joined_later):
    joined_later(Config, "lr", 1)  # a whole number, of a key that has fractions
    table = pa.table({"run_id": ["a", "b"], "lr": [0.5, None]})
    assert with_later_keys(table)["lr"].to_pylist() == [0.5, 1.0]


def test_old_and_new_runs_of_a_problem_are_one_problem(tmp_path, joined_later):
    rows = pd.read_parquet(next((GOLDEN / "flat").glob("runs-*.parquet"))).to_dict("records")
    without = [{name: value for name, value in row.items() if name != "concept.plain"} for row in rows]
    joined_later(TwoLayer, "plain", bool(rows[0]["concept.plain"]))
    store = Store(tmp_path)
    store.write_pack(without[:60], [])
    store.write_pack(rows[60:], [])
    runs = load(tmp_path).runs
    assert len(runs) == len(rows)
    assert runs["problem"].nunique() == 1
    split = with_problem(pd.concat([pd.DataFrame(without[:60]), pd.DataFrame(rows[60:])], ignore_index=True))
    assert split["problem"].nunique() == 2  # what the reader prevents


def test_rows_of_a_newer_schema_are_told_and_left_out():
    runs = pd.read_parquet(next((GOLDEN / "flat").glob("runs-*.parquet")))
    runs["schema_version"] = SCHEMA_VERSION
    runs.loc[:2, "schema_version"] = SCHEMA_VERSION + 1
    kept, messages = usable(runs)
    assert len(kept) == len(runs) - 3
    assert any("newer ovpnet" in message for message in messages)


def test_only_keys_that_joined_later_are_left_out_of_ids():
    """A new key must say what older runs had, or it changes every id: add it to this list only with that value."""
    assert {key.name for key in later_keys()} == {"width2", "learner.a_std_exponent"}
