"""Our commands as a person types them, for messages that tell what to type next."""

import os
import shlex
import shutil
import sys
from functools import cache
from pathlib import Path


def as_typed(words: str) -> str:
    """Return the words that a shell here runs `ovpnet WORDS` in the folder where this process stands."""
    return f"{_program()} {words}"


@cache
def _program() -> str:
    """Return the console command by its name if the shell finds it, else by its path, else through its interpreter.

    (Without an activated environment the shell finds none, or another environment's; a checkout has none.)
    """
    beside, found = Path(sys.executable).with_name("ovpnet"), shutil.which("ovpnet")
    if found is not None and beside.exists() and beside.samefile(found):
        return "ovpnet"
    if os.access(beside, os.X_OK):
        return shlex.quote(str(beside))
    # An environment's interpreter is a link to one outside it, so their folders are compared.
    python = shutil.which("python")
    named = python is not None and Path(python).parent.samefile(Path(sys.executable).parent)
    return f"{'python' if named else shlex.quote(sys.executable)} -m ovpnet"
