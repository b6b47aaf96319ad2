"""Bisection on log N: at which N to look next, given where runs pass and fail so far. No configs, no store.

N is one of a fixed list of points, known by their index in it. A seed's bracket is (low, high): high the least point
that passes, low the greatest point below it that fails, so N_eps is in (low, high], as `analysis.complexity` has it
where no runs contradict each other.
Below the list low is -1, and where nothing passes high is the list's length. Whatever a run says at a point inside the
bracket, the bracket shrinks: the search ends on results that are not monotone in N, too.
"""

import math
from collections.abc import Mapping, Sequence

Bracket = tuple[int, int]


def spacing(resolution: float) -> float:
    """log2 of the ratio of two neighbouring points: the largest power of two that is at most log2(resolution).

    So the points of a finer search are those of a coarser one and others between them, and the runs are shared.
    """
    return float(2.0 ** math.floor(math.log2(math.log2(resolution)) + 1e-9))


def points(least: int, greatest: int, resolution: float) -> list[int]:
    """The N in [least, greatest] that are a whole power of 2^spacing, to the nearest whole number; in order."""
    step = spacing(resolution)
    powers = range(math.floor(math.log2(least) / step), math.ceil(math.log2(greatest) / step) + 1)
    return sorted({N for power in powers if least <= (N := round(2.0 ** (power * step))) <= greatest})


def bracket(passes: Mapping[int, bool], number: int) -> Bracket:
    """The bracket of a seed that was looked at at these points, out of `number`."""
    high = min((point for point, passed in passes.items() if passed), default=number)
    return max((point for point in passes if point < high), default=-1), high


def settled(passes: Mapping[int, bool], number: int, margin: int) -> bool:
    """Whether no point is left inside the bracket, and it failed at one `margin` points or more below it, too.

    N_eps is the least N that passes. A search that came from below, past a point that failed by chance, would not have
    seen that it passes at smaller ones.
    """
    low, high = bracket(passes, number)
    return high - low <= 1 and (low < 0 or min(passes) <= max(0, low - margin))


def censored(found: Bracket, number: int) -> str:
    """Of a settled bracket: `left` where the first point passes, `right` where none does, else nothing."""
    low, high = found
    return "left" if low < 0 else "right" if high == number else ""


def following(seeds: Sequence[Mapping[int, bool]], number: int, start: int, reach: int, margin: int) -> set[int]:
    """The points to look at next, for seeds that are looked at together: none where all are settled.

    At first `start`. Where a bracket has one end, `reach` points beyond it, then as far again as was looked so far:
    the steps double, so a bad guess costs logarithmically many looks. Where it has both, its middle. Since all seeds
    are looked at at the same points, two brackets are either the same or do not overlap: no look of a round makes
    another one of that round unnecessary. At last, where it is still to be seen, `margin` points below the bracket.
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
