"""Best-tuned risk: the learning rate and weight decay that a problem is judged by, at each width and samples."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ovpnet.record import tuning as rule
from ovpnet.spec.errors import ConfigError
from ovpnet.terminal.words import some

CELL = ["problem", "width", "samples"]
SETTING = rule.SETTING
BY = ("validation", "test")
PER = ("pool", "seed")


@dataclass(frozen=True)
class Tuning:
    """The choice of (lr, weight_decay) in a cell (problem, width, samples).

    by: "validation", the least validation risk, so that the test risk which judges the choice does not flatter it. Or
    "test", the least test risk, which the paper's figures show; `winners_curse` measures how much it flatters. per:
    "pool", one setting for all seeds, by the mean over them; or "seed", each seed's own.
    """

    by: str = "validation"
    per: str = "pool"

    def __post_init__(self) -> None:
        for key, value, allowed in (("tune", self.by, BY), ("tune_per", self.per, PER)):
            if value not in allowed:
                raise ConfigError(key, value, f"must be one of {', '.join(allowed)}")

    @property
    def group(self) -> list[str]:
        """The columns within which one setting is chosen."""
        return [*CELL, "seed"] if self.per == "seed" else CELL


POOLED = Tuning()


def best_tuned(runs: pd.DataFrame, tuning: Tuning = POOLED) -> pd.DataFrame:
    """Return one row per problem, width, samples and seed, at the (lr, weight_decay) tuned for it (see `Tuning`).

    `runs` comes from `load.with_problem`. The chosen setting is judged by its TEST risk. A diverged run has infinite
    risk. A setting may lack a seed that others have (failed, or not run yet). Such a setting is chosen only if no
    setting has them all.

    The columns are the keys of a row; status, validation_risk, test_risk, test_risk_se, opt, threshold (units of the
    loss) and reached; tuned_by and tuned_per. missing_seeds counts the seeds that the chosen setting lacks. lr_edge is
    "low" or "high" if the best lr is the end of a grid of at least 2, else "".
    """
    finished = rule.judged(runs)
    columns = [*CELL, "seed", *SETTING, "status", "validation_risk", "test_risk", "test_risk_se", "opt", "threshold",
               "reached"]
    rows = finished[columns].merge(_choices(finished, tuning), on=[*tuning.group, *SETTING])
    rows = rows.assign(tuned_by=tuning.by, tuned_per=tuning.per)
    return rows.sort_values([*CELL, "seed"]).reset_index(drop=True)


def choices(best: pd.DataFrame) -> pd.DataFrame:
    """Return the tuning choices in `best` (from `best_tuned`), one row per cell and setting: number of seeds, mean
    risks."""
    counted = best.assign(diverged=best["status"].eq("diverged"))
    return counted.groupby([*CELL, *SETTING, "missing_seeds", "lr_edge"], as_index=False).agg(
        seeds=("seed", "size"), diverged=("diverged", "sum"),
        validation_risk=("validation_risk", "mean"), test_risk=("test_risk", "mean"),
        opt=("opt", "mean"), threshold=("threshold", "mean"), reached=("reached", "mean"))


def warnings(best: pd.DataFrame) -> list[str]:
    """Return one sentence per problem and kind on what may make the tuning untrustworthy."""
    found = []
    if best["tuned_by"].eq("test").any():
        found.append("leave out --tune test to choose lr and weight decay by validation risk. Here they are those of "
                     "the least TEST risk, as in the paper's figures: every risk and N_eps flatters")
    for problem, rows in choices(best).groupby("problem"):
        for edge, advice in (("low", "smaller"), ("high", "larger")):
            at_edge = rows[rows["lr_edge"].eq(edge)]
            if 2 * len(at_edge) > len(rows):  # fewer may be chance if the risk is flat in lr
                found.append(f"{problem}: lr grid may be too narrow: the best lr is its {edge}est in {len(at_edge)} of "
                             f"{len(rows)} cells ({_cells(at_edge)}); add {advice} ones")
        missing = rows[rows["missing_seeds"].gt(0)]
        if len(missing):
            found.append(f"{problem}: no (lr, weight_decay) has every seed in {len(missing)} of {len(rows)} cells "
                         f"({_cells(missing)}); finish the sweep (runs failed or are still to come)")
    return found


def _choices(finished: pd.DataFrame, tuning: Tuning) -> pd.DataFrame:
    best = rule.settings(finished, tuning.group, tuning.by)
    grids = finished.groupby(tuning.group)["lr"].agg(lr_min="min", lr_max="max").reset_index()
    best = best.merge(grids, on=tuning.group)
    edge = pd.Series("", index=best.index, dtype=object)
    searched = best["lr_min"] < best["lr_max"]
    edge[searched & best["lr"].eq(best["lr_min"])] = "low"
    edge[searched & best["lr"].eq(best["lr_max"])] = "high"
    return best.assign(lr_edge=edge)[[*tuning.group, *SETTING, "missing_seeds", "lr_edge"]]


def winners_curse(runs: pd.DataFrame, per: str = "pool") -> pd.DataFrame:
    """Return how much the best of a grid flatters, one row per cell whose chosen settings all have finite risks.

    A row compares two choices of (lr, weight_decay) in a cell: by test risk, and by validation risk. Risks are in units
    of the loss, means over seeds. Columns:

    - settings (of the grid, tried by every seed), seeds.

    - validated_risk, best_risk: test risk of the setting that validation risk chose, and of the one that test risk
    chose, per `Tuning.per`.

    - gap = validated_risk - best_risk >= 0, the gain of the reported number.

    - optimism, the winner's curse proper: by how much the reported number is below the population risk of the nets it
    names. It is E[validation_risk - test_risk] at the setting that test risk chose. Validation samples had no part in
    that choice, so this is unbiased (it may come out negative). gap - optimism is by how much the net that validation
    risk chose is worse than that, in population risk. It is 0 on average if both risks are measured equally well.

    - most: E[max of `settings` standard Gaussians] x the mean test_risk_se. No grid flatters more on average if the
    errors of its test risks are Gaussian and independent or positively correlated. Equally good settings with
    independent errors do by as much. For per="pool" the choice is by a mean over seeds, so there it is divided by
    sqrt(seeds).

    gap_se and optimism_se are standard errors over seeds (nan with one seed; given the chosen settings). The columns
    gap_epsilons, gap_epsilons_se, optimism_epsilons, optimism_epsilons_se are the same in units of epsilon.
    """
    finished = rule.judged(runs)
    chosen = {}
    for by in BY:
        tuning = Tuning(by, per)
        columns = [*CELL, "seed", "validation_risk", "test_risk", "test_risk_se", "epsilon_absolute"]
        chosen[by] = finished[[*columns, *SETTING]].merge(rule.settings(finished, tuning.group, by),
                                                         on=[*tuning.group, *SETTING])[columns]
    pairs = chosen["test"].merge(chosen["validation"], on=[*CELL, "seed"], suffixes=("", "_validated"))
    pairs = pairs.assign(gap=pairs["test_risk_validated"] - pairs["test_risk"],
                         optimism=pairs["validation_risk"] - pairs["test_risk"])
    table = pairs.groupby(CELL, as_index=False).agg(
        seeds=("seed", "size"), validated_risk=("test_risk_validated", "mean"), best_risk=("test_risk", "mean"),
        gap=("gap", "mean"), gap_se=("gap", "sem"), optimism=("optimism", "mean"), optimism_se=("optimism", "sem"),
        most=("test_risk_se", "mean"), epsilon=("epsilon_absolute", "mean"))
    sizes = finished.drop_duplicates([*CELL, *SETTING]).groupby(CELL, as_index=False).agg(settings=("lr", "size"))
    table = table[np.isfinite(table["gap"])].merge(sizes, on=CELL)
    most = table["most"] * table["settings"].map(expected_maximum)
    table["most"] = most / np.sqrt(table["seeds"]) if per == "pool" else most
    for name in ("gap", "gap_se", "optimism", "optimism_se"):
        table[name.replace("gap", "gap_epsilons").replace("optimism", "optimism_epsilons")] = (
            table[name] / table["epsilon"])
    columns = [*CELL, "settings", "seeds", "validated_risk", "best_risk", "gap", "gap_se", "optimism", "optimism_se",
               "most", "gap_epsilons", "gap_epsilons_se", "optimism_epsilons", "optimism_epsilons_se"]
    return table[columns].sort_values(CELL, ignore_index=True)


def expected_maximum(count: int) -> float:
    """Return E[max of `count` independent standard Gaussians], by the trapezoidal rule on int x d(Phi(x)^count)."""
    from scipy.special import log_ndtr

    x = np.linspace(-12.0, 12.0, 4001)
    density = count * np.exp((count - 1) * log_ndtr(x) - x**2 / 2) / np.sqrt(2 * np.pi)
    return float(np.trapezoid(x * density, x))


def _cells(rows: pd.DataFrame) -> str:
    return some([f"width={row.width} samples={row.samples}" for row in rows.itertuples()], 3, "; ")
