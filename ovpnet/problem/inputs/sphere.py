"""Inputs that are uniform on a sphere."""

import math
from typing import TYPE_CHECKING

from ovpnet.spec.choices import Inputs, inputs

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@inputs("normalized_gaussian")
class NormalizedGaussian(Inputs):
    """Uniform on the unit sphere (Section 7)."""

    def sample(self, rng: "np.random.Generator", n: int) -> "Tensor":
        import torch

        from ovpnet.problem.sets import sphere_rows

        return torch.from_numpy(sphere_rows(rng, n, self.d))


@inputs("half_sphere")
class HalfSphere(Inputs):
    """x_d = 1/2, the other coordinates uniform on the sphere of radius sqrt(3)/2 (Sections 2 to 4)."""

    def sample(self, rng: "np.random.Generator", n: int) -> "Tensor":
        import torch

        from ovpnet.problem.sets import sphere_rows

        x = torch.full((n, self.d), 0.5, dtype=torch.float64)
        x[:, :-1] = torch.from_numpy(math.sqrt(3) / 2 * sphere_rows(rng, n, self.d - 1))
        return x
