import pytest
import torch

from ovpnet.problem.data import Problem
from ovpnet.problem.streams import Stream, generator


@pytest.mark.parametrize("inputs", ["mixture", "hypercube", "half_sphere", "normalized_gaussian"])
@pytest.mark.parametrize("labels", [["noise=gaussian"], ["noise=uniform"], ["loss=logistic"],
                                    ["concept=random_labels"], ["concept=random_labels", "noise=gaussian"],
                                    ["loss=logistic", "noise=flip", "noise.level=0.3"],
                                    ["loss=cross_entropy", "concept.k=4", "noise=flip", "noise.level=0.5"],
                                    ["loss=cross_entropy", "concept.k=3", "loss.labels=hard", "noise=flip"]], ids=str)
def test_smaller_training_sets_begin_larger_ones(make, inputs, labels):
    problem = Problem(make(f"inputs={inputs}", *labels))
    x, y = problem.sample(3, Stream.DATA, 50)
    more_x, more_y = problem.sample(3, Stream.DATA, 80)
    assert torch.equal(more_x[:50], x)
    assert torch.equal(more_y[:50], y)


def test_streams_seeds_and_blocks_are_distinct():
    draws = {(seed, stream, block): generator(seed, stream, block).integers(2**63)
             for seed in range(4) for stream in Stream for block in range(4)}
    assert len(set(draws.values())) == len(draws)


def test_labels_are_target_plus_noise_and_independent_of_the_inputs_stream(make):
    clean, noisy = Problem(make()), Problem(make("noise=gaussian", "noise.level=0.2"))
    x, y = noisy.sample(0, Stream.TEST, 5000)
    same_x, exact = clean.sample(0, Stream.TEST, 5000)
    assert torch.equal(x, same_x)
    assert torch.equal(exact, clean.target(x))
    assert abs((y - exact).std().item() - 0.2) < 0.02


def test_random_labels_are_fair_signs_whatever_x_is(make):
    x, y = Problem(make("concept=random_labels")).sample(0, Stream.DATA, 20000)
    assert set(y.flatten().tolist()) == {-1.0, 1.0}
    assert abs(y.mean().item()) < 0.03
    assert (x * y).mean(0).abs().max() < 0.03
