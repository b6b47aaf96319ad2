"""The namespace in which Hydra looks for plug-ins; the plug-ins themselves are in launch/plugins.py."""

from typing import TypeVar

import launch.plugins
from ovpnet.terminal.compact import compact

P = TypeVar("P", bound=type)

launch.plugins.register()


def told(plugin: P) -> P:
    """The plug-in, of whose errors Hydra prints the message alone wherever it calls it."""
    for name in ("setup", "sweep", "launch"):
        if hasattr(plugin, name):
            setattr(plugin, name, compact(getattr(plugin, name)))
    return plugin


@told
class PackSweeper(launch.plugins.PackSweeper):
    """hydra/sweeper=packs"""


@told
class BisectSweeper(launch.plugins.BisectSweeper):
    """hydra/sweeper=bisect_samples"""


globals().update({name: told(plugin) for name, plugin in launch.plugins.launcher_plugins(__name__).items()})
