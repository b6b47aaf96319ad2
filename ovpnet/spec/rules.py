"""The rules of a config: bounds of its keys, what its choices allow together, and keys that mean nothing to a run."""

from collections.abc import Container, Mapping
from typing import Any

from ovpnet.spec.config import Config
from ovpnet.spec.diagnostic import DIAGNOSTICS
from ovpnet.spec.errors import ConfigError
from ovpnet.spec.identity import keys_of
from ovpnet.spec.keys import check_value


def check(config: Config) -> None:
    """Raise ConfigError for a value out of its bounds, then for an impossible combination of values."""
    check_bounds(config)
    check_combinations(config)


def check_bounds(config: Config, among: Container[str] | None = None) -> None:
    """Raise ConfigError for the first value out of its bounds; among the values of these dotted keys, if given."""
    keys, values = keys_of(config)
    for (name, metadata), value in zip(keys.items(), values(config), strict=True):
        if among is not None and name not in among:
            continue
        if isinstance(value, list):
            _check_entries(name, value, metadata)
        else:
            check_value(name, value, metadata)


def check_combinations(config: Config) -> None:
    """Raise ConfigError for values that are within their bounds, but cannot be together: every choice is asked."""
    if config.width == 0 and not config.learner.infinite:
        raise ConfigError("width", 0, f"must be at least 1; infinite width is learner={config.learner.name}_limit")
    for choice in (config.learner, config.algorithm, config.regularizer, config.concept, config.inputs, config.loss,
                   config.noise):
        choice.check(config)
    _check_diagnostics(config)


def canonical(config: Config) -> Config:
    """Return the config with each key that means nothing to it at one value: runs that cannot differ are one."""
    for node in ("algorithm", "learner", "regularizer"):
        config = getattr(config, node).canonical(config)
    return config


def _check_entries(name: str, entries: list[Any], metadata: Mapping[str, Any]) -> None:
    """Raise ConfigError for an entry out of its bounds, and for a list, or a list in it, without entries."""
    for entry in entries:
        if isinstance(entry, list):
            _check_entries(name, entry, metadata)
        else:
            check_value(name, entry, metadata)
    if not entries:
        raise ConfigError(name, entries, "at least one entry is needed")


def _check_diagnostics(config: Config) -> None:
    """Raise ConfigError only if nothing at all would be measured: a sweep over learners may ask for all of it."""
    chosen = config.diagnostics.chosen()
    reasons = [reason for each in chosen if (reason := each.lacks(config.learner)) is not None]
    if chosen and len(reasons) == len(chosen):
        able = [each.name for each in DIAGNOSTICS if each().lacks(config.learner) is None]
        raise ConfigError("diagnostics.name", config.diagnostics.name, f"{reasons[0]}; allowed: "
                          + ", ".join(["none", *able, *(["all"] if able else [])]))
