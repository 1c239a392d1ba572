"""Months of PostgreSQL's `reading` that go whole: when, when not, and what others do meanwhile."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import psycopg2

from loader.contracts import Lease
from loader.journal import Cutoffs
from loader.readings import DAY, Progress, Readings, Series, Window
from loader.records import Batch, Counts
from loader.stores.postgres import PostgresStore
from tests import postgres
from tests.checks import good


def day(month: int, number: int = 1) -> int:
    """That day of 2024, 00:00 UTC."""
    return round(datetime(2024, month, number, tzinfo=UTC).timestamp()) * 1_000_000


@dataclass
class Loading:
    """One source of one series, loaded batch after batch."""

    store: PostgresStore
    source: str = "src"
    lease: Lease = field(init=False)
    run: int = field(init=False)
    seq: int = 0

    def __post_init__(self) -> None:
        self.lease = self.store.acquire(self.source)
        self.run = self.store.begin_run(self.lease, "test", day(1))

    def commit(self, times: Sequence[int]) -> Counts:
        listed = sorted(times)
        window = Window(day(1) - DAY, listed[-1])
        self.seq += 1
        made = Batch(
            run_id=self.run,
            seq=self.seq,
            source=self.source,
            read_at=day(12),
            series=(Series("s1", "pm25", "ug/m3", "st1", "p1"),),
            readings=Readings.of(np.zeros(len(listed)), listed, np.ones(len(listed))),
            places=(),
            rejects=(),
            progress=(Progress("p1", cover=(window,), ended=True),),
            counts=Counts(fetched=len(listed)),
        )
        return self.store.commit(self.lease, made, good).counts

    def prune(self, cutoff: int) -> int:
        return self.store.prune(self.lease, Cutoffs(readings=cutoff))["reading"]

    def times(self) -> list[int]:
        """Of what is stored."""
        ids = [s.id for s in self.store.series(self.source)]
        chunks = self.store.scan(ids, Window(-(2**62), 2**62))
        return [time for chunk in chunks for time in chunk.time.tolist()]

    def first_time(self) -> int | None:
        return self.store.series(self.source)[0].first_time


def months(url: str) -> list[int]:
    """The months that have a table."""
    named = postgres.rows(
        url, "SELECT relname FROM pg_class WHERE relname ~ '^reading_2024_..$' ORDER BY 1"
    )
    return [int(str(name)[-2:]) for (name,) in named]


def test_a_month_goes_when_all_of_it_has_expired(url: str, store: PostgresStore) -> None:
    """At its very last microsecond, not before; the reading at midnight belongs to the next one."""
    loading = Loading(store)
    loading.commit([day(1, 5), day(2) - 1, day(2), day(3, 9)])
    assert loading.prune(day(2) - 2) == 1
    assert months(url) == [1, 2, 3]
    assert loading.prune(day(2) - 1) == 1
    assert months(url) == [2, 3]
    assert loading.times() == [day(2), day(3, 9)]
    assert loading.first_time() == day(2)
    assert loading.prune(day(3)) == 1
    assert months(url) == [3]


def test_a_month_stays_for_another_source(url: str, store: PostgresStore) -> None:
    """Until that one's readings have expired, too; then it goes by whoever prunes."""
    one, other = Loading(store), Loading(store, "other")
    for loading in (one, other):
        loading.commit([day(1, 5), day(2, 5), day(3, 5)])
    assert one.prune(day(3)) == 2
    assert months(url) == [1, 2, 3]
    assert other.times() == [day(1, 5), day(2, 5), day(3, 5)]
    assert other.prune(day(2)) == 1
    assert months(url) == [2, 3]
    # As if the other one had been killed after it had said what is to go.
    postgres.execute(url, "UPDATE partition SET expired_to = '2024-03-01Z'")
    assert one.prune(day(3)) == 0
    assert months(url) == [3]
    assert other.first_time() == day(3, 5)
    assert other.prune(day(3)) == 0


def test_readings_of_nobody_are_kept(url: str, store: PostgresStore) -> None:
    """Rows whose series is not known have no retention that could have outdated them."""
    loading = Loading(store)
    loading.commit([day(1, 5), day(2, 5)])
    postgres.execute(url, "INSERT INTO reading VALUES (999, '2024-01-06Z', 1, 1, 0, 1)")
    assert loading.prune(day(2)) == 1
    assert months(url) == [1, 2]
    assert postgres.rows(url, "SELECT series_id FROM reading ORDER BY 1") == [(1,), (999,)]


def test_a_dropped_month_is_made_again(url: str, store: PostgresStore) -> None:
    """When a source without retention brings old readings: for the store that dropped it, and for
    one that had seen it before."""
    beside = PostgresStore(url)
    one, other = Loading(store), Loading(beside, "other")
    one.commit([day(1, 5), day(2, 5)])
    other.commit([day(2, 5)])
    third = Loading(store, "third")
    for old in (third, other):
        postgres.execute(url, "DELETE FROM reading WHERE time < '2024-02-01Z'")
        one.prune(day(2))
        assert months(url) == [2]
        assert old.commit([day(1, 9)]).new == 1
        assert months(url) == [1, 2]
        assert old.times()[0] == day(1, 9)
    beside.close()


def test_expired_readings_make_no_month(url: str, store: PostgresStore) -> None:
    """A source that sends them again and again does not bring the empty table back."""
    loading = Loading(store)
    loading.commit([day(1, 5), day(3, 5)])
    loading.prune(day(2))
    for _ in range(2):
        assert loading.commit([day(1, 5), day(2, 5), day(3, 5)]).expired == 1
        assert months(url) == [2, 3]
    assert loading.commit([day(1, 5)]) == Counts(fetched=1, expired=1)
    assert months(url) == [2, 3]


def test_who_reads_for_long_is_not_waited_for(url: str, store: PostgresStore) -> None:
    """The rows go one by one then; the empty table goes when the reader has gone."""
    loading = Loading(store)
    loading.commit([day(1, 5), day(1, 6), day(2, 5), day(3, 5)])
    reader = psycopg2.connect(url)
    try:
        with reader.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM readings")
            assert loading.prune(day(3)) == 3
            assert months(url) == [1, 2, 3]
            assert loading.times() == [day(3, 5)]
            assert loading.first_time() == day(3, 5)
    finally:
        reader.close()
    assert loading.prune(day(3)) == 0
    assert months(url) == [3]


def test_what_hangs_on_a_month_keeps_its_table(url: str, store: PostgresStore) -> None:
    """Somebody's view of it is left alone; its rows go all the same."""
    loading = Loading(store)
    loading.commit([day(1, 5), day(2, 5)])
    postgres.execute(url, "CREATE VIEW january AS SELECT * FROM reading_2024_01")
    assert loading.prune(day(2)) == 1
    assert months(url) == [1, 2]
    assert postgres.rows(url, "SELECT count(*) FROM january") == [(0,)]


def test_only_months_of_this_schema_go(url: str, store: PostgresStore) -> None:
    """Two stores in one database have the same names; each drops its own."""
    postgres.execute(url, "CREATE SCHEMA other")
    beside = PostgresStore(f"{url}?options=-csearch_path%3Dother")
    beside.migrate()
    loadings = [Loading(store), Loading(beside)]
    for loading in loadings:
        loading.commit([day(1, 5), day(2, 5)])
    assert loadings[1].prune(day(2)) == 1
    found = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'reading_2024_01'"
    assert postgres.rows(url, found) == [("public",)]
    assert len(loadings[0].times()) == 2
    beside.close()


HYPERTABLE = """
-- What the extension has of its own: a view of the chunks, and a function that drops them. Here
-- the chunks are the months, and the parent is an ordinary table.
CREATE SCHEMA timescaledb_information;
ALTER TABLE reading DETACH PARTITION reading_2024_01;
ALTER TABLE reading DETACH PARTITION reading_2024_02;
ALTER TABLE reading DETACH PARTITION reading_2024_03;
DROP VIEW readings, flagged;
DROP TABLE reading;
CREATE TABLE reading (LIKE reading_2024_01 INCLUDING ALL);
ALTER TABLE reading_2024_01 INHERIT reading;
ALTER TABLE reading_2024_02 INHERIT reading;
ALTER TABLE reading_2024_03 INHERIT reading;
CREATE VIEW timescaledb_information.chunks AS
SELECT 'public'::name AS hypertable_schema, 'reading'::name AS hypertable_name,
       'public'::name AS chunk_schema, relname AS chunk_name,
       to_timestamp(right(relname, 7), 'YYYY_MM') AS range_start,
       to_timestamp(right(relname, 7), 'YYYY_MM') + interval '1 month' AS range_end
FROM pg_class WHERE relname ~ '^reading_2024_..$';
CREATE FUNCTION drop_chunks(relation regclass, older_than timestamptz, newer_than timestamptz)
RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE chunk name;
BEGIN
    FOR chunk IN SELECT chunk_name FROM timescaledb_information.chunks
                 WHERE range_end <= older_than AND range_start >= newer_than LOOP
        EXECUTE format('DROP TABLE %I', chunk);
        RETURN NEXT chunk;
    END LOOP;
END $$;
"""


def test_chunks_go_as_months_do(url: str, store: PostgresStore) -> None:
    """Where the table is not partitioned by the loader, each chunk goes by itself, for good reason only."""
    one, other = Loading(store), Loading(store, "other")
    one.commit([day(1, 5), day(2, 5), day(3, 5)])
    other.commit([day(1, 6)])
    postgres.execute(url, f"SET TimeZone = 'UTC'; {HYPERTABLE}")
    assert one.prune(day(3)) == 2
    assert months(url) == [1, 3]
    assert (one.times(), other.times()) == ([day(3, 5)], [day(1, 6)])
    assert other.prune(day(2)) == 1
    assert months(url) == [3]


@dataclass
class Busy:
    """A source that is loaded and pruned in turn, and what should be stored of it."""

    loading: Loading
    draw: random.Random
    kept: set[int] = field(default_factory=set)
    cutoff: int = field(default_factory=lambda: day(1))
    failed: BaseException | None = None

    def work(self, rounds: int) -> None:
        try:
            for _ in range(rounds):
                self.step()
        except BaseException as error:
            self.failed = error

    def step(self) -> None:
        draw = self.draw
        if draw.random() < 0.35:
            self.cutoff += draw.randrange(20) * DAY
            gone = {time for time in self.kept if time <= self.cutoff}
            self.loading.prune(self.cutoff)
            self.kept -= gone
        else:
            size = draw.choice([3, 40, 2_000])
            start = day(1) + draw.randrange(330) * DAY
            times = {
                start + draw.randrange(25) * DAY + draw.randrange(86_400) * 1_000_000 for _ in range(size)
            }
            counts = self.loading.commit(sorted(times))
            fresh = {time for time in times if time > self.cutoff}
            assert counts.new == len(fresh - self.kept)
            self.kept |= fresh


def test_sources_prune_and_commit_at_once(url: str, store: PostgresStore) -> None:
    """Three sources in the same months, each with a store of its own: nobody is stuck, nothing that
    should stay is lost, nothing that has expired is there; somebody reads all the time."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown when it fails
    stores = [PostgresStore(url) for _ in range(3)]
    busy = [Busy(Loading(one, f"source{i}"), random.Random(f"{seed} {i}")) for i, one in enumerate(stores)]
    for one in busy:
        one.loading.commit([day(1, 2)])
        one.kept = {day(1, 2)}
    threads = [threading.Thread(target=one.work, args=(60,)) for one in busy]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        ids = [s.id for s in store.series(None)]
        for chunk in store.scan(ids, Window(day(1), day(12) + 60 * DAY)):
            assert np.all(chunk.value == 1.0)
    assert [one.failed for one in busy] == [None] * 3
    for one in busy:
        assert one.loading.times() == sorted(one.kept)
        assert one.loading.first_time() == min(one.kept, default=None)
    for one in busy:
        one.loading.prune(one.cutoff)
    oldest = min(one.cutoff for one in busy)
    assert all(day(month % 12 + 1) > oldest + 1 or month == 12 for month in months(url))
    for one in stores:
        one.close()
