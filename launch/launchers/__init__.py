"""The launchers, `hydra/launcher=NAME`: each is a class in a file of this folder, which is found by being here."""

import pkgutil
from dataclasses import fields
from importlib import import_module

from launch.launcher import REGISTERED, Launcher
from launch.sweep import Group
from ovpnet.spec.errors import OvpnetError

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

LAUNCHERS = REGISTERED


def named(name: str) -> type[Launcher]:
    """Return the launcher of that name. Raises OvpnetError if there is none here, as for a record of other code."""
    try:
        return LAUNCHERS[name]
    except KeyError:
        raise OvpnetError(f"launcher={name}: not known here; allowed: {', '.join(LAUNCHERS)}") from None


def launcher_of(group: Group) -> Launcher:
    """Return the launcher of a group, with the options on record that it has. Raises OvpnetError."""
    kind = named(group.launcher)
    names = {item.name for item in fields(kind)}
    return kind(**{name: value for name, value in group.options.items() if name in names})
