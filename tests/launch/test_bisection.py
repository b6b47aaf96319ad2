"""Bisection on log N, against oracles: it ends, finds what there is, and looks at few points."""

import math
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.complexity import sample_complexity
from launch.bisection import bracket, censored, following, points, spacing


def searched(passes, number, start, reach, margin=0):
    """passes: for each seed, whether it passes at each point -> what each was looked at, and the rounds it took."""
    looked = [{} for _ in passes]
    rounds = 0
    while asked := following(looked, number, start, reach, margin):
        rounds += 1
        assert not asked & looked[0].keys(), "no point is looked at twice"
        assert all(0 <= point < number for point in asked)
        for seen, each in zip(looked, passes, strict=True):
            seen.update({point: each[point] for point in asked})
    return looked, rounds


SEARCH = {"number": st.integers(1, 150), "start": st.integers(0, 149), "reach": st.integers(1, 40),
          "margin": st.integers(0, 10)}


@given(**SEARCH, data=st.data())
def test_the_bracket_of_a_monotone_seed_is_its_own_whatever_the_others_are(number, start, reach, margin, data):
    truths = data.draw(st.lists(st.integers(0, number), min_size=1, max_size=6))
    passes = [[point >= truth for point in range(number)] for truth in truths]
    looked, rounds = searched(passes, number, min(start, number - 1), reach, margin)
    assert [bracket(seen, number) for seen in looked] == [(truth - 1, truth) for truth in truths]
    # The steps away from the start double, then the bracket halves, and at last the margin; every seed does all of that
    # at most, in parallel.
    most = 2 * math.ceil(math.log2(number + 1)) + 3
    assert rounds <= most
    assert len(looked[0]) <= min(number, most * len(set(truths)))


@settings(max_examples=50)
@given(**SEARCH, data=st.data())
def test_any_seed_ends_in_a_bracket_and_a_monotone_one_in_that_which_the_analysis_reads(number, start, reach, margin,
                                                                                       data):
    passes = data.draw(st.lists(st.lists(st.booleans(), min_size=number, max_size=number), min_size=1, max_size=4))
    looked, _ = searched(passes, number, min(start, number - 1), reach, margin)
    best = pd.DataFrame([{"problem": "p", "width": 8, "seed": seed, "samples": 10 + point, "reached": passed}
                         for seed, seen in enumerate(looked) for point, passed in seen.items()])
    for seen, row in zip(looked, sample_complexity(best).itertuples(), strict=True):
        low, high = found = bracket(seen, number)
        assert high - low <= 1
        assert low < 0 or min(seen) <= max(0, low - margin)
        if any(seen[point] and not seen[larger] for point in seen for larger in seen if larger > point):
            continue  # the analysis weighs the runs that contradict each other (analysis.complexity)
        assert row.censored == censored(found, number)
        assert (row.low, row.high) == (10 + low if low >= 0 else 0, 10 + high if high < number else math.inf)


@pytest.mark.parametrize("truth", [0, 1, 40, 79, 80])
def test_a_good_guess_takes_two_looks(truth):
    [seen], _ = searched([[point >= truth for point in range(80)]], 80, min(truth, 79), 1)
    assert len(seen) <= 2


def test_a_failure_by_chance_hides_no_smaller_point_that_passes():
    """From 40, which passes but for this seed, up: it also passes from 25 on."""
    passes = [point >= 25 and point != 40 for point in range(60)]
    [seen], _ = searched([passes], 60, 40, 10, margin=4)
    assert bracket(seen, 60) == (24, 25)
    [seen], _ = searched([passes], 60, 40, 10, margin=0)
    assert bracket(seen, 60) == (40, 41)


@given(least=st.integers(1, 500), factor=st.integers(2, 1000), resolution=st.floats(1.01, 20))
def test_neighbours_differ_by_at_most_the_resolution_and_finer_points_include_coarser(least, factor, resolution):
    found = points(least, least * factor, resolution)
    assert found == sorted(set(found))
    assert all(least <= N <= least * factor for N in found)
    # Each N is within a half of the power that it stands for.
    assert all(high - 0.5 <= (low + 0.5) * resolution * (1 + 1e-9) or high == low + 1
               for low, high in pairwise(found))
    assert set(found) <= set(points(least, least * factor, max(1.01, math.sqrt(resolution))))


def test_points_by_hand():
    assert points(16, 100, 2) == [16, 32, 64]
    assert points(1, 20, 1.5) == [1, 2, 3, 4, 6, 8, 11, 16]  # 2^(1/2), 2^(3/2) and 2^(5/2) are 1.4, 2.8 and 5.7
    assert points(100, 1000, 4) == [256]
    assert points(1, 1000, 1000) == [1, 256]
    assert [spacing(resolution) for resolution in (1.1, 1.2, 2, 3.9, 4)] == [0.125, 0.25, 1, 1, 2]
