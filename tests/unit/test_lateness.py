"""Delay histograms against counting by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader import lateness
from loader.readings import DAY, HOUR, SECOND

YEAR = 365 * DAY
delays = st.lists(
    st.integers(-HOUR, 2 * HOUR)
    | st.integers(0, 20 * YEAR)
    | st.sampled_from([math.floor(e * SECOND) + d for e in lateness.EDGES[:20].tolist() for d in (0, 1)]),
    max_size=60,
)


@given(delays)
def test_each_delay_falls_into_the_first_bucket_that_holds_it(many: list[int]) -> None:
    """Up to and including its edge; none is lost, negative and endless ones included."""
    many = [*many, 30 * YEAR]
    found = lateness.histogram(np.array(many, np.int64)).tolist()
    expected = [0] * lateness.BUCKETS
    for delay in many:
        fits = [i for i, edge in enumerate(lateness.EDGES.tolist()) if delay / SECOND <= edge]
        expected[fits[0] if fits else -1] += 1
    assert found == expected


@given(st.lists(delays, max_size=4))
def test_histograms_add_up(groups: list[list[int]]) -> None:
    """The sum over groups is the histogram of them all, whatever the order; shorter ones are padded."""
    apart = [lateness.histogram(np.array(g, np.int64)).tolist() for g in groups]
    whole = lateness.histogram(np.array([d for g in groups for d in g], np.int64)).tolist()
    assert list(lateness.add(apart)) == list(lateness.add(reversed(apart))) == whole
    assert list(lateness.add([*apart, [1, 2]]))[:3] == [whole[0] + 1, whole[1] + 2, whole[2]]


@given(
    st.lists(st.integers(60 * SECOND, 20 * YEAR), min_size=5, max_size=40),
    st.integers(40, 60),
    st.sampled_from([0.5, 0.9, 0.99, 1.0]),
)
def test_a_quantile_is_never_too_short_and_little_too_long(many: list[int], times: int, q: float) -> None:
    """Beside the exact quantile of the samples it is at most 42 % longer."""
    many = sorted(many * times)
    found = lateness.quantile(lateness.histogram(np.array(many, np.int64)).tolist(), q)
    exact = many[math.ceil(q * len(many)) - 1]
    assert found is not None
    assert exact <= found <= 1.42 * exact


@pytest.mark.parametrize(("samples", "known"), [(0, False), (199, False), (200, True)])
def test_few_samples_teach_nothing(samples: int, known: bool) -> None:
    """Below 200 there is no quantile."""
    counts = lateness.histogram(np.full(samples, 90 * SECOND, np.int64)).tolist()
    assert (lateness.quantile(counts) is not None) == known


def test_outliers_beyond_the_share_do_not_count() -> None:
    """One of two hundred samples lies outside 99 %, three do not."""
    usual = [HOUR] * 199
    one = lateness.quantile(lateness.histogram(np.array([*usual, YEAR])).tolist())
    three = lateness.quantile(lateness.histogram(np.array([*usual, *[YEAR] * 3])).tolist())
    assert one is not None
    assert three is not None
    assert one < 2 * HOUR
    assert three > 300 * DAY
