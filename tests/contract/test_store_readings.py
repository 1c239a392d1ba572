"""What a commit does to readings: new, refetched, revised, late, vanished; all or nothing."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from builders import Loading, at, partition, readings, series, span, values
from stores import AnyStore

from loader.readings import Bool, Check, Flag, Progress, Reach, Readings, Series, UInt8, UInt32, Window
from loader.records import Counts
from tests.checks import Checks, present

Query = Callable[[str], list[tuple[Any, ...]]]
S1, S2, S3 = series("s1"), series("s2"), series("s3")


@pytest.fixture
def loading(store: AnyStore) -> Loading:
    return Loading(store)


def test_new_readings_are_stored_as_they_came(loading: Loading) -> None:
    """Value, flag and test bits of every reading come back, and the counts say what happened."""

    def check(*_: object) -> tuple[UInt8, UInt32]:
        return np.array([1, 3, 4, 9], np.uint8), np.array([0, Check.UPSTREAM, 1 << 31, 0], np.uint32)

    counts = loading.commit(
        [(S1, 1, 1.25), (S1, 2, -999.0), (S2, 1, 1e300), (S2, 2, None)], check=Checks(check)
    )
    assert loading.readings() == {
        ("s1", "pm25", "ug/m3", 1): (1.25, 1, 0),
        ("s1", "pm25", "ug/m3", 2): (-999.0, 3, Check.UPSTREAM),
        ("s2", "pm25", "ug/m3", 1): (1e300, 4, 1 << 31),
        ("s2", "pm25", "ug/m3", 2): (None, 9, 0),
    }
    assert counts == Counts(fetched=4, new=4, suspect=1, failed=1, missing=1)


def test_times_keep_their_microseconds(loading: Loading) -> None:
    """A reading a microsecond before or after another is another reading, before 1970 too."""
    times = [-1, 0, 1, at(0) - 1, at(0), at(0) + 1]
    batch = loading.batch(listed=[S1])
    found = Readings.of([0] * 6, times, np.arange(6.0))
    loading.write(type(batch)(**{**_fields(batch), "readings": found}))
    number = loading.store.series("src")[0].id
    (chunk,) = loading.store.scan([number], Window(-10, at(1)))
    assert chunk.time.tolist() == times


def _fields(batch: Any) -> dict[str, Any]:
    return {name: getattr(batch, name) for name in type(batch).__dataclass_fields__}


def test_a_batch_is_committed_once(loading: Loading, query: Query) -> None:
    """A second call with the same run and number changes nothing and answers with the same counts."""
    batch = loading.batch([(S1, 1, 1.0), (S1, 2, 2.0)], Progress("p-s1", cover=(span(0, 2),), ended=True))
    first = loading.write(batch)
    again = loading.write(batch)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.counts == first.counts
    assert query("SELECT count(*) FROM batch") == [(1,)]


def test_the_number_decides_not_the_content(loading: Loading) -> None:
    """Another content under a number already committed is not written; under the next number it is."""
    loading.write(loading.batch([(S1, 1, 1.0)]))
    loading.seq = 0
    changed = loading.batch([(S1, 1, 7.0)])
    assert loading.write(changed).replayed
    assert values(loading.store) == {("s1", 1): 1.0}
    assert loading.commit([(S1, 1, 7.0)]).revised == 1


def test_the_same_number_in_another_run_is_another_batch(loading: Loading) -> None:
    """Batch numbers count within their run only."""
    loading.commit([(S1, 1, 1.0)])
    loading.finish()
    loading.begin()
    assert loading.commit([(S1, 2, 1.0)]).new == 1


def test_an_equal_reading_is_refetched(loading: Loading, query: Query) -> None:
    """What is stored and equal is not written again, keeps its run, and is not to be flagged."""
    loading.commit([(S1, 1, 1.0), (S1, 2, None)])
    seen: list[int] = []

    def check(listed: Sequence[Series], found: Readings, written: Bool) -> tuple[UInt8, UInt32]:
        seen.extend(found.time[written].tolist())
        return present(listed, found, written)

    first_run = loading.run
    loading.finish()
    loading.begin()
    counts = loading.commit([(S1, 1, 1.0), (S1, 2, None), (S1, 3, 3.0)], check=Checks(check))
    assert (counts.new, counts.refetched, counts.revised, counts.missing) == (1, 2, 0, 0)
    assert seen == [at(3)]
    assert query("SELECT run_id, count(*) FROM reading GROUP BY run_id ORDER BY run_id") == [
        (first_run, 2),
        (loading.run, 1),
    ]
    assert query("SELECT count(*) FROM revision") == [(0,)]


@pytest.mark.parametrize(
    ("old", "new"), [(1.0, 2.0), (None, 2.0), (1.0, None), (1.0, np.nextafter(1.0, 2.0)), (0.0, -999.0)]
)
def test_another_value_is_a_revision(
    loading: Loading, query: Query, old: float | None, new: float | None
) -> None:
    """The reading takes the new value and its flag, and the old one is kept with the revising run."""
    loading.commit([(S1, 1, old), (S1, 2, 5.0)])
    loading.finish()
    loading.begin()
    counts = loading.commit([(S1, 1, new), (S1, 2, 5.0)])
    assert (counts.new, counts.refetched, counts.revised) == (0, 1, 1)
    assert counts.missing == (1 if new is None else 0)
    flag = Flag.MISSING if new is None else Flag.GOOD
    assert loading.readings()["s1", "pm25", "ug/m3", 1] == (new, flag, 0)
    assert query("SELECT old_value, new_value, run_id FROM revision") == [(old, new, loading.run)]


def test_every_revision_is_kept(loading: Loading, query: Query) -> None:
    """A value that goes there and back, within one run even, leaves one row for each step."""
    for value in (1.0, 2.0, None, None, 1.0):
        loading.commit([(S1, 1, value)])
    assert sorted(query("SELECT old_value, new_value FROM revision"), key=str) == sorted(
        [(1.0, 2.0), (2.0, None), (None, 1.0)], key=str
    )


def test_nan_never_reaches_a_table(loading: Loading, query: Query) -> None:
    """What has no value is NULL in the tables, in readings and in revisions, on both sides."""
    loading.commit([(S1, 1, math.nan), (S1, 2, 2.0), (S1, 3, math.nan)])
    loading.commit([(S1, 1, 1.0), (S1, 2, math.nan), (S1, 3, math.nan)])
    assert query("SELECT count(*) FROM reading WHERE value IS NULL") == [(2,)]
    assert query("SELECT count(*) FROM revision WHERE old_value IS NULL") == [(1,)]
    assert query("SELECT count(*) FROM revision WHERE new_value IS NULL") == [(1,)]


def test_readings_of_many_series_and_partitions_go_in_one_batch(loading: Loading) -> None:
    """A partition may hold several series and a batch several partitions; sensor, parameter and
    unit tell series apart."""
    many = [
        series("s1", partition="p"),
        series("s1", parameter="no2", partition="p"),
        series("s1", unit="ppm", partition="p"),
        series("s2", partition="q"),
    ]
    counts = loading.commit([(s, hour, float(i)) for i, s in enumerate(many) for hour in (1, 2)])
    assert counts.new == 8
    assert {key[:3]: row[0] for key, row in loading.readings().items()} == {
        s.key: float(i) for i, s in enumerate(many)
    }
    assert [len(p.series) for p in loading.store.partitions("src")] == [3, 1]
    again = [*reversed(many), series("s3")]
    counts = loading.commit([(s, 2, 9.0) for s in again])
    assert (counts.revised, counts.new) == (4, 1)


def test_large_batches_and_odd_sizes(loading: Loading) -> None:
    """Any number of rows goes in, and comparing with them later finds every single one."""
    sizes = [1, 499, 500, 501, 1234]
    for i, n in enumerate(sizes):
        one = series(f"n{n}")
        rows = [(one, h / 60, float(h)) for h in range(n)]
        assert loading.commit(rows, Progress(one.partition, cover=(span(-1, 100),))).new == n
        changed = [(s, h, v + 1 if k == n // 2 else v) for k, (s, h, v) in enumerate(rows)]
        counts = loading.commit(changed)
        assert (counts.new, counts.refetched, counts.revised) == (0, n - 1, 1), i
    assert len(loading.readings()) == sum(sizes)


def test_scattered_readings_are_compared_too(loading: Loading) -> None:
    """A batch that touches single readings years apart knows each of them."""
    hours = [0, 1, 30, 5000, 5001, 90_000]
    loading.commit([(S1, h, 1.0) for h in range(200)])
    loading.commit([(S1, h, 1.0) for h in hours])
    counts = loading.commit([(S1, h, 2.0) for h in hours])
    assert (counts.new, counts.revised) == (0, len(hours))


def test_late_is_what_is_new_inside_covered_time(loading: Loading) -> None:
    """Late are new readings in (start, end] of what was covered before the batch, by partition."""
    assert loading.commit([(S1, 1, 1.0), (S1, 10, 1.0)], Progress("p-s1", cover=(span(0, 10),))).late == 0
    assert loading.commit([(S2, 5, 1.0)], Progress("p-s2", cover=(span(4, 6),))).late == 0
    counts = loading.commit(
        [
            (S1, 0, 1.0),
            (S1, 1, 1.0),
            (S1, 2, 1.0),
            (S1, 10.5, 1.0),
            (S1, 11, 1.0),
            (S2, 5.5, 1.0),
            (S2, 7, 1.0),
        ],
        Progress("p-s1", cover=(span(-1, 20),)),
    )
    assert (counts.new, counts.refetched, counts.late) == (6, 1, 2)
    assert loading.commit([(S1, 1, 2.0)]).late == 0, "a revised reading is not late"
    assert loading.commit([(S1, 15, 2.0)]).late == 1, "the last batch covered it"


def test_delays_of_late_readings_are_collected(loading: Loading) -> None:
    """Each late reading adds the time it took to its partition's histogram; other ones add nothing."""
    loading.commit([(S1, 1, 1.0)], Progress("p-s1", cover=(span(0, 10),)), read_at=11)
    assert sum(loading.state().delays) == 0
    loading.commit([(S1, 2, 1.0), (S1, 3, 1.0), (S1, 11, 1.0)], read_at=12)
    first = loading.state().delays
    loading.commit([(S1, 4, 1.0)], read_at=14)
    assert sum(first) == 2
    assert sum(loading.state().delays) == 3
    other = series("other", partition="p-s1")
    loading.commit([(other, 5, 1.0)], read_at=14)
    assert sum(loading.state().delays) == 4, "all series of the partition count together"


def test_vanished_are_stored_readings_not_served_any_more(loading: Loading) -> None:
    """Stored rows of the partition's series inside the windows read, without an answer; they stay."""
    twin = series("twin", partition="p-s1")
    loading.commit([(s, h, 1.0) for s in (S1, twin, S2) for h in (1, 2, 3, 4, 5)])
    before = loading.readings()
    counts = loading.commit([(S1, 2, 1.0), (S1, 4, 2.0)], Progress("p-s1", read=(span(1, 4),)))
    assert counts.vanished == 4, "hour 3 of s1; hours 2, 3 and 4 of the series that did not come"
    assert counts.new == 0
    assert len(loading.readings()) == len(before)
    nothing = loading.commit([], Progress("p-s1", read=(span(0, 1), span(4, 5))))
    assert nothing.vanished == 4
    assert loading.commit([(S1, 1, 1.0)]).vanished == 0, "nothing was read through"
    outside = loading.commit([(S1, 5, 1.0)], Progress("p-s1", read=(span(5, 9),), cover=(span(0, 9),)))
    assert outside.vanished == 0


def test_new_readings_do_not_hide_vanished_ones(loading: Loading) -> None:
    """A new reading in the window read does not stand in for one that is gone."""
    loading.commit([(S1, 1, 1.0), (S1, 2, 1.0)])
    counts = loading.commit([(S1, 1.5, 1.0), (S1, 2, 1.0)], Progress("p-s1", read=(span(0, 2),)))
    assert (counts.new, counts.refetched, counts.vanished) == (1, 1, 1)


def test_a_checker_that_fails_leaves_nothing_written(loading: Loading, query: Query) -> None:
    """Whatever the checker raises comes out as it is, nothing of the batch stays, and the same
    batch may be committed afterwards."""

    def fails(*_: object) -> tuple[UInt8, UInt32]:
        raise ZeroDivisionError("no")

    batch = loading.batch([(S1, 1, 1.0)], Progress("p-s1", cover=(span(0, 1),)), places=[(S1, 0, 1.0, 2.0)])
    with pytest.raises(ZeroDivisionError):
        loading.write(batch, Checks(fails))
    for table in ("reading", "series", "partition", "coverage", "place", "batch"):
        assert query(f"SELECT count(*) FROM {table}") == [(0,)], table
    # Another series takes what a careless cache would still hold for the first.
    assert loading.commit([(S2, 1, 2.0)]).new == 1
    assert not loading.write(batch).replayed
    assert values(loading.store) == {("s1", 1): 1.0, ("s2", 1): 2.0}


def test_the_checker_sees_what_will_be_written(loading: Loading) -> None:
    """New and revised readings are marked, with their values; they come sorted, each once, among
    the stored ones that are in their reach, with the series that they all index."""
    loading.commit([(S1, 1, 1.0), (S1, 2, 2.0), (S2, 1, 5.0), (S1, 9, 9.0), (S1, 10, None)])
    seen: list[tuple[str, int, float, bool]] = []

    def check(listed: Sequence[Series], found: Readings, written: Bool) -> tuple[UInt8, UInt32]:
        names = [listed[i].sensor for i in found.series.tolist()]
        seen.extend(zip(names, found.time.tolist(), found.value.tolist(), written.tolist(), strict=True))
        return present(listed, found, written)

    rows = [(S1, 2, 2.5), (S1, 3, 3.0), (S1, 1, 1.0), (S2, 0, 4.0), (S2, 1, 5.0), (S3, 1, 7.0)]
    loading.commit(rows, check=Checks(check, Reach(rows=1)))
    marked = [row[:3] for row in seen if row[3]]
    assert marked == [("s1", at(2), 2.5), ("s1", at(3), 3.0), ("s2", at(0), 4.0), ("s3", at(1), 7.0)]
    assert {row[:3] for row in seen if not row[3]} >= {
        ("s1", at(1), 1.0),
        ("s1", at(9), 9.0),
        ("s2", at(1), 5.0),
    }
    assert [row[:2] for row in seen] == sorted({row[:2] for row in seen})


def test_readers_see_nothing_of_a_commit_under_way_and_do_not_wait(loading: Loading) -> None:
    """While the transaction is open, from this thread and others, readers get what was before."""
    loading.commit([(S1, 1, 1.0)], Progress("p-s1", cover=(span(0, 1),), watermark=at(1)))
    seen: list[object] = []

    def look() -> None:
        seen.append(values(loading.store))
        seen.append(loading.state().watermark)

    def check(listed: Sequence[Series], found: Readings, written: Bool) -> tuple[UInt8, UInt32]:
        look()
        other = threading.Thread(target=look)
        other.start()
        other.join(60)
        assert not other.is_alive(), "a reader waits for the writer"
        return present(listed, found, written)

    loading.commit([(S1, 1, 2.0), (S1, 2, 2.0)], Progress("p-s1", watermark=at(2)), check=Checks(check))
    assert seen == [{("s1", 1): 1.0}, at(1)] * 2
    look()
    assert seen[-2:] == [{("s1", 1): 2.0, ("s1", 2): 2.0}, at(2)]


def test_a_series_knows_its_first_and_last_reading(loading: Loading) -> None:
    """The times stretch with new readings, whatever order they come in."""
    for hour in (5, 3, 9, 4):
        loading.commit([(S1, hour, 1.0)])
    loading.commit([], listed=[S2])
    found = {s.series.sensor: (s.first_time, s.last_time) for s in loading.store.series("src")}
    assert found == {"s1": (at(3), at(9)), "s2": (None, None)}


ODD = [
    "o'clock; DROP TABLE reading --",
    '"quoted" \\ %s {x} $1 ?',
    "naïve µg/m³ 東京 🜁",
    "a\tb\nc",
    "NULL",
    " pad ",
]


def test_odd_characters_are_kept(loading: Loading) -> None:
    """Names, units and causes come back letter by letter."""
    for n, text in enumerate(ODD):
        one = series(
            text, parameter=text, unit=text, station=text, partition=text, name=text, timezone=text
        )
        loading.store.register(loading.lease, [partition(one)], at(0))
        loading.commit([(one, n, 1.0)], Progress(text, ended=True, error=text))
    assert {s.series.sensor for s in loading.store.series("src")} == set(ODD)
    for state in loading.store.partitions("src"):
        (one,) = state.series
        assert {one.sensor, one.unit, one.name, one.timezone, state.station, state.last_error} == {
            state.name
        }
    assert len(loading.readings()) == len(ODD)


def test_messages_that_no_database_takes_are_made_fit(loading: Loading) -> None:
    """NUL and lone surrogates in an error's text, quoted from a server, do not stop a commit."""
    loading.commit([(S1, 1, 1.0)], Progress("p-s1", ended=True, error="bad \x00 byte \ud800 here"))
    assert loading.state().last_error == "bad \ufffd byte \ufffd here"


def test_scan_is_ordered_bounded_and_clipped(loading: Loading) -> None:
    """Chunks come by (series id, time), within (start, end], of the asked series, none of them large."""
    n = 60_000
    minute = 60_000_000
    for one in (S1, S2):
        batch = loading.batch(listed=[one])
        found = Readings.of([0] * n, at(0) + minute * np.arange(n), np.arange(n))
        loading.write(type(batch)(**{**_fields(batch), "readings": found}))
    ids = [s.id for s in loading.store.series("src")]
    chunks = list(loading.store.scan([ids[1], ids[0], ids[1]], Window(at(0), at(0) + minute * (n - 2))))
    assert max(len(c) for c in chunks) <= 100_000
    assert len(chunks) > 1
    whole = Readings.concat(chunks)
    assert len(whole) == 2 * (n - 2)
    order = np.lexsort((whole.time, whole.series))
    assert (order == np.arange(len(whole))).all()
    assert set(whole.series.tolist()) == set(ids)
    assert (int(whole.time.min()), int(whole.time.max())) == (at(0) + minute, at(0) + minute * (n - 2))
    (one,) = loading.store.scan(ids[:1], Window(at(0) - 1, at(0)))
    assert (one.series.tolist(), one.value.tolist()) == (ids[:1], [0.0])
    assert list(loading.store.scan([], Window(at(0), at(1)))) == []
    assert list(loading.store.scan([10**6], Window(at(0), at(1)))) == []


def test_a_scan_may_be_left_early(loading: Loading) -> None:
    """An unfinished scan stops nobody from writing, reading or closing."""
    loading.commit([(S1, h, 1.0) for h in range(10)])
    ids = [s.id for s in loading.store.series("src")]
    abandoned = loading.store.scan(ids, Window(at(-1), at(20)))
    assert len(next(iter(abandoned))) == 10
    assert loading.commit([(S1, 11, 1.0)]).new == 1
    assert len(readings(loading.store)) == 11


def test_the_view_is_for_people(loading: Loading, query: Query) -> None:
    """The view names things, hides values that are missing, and knows where a reading was taken."""
    loading.commit(
        [(S1, 1, 1.5), (S1, 2, None), (S1, 3, 3.5), (S2, 1, 7.0)],
        places=[(S1, 2, 27.7, 85.3), (S1, 3, 28.0, 85.0)],
    )

    def sentinel(_: object, found: Readings, __: object) -> tuple[UInt8, UInt32]:
        return np.full(len(found), Flag.MISSING, np.uint8), np.full(len(found), Check.SENTINEL, np.uint32)

    loading.commit([(S2, 2, -999.0)], check=Checks(sentinel))
    assert query(
        "SELECT source, station, sensor, parameter, unit, value, flag, latitude, longitude FROM readings"
        " ORDER BY sensor, time"
    ) == [
        ("src", "st1", "s1", "pm25", "ug/m3", 1.5, 1, None, None),
        ("src", "st1", "s1", "pm25", "ug/m3", None, 9, 27.7, 85.3),
        ("src", "st1", "s1", "pm25", "ug/m3", 3.5, 1, 28.0, 85.0),
        ("src", "st1", "s2", "pm25", "ug/m3", 7.0, 1, None, None),
        ("src", "st1", "s2", "pm25", "ug/m3", None, 9, None, None),
    ]
    assert query("SELECT value FROM reading WHERE flag = 9 AND value IS NOT NULL") == [(-999.0,)]
