"""Algorithms 2 and 3 (Section 4.2, 6.1): SGD on a smoothed objective whose net is lambda f, with lambda decaying.

The objective of a step, in the increments W' = W - W0 and V' = V - V0,

    L( lambda F(x; W0 + W^rho + Sigma W', V0 + V^rho + V' Sigma), y ) + R( sqrt(lambda) W', sqrt(lambda) V' ),

has fresh Gaussian W^rho and V^rho and, in Algorithm 2, a fresh diagonal Sigma of signs. This module says what each step
draws and what lambda is; the engine takes the steps. Draws come from (seed, stream, step), whatever the chunking.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovpnet.algorithms.table1 import table1
from ovpnet.config import MOST_DRAWS, Config, PerturbedAlgorithm, lambda_rate, total_steps
from ovpnet.engine import Perturbation, State, scaled
from ovpnet.learners import Weights
from ovpnet.streams import Stream, generator


def lambdas(config: Config, start: int, stop: int) -> np.ndarray:
    """lambda [stop - start] of the steps [start, stop): 1 in the first round, (1 - rate) times as much in each next.

    The output's lambda_T is that of the last step, under which W_T and V_T were trained.
    """
    algorithm = _algorithm(config)
    if not algorithm.lambda_decay:
        return np.ones(stop - start)
    return (1 - lambda_rate(config, algorithm)) ** (np.arange(start, stop) // algorithm.inner_steps)


def smoothing(config: Config) -> dict[str, float]:
    """sigma_w and sigma_v, the standard deviations of the entries of W^rho and V^rho, under the matrices' names."""
    algorithm = _algorithm(config)
    parameters = table1(config)
    return {"W": _given(algorithm.sigma_w, algorithm.sigma_w_multiplier * parameters.sigma_w),
            "V": _given(algorithm.sigma_v, algorithm.sigma_v_multiplier * parameters.sigma_v)}


def final_draws(config: Config) -> int:
    """How many noise draws the end chooses from: Theta(1/eps0^2) where not given, and 1 where they would all be 0."""
    algorithm = _algorithm(config)
    if algorithm.draws is not None:
        return algorithm.draws
    if not any(smoothing(config).values()):
        return 1
    return max(1, min(MOST_DRAWS, round(algorithm.draws_multiplier / algorithm.eps0**2)))


class Perturbed:
    """The random part of Algorithms 2 and 3 for the members of an ensemble, who all have signs or all have none."""

    def __init__(self, configs: Sequence[Config], state: State, put: Callable[[Tensor], Tensor]):
        """`put` moves a tensor to the ensemble's device and dtype."""
        self.configs, self.put, self.steps = list(configs), put, total_steps(configs[0])
        self.shapes = {name: tuple(value.shape[1:]) for name, value in state.initial.items()}
        self.dtype: Any = configs[0].dtype
        self.signs = _algorithm(configs[0]).signs
        self.smoothing = [smoothing(config) for config in configs]
        self.iterate_noise = [dict.fromkeys(self.shapes, _algorithm(config).iterate_noise) for config in configs]

    def scale(self, start: int, stop: int) -> Tensor:
        """lambda [E, S] of the steps [start, stop)."""
        return self.put(torch.from_numpy(np.stack([lambdas(config, start, stop) for config in self.configs])))

    def draw(self, step: int) -> Perturbation:
        """What the step draws."""
        steps = [step] * len(self.configs)
        return Perturbation(self._gaussian(Stream.SMOOTHING, self.smoothing, steps), self._signs(step),
                            self._gaussian(Stream.ITERATE_NOISE, self.iterate_noise, steps))

    def finish(self, state: State, train_risk: Callable[[Weights], Tensor]) -> dict[str, Tensor]:
        """The end of the algorithms: of some noise draws, with one Sigma^, take the one with the least training loss
        of lambda_T F, and make its weights the state's (lambda_T as a factor of the output weights a).

        `train_risk` is the training loss [E] of weights. Returns lambda_T, the number `draw` of the chosen one
        (j*, from 0), its training loss and the median over the draws, [E] each.
        """
        lambda_T, signs = self.scale(self.steps - 1, self.steps)[:, 0], self._signs(self.steps)

        def candidate(draws: Sequence[int]) -> Weights:
            blocks = [self.steps + draw for draw in draws]
            noise = self._gaussian(Stream.SMOOTHING, self.smoothing, blocks)
            return scaled(Perturbation(noise, signs, {}).apply(state.weights, state.initial), lambda_T)

        counts = [final_draws(config) for config in self.configs]
        tried = torch.stack([train_risk(candidate([j] * len(counts))) for j in range(max(counts))], 1)
        risks = [row[:count].nan_to_num(nan=torch.inf) for row, count in zip(tried, counts, strict=True)]
        best = [int(row.argmin()) for row in risks]
        state.weights = candidate(best)
        return {"lambda_T": lambda_T.cpu(), "draw": torch.tensor(best),
                "draw_train_risk": torch.stack([row.min() for row in risks]),
                "draw_train_risk_median": torch.stack([row.median() for row in risks])}

    def _gaussian(self, stream: Stream, levels: Sequence[Mapping[str, float]], blocks: Sequence[int]) -> Weights:
        """Gaussian W [E, m1, d] and V [E, m2, m1] with every member's own standard deviations and block of the stream;
        without a matrix whose standard deviation is 0 for all. Members of one seed share what they draw."""
        noise = {}
        for part, (name, shape) in enumerate(self.shapes.items()):
            if not any(level[name] for level in levels):
                continue
            unit: dict[tuple[int, int], np.ndarray] = {}
            members = []
            for config, level, block in zip(self.configs, levels, blocks, strict=True):
                if level[name] and (config.seed, block) not in unit:
                    rng = generator(config.seed, stream, 2 * block + part)
                    unit[config.seed, block] = rng.standard_normal(shape, self.dtype)
                members.append(level[name] * unit[config.seed, block] if level[name] else np.zeros(shape, self.dtype))
            noise[name] = self.put(torch.from_numpy(np.stack(members)))
        return noise

    def _signs(self, step: int) -> Tensor | None:
        """Independent fair signs [E, m1], where there are any."""
        if not self.signs:
            return None
        draws = [generator(config.seed, Stream.SIGNS, step).integers(2, size=config.width) for config in self.configs]
        return self.put(torch.from_numpy(2.0 * np.stack(draws) - 1))


def _algorithm(config: Config) -> PerturbedAlgorithm:
    assert isinstance(config.algorithm, PerturbedAlgorithm)
    return config.algorithm


def _given(value: float | None, default: float) -> float:
    return default if value is None else value
