"""The base class of exhibits, and the registry of all: each is a class in a module of its own in this package."""

import pkgutil
from abc import ABC
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import ClassVar

from analysis.exhibits.base import Chart, Part
from analysis.exhibits.evidence import Evidence

TEXT, PAGE, FIGURES, WANDB = "text", "page", "figures", "wandb"
MEDIA = (TEXT, PAGE, FIGURES, WANDB)
FACTS = ("name", "title", "about", "place", "media")

_registered: dict[str, type["Exhibit"]] = {}


class Exhibit(ABC):
    """Something to show of a store, described once for every medium.

    A subclass states its facts. `name` is the name by which a command asks for it, and `title` is its heading. `about`
    says what to read off it; `{delta}` in it is the delta of the verdicts. `place` is a number that orders the exhibits
    of a medium, and `media` are those that show it. A subclass is refused (TypeError) if it lacks a fact, or if its
    name or place is another's. It overrides one or both of the methods `of_problem` and `of_all`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[str]
    place: ClassVar[float]
    media: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls) -> None:
        missing = [fact for fact in FACTS if not hasattr(cls, fact)]
        if missing:
            raise TypeError(f"exhibit {cls.__name__}: states no {', '.join(missing)}")
        unknown = [medium for medium in cls.media if medium not in MEDIA]
        if unknown or not cls.media:
            raise TypeError(f"exhibit {cls.__name__}: media={cls.media}: must be some of {', '.join(MEDIA)}")
        for other in _registered.values():
            if cls.name == other.name or cls.place == other.place:
                raise TypeError(f"exhibit {cls.__name__}: {other.__name__} has its name or place already")
        _registered[cls.name] = cls

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence

    @property
    def words(self) -> str:
        """The words on what to read off it, for this evidence."""
        return self.about.replace("{delta}", f"{self.evidence.delta:g}")

    def of_problem(self, problem: str) -> Iterator[Chart]:
        """Yield the charts of one problem that has a finished run."""
        yield from ()

    def of_all(self) -> Iterator[Part]:
        """Yield the parts about all problems together."""
        yield from ()


def exhibits(evidence: Evidence, medium: str) -> list[Exhibit]:
    """Return the exhibits that a medium shows, in their order."""
    found = [cls for cls in registered().values() if medium in cls.media]
    return [cls(evidence) for cls in sorted(found, key=lambda cls: cls.place)]


def registered() -> dict[str, type[Exhibit]]:
    """Return all exhibits by name.

    Every module of this package is imported, so a new file is enough to add an exhibit.
    """
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        import_module(f"analysis.exhibits.{module.name}")
    return dict(_registered)
