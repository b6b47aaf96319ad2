"""The recipes of CONTRIBUTING.md, followed word for word in a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]

# By recipe: what is run of the new choice, and the tests of its kind.
RECIPES = {
    "a concept": ("concept=quadratic_form", "quadratic_form", ["tests/concepts/test_families.py"]),
    "an activation": ("concept.activations=[bump]", "bump", ["tests/concepts/test_activations.py"]),
    "an input distribution": ("inputs=axes", "axes or Axes", ["tests/concepts/test_inputs.py"]),
    "a noise": ("noise=laplace", "laplace", ["tests/concepts/test_noise.py"]),
    "a loss": ("loss=log_cosh", "log_cosh", ["tests/test_losses.py"]),
    "a learner": ("learner=random_features", "random_features", ["tests/test_learners.py"]),
    "a penalty": ("regularizer=row_norm", "row_norm", ["tests/test_penalties.py"]),
    "an engine": ("engine=idle", "has_a_row or without_torch", ["tests/test_engines.py"]),
}
STEP = re.compile(r"^ {3}`([^`]+)`, (new|at the end|a row of the table|a row of `(\w+)`):\n\n((?: {7}.*\n|\n)+)",
                  re.MULTILINE)


def steps(recipe):
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text[text.index(f"### Add {recipe}\n"):]
    section = section[:re.search(r"\n##", section[3:]).start() + 4]
    return section, STEP.findall(section)


def follow(recipe, copy):
    for name, where, table, block in steps(recipe)[1]:
        path, code = copy / name, textwrap.dedent(block).strip("\n") + "\n"
        if where == "new":
            assert not path.exists()
            path.write_text(code)
        elif where == "at the end":
            path.write_text(path.read_text() + "\n\n" + code)
        elif where == "a row of the table":
            rows = path.read_text().split("\n")
            last = max(number for number, row in enumerate(rows) if row.startswith("| `"))
            path.write_text("\n".join([*rows[:last + 1], code.strip(), *rows[last + 1:]]))
        else:
            before, after = path.read_text().split(f"\n{table} = {{\n")
            path.write_text(f"{before}\n{table} = {{\n{textwrap.indent(code, '    ')}{after}")


def test_every_recipe_of_a_choice_is_followed():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    chapter = text[text.index("## Add a choice\n"):text.index("## Add an exhibit")]
    # A launcher is added by a test of its own (tests/launch/test_launchers.py).
    assert set(re.findall(r"^### Add (.*)$", chapter, re.MULTILINE)) - {"a launcher"} == set(RECIPES)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_names_its_number_of_files(recipe):
    section, found = steps(recipe)
    words = re.search(r"(\d) files?", section)
    assert int(words[1]) == len({name for name, *_ in found})


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_works_as_it_is_written(recipe, tmp_path):
    for name in ("conf", "ovpnet", "launch", "analysis", "hydra_plugins", "tests", "docs", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "images"))
    for name in ("README.md", "CONTRIBUTING.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    follow(recipe, tmp_path)
    chosen, words, tests = RECIPES[recipe]

    def run(*command):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True,
                              env=os.environ | {"PYTHONPATH": str(tmp_path)})
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("docs/configuration.py")
    run("-m", "ruff", "check", ".")
    run("-m", "pytest", "-q", "tests/test_registry.py", "tests/test_docs.py", "-k", "reference or file or current")
    assert "passed" in run("-m", "pytest", "-q", *tests, "-k", words)
    run("-m", "ovpnet.train", chosen, "width=16", "samples=40", "steps=10", "batch_size=10", "device=cpu",
        "opt.samples=2000", "weight_decay=1e-3", f"store={tmp_path / 'store'}")
    [file] = (tmp_path / "store").glob("runs-*.parquet")
    assert pd.read_parquet(file)["status"].tolist() == ["done"]
