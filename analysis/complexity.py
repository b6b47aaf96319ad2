"""Sample complexity N_eps(m), seed by seed, as the interval that the grid of samples leaves for it."""

import numpy as np
import pandas as pd

KEYS = ["problem", "width", "seed"]


def sample_complexity(best: pd.DataFrame) -> pd.DataFrame:
    """Return N_eps of each problem, width and seed as an interval. `best` comes from `tune.best_tuned`.

    N_eps is the N at which the best-tuned test risk falls to OPT + epsilon. A grid of samples only says that N_eps lies
    in an interval (low, high] between a failing and a passing N of the grid.

    A seed need not be monotone: it may pass at some N and fail at a larger one. The reason may be a risk measured with
    error, a poor setting of lr, or a diverged run. Each interval between neighbours of the grid, or beyond its ends,
    contradicts the runs that pass below it and the runs that fail above it. (low, high] is the hull of the intervals
    with the fewest contradictions. One stray run does not move it if the others outvote it; if two places are as
    likely, it reaches over both. If each run is misjudged with the same probability below 1/2, these intervals have the
    greatest likelihood.

    The columns are problem, width, seed, low, high, censored ("", "left", "right" or "both"), monotone, contradictions,
    first_low and first_high. low is 0 if the seed is left-censored: nothing in the grid need fail. high is inf if it is
    right-censored: nothing need pass. contradictions is the least number of runs that an interval contradicts; it is 0
    for a monotone seed. first_low and first_high are the interval below the least N that passes, whatever is above it;
    for a monotone seed it is the same.
    """
    ordered = best.sort_values([*KEYS, "samples"], ignore_index=True)
    group = ordered.groupby(KEYS, sort=False).ngroup()
    samples, passes = ordered["samples"].astype(float), ordered["reached"].astype(int)
    fails = 1 - passes
    passes_below = passes.groupby(group).cumsum() - passes
    failures_from_here = fails.groupby(group).transform("sum") - (fails.groupby(group).cumsum() - fails)
    contradictions = passes_below + failures_from_here  # of N_eps in the interval that ends at this row's N
    beyond = passes.groupby(group).sum()  # of N_eps above the grid
    least = np.minimum(contradictions.groupby(group).min(), beyond)

    previous = samples.groupby(group).shift(fill_value=0.0)
    at_least = contradictions.eq(group.map(least))
    low = previous.where(at_least).groupby(group).min()
    high = samples.where(at_least).groupby(group).max()
    greatest = samples.groupby(group).max()
    is_beyond = beyond.eq(least)
    low, high = low.fillna(greatest), high.mask(is_beyond, np.inf)

    first = passes.eq(1) & passes_below.eq(0)
    first_low = previous.where(first).groupby(group).min().fillna(greatest)
    first_high = samples.where(first).groupby(group).min().fillna(np.inf)

    left, right = low.eq(0), np.isinf(high)
    table = ordered[KEYS].drop_duplicates(ignore_index=True)
    censored = np.select([left & right, left, right], ["both", "left", "right"], "")
    return table.assign(low=low, high=high, censored=censored, monotone=least.eq(0), contradictions=least,
                        first_low=first_low, first_high=first_high)


def by_width(intervals: pd.DataFrame) -> pd.DataFrame:
    """Return N_eps of each problem and width over seeds.

    Columns: problem, width, seeds, n_eps, low, high (the range over seeds), left, right (number censored), non_monotone
    (number of seeds). n_eps is the geometric mean of the middles of the intervals; it is nan if a seed is censored.
    """
    middle = np.sqrt(intervals["low"] * intervals["high"]).where(intervals["censored"].eq(""))
    table = intervals.assign(log_middle=np.log(middle), left=intervals["censored"].isin(["left", "both"]),
                             right=intervals["censored"].isin(["right", "both"]), non_monotone=~intervals["monotone"],
                             unknown=middle.isna())
    table = table.groupby(["problem", "width"], as_index=False).agg(
        seeds=("seed", "size"), n_eps=("log_middle", "mean"), unknown=("unknown", "any"), low=("low", "min"),
        high=("high", "max"), left=("left", "sum"), right=("right", "sum"), non_monotone=("non_monotone", "sum"))
    return table.assign(n_eps=np.exp(table["n_eps"]).mask(table["unknown"])).drop(columns="unknown")


def warnings(intervals: pd.DataFrame) -> list[str]:
    """Return one sentence per problem with seeds whose risk is not monotone in N."""
    sizes = intervals.groupby("problem").size()
    return [f"{problem}: {len(rows)} of {sizes[problem]} seeds and widths pass at some N and fail at a larger one; "
            "N_eps is taken from where the fewest runs contradict it"
            for problem, rows in intervals[~intervals["monotone"]].groupby("problem")]
