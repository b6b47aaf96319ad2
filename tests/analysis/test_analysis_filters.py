"""Filters are written as Hydra overrides are, and say what is wrong with them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.filters import select
from ovpnet.spec.errors import ConfigError, OvpnetError
from tests.analysis.conftest import synthetic_runs


@pytest.fixture(scope="module")
def runs():
    return synthetic_runs(samples=[100, 200], seeds=range(2), lrs=[0.2, 0.5, 1.0])  # 4 widths: 48 rows


@pytest.mark.parametrize(("filters", "count"), [
    (["width=64,256"], 24), (["concept=two_layer"], 48), (["lr=0.20", "seed=1"], 8), (["lr=2e-1"], 16),
    (["status=done", "width=64"], 12), (['opt.activations=["sin","cos"]'], 48), (["opt.activations=[sin,cos]"], 48),
    (["opt.activations=['sin', cos]"], 48), (["concept.plain=false", "epochs=null"], 48),
    (["width=choice(64,1024)"], 24), (["width=range(64,300,192)"], 24), (["width=range(0,10000000000)"], 48),
    (["lr=range(0.2,0.6,0.3)"], 32), (["lr=interval(0.5,1)"], 32), (["concept=glob(two*)"], 48),
    (["width>=256"], 36), (["width > 256", "lr<0.5"], 8), (["width<=64"], 12), (["lr!=0.5"], 32),
    (["concept!=three_layer"], 48), (["epochs!=3"], 48), (["concept='two_layer'"], 48)])
def test_filters_are_written_like_overrides(runs, filters, count):
    assert len(select(runs, filters)) == count


@pytest.mark.parametrize(("expression", "message"), [
    ("widht=64", r"widht=64: unknown key \(did you mean width\?\); allowed: concept.*width"),
    ("width=65", "width=65: .*64, 256, 1024, 4096"),
    ("concept=cos", "concept=cos: .*two_layer"), ("width", "key=value"), ("test_risk=1", "unknown key"),
    ("width=64,65", "width=65: no run has it"), ("concept.p=null", r"concept.p=null: .*the store has 4"),
    ("epochs=3", "epochs=3: .*the store has null"), ("width=range(65,100)", r"width=range\(65,100\): no run"),
    ("width=interval(65,100)", r"width=interval\(65,100\): no run"),
    ("concept=glob(x*)", r"concept=glob\(x\*\): no run"),
    ("width>5000", "width>5000: no run has it; the store has 64"), ("width>big", "compares with a number"),
    ("concept>=1", "concept>=1: no run"), ("width={a:1}", "no key holds a dictionary"), ("+width=64", "unknown key"),
    ("concept=f(x", "filter is written key=value"), ("width=", "filter is written key=value")])
def test_a_filter_that_matches_nothing_names_key_value_and_what_is_allowed(runs, expression, message):
    with pytest.raises(OvpnetError, match=message) as caught:
        select(runs, [expression])
    assert "\n" not in str(caught.value)


def test_a_name_that_begins_like_a_list_is_a_name(runs):
    named = runs.assign(**{"concept.name": runs["concept.name"].mask(runs["width"].eq(64), "[x")})
    assert set(select(named, ["concept.name=\"[x\""])["width"]) == {64}
    with pytest.raises(ConfigError, match="no run has it"):
        select(named, ["concept.name=[x]"])


def test_filters_that_only_together_match_nothing(runs):
    runs = runs.assign(seed=runs["seed"].where(runs["width"].ne(64), 7))
    with pytest.raises(OvpnetError, match="drop a filter"):
        select(runs, ["width=256", "seed=7"])


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1, max_size=20), st.sampled_from(["width", "concept", "lr", "opt.activations"]),
       st.sampled_from(["=", ">=", "!=", "<"]))
def test_no_text_makes_a_filter_crash(runs, text, key, sign):
    try:
        assert len(select(runs, [f"{key}{sign}{text}"]))
    except OvpnetError:
        pass  # said in words


def test_an_unknown_value_is_a_config_error(runs):
    with pytest.raises(ConfigError) as caught:
        select(runs, ["width=65"])
    assert (caught.value.key, caught.value.value) == ("width", "65")
