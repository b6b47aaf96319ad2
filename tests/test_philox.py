import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from ovpnet.problem.philox import _words, gaussians, philox, words
from ovpnet.problem.streams import Stream


@pytest.mark.parametrize(("counter", "key", "expected"), [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
])
def test_known_answers(counter, key, expected):
    """The known-answer vectors of the generator's authors."""
    out = philox(*(tuple(torch.tensor(int(word, 16)) for word in each.split()) for each in (key, counter)))
    assert [f"{int(word):08x}" for word in out] == expected.split()


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**32 - 1), st.integers(0, 50), st.integers(1, 40))
def test_a_word_depends_on_its_position_alone(seed, block, start, length):
    part = words(torch.tensor(seed), Stream.MINIBATCH, torch.tensor(block), start, start + length)
    whole = words(torch.tensor([5, seed])[:, None], Stream.MINIBATCH, torch.tensor([3, block]), 0, start + length)
    assert torch.equal(part, whole[1, 1, start:])
    assert whole.min() >= 0
    assert whole.max() < 2**32


def test_streams_seeds_and_blocks_differ():
    drawn = {tuple(words(torch.tensor(seed), stream, torch.tensor(block), 0, 4).tolist())
             for seed in (0, 1, 2**32) for stream in (Stream.MINIBATCH, Stream.SIGNS) for block in (0, 1)}
    assert len(drawn) == 12


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3), st.integers(0, 2**32 - 1), st.integers(0, 2**33),
       st.integers(1, 200))
def test_compiled_words_are_those_of_pytorch(seeds, block, start, length):
    seeds = torch.tensor(seeds)
    blocks = torch.full_like(seeds, block)
    expected = _words(seeds[:, None], Stream.SIGNS, blocks[:, None], start, start + length)
    assert torch.equal(words(seeds, Stream.SIGNS, blocks, start, start + length), expected)


def test_gaussians_have_their_distribution_and_are_independent():
    n = 200_000
    drawn = gaussians(torch.tensor([1, 2]), Stream.SMOOTHING, torch.tensor([0, 0]), n, torch.float64)
    assert kstest(drawn.flatten().numpy(), "norm").pvalue > 0.01
    first, second = drawn[:, ::2].flatten(), drawn[:, 1::2].flatten()
    for a, b in ((first, second), (first**2, second**2), (drawn[0], drawn[1])):
        assert abs(torch.corrcoef(torch.stack((a, b)))[0, 1]) < 4 / len(a) ** 0.5
    single = gaussians(torch.tensor([1, 2]), Stream.SMOOTHING, torch.tensor([0, 0]), n - 1, torch.float32)
    torch.testing.assert_close(single.double(), drawn[:, :-1], rtol=0, atol=1e-5)
