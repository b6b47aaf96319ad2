"""ReLU signs (Lemma 6.5, which bounds the number of those that change: ||D'_w||_0 and ||D'_v||_0)."""

import torch
from torch import Tensor

from ovpnet.nets.base import Weights
from ovpnet.training.diagnostics.net import pre_activations


def sign_changes(start: Weights, now: Weights, x: Tensor) -> dict[str, Tensor]:
    """Return `sign_changes_1`, `sign_changes_2` [E]: the share of a layer's signs that differ between two plain nets.

    The signs are 1[z >= 0] at x [E, n, d], the nets `start` and `now`; nan if a net has diverged. Learners with frozen
    signs are asked about the plain net at their weights.
    """
    pairs = zip(pre_activations(start, x), pre_activations(now, x), strict=True)
    return {f"sign_changes_{layer}": _share_changed(*pair) for layer, pair in enumerate(pairs, start=1)}


def _share_changed(before: Tensor, after: Tensor) -> Tensor:
    changed = ((before >= 0) != (after >= 0)).to(after.dtype)
    return torch.where(after.isfinite(), changed, torch.nan).mean((1, 2))
