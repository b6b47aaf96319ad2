"""The console command, in a folder with a researcher's own files, whose names are those of our packages and others'."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ovpnet
from ovpnet.record.store import Store
from ovpnet.terminal import commands, packages

TINY = ["width=8", "samples=20", "steps=2", "opt.samples=4096", "test.samples=512", "test.curve_samples=256"]
# What pip makes of [project.scripts]; tests/test_packaging.py has pip make it.
SCRIPT = "#!{python}\nimport sys\nfrom ovpnet.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"


class Person:
    """Somebody at a shell, in a folder of theirs."""

    def __init__(self, folder: Path, scripts: Path):
        self.folder, self.store = folder, folder / "store"
        self.environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}

    def __call__(self, *command: str, code: int = 0, **environment: str) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self.environment | environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240, check=False)
        assert done.returncode == code, done.stdout
        assert "of the person's was run" not in done.stdout
        assert "incompatible" not in done.stdout
        return done.stdout


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A folder with the console command."""
    script = tmp_path / "bin" / "ovpnet"
    script.parent.mkdir()
    script.write_text(SCRIPT.format(python=sys.executable))
    script.chmod(0o755)
    return script.parent


@pytest.fixture
def person(tmp_path: Path, scripts: Path) -> Person:
    """With files that would hide what we import, if they could."""
    folder = tmp_path / "study"
    for package in ("tests", "conf", "hydra_plugins/mine", "ovpnet_extra", "spec"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(f"raise SystemExit('{package} of the person\\'s was run')\n")
    for module in ("launch", "analysis", "yaml", "pandas", "hydra", "rich", "train"):
        (folder / f"{module}.py").write_text(f"raise SystemExit('{module}.py of the person\\'s was run')\n")
    (folder / "conf" / "config.yaml").write_text("width: 3\n")
    return Person(folder, scripts)


ENTRANCES = {"script": ["ovpnet", "train"], "module": [sys.executable, "-m", "ovpnet.train"],
             "package": [sys.executable, "-m", "ovpnet", "train"]}


@pytest.mark.parametrize("entrance", [ENTRANCES["script"], ENTRANCES["module"],
                                      pytest.param(ENTRANCES["package"], marks=pytest.mark.slow)], ids=ENTRANCES)
def test_a_run_and_a_sweep_are_trained_by_our_code_and_what_to_type_next_works(person, entrance):
    assert "test risk" in person(*entrance, *TINY)
    told = person(*entrance, "-m", *TINY, "seed=1,2")
    found = re.search(r"^2 runs: 2 done\. Next: (.*)$", told, re.MULTILINE)
    assert found, told
    assert "1. two_layer" in person("sh", "-c", found[1])
    assert len(Store(person.store).runs()) == 3


@pytest.mark.slow
@pytest.mark.parametrize("entrance", [ENTRANCES["script"], ENTRANCES["module"]], ids=["script", "module"])
def test_workers_are_started_with_our_code(person, entrance):
    told = person(*entrance, "-m", *TINY, "seed=1,2", "hydra/launcher=subprocess")
    [status] = re.findall(r"^  (.* launch status .*?) --watch", told, re.MULTILINE)
    person("ovpnet", "launch", "wait")
    assert re.search(r"runs +2 ", person("sh", "-c", status))
    person(*entrance, "-m", *TINY, "seed=3,4,5", "hydra.launcher.workers=2")
    assert Store(person.store).runs()["status"].tolist() == ["done"] * 5


def test_modules_on_pythonpath_are_not_taken_for_ours(person):
    for file in ("yaml", "pandas", "hydra", "rich"):
        (person.folder / f"{file}.py").unlink()
    shutil.rmtree(person.folder / "hydra_plugins")
    for path in (str(person.folder), os.pathsep):  # the second names the folder one stands in, by an empty entry
        assert "width: 256" in person("ovpnet", "train", "--cfg", "job", PYTHONPATH=path)
        assert "no store at" in person("ovpnet", "analysis", "verdict", PYTHONPATH=path, code=1)
        assert "no sweep in" in person("ovpnet", "launch", "status", PYTHONPATH=path, code=1)


def test_launch_and_analysis_run_as_modules_where_nothing_hides_them(person):
    (person.folder / "launch.py").unlink()
    assert "usage: ovpnet launch" in person(sys.executable, "-m", "launch", "--help")
    (person.folder / "analysis.py").unlink()
    assert "no store at" in person(sys.executable, "-m", "analysis", "verdict", code=1)


PROGRAM = """
print("imported")
import hydra
from hydra.core.plugins import Plugins

@hydra.main(version_base="1.3", config_path=None)
def main(config):
    print([each.__module__ for each in Plugins.instance().discover() if "ovpnet" in each.__module__])

main()
"""


def test_a_hydra_program_of_the_persons_own_is_left_alone(tmp_path, scripts):
    """Hydra loads the plug-ins of all packages of an environment into every program."""
    (tmp_path / "launch.py").write_text(PROGRAM)
    told = Person(tmp_path, scripts)(sys.executable, "launch.py", "hydra.output_subdir=null", "hydra.run.dir=.",
                                     "hydra/job_logging=none")
    assert told.split("\n") == ["imported", "[]", ""]


def test_another_module_that_is_in_use_under_one_of_our_names_is_named(monkeypatch, tmp_path):
    (tmp_path / "analysis.py").write_text("")
    code = "import analysis; from ovpnet.terminal.packages import claim; claim()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"ImportError: {tmp_path / 'analysis.py'} is imported as `analysis`" in done.stderr


def test_a_checkout_is_run_from_the_folder_of_the_checkout(tmp_path):
    """With no installation."""
    for name in ("ovpnet", "launch", "analysis", "hydra_plugins", "conf"):
        shutil.copytree(packages.ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    code = ("from ovpnet.terminal.packages import enter; enter()\n"
            "import launch, ovpnet; print(launch.__file__, ovpnet.__file__)")
    told = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert told.split() == [str(tmp_path / "launch" / "__init__.py"), str(tmp_path / "ovpnet" / "__init__.py")]


# --- help, version, names ---


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["analysis", "--help"]], ids=" ".join)
def test_help_and_version_wait_for_no_library(arguments):
    code = ("import sys\nfrom ovpnet.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
            "print({'torch', 'hydra', 'omegaconf', 'pandas', 'numpy', 'rich'} & set(sys.modules))")
    told = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True).stdout
    assert told.endswith("set()\n")
    if arguments == ["--version"]:
        assert told == f"ovpnet {ovpnet.__version__}\nset()\n"


@pytest.mark.parametrize("arguments", [[], ["zzz"], ["--zzz"]], ids=" ".join)
def test_what_is_no_command_is_refused_with_what_there_is(person, arguments):
    told = person("ovpnet", *arguments, code=2)
    assert "usage: ovpnet" in told
    if arguments == ["zzz"]:
        assert "'zzz' (choose from" in told
        assert all(name in told for name in ("train", "launch", "analysis"))


def test_a_command_is_named_as_the_shell_finds_it(monkeypatch, tmp_path):
    def named(path: Path) -> str:
        monkeypatch.setenv("PATH", str(path))
        commands._program.cache_clear()
        return commands.as_typed("launch status")

    (tmp_path / "an environment").mkdir()
    (tmp_path / "elsewhere").mkdir()
    own, other = tmp_path / "an environment", tmp_path / "elsewhere"
    for file in (own / "python", other / "python", other / "ovpnet"):
        file.write_text("")
        file.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(own / "python"))
    try:
        # A checkout on PYTHONPATH, with no command installed.
        assert named(own) == "python -m ovpnet launch status"
        assert named(other) == f"'{own / 'python'}' -m ovpnet launch status"
        (own / "ovpnet").write_text("")
        (own / "ovpnet").chmod(0o755)
        assert named(own) == "ovpnet launch status"
        assert named(other) == f"'{own / 'ovpnet'}' launch status"
        assert named(tmp_path) == f"'{own / 'ovpnet'}' launch status"
        (other / "ovpnet").unlink()
        (other / "ovpnet").symlink_to(own / "ovpnet")
        assert named(other) == "ovpnet launch status"
    finally:
        commands._program.cache_clear()


# --- the Tab key ---


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(("line", "expected"), [
    ("ovpnet ", ["train", "launch", "analysis"]),
    ("ovpnet an", ["analysis"]),
    ("ovpnet train conce", ["concept.", "concept="]),
    ("ovpnet train concept=fi", ["concept=figure1", "concept=figure2"]),
    ("ovpnet train -m width=8 concept=pari", ["concept=parity"]),
    ("ovpnet train concept=three_layer concept.p", ["concept.p1=", "concept.p2=", "concept.phi1.", "concept.phi2.",
                                                    "concept.phi1_scales.", "concept.phi2_scales.", "concept.poly."]),
    ("ovpnet train hydra/launcher=sub", ["hydra/launcher=subprocess"]),
    ("ovpnet launch plan concept=pari", ["concept=parity"]),
    ("ovpnet launch sta", ["status"]),
    ("ovpnet launch status --wa", ["--watch"]),
    ("ovpnet analysis verdict --ep", ["--epsilon"]),
    ("ovpnet nothing x", [])])
def test_bash_completes(person, line, expected):
    words = shlex.split(line) + [""] * line.endswith(" ")
    script = (f'eval "$(ovpnet train -sc install=bash)"\ncomplete -p ovpnet >/dev/null || exit 1\n'
              f"COMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1} COMP_LINE={shlex.quote(line)}\n"
              'COMP_POINT=${#COMP_LINE}\nhydra_bash_completion\nprintf "%s\\n" "${COMPREPLY[@]}"\n')
    told = person("bash", "--norc", "-c", script)
    assert sorted(told.split()) == sorted(expected)
