"""The tuning rule: the learning rate and weight decay by which a width is judged at some number of samples.

The analysis, which reports what it finds, and the search for N_eps (`launch.search`), which decides by it what to train
next, share it.
"""

from collections.abc import Sequence

import pandas as pd

SETTING = ["lr", "weight_decay"]


def judged(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the finished runs of the store's rows, with the column `reached`; a diverged run has infinite risks."""
    finished = runs[runs["status"].isin(["done", "diverged"])].copy()
    diverged = finished["status"].eq("diverged") | finished["test_risk"].isna()
    finished.loc[diverged, ["test_risk", "validation_risk"]] = float("inf")
    finished["status"] = finished["status"].where(~diverged, "diverged")
    finished["reached"] = finished["test_risk"].le(finished["threshold"])
    return finished


def settings(finished: pd.DataFrame, cell: Sequence[str], by: str = "validation") -> pd.DataFrame:
    """Return the setting (lr, weight_decay) of each cell: that of least validation risk, averaged over its seeds.

    With by="test" it is that of least test risk. `finished` comes from `judged`; `cell` are the columns that tell cells
    apart. A setting that lacks a seed that others have (failed, or not run yet) is chosen only if no setting has them
    all.

    Columns: those of `cell`, lr, weight_decay, missing_seeds (seeds of the cell that the setting lacks).
    """
    keys, diverged = list(cell), finished["status"].eq("diverged")
    found = finished.assign(diverged=diverged, risk=finished[f"{by}_risk"].where(~diverged)).groupby(
        [*keys, *SETTING], as_index=False).agg(seeds=("seed", "nunique"), diverged=("diverged", "sum"),
                                               risk=("risk", "mean"))
    seeds = finished.groupby(keys)["seed"].nunique().rename("cell_seeds").reset_index()
    found = found.merge(seeds, on=keys)
    found["missing_seeds"] = found["cell_seeds"] - found["seeds"]
    # Fewest diverged first is the order by mean risk with infinite risks; it also ranks settings that all diverged.
    best = found.sort_values([*keys, "missing_seeds", "diverged", "risk", *SETTING]).drop_duplicates(keys)
    return best[[*keys, *SETTING, "missing_seeds"]].reset_index(drop=True)
