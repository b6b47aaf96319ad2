"""The identity of a run: the keys that can change its numbers, and hashes of them."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple

from ovpnet.spec.choices import KINDS
from ovpnet.spec.config import NODES, Config
from ovpnet.spec.keys import ALWAYS


class _Reader(NamedTuple):
    """Some keys, what reads their values of a config, and those that joined later with the value of older runs."""

    names: tuple[str, ...]
    values: Callable[[Config], Any]
    later: dict[str, Any]


_classes: Callable[[Config], tuple[type, ...]] = attrgetter(*(f"{name}.__class__" for name in NODES))


# The version of the config's schema, which rows of a store carry: code refuses rows of a later one than its own.
SCHEMA_VERSION = 1


def flat(config: Config) -> dict[str, Any]:
    """Return the config as one level of dotted keys; lists stay lists."""
    keys, values = keys_of(config)
    return dict(zip(keys, values(config), strict=True))


def identity(config: Config) -> dict[str, Any]:
    """Return every dotted key that can change the run's numbers, with the steps that epochs amount to.

    Epochs are kept too: a run of 40 epochs belongs to a study in which the steps follow the samples. One of as many
    steps belongs to another. A key that joined its node later (`added`) is named only if its value is not that of older
    runs.
    """
    return _identity(config, _identifying(_classes(config), config.diagnostics.measured, True))


def run_id(config: Config) -> str:
    """Return 12 hexadecimal digits; equal for two configs exactly if their identities are equal."""
    return digest(identity(config))


def signature(config: Config) -> tuple[tuple[str, Any], ...]:
    """Return the static signature: runs that agree on it can be trained as one ensemble."""
    kept = _identity(config, _identifying(_classes(config), config.diagnostics.measured, False))
    return tuple((name, _hashable(value) if isinstance(value, list) else value) for name, value in kept.items())


def problem_identity(config: Config) -> dict[str, Any]:
    """Return the part of a run's identity that says what is to be learned, and not by whom."""
    return {name: _of_node(getattr(config, name)) for name in ("concept", "inputs", "noise", "loss")}


def opt_id(config: Config) -> str:
    """Return the hash of the config's problem, and of how its OPT is found."""
    return digest(problem_identity(config) | {"opt": _of_node(config.opt)})


def digest(content: dict[str, Any]) -> str:
    """Return a short hash of a flat dictionary, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def keys_of(config: Config) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    """Return the config's dotted keys in order, each with its metadata; and what reads their values."""
    return _keys(_classes(config))


class LaterKey(NamedTuple):
    """A dotted key that joined the config after its first release."""

    name: str
    added: Any  # the value that older runs had
    selector: str | None  # the dotted key that says which choice a run has; None if every run has the key
    choices: tuple[str, ...]  # the choices that have the key


def later_keys() -> list[LaterKey]:
    """Return the keys that older rows of a store have no column for, with the values that these runs had."""
    found = [LaterKey(item.name, item.metadata["added"], None, ()) for item in fields(Config)
             if item.name not in NODES and item.metadata["added"] is not ALWAYS]
    for item in fields(Config):
        if item.name not in NODES:
            continue
        registry = KINDS.get(item.name)
        named: dict[str, Any] = {"": item.type} if registry is None else {
            name: registry[name] for name in registry.names()}
        having: dict[str, tuple[Any, list[str]]] = {}
        for choice, cls in named.items():
            for each in fields(cls):
                if each.metadata["added"] is not ALWAYS:
                    having.setdefault(each.name, (each.metadata["added"], []))[1].append(choice)
        for name, (added, choices) in having.items():
            everywhere = registry is None or len(choices) == len(named)
            selector = None if everywhere or registry is None else f"{item.name}.{registry.selector}"
            found.append(LaterKey(f"{item.name}.{name}", added, selector, tuple(choices)))
    return found


def not_identity() -> list[str]:
    """Return the dotted keys of all choices that can change no number of a run, but for epochs."""
    return [name for name, metadata in _all_keys() if not metadata["identity"] and name != "epochs"]


def _all_keys() -> list[tuple[str, Any]]:
    """Return the dotted keys of all choices, each with its metadata."""
    found: dict[str, Any] = {}
    for item in fields(Config):
        if item.name in NODES:
            classes: list[Any] = list(KINDS[item.name]) if item.name in KINDS else [item.type]
            found |= {f"{item.name}.{each.name}": each.metadata for cls in classes for each in fields(cls)}
        else:
            found[item.name] = item.metadata
    return list(found.items())


@cache
def _keys(classes: tuple[type, ...]) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    """Return the dotted keys of a config of these nodes' classes, with their metadata; and what reads their values.

    Sweeps ask for them a million times, so the fields are walked over once for each choice of classes.
    """
    nodes = dict(zip(NODES, classes, strict=True))
    keys: dict[str, Any] = {}
    for item in fields(Config):
        if item.name in nodes:
            keys |= {f"{item.name}.{each.name}": each.metadata for each in fields(nodes[item.name])}
        else:
            keys[item.name] = item.metadata
    return keys, attrgetter(*keys)


@cache
def _identifying(classes: tuple[type, ...], measured: bool, members: bool) -> _Reader:
    """Return what reads the keys of a run's identity.

    Unless `members`, those in which members of an ensemble may differ are left out.
    """
    kept = {name: metadata for name, metadata in _keys(classes)[0].items() if metadata["identity"]
            and (members or not metadata["per_member"]) and (measured or not name.startswith("diagnostics."))}
    later = {name: metadata["added"] for name, metadata in kept.items() if metadata["added"] is not ALWAYS}
    return _Reader(tuple(kept), attrgetter(*kept), later)


def _identity(config: Config, reader: _Reader) -> dict[str, Any]:
    kept = dict(zip(reader.names, reader.values(config), strict=True))
    for name, before in reader.later.items():
        if kept[name] == before:
            del kept[name]
    epochs = {} if config.epochs is None else {"epochs": config.epochs}
    return kept | {"steps": config.total_steps} | epochs


def _hashable(entries: list[Any]) -> tuple[Any, ...]:
    """Return the entries of a list as a tuple, and those of lists in it."""
    return tuple(_hashable(entry) if isinstance(entry, list) else entry for entry in entries)


def _of_node(node: Any) -> dict[str, Any]:
    """Return the keys of a node that can change a number, with their values."""
    values = {item.name: getattr(node, item.name) for item in fields(node) if item.metadata["identity"]}
    return {name: value for name, value in values.items() if node.__dataclass_fields__[name].metadata["added"] != value}
