"""The task of the engine's benchmarks: Section 7's first target, d = 4, N = 1000, batch 50, momentum, hidden weights.

Every peer gets the same arrays: a member has data, minibatches and initial weights of its own.
"""

from dataclasses import dataclass

import numpy as np

D, N, BATCH, MOMENTUM, WEIGHT_DECAY = 4, 1000, 50, 0.9, 1e-5
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Task:
    """E nets of `layers` layers and width m."""

    layers: int
    m: int
    E: int

    @property
    def lr(self) -> float:
        return 0.5 / self.m if self.layers == 2 else 0.1 / self.m

    @property
    def flops(self) -> float:
        """Of a step and member, a multiplication with its addition as two: outputs, gradients, the update."""
        first = BATCH * self.m * (4 * D + 4)
        return first + (6 * BATCH * self.m**2 + 4 * self.m**2 if self.layers == 3 else 0) + 4 * self.m * D

    @property
    def weight_bytes(self) -> float:
        """Of a member's trained weights and their velocity."""
        return 8.0 * (self.m * D + (self.m**2 if self.layers == 3 else 0))

    @property
    def activation_bytes(self) -> float:
        """Of all members' activations on a minibatch, for peers that write them to memory."""
        return 4.0 * self.E * BATCH * self.m * (self.layers - 1)

    def arrays(self, steps: int) -> Arrays:
        """float32 x [E, N, d], y [E, N], W [E, m, d], b and a [E, m], of three layers V [E, m, m] and b2 [E, m]; int64
        index [E, S, B]."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.E, N, D)).astype(np.float32)
        x /= np.linalg.norm(x, axis=-1, keepdims=True)
        y = (np.sin(3 * x[..., :3]).sum(-1) - 2) ** 2 * np.cos(7 * x[..., 3])
        scale = np.float32(self.m**-0.5)
        weights = {"W": (self.m, D), "b": (self.m,)}
        if self.layers == 3:
            weights |= {"V": (self.m, self.m), "b2": (self.m,)}
        drawn = {name: scale * rng.standard_normal((self.E, *shape), np.float32) for name, shape in weights.items()}
        return {"x": x, "y": y, "a": rng.standard_normal((self.E, self.m), np.float32), **drawn,
                "index": rng.integers(N, size=(self.E, steps, BATCH))}
