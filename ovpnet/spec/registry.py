"""Registries: everything that a person can choose is one class, which states the facts that others need of it.

A kind (concept, loss, engine, ...) is a base class with a registry. Its facts are the class variables that the base
annotates without a value, and its abstract methods. A class that lacks one of them is refused when it is defined.
"""

import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any, ClassVar, Generic, TypeVar, get_origin

from ovpnet.spec.errors import ConfigError

T = TypeVar("T")
C = TypeVar("C")


class Registry(Generic[T]):
    """The classes of one kind by the names that people type. The modules of `packages` define them.

    `selector` is the key that holds the name in a config (`family` of a concept); None if the kind is in no config.
    """

    def __init__(self, kind: str, base: type[Any], *packages: str, selector: str | None = None):
        self.kind, self.base, self.selector = kind, base, selector
        self.packages, self._loaded = packages, False
        self._classes: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[type[C]], type[C]]:
        """Return the decorator that adds a class under a name; if the kind is in configs, it becomes a dataclass.

        Its selector is then a key with the name as its one value. Raises TypeError for a class that lacks a fact, or
        for a name that is taken.
        """
        def registered(cls: type[C]) -> type[C]:
            if self.selector is not None:
                # The selector, and the label of a kind that has one besides: keys whose default is the name.
                for label in {self.selector, "name"} & self.base.__dataclass_fields__.keys():
                    if label == self.selector or label not in vars(cls):
                        cls.__annotations__ = {label: str, **inspect.get_annotations(cls)}
                        setattr(cls, label, name)
                cls = dataclass(cls)
                _inherit_metadata(cls)
            lacking = [fact for fact in facts(self.base) if not _states(cls, fact)]
            if lacking:
                raise TypeError(f"{self.kind} {name} ({cls.__qualname__}) must state: {', '.join(lacking)}")
            if name in self._classes:
                raise TypeError(f"{self.kind} {name} is already {self._classes[name].__qualname__}")
            self._classes[name] = cls  # type: ignore[assignment]
            return cls

        return registered

    def __getitem__(self, name: str) -> type[T]:
        """Return the class of a name. Raises ConfigError for a name that is not registered."""
        self._load()
        if name not in self._classes:
            raise ConfigError(f"{self.kind}.{self.selector}" if self.selector else self.kind, name,
                              f"not known; allowed: {', '.join(self.names())}")
        return self._classes[name]

    def __iter__(self) -> Iterator[type[T]]:
        """Iterate over the classes."""
        self._load()
        return iter(self._classes.values())

    def names(self) -> tuple[str, ...]:
        """Return the registered names, in the order of their modules."""
        self._load()
        return tuple(self._classes)

    def _load(self) -> None:
        """Import the modules that define the classes: a new file in their package is enough to add one."""
        if self._loaded:
            return
        self._loaded = True
        for package in self.packages:
            module = import_module(package)
            for found in pkgutil.iter_modules(getattr(module, "__path__", ())):
                import_module(f"{package}.{found.name}")
        # Some may have been imported before, in another order.
        self._classes = dict(sorted(self._classes.items(), key=lambda item: item[1].__module__))


def names_in(module: str, registry: str) -> tuple[str, ...]:
    """Return the names of a registry that a higher room holds; its module is imported when they are asked for."""
    found: Registry[Any] = getattr(import_module(module), registry)
    return found.names()


def facts(base: type) -> tuple[str, ...]:
    """Return the names of what a class of this kind must state: class variables without a value, abstract methods."""
    found: dict[str, None] = {}
    for cls in reversed(base.__mro__):
        annotations: dict[str, Any] = inspect.get_annotations(cls)
        found |= dict.fromkeys(name for name, annotation in annotations.items() if get_origin(annotation) is ClassVar)
        found |= dict.fromkeys(name for name, value in vars(cls).items()
                               if getattr(value, "__isabstractmethod__", False))
    return tuple(name for name in found if not _states(base, name))


def _inherit_metadata(cls: Any) -> None:
    """Give a key whose default alone a class changes (`W: str = "frobenius"`) the bounds and meaning of its base.

    Raises TypeError for a field that no class declares as a key: nothing would check its values.
    """
    for item in fields(cls):
        for base in cls.__mro__:
            if not item.metadata and item.name in getattr(base, "__dataclass_fields__", {}):
                item.metadata = base.__dataclass_fields__[item.name].metadata
        if not item.metadata:
            raise TypeError(f"{cls.__qualname__}.{item.name} must be a key: give its meaning and bounds by key(...)")


def _states(cls: type, name: str) -> bool:
    value = inspect.getattr_static(cls, name, _NOTHING)
    return value is not _NOTHING and not getattr(value, "__isabstractmethod__", False)


_NOTHING = object()

