"""How often a series really reports: found soon, and never invented from gaps."""

from __future__ import annotations

import itertools
from pathlib import Path
from statistics import median_low

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.findings import Cadence
from loader.quality.cadence import (
    DIFFERENT,
    NICE,
    OUTAGE,
    PERIODS,
    STEPS,
    WANDER,
    Cadences,
    Episode,
    as_reported,
    learn,
    off_grid,
    rounded,
    stretches,
)
from loader.readings import DAY, HOUR, SECOND, Int64, Series, Window
from loader.records import StoredSeries

MINUTE = 60 * SECOND
START = 1_700_000_000_000_000 // DAY * DAY

parts = st.lists(
    st.tuples(
        st.sampled_from([0.1, 1, 7, 60, 300, 600, 900, 3600, 86_400]),
        st.integers(1, 90),
        st.sampled_from([0.0, 0.0, 0.1, 0.3, 0.6]),
        st.sampled_from([0.0, 0.02, 0.09]),
    ),
    min_size=1,
    max_size=4,
)


def station(plan: list[tuple[float, int, float, float]], seed: int) -> Int64:
    """Stamps of a station that reports every so many seconds, so many times, with this share lost
    and wandering by this share of its cadence; then as the next one of the plan says."""
    rng = np.random.default_rng(seed)
    at, out = START, []
    for cadence, count, lost, wander in plan:
        step = round(cadence * SECOND)
        grid = at + step * np.arange(1, count + 1)
        at = int(grid[-1])
        grid += (rng.uniform(-wander, wander, count) * step).astype(np.int64)
        out.append(grid[rng.random(count) >= lost])
    return np.unique(np.concatenate(out))


def proof(times: list[int], at: int) -> float | None:
    """The cadence in microseconds that the steps from this stamp on prove, by the definition."""
    steps = [b - a for a, b in itertools.pairwise(times[at : at + STEPS + 1])]
    if len(steps) < STEPS:
        return None
    middle = median_low(steps)
    period = median_low(s for s in steps if 0.8 * middle <= s <= 1.2 * middle)
    same = [abs(s - period) <= 0.2 * period for s in steps]
    many = [round(s / period) for s in steps]
    whole = [(s, m) for s, m in zip(steps, many, strict=True) if m and abs(s - m * period) <= 0.2 * period]
    if not same[0] or sum(same) <= STEPS / 2 or len(whole) < 0.9 * STEPS:
        return None
    if sum(min(m, OUTAGE) for m in many) > 3 * STEPS:
        return None
    mean = sum(s for s, _ in whole) / sum(m for _, m in whole)
    return mean if abs(mean - period) <= 0.05 * period else period


def lasts(times: list[int], at: int, period: float, least: float) -> bool:
    """Whether what these stamps prove goes on for so long."""
    if times[at + STEPS] - times[at] >= least:
        return True
    end = next((i for i, t in enumerate(times) if t >= times[at] + least), None)
    if end is None or 3 * (end - at) * period < times[end] - times[at]:
        return False
    final = proof(times, end - STEPS)
    return final is not None and abs(final - period) <= 0.1 * period


def told(times: list[int], declared_s: float | None) -> list[Episode]:
    """The episodes by the definition, one stamp after the other."""
    out: list[Episode] = []
    so_far = declared_s
    for at in range(len(times)):
        period = proof(times, at)
        if period is None:
            continue
        if so_far and not lasts(times, at, period, round(PERIODS * so_far * SECOND)):
            continue
        if out and so_far and abs(period / SECOND - so_far) <= 0.1 * so_far:
            continue
        so_far = rounded(period / SECOND, declared_s)
        out.append((times[at], so_far))
    return out


@settings(deadline=None)
@given(parts, st.integers(0, 2**32), st.sampled_from([None, 60.0, 3600.0]))
def test_it_is_what_the_definition_says(
    plan: list[tuple[float, int, float, float]], seed: int, declared_s: float | None
) -> None:
    """Whatever the station does, the same episodes as one stamp after the other."""
    times = station(plan, seed)
    assert list(learn(times, declared_s, ())) == told(times.tolist(), declared_s)


@settings(deadline=None)
@given(parts, st.integers(0, 2**32), st.sampled_from([None, 900.0]), st.data())
def test_a_part_of_the_history_is_enough(
    plan: list[tuple[float, int, float, float]],
    seed: int,
    declared_s: float | None,
    data: st.DataObject,
) -> None:
    """Learned in pieces, late readings included, it is what the whole history gives."""
    times = station(plan, seed)
    late = data.draw(st.sets(st.integers(0, len(times) - 1), max_size=5)) if len(times) else set()
    known: tuple[Episode, ...] = ()
    stored = np.empty(0, np.int64)
    shuffled = np.random.default_rng(seed).permutation(sorted(late)).astype(int).tolist()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(times)), max_size=4)) | {0, len(times)})
    arrivals = [[i for i in range(a, b) if i not in late] for a, b in itertools.pairwise(cuts)]
    for arrived in [*arrivals, *([i] for i in shuffled)]:
        if not arrived:
            continue
        stored = np.union1d(stored, times[arrived])
        first = int(np.searchsorted(stored, times[arrived].min()))
        slowest = max([declared_s or 0.0, *(its for _, its in known)])
        ago = stored[max(0, first - 1)] - round(PERIODS * slowest * SECOND)
        begin = max(0, min(first - STEPS, int(np.searchsorted(stored, ago))))
        known = learn(stored[begin:], declared_s, known)
        assert known == learn(stored, declared_s, ())


@given(
    st.sampled_from([0.5, 1.0, 10.0, 61.0, 300.0, 900.0, 3600.0]),
    st.floats(0, 0.4),
    st.floats(0, 0.09),
    st.integers(0, 2**32),
)
def test_a_station_with_many_gaps_is_not_taken_for_a_slow_one(
    cadence: float, lost: float, wander: float, seed: int
) -> None:
    """Readings lost by chance and stamps that wander never make another cadence."""
    found = learn(station([(cadence, 400, lost, wander)], seed), cadence, ())
    assert [its for _, its in found] in ([cadence], [])


@pytest.mark.parametrize(("before", "after"), [(900, 3600), (3600, 900), (60, 1), (1, 60), (600, 900)])
def test_a_change_is_found_as_soon_as_it_has_lasted(before: float, after: float) -> None:
    """From the first stamp of the new cadence on, once there are as many as it takes."""
    needed = max(STEPS, int(PERIODS * before / after))
    for count, changed in ((needed - 1, False), (needed, True)):
        times = station([(before, 100, 0, 0), (after, count, 0, 0)], 0)
        found = learn(times, before, ())
        assert found[0] == (times[0], before)
        assert found[1:] == (((int(times[99]), float(after)),) if changed else ())


def test_a_day_of_trouble_is_no_slower_cadence() -> None:
    """Whole hours missing, outages and the odd extra reading leave a 15-minute station what it is."""
    times = station([(900, 4000, 0.3, 0.02)], 7)
    outages = (times // HOUR % 5 == 0) | ((times > START + 10 * DAY) & (times < START + 17 * DAY))
    times = np.sort(np.append(times[~outages], times[::50] + 20 * SECOND))
    for declared_s in (None, 900.0, 3600.0):
        assert [its for _, its in learn(times, declared_s, ())] == [900.0]


def test_too_little_or_no_rhythm_teaches_nothing() -> None:
    """Too few stamps, stamps at random, and pairs that come together have no cadence."""
    assert learn(np.empty(0, np.int64), 60.0, ((5, 60.0),)) == ((5, 60.0),)
    assert learn(station([(60, STEPS, 0, 0)], 0), None, ()) == ()
    assert learn(np.full(200, START), None, ()) == ()
    rng = np.random.default_rng(3)
    assert learn(START + np.sort(rng.integers(0, 30 * DAY, 2000)), None, ()) == ()
    hourly = station([(3600, 200, 0, 0)], 0)
    pairs = np.sort(np.append(hourly, hourly + 5 * SECOND))
    assert learn(pairs, None, ()) == ()


@pytest.mark.parametrize(
    ("seconds", "declared_s", "said"),
    [
        (3600.4, None, 3600.0),
        (3580.0, 3600.0, 3600.0),
        (61.0, None, 60.0),
        (66.0, None, 66.0),
        (0.1, None, 0.1),
        (45.0, 60.0, 45.0),
        (7 * 86_400.0, None, 605_000.0),
    ],
)
def test_a_cadence_is_said_as_people_would_set_it(
    seconds: float, declared_s: float | None, said: float
) -> None:
    """The declared one or a usual one where that is near, else three digits."""
    times = START + (np.arange(100) * seconds * SECOND).astype(np.int64)
    assert [its for _, its in learn(times, declared_s, ())] == [said]


def test_what_holds_when() -> None:
    """Before the first episode the declared cadence, or else the first one's; a configured one
    goes before all."""
    window = Window(0, 100)
    episodes: list[Episode] = [(20, 60.0), (50, 60.0), (70, 5.0), (100, 1.0)]
    assert list(stretches(window, episodes, 9.0)) == [
        (Window(0, 20), 9.0),
        (Window(20, 70), 60.0),
        (Window(70, 100), 5.0),
    ]
    assert list(stretches(window, episodes, None)) == [(Window(0, 70), 60.0), (Window(70, 100), 5.0)]
    assert list(stretches(Window(80, 90), episodes, None)) == [(Window(80, 90), 5.0)]
    assert list(stretches(window, (), None)) == [(window, None)]
    assert list(stretches(Window(5, 5), episodes, 9.0)) == []
    series = Series("s", "pm25", "", "", "", cadence_s=9.0)
    other = Series("t", "pm25", "", "", "", cadence_s=9.0)
    known = Cadences(learned={series.key: episodes})
    assert [its for _, its in known.of(series, window)] == [9.0, 60.0, 5.0]
    assert list(known.of(other, window)) == [(window, 9.0)]
    fixed = Cadences(lambda one: 30.0 if one is series else None, {series.key: episodes})
    assert list(fixed.of(series, window)) == [(window, 30.0)]
    assert list(fixed.of(other, window)) == [(window, 9.0)]


@given(
    st.sampled_from([1.0, 60.0, 3600.0]),
    st.integers(3, 40),
    st.integers(0, 2**32),
    st.floats(0, 0.099),
    st.data(),
)
def test_stamps_beside_the_grid_are_found(
    cadence: float, count: int, seed: int, wander: float, data: st.DataObject
) -> None:
    """Those that do not fit the stamps on either side, in any order; gaps, small wandering, and a
    cadence that is not quite the one told do not matter."""
    rng = np.random.default_rng(seed)
    step = cadence * SECOND * data.draw(st.sampled_from([1.0, 0.999, 1.0005]))
    rows = np.sort(rng.choice(2 * count, count, replace=False))
    times = (START + rng.integers(0, int(step)) + rows * step).astype(np.int64)
    times += (rng.uniform(-wander, wander, count) * step * 0.9).astype(np.int64)
    first = data.draw(st.integers(1, count - 2))
    moved = np.zeros(count, bool)
    moved[first : count - 1 : 2 + data.draw(st.integers(0, 5))] = True
    # Further than the wandering of both, and the drift over the longest gap.
    times[moved] += (rng.uniform(0.45, 0.55, moved.sum()) * step).astype(np.int64)
    order = rng.permutation(count)
    found = off_grid(times[order], cadence)
    beside = np.zeros(count, bool)
    beside[1:-1] = moved[:-2] & moved[2:]
    assert found.tolist() == (moved | beside)[order].tolist()


def test_a_grid_that_shifts_has_no_stamp_beside_it() -> None:
    """A station that comes back at another minute is as regular as before; a stray one at either end
    is found."""
    hours = np.arange(20) * HOUR
    for times, stray in (([0, 2.5, 3.5, 4.5], 0), ([0, 1, 2, 2.5], 3)):
        ends = off_grid((np.array(times) * HOUR).astype(np.int64), 3600.0)
        assert np.flatnonzero(ends).tolist() == [stray]
    assert not off_grid(np.concatenate([hours, hours + 20 * HOUR + HOUR // 3]), 3600.0).any()


def test_where_there_is_no_grid_nothing_is_beside_it() -> None:
    """Two stamps, none, or no cadence."""
    for times in ([], [1], [1, 2]):
        assert not off_grid(np.array(times, np.int64), 60.0).any()
    assert not off_grid(np.array([1, 2, 3], np.int64), 0.0).any()


def test_the_documented_numbers_are_those_of_the_code() -> None:
    """The section on cadences names each of them."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "quality.md").read_text(encoding="utf-8")
    section = text.partition("## How often a series reports")[2].partition("\n## ")[0]
    assert f"{STEPS} steps in a row" in section
    assert (6, "six periods" if "six periods" in section else "") == (PERIODS, "six periods")
    assert (WANDER, DIFFERENT) == (1 / 5, 1 / 10)
    assert "a fifth of it" in section
    assert "by more than a tenth" in section
    assert f"more than {OUTAGE} cadences is an\n  outage and counts as {OUTAGE}" in section
    *most, last = map(str, NICE)
    assert f"({', '.join(most)} or {last} seconds" in section


def test_the_newest_cadence_learned_is_the_one_reported() -> None:
    """A series of which nothing was learned keeps the declared one."""
    series = Series("s", "pm25", "ug/m3", "st", "p", cadence_s=900.0)
    stored = [StoredSeries(number, "src", series, None, None) for number in (1, 2)]
    learned = {1: (Cadence(1, 0, 900.0), Cadence(1, 5, 3600.0))}
    assert [one.series.cadence_s for one in as_reported(stored, learned)] == [3600.0, 900.0]
