"""Rows of the store: what was asked for, what came out, and how it compares with OPT + epsilon."""

import json
import math
from collections.abc import Sequence
from typing import Any

from ovpnet.problem.complexity import concept_log_C_eps, concept_log_C_s
from ovpnet.problem.means import Mean, means
from ovpnet.spec.config import Config
from ovpnet.spec.errors import ConfigError
from ovpnet.spec.identity import flat, run_id
from ovpnet.training.outcome import Goal, Outcome
from ovpnet.training.risk import average_over_iterates

Row = dict[str, Any]


def config_row(config: Config) -> Row:
    """Return the run's id and config, a column per dotted key; lists as JSON, epochs as the steps they amount to."""
    columns = {name: json.dumps(value) if isinstance(value, list) else value for name, value in flat(config).items()}
    return {"run_id": run_id(config), **columns, "steps": config.total_steps}


def result_rows(configs: Sequence[Config], goals: Sequence[Goal], outcome: Outcome) -> tuple[list[Row], list[Row]]:
    """Return the rows of the runs, and the rows of their learning curves (one per run and evaluated step)."""
    rows, curves = [], []
    tests = [means(point.test) for point in outcome.points]
    complexities: dict[tuple[str, int, float, float], Row] = {}  # most members share a concept and an epsilon
    for e, (config, goal) in enumerate(zip(configs, goals, strict=True)):
        row = config_row(config)
        curve = _curve(config, row["run_id"], outcome, e, [test[e] for test in tests])
        key = repr(config.concept), config.inputs.d, goal.epsilon, config.C_star
        if key not in complexities:
            complexities[key] = _complexities(config, goal)
        rows.append(row | _result(config, goal, outcome, e, curve) | _diagnosed(config, outcome, curve)
                    | complexities[key])
        curves += curve
    return rows, curves


def _curve(config: Config, run: str, outcome: Outcome, e: int, tests: Sequence[Mean]) -> list[Row]:
    rows = []
    for point, test in zip(outcome.points, tests, strict=True):
        row = {"run_id": run, "step": point.step,
               "samples_seen": _samples_seen(config, point.step),
               "train_risk": _finite(point.train[e].item()),
               "test_risk": _finite(test.mean), "test_risk_se": _finite(test.se)}
        if outcome.iterates is not None:
            row["average_risk"] = _finite(average_over_iterates(outcome.iterates[e, :point.step])[0].mean)
        row |= {name: _finite(values[e].item()) for name, values in point.diagnostics.items()}
        rows.append(row)
    return rows


def _samples_seen(config: Config, step: int) -> int:
    return config.samples if not config.algorithm.iterative else min(config.samples, step * config.batch_size)


def _result(config: Config, goal: Goal, outcome: Outcome, e: int, curve: list[Row]) -> Row:
    """Return what came out of a run. A diverged run has no risks, and has not reached its goal."""
    opt = goal.opt
    test, validation = outcome.test[e], outcome.validation[e]
    measured = {"train_risk": outcome.train[e].item(), "last_risk": test.mean, "last_risk_se": test.se}
    if outcome.iterates is not None:
        test, validation = average_over_iterates(outcome.iterates[e])
        measured |= {"average_risk": test.mean, "average_risk_se": test.se}
    measured |= {"test_risk": test.mean, "test_risk_se": test.se,
                 "validation_risk": validation.mean, "validation_risk_se": validation.se,
                 "excess_risk": test.mean - opt.opt, "excess_risk_se": math.hypot(test.se, opt.opt_se)}
    diverged = bool(outcome.diverged[e]) or not math.isfinite(test.mean)
    judged = "average_risk" if outcome.iterates is not None else "test_risk"
    first = next((row for row in curve if row[judged] is not None and row[judged] <= goal.threshold), None)
    return {
        "status": "diverged" if diverged else "done",
        "opt": opt.opt, "opt_se": opt.opt_se, "opt_method": opt.opt_method, "opt_id": opt.opt_id,
        "second_moment": opt.second_moment, "epsilon_absolute": goal.epsilon, "threshold": goal.threshold,
        **{name: None if diverged else value for name, value in measured.items()},
        **{name: _finite(values[e].item()) for name, values in outcome.extras.items()},
        "reached": not diverged and test.mean <= goal.threshold,
        "reached_step": None if first is None else first["step"],
        "reached_samples": None if first is None else first["samples_seen"],
    }


def _diagnosed(config: Config, outcome: Outcome, curve: list[Row]) -> Row:
    """Return the last values of what is measured besides risks, and what the diagnostics say of the whole run."""
    row: Row = {name: curve[-1][name] for name in outcome.points[-1].diagnostics}
    for diagnostic in config.diagnostics.chosen():
        row |= diagnostic.of_run(config, curve)
    return row


def _complexities(config: Config, goal: Goal) -> Row:
    """Return the natural logarithms of C_s(phi, 1) and C_eps(phi, 1) of the concept; None if it has no such series."""
    found: Row = {"log_C_s": None, "log_C_eps": None}
    try:
        found["log_C_s"] = concept_log_C_s(config.concept, config.inputs.d, config.C_star)
        found["log_C_eps"] = concept_log_C_eps(config.concept, config.inputs.d, goal.epsilon, config.C_star)
    except ConfigError:
        pass  # no series; or an epsilon of 1 or more in units of the loss, at which C_eps is not defined
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
