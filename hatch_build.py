"""Build hook: compiles the loops of ovpnet/native/ for the kinds of processor they are worth having for, and lets an
editable install find Hydra's plug-ins.

Without a C++ compiler the package is installed without them and takes its slower paths (it says so when it runs).
`python hatch_build.py` compiles in place.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path(__file__).parent / "ovpnet" / "native"
# No -ffast-math: training that diverges must go through infinities and nan as torch's does.
FLAGS = ["-std=c++17", "-O3", "-shared", "-fPIC", "-pthread", "-fno-math-errno", "-fno-trapping-math", "-Wall",
         "-Wno-psabi"]
# The loader takes the first one that the processor can run (ovpnet/native/__init__.py).
VARIANTS = {
    "x86_64": {"x86-64-v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"], "x86-64-v3": ["-march=x86-64-v3"],
               "plain": []},
}


def compile_native() -> list[Path]:
    """The libraries made; those that cannot be are left out, with a note."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    if compiler is None:
        print("ovpnet: no C++ compiler (CXX, c++, g++, clang++), so without compiled training loops", file=sys.stderr)
        return []
    variants = VARIANTS.get(platform.machine(), {"plain": []})
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = pool.map(lambda variant: _compile(compiler, *variant), variants.items())
    return [library for library in made if library is not None]


def _compile(compiler: str, name: str, flags: list[str]) -> Path | None:
    library = NATIVE / f"lib-{name}.so"
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / library.name
        done = subprocess.run([compiler, *FLAGS, *flags, "-o", built, *sorted(NATIVE.glob("*.cpp"))],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"ovpnet: {compiler} cannot build {library.name}:\n{done.stderr[-2000:]}", file=sys.stderr)
            return None
        # Under a new name first: a process that has the old library loaded keeps it.
        shutil.copy(built, library.with_suffix(".new"))
        os.replace(library.with_suffix(".new"), library)
    return library


class OvpnetBuildHook(BuildHookInterface):
    """Puts the compiled libraries into the wheel, which is then one of this platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            build_data["force_include_editable"] = {str(self._plugins()): "hydra_plugins/ovpnet/__init__.py"}
        made = compile_native()
        if made:
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{re.sub('[-.]', '_', sysconfig.get_platform())}"
            build_data["artifacts"] += [str(library.relative_to(NATIVE.parents[1])) for library in made]

    def _plugins(self) -> Path:
        """The package of Hydra's plug-ins, in which Python looks for modules in the checkout.

        Hydra lists the folders of the namespace package hydra_plugins, so the hook on imports that makes the other
        packages importable would not show it this one.
        """
        package = Path(self._folder.name) / "__init__.py"
        package.write_text(f"__path__ = [{str(Path(self.root, 'hydra_plugins', 'ovpnet'))!r}]\n")
        return package

    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory()  # which lasts as long as the hook does


if __name__ == "__main__":
    print("\n".join(map(str, compile_native())))
