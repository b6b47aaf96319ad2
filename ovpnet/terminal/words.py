"""Numbers in sentences."""


def count(number: int, what: str) -> str:
    """Return a number with its noun: 1 job, 2 jobs."""
    return f"{number} {what}{'s' * (number != 1)}"


def verb(number: int, one: str, several: str) -> str:
    """Return the form that goes with the number: verb(1, "is", "are")."""
    return one if number == 1 else several
