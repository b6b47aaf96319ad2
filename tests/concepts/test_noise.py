"""Label noise against densities and probabilities written by hand."""

import re

import numpy as np
import pytest
import torch
from scipy import stats

from ovpnet.problem.streams import Stream, generator
from ovpnet.spec.choices import NOISES
from ovpnet.spec.errors import ConfigError

N, LEVEL, CLASSES = 40_000, 0.3, 4

# The independent references: every registered noise has a row. The distribution of what is added to a number, and the
# probabilities of the classes after class 1 of four; None if it has none.
REFERENCES = {
    "none": (None, [0, 1, 0, 0]),
    "gaussian": (stats.norm(0, LEVEL), None),
    "uniform": (stats.uniform(-LEVEL, 2 * LEVEL), None),
    "flip": (None, [LEVEL / 3, 1 - LEVEL, LEVEL / 3, LEVEL / 3]),
}


def noise(kind):
    return NOISES[kind](level=0.0 if kind == "none" else LEVEL)


@pytest.mark.parametrize("kind", REFERENCES)
def test_numbers_get_noise_of_the_stated_distribution_and_variance(kind):
    values, rng = torch.linspace(-3, 3, N, dtype=torch.float64).reshape(-1, 2), np.random.default_rng(0)
    distribution, _ = REFERENCES[kind]
    if not noise(kind).of_numbers:
        assert distribution is None
        with pytest.raises(ValueError, match=kind):
            noise(kind).add(values, rng)
        return
    added = (noise(kind).add(values, rng) - values).numpy()
    if distribution is None:
        assert noise(kind).variance == 0
        assert (added == 0).all()
    else:
        assert noise(kind).variance * LEVEL**2 == pytest.approx(distribution.var())
        assert stats.kstest(added.ravel(), distribution.cdf).pvalue > 1e-3
        assert abs(np.corrcoef(added.T)[0, 1]) < 5 / np.sqrt(len(added))


@pytest.mark.parametrize("kind", REFERENCES)
def test_classes_are_changed_with_the_stated_probabilities(kind):
    _, probabilities = REFERENCES[kind]
    classes = torch.ones(N, dtype=torch.int64)
    uniform = torch.from_numpy(generator(0, Stream.LABELS).random((N, 2)))
    if not noise(kind).of_classes:
        assert probabilities is None
        with pytest.raises(ValueError, match=kind):
            noise(kind).change(classes, CLASSES, uniform)
        return
    counts = torch.bincount(noise(kind).change(classes, CLASSES, uniform), minlength=CLASSES).numpy()
    expected = N * np.array(probabilities)
    assert (np.abs(counts - expected) <= 5 * np.sqrt(expected)).all()


@pytest.mark.parametrize("kind", REFERENCES)
def test_a_kind_of_labels_that_it_has_no_noise_for_is_refused(make, kind):
    of = {"l2": noise(kind).of_numbers, "logistic": noise(kind).of_classes}
    for loss, covered in of.items():
        if covered:
            make(f"noise={kind}", f"loss={loss}")
        else:
            with pytest.raises(ConfigError, match=re.escape(f"noise.kind={kind}") + ".*allowed: .*none"):
                make(f"noise={kind}", f"loss={loss}")
