"""The learner of infinite width that a finite one is shown beside."""

import pandas as pd

from analysis.verdict import Analysis


def limit_of(analysis: Analysis, problem: str) -> pd.DataFrame | None:
    """`best` of the learner of infinite width with the same trained part, concept, inputs, noise, loss and epsilon."""
    runs = analysis.runs
    first = runs[runs["problem"].eq(problem)].iloc[0]
    same = [name for name in runs if name.split(".")[0] in ("concept", "inputs", "noise", "loss")
            or name in ("learner.trained", "learner.biases", "epsilon", "epsilon_unit")]
    limits = runs.loc[runs["learner.name"].eq(f"{first['learner.name']}_limit"), ["problem", *same]]
    limits = limits.drop_duplicates("problem")  # which agree within a problem
    matches = (limits[same].eq(first[same]) | limits[same].isna() & first[same].isna()).all(axis=1)
    found = analysis.best[analysis.best["problem"].isin(limits.loc[matches, "problem"][:1])]
    return None if found.empty else found
