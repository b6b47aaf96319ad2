"""A control: the sparse parity."""

from typing import TYPE_CHECKING

from ovpnet.spec.choices import Concept, concept
from ovpnet.spec.errors import ConfigError
from ovpnet.spec.keys import key

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ovpnet.problem.sets import Weights
    from ovpnet.spec.config import Config


@concept("parity")
class Parity(Concept):
    """Control outside the theorems' reach: the product of the signs of `sparsity` coordinates, drawn by seed.

    sign(0) = +1, and values are -1 and +1. Weights: mask [d], 1 at the coordinates in the product and 0 elsewhere; F*
    is not differentiable in it.
    """

    sparsity: int = key(2, "number of coordinates in the product", low=1)

    outputs = 1
    dimension = None
    in_class = False
    pure_noise = False

    def check(self, config: "Config") -> None:
        super().check(config)
        if self.sparsity > config.inputs.d:
            raise ConfigError("concept.sparsity", self.sparsity, f"must be at most inputs.d ({config.inputs.d})")

    def series(self, d: int) -> None:
        return None

    def draw(self, rng: "np.random.Generator", d: int) -> "Weights":
        import torch

        mask = torch.zeros(d, dtype=torch.float64)
        mask[torch.from_numpy(rng.choice(d, self.sparsity, replace=False))] = 1.0
        return {"mask": mask}

    def evaluate(self, weights: "Weights", x: "Tensor") -> "Tensor":
        negative = (x < 0).to(x.dtype) @ weights["mask"][..., None]
        return 1 - 2 * (negative % 2)

    def project(self, weights: "Weights") -> "Weights":
        mask = weights["mask"]
        return {"mask": mask.new_zeros(mask.shape).scatter(-1, mask.topk(self.sparsity, dim=-1).indices, 1.0)}
