"""What the report shows after its verdicts: a list of sections, each some words, charts and tables.

A further table of analysis is one more `Section` in `sections`, or one more `Table` in one of them: any DataFrame will
do. Its columns `problem`, `width` and `samples`, where it has them, are what the page's filters go by.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from analysis import charts, complexity, diagnostics, paper, rates, tune
from analysis.limit import limit_of
from analysis.load import Stored, width_text
from analysis.verdict import LIMIT, Analysis
from ovpnet.spec.errors import OvpnetError

MOST_PROBLEMS = 40  # problems with charts of their own

# Columns of the verdicts, as the page calls them.
ESTIMATES = {"problem": "problem", "alpha": "alpha", "alpha_low": "alpha_low", "alpha_high": "alpha_high",
             "alpha_se": "s.e.", "p_equivalence": "p: no scaling", "p_scales": "p: scales", "p_shrinks": "p: shrinks",
             "p_holm": "p (Holm)", "bootstrap_low": "bootstrap from", "bootstrap_high": "bootstrap to",
             "logistic_alpha": "logistic α", "logistic_low": "logistic from", "logistic_high": "logistic to",
             "bent_p": "p: a straight line", "non_monotone": "not monotone"}
TRACES = {"objective": "training objective", "smoothed_gradient_norm": "gradient norm, smoothed",
          "curvature": "smallest eigenvalue, bound from above", "decay_decrease": "decrease by weight decay"}


@dataclass(frozen=True)
class Chart:
    """A chart with its heading, and the words for who cannot see it. `problem`: the one it is of, if of one alone."""

    figure: go.Figure
    title: str
    text: str
    problem: str | None = None
    small: bool = False  # several side by side, where there is room


@dataclass(frozen=True)
class Table:
    """A DataFrame as it is shown: columns by their names, numbers with 4 digits; `title` above it."""

    rows: pd.DataFrame
    title: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, what it is about, charts, tables, and what the page says where there is neither."""

    title: str
    about: str
    charts: list[Chart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    empty: str = ""


def sections(stored: Stored, analysis: Analysis) -> list[Section]:
    """The report's sections in their order; those that have nothing to show, and no words for that, are left out."""
    measured = diagnostics.last_values(analysis.runs, analysis.best)
    made = [_complexity(analysis), _estimates(analysis), _risk(analysis), _learning(stored, analysis),
            _rates(analysis), _paper(stored), _diagnostics(measured, stored), _tuning(analysis),
            _failures(analysis.runs), _cost(analysis.runs)]
    return [each for each in made if each.charts or each.tables or each.empty]


def _of_each(analysis: Analysis, draw: Callable[[str, pd.DataFrame], Chart | None]) -> list[Chart]:
    """`draw` for every problem that has a finished run, up to MOST_PROBLEMS."""
    groups = list(analysis.best.groupby("problem"))[:MOST_PROBLEMS]
    drawn = [draw(str(problem), best) for problem, best in groups]
    return [chart for chart in drawn if chart is not None]


def _complexity(analysis: Analysis) -> Section:
    def draw(problem: str, best: pd.DataFrame) -> Chart | None:
        finding = analysis.findings[problem]
        if finding.verdict == LIMIT:
            return None
        intervals = analysis.intervals[analysis.intervals["problem"].eq(problem)]
        return Chart(charts.complexity(finding, intervals), "Sample complexity against the width",
                     f"N_eps of every seed against the width m, with the fitted law. {finding.verdict}: {finding.why}.",
                     problem)

    table = complexity.by_width(analysis.intervals)
    table = table.rename(columns={"n_eps": "geometric mean", "low": "all above", "high": "all at most",
                                  "left": "smallest N passes", "right": "no N passes", "non_monotone": "not monotone"})
    about = Markup("A bar is the interval that the grid of samples leaves for N<sub>ε</sub> of one seed: the largest N "
                   "that fails, the smallest that passes. Triangles are seeds that lie beyond the grid. The geometric "
                   "mean is left out where a seed does. "
                   f"At most {charts.MOST_SEEDS} seeds are drawn; the law and the table count all.")
    return Section("Sample complexity", about, _of_each(analysis, draw),
                   [Table(table, Markup("N<sub>ε</sub> over seeds"))])


def _estimates(analysis: Analysis) -> Section:
    plans = analysis.plans.assign(**{name: analysis.plans[name].map(len) for name in ("seeds", "widths", "samples")})
    tables = [Table(analysis.verdicts.dropna(subset="alpha")[list(ESTIMATES)].rename(columns=ESTIMATES), "Exponents"),
              Table(analysis.models, "Laws compared"),
              Table(analysis.epsilons.drop(columns="epsilons"), "Over several ε"),
              Table(plans.rename(columns={"samples": "numbers of N"}), "What would settle an open verdict")]
    return Section("Estimates", "Each verdict is two one-sided tests at 2.5%, whose p-values are here; p (Holm) is "
                   "corrected for all problems of this page. What else is estimated decides nothing and stands beside: "
                   "the bootstrap over seeds, a logistic regression of which runs pass, other laws than a power of m "
                   "(weights sum to 1; the log score is that of widths left out of the fit).",
                   tables=[each for each in tables if len(each.rows)])


def _risk(analysis: Analysis) -> Section:
    def draw(problem: str, best: pd.DataFrame) -> Chart:
        return Chart(charts.risk(best, limit_of(analysis, problem)), "Test risk against samples",
                     "Best-tuned test risk against the number of samples N, a line for each width, with OPT + epsilon.",
                     problem)

    return Section("Test risk", "Of the best-tuned learner, on fresh samples: mean over seeds, bars from the least to "
                   "the greatest.", _of_each(analysis, draw))


def _learning(stored: Stored, analysis: Analysis) -> Section:
    shown = charts.curve_runs(analysis.best, analysis.runs)
    points = stored.curves_of(shown["run_id"], ["test_risk", "train_risk"])
    known = {"test_risk", "train_risk"} <= set(points)
    curves = dict(list(charts.thinned_curves(shown, points).groupby("problem"))) if known else {}

    def draw(problem: str, best: pd.DataFrame) -> Chart | None:
        if problem not in curves:
            return None
        return Chart(charts.learning_curves(curves[problem], float(best["threshold"].mean())), "Risk along training",
                     "Median test and training risk against the step, a line for each width.", problem)

    return Section("Learning curves", "Medians over seeds at the best-tuned setting: test risk solid, training risk "
                   "dotted. The largest N is shown until one is chosen above. Thinned to at most "
                   f"{charts.MOST_POINTS} points a curve and {charts.MOST_SAMPLES} numbers of samples.",
                   _of_each(analysis, draw))


def _rates(analysis: Analysis) -> Section:
    best = analysis.best
    chosen = tune.Tuning(str(best["tuned_by"].iloc[0]), str(best["tuned_per"].iloc[0])) if len(best) else tune.POOLED
    table = rates.rates(analysis.runs, chosen)
    shown = table.drop(columns=["stated", "compatible"]).rename(columns={"of": "measured", "low": "from", "high": "to"})
    return Section("Rates", "How excess risk falls with N, and how the sample complexity grows with 1/ε, the concept's "
                   "size and complexity: exponents with 95% intervals, beside those of the theorems' bounds, which are "
                   "bounds from above.", tables=[Table(shown)] if len(shown) else [])


def _paper(stored: Stored) -> Section:
    title, about = "Beside the paper", (
        "Runs of the setting of Figures 1 to 3: ours are means over seeds at the setting of least validation risk, the "
        "paper's the best test error of its grid, read off the published Figure 1 (the others are not published as "
        "numbers).")
    try:
        points = paper.points(stored)
    except OvpnetError:  # no run of the store is in those figures
        return Section(title, about)
    published = paper.reference()
    compared = paper.compare(points, published)
    drawn = []
    for (number, panel), ours in points.groupby(["figure", "panel"]):
        theirs = published[published["figure"].eq(number) & published["panel"].eq(panel)]
        metric = ours["metric"].iloc[0].replace("_", " ")
        drawn.append(Chart(charts.paper_panel(ours, theirs), f"Figure {number} ({panel}): {metric}",
                           f"The points of Figure {number} ({panel}), ours beside the paper's."))
    columns = ["figure", "panel", "series", "m", "n", "paper", "value", "value_se", "ratio", "lr", "weight_decay"]
    shown = compared[columns].assign(m=compared["m"].map(width_text))
    return Section(title, about, drawn, [Table(shown.rename(columns={"value": "ours", "value_se": "s.e."}), "Points")])


def _diagnostics(measured: pd.DataFrame, stored: Stored) -> Section:
    drawn = []
    along = diagnostics.traces(measured, stored.curves_of(measured["run_id"], diagnostics.TRACED))
    for problem, rows in list(measured.groupby("problem"))[:MOST_PROBLEMS]:
        for panel in diagnostics.panels(rows):
            drawn.append(Chart(charts.diagnostics_panel(panel, rows), charts.plain(panel.title),
                               "At the end of training, against the width m.", str(problem), small=True))
        trace = along[along["problem"].eq(problem)]
        for column, label in TRACES.items() if len(trace) else ():
            drawn.append(Chart(charts.trace(column, label, trace), f"{label}, along training",
                               "Median over seeds against the step, a line for each width.", str(problem), small=True))
    table = diagnostics.medians(measured) if len(measured) else measured
    return Section("Diagnostics", "Measured besides the risks, at the best-tuned setting and the largest N: a point a "
                   "run, medians over seeds joined. The smallest eigenvalue of the smoothed objective's Hessian lies "
                   "between its two bounds on average. A gradient norm of 0 is one too small for the draws to tell "
                   "from their noise, and is left out of logarithmic axes.",
                   drawn, [Table(table, "Medians over seeds")] if len(table) else [])


def _tuning(analysis: Analysis) -> Section:
    def draw(problem: str, best: pd.DataFrame) -> Chart | None:
        figure = charts.tuning(analysis.runs[analysis.runs["problem"].eq(problem)], best)
        return None if figure is None else Chart(
            figure, "Validation risk over the grid", "A heat map of the validation risk over learning rate and weight "
            "decay (or width, where there is one weight decay).", problem)

    table = tune.choices(analysis.best).rename(columns={"reached": "share that passes", "threshold": "OPT + ε",
                                                        "lr_edge": "lr edge"})
    tables = [Table(table, "Settings chosen")]
    if len(analysis.best):
        curse = tune.winners_curse(analysis.runs, str(analysis.best["tuned_per"].iloc[0]))
        shown = ["problem", "width", "samples", "settings", "seeds", "validated_risk", "best_risk", "gap", "optimism",
                 "optimism_se", "most"]
        tables.append(Table(curse.loc[curse["settings"].gt(1), shown], "What the best test risk of the grid, as the "
                            "paper reports it, would gain (gap), and how much of that is chance (optimism)"))
    return Section("Tuning", "Learning rate and weight decay are chosen by validation risk, for each width and number "
                   "of samples; the ring marks the choice. The darker, the better; no colour where a seed diverged. "
                   f"The largest N is shown until one is chosen above, of at most {charts.MOST_SAMPLES}.",
                   _of_each(analysis, draw), [each for each in tables if len(each.rows)])


def _failures(runs: pd.DataFrame) -> Section:
    """Diverged and failed runs, counted: a too large lr diverges in long rows of runs."""
    rows = runs[runs["status"].isin(["diverged", "failed"])].reindex(
        columns=["problem", "status", "failure", "width", "lr", "error", "run_id"])
    if rows.empty:
        return Section("Failures", "", empty="No run diverged or failed.")
    rows = rows.assign(failure=_text_of(rows, "failure"), error=_text_of(rows, "error"))
    table = rows.groupby(["problem", "status", "failure", "width", "lr"], as_index=False).agg(
        runs=("run_id", "size"), error=("error", lambda errors: str(errors.iloc[0])[:200]))
    return Section("Failures", f"{len(rows)} of {len(runs)} runs did not end well. `ovpnet launch retry` trains the "
                   "failed ones again.", tables=[Table(table.rename(columns={"error": "first error"}))])


def _cost(runs: pd.DataFrame) -> Section:
    known = runs.dropna(subset=["train_seconds"])
    if known.empty:
        return Section("Cost", "")
    device, engine = _text_of(known, "device_used", "unknown"), _text_of(known, "engine_used", "unknown")
    what = known["learner.name"] + " (" + known["learner.trained"] + "), " + known["algorithm.name"] + ", " + device
    finite = known.assign(what=what)[known["width"].gt(0) & known["train_seconds"].gt(0)]
    seconds = finite.groupby(["what", "width"], as_index=False).agg(mean=("train_seconds", "mean"),
                                                                    runs=("run_id", "size"))
    lines = seconds["what"].drop_duplicates().head(len(charts.SYMBOLS))
    totals = {"runs": ("run_id", "size"), "seconds a run": ("train_seconds", "mean"),
              "hours": ("train_seconds", lambda each: each.sum() / 3600)}
    by_device = known.assign(device=device, engine=engine, GPU=~device.str.startswith(("CPU", "unknown")))
    tables = [Table(by_device.groupby(["device", "engine", "GPU"], as_index=False).agg(**totals), "By device"),
              Table(known.groupby(["problem", "width", "samples"], as_index=False).agg(**totals),
                    "By width and samples")]
    chart = Chart(charts.cost(seconds[seconds["what"].isin(lines)]), "Training time against the width",
                  "Mean seconds of training a run took, against the width m.")
    gpu_hours = by_device.loc[by_device["GPU"], "train_seconds"].sum() / 3600
    return Section("Cost", "Seconds of training a run: its share of the time of the pack that it was trained in. "
                   f"GPU-hours in all: {gpu_hours:.3g}.", [chart] if len(seconds) else [], tables)


def _text_of(runs: pd.DataFrame, column: str, missing: str = "") -> pd.Series:
    """A column of text that not every store, and not every row, has."""
    values = runs[column] if column in runs else pd.Series(None, index=runs.index, dtype=object)
    return values.astype(object).where(values.notna(), missing).astype(str)
