"""Inputs that form clusters."""

import math
from typing import TYPE_CHECKING

from ovpnet.spec.choices import Inputs, inputs
from ovpnet.spec.keys import LARGEST_SEED, key

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@inputs("mixture")
class Mixture(Inputs):
    """Normalized (mu_c + spread g), g ~ N(0, I/d): a Gaussian mixture with unit centres, on the sphere.

    The component c is uniform, and `inputs.seed` draws the centres mu.
    """

    components: int = key(4, "number of components, equally likely", low=1)
    spread: float = key(0.5, "standard deviation of ||g||-normalized noise about a centre", above=0)
    seed: int = key(0, "seed of the centres", low=0, high=LARGEST_SEED, per_member=True)

    def sample(self, rng: "np.random.Generator", n: int) -> "Tensor":
        import torch
        from scipy.special import ndtr

        from ovpnet.problem.sets import normalized, sphere_rows
        from ovpnet.problem.streams import Stream, generator

        centres = sphere_rows(generator(self.seed, Stream.INPUTS), self.components, self.d)
        # The component comes from one more normal draw of the same row, so that a row does not depend on n.
        draws = rng.standard_normal((n, self.d + 1))
        component = (ndtr(draws[:, 0]) * self.components).astype(int).clip(max=self.components - 1)
        rows = centres[component] + self.spread * draws[:, 1:] / math.sqrt(self.d)
        return torch.from_numpy(normalized(rows))
