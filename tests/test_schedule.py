import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ovpnet import native
from ovpnet.training.schedule import CHUNK_STEPS, chunks, evaluation_steps, learning_rates, minibatches


@given(st.integers(1, 5000), st.integers(1, 60))
def test_chunks_cover_every_step_once_and_end_at_every_evaluation(steps, evaluations):
    parts = chunks(steps, evaluations)
    assert [step for start, stop in parts for step in range(start, stop)] == list(range(steps))
    assert max(stop - start for start, stop in parts) <= CHUNK_STEPS
    assert set(evaluation_steps(steps, evaluations)) <= {stop for _, stop in parts}
    assert evaluation_steps(steps, evaluations)[-1] == steps


def part(config, start, stop):
    return minibatches([config], start, stop, torch.device("cpu"))[0].numpy()


def taken(config):
    return np.concatenate([part(config, start, stop)
                           for start, stop in chunks(config.total_steps, config.evaluations)])


@pytest.mark.parametrize("sampling", ["shuffle", "replacement"])
def test_minibatches_do_not_depend_on_the_chunks(make, sampling):
    config = make(f"algorithm.sampling={sampling}", "steps=1300", "batch_size=3", "samples=17")
    assert np.array_equal(taken(config), taken(make(f"algorithm.sampling={sampling}", "steps=1300", "batch_size=3",
                                                    "samples=17", "evaluations=7")))
    assert np.array_equal(part(config, 510, 1030), taken(config)[510:1030])


@pytest.mark.parametrize("sampling", ["shuffle", "replacement", "one_pass"])
def test_minibatches_do_not_depend_on_the_other_members(make, sampling):
    steps = "steps=null" if sampling == "one_pass" else "steps=9"
    members = [(36, 0), (36, 2**40), (36, 0), (36, 5) if sampling == "one_pass" else (7, 0)]
    configs = [make(f"algorithm.sampling={sampling}", "batch_size=4", f"samples={samples}", f"seed={seed}", steps)
               for samples, seed in members]
    together = minibatches(configs, 2, 8, torch.device("cpu"))
    for config, member in zip(configs, together, strict=True):
        assert np.array_equal(member, part(config, 2, 8))


@pytest.mark.skipif(native.library() is None, reason="nothing compiled here")
@pytest.mark.parametrize("samples", [1, 2, 7, 1000, 70_000])
@pytest.mark.parametrize("sampling", ["shuffle", "replacement"])
def test_compiled_minibatches_are_those_of_torch(make, monkeypatch, sampling, samples):
    configs = [make(f"algorithm.sampling={sampling}", "batch_size=7", f"samples={samples}", f"seed={seed}", "steps=300")
               for seed in (0, 2**40 + 3, 1)]
    compiled = minibatches(configs, 3, 250, torch.device("cpu"))
    monkeypatch.setattr(native, "library", lambda: None)
    assert torch.equal(compiled, minibatches(configs, 3, 250, torch.device("cpu")))


@pytest.mark.parametrize("samples", [40, 37, 7])
def test_shuffled_epochs_take_every_sample_once_an_epoch(make, samples):
    order = taken(make(f"samples={samples}", "steps=90", "batch_size=10")).flatten()
    epochs = [order[start:start + samples] for start in range(0, len(order) - samples + 1, samples)]
    assert all(sorted(epoch) == list(range(samples)) for epoch in epochs)
    assert not any((a == b).all() for a, b in itertools.pairwise(epochs))


def test_replacement_is_uniform_and_independent_of_the_step_before(make):
    order = taken(make("algorithm=sgd", "batch_size=1", "samples=10", "steps=20000")).flatten()
    pairs = Counter(zip(order[:-1].tolist(), order[1:].tolist(), strict=True))
    expected = (len(order) - 1) / 100
    chi_squared = sum((pairs[i, j] - expected) ** 2 / expected for i in range(10) for j in range(10))
    assert chi_squared < 148  # 99.9% quantile with 99 degrees of freedom


def test_one_pass_takes_each_sample_once_in_order(make):
    config = make("algorithm.sampling=one_pass", "steps=null", "samples=95")
    assert taken(config).flatten().tolist() == list(range(90))


def test_other_seeds_take_other_minibatches(make):
    assert (taken(make("seed=1")) != taken(make("seed=2"))).any()


def test_learning_rate_scaling_and_decay(make):
    config = make("lr=3", "width=30", "steps=10", "algorithm.decay_at=0.5", "algorithm.decay_factor=0.1")
    assert learning_rates(config, 0, 10) == pytest.approx([0.1] * 5 + [0.01] * 5)
    config = make("lr=3", "lr_scaling=none", "width=30", "steps=10", "algorithm.decay_at=1")
    assert learning_rates(config, 3, 10) == pytest.approx([3] * 7)
