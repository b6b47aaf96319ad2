"""What jobs run is the code as it was when they were submitted."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launch import code
from launch.sweep import sweeps
from ovpnet.record.store import Store
from ovpnet.spec.errors import OvpnetError
from tests.launch.conftest import CODE, Shell, eventually, said

IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".git", ".venv")


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of the packages."""
    for name in code.PACKAGES:
        shutil.copytree(CODE / name, tmp_path / "checkout" / name, ignore=IGNORED)
    return tmp_path / "checkout"


def git(checkout, *arguments):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=checkout, check=True,
                   capture_output=True)


@pytest.fixture
def tracked(checkout, monkeypatch) -> Path:
    """That copy as a repository with one commit, and the code that runs as its."""
    (checkout / ".gitignore").write_text("*.so\nignored.py\n")
    git(checkout, "init")
    git(checkout, "add", ".")
    git(checkout, "commit", "-m", "all")
    monkeypatch.setattr(code, "ROOT", checkout)
    monkeypatch.setattr(code, "conf_dir", lambda: checkout / "conf")
    return checkout


def files(folder):
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_the_copy_has_what_git_tracks_the_compiled_loops_and_where_it_is_from(tracked, tmp_path):
    (tracked / "ovpnet" / "ignored.py").write_text("")
    (tracked / "ovpnet" / "new.py").write_text("NEW = 1\n")
    (tracked / "ovpnet" / "native" / "lib-test.so").write_bytes(b"\x7fELF")
    (tracked / "launch" / "display.py").unlink()
    with open(tracked / "ovpnet" / "spec" / "errors.py", "a") as file:
        file.write("CHANGED = 1\n")
    folder = code.snapshot(tmp_path / "store")
    found = files(folder)
    assert {"ovpnet/new.py", "ovpnet/native/lib-test.so", "conf/config.yaml", "hydra_plugins/ovpnet/plugins.py",
            "REVISION", "changes.diff"} <= found
    assert not {"ovpnet/ignored.py", "launch/display.py", ".gitignore"} & found
    assert (folder / "ovpnet" / "spec" / "errors.py").read_text().endswith("CHANGED = 1\n")
    assert (folder / "REVISION").read_text().endswith(f"-dirty.{folder.name}")
    assert folder.stat().st_mode & 0o777 == 0o700
    # The revision and the changes say it all once more.
    git(tracked, "stash", "--include-untracked")
    git(tracked, "apply", str(folder / "changes.diff"))
    changed = Path("ovpnet", "spec", "errors.py")
    assert (tracked / changed).read_bytes() == (folder / changed).read_bytes()


def test_one_copy_for_all_sweeps_of_the_same_code(tracked, tmp_path):
    first = code.snapshot(tmp_path / "store")
    assert not (first / "REVISION").read_text().endswith("-dirty")
    assert (first / "changes.diff").read_bytes() == b""
    before = (first / "REVISION").stat()
    assert code.snapshot(tmp_path / "store") == first
    assert (first / "REVISION").stat() == before
    with open(tracked / "ovpnet" / "spec" / "errors.py", "a") as file:
        file.write("\n")
    second = code.snapshot(tmp_path / "store")
    assert second != first
    git(tracked, "checkout", "ovpnet/spec/errors.py")
    assert code.snapshot(tmp_path / "store") == first
    assert sorted(each.name for each in first.parent.iterdir()) == sorted([first.name, second.name])
    assert sweeps(tmp_path / "store") == []


def test_changes_need_not_be_text_nor_utf8(tracked, tmp_path):
    (tracked / "conf" / "latin.txt").write_bytes("caf\xe9\n".encode("latin-1"))
    (tracked / "conf" / "binary").write_bytes(bytes(range(256)))
    git(tracked, "add", ".")
    git(tracked, "commit", "-m", "more")
    (tracked / "conf" / "latin.txt").write_bytes("th\xe9\n".encode("latin-1"))
    (tracked / "conf" / "binary").write_bytes(bytes(range(255, -1, -1)))
    folder = code.snapshot(tmp_path / "store")
    git(tracked, "checkout", ".")
    git(tracked, "apply", str(folder / "changes.diff"))
    for name in ("latin.txt", "binary"):
        assert (tracked / "conf" / name).read_bytes() == (folder / "conf" / name).read_bytes()


def test_a_copy_that_others_can_write_to_is_not_run(tracked, tmp_path):
    folder = code.snapshot(tmp_path / "store")
    folder.chmod(0o777)
    with pytest.raises(OvpnetError, match="others can write to it"):
        code.snapshot(tmp_path / "store")


def test_without_git_all_files_of_the_packages_are_copied(checkout, tmp_path, monkeypatch):
    monkeypatch.setattr(code, "ROOT", checkout)
    monkeypatch.setattr(code, "conf_dir", lambda: checkout / "conf")
    (checkout / "ovpnet" / "__pycache__").mkdir()
    (checkout / "ovpnet" / "__pycache__" / "old.pyc").write_bytes(b"")
    folder = code.snapshot(tmp_path / "store")
    assert files(folder) - {"REVISION", "changes.diff"} == {
        each for each in files(checkout) if "__pycache__" not in each}
    assert (folder / "REVISION").read_text() == ""


def test_the_environment_is_in_the_form_of_a_requirements_file():
    lines = code.environment().splitlines()
    assert lines[0].startswith("# Python 3.")
    assert any(line.startswith("torch==") for line in lines)


# --- for real ---

SMALL = ["width=8", "samples=40", "steps=30", "batch_size=10", "evaluations=2", "test.samples=512",
         "test.curve_samples=256", "opt.samples=4096"]


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["checkout", "wheel"])
def test_jobs_run_the_code_that_was_submitted_whatever_becomes_of_the_checkout(checkout, tmp_path, layout):
    if layout == "wheel":
        (checkout / "conf").rename(checkout / "ovpnet" / "conf")
    shell = Shell(tmp_path)
    shell.environment["PYTHONPATH"] = str(checkout)
    # A job that waits until the checkout has been changed.
    go = tmp_path / "go"
    worker = checkout / "launch" / "worker.py"
    worker.write_text(worker.read_text().replace("def main(arguments: Sequence[str]) -> int:\n", f'''
def main(arguments: Sequence[str]) -> int:
    while not os.path.exists({str(go)!r}):
        time.sleep(0.05)
'''))
    sweep = shell.train(*SMALL, "seed=1,2")
    eventually(lambda: shell.job(sweep), "supervisor")
    for file in (checkout / "ovpnet").rglob("*.py"):
        file.write_text("raise SystemExit('the checkout was run')\n")
    go.touch()
    eventually(lambda: shell.job(sweep)["how"], "end of the job")
    assert "the checkout was run" not in said(sweep)
    assert Store(shell.store).runs()["status"].tolist() == ["done", "done"]
    assert os.fspath(sys.executable) in (sweep.path / "environment.txt").read_text()
