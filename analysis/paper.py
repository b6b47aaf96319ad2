"""Section 7 of the paper beside our runs: the points of Figures 1 to 3, and the published points of Figure 1."""

from pathlib import Path

import pandas as pd

from analysis import tune
from analysis.load import INFINITE, Stored
from ovpnet.spec.errors import OvpnetError
from ovpnet.terminal.commands import as_typed

REFERENCE = Path(__file__).parent / "reference" / "paper_figure1.csv"
KEYS = ["figure", "panel", "series", "m", "n", "metric"]
CLOSE = 1.5  # a factor within which two errors count as the same

# Names of the published series, by learner and trained part; best first.
SERIES = {("three_layer", "hidden"): "3layer", ("two_layer", "hidden"): "2layer", ("three_layer", "ntk"): "3layer(NTK)",
          ("three_layer", "last"): "3layer(last)", ("two_layer", "last"): "2layer(last)"}
# Names of Figure 3's series, by the penalty of W, which is the only penalty.
PENALTIES = {"frobenius": "weight decay on W", "row_24": "||W||_{2,4}^4"}
SAMPLES = 1000  # of panels (a) and of Figure 3


def points(stored: Stored) -> pd.DataFrame:
    """Return the points of the figures that the store has runs of, one row per point.

    Columns: figure, panel, series, m (0 = infinity), n, metric (test_error, norm_ratio) as in the published table; then
    value, value_se, seeds and best_over_grid. value and value_se are the mean over `seeds` seeds and its standard
    error, at the lr and weight_decay of least mean VALIDATION risk. best_over_grid is the number that the paper shows:
    the least TEST error over the grid (the mean of it over seeds), which flatters. Raises OvpnetError if no run belongs
    to a figure.
    """
    runs = _labelled(stored.runs)
    tables = [_figure_1_or_2(runs[runs["figure"].eq(number)], number) for number in (1, 2)]
    tables.append(_figure_3(runs[runs["figure"].eq(3)]))
    table = pd.concat([each for each in tables if len(each)] or tables[:1], ignore_index=True)
    if table.empty:
        raise OvpnetError("no run of the store is a point of Figures 1 to 3; train them with, say, "
                          f"{as_typed('train -m')} experiment=figure1a scale=small")
    return table


def reference(path: Path = REFERENCE) -> pd.DataFrame:
    """Return the published points, with the columns KEYS and value. Raises OvpnetError for a file that is no such
    table."""
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise OvpnetError(f"--reference {path}: {error}") from error
    missing = [name for name in [*KEYS, "value"] if name not in table]
    if missing:
        raise OvpnetError(f"--reference {path}: needs the columns {', '.join([*KEYS, 'value'])}; "
                          f"has no {', '.join(missing)}")
    return table


def compare(table: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Return `table` (from `points`) with the columns paper, paper_m and ratio = value / paper.

    They are nan if the point is not published. Panel (b) has one width. If ours is another, the point is the published
    one of the same N, and paper_m has its width. The width makes a difference there, which the ratio includes.
    """
    names = {"value": "paper", "m": "paper_m"}
    in_b = table["panel"].eq("b")
    exact = published.assign(paper_m=published["m"]).rename(columns={"value": "paper"})
    same_n = published[published["panel"].eq("b")].rename(columns=names)
    parts = [table[~in_b].merge(exact, on=KEYS, how="left"),
             table[in_b].merge(same_n, on=[key for key in KEYS if key != "m"], how="left")]
    compared = pd.concat([each for each in parts if len(each)], ignore_index=True)
    return compared.assign(ratio=compared["value"] / compared["paper"])


def close(ratio: pd.Series) -> pd.Series:
    """Return whether a ratio is within a factor of CLOSE of 1."""
    return (ratio <= CLOSE) & (ratio >= 1 / CLOSE)


def orderings(compared: pd.DataFrame) -> pd.DataFrame:
    """Return the series in order of value, at each m of a panel (a) and N of a panel (b) with two published series.

    Columns: figure, panel, at (m or N), ours, paper (text, from least to greatest), agree.
    """
    rows = []
    known = compared.dropna(subset=["paper"])
    for key, group in known.groupby(["figure", "panel", known["m"].where(known["panel"].eq("a"), known["n"])]):
        if len(group) > 1:
            ours, paper = (" < ".join(group.sort_values(name)["series"]) for name in ("value", "paper"))
            rows.append((*key, ours, paper, ours == paper))
    return pd.DataFrame(rows, columns=["figure", "panel", "at", "ours", "paper", "agree"])


def warnings(stored: Stored) -> list[str]:
    """Return a sentence per series that several problems make up (other epochs, say); at each point the best one
    counts."""
    runs = _labelled(stored.runs)
    return [f"figure {figure}, {series}: the store has {len(problems)} problems of it, of which each point takes the "
            f"best-tuned; filter to keep one: {'; '.join(problems)}"
            for (figure, series), problems in runs.groupby(["figure", "series", "limit"])["problem"].unique()
            .reset_index("limit", drop=True).items() if len(problems) > 1]


def _labelled(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of some figure, with the columns figure, series and limit (of infinite width)."""
    concept = runs["concept.family"].map({"figure1": 1, "figure2": 2})
    limit = runs["learner.name"].str.endswith("_limit")
    learner = pd.Series(list(zip(runs["learner.name"].str.removesuffix("_limit"), runs["learner.trained"],
                                 strict=True)), index=runs.index, dtype=object)
    series = learner.map(SERIES)
    sgd = runs["algorithm.name"].eq("momentum_sgd") | limit
    as_published = runs["inputs.family"].eq("normalized_gaussian") & runs["noise.kind"].eq("none") & sgd
    # Figure 3 regularizes W alone, the other figures all that is trained.
    of_w = runs["regularizer.V"].eq("none") & runs["regularizer.W"].ne("none")
    third = of_w & concept.eq(1) & series.eq("3layer") & runs["samples"].eq(SAMPLES)
    decays = runs["regularizer.name"].isin(["frobenius", "none"]) & ~of_w
    labelled = runs.assign(figure=concept.mask(third, 3).where(third | decays), limit=limit,
                           series=series.mask(third, runs["regularizer.W"].map(PENALTIES)))
    return labelled[as_published & labelled["figure"].notna() & labelled["series"].notna()]


def _figure_1_or_2(runs: pd.DataFrame, number: int) -> pd.DataFrame:
    table = _tuned(runs, "test_risk").assign(figure=number, metric="test_error")
    panel_a = table[table["n"].eq(SAMPLES)].assign(panel="a")
    if panel_a["m"].nunique() < 2:
        panel_a = panel_a.iloc[:0]
    # Each series has one width: the one with the most N, or the largest of several.
    lengths = table[table["m"].ne(INFINITE)].groupby(["series", "m"], as_index=False)["n"].nunique()
    widths = lengths[lengths["n"].gt(1)].sort_values(["n", "m"]).drop_duplicates("series", keep="last")
    panel_b = table.merge(widths[["series", "m"]], on=["series", "m"]).assign(panel="b")
    return _tidy(pd.concat([panel_a, panel_b], ignore_index=True))


def _figure_3(runs: pd.DataFrame) -> pd.DataFrame:
    tables = [_tuned(runs, "test_risk").assign(panel="a", metric="test_error")]
    if "norm_ratio" in runs and runs["norm_ratio"].notna().any():
        tables.append(_tuned(runs, "norm_ratio").assign(panel="b", metric="norm_ratio"))
    return _tidy(pd.concat(tables, ignore_index=True).assign(figure=3))


def _tuned(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the mean and standard error over seeds of a column, at the tuned setting of each series, m and n.

    The problem is tuned, too, if a series has several. There is no point if every setting has a seed that diverged.
    """
    member = [*tune.CELL, "seed"]
    least = runs.groupby(member, as_index=False)["test_risk"].min().rename(columns={"test_risk": "best_over_grid"})
    chosen = tune.best_tuned(runs)[[*member, *tune.SETTING]].merge(runs, on=[*member, *tune.SETTING])
    table = chosen.merge(least, on=member).groupby(["series", *tune.CELL, *tune.SETTING], as_index=False).agg(
        value=(column, lambda values: values.mean(skipna=False)), value_se=(column, "sem"), seeds=("seed", "size"),
        validation=("validation_risk", "mean"), best_over_grid=("best_over_grid", "mean"))
    table = table.dropna(subset=["value"]).sort_values("validation").drop_duplicates(["series", "width", "samples"])
    return table.rename(columns={"width": "m", "samples": "n"})


def _tidy(table: pd.DataFrame) -> pd.DataFrame:
    columns = [*KEYS, "value", "value_se", "seeds", "lr", "weight_decay", "best_over_grid"]
    order = {name: rank for rank, name in enumerate([*SERIES.values(), *PENALTIES.values()])}
    table = table.assign(rank=table["series"].map(order))
    return table.sort_values(["figure", "panel", "metric", "rank", "m", "n"])[columns].reset_index(drop=True)
