"""Stored readings flagged anew: as if they had been stored under these thresholds."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from builders import Loading, at, columns, series, span
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import AnyStore

from loader.quality.checks import Checks
from loader.readings import KEPT, Check, Flag, Readings, Window
from loader.recheck import Changes, begin, end, judged, recheck
from loader.settings.quality import QualitySettings, SourceQuality
from loader.settings.rules import rule_of

ALWAYS = Window(-(2**62), 2**62)
ONE = series(cadence_s=3600.0)

RULE: dict[str, Any] = {
    "range": [-50, 50],
    "spike": {"suspect": 5, "fail": 20},
    "rate": {"suspect": 8},
    "flat_line": {"suspect": "4h", "fail": "9h"},
    "attenuated": {"suspect": 0.5, "period": "6h", "least": 3},
    "precision": {"period": "12h", "least": 4},
    "gap": "5h",
    "policy": {"gross_range": "stop", "spike": "quarantine"},
}


def checks(**rule: Any) -> Checks:
    settings = QualitySettings.model_validate({"parameters": {"pm25": {"suspect": None} | rule}})
    return Checks(rule_of(settings, SourceQuality()))


WIDE = checks(range=[-1000, 1000], spike=None, flat_line=None)
TIGHT = checks(**RULE)


def uneven(seed: int, n: int) -> list[tuple[float, float | None]]:
    """Hours and values with all that checks look for: steps, spikes, stillness, gaps, no values."""
    draw = np.random.default_rng(seed)
    hours = np.cumsum(np.where(draw.random(n) < 0.05, draw.integers(2, 30, n), 1))
    values = np.round(np.cumsum(draw.normal(0, 2, n)), 1)
    values[draw.random(n) < 0.05] += 30
    still = int(draw.integers(0, n))
    values[still : still + 14] = values[still]
    absent = draw.random(n) < 0.05
    return [(float(h), None if a else float(v)) for h, v, a in zip(hours, values, absent, strict=True)]


def stored(store: AnyStore) -> Readings:
    return Readings.concat(list(store.scan([one.id for one in store.series("src")], ALWAYS)))


def flags(readings: Readings) -> list[tuple[int, int]]:
    return list(zip(readings.flag.tolist(), readings.tests.tolist(), strict=True))


def expected(readings: Readings, check: Checks) -> list[tuple[int, int]]:
    """Of one series' readings together, in one go."""
    lone = Readings.of(np.zeros(len(readings)), readings.time, readings.value, readings.tests)
    return list(zip(*(x.tolist() for x in check([ONE], lone, np.zeros(len(lone), bool))), strict=True))


@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(1, 199), max_size=30))
@settings(max_examples=40)
def test_chunks_do_not_matter(seed: int, cuts: list[int]) -> None:
    """Each reading comes out once, in order, with the flags it has with all of its series."""
    whole = columns([ONE], [(ONE, hour, value) for hour, value in uneven(seed, 200)])
    chunks = [whole.take(np.arange(a, b)) for a, b in pairwise(sorted({0, 200, *cuts}))]
    found = list(judged(TIGHT, ONE, chunks, TIGHT.reach(ONE)))
    assert np.concatenate([readings.time for readings, _, _ in found]).tolist() == whole.time.tolist()
    got = [pair for _, flag, tests in found for pair in zip(flag.tolist(), tests.tolist(), strict=True)]
    assert got == expected(whole, TIGHT)


def test_flags_become_those_of_the_new_thresholds(store: AnyStore) -> None:
    """Values, revisions and runs stay; what the source itself and near stations say stays; the
    counts say what changed; done again nothing changes."""
    loading = Loading(store)
    rows = uneven(11, 400)
    loading.commit([(ONE, hour, value) for hour, value in rows], check=WIDE)
    before = stored(store)
    marked = before.tests | np.where(np.arange(400) % 50 == 7, int(KEPT), 0).astype(np.uint32)
    store.put_flags(loading.lease, store.series("src")[0].id, before.time, before.flag, marked)
    before = stored(store)

    dry, ended = recheck(store, store, None, TIGHT, store.series("src"), ALWAYS)
    assert ended
    assert flags(stored(store)) == flags(before), "without the lease nothing is written"
    changes, _ = recheck(store, store, loading.lease, TIGHT, store.series("src"), ALWAYS)
    assert changes == dry
    after = stored(store)
    assert flags(after) == expected(before, TIGHT)
    assert np.array_equal(after.value, before.value, equal_nan=True)
    assert np.array_equal(after.time, before.time)
    assert np.all(after.tests[7::50] & np.uint32(KEPT) == np.uint32(KEPT))
    differs = [a != b for a, b in zip(flags(before), flags(after), strict=True)]
    assert (changes.checked, changes.changed) == (400, sum(differs))
    pairs = list(zip(before.flag.tolist(), after.flag.tolist(), strict=True))
    assert changes.flags[Flag.GOOD, Flag.FAIL] == pairs.count((1, 4)) > 0
    assert changes.begun["spike"] == np.count_nonzero(after.tests & Check.SPIKE)
    assert not changes.ended
    (pending,) = store.pending("src")
    assert pending.window.end >= after.time[differs][-1]

    again, _ = recheck(store, store, loading.lease, TIGHT, store.series("src"), ALWAYS)
    assert (again.checked, again.changed) == (400, 0)
    back, _ = recheck(store, store, loading.lease, WIDE, store.series("src"), ALWAYS)
    assert back.ended["spike"] == changes.begun["spike"]
    assert flags(stored(store)) == expected(before, WIDE)


def test_a_window_is_flagged_with_what_lies_around_it(store: AnyStore) -> None:
    """Readings outside of it keep their flags, and those in it have them with their neighbours."""
    loading = Loading(store)
    loading.commit([(ONE, hour, value) for hour, value in uneven(12, 300)], check=WIDE)
    before = stored(store)
    window = Window(int(before.time[100]), int(before.time[160]))
    changes, _ = recheck(store, store, loading.lease, TIGHT, store.series("src"), window)
    assert changes.checked == 60
    wanted = flags(before)[:101] + expected(before, TIGHT)[101:161] + flags(before)[161:]
    assert flags(stored(store)) == wanted


def test_what_lies_around_a_reading_is_in_its_reach(store: AnyStore) -> None:
    """From before it and after it enough is read to give it its flag, however far away, and no
    more than there is."""
    loading = Loading(store)
    loading.commit([(ONE, hour, value) for hour, value in uneven(13, 200)], check=WIDE)
    (one,) = store.series("src")
    whole, reach = stored(store), TIGHT.reach(ONE)
    wanted = expected(whole, TIGHT)
    for row in (0, 1, 50, 117, 198, 199):
        time = int(whole.time[row])
        around = Window(begin(store, one, time, reach), end(store, one, time, reach))
        near = Readings.concat(list(store.scan([one.id], around)))
        assert expected(near, TIGHT)[near.time.tolist().index(time)] == wanted[row]
        assert len(near) < 120


def test_interrupted_it_is_given_again(store: AnyStore) -> None:
    """Stopped after its first transaction it says so; what is done stays, and the rest follows."""
    loading = Loading(store)
    other = series("s2", cadence_s=3600.0)
    rows = uneven(14, 120)
    loading.commit([(s, hour, value) for s in (ONE, other) for hour, value in rows], check=WIDE)
    every, _ = recheck(store, store, None, TIGHT, store.series("src"), ALWAYS)
    part, ended = recheck(store, store, loading.lease, TIGHT, store.series("src"), ALWAYS, lambda: True)
    assert not ended
    assert 0 < part.checked < 240
    rest, ended = recheck(store, store, loading.lease, TIGHT, store.series("src"), ALWAYS)
    assert ended
    assert rest.checked == 240
    assert part.changed > 0
    assert part.changed + rest.changed == every.changed
    for one in store.series("src"):
        found = Readings.concat(list(store.scan([one.id], ALWAYS)))
        assert flags(found) == expected(found, TIGHT)


def test_a_series_without_readings_is_passed_over(store: AnyStore) -> None:
    """What was only listed, or lies outside of the window, changes nothing."""
    loading = Loading(store)
    loading.commit([(ONE, 1, 1.0)], listed=[series("s2")], check=WIDE)
    for window in (span(2, 9), span(-9, 0)):
        assert recheck(store, store, loading.lease, TIGHT, store.series("src"), window) == (Changes(), True)
    assert at(1) in stored(store).time
