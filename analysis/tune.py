"""Best-tuned risk: which learning rate and weight decay to judge a problem by, at each width and samples."""

import pandas as pd

from ovpnet import tuning

CELL = ["problem", "width", "samples"]
SETTING = tuning.SETTING


def best_tuned(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per problem, width, samples and seed, at the (lr, weight_decay) tuned for its cell.

    `runs` comes from `load.with_problem`. The setting is chosen per (problem, width, samples) by the least VALIDATION
    risk, averaged over seeds, and judged by its TEST risk, so the choice does not flatter the result (no winner's
    curse). A diverged run has infinite risk. A setting that lacks a seed that others have (failed, or not run yet)
    is chosen only where no setting has them all.

    Columns: problem, width, samples, seed, lr, weight_decay, status, validation_risk, test_risk, test_risk_se, opt,
    threshold (units of the loss), reached, missing_seeds (seeds of the cell that the setting lacks), lr_edge ("low" or
    "high" where the best lr is the end of a grid of at least 2, else "").
    """
    finished = tuning.judged(runs)
    chosen = _choices(finished)
    columns = [*CELL, "seed", *SETTING, "status", "validation_risk", "test_risk", "test_risk_se", "opt", "threshold",
               "reached"]
    rows = finished[columns].merge(chosen, on=[*CELL, *SETTING])
    return rows.sort_values([*CELL, "seed"]).reset_index(drop=True)


def choices(best: pd.DataFrame) -> pd.DataFrame:
    """The tuning choices in `best` (from `best_tuned`), one row a cell: setting, number of seeds, mean risks."""
    return best.groupby([*CELL, *SETTING, "missing_seeds", "lr_edge"], as_index=False).agg(
        seeds=("seed", "size"), diverged=("status", lambda status: int(status.eq("diverged").sum())),
        validation_risk=("validation_risk", "mean"), test_risk=("test_risk", "mean"),
        opt=("opt", "mean"), threshold=("threshold", "mean"), reached=("reached", "mean"))


def warnings(best: pd.DataFrame) -> list[str]:
    """What may make the tuning untrustworthy, one sentence per problem and kind."""
    found = []
    for problem, rows in choices(best).groupby("problem"):
        for edge, advice in (("low", "smaller"), ("high", "larger")):
            at_edge = rows[rows["lr_edge"].eq(edge)]
            if 2 * len(at_edge) > len(rows):  # fewer may be chance where the risk is flat in lr
                found.append(f"{problem}: lr grid may be too narrow: the best lr is its {edge}est in {len(at_edge)} of "
                             f"{len(rows)} cells ({_cells(at_edge)}); add {advice} ones")
        missing = rows[rows["missing_seeds"].gt(0)]
        if len(missing):
            found.append(f"{problem}: no (lr, weight_decay) has every seed in {len(missing)} of {len(rows)} cells "
                         f"({_cells(missing)}); finish the sweep (runs failed or are still to come)")
    return found


def _choices(finished: pd.DataFrame) -> pd.DataFrame:
    best = tuning.settings(finished, CELL)
    grids = finished.groupby(CELL)["lr"].agg(lr_min="min", lr_max="max").reset_index()
    best = best.merge(grids, on=CELL)
    edge = pd.Series("", index=best.index, dtype=object)
    searched = best["lr_min"] < best["lr_max"]
    edge[searched & best["lr"].eq(best["lr_min"])] = "low"
    edge[searched & best["lr"].eq(best["lr_max"])] = "high"
    return best.assign(lr_edge=edge)[[*CELL, *SETTING, "missing_seeds", "lr_edge"]]


def _cells(rows: pd.DataFrame, most: int = 3) -> str:
    texts = [f"width={row.width} samples={row.samples}" for row in rows.head(most).itertuples()]
    return "; ".join(texts) + ("; ..." if len(rows) > most else "")
