"""A grid of ours is what a grid of Hydra is, and nothing of launch is built on what Hydra calls internal."""

import ast
from importlib import import_module
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

import launch
from launch.plugins import grid_of
from ovpnet.spec.errors import OvpnetError

# Forms of an override: values, lists, what is added, forced or deleted, ranges, choices, and what must be quoted.
FORMS = ["a=1", "a=1,2", "b=range(3)", "b=choice(x,y)", "c=[1,2]", "c=[1],[2,3]", "+d={x:1}", "+d={x:1},{y:2}",
         "++e.f=null", "e.f=null,1", "~g", "h='x y',z", "h=sort(3,1,2)", "i=", "i=tag(t,choice(1,2))",
         "concept@k=a,b", "l=${m},3", "l=1e-3,-0", "n=range(0,1,0.5)"]


def hydras(overrides):
    """The jobs that Hydra's own sweeper makes of them."""
    try:
        sweeper = import_module("hydra._internal.core_plugins.basic_sweeper").BasicSweeper
    except (ImportError, AttributeError) as error:
        raise AssertionError(f"Hydra has moved its BasicSweeper ({error}): say here where it is now") from error
    [jobs] = sweeper.split_arguments(overrides, max_batch_size=None)
    return jobs


@settings(deadline=None)
@given(st.lists(st.sampled_from(FORMS), max_size=5))
def test_a_grid_is_what_hydra_makes_of_it(texts):
    overrides = OverridesParser.create().parse_overrides(texts)
    assert grid_of(overrides) == hydras(overrides)


def test_a_shuffled_choice_has_every_value():
    assert sorted(grid_of(OverridesParser.create().parse_overrides(["h=shuffle(1,2)"]))) == [["h=1"], ["h=2"]]


def test_an_interval_is_no_grid():
    with pytest.raises(OvpnetError, match=r"lr=interval\(0,1\): cannot be listed, as a grid must be; allowed: a,b,c"):
        grid_of(OverridesParser.create().parse_overrides(["seed=1", "lr=interval(0,1)"]))


def test_no_module_reaches_into_hydra():
    folder = Path(launch.__file__).parent
    imported = {name for file in folder.rglob("*.py") for node in ast.walk(ast.parse(file.read_text()))
                if isinstance(node, ast.Import | ast.ImportFrom)
                for name in [getattr(node, "module", None) or "", *(each.name for each in node.names)]}
    assert "hydra.plugins.sweeper" in imported
    assert not [name for name in imported if name.startswith("hydra._internal")]
