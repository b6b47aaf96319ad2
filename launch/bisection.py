"""Bisection on log N: choose the N to look at next, from the N at which runs passed and failed so far.

N is one of a fixed list of points, known by their index in it. Nothing here knows configs or the store. A seed's
bracket is (low, high): high is the least point that passes, and low is the greatest point below it that fails. So N_eps
is in (low, high], as `analysis.complexity` finds it if no runs contradict each other. If no point below high was looked
at, low is -1; if no point passes, high is the list's length. The bracket shrinks whatever a run says at a point inside
it. So the search ends on results that are not monotone in N, too.
"""

import math
from collections.abc import Mapping, Sequence

Bracket = tuple[int, int]


def spacing(resolution: float) -> float:
    """Return log2 of the ratio of two neighbouring points: the largest power of two that is at most log2(resolution).

    So a finer search has the points of a coarser one and others between them, and the runs are shared.
    """
    return float(2.0 ** math.floor(math.log2(math.log2(resolution)) + 1e-9))


def points(least: int, greatest: int, resolution: float) -> list[int]:
    """Return the N in [least, greatest] that are whole powers of 2^spacing, rounded to whole numbers, in order."""
    step = spacing(resolution)
    powers = range(math.floor(math.log2(least) / step), math.ceil(math.log2(greatest) / step) + 1)
    return sorted({N for power in powers if least <= (N := round(2.0 ** (power * step))) <= greatest})


def bracket(passes: Mapping[int, bool], number: int) -> Bracket:
    """Return the bracket of a seed: `passes` says what was seen at points of a list of length `number`."""
    high = min((point for point, passed in passes.items() if passed), default=number)
    return max((point for point in passes if point < high), default=-1), high


def settled(passes: Mapping[int, bool], number: int, margin: int) -> bool:
    """Return whether the search for this bracket has ended.

    No point is left inside it, and the seed failed at a point that is at least `margin` points below the bracket, too.
    N_eps is the least N that passes. A search that came from below may have gone past a point that failed by chance. It
    would not have seen that smaller points pass.
    """
    low, high = bracket(passes, number)
    return high - low <= 1 and (low < 0 or min(passes) <= max(0, low - margin))


def censored(found: Bracket, number: int) -> str:
    """Return how a settled bracket is censored: `left` if the first point passes, `right` if none does, else ""."""
    low, high = found
    return "left" if low < 0 else "right" if high == number else ""


def following(seeds: Sequence[Mapping[int, bool]], number: int, start: int, reach: int, margin: int) -> set[int]:
    """Return the points to look at next, for seeds that are looked at together: none if all are settled.

    The first look is at `start`. If a bracket has one end, the next look is `reach` points beyond it, then as far again
    as was looked so far. So the steps double, and a bad guess costs logarithmically many looks. If a bracket has both
    ends, the next look is at its middle. The last looks are `margin` points below each bracket that does not yet have a
    failure there.

    All seeds are looked at at the same points, so two brackets are either the same or do not overlap. Hence no look of
    a round makes another look of that round unnecessary.
    """
    asked = set()
    for passes in seeds:
        low, high = bracket(passes, number)
        if settled(passes, number, margin):
            continue
        if high - low <= 1:
            asked.add(max(0, low - margin))
        elif not passes:
            asked.add(start)
        elif low < 0:
            asked.add(max(0, high - max(reach, max(passes) - high)))
        elif high == number:
            asked.add(min(number - 1, low + max(reach, low - min(passes))))
        else:
            asked.add((low + high) // 2)
    return asked
