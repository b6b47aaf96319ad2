"""Samples of a problem: inputs x, labels y of its target function, each from a named stream of a seed."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from ovpnet.problem.streams import KEPT_DRAWS, Stream, generator
from ovpnet.spec.choices import Concept
from ovpnet.spec.config import Config
from ovpnet.spec.identity import digest, problem_identity


class Problem:
    """Distribution of (x, y): concept, inputs, label noise and the kind of labels that the loss takes."""

    def __init__(self, config: Config):
        self.config = config
        self.target = target(config.concept, config.inputs.d)
        # Members that share a seed share their samples (a sweep over width or lr), so keep the last few.
        self.sample = functools.lru_cache(maxsize=KEPT_DRAWS)(self._sample)

    @staticmethod
    def key(config: Config) -> str:
        """Return what is equal for two configs exactly if they have the same problem."""
        return digest(problem_identity(config))

    def _sample(self, seed: int, stream: Stream, n: int, block: int = 0) -> tuple[Tensor, Tensor]:
        """Return x [n, d] and y [n, k] in float64. A training set is the beginning of any larger one of its seed.

        Raises ValueError if the target's values have another shape: broadcasting would train on it without a word.
        """
        config, key = self.config, (stream << 24) | block
        x = config.inputs.sample(generator(seed, stream, block), n)
        values = self.target(x)
        if config.concept.pure_noise and not config.loss.classes:
            values = torch.from_numpy(generator(seed, Stream.COINS, key).choice([-1.0, 1.0], tuple(values.shape)))
        y = config.loss.label(values, config.noise, generator(seed, Stream.LABELS, key))
        for name, found, expected in (("inputs", x, (n, config.inputs.d)), ("labels", y, (n, config.concept.k))):
            if found.shape != expected or found.dtype != torch.float64:
                raise ValueError(f"the {name} of concept={config.concept.family}, inputs={config.inputs.family}, loss="
                                 f"{config.loss.name} are {found.dtype} {list(found.shape)}, not float64 "
                                 f"{list(expected)}")
        return x, y


def target(concept: Concept, d: int) -> Callable[[Tensor], Tensor]:
    """Return the target function x [n, d] -> F*(x) [n, k], float64, whose weights concept.seed draws."""
    weights = concept.draw(generator(concept.seed, Stream.CONCEPT), d)
    return lambda x: concept.evaluate(weights, x)
