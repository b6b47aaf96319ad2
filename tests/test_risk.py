import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ovpnet.problem.means import Mean, means
from ovpnet.spec.choices import LEARNERS, LOSSES
from ovpnet.training.risk import average_over_iterates, losses

values = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20)


@given(st.lists(values, min_size=1, max_size=4))
def test_mean_taken_in_parts_equals_numpys_of_the_whole(parts):
    mean = Mean()
    for part in parts:
        mean.add(means(torch.tensor([part]))[0])
    whole = np.concatenate([np.float32(part).astype(float) for part in parts])
    assert mean.mean == pytest.approx(whole.mean(), abs=1e-9, rel=1e-9)
    if len(whole) > 1:
        assert mean.se == pytest.approx(whole.std(ddof=1) / math.sqrt(len(whole)), abs=1e-6, rel=1e-6)


def test_a_mean_is_bitwise_the_same_beside_others_and_a_diverged_one_disturbs_none():
    rows = torch.randn(50, 1001, generator=torch.Generator().manual_seed(0))
    rows[7, 3] = math.inf
    together = means(rows)
    assert [means(row[None])[0] for row in rows[8:]] == together[8:]
    assert not math.isfinite(together[7].mean)


def test_average_over_iterates_is_unbiased_and_its_error_leaves_out_the_drift():
    rng = np.random.default_rng(0)
    steps = 4000
    drift = 3 * np.exp(-np.arange(steps) / 500)
    estimates = [average_over_iterates(torch.from_numpy(drift + 0.2 * rng.standard_normal(steps)))
                 for _ in range(200)]
    for half in (0, 1):
        errors = np.array([each[half].mean - drift.mean() for each in estimates])
        claimed = np.mean([each[half].se for each in estimates])
        assert abs(errors.mean()) < 3 * claimed / math.sqrt(200) + 1e-3  # 1e-3: even and odd steps drift apart
        assert errors.std() == pytest.approx(claimed, rel=0.2)
        assert claimed == pytest.approx(0.2 / math.sqrt(steps / 2), rel=0.05)


def test_losses_in_blocks_equal_losses_at_once():
    net = LEARNERS["two_layer"]().net()
    member = net.init(np.random.default_rng(0), 30000, 3, 1, 1.0)
    weights = {key: value[None] for key, value in member.items()}
    x, y = torch.randn(1, 200, 3).double(), torch.randn(1, 200, 1).double()
    expected = LOSSES["l2"]().value(net.output(weights, x), y)
    torch.testing.assert_close(losses(net, LOSSES["l2"](), weights, x, y), expected)
