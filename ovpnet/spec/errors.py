"""Errors a person can act on. Each message names the key, the value and what is allowed."""


class OvpnetError(Exception):
    """The base of our errors: a command prints its message alone (no traceback) and exits with code 1.

    For commands that Hydra runs, `ovpnet.terminal.compact` sees to it.
    """


class ConfigError(OvpnetError):
    """A config value, or a combination of values, that cannot be run."""

    def __init__(self, key: str, value: object, allowed: str):
        self.key, self.value, self.allowed = key, value, allowed
        super().__init__(f"{key}={'null' if value is None else value}: {allowed}")


class StoreError(OvpnetError):
    """The store cannot be read or written."""


class CheckpointError(OvpnetError):
    """A checkpoint cannot be read, or is of something else."""


class InterruptionError(KeyboardInterrupt):
    """A pack was asked to stop, and has kept a checkpoint of what it trained."""


class DeviceLostError(OvpnetError):
    """An error after which a GPU is of no use to this process; another process may go on."""


class TrackerError(OvpnetError):
    """W&B, or what was asked of it, does not allow an upload."""
