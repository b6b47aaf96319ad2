"""Distributions of the input x in R^d; ||x|| = 1 always."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr
from torch import Tensor

from ovpnet.problem.streams import Stream, generator
from ovpnet.spec.config import InputsConfig, MixtureInputs
from ovpnet.spec.errors import ConfigError

Floats = NDArray[np.float64]


def sample(config: InputsConfig, rng: np.random.Generator, n: int) -> Tensor:
    """n independent inputs [n, d], float64. Raises ConfigError for an unknown distribution.

    - normalized_gaussian: uniform on the sphere (Section 7).
    - half_sphere: x_d = 1/2, the other coordinates uniform on the sphere of radius sqrt(3)/2 (Sections 2 to 4).
    - hypercube: independent signs / sqrt(d).
    - mixture: normalized mu_c + spread g / sqrt(d), g ~ N(0, I), c uniform, unit centres mu drawn by inputs.seed.

    The first rows of a larger draw are those of a smaller one.
    """
    match config.family:
        case "normalized_gaussian":
            x = _sphere(rng, n, config.d)
        case "half_sphere":
            x = np.full((n, config.d), 0.5)
            x[:, :-1] = math.sqrt(3) / 2 * _sphere(rng, n, config.d - 1)
        case "hypercube":
            x = np.where(rng.integers(0, 2, (n, config.d)) == 1, 1.0, -1.0) * (1 / math.sqrt(config.d))
        case "mixture" if isinstance(config, MixtureInputs):
            x = _mixture(config, rng, n)
        case _:
            raise ConfigError("inputs.family", config.family, "not a distribution of these inputs; allowed: "
                              "normalized_gaussian, half_sphere, hypercube, mixture (with the keys of MixtureInputs)")
    return torch.from_numpy(x)


def _mixture(config: MixtureInputs, rng: np.random.Generator, n: int) -> Floats:
    centres = _sphere(generator(config.seed, Stream.INPUTS), config.components, config.d)
    # The component comes from one more normal draw of the same row, so that a row does not depend on n.
    draws = rng.standard_normal((n, config.d + 1))
    component = np.minimum((ndtr(draws[:, 0]) * config.components).astype(int), config.components - 1)
    return _normalized(centres[component] + config.spread * draws[:, 1:] / math.sqrt(config.d))


def _sphere(rng: np.random.Generator, n: int, d: int) -> Floats:
    """Rows uniform on the unit sphere of R^d."""
    return _normalized(rng.standard_normal((n, d)))


def _normalized(rows: Floats) -> Floats:
    normalized: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return normalized
