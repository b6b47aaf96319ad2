"""Our packages are ours, whatever files are in the folder where a command is given.

`analysis.py` and `launch.py` are common names for a researcher's own files. And `python -m` looks for modules in the
folder where one stands before it looks anywhere else.
"""

import importlib.util
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import ovpnet

ROOT = Path(ovpnet.__file__).resolve().parents[1]


def enter() -> None:
    """Look for no module in the folder where one stands, as the console command does; an entry point calls this first.

    A checkout that ovpnet itself is run from stays.
    """
    if not sys.flags.safe_path and sys.path[:1] in ([""], [os.getcwd()]) and Path.cwd().resolve() != ROOT:
        del sys.path[0]
    claim()


def claim() -> None:
    """Import `launch` and `analysis` from beside ovpnet, also if PYTHONPATH has other modules of these names first.

    Raises ImportError if a module of such a name, which is not ours, is in use already.
    """
    for name in ("launch", "analysis"):
        spec = PathFinder.find_spec(name, [str(ROOT)])
        if spec is None or spec.origin is None or spec.loader is None:
            continue  # the copy of the code that jobs run has no analysis
        if name not in sys.modules:
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
        elif (file := sys.modules[name].__file__) is None or not Path(file).samefile(spec.origin):
            raise ImportError(f"{file} is imported as `{name}`, which is the name of a package of ovpnet's; "
                              "give that file another name", name=name)
