"""The QARTOD tests against a reading-by-reading reference; their reach; verdicts."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.quality.explain import within
from loader.quality.kernels import (
    Climatology,
    GrossRange,
    RateOfChange,
    Spike,
    aggregate,
    climatology,
    evaluate,
)
from loader.quality.rows import Reach, Rows, reach
from loader.quality.windows import AttenuatedSignal, FlatLine, PrecisionChange, decimals
from loader.readings import HOUR, Check
from tests.unit.qartod import BEGIN, EPOCH, INF, KINDS, NAN, expected, places, rows_of, series_of, worlds

SERIES = 4
kinds = pytest.mark.parametrize("name", KINDS)


def of_one(*values: float, step: int = 1_000_000) -> Rows:
    """One series with these values, `step` microseconds apart."""
    return rows_of([0] * len(values), [BEGIN + i * step for i in range(len(values))], values)


def one(*thresholds: float) -> list[np.ndarray]:
    """Thresholds of one series."""
    return [np.array([t], np.int64 if isinstance(t, int) else np.float64) for t in thresholds]


@kinds
@settings(max_examples=30)
@given(data=st.data())
def test_every_flag_is_the_references(name: str, data: st.DataObject) -> None:
    """Whatever the readings and thresholds of several series, each flag is as defined."""
    rows = data.draw(worlds(SERIES))
    test = data.draw(KINDS[name].draw(SERIES))
    before = [c.copy() for c in (rows.series, rows.time, rows.value)]
    assert test.flags(rows).tolist() == expected(KINDS[name], test, rows)
    for was, now in zip(before, (rows.series, rows.time, rows.value), strict=True):
        np.testing.assert_array_equal(was, now)


@kinds
@settings(max_examples=30)
@given(data=st.data())
def test_nothing_outside_its_reach_changes_a_flag(name: str, data: st.DataObject) -> None:
    """A flag stays when readings out of its reach change or go, and needs only those within."""
    rows = data.draw(worlds(SERIES))
    test = data.draw(KINDS[name].draw(SERIES))
    flags = test.flags(rows)
    for i in range(len(rows)):
        s = int(rows.series[i])
        near, at = within(rows, i, test.reach(s))
        assert test.flags(near)[at] == flags[i]
        kept = np.isin(rows.time, near.time) & (rows.series == s)
        value = np.where(kept, rows.value, np.roll(rows.value, 1) * 3 + 1)
        value[~kept & (np.arange(len(rows)) % 3 == 1)] = NAN
        gone = ~kept & (np.arange(len(rows)) % 4 == 2)
        other = Rows.of(rows.series[~gone], rows.time[~gone], value[~gone])
        assert test.flags(other)[np.count_nonzero(~gone[:i])] == flags[i]


def around(reach: Reach) -> Reach:
    """What has to be known around a change: the readings it touches, and what these reach."""
    both = reach.before + reach.after
    return Reach(both, both, 2 * reach.rows)


@kinds
@settings(max_examples=30)
@given(data=st.data())
def test_what_a_change_touches_is_computed_from_the_widened_reach(name: str, data: st.DataObject) -> None:
    """All flags that a changed or added reading alters come out right from the readings around it."""
    after = data.draw(worlds(2).filter(len))
    test = data.draw(KINDS[name].draw(2))
    touched = data.draw(st.integers(0, len(after) - 1))
    others = np.arange(len(after)) != touched
    if data.draw(st.booleans()):
        before = Rows.of(after.series[others], after.time[others], after.value[others])
    else:
        value = after.value.copy()
        value[touched] = data.draw(st.sampled_from([0.5, 7.0, NAN]))
        before = Rows.of(after.series, after.time, value)
    was = test.flags(before)
    now = test.flags(after)
    altered = np.flatnonzero(others)[now[others] != (was if len(was) < len(now) else was[others])]
    context, at = within(after, touched, around(test.reach(int(after.series[touched]))))
    again = test.flags(context)
    for i in altered:
        assert 0 <= i - touched + at < len(again)
        assert now[i] == again[i - touched + at]


@kinds
@settings(max_examples=30)
@given(data=st.data())
def test_a_series_flags_depend_on_no_other_series(name: str, data: st.DataObject) -> None:
    """A series alone, or in a group of few, has the flags that it has among the others."""
    rows = data.draw(worlds(SERIES))
    test = data.draw(KINDS[name].draw(SERIES))
    flags = test.flags(rows)
    for _, part in series_of(rows):
        alone = Rows.of(rows.series[part], rows.time[part], rows.value[part])
        assert test.flags(alone).tolist() == flags[part].tolist()
    size = data.draw(st.integers(1, 40))
    grouped = [test.flags(group) for _, group in rows.groups(size)]
    assert np.concatenate([np.empty(0, np.uint8), *grouped]).tolist() == flags.tolist()


@settings(max_examples=30)
@given(data=st.data())
def test_the_verdict_is_the_worst_flag_and_the_bits_name_who_objects(data: st.DataObject) -> None:
    """Flags combine in the order 4, 3, 1, 2, 9; rows without a value are 9 and keep their bits."""
    rows = data.draw(worlds(SERIES))
    tests = [data.draw(kind.draw(SERIES)) for kind in KINDS.values()]
    flag, bits = evaluate(rows, tests)
    each = [test.flags(rows).tolist() for test in tests]
    order = [9, 2, 1, 3, 4]
    for i, value in enumerate(rows.value):
        found = [flags[i] for flags in each]
        assert flag[i] == (9 if math.isnan(value) else max(found, key=order.index))
        objecting = 0
        for test, of_test in zip(tests, found, strict=True):
            objecting |= test.check if of_test in {3, 4} else 0
        assert bits[i] == objecting


def test_without_tests_or_rows_there_is_nothing_to_say() -> None:
    """No test leaves readings not evaluated, or missing; no reading gives no flag."""
    flag, bits = evaluate(of_one(1.0, NAN, INF), [])
    assert (flag.tolist(), bits.tolist()) == ([2, 9, 2], [0, 0, 0])
    empty = rows_of([], [], [])
    flag, bits = evaluate(empty, [Spike(*one(1.0, 2.0))])
    assert len(flag) == len(bits) == 0
    with pytest.raises(ValueError, match="no flags"):
        aggregate()


def test_below_a_second_nothing_is_cut_off() -> None:
    """Rates and flat lines of readings 100 ms apart are taken from the microseconds."""
    rows = of_one(0.0, 0.5, 1.0, 50.0, 50.0, 50.0, 50.0, step=100_000)
    assert RateOfChange(*one(5.0, 20.0)).flags(rows).tolist() == [1, 1, 1, 4, 1, 1, 1]
    assert RateOfChange(*one(4.9, 500.0)).flags(rows).tolist() == [1, 3, 3, 3, 1, 1, 1]
    flat = FlatLine(*one(200_000, 300_000, 0.0, 100_000, 100_000))
    assert flat.flags(rows).tolist() == [1, 1, 1, 1, 1, 3, 4]


def test_no_flat_line_crosses_a_long_gap_nor_rests_on_one_value() -> None:
    """A gap longer than allowed starts the count anew; a lone value among missing ones is good."""
    minute = 60_000_000
    times = [BEGIN + minute * m for m in (0, 1, 2, 3, 4, 64, 65, 66, 67)]
    flat = FlatLine(*one(3 * minute, 5 * minute, 0.01, minute, 10 * minute))
    assert flat.flags(rows_of([0] * 9, times, [5.0] * 9)).tolist() == [1, 1, 1, 3, 3, 1, 1, 1, 3]
    sparse = of_one(1.0, NAN, NAN, NAN, 7.0, NAN, NAN, NAN, 3.0, step=minute)
    assert flat.flags(sparse).tolist() == [1, 9, 9, 9, 1, 9, 9, 9, 1]


def test_a_flat_line_reaches_back_just_so_far() -> None:
    """Readings slower than the cadence count as far back as threshold + gap, and no farther."""
    flat = FlatLine(*one(3_000_000, 0, 0.5, 1_000_000, 1_500_000))
    slow = of_one(5.0, 5.0, 5.0, 5.0, 5.0, step=1_500_000)
    assert flat.flags(slow).tolist() == [1, 1, 1, 3, 3]
    assert flat.reach(0) == Reach(before=4_500_000)
    assert slow.time[3] - slow.time[0] == flat.reach(0).before
    slow.time[0] -= 1
    assert flat.flags(slow).tolist() == [1, 1, 1, 1, 3]
    gaps = FlatLine(*one(3_000_000, 0, 0.5, 1_000_000, 2_500_000))
    assert set(gaps.flags(of_one(*[5.0] * 9, step=2_000_000)).tolist()) == {1}
    edge = of_one(5.0, 5.25, 5.5, 5.25, 5.25, 5.25)
    assert flat.flags(edge).tolist() == [1, 1, 1, 1, 3, 3]


def test_a_sensor_faster_than_its_cadence_may_stand_still_as_long() -> None:
    """Every 15 minutes where the cadence says an hour: flat after more than three of four hours, not
    after four steps; and a value that moved within the four hours keeps it from being flat."""
    quarter = 15 * 60_000_000
    flat = FlatLine(*one(16 * quarter, 0, 0.0, 4 * quarter, 8 * quarter))
    still = of_one(*[5.0] * 20, step=quarter)
    assert flat.flags(still).tolist() == [1] * 13 + [3] * 7
    moved = of_one(*[5.0] * 20, 7.0, *[5.0] * 17, step=quarter)
    assert flat.flags(moved).tolist() == [1] * 13 + [3] * 7 + [1] * 17 + [3]


def test_zero_is_a_threshold_and_nan_is_none() -> None:
    """A spike threshold of 0 objects to any difference; one not given objects to none."""
    rows = of_one(0.0, 9.0, 0.0, 0.0)
    assert Spike(*one(0.0, 5.0)).flags(rows).tolist() == [2, 4, 3, 2]
    assert Spike(*one(NAN, 9.0)).flags(rows).tolist() == [2, 1, 1, 2]
    assert Spike(*one(NAN, NAN)).flags(rows).tolist() == [2, 2, 2, 2]


def test_numbers_near_the_largest_are_judged_like_others() -> None:
    """Sums and squares that no float64 holds make no value stand out, and none move."""
    rows = of_one(1e308, 1e308, 1e308, -1e308, 1e308)
    assert Spike(*one(1.0, 2.0)).flags(rows).tolist() == [2, 1, 4, 4, 2]
    still = of_one(NAN, 1e200, 1e200, 1e200)
    attenuated = AttenuatedSignal(*one(0.5, 0.1, 10_000_000, 2), deviation=True)
    assert attenuated.flags(still).tolist() == [9, 2, 4, 4]


def test_the_finest_span_given_counts_in_a_climatology() -> None:
    """Month and hour come before the month, that before the hour, that before all."""
    spans = {(m, h): (i, i, i, i) for i, (m, h) in enumerate([(None, None), (None, 3), (7, None), (7, 3)])}
    table = climatology(spans)[:, :, 0]
    assert table[6, 3] == 3
    assert (table[6, [0, 2, 4, 23]] == 2).all()
    assert (np.delete(table, 6, 0)[:, 3] == 1).all()
    assert (np.delete(np.delete(table, 6, 0), 3, 1) == 0).all()


@given(st.one_of(st.decimals(-(10**6), 10**6, places=7).map(float), st.floats(-1e6, 1e6)))
def test_decimals_are_those_of_the_shortest_writing(number: float) -> None:
    """0.1 has one decimal, 0.30000000000000004 the most, whatever the binary fraction is."""
    assert decimals(np.array([number])).tolist() == [places(number)]


@pytest.mark.parametrize(("first", "second"), [(2, 0), (0, 2), (1, 3), (3, 2)])
def test_a_changed_precision_is_found_once(first: int, second: int) -> None:
    """From two decimals to none, or the other way: suspect for a while after, and then no more."""
    noise = np.random.default_rng(10 * first + second).normal(20, 3, 600)
    values = np.concatenate([noise[:300].round(first), noise[300:].round(second)])
    period = 24
    test = PrecisionChange(*one(period * 1_000_000, 12))
    objects = np.flatnonzero(test.flags(of_one(*values)) == 3)
    assert 300 + period // 4 <= objects[0] < 300 + period
    assert objects[-1] < 300 + 2 * period
    steady = test.flags(of_one(*noise.round(first)))
    assert set(steady.tolist()) == {1, 2}
    odd = noise.round(1)
    odd[::50] = np.pi
    assert set(test.flags(of_one(*odd)).tolist()) == {1, 2}


@pytest.mark.parametrize(
    ("earlier", "later", "flag"),
    [
        ([1.0, 2.0, 3.0, 4.0], [1.5, 2.0, 2.5, 3.0], 3),  # half have one more
        ([1.0, 2.0, 3.0, 4.0], [1.5, 2.0, 4.0, 3.0], 1),
        ([1.0, 2.0, 3.0, 4.5], [1.5, 2.5, 3.5, 4.5], 1),  # one had it before
        ([1.5, 2.5, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], 3),  # half had one more
        ([1.5, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], 1),
        ([1.5, 2.5, 3.5, 4.5], [0.0, 0.0, 0.0, 0.0], 2),  # zeros tell nothing
        ([1.5, 2.5, 3.5, 4.5], [0.0, 0.0, 3.0, 4.0], 3),
        ([1.5, NAN, NAN, NAN], [1.0, 2.0, 3.0, 4.0], 2),
    ],
)
def test_half_of_a_period_must_have_the_other_precision(
    earlier: list[float], later: list[float], flag: int
) -> None:
    """More decimals in half of the later values, or once in half of the earlier and no more."""
    test = PrecisionChange(*one(4_000_000, 2))
    assert test.flags(of_one(*earlier, *later))[-1] == flag


@given(st.integers(-(10**15), 5 * 10**15), st.sampled_from([-3_600_000_000, 0, 19_800_000_000]))
def test_months_and_hours_are_those_of_the_calendar(time: int, shift: int) -> None:
    """Also before 1970, to the microsecond, and shifted into a zone."""
    for at in (time, time // HOUR * HOUR, time // HOUR * HOUR - 1):
        test = Climatology(climatology({}), *one(0, shift))
        month, hour = test.cells(rows_of([0], [at], [1.0]))
        there = EPOCH + timedelta(microseconds=at + shift)
        assert (month.tolist(), hour.tolist()) == ([there.month - 1], [there.hour])


def test_reaches_add_up() -> None:
    """Several tests reach as far as the farthest of them."""
    flat = FlatLine(*one(3, 5, 0.1, 1, 2))
    assert reach([flat, Spike(*one(1.0, NAN))], 0) == Reach(before=7, after=0, rows=1)
    assert reach([GrossRange(*one(0.0, 1.0, NAN, NAN))], 0) == Reach()


def test_checks_have_a_bit_each() -> None:
    """No two kinds of test share a bit, save those that differ in their method."""
    assert len({check.value for check in Check}) == len(Check) == 12
