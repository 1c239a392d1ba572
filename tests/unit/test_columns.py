"""Sorting, duplicates and the comparison with stored rows, against plain dictionaries."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loader import columns
from loader.readings import DAY, Readings

VALUES = st.sampled_from([0.0, -0.0, 1.0, 1.0000000000000002, -999.0, math.inf, math.nan])
NEAR = st.integers(-5, 5)
FAR = st.sampled_from([-(2**62), -1, 0, 1, 2**62])
"""Times so far apart that series and time do not fit into one number."""

rows = st.lists(st.tuples(st.integers(0, 3), NEAR | FAR, VALUES), max_size=30)


def readings(made: list[tuple[int, int, float]]) -> Readings:
    """Readings whose test bits are their positions."""
    return Readings.of(
        [r[0] for r in made], [r[1] for r in made], [r[2] for r in made], tests=np.arange(len(made))
    )


def listed(found: Readings) -> list[tuple[int, int, int]]:
    """(series, time, position)."""
    return list(zip(found.series.tolist(), found.time.tolist(), found.tests.tolist(), strict=True))


@given(rows)
def test_keys_are_sorted_stably(made: list[tuple[int, int, float]]) -> None:
    """The order is that of (series, time, position), and packed keys rise with it and tell keys apart."""
    found = readings(made)
    order, packed = columns.sort_keys(found.series.astype(np.int64), found.time)
    keys = [(s, t) for s, t, _ in made]
    assert order.tolist() == sorted(range(len(made)), key=lambda i: (*keys[i], i))
    if packed is not None:
        ordered = [keys[i] for i in order]
        for i in range(1, len(made)):
            assert (packed[i] > packed[i - 1]) == (ordered[i] > ordered[i - 1])
            assert (packed[i] == packed[i - 1]) == (ordered[i] == ordered[i - 1])


def test_keys_that_do_not_fit_are_not_packed() -> None:
    """Three series over nearly the whole range of time need more than 63 bits."""
    series, time = np.array([2, 0, 2]), np.array([2**62, -(2**62), -(2**62)])
    order, packed = columns.sort_keys(series, time)
    assert packed is None
    assert order.tolist() == [1, 2, 0]


@given(rows)
def test_of_duplicates_the_last_stays(made: list[tuple[int, int, float]]) -> None:
    """Each key once, sorted, with the content of its last appearance; the others are given back."""
    kept, dropped = columns.deduplicate(readings(made))
    last = {(s, t): i for i, (s, t, _) in enumerate(made)}
    assert listed(kept) == [(*key, last[key]) for key in sorted(last)]
    others = sorted((s, t, i) for i, (s, t, _) in enumerate(made) if last[s, t] != i)
    assert listed(dropped) == others


@given(rows, rows)
def test_those_among_others_are_told_by_key(
    some: list[tuple[int, int, float]], made: list[tuple[int, int, float]]
) -> None:
    """Whatever their values, order and number are."""
    keys = {(s, t) for s, t, _ in made}
    found = columns.among(readings(some), readings([(*key, 0.0) for key in sorted(keys)]))
    assert listed(found) == [(s, t, i) for i, (s, t, _) in enumerate(some) if (s, t) in keys]


def keyed(made: list[tuple[int, int, float]]) -> dict[tuple[int, int], float]:
    return dict(sorted({(s, t): v for s, t, v in made}.items()))


def same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


@given(rows, rows)
def test_incoming_readings_are_new_refetched_or_revised(
    incoming: list[tuple[int, int, float]], stored: list[tuple[int, int, float]]
) -> None:
    """As a dictionary of the stored rows says; NULL equals NULL and nothing else."""
    now, before = keyed(incoming), keyed(stored)
    came = readings([(*key, value) for key, value in now.items()])
    series, times = [np.array([k[i] for k in before], np.int64) for i in (0, 1)]
    split: Any = columns.split(came, series, times, np.array(list(before.values()), np.float64))
    kinds = {
        "new": [k not in before for k in now],
        "refetched": [k in before and same(before[k], v) for k, v in now.items()],
        "revised": [k in before and not same(before[k], v) for k, v in now.items()],
    }
    for name, mask in kinds.items():
        assert getattr(split, name).tolist() == mask, name
    places = {key: i for i, key in enumerate(before)}
    revised = [k for k, r in zip(now, kinds["revised"], strict=True) if r]
    assert split.old.tolist() == [places[k] for k in revised]
    assert split.unseen.tolist() == [i for i, k in enumerate(before) if k not in now]


@given(rows)
def test_readings_are_counted_by_series_and_day(made: list[tuple[int, int, float]]) -> None:
    """The end of a day is its own, its start is the day's before."""
    at = [(s, t % 11 * DAY // 2) for s, t, _ in made]
    expected = Counter((s, (t - 1) // DAY * DAY) for s, t in at)
    found = columns.by_day(readings([(*key, 0.0) for key in at]))
    assert list(zip(*(column.tolist() for column in found), strict=True)) == [
        (*key, expected[key]) for key in sorted(expected)
    ]
