"""Sample complexity N_eps(m), seed by seed, as the interval that the grid of samples leaves for it."""

import numpy as np
import pandas as pd


def sample_complexity(best: pd.DataFrame) -> pd.DataFrame:
    """N_eps of each problem, width and seed. `best` comes from `tune.best_tuned`.

    N_eps is the least N whose best-tuned test risk is at most OPT + epsilon. A grid of samples only says that it lies
    in (low, high]: high the least N of the grid that passes, low the greatest N below it that fails.

    Columns: problem, width, seed, low (0 where the smallest N passes: left-censored), high (inf where none passes:
    right-censored), censored ("", "left" or "right"), monotone (False where a larger N than `high` fails).
    """
    keys = ["problem", "width", "seed"]
    ordered = best.sort_values([*keys, "samples"])
    rows = [(*key, *_interval(group["samples"].to_numpy(float), group["reached"].to_numpy(bool)))
            for key, group in ordered.groupby(keys)]
    table = pd.DataFrame(rows, columns=[*keys, "low", "high", "censored", "monotone"])
    return table.astype({"low": float, "high": float, "monotone": bool})  # also where no run finished


def by_width(intervals: pd.DataFrame) -> pd.DataFrame:
    """N_eps of each problem and width over seeds: columns problem, width, seeds, n_eps (geometric mean of the middles
    of the intervals; nan where a seed is censored), low, high (the range over seeds), left, right (number censored),
    non_monotone (number of seeds)."""
    middle = np.sqrt(intervals["low"] * intervals["high"]).where(intervals["censored"].eq(""))
    table = intervals.assign(log_middle=np.log(middle), left=intervals["censored"].eq("left"),
                             right=intervals["censored"].eq("right"), non_monotone=~intervals["monotone"])
    table = table.groupby(["problem", "width"], as_index=False).agg(
        seeds=("seed", "size"), n_eps=("log_middle", lambda logs: logs.mean(skipna=False)),
        low=("low", "min"), high=("high", "max"), left=("left", "sum"), right=("right", "sum"),
        non_monotone=("non_monotone", "sum"))
    return table.assign(n_eps=np.exp(table["n_eps"]))


def warnings(intervals: pd.DataFrame) -> list[str]:
    """One sentence per problem with seeds whose risk is not monotone in N."""
    return [f"{problem}: {len(rows)} seeds and widths pass at some N and fail at a larger one; N_eps is the least that "
            "passes" for problem, rows in intervals[~intervals["monotone"]].groupby("problem")]


def _interval(samples: np.ndarray, passes: np.ndarray) -> tuple[float, float, str, bool]:
    if not passes.any():
        return float(samples[-1]), float("inf"), "right", True
    first = int(passes.argmax())
    low = float(samples[first - 1]) if first else 0.0
    return low, float(samples[first]), "" if first else "left", bool(passes[first:].all())
