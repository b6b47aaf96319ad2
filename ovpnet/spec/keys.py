"""Keys of the config: their defaults, meanings and bounds, and the facts that others ask of a key."""

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

from ovpnet.spec.errors import ConfigError

# OmegaConf's mark of a value that has to be given. OmegaConf itself is imported where configs are composed: the
# analysis looks at configs without it, and need not wait a quarter of a second.
MISSING: Any = "???"

# The largest seed: the streams take 64 bits, and stores keep signed ones.
LARGEST_SEED = 2**63 - 1

# A choice's allowed values: a list, or what says it later (the names of a registry that other modules fill).
Choices = Sequence[str] | Callable[[], Sequence[str]]


class _Absent:
    """Marks a key that has been there since its node was introduced."""

    def __repr__(self) -> str:
        return "<always there>"


ALWAYS: Any = _Absent()


def key(default: Any, help: str, *, low: float | None = None, high: float | None = None, above: float | None = None,
        choices: Choices | None = None, printed: bool = False, identity: bool = True, per_member: bool = False,
        added: Any = ALWAYS) -> Any:
    """Make a config field with its meaning and its bounds: low <= value <= high, value > above, one of choices.

    `printed`: a text without control characters, since commands to copy show it. `identity`: the key can change a
    number of a run. `per_member`: runs that differ in it can share an ensemble. `added`: for a key that joins a node
    after its first release, the value that older runs had. A run's id names the key only if it has another value.
    """
    metadata = {"help": help, "low": low, "high": high, "above": above, "choices": choices, "printed": printed,
                "identity": identity, "per_member": per_member, "added": added}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def allowed_values(metadata: Mapping[str, Any]) -> Sequence[str]:
    """Return the values that a key allows; empty if it has no list of them."""
    choices = metadata.get("choices") or ()
    return choices() if callable(choices) else choices


def check_value(name: str, value: Any, metadata: Mapping[str, Any]) -> None:
    """Raise ConfigError for a value outside the bounds and choices of its key (the metadata that `key` makes)."""
    if value is None:
        return
    low, high, above = (metadata.get(bound) for bound in ("low", "high", "above"))
    choices = allowed_values(metadata)
    if choices and value not in choices:
        raise ConfigError(name, value, f"not known; allowed: {', '.join(choices)}")
    if metadata.get("printed") and any(unicodedata.category(each) == "Cc" for each in value):
        raise ConfigError(name, ascii(value), "must have no control characters, such as line breaks and tabs")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(name, value, "must be a finite number")
    if low is not None and value < low:
        raise ConfigError(name, value, f"must be at least {low}")
    if above is not None and value <= above:
        raise ConfigError(name, value, f"must be greater than {above}")
    if high is not None and value > high:
        raise ConfigError(name, value, f"must be at most {high}")
