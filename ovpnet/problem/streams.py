"""Named random streams: every draw of a run comes from (seed, stream, block) and from nothing else.

A run therefore sees the same data, noise, initialization and minibatch order alone or packed with others, in any order,
on any device. It does so from any step on, since a block needs none of its predecessors. The generator is NumPy's
Philox (Salmon et al. 2011, counter-based); the draws are made on the host. What every step draws comes from
`ovpnet/problem/philox.py` instead, under the same names.
"""

from enum import IntEnum

import numpy as np

# Draws of samples that a problem keeps, at most.
KEPT_DRAWS = 32


class Stream(IntEnum):
    """The purpose of a draw. The numbers are part of every run's identity: never reuse or renumber one."""

    CONCEPT = 1
    INPUTS = 2  # parameters of the input distribution (the centres of a mixture)
    DATA = 3
    LABELS = 4
    INIT = 5
    MINIBATCH = 6
    TEST = 7
    VALIDATION = 8
    MONITOR = 9
    OPT = 10
    SMOOTHING = 11
    SIGNS = 12
    ITERATE_NOISE = 13
    DIAGNOSTICS = 14
    COINS = 15  # labels that are pure noise


def generator(seed: int, stream: Stream, block: int = 0) -> np.random.Generator:
    """Return the generator of one block of one stream of a seed.

    Raises ValueError unless `seed` is in [0, 2^64) and `block` in [0, 2^32).
    """
    if not (0 <= seed < 1 << 64 and 0 <= block < 1 << 32):
        raise ValueError(f"seed={seed}, block={block}: must be in [0, 2^64) and [0, 2^32)")
    return np.random.Generator(np.random.Philox(key=np.array([seed, (stream << 32) | block], dtype=np.uint64)))
