"""The pure parts of an assessment against slow, plain ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.assess.cadences import learned
from loader.assess.columns import TAIL, Collector
from loader.assess.days import quality_days
from loader.assess.findings import Fresh, comparisons, judge
from loader.findings import QualityDay
from loader.quality.anomaly import DETECTORS
from loader.quality.anomalyrule import AlertRule
from loader.quality.cadence import PERIODS, learn
from loader.quality.score import Weights
from loader.readings import DAY, HOUR, SECOND, Flag, Int64, Readings, UInt8, Window

START = 20_000 * DAY


@st.composite
def stamps(draw: st.DrawFn) -> Int64:
    """Stretches of one cadence each, with gaps and stamps in between."""
    steps: list[int] = []
    for _ in range(draw(st.integers(1, 4))):
        cadence = draw(st.sampled_from([900, 3600, 3700, 7200]))
        lost = draw(st.sampled_from([0.0, 0.1, 0.45]))
        chance = np.random.default_rng(draw(st.integers(0, 999)))
        for _ in range(draw(st.integers(0, 150))):
            steps.append(cadence * (1 + int(chance.random() < lost)) + int(chance.integers(-20, 20)))
    return np.asarray(START + np.cumsum(np.array([1, *steps], np.int64)) * SECOND, np.int64)


@settings(max_examples=60)
@given(stamps(), st.sampled_from([None, 3600.0]), st.sampled_from([None, 900.0, 3550.0, 3600.0, 7200.0]))
def test_the_short_way_to_a_cadence_is_the_long_one(
    times: Int64, declared: float | None, before: float | None
) -> None:
    """Where what is known or the first stamps tell all, they tell the same as all stamps do."""
    known = () if before is None else ((START - DAY, before),)
    assert learned(times, declared, known) == learn(times, declared, known)


def test_what_is_known_of_later_time_stays() -> None:
    """History that is looked at afterwards adds its own cadence before the known one, and none where it
    is the same."""
    old = START + np.arange(100, dtype=np.int64) * HOUR // 4
    later = START + 200 * DAY
    assert learned(old, None, ((later, 3600.0),)) == ((START, 900.0), (later, 3600.0))
    assert learned(old, None, ((later, 900.0),)) == ((START, 900.0),)


def days_of(time: Int64, flag: UInt8 | None, cadence_s: float, *, days: int) -> tuple[QualityDay, ...]:
    """The days from `START` on of a series that has just these readings."""
    collector = Collector(START)
    collector.add(Readings.of(np.zeros(len(time)), time, np.ones(len(time)), flag=flag))
    return quality_days(
        1,
        Window(START, START + days * DAY),
        collector.columns(),
        known=(int(time[0]), int(time[-1])),
        episodes=(),
        declared_s=cadence_s,
        moves=np.empty(0, np.int64),
        shortcomings={},
        weights=Weights(),
    )


@pytest.mark.parametrize("stray", [False, True])
def test_stamps_that_wander_are_not_missing(stray: bool) -> None:
    """An hourly sensor that is up to five minutes early or late is complete on every day; one stamp more,
    half an hour off, changes nothing."""
    chance = np.random.default_rng(8)
    time = START + DAY // 2 + np.arange(10 * 24) * HOUR + chance.integers(-300, 301, 10 * 24) * SECOND
    if stray:
        time = np.sort(np.append(time, START + 3 * DAY + HOUR // 2))
    found = days_of(time, None, 3600.0, days=11)
    assert [d.day for d in found] == [START + k * DAY for k in range(11)]
    assert [d.due - d.observed for d in found] == [0] * 11
    assert {d.due for d in found[1:-1]} <= {23, 24}


def distance(time: int, phase: int, step: int) -> int:
    """To the nearest place of the grid."""
    return min((time - phase) % step, (phase - time) % step)


@settings(max_examples=80)
@given(
    st.lists(st.integers(1, 5 * 24 * 4), min_size=1, max_size=200, unique=True),
    st.sampled_from([900, 3600, 21_600]),
    st.sampled_from([0, 0, 200]),
    st.integers(0, 99),
)
def test_days_count_as_by_hand(quarters: list[int], cadence_s: int, wander_s: int, seed: int) -> None:
    """Due and observed of every day are those found by walking the grid, reading by reading."""
    chance = np.random.default_rng(seed)
    time = START + np.array(sorted(quarters), np.int64) * HOUR // 4
    time += chance.integers(-wander_s, wander_s + 1, len(time)) * SECOND
    flag = chance.choice([Flag.GOOD, Flag.SUSPECT, Flag.MISSING], len(time)).astype(np.uint8)
    first, newest = int(time[0]), int(time[-1])
    found = days_of(time, flag, float(cadence_s), days=5)
    step, rows = cadence_s * SECOND, []
    for day in range(START, START + 5 * DAY, DAY):
        inside = [i for i, t in enumerate(time.tolist()) if day < t <= day + DAY]
        begin, end = max(day, first - 1), min(day + DAY, newest)
        due, seen = 0, set()
        if end > begin:
            phase = int(time[inside[0]]) if inside else [t for t in time.tolist() if t <= day][-1]
            strays = sorted((int(time[i]) - phase + step // 2) % step - step // 2 for i in inside)
            phase += strays[(len(strays) - 1) // 2] if strays else 0
            grid = [phase + k * step for k in range(-6 * 96 * 4, 6 * 96 * 4)]
            grid = [place for place in grid if begin < place <= end]
            valued = [int(time[i]) for i in inside if flag[i] != Flag.MISSING]
            # Of two places as near the later one.
            near = [min(reversed(grid), key=lambda place: abs(place - t)) for t in valued] if grid else []
            seen = set(near)
            wander = max(
                (d for d in (distance(t, phase, step) for t in valued) if 10 * d <= step), default=0
            )
            spared = (
                sum(
                    place not in seen and room < wander
                    for place, room in ((grid[0], grid[0] - begin - 1), (grid[-1], end - grid[-1]))
                )
                if grid
                else 0
            )
            due = max(len(grid) - spared, len(seen))
        if inside or due:
            rows.append((day, due, len(seen), len(inside)))
    assert [(d.day, d.due, d.observed, d.readings) for d in found] == rows


def test_context_is_thinned_however_the_chunks_are_cut() -> None:
    """Of what lies before, the last usable reading of each hour is kept and the last stamps; of the rest
    all; whether it comes in one chunk or in many."""
    time = START + np.arange(1, 24 * 60 + 1, dtype=np.int64) * 60 * SECOND
    flag = np.where(np.arange(len(time)) % 60 == 59, Flag.FAIL, Flag.GOOD).astype(np.uint8)
    whole = Readings.of(np.zeros(len(time)), time, np.arange(len(time), dtype=float), flag=flag)
    one, many = Collector(START + 20 * HOUR), Collector(START + 20 * HOUR)
    one.add(whole)
    for part in np.array_split(np.arange(len(time)), 37):
        many.add(whole.take(part))
    for columns in (one.columns(), many.columns()):
        assert columns.context_value.tolist() == [60 * hour + 58 for hour in range(20)]
        assert columns.stamps.tolist() == time[1200 - TAIL : 1200].tolist()
        assert columns.time.tolist() == time[1200:].tolist()
        assert np.isnan(columns.every_value[-1])


def test_comparisons_are_made_at_midnights_and_not_made_up_for_ever() -> None:
    """The first one at the last midnight; then each that has passed; seven after a long pause."""
    assert comparisons(None, START + HOUR) == [START]
    assert comparisons(START, START + HOUR) == []
    assert comparisons(START - 2 * DAY, START) == [START - DAY, START]
    assert comparisons(START - 90 * DAY, START) == [START - i * DAY for i in range(6, -1, -1)]


def test_a_cadence_is_learned_from_a_day_as_from_all() -> None:
    """An hourly station that reports every minute from 21:00 on has done so since 21:00, though only the
    next day is looked at: enough of the one before is kept."""
    hourly = START + np.arange(1, 22) * HOUR
    dense = hourly[-1] + np.arange(1, 12 * 60) * (HOUR // 60)
    time = np.concatenate([hourly, dense])
    midnight = START + DAY
    known = learn(time[time <= midnight], 3600.0, ())
    collector = Collector(midnight, memory=PERIODS * HOUR)
    collector.add(Readings.of(np.zeros(len(time)), time, np.ones(len(time)), flag=np.ones(len(time))))
    columns = collector.columns()
    stamps = np.concatenate((columns.stamps, columns.time))
    whole = learn(time, 3600.0, ())
    assert len(columns.stamps) < np.count_nonzero(time <= midnight)
    assert learn(stamps, 3600.0, known) == whole
    assert whole[-1] == (int(hourly[-1]), 60.0)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 99), st.integers(-10, 1000)), max_size=5))
def test_series_judged_together_are_judged_as_each_alone(shapes: list[tuple[int, int, int]]) -> None:
    """Whatever lies before or behind a series in the same call, nothing of it is its reference: series of
    any length and age, from any time on, none of it or all of it new."""
    fresh = []
    for number, (length, seed, begin) in enumerate(shapes):
        chance = np.random.default_rng(seed)
        start = int(chance.choice([0, -40 * DAY + 5, START]))
        times = start + np.cumsum(chance.choice([1, HOUR // 7, HOUR, 3 * HOUR], length)).astype(np.int64)
        values = np.exp(chance.normal(2, 0.3, length)) * chance.choice([1, 1, 1, 1000, 0.001], length)
        values[chance.random(length) < 0.1] = np.nan
        newest = int(times[-1]) if length else start
        window = Window(start + begin * HOUR, max(newest, start + begin * HOUR))
        fresh.append(Fresh(number, "ppm", times, values, window, None, frozenset()))
    for detector in DETECTORS.values():
        alone = [verdict for one in fresh for verdict in judge(detector, AlertRule(), [one])]
        assert judge(detector, AlertRule(), fresh) == alone
        for one, found in zip(fresh, alone, strict=True):
            scores = detector.judge(one.times, one.values, None, one.window.start).score
            odd = np.abs(scores) >= detector.threshold
            assert [a.time for a in found.anomalies] == one.times[odd].tolist()
