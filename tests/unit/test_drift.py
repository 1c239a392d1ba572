"""Drift: effect sizes against known figures, and what alarms and what does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.quality.drift import (
    YEAR,
    Against,
    Drift,
    DriftRule,
    DriftState,
    after_comparison,
    compare,
    drift,
    ks_distance,
    stability_index,
    thinned,
)
from loader.readings import DAY, HOUR, Float64, Int64, Window

RULE = DriftRule()
SOME = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30)


def autocorrelated(days: int, seed: int, memory: float = 0.95) -> tuple[Int64, Float64]:
    """Stationary hourly readings that hang together, as air does, with a daily season."""
    chance = np.random.default_rng(seed)
    values = np.empty(days * 24)
    last = 0.0
    for i in range(len(values)):
        last = memory * last + chance.normal(0, np.sqrt(1 - memory**2))
        values[i] = last
    t = np.arange(1, len(values) + 1)
    return t.astype(np.int64) * HOUR, 50 + 10 * values + 5 * np.sin(2 * np.pi * t / 24)


def daily(times: Int64) -> range:
    return range(int(times[0]) + 28 * DAY, int(times[-1]) + 1, DAY)


def alarms(times: Int64, values: Float64, rule: DriftRule = RULE, against: Against = Against.FIRST) -> int:
    """How often a comparison a day starts to alarm."""
    state, begun = DriftState(), 0
    for found in drift(rule, against, times, values, ends=daily(times)):
        then = after_comparison(rule, state, found)
        begun += then.alerting and not state.alerting
        state = then
    return begun


@given(a=SOME, b=SOME)
def test_the_distance_is_the_largest_difference_of_shares(a: list[float], b: list[float]) -> None:
    """It equals the definition, counted value by value, and does not depend on which comes first."""
    expected = max(abs(sum(x <= v for x in a) / len(a) - sum(x <= v for x in b) / len(b)) for v in a + b)
    assert ks_distance(np.array(a), np.array(b)) == pytest.approx(expected)
    assert ks_distance(np.array(b), np.array(a)) == pytest.approx(expected)


def test_the_distance_agrees_with_scipy() -> None:
    """Large samples have the statistic that scipy computes."""
    stats = pytest.importorskip("scipy.stats", reason="the extra `analysis` is not installed")
    chance = np.random.default_rng(1)
    a, b = chance.normal(0, 1, 500), chance.normal(0.3, 2, 700)
    assert ks_distance(a, b) == pytest.approx(stats.ks_2samp(a, b).statistic)


def test_the_stability_index_of_known_shares() -> None:
    """Shares of (1/2, 1/2) against (3/4, 1/4) give the textbook sum, the half readings added."""
    reference = np.repeat([1.0, 3.0], 5000)
    current = np.repeat([1.0, 3.0], [7500, 2500])
    expected = 0.25 * np.log(1.5) - 0.25 * np.log(0.5)
    assert stability_index(reference, current, bins=2) == pytest.approx(expected, rel=1e-3)
    assert stability_index(reference, reference) == 0


def test_the_stability_index_sees_a_flat_series_move() -> None:
    """A reference of one value differs from anything else, and from itself in nothing."""
    flat = np.zeros(50)
    assert stability_index(flat, flat) == 0
    assert stability_index(flat, flat + 1e-9) > 1
    assert stability_index(flat, flat - 1e-9) > 1


@given(shift=st.floats(-100, 100), factor=st.floats(0.1, 10))
def test_effects_do_not_depend_on_the_unit(shift: float, factor: float) -> None:
    """Both sides in another unit, with another zero, have the same effect sizes, of just enough values."""
    chance = np.random.default_rng(2)
    a, b = chance.normal(0, 1, 60), chance.normal(1, 2, 60)
    rule = DriftRule(minimum=len(a))
    one = compare(rule, Window(0, 1), a, b)
    other = compare(rule, Window(0, 1), shift + 1000 + factor * 1e6 * a, shift + 1000 + factor * 1e6 * b)
    assert one is not None
    assert other is not None
    for name in ("ks", "psi", "shift", "scale"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("others", [[1.7e308, -1.7e308], [1e154, 1e-308]])
def test_values_near_the_end_of_float64_are_compared(others: list[float]) -> None:
    """Neither a mean of two nor a square of them overflows: what comes out is finite, and a change of
    sign of all is seen."""
    reference = np.array([*others, 1e308, 9e307, 8e307] * 12)
    found = compare(RULE, Window(0, 1), reference, -reference)
    assert found is not None
    assert np.isfinite([found.ks, found.psi, found.shift, found.scale]).all()
    assert found.shift < 0 < found.scale
    same = compare(RULE, Window(0, 1), reference, reference)
    assert same is not None
    assert (same.ks, same.shift, same.scale, same.drifting) == (0, 0, 1, False)


def test_shift_and_scale_are_in_deviations_of_the_reference() -> None:
    """A shift by three deviations and a doubled spread are told as 3 and 2."""
    reference = np.random.default_rng(3).normal(10, 2, 4000)
    found = compare(RULE, Window(0, 1), reference, 16 + 2 * (reference - 10))
    assert found is not None
    assert found.shift == pytest.approx(3, abs=0.1)
    assert found.scale == pytest.approx(2)
    assert found.drifting


def test_stationary_autocorrelated_readings_rarely_alarm_where_p_values_do() -> None:
    """In 33 months of series that hang together and do not drift: two alarms, and hundreds by p-value."""
    begun = significant = made = 0
    for seed in range(10):
        times, values = autocorrelated(100, seed)
        begun += alarms(times, values)
        for end in daily(times):
            current = values[(times > end - 14 * DAY) & (times <= end)]
            # The 5 % point of the asymptotic distribution of D for two samples of this size.
            significant += ks_distance(values[: 14 * 24], current) > 1.358 * np.sqrt(2 / (14 * 24))
            made += 1
    assert begun <= 2
    assert significant / made > 0.5


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("shift", lambda v, x: v + 40 * x),
        ("gain", lambda v, x: v * (1 + x)),
        ("frozen", lambda v, x: np.where(x > 0, 50.0, v)),
        ("noise", lambda v, x: v + x * np.random.default_rng(0).normal(0, 60, len(v))),
    ],
)
def test_real_drift_alarms_once(name: str, changed: object) -> None:
    """A slow shift, gain, standstill or noise over two weeks alarms, and only once."""
    assert callable(changed)
    for seed in range(3):
        times, values = autocorrelated(80, seed)
        share = np.clip((times - 30 * DAY) / (14 * DAY), 0, 1)
        assert alarms(times, changed(values, share)) == 1, (name, seed)


def test_a_series_that_returns_is_over() -> None:
    """After a drift that ends, the state is ok again, and a second one alarms again."""
    times, values = autocorrelated(140, 4)
    away = ((times > 30 * DAY) & (times < 60 * DAY)) | (times > 100 * DAY)
    assert alarms(times, values + 60 * away) == 2


def test_seasons_are_drift_to_the_first_weeks_only() -> None:
    """A yearly season alarms against the first weeks, and not against the same season."""
    times, values = autocorrelated(800, 5)
    values = values + 60 * np.sin(2 * np.pi * times / (364 * DAY))
    assert alarms(times, values) > 0
    assert alarms(times, values, against=Against.SEASON) == 0
    assert alarms(times, values + 60 * (times > 600 * DAY), against=Against.SEASON) == 1


def test_a_comparison_sees_only_its_windows() -> None:
    """Readings behind the end, between the windows, or with bad flags change nothing."""
    times, values = autocorrelated(60, 6)
    end = 50 * DAY
    flags = np.ones(len(times), np.uint8)
    expected = drift(RULE, Against.FIRST, times, values, flags, ends=[end])
    between = (times > int(times[0]) + 14 * DAY) & (times <= end - 14 * DAY)
    other = np.where((times > end) | between, 1e6, values)
    assert drift(RULE, Against.FIRST, times, other, flags, ends=[end]) == expected
    flags[5::6] = 4
    spoilt = np.where(flags == 4, 1e9, values)
    spoilt[3::12] = np.nan
    (found,) = drift(RULE, Against.FIRST, times, spoilt, flags, ends=[end])
    assert found is not None
    assert not found.drifting
    assert found.window == Window(end - 14 * DAY, end)


def test_what_cannot_be_compared() -> None:
    """Too few readings, windows that overlap the reference, and no readings at all give no comparison."""
    times, values = autocorrelated(40, 7)
    ends = [int(times[0]) + 20 * DAY, int(times[0]) + 39 * DAY]
    overlapping, good = drift(RULE, Against.FIRST, times, values, ends=ends)
    assert overlapping is None
    assert good is not None
    assert good.reference == good.current == 56
    assert drift(RULE, Against.FIRST, times[::24], values[::24], ends=ends) == [None, None]
    assert drift(RULE, Against.SEASON, times, values, ends=ends) == [None, None]
    assert drift(RULE, Against.FIRST, times[:0], values[:0], ends=ends) == [None, None]


def test_the_reference_may_be_told_where_it_begins() -> None:
    """With the time of the first reading, a part of the series is compared as the whole is."""
    times, values = autocorrelated(60, 8)
    end = int(times[-1])
    whole = drift(RULE, Against.FIRST, times, values, ends=[end])
    kept = (times <= 15 * DAY) | (times > end - 15 * DAY)
    assert drift(RULE, Against.FIRST, times[kept], values[kept], ends=[end], first=int(times[0])) == whole
    late = times > 20 * DAY
    assert drift(RULE, Against.FIRST, times[late], values[late], ends=[end], first=int(times[0])) == [None]


def test_thinning_keeps_the_last_reading_of_each_stretch() -> None:
    """One reading of each six hours is used, whatever the order in which they come."""
    times = np.array([6 * HOUR, 1, 6 * HOUR + 1, 12 * HOUR, 11 * HOUR], np.int64)
    t, v = thinned(RULE, times, np.array([1.0, 2.0, 3.0, np.nan, 5.0]), None)
    assert t.tolist() == [6 * HOUR, 11 * HOUR]
    assert v.tolist() == [1.0, 5.0]


def test_flat_series_have_no_deviation_to_count_in() -> None:
    """A flat series is not far from itself; leaving 0 it is infinitely far, leaving a level it is not."""
    flat, rule = np.zeros(40), DriftRule()
    same = compare(rule, Window(0, 1), flat, flat)
    assert same is not None
    assert (same.shift, same.scale, same.drifting) == (0, 1, False)
    left = compare(rule, Window(0, 1), flat, flat + 1)
    assert left is not None
    assert left.shift == np.inf
    assert left.drifting
    near = compare(rule, Window(0, 1), flat + 50, flat + 50.5)
    assert near is not None
    assert near.shift == pytest.approx(0.5)
    assert not near.drifting


def test_it_takes_several_comparisons_in_a_row() -> None:
    """One that finds nothing begins the count anew; one that could not be made is not counted."""
    rule, state, states = DriftRule(persistence=2), DriftState(), []
    yes = Drift(Window(0, 1), 50, 50, 0.9, 2.0, 3.0, 1.0, True)
    no = Drift(Window(0, 1), 50, 50, 0.1, 0.0, 0.0, 1.0, False)
    for found in (yes, no, yes, None, yes, no, yes, no, no):
        state = after_comparison(rule, state, found)
        states.append(state.alerting)
    assert states == [False, False, False, False, True, True, True, True, False]


def test_the_season_is_whole_weeks() -> None:
    """Both windows and their distance are whole weeks, so that weekends are compared with weekends."""
    assert YEAR % (7 * DAY) == RULE.window % (7 * DAY) == RULE.reference % (7 * DAY) == 0
