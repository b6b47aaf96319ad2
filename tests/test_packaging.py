"""What is built installs and runs with no checkout near."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import hydra
import pytest

import ovpnet

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[1]
PACKAGES = ("ovpnet", "launch", "analysis", "hydra_plugins")
# Where this environment has them.
DEPENDENCIES = str(Path(hydra.__file__).parents[1])


def run(*command: object, cwd: Path, **variables: str) -> str:
    """Run a command as a user would, without this process's import path; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def build_wheel(source: Path, into: Path) -> Path:
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", into, source,
        cwd=into.parent)
    [wheel] = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(CHECKOUT, tmp_path_factory.mktemp("wheel"))


def install(environment: Path, *what: object, **variables: str) -> Path:
    """Install into a new environment, whose dependencies are this environment's; its interpreter."""
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    # A path file is not read recursively: this environment's own, which points at the checkout, has no effect there.
    # They are read in the order of their names, and that of an editable install needs one of the dependencies.
    purelib = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=environment).strip())
    (purelib / "0-dependencies.pth").write_text(f"{DEPENDENCIES}\n")
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", *what, cwd=environment, **variables)
    return python


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of a new environment that has the wheel."""
    return install(tmp_path_factory.mktemp("environment"), wheel)


@pytest.fixture(scope="module")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of a new environment that has the checkout as an editable install."""
    # A compiler that compiles nothing: the checkout's libraries stay as they are.
    return install(tmp_path_factory.mktemp("editable"), "--no-build-isolation", "--editable", CHECKOUT, CXX="false")


@pytest.fixture(params=["python", "editable"])
def installed(request: pytest.FixtureRequest) -> Path:
    """Each of the two in turn."""
    return request.getfixturevalue(request.param)


def test_the_wheel_has_every_source_file_and_config(wheel: Path):
    tracked = subprocess.run(["git", "ls-files", *PACKAGES, "conf"], cwd=CHECKOUT, capture_output=True, text=True,
                             check=True).stdout.split()
    expected = {f"ovpnet/{name}" if name.startswith("conf/") else name for name in tracked}
    packed = {name for name in contents(wheel) if ".dist-info/" not in name}
    assert expected <= packed
    assert {name.partition("/")[0] for name in packed} == set(PACKAGES)
    assert "hydra_plugins/__init__.py" not in packed, "Hydra's plug-ins live in a namespace package"


def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path):
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=CHECKOUT)
    [sdist] = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "Makefile", "constraints.txt", "tests/test_packaging.py"} <= names
    assert contents(build_wheel(sdist, tmp_path / "wheel")) == contents(wheel)


IMPORTABLE = """
import importlib.util, sys
for name in sys.argv[1:]:
    print(name, importlib.util.find_spec(name) is not None)
"""


def test_our_packages_are_importable_and_no_other_folder_of_the_checkout(installed: Path, tmp_path: Path):
    others = {path.name for path in CHECKOUT.iterdir() if path.is_dir()} - set(PACKAGES)
    assert {"tests", "docs", "conf", "benchmarks"} <= others
    others = {name for name in others if name.isidentifier()} | {"hatch_build"}
    told = run(installed, "-c", IMPORTABLE, *PACKAGES, *others, cwd=tmp_path)
    assert {name for name, found in map(str.split, told.splitlines()) if found == "True"} == set(PACKAGES)


def test_an_editable_install_is_the_checkout(editable: Path, tmp_path: Path):
    code = ("import ovpnet, launch, analysis, hydra_plugins.ovpnet.plugins as plugins\n"
            "print(*(module.__file__ for module in (ovpnet, launch, analysis, plugins)))")
    told = run(editable, "-c", code, cwd=tmp_path).split()
    assert told == [str(CHECKOUT / name / "__init__.py") for name in ("ovpnet", "launch", "analysis")] + [
        str(CHECKOUT / "hydra_plugins" / "ovpnet" / "plugins.py")]


@pytest.mark.parametrize("way", ["script", "module"])
def test_train_runs_from_a_folder_with_files_of_our_packages_names(installed: Path, tmp_path: Path, way: str):
    where = run(installed, "-c", "import ovpnet; print(ovpnet.__file__)", cwd=tmp_path)
    assert (str(CHECKOUT) in where) == ("editable" in str(installed))
    for name in ("launch.py", "analysis.py", "yaml.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong file was run')\n")
    train = [installed.with_name("ovpnet"), "train"] if way == "script" else [installed, "-m", "ovpnet.train"]
    assert "width: 256" in run(*train, "--cfg", "job", cwd=tmp_path)
    plugins = run(*train, "--info", "plugins", cwd=tmp_path)
    assert plugins.count("hydra_plugins.ovpnet.plugins") >= 1
    for plugin in ("PackSweeper", "BisectSweeper", "LocalLauncher", "SubprocessLauncher", "SlurmLauncher"):
        assert plugins.count(f"\t{plugin}\n") == 1, plugins


def test_the_console_command_knows_its_version_and_explains_itself(installed: Path, tmp_path: Path):
    command = installed.with_name("ovpnet")
    assert run(command, "--version", cwd=tmp_path) == f"ovpnet {ovpnet.__version__}\n"
    for words in ("--help", "analysis --help", "launch --help", "analysis verdict --help"):
        assert run(command, *words.split(), cwd=tmp_path).startswith("usage: ovpnet")


def test_packages_run_as_modules(installed: Path, tmp_path: Path):
    for package in ("ovpnet", "analysis", "launch"):
        assert run(installed, "-m", package, "--help", cwd=tmp_path).startswith("usage: ovpnet")
