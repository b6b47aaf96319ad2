"""What is built installs and runs with no checkout near."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[1]
PACKAGES = ("ovpnet", "launch", "analysis", "hydra_plugins")


def run(*command: object, cwd: Path) -> str:
    """Run a command as a user would, without this process's import path; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
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


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of a new environment that has the wheel; its dependencies are this environment's."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=environment)
    # A path file is not read recursively: this environment's own, which points at the checkout, has no effect there.
    purelib = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=environment).strip())
    (purelib / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


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


def test_train_runs_from_an_empty_folder(python: Path, tmp_path: Path):
    where = run(python, "-c", "import ovpnet; print(ovpnet.__file__)", cwd=tmp_path)
    assert str(CHECKOUT) not in where
    config = run(python, "-m", "ovpnet.train", "--cfg", "job", cwd=tmp_path)
    assert "width: 256" in config
    plugins = run(python, "-m", "ovpnet.train", "--info", "plugins", cwd=tmp_path)
    assert "hydra_plugins.ovpnet" in plugins


def test_analysis_explains_itself(python: Path, tmp_path: Path):
    assert "usage" in run(python, "-m", "analysis", "--help", cwd=tmp_path).lower()
