"""Inputs at the corners of a cube."""

import math
from typing import TYPE_CHECKING

from ovpnet.spec.choices import Inputs, inputs

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@inputs("hypercube")
class Hypercube(Inputs):
    """Independent signs / sqrt(d)."""

    def sample(self, rng: "np.random.Generator", n: int) -> "Tensor":
        import numpy as np
        import torch

        signs = np.where(rng.integers(0, 2, (n, self.d)) == 1, 1.0, -1.0)
        return torch.from_numpy(signs * (1 / math.sqrt(self.d)))
