"""Sample complexity N_eps(m) of every seed, as the interval that the grid of N leaves it."""

import numpy as np
import pandas as pd


def sample_complexity(best: pd.DataFrame) -> pd.DataFrame:
    """A row a (problem, width, seed): `low` < N_eps <= `high`.

    high is the least N of the grid at which the best-tuned test risk is at most OPT + epsilon, low the grid's N
    before it. censored: `left` where the least N passes already (low = 0), `right` where none passes (high = inf,
    low the largest N), else `no`. monotone: every N above high passes too.
    """
    rows = []
    for (problem, width, seed), group in best.groupby(["problem", "width", "seed"]):
        group = group.sort_values("samples")
        samples, reached = group["samples"].to_numpy(float), group["reached"].to_numpy(bool)
        if reached.any():
            first = int(np.argmax(reached))
            low, high = (samples[first - 1] if first else 0.0), samples[first]
            monotone = bool(reached[first:].all())
        else:
            low, high, monotone = samples[-1], np.inf, True
        rows.append({"problem": problem, "width": width, "seed": seed, "low": low, "high": high,
                     "censored": "left" if low == 0 else "right" if np.isinf(high) else "no", "monotone": monotone})
    return pd.DataFrame(rows)
