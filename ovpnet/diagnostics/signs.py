"""ReLU signs (Lemma 6.5, which bounds the number of those that change: ||D'_w||_0 and ||D'_v||_0)."""

from torch import Tensor

from ovpnet.diagnostics.net import pre_activations
from ovpnet.learners import Weights


def sign_changes(start: Weights, now: Weights, x: Tensor) -> dict[str, Tensor]:
    """`sign_changes_1`, `sign_changes_2` [E]: share of a layer's signs 1[z >= 0] at x [E, n, d] that differ between the
    plain nets `start` and `now`. Learners with frozen signs are asked about the plain net at their weights."""
    pairs = zip(pre_activations(start, x), pre_activations(now, x), strict=True)
    return {f"sign_changes_{layer}": ((before >= 0) != (after >= 0)).to(x.dtype).mean((1, 2))
            for layer, (before, after) in enumerate(pairs, start=1)}
