"""From the YAML in conf/ to a checked config: schemas for Hydra, and what makes a `Config` of what it composes."""

import os
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovpnet.spec.choices import KINDS, with_values
from ovpnet.spec.config import Config, DiagnosticsConfig, TrackerConfig
from ovpnet.spec.errors import ConfigError
from ovpnet.spec.rules import canonical, check

if TYPE_CHECKING:
    from omegaconf import DictConfig


def conf_dir() -> Path:
    """Return the folder of the YAML files: inside the package if installed from a wheel, beside it in a checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parent / "conf"


def default_store() -> str:
    """Return the store of commands that are not told another: the environment variable OVPNET_STORE, else ./store."""
    return os.environ.get("OVPNET_STORE", "store")


def schemas() -> dict[str, dict[str, type]]:
    """Return the classes of the config's nodes that YAML files name, by group and option."""
    chosen = {kind: {name: registry[name] for name in registry.names()} for kind, registry in KINDS.items()}
    return chosen | {"diagnostics": {"diagnostics": DiagnosticsConfig}, "tracker": {"tracker": TrackerConfig}}


def register_schemas() -> None:
    """Make every schema available to the YAML files as schema/GROUP/NAME, and `Config` as schema/config."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(group="schema", name="config", node=Config)
    for group, options in schemas().items():
        for name, schema in options.items():
            store.store(group=f"schema/{group}", name=name, node=schema)


def resolve(composed: "DictConfig") -> Config:
    """Return the composed config as checked dataclasses. Raises ConfigError for the first key that is out of bounds."""
    from omegaconf import OmegaConf

    for name in sorted(OmegaConf.missing_keys(composed)):
        raise ConfigError(name, "???", "a value is needed")
    _check_keys(composed)
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    config = as_chosen(config)
    check(config)
    return canonical(config)


def as_chosen(config: Config) -> Config:
    """Return the config with every node as the class that its selector names. Raises ConfigError as `chosen` does."""
    return with_values(config, **{name: chosen(name, getattr(config, name)) for name in KINDS})


def chosen(name: str, node: Any) -> Any:
    """Return the node of a config as the class that its selector (`noise.kind=gaussian`) names, with the same keys.

    Raises ConfigError if the selector names no class, or one with other keys.
    """
    registry = KINDS.get(name)
    if registry is None or registry.selector is None:
        return node
    selected = getattr(node, registry.selector)
    if selected not in registry.names():
        raise ConfigError(f"{name}.{registry.selector}", selected, f"not known; allowed: {', '.join(registry.names())}")
    cls = registry[selected]
    if type(node) is cls:
        return node
    values = {item.name: getattr(node, item.name) for item in fields(node)}
    if values.keys() != {item.name for item in fields(cls)}:
        raise ConfigError(f"{name}.{registry.selector}", selected, f"has other keys than what is chosen; give {name}="
                          f"{selected}")
    return cls(**values)


def node_of(name: str, values: dict[str, Any]) -> Any:
    """Return a node of a config, of the class that its selector names, with these values of its keys."""
    registry = KINDS.get(name)
    cls = Config.__dataclass_fields__[name].type if registry is None else registry[values[registry.selector or ""]]
    return cls(**values)  # type: ignore[operator]


def _check_keys(composed: "DictConfig", prefix: str = "") -> None:
    """Raise ConfigError for a key that was added with +KEY=VALUE but that no node has."""
    from omegaconf import OmegaConf

    known = [item.name for item in fields(OmegaConf.get_type(composed) or Config)]
    for name in map(str, composed):
        if name not in known:
            raise ConfigError(f"{prefix}{name}", composed[name], f"no such key; allowed: {', '.join(known)}")
        if is_dataclass(OmegaConf.get_type(composed, name)):
            _check_keys(composed[name], f"{prefix}{name}.")
