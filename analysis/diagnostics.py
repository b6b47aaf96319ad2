"""The diagnostics of runs (config group `diagnostics`), at the last point of training and along it."""

from dataclasses import dataclass

import pandas as pd

from analysis.load import INFINITE
from analysis.tune import CELL, SETTING


@dataclass(frozen=True)
class Quantities:
    """Quantities of one kind, shown together: columns of the rows with their labels."""

    title: str
    columns: dict[str, str]


FAMILIES = (
    Quantities("increment of W", {"norm_W": "Frobenius", "spectral_W": "spectral", "norm_W_24": "2,4"}),
    Quantities("increment of V", {"norm_V": "Frobenius", "spectral_V": "spectral"}),
    Quantities("m ||W||_{2,4}^{4} / ||W||_{F}^{4}, in [1, m]", {"norm_ratio": "norm ratio"}),
    Quantities("share of ReLU signs changed", {"sign_changes_1": "first layer", "sign_changes_2": "second layer"}),
    Quantities("|f - approximation|, RMS", {"gap_quadratic": "quadratic", "gap_linear": "linear"}),
    Quantities("the same / |f - f_{0}|", {"gap_quadratic_relative": "quadratic", "gap_linear_relative": "linear"}),
    Quantities("drift of the NTK, relative", {"ntk_drift": "Gram matrix"}),
    Quantities("gradient norm", {"gradient_norm": "training objective",
                                 "smoothed_gradient_norm": "smoothed objective"}),
    Quantities("largest eigenvalue", {"largest_eigenvalue": "smoothed objective"}),
    Quantities("smallest eigenvalue", {"curvature": "bound from above", "smallest_eigenvalue": "bound from below"}),
    Quantities("decrease by weight decay", {"decay_decrease": "one step of λ"}),
    Quantities("visits to saddle points", {"saddle_events": "a run"}),
)
COLUMNS = (*(column for family in FAMILIES for column in family.columns), "saddle_escape_steps")
# Columns of learning curves with measured curvature.
TRACED = ["objective", "smoothed_gradient_norm", "smallest_eigenvalue", "curvature", "largest_eigenvalue",
          "decay_decrease", "saddle"]


def last_values(runs: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run of `best` with finite width, at each problem's largest N.

    The rows have the columns of `runs` that hold diagnostics, but only those that some run has. The table is empty if
    no run has any.
    """
    columns = [name for name in COLUMNS if name in runs and runs[name].notna().any()]
    keys = [*CELL, "seed", *SETTING]
    rows = best[keys].merge(runs[["run_id", *keys, *columns]], on=keys)
    rows = rows[rows[columns].notna().any(axis=1) & rows["width"].ne(INFINITE)]
    return rows[rows["samples"].eq(rows.groupby("problem")["samples"].transform("max"))].reset_index(drop=True)


def families(rows: pd.DataFrame) -> list[Quantities]:
    """Return the families of which the rows hold some column, with the columns that they hold."""
    kept = [Quantities(family.title, {column: label for column, label in family.columns.items()
                                      if column in rows and rows[column].notna().any()}) for family in FAMILIES]
    return [family for family in kept if family.columns]


def medians(rows: pd.DataFrame) -> pd.DataFrame:
    """Return medians over seeds, one row per problem and width; also samples and the number of seeds."""
    columns = [name for name in COLUMNS if name in rows]
    grouped = rows.groupby(["problem", "samples", "width"])
    return grouped[columns].median().assign(seeds=grouped["seed"].nunique()).reset_index()


def traces(rows: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Return medians over seeds along training, one row per problem, width and step, of curves with measured curvature.
    """
    if not {"run_id", *TRACED} <= set(curves):
        return pd.DataFrame(columns=["problem", "width", "step", *TRACED])
    found = curves[["run_id", "step", *TRACED]].dropna(subset="curvature")
    found = found.merge(rows[["run_id", "problem", "width"]], on="run_id")
    return found.groupby(["problem", "width", "step"])[TRACED].median().reset_index()
