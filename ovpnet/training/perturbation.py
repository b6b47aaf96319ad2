"""Algorithms 2 and 3 (Sections 4.2, 6.1): SGD on a smoothed objective whose net is lambda f, with lambda decaying.

The objective of a step, in the increments W' = W - W0 and V' = V - V0,

    L( lambda F(x; W0 + W^rho + Sigma W', V0 + V^rho + V' Sigma), y ) + R( sqrt(lambda) W', sqrt(lambda) V' ),

has fresh Gaussian W^rho and V^rho and, in Algorithm 2, a fresh diagonal Sigma of signs. This module says what each step
draws and what lambda is; the engine takes the steps. Draws come from (seed, stream, step), whatever the chunking, and
are made on the device.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ovpnet.engine.steps import Perturbation, State, scaled
from ovpnet.nets.base import Weights
from ovpnet.nets.regularization import per_member
from ovpnet.problem.philox import gaussians, words
from ovpnet.problem.streams import Stream
from ovpnet.spec.config import Config
from ovpnet.training.algorithms.perturbed import Perturbed


class StepDraws:
    """The random part of Algorithms 2 and 3 for the members of an ensemble, who all have signs or all have none."""

    def __init__(self, configs: Sequence[Config], state: State, put: Callable[[Tensor], Tensor]):
        """Prepare to draw; `put` moves a tensor to the ensemble's device and, if it has a fraction, dtype."""
        self.configs, self.put, self.steps = list(configs), put, configs[0].algorithm.total_steps(configs[0])
        self.shapes = {name: value.shape[1:] for name, value in state.initial.items()}
        algorithms = [_perturbed(config) for config in configs]
        self.signs = algorithms[0].signs
        self.smoothing = self._levels(
            [each.smoothing(config) for each, config in zip(algorithms, configs, strict=True)])
        self.iterate_noise = self._levels(
            [dict.fromkeys(self.shapes, each.iterate_noise) for each in algorithms])
        # Members of one seed share what they draw: the seeds [U], and the place [E] of each member's among them.
        places = {seed: place for place, seed in enumerate(dict.fromkeys(config.seed for config in configs))}
        self.seeds = put(torch.tensor(list(places)))
        self.place = put(torch.tensor([places[config.seed] for config in configs]))

    def scale(self, start: int, stop: int) -> Tensor:
        """Return lambda [E, S] of the steps [start, stop)."""
        return self.put(torch.from_numpy(np.stack(
            [_perturbed(config).lambdas(config, start, stop) for config in self.configs])))

    def draw(self, step: int) -> Perturbation:
        """Draw what is random in a step."""
        return Perturbation(self._gaussian(Stream.SMOOTHING, self.smoothing, step), self._signs(step),
                            self._gaussian(Stream.ITERATE_NOISE, self.iterate_noise, step))

    def finish(self, state: State, train_risk: Callable[[Weights], Tensor]) -> dict[str, Tensor]:
        """Put the best of some noise draws into the state, as the algorithms end.

        The draws share one Sigma^, and the best has the least training loss of lambda_T F. Its weights become the
        state's, with lambda_T as a factor of the output weights a. `train_risk` is the training loss [E] of weights.
        Returns lambda_T, the number `draw` of the chosen one (j*, from 0), its training loss and the median over the
        draws, [E] each.
        """
        lambda_T, signs = self.scale(self.steps - 1, self.steps)[:, 0], self._signs(self.steps)
        counts = torch.tensor([_perturbed(config).final_draws(config) for config in self.configs])
        risks = torch.full((len(counts), int(counts.max())), torch.inf, dtype=torch.float64)
        chosen: Weights = {}
        for draw in range(risks.shape[1]):
            noise = self._gaussian(Stream.SMOOTHING, self.smoothing, self.steps + draw)
            tried = scaled(Perturbation(noise, signs, {}).apply(state.weights, state.initial), lambda_T)
            risks[:, draw] = train_risk(tried).double().nan_to_num(nan=torch.inf).where(draw < counts, torch.inf)
            better = self.put(risks[:, draw] < risks[:, :draw].amin(1)) if draw else None
            chosen = tried if better is None else {
                name: value.where(per_member(better, value), chosen[name]) for name, value in tried.items()}
        state.weights = chosen
        own = [row[:count] for row, count in zip(risks, counts, strict=True)]
        return {"lambda_T": lambda_T.cpu(), "draw": risks.argmin(1), "draw_train_risk": risks.amin(1),
                "draw_train_risk_median": torch.stack([row.median() for row in own])}

    def _gaussian(self, stream: Stream, levels: Weights, block: int) -> Weights:
        """Draw Gaussian W [E, m1, d] and V [E, m2, m1], of what has a level, from a block of the members' streams.

        Every member has its own standard deviations.
        """
        noise = {}
        for part, (name, shape) in enumerate(self.shapes.items()):
            if name in levels:
                blocks = torch.full_like(self.seeds, 2 * block + part)
                unit = gaussians(self.seeds, stream, blocks, shape.numel(), levels[name].dtype).view(-1, *shape)
                noise[name] = per_member(levels[name], unit) * unit[self.place]
        return noise

    def _signs(self, step: int) -> Tensor | None:
        """Draw independent fair signs [E, m1], if there are any."""
        if not self.signs:
            return None
        drawn = words(self.seeds, Stream.SIGNS, torch.full_like(self.seeds, step), 0, self.configs[0].width)
        return self.put(1.0 - 2 * (drawn & 1))[self.place]

    def _levels(self, each: Sequence[Mapping[str, float]]) -> Weights:
        """Return standard deviations [E] of the matrices' noise; without a matrix for which all of them are 0."""
        return {name: self.put(torch.tensor([level[name] for level in each], dtype=torch.float64))
                for name in self.shapes if any(level[name] for level in each)}


def _perturbed(config: Config) -> Perturbed:
    assert isinstance(config.algorithm, Perturbed)
    return config.algorithm
