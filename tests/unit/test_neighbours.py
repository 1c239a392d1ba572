"""Readings against those of near stations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.quality.neighbours import NeighbourRule, bounds, distance_km, near, objects, usable
from loader.readings import HOUR, Check, Flag, Readings

RULE = NeighbourRule(within_km=10, suspect=20, least=2, apart=HOUR // 2)

Pairs = list[tuple[int, float]]
pairs = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from([0.0, 5.0, 30.0, 31.0, 80.0])),
    max_size=12,
    unique_by=lambda pair: pair[0],
).map(sorted)


def columns(rows: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Times in tenths of an hour, and values."""
    return (
        np.array([t for t, _ in rows], np.int64) * (HOUR // 10),
        np.array([v for _, v in rows], np.float64),
    )


def test_distance_is_that_on_the_globe() -> None:
    """A degree of latitude is 111.2 km; Toronto to Paris is about 6,000 km."""
    assert distance_km((0, 0), (1, 0)) == pytest.approx(111.195, abs=0.01)
    assert distance_km((0, 179.5), (0, -179.5)) == pytest.approx(111.195, abs=0.01)
    assert distance_km((43.65, -79.38), (48.86, 2.35)) == pytest.approx(5993, rel=0.01)


def test_near_are_other_stations_within_the_distance() -> None:
    """Two sensors of one station are no neighbours, nor is what lies further away."""
    places = {1: (50.0, 8.0), 2: (50.0, 8.0), 3: (50.05, 8.0), 4: (51.0, 8.0)}
    stations = {1: "a", 2: "a", 3: "b", 4: "c"}
    assert near(places, stations, 10) == {1: (3,), 2: (3,), 3: (1, 2), 4: ()}


@given(pairs, st.lists(pairs, max_size=4))
def test_objections_are_those_of_a_plain_reading_of_the_rule(mine: Pairs, others: list[Pairs]) -> None:
    """Every reading is compared with the nearest one of each station, one by one."""
    time, value = columns(mine)
    found = objects(RULE, time, value, [columns(rows) for rows in others])
    for t, v, objected in zip(time.tolist(), value.tolist(), found.tolist(), strict=True):
        theirs = []
        for rows in others:
            at, values = columns(rows)
            order = sorted(range(len(at)), key=lambda i: (abs(int(at[i]) - t), at[i]))
            if order and abs(int(at[order[0]]) - t) <= RULE.apart:
                theirs.append(float(values[order[0]]))
        expected = len(theirs) >= 2 and not min(theirs) - 20 <= v <= max(theirs) + 20
        assert objected == expected


def test_a_reading_on_the_bound_passes() -> None:
    """As with all thresholds."""
    time = np.array([0, 0], np.int64)
    theirs = [(np.zeros(1, np.int64), np.array([v])) for v in (10.0, 12.0)]
    low, high, count = bounds(RULE, time[:1], theirs)
    assert (low[0], high[0], count[0]) == (10, 12, 2)
    assert objects(RULE, time, np.array([32.0, 32.1]), theirs).tolist() == [False, True]
    assert objects(RULE, time, np.array([-10.0, np.nan]), theirs).tolist() == [False, False]


def test_what_counts_of_a_neighbour() -> None:
    """What its own checks object to does not; what this check or the source says of it does."""
    tests = [0, Check.NEIGHBOURS, Check.UPSTREAM, Check.SPIKE, Check.SENTINEL, 0]
    readings = Readings.of(
        [0] * 6,
        range(6),
        [1, 2, 3, 4, -999, np.nan],
        tests,
        [Flag.GOOD, Flag.SUSPECT, Flag.NOT_EVALUATED, Flag.SUSPECT, Flag.MISSING, Flag.MISSING],
    )
    assert usable(readings).tolist() == [True, True, True, False, False, False]
