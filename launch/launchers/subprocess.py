"""hydra/launcher=subprocess"""

from dataclasses import dataclass

from launch.launcher import launcher
from launch.launchers.here import Here


@launcher("subprocess")
@dataclass
class Subprocess(Here):
    """hydra/launcher=subprocess: as `slurm`, in processes of this machine; the command returns at once."""

    waits = False
    patience_seconds = 60.0  # another machine may be the one that trains
