"""The launchers, `hydra/launcher=NAME`: each is a class in a file of this folder, which is found by being here."""

import pkgutil
from importlib import import_module

from launch.launchers.base import LAUNCHERS, JobState, Launcher, launcher, launcher_of, named

__all__ = ["LAUNCHERS", "JobState", "Launcher", "launcher", "launcher_of", "named"]

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
