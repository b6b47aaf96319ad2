"""Best-tuned runs: lr and weight decay chosen by the validation risk, reported by the test risk."""

import numpy as np
import pandas as pd

CELL = ["problem", "width", "samples"]
TUNED = ["lr", "weight_decay"]


def tuned(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the best setting of every (problem, width, N): a row a seed.

    The best setting has the least validation risk, averaged over the seeds (a diverged run counts as infinite); of
    settings tried with different numbers of seeds only those with the most are compared. The test risk is measured
    on other samples, so it is not biased by the choice.
    """
    risk = runs["validation_risk"].where(runs["status"] == "done", np.inf).fillna(np.inf)
    settings = runs.assign(risk=risk).groupby([*CELL, *TUNED], as_index=False).agg(risk=("risk", "mean"),
                                                                                    seeds=("seed", "nunique"))
    settings = settings[settings["seeds"] == settings.groupby(CELL)["seeds"].transform("max")]
    best = settings.sort_values([*CELL, "risk", *TUNED], kind="stable").drop_duplicates(CELL)
    chosen = runs.merge(best[[*CELL, *TUNED]], on=[*CELL, *TUNED])
    return chosen.sort_values([*CELL, "seed"], kind="stable").reset_index(drop=True)


def edges(runs: pd.DataFrame, best: pd.DataFrame) -> list[str]:
    """Warnings for values chosen at the end of their grid, where a wider grid might do better."""
    warnings = []
    for problem, group in best.groupby("problem"):
        grid = np.sort(runs.loc[runs["problem"] == problem, "lr"].unique())
        chosen = group.drop_duplicates(CELL)["lr"]
        for end, side in ((grid[0], "smallest"), (grid[-1], "largest")):
            share = (chosen == end).mean()
            if len(grid) > 1 and share > 0.5:
                warnings.append(f"problem {problem}: the {side} lr of the grid, {end:g}, is best in {share:.0%} of the "
                                "(width, samples) cells; a wider grid might do better")
    return warnings
