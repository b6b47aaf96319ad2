"""The namespace in which Hydra looks for plug-ins; the plug-ins themselves are in launch/plugins.py.

Hydra imports this file in every Hydra program of the environment. A program that has nothing to do with ovpnet gets no
plug-in, and its own `launch` is left alone.
"""

import sys
from typing import TypeVar

P = TypeVar("P", bound=type)

if "ovpnet" in sys.modules:
    from ovpnet.terminal.packages import claim

    claim()

    import launch.plugins
    from ovpnet.terminal.compact import compact

    launch.plugins.register()

    def told(plugin: P) -> P:
        """Make Hydra print the message alone of the plug-in's errors, wherever it calls it."""
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

    # A class for each launcher of the registry: Hydra looks for them among the names of this module.
    globals().update({name: told(plugin) for name, plugin in launch.plugins.launcher_plugins(__name__).items()})
