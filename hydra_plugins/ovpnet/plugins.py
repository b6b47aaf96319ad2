"""The namespace in which Hydra looks for plug-ins; the plug-ins themselves are in launch/plugins.py."""

import launch.plugins

launch.plugins.register()


class PackSweeper(launch.plugins.PackSweeper):
    """hydra/sweeper=packs"""


class BisectSweeper(launch.plugins.BisectSweeper):
    """hydra/sweeper=bisect_samples"""


class LocalLauncher(launch.plugins.LocalLauncher):
    """hydra/launcher=local"""


class SubprocessLauncher(launch.plugins.SubprocessLauncher):
    """hydra/launcher=subprocess"""


class SlurmLauncher(launch.plugins.SlurmLauncher):
    """hydra/launcher=slurm"""
