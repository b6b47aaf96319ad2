"""Random words as a function of (seed, stream, block, position), on any device: Philox4x32-10.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011). What training draws again and again comes from
here, so that it is made where it is used. What is drawn once per run comes from NumPy (`ovpnet/problem/streams.py`).
"""

import math

import torch
from torch import Tensor

from ovpnet import native
from ovpnet.problem.streams import Stream

_MASK = 0xFFFFFFFF


def words(seeds: Tensor, stream: Stream, blocks: Tensor, start: int, stop: int) -> Tensor:
    """Return words [..., stop - start] of blocks [...] of a stream of seeds [...]; the two broadcast.

    Each word is 32 random bits in an int64. They are those at the positions from `start` to `stop` of a block.
    """
    seeds, blocks = torch.broadcast_tensors(seeds, blocks)
    if seeds.device.type == "cpu" and native.library() is not None:
        drawn = native.words(seeds.flatten(), stream, blocks.flatten(), start, stop)
        return drawn.view(*seeds.shape, stop - start)
    return _words(seeds[..., None], stream, blocks[..., None], start, stop)


def gaussians(seeds: Tensor, stream: Stream, blocks: Tensor, n: int, dtype: torch.dtype) -> Tensor:
    """Return independent standard Gaussians [..., n] from the words of blocks [...] of a stream of seeds [...].

    Two words make two of them (Box and Muller, 1958). They are the same on every device up to the rounding of its
    logarithm and cosine.
    """
    first, second = words(seeds, stream, blocks, 0, n + n % 2).to(dtype).unflatten(-1, (-1, 2)).unbind(-1)
    radius = ((first + 1) * 2.0**-32).log_().mul_(-2).sqrt_()
    angle = second * (math.tau * 2.0**-32)
    return torch.stack((radius * angle.cos(), radius * angle.sin()), -1).flatten(-2)[..., :n]


def _words(seeds: Tensor, stream: Stream, blocks: Tensor, start: int, stop: int) -> Tensor:
    """Return what `words` returns, by PyTorch on any device."""
    position = torch.arange(start // 4, (stop + 3) // 4, device=seeds.device)
    counter = (position & _MASK, position >> 32, blocks, torch.full_like(blocks, int(stream)))
    four = torch.stack(philox((seeds & _MASK, seeds >> 32 & _MASK), counter), -1).flatten(-2)
    return four[..., start % 4:start % 4 + stop - start]


def philox(key: tuple[Tensor, ...], counter: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the four output words of a key of two words and a counter of four.

    They are int64 tensors of 32 bits, which broadcast.
    """
    (k0, k1), (c0, c1, c2, c3) = key, counter
    for _ in range(10):
        # A product of two words may wrap around to a negative int64, which has the same bits.
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (p1 >> 32 & _MASK) ^ c1 ^ k0, p1 & _MASK, (p0 >> 32 & _MASK) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + 0x9E3779B9) & _MASK, (k1 + 0xBB67AE85) & _MASK
    return c0, c1, c2, c3
