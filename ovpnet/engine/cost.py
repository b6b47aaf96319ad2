"""The number of runs to train side by side, by the bytes and seconds that their shapes predict.

`python -m benchmarks.cost_model` compares these with what is measured.
"""

import math
from bisect import bisect

from ovpnet.engine.base import Shape
from ovpnet.engine.rates import Machine

MOST_MEMBERS = 512
# A smaller pack that takes this many times as long a run is preferred: its results are stored the sooner.
_SLACK = 1.05
# Seconds that a pack takes at least, if there are runs enough: each one adds files to the store.
_WORTH_A_FILE = 2.0


def members(shape: Shape, machine: Machine, most: int | None = None, pack_seconds: float = math.inf) -> int:
    """Return how many of these runs to train side by side, `most` at most.

    The numbers considered fit the machine's memory and take at most `pack_seconds`. If `most` is given, it is the
    largest of them. Otherwise it is the smallest that takes little longer per run than the best one, and some seconds
    in all. It is at least 1, even if a run alone does not fit or takes longer.
    """
    largest = sorted(shape.configs, key=lambda config: config.samples, reverse=True)

    def too_many(E: int) -> bool:
        part = shape.part(largest[:E])
        return part.memory > machine.memory or part.seconds(machine) > pack_seconds

    fitting = max(1, bisect(range(1, min(len(largest), most or MOST_MEMBERS) + 1), False, key=too_many))
    if most is not None:
        return fitting
    tried = sorted({*(1 << power for power in range(fitting.bit_length())), fitting})
    times = [shape.part(largest[:E]).seconds(machine) / E for E in tried]
    fast = [(E, E * time) for E, time in zip(tried, times, strict=True) if time <= _SLACK * min(times)]
    return next((E for E, time in fast if time >= _WORTH_A_FILE), fast[-1][0])
