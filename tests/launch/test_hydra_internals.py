"""What we use of Hydra without its promise: a new Hydra that has moved or changed it is told here, by name."""

import ast
import inspect
from importlib import import_module
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.sweeper import Sweeper

import launch

NAME = "hydra._internal.core_plugins.basic_sweeper"


def basic_sweeper() -> type:
    try:
        return import_module(NAME).BasicSweeper
    except (ImportError, AttributeError) as error:
        raise AssertionError(f"Hydra has moved {NAME}.BasicSweeper ({error}): say in launch/hydra_internals.py where "
                             "it is now, and look whether it still does what this test says") from error


def test_hydras_own_sweeper_is_where_it_was_and_does_what_it_did():
    sweeper = basic_sweeper()
    assert issubclass(sweeper, Sweeper)
    assert list(inspect.signature(sweeper.__init__).parameters) == ["self", "max_batch_size", "params"]
    parsed = OverridesParser.create().parse_overrides(["a=1,2", "b=range(2)", "c=[1,2]", "+d={x:1}", "a=3,4"])
    [jobs] = sweeper.split_arguments(parsed, max_batch_size=None)
    assert [list(job) for job in jobs] == [["a=3", "b=0", "c=[1,2]", "+d={x:1}"], ["a=3", "b=1", "c=[1,2]", "+d={x:1}"],
                                           ["a=4", "b=0", "c=[1,2]", "+d={x:1}"], ["a=4", "b=1", "c=[1,2]", "+d={x:1}"]]
    made = sweeper(max_batch_size=3, params=None)
    assert (made.max_batch_size, made.params) == (3, {})
    assert (made.launcher, made.hydra_context, made.config) == (None, None, None)


def test_one_module_alone_reaches_into_hydra():
    folder = Path(launch.__file__).parent
    reaching = {str(file.relative_to(folder)) for file in folder.rglob("*.py")
                for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
                for name in [getattr(node, "module", None) or "", *(each.name for each in node.names)]
                if name.startswith("hydra._internal")}
    assert reaching == {"hydra_internals.py"}
