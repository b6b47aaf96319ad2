"""Saddle points of the smoothed objective (Section 6.4, Lemma 6.7): does curvature or weight decay lead out of them?"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ovpnet.engine.steps import Perturbation, State, scaled
from ovpnet.nets.base import Weights
from ovpnet.nets.regularization import Penalties, Penalty
from ovpnet.problem.streams import Stream, generator
from ovpnet.spec.config import Config, DiagnosticsConfig
from ovpnet.training.diagnostics.curvature import along, extremes
from ovpnet.training.diagnostics.measured import Measured
from ovpnet.training.diagnostics.smoothed import Objective
from ovpnet.training.schedule import learning_rates

# Block of the stream that the starting vector of Lanczos comes from; those of the draws count up from 1.
_FIRST_VECTOR = 1 << 31


class OfMembers:
    """Measures the members of an ensemble, one after another."""

    def __init__(self, ensemble: Measured, start: State):
        self.ensemble = ensemble
        one = ensemble.x.new_ones(len(ensemble.configs))
        self.initial_norms = [gradient_norm(self._objective(e, start, one)) for e in range(len(one))]

    def __call__(self, step: int, state: State, scale: Tensor) -> dict[str, Tensor]:
        """Return the columns of `saddle`, [E] each; nan for what a member lacks."""
        rows = [self._saddle(e, step, state, scale) for e in range(len(self.initial_norms))]
        names: dict[str, None] = dict.fromkeys(name for row in rows for name in row)
        return {name: torch.tensor([row.get(name, torch.nan) for row in rows], dtype=torch.float64) for name in names}

    def _saddle(self, e: int, step: int, state: State, scale: Tensor) -> dict[str, float]:
        objective = self._objective(e, state, scale)
        if not all(value.isfinite().all() for value in objective.parameters().values()):
            return {}
        return saddle(objective, self.ensemble.configs[e], step, self.initial_norms[e])

    def _objective(self, e: int, state: State, scale: Tensor) -> Objective:
        rule, x, y = self.ensemble.rule, self.ensemble.x, self.ensemble.y
        one, n = slice(e, e + 1), self.ensemble.configs[e].samples
        penalties = {name: Penalty(penalty.kind, penalty.coefficient[one])
                     for name, penalty in rule.regularizer.penalties.items()}
        weights, initial = ({name: value[one] for name, value in each.items()}
                            for each in (state.weights, state.initial))
        return Objective(rule.net, rule.loss, Penalties(penalties, rule.regularizer.of_increments),
                         scaled(weights, scale[one]), initial, scale[one], x[one, :n], y[one, :n])


def deviations(config: Config) -> dict[str, float]:
    """Return the standard deviations of W^rho and V^rho: given, or the algorithm's own if positive, or Table 1's."""
    own = config.algorithm.smoothing(config)
    given, table1 = config.diagnostics, {"W": config.width**-0.99, "V": config.second_width**-0.51}
    return {name: value or own[name] or table1[name] for name, value in (("W", given.sigma_w), ("V", given.sigma_v))}


def saddle(objective: Objective, config: Config, step: int, initial_norm: float) -> dict[str, float]:
    """Return what is measured of a member after `step` steps; nan if there is nothing to measure or it was not found.

    - objective, gradient_norm: of the whole training set, with the regularizer, without smoothing.
    - smoothed_gradient_norm: of the smoothed objective's gradient. Its square is estimated without bias, from products
      of different draws, and may come out negative: then 0.
    - smallest_eigenvalue, largest_eigenvalue: of the mean Hessian over the draws. The mean's smallest eigenvalue lies
      below the smoothed objective's own on average, because its direction follows the draws' noise.
    - curvature: along that direction under other draws; above the smoothed objective's own on average. The two bracket
      it, and only `curvature` may claim that there is a way down.
    - decay_decrease: of the smoothed objective, by lambda <- (1 - rate) lambda, rate the algorithm's or the step size.
    - saddle: 1 if the smoothed gradient is small and the curvature clearly negative, else 0.
    """
    size, spread = config.diagnostics, deviations(config)
    none = Perturbation({}, None, {})
    draws = _draws(config, objective.parameters(), range(size.draws), spread)
    measured = {"objective": objective.value(none), "gradient_norm": gradient_norm(objective),
                "smoothed_gradient_norm": smoothed_norm(objective.gradients(draws)),
                "decay_decrease": math.nan if (rate := _decay(config, step)) is None
                else objective.value(draws) - objective.value(draws, 1 - rate)}
    if objective.net.linear is not None:  # and the loss is convex
        return measured
    like = objective.parameters()
    first = generator(config.seed, Stream.DIAGNOSTICS, _FIRST_VECTOR).standard_normal(_size(like))
    smallest, largest, direction = extremes(objective.hessian(draws, spread), like, first, size.lanczos)
    other = _draws(config, like, range(size.draws, 2 * size.draws), spread)
    measured |= {"smallest_eigenvalue": smallest, "largest_eigenvalue": largest,
                 "curvature": along(objective.hessian(other, spread), direction)}
    # The net, and with it the gradient of its loss, has been scaled down by lambda since.
    return measured | {"saddle": is_saddle(measured, size, objective.scale.item() * initial_norm)}


def gradient_norm(objective: Objective) -> float:
    """Return the gradient's norm of the objective without smoothing."""
    return _norm(objective.gradients(Perturbation({}, None, {})))


def smoothed_norm(gradients: Weights) -> float:
    """Return the norm of the mean of independent gradients [S, ...], from inner products of different ones.

    If S = 1, it is the norm of the one.
    """
    flat = [value.double() for value in gradients.values()]
    S = len(flat[0])
    if S == 1:
        return _norm(gradients)
    squares = sum(value.square().sum().item() for value in flat)
    square_of_sum = sum(value.sum(0).square().sum().item() for value in flat)
    return math.sqrt(max(0.0, (square_of_sum - squares) / (S * (S - 1))))


def is_saddle(measured: Mapping[str, float], size: DiagnosticsConfig, initial_norm: float) -> float:
    """Return 1 at a saddle point, else 0; nan if the curvature is not known."""
    if math.isnan(measured["curvature"]):
        return math.nan
    flat = measured["smoothed_gradient_norm"] <= size.saddle_gradient * initial_norm
    return float(flat and measured["curvature"] <= -size.saddle_curvature * measured["largest_eigenvalue"])


def _decay(config: Config, step: int) -> float | None:
    if (rate := config.algorithm.rate(config)) is not None:
        return rate
    if not config.algorithm.iterative:
        return None
    return min(1.0, float(learning_rates(config, step - 1, step)[0]))


def _draws(config: Config, parameters: Weights, numbers: range, spread: Mapping[str, float]) -> Perturbation:
    """Draw noise [S, ...] of W and V, if they are trained, and signs; the same at every point of a run."""
    noise: dict[str, list[Tensor]] = {name: [] for name in ("W", "V") if name in parameters}
    signs = []
    for number in numbers if noise else []:
        rng = generator(config.seed, Stream.DIAGNOSTICS, 1 + number)
        for name, drawn in noise.items():
            unit = rng.standard_normal(tuple(parameters[name].shape[1:]))
            drawn.append(torch.from_numpy(spread[name] * unit).to(parameters[name]))
        if config.algorithm.flips:
            signs.append(torch.from_numpy(2.0 * rng.integers(2, size=config.width) - 1).to(parameters["W"]))
    return Perturbation({name: torch.stack(drawn) for name, drawn in noise.items()},
                        torch.stack(signs) if signs else None, {})


def _norm(gradients: Weights) -> float:
    return math.sqrt(sum(value.double().square().sum().item() for value in gradients.values()))


def _size(weights: Weights) -> int:
    return int(np.sum([value.numel() for value in weights.values()]))
