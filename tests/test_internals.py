"""Names of other packages that are not public, and so may move with any release: which we use, and that they exist."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import ovpnet

ROOT = Path(ovpnet.__file__).parents[1]
# Each with where it is, and why no public name does.
USED = {
    "hydra._internal.core_plugins.basic_sweeper": "BasicSweeper: Hydra's own grid, of which our sweepers are kinds",
    "_usr_sig": "submitit.JobEnvironment: the signal that asks a job for a checkpoint",
    "_internal_name": "wandb_workspaces.workspaces.Workspace: what a saved workspace is found by, to be written over",
    "_internal_id": "wandb_workspaces.workspaces.Workspace: whether a workspace is on the server",
}


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for package in ("ovpnet", "launch", "analysis", "hydra_plugins"):
        for file in (ROOT / package).rglob("*.py"):
            yield file, ast.parse(file.read_text())


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def imported(node: ast.AST) -> Iterator[str]:
    """The full names of what an import statement makes known."""
    if isinstance(node, ast.Import):
        yield from (each.name for each in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        if any(map(private, node.module.split("."))):
            yield node.module
        else:
            yield from (f"{node.module}.{each.name}" for each in node.names)


def test_we_use_no_other_private_names():
    ours: set[str] = set()
    for _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                ours.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                # An attribute is ours if a method sets it; elsewhere it may be set on what others have made.
                name = node.id if isinstance(node, ast.Name) else node.attr if (
                    isinstance(node.value, ast.Name) and node.value.id == "self") else ""
                ours.add(name)
    for file, tree in sources():
        for node in ast.walk(tree):
            names = set(imported(node))
            if isinstance(node, ast.Attribute) and node.attr not in ours:
                names.add(node.attr)
            for name in names:
                if any(map(private, name.split("."))) and name.split(".")[0] not in ("ovpnet", "launch", "analysis"):
                    assert name in USED, (f"{file.relative_to(ROOT)}:{node.lineno} uses {name}, which is not public: "
                                          "use a public name, or say in this file why there is none")


def gone(name: str) -> str:
    return f"{name} has moved ({USED[name]}): look for what has taken its place before the library is upgraded"


@pytest.mark.parametrize(("name", "owner"), [
    ("hydra._internal.core_plugins.basic_sweeper", "hydra._internal.core_plugins.basic_sweeper:BasicSweeper"),
    ("_usr_sig", "submitit:JobEnvironment"), ("_internal_name", "wandb_workspaces.workspaces:Workspace"),
    ("_internal_id", "wandb_workspaces.workspaces:Workspace")], ids=USED)
def test_the_names_that_we_use_are_there(name, owner):
    module, _, attribute = owner.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        pytest.fail(gone(name))
    if name.startswith("_"):
        assert hasattr(found, name) or name in getattr(found, "__dataclass_fields__", {}), gone(name)
    else:
        assert {"split_arguments", "sweep"} <= set(dir(found)), gone(name)
