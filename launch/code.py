"""The code that a sweep's jobs run: a copy, made when the sweep is submitted, and a record of its environment.

The copy is in STORE/sweeps/UID/.code/DIGEST, one for all sweeps of the same code. Jobs may start hours later, or again
after a preemption. They do not see what was changed in the checkout meanwhile.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import ovpnet
from launch.sweep import check_private, own_folder
from ovpnet.spec.schemas import conf_dir

ROOT = Path(ovpnet.__file__).parents[1]
PACKAGES = ("ovpnet", "launch", "hydra_plugins", "conf")


def snapshot(store: Path) -> Path:
    """Copy the code that is running, if there is no copy yet; return the folder. Raises OSError, OvpnetError.

    From a checkout it copies all files that git does not ignore, as they are in the working tree, and the compiled
    loops.
    """
    files = sorted(set(_files()))
    revision = _git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").strip()
    content = {file: file.read_bytes() for file in files}
    digest = hashlib.sha256(repr((revision, [(str(_place(file)), hashlib.sha256(content[file]).digest())
                                             for file in files])).encode()).hexdigest()[:16]
    folder = own_folder(store) / ".code" / digest
    if not folder.exists():
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        temporary = folder.with_name(f".tmp-{digest}-{uuid.uuid4().hex}")
        temporary.mkdir(mode=0o700)
        try:
            for file in files:
                target = temporary / _place(file)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content[file])
            # The digest tells two dirty trees apart.
            (temporary / "REVISION").write_text(f"{revision}.{digest}" if revision.endswith("-dirty") else revision)
            changes = _git("diff", "--binary", "HEAD")
            (temporary / "changes.diff").write_bytes(changes.encode("utf-8", "surrogateescape"))
            os.rename(temporary, folder)
        except OSError:
            if not folder.exists():  # else another sweep has just made it
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    check_private(folder)
    return folder


def environment() -> str:
    """Return the interpreter and every installed distribution, in the form of a requirements file."""
    installed = sorted({f"{each.metadata['Name']}=={each.version}" for each in distributions()}, key=str.lower)
    return "\n".join([f"# Python {sys.version.split()[0]}, {sys.executable}", *installed, ""])


def _files() -> Iterator[Path]:
    """Yield the files of the packages, in a checkout or as they are installed."""
    listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *PACKAGES)
    if listed:
        yield from (ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file())
        yield from (ROOT / "ovpnet" / "native").glob("*.so")
        return
    for folder in (ROOT / "ovpnet", ROOT / "launch", ROOT / "hydra_plugins" / "ovpnet", conf_dir()):
        yield from (file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def _place(file: Path) -> Path:
    return file.relative_to(ROOT)


def _git(*arguments: str) -> str:
    """Return what git says of the checkout that holds the code; "" if no checkout does."""
    if not (ROOT / ".git").exists():
        return ""
    try:
        # Neither the tracked files nor their names need be UTF-8.
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, encoding="utf-8",
                              errors="surrogateescape", timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
