"""Numbers and lists in sentences."""

from collections.abc import Iterable


def count(number: int, what: str) -> str:
    """Return a number with its noun: 1 job, 2 jobs."""
    return f"{number} {what}{'s' * (number != 1)}"


def verb(number: int, one: str, several: str) -> str:
    """Return the form that goes with the number: verb(1, "is", "are")."""
    return one if number == 1 else several


def some(texts: Iterable[str], most: int, separator: str = ", ") -> str:
    """Return the first `most` texts in a row, and "..." if there are more."""
    listed = list(texts)
    return separator.join([*listed[:most], *(["..."] if len(listed) > most else [])])
