"""What a commit finds around its readings in PostgreSQL, and the flags that it changes there."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor

from loader.context import ROWS, Stretch
from loader.errors import StoreUnavailable
from loader.readings import DAY, HOUR, Bool, Progress, Reach, Readings, Series, UInt8, UInt32, Window
from loader.records import Batch, Counts
from loader.stores.postgres import PostgresStore
from loader.stores.postgres.rows import Known
from loader.stores.postgres.session import SQL
from loader.stores.postgres.surroundings import NEAR, Surroundings, reflag
from tests import postgres
from tests.checks import Checks, good

ZERO = 1_706_659_200_000_000
"""2024-01-31T00:00:00Z."""

SERIES = tuple(Series(f"s{i}", "pm25", "ug/m3", "st1", f"p{i}") for i in range(3))
EVER = Window(-(2**62), 2**62)


def batch(run: int, seq: int, rows: dict[tuple[int, int], float]) -> Batch:
    """Readings by (series index, time)."""
    keys = sorted(rows)
    return Batch(
        run_id=run,
        seq=seq,
        source="src",
        read_at=ZERO,
        series=SERIES,
        readings=Readings.of([k[0] for k in keys], [k[1] for k in keys], [rows[k] for k in keys]),
        places=(),
        rejects=(),
        progress=(),
        counts=Counts(fetched=len(keys)),
    )


@pytest.fixture
def cursor(url: str) -> Iterator[Cursor]:
    """A transaction of its own, as the store's are set up."""
    connection = psycopg2.connect(url)
    with connection.cursor() as made:
        made.execute("SET TimeZone = 'UTC'")
        yield made
    connection.close()


def known(store: PostgresStore, exact: bool = True) -> list[Known]:
    found = {s.series.key: s for s in store.series("src")}
    made = []
    for one in SERIES:
        of = found[one.key]
        extent = None
        if of.first_time is not None and of.last_time is not None:
            extent = Window(of.first_time - 1, of.last_time) if exact else EVER
        made.append(Known(of.id, one.partition, extent))
    return made


def expected(times: list[int], one: Stretch) -> tuple[int, tuple[int, int], set[int]]:
    """Count, edges and times of what is to be found."""
    before = [t for t in times if t < one.first][-one.rows :]
    after = [t for t in times if t > one.last][: one.rows]
    inside = [t for t in times if one.first <= t <= one.last]
    edges = (before[0] if before else one.first, after[-1] if after else one.last)
    return len(inside), edges, {*before, *inside, *after}


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_around_is_found_however_far_away(
    store: PostgresStore, cursor: Cursor, exact: bool
) -> None:
    """Random stretches of readings hours and years apart, whether or not their extents are known."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 - shown when it fails
    draw = random.Random(seed)
    times: list[list[int]] = []
    for i in range(2):
        starts = [ZERO + draw.randrange(-60, 60) * 31 * DAY for _ in range(6)]
        times.append(sorted({s + draw.randrange(40) * HOUR for s in starts for _ in range(5)}))
        assert times[i][-1] - times[i][0] > NEAR
    times.append([])
    rows = {(i, t): float(k) for i in range(3) for k, t in enumerate(times[i])}
    lease = store.acquire("src")
    store.commit(lease, batch(store.begin_run(lease, "test", ZERO), 0, rows), good)
    stretches = []
    for _ in range(40):
        first = draw.choice([*times[0], *times[1]]) + draw.choice([-HOUR, 0, 1, HOUR, 50 * DAY])
        last = first + draw.choice([0, HOUR, DAY, 400 * DAY])
        stretches.append(Stretch(draw.randrange(3), first, last, draw.randrange(1, 9)))
    around = Surroundings(cursor, known(store, exact))
    counts, edges = around.count(stretches), around.edges(stretches)
    for one, count, edge in zip(stretches, counts, edges, strict=True):
        found = around.readings([one])
        assert (count, edge, set(found.time.tolist())) == expected(times[one.series], one)
        assert set(found.series.tolist()) <= {one.series}
        assert all(found.value[at] == rows[one.series, t] for at, t in enumerate(found.time.tolist()))
    together = around.readings(stretches)
    assert set(zip(together.series.tolist(), together.time.tolist(), strict=True)) == {
        (one.series, t) for one in stretches for t in expected(times[one.series], one)[2]
    }


def test_no_more_are_counted_than_count(store: PostgresStore, url: str, cursor: Cursor) -> None:
    """A stretch with more readings than are looked at together says just that."""
    lease = store.acquire("src")
    store.commit(lease, batch(store.begin_run(lease, "test", ZERO), 0, {(0, ZERO): 1.0}), good)
    postgres.execute(
        url,
        "INSERT INTO reading SELECT series_id, time + n * interval '1 microsecond', 1, 1, 0, 1"
        f" FROM reading, generate_series(1, {ROWS + 5}) n",
    )
    around = Surroundings(cursor, known(store, exact=False))
    few, many = Stretch(0, ZERO, ZERO + 6, 1), Stretch(0, ZERO - DAY, ZERO + DAY, 1)
    assert around.count([few, many]) == [7, ROWS]


def test_flags_and_bits_come_and_go_whole(store: PostgresStore, cursor: Cursor) -> None:
    """NaN, the highest bit, the first and the last year that can be said; nothing else changes."""
    first, last = -62_135_596_800_000_000 + 1, 253_402_300_799_999_999
    rows = {(0, first): 1.5, (0, ZERO): float("nan"), (0, last): -7.25}
    lease = store.acquire("src")
    store.commit(lease, batch(store.begin_run(lease, "test", ZERO), 0, rows), good)
    ids = np.array([k.id for k in known(store)], np.int32)
    other = Readings.of([0, 0], [first, last], [0, 0], [2**31, 2**31 + 1], [4, 3])
    assert len(reflag(cursor, other, ids)) == 2
    assert reflag(cursor, other, ids) == []
    found = Surroundings(cursor, known(store)).readings([Stretch(0, ZERO, ZERO, 5)])
    found = found.take(np.argsort(found.time))
    assert found.time.tolist() == [first, ZERO, last]
    assert found.flag.tolist() == [4, 9, 3]
    assert found.tests.tolist() == [2**31, 0, 2**31 + 1]
    np.testing.assert_array_equal(found.value, [1.5, np.nan, -7.25])


def test_only_the_months_in_question_are_opened(store: PostgresStore, cursor: Cursor) -> None:
    """Two look-ups around one reading, in ten years of months; of February 2024 there is none."""
    lease = store.acquire("src")
    rows = {(0, ZERO + month * 31 * DAY): 1.0 for month in range(-60, 60)}
    store.commit(lease, batch(store.begin_run(lease, "test", ZERO), 0, rows), good)
    moment = Stretch(0, ZERO, ZERO, 1)
    around = Surroundings(cursor, known(store))
    index, first, last, many = (np.array([n]) for n in (0, moment.first, moment.last, moment.rows))
    asked = around._asked(np.array([0]), index, first, last, many, many)
    near = asked.parameters(ZERO - NEAR, ZERO + NEAR)
    copied = cursor.mogrify(SQL["copy_around"], near).decode()
    counted = cursor.mogrify(SQL["count_between"], {**asked.parameters(ZERO, ZERO), "limit": ROWS}).decode()
    opened = []
    for statement in (copied[copied.index("(") + 1 : copied.rindex(") TO STDOUT")], counted):
        cursor.execute(f"EXPLAIN {statement}")
        opened.append(sorted(set(re.findall(r" on (reading_\d{4}_\d\d)", str(cursor.fetchall())))))
    assert opened == [
        ["reading_2023_12", "reading_2024_01", "reading_2024_03"],
        ["reading_2024_01"],
    ]


def rolling(series: Sequence[Series], readings: Readings, written: Bool) -> tuple[UInt8, UInt32]:
    """A flag made of the reading before: suspect where that one is greater."""
    del series, written
    before = np.concatenate([readings.value[:1], readings.value[:-1]])
    same = np.concatenate([[False], readings.series[1:] == readings.series[:-1]])
    flag = np.where(same & (before > readings.value), 3, 1).astype(np.uint8)
    return flag, np.zeros(len(readings), np.uint32)


def flags(store: PostgresStore) -> dict[int, int]:
    """Hour -> flag of everything stored."""
    found = Readings.concat(list(store.scan([s.id for s in store.series("src")], EVER)))
    return {(t - ZERO) // HOUR: f for t, f in zip(found.time.tolist(), found.flag.tolist(), strict=True)}


def insert(url: str, hour: int, value: float) -> None:
    """A reading written by somebody who knows nothing of leases, nor of flags."""
    moment = f"to_timestamp({ZERO // 10**6 + hour * 3600})"
    postgres.execute(
        url, f"INSERT INTO reading SELECT id, {moment}, {value}, 1, 0, 1 FROM series WHERE sensor = 's0'"
    )


def test_a_rival_is_looked_at_when_flags_are_made_again(url: str, store: PostgresStore) -> None:
    """A reading that appears beside the batch, which collides with another one, is context."""
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", ZERO)
    store.commit(lease, batch(run, 0, {}), good)
    asked: list[list[float]] = []

    def judge(series: Sequence[Series], readings: Readings, written: Bool) -> tuple[UInt8, UInt32]:
        if not asked:
            insert(url, 5, 9.0)
            insert(url, 6, 6.0)
        asked.append(readings.value.tolist())
        return rolling(series, readings, written)

    rows = {(0, ZERO + 6 * HOUR): 6.0, (0, ZERO + 7 * HOUR): 7.0}
    counts = store.commit(lease, batch(run, 1, rows), Checks(judge, Reach(rows=1))).counts
    assert (counts.new, counts.refetched) == (1, 1)
    assert asked == [[6.0, 7.0], [9.0, 6.0, 7.0]]
    assert flags(store) == {5: 1, 6: 3, 7: 1}
    late = {(0, ZERO + 4 * HOUR): 10.0}
    store.commit(lease, batch(run, 2, late), Checks(rolling, Reach(rows=1)))
    assert flags(store) == {4: 1, 5: 3, 6: 3, 7: 1}


def test_a_neighbour_that_vanishes_has_everything_done_again(url: str, store: PostgresStore) -> None:
    """A stored reading that is deleted before its flag is changed is no context any more; one that
    goes on vanishing is an error, with nothing written."""
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", ZERO)
    store.commit(lease, batch(run, 0, {(0, ZERO + h * HOUR): float(h) for h in (2, 3, 4, 5)}), good)
    gone: list[int] = []

    def judge(series: Sequence[Series], readings: Readings, written: Bool) -> tuple[UInt8, UInt32]:
        if len(gone) < limit:
            gone.append(2 + len(gone))
            moment = f"to_timestamp({ZERO // 10**6 + gone[-1] * 3600})"
            postgres.execute(url, f"DELETE FROM reading WHERE time = {moment}")
        return rolling(series, readings, written)

    checks = Checks(judge, Reach(rows=1))
    limit = 3
    with pytest.raises(StoreUnavailable, match="without the lease"):
        store.commit(lease, batch(run, 1, {(0, ZERO + HOUR): 9.0}), checks)
    assert flags(store) == {5: 1}
    limit = 4
    store.commit(lease, batch(run, 1, {(0, ZERO + HOUR): 9.0}), checks)
    assert flags(store) == {1: 1}
    assert gone == [2, 3, 4, 5]


def test_late_and_repeated_readings_count_for_their_days(url: str, store: PostgresStore) -> None:
    """A reading at midnight for the day before; over several commits, by series."""
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", ZERO)
    covered = (Progress("p0", cover=(Window(ZERO - 3 * DAY, ZERO),)),)
    for seq, shift in enumerate((0, HOUR)):
        times = (ZERO - DAY - shift, ZERO - DAY + 1 + shift, ZERO - shift, ZERO + HOUR + shift)
        made = batch(run, seq, {(i, t): 1.0 for i in (0, 1) for t in times})
        again = made.readings.take(np.array([0, 0, 2, 7]))
        store.commit(lease, replace(made, progress=covered, repeated=again), good)
    days = postgres.rows(
        url,
        "SELECT sensor, to_char(day AT TIME ZONE 'UTC', 'MM-DD'), late, duplicate FROM quality"
        " JOIN series ON series.id = series_id ORDER BY 1, 2",
    )
    assert days == [("s0", "01-29", 1, 4), ("s0", "01-30", 2, 2), ("s1", "01-31", 0, 2)]
