"""From earlier versions of the PostgreSQL tables to the newest, with data in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from loader.contracts import DIED
from loader.errors import StoreError
from loader.findings import Assessment, Pending, QualityDay
from loader.journal import Cutoffs, RequestState
from loader.readings import HOUR, Bool, Reach, Readings, Series, UInt8, UInt32, Window
from loader.records import Batch, Counts, Outcome
from loader.stores.postgres import PostgresStore, schema
from tests import postgres
from tests.checks import Checks

ZERO = 1_706_659_200_000_000
"""2024-01-31T00:00:00Z."""

FILLED = """
INSERT INTO series (source, sensor, parameter, unit, station, partition, first_time, last_time)
VALUES ('src', 's1', 'pm25', 'ug/m3', 'st1', 'p1', '2024-01-31 01:00Z', '2024-01-31 03:00Z');
CREATE TABLE reading_2024_01 PARTITION OF reading
    FOR VALUES FROM ('2024-01-01 00:00Z') TO ('2024-02-01 00:00Z');
INSERT INTO reading (series_id, time, value, flag, tests, run_id)
SELECT 1, '2024-01-31 00:00Z'::timestamptz + h * interval '1 hour', h, 1, 0, 1 FROM generate_series(1, 3) h;
INSERT INTO partition (source, partition, station, watermark, discovered_at, listed_at)
VALUES ('src', 'p1', 'st1', '2024-01-31 03:00Z', '2024-01-31 00:00Z', '2024-01-31 00:00Z');
INSERT INTO coverage VALUES ('src', 'p1', '2024-01-31 00:00Z', '2024-01-31 03:00Z');
INSERT INTO run (source, trigger, started, finished, outcome, fetched, new, requests)
VALUES ('src', 'test', '2024-01-31 00:00Z', '2024-01-31 01:00Z', 'ok', 4, 3, 2);
INSERT INTO run (source, trigger, started) VALUES ('src', 'test', '2024-01-31 02:00Z');
INSERT INTO batch (run_id, seq, read_at, committed_at, fetched, new, requests)
VALUES (1, 0, '2024-01-31 00:30Z', '2024-01-31 00:30Z', 4, 3, 2),
       (2, 0, '2024-01-31 02:30Z', '2024-01-31 02:30Z', 5, 0, 1);
"""


SECOND = """
INSERT INTO limit_event VALUES (1, 'warning', 25, '2024-01-31 02:00Z', NULL, 30, 2);
INSERT INTO alert (source, rule, subject, phase, severity, count, since, updated)
VALUES ('src', 'freshness', 'st1', 'failing', 'warning', 1, '2024-01-31 00:00Z', '2024-01-31 00:00Z');
UPDATE run SET errors = 1, expired = 2;
UPDATE reading SET tests = 5, flag = 4 WHERE time = '2024-01-31 02:00Z';
"""


def version(url: str, number: int) -> None:
    """The tables as that version made them."""
    postgres.execute(
        url,
        "CREATE TABLE loader_version (number integer PRIMARY KEY, name text NOT NULL,"
        " applied_at timestamptz NOT NULL DEFAULT clock_timestamp())",
    )
    for step in schema.steps()[:number]:
        postgres.execute(
            url,
            f"{step.sql}; INSERT INTO loader_version (number, name) VALUES ({step.number}, '{step.name}')",
        )


def shape(url: str) -> list[tuple[object, ...]]:
    """Columns, constraints and indexes, without the months."""
    return [
        *postgres.rows(
            url,
            "SELECT table_name, column_name, data_type, is_nullable, column_default"
            " FROM information_schema.columns WHERE table_schema = 'public'"
            " AND table_name NOT LIKE 'reading_2%' ORDER BY table_name, column_name",
        ),
        *postgres.rows(
            url,
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace"
            " AND conrelid::regclass::text NOT LIKE 'reading_2%' ORDER BY 1, 2",
        ),
        *postgres.rows(
            url,
            "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
            " AND tablename NOT LIKE 'reading_2%' ORDER BY 1, 2",
        ),
    ]


@pytest.fixture
def url(bare: str) -> str:
    return bare


@pytest.fixture(params=[1, 2])
def migrated(request: pytest.FixtureRequest, url: str) -> Iterator[PostgresStore]:
    """From either of the versions before the newest, with data in it."""
    version(url, request.param)
    postgres.execute(url, FILLED)
    made = PostgresStore(url)
    made.migrate()
    yield made
    made.close()


def test_a_migrated_schema_is_a_fresh_one(
    server: postgres.Server, url: str, migrated: PostgresStore
) -> None:
    """The same columns, constraints and indexes, whichever way they came about."""
    fresh = server.create()
    try:
        made = PostgresStore(fresh)
        made.migrate()
        made.close()
        assert migrated.facts()["schema"] == str(schema.steps()[-1].number)
        assert shape(url) == shape(fresh)
        assert ("run", "expired", "bigint", "NO", "0") in shape(url)
    finally:
        server.drop(fresh)


def test_what_was_there_stays(migrated: PostgresStore) -> None:
    """Runs, readings and ledger read as before, the new counts are 0."""
    unfinished, ended = migrated.runs("src", 9)
    assert (ended.outcome, ended.counts) == (Outcome.OK, Counts(fetched=4, new=3, requests=2))
    assert (unfinished.finished, unfinished.counts) == (None, Counts())
    (state,) = migrated.partitions("src")
    assert state.coverage == (Window(ZERO, ZERO + 3 * HOUR),)
    assert (state.watermark, state.expired_to) == (ZERO + 3 * HOUR, None)
    (known,) = migrated.series("src")
    assert known.series == Series("s1", "pm25", "ug/m3", "st1", "p1")
    (chunk,) = migrated.scan([known.id], Window(ZERO, ZERO + 9 * HOUR))
    np.testing.assert_array_equal(chunk.value, [1.0, 2.0, 3.0])


def test_work_goes_on_where_the_first_version_left_it(migrated: PostgresStore) -> None:
    """Its open run is closed, its rows are pruned, and the new tables are in use."""
    lease = migrated.acquire("src")
    left = migrated.runs("src", 9)[0]
    assert (left.outcome, left.error) == (Outcome.INTERRUPTED, DIED)
    assert left.counts == Counts(fetched=5, requests=1)
    assert migrated.prune(lease, Cutoffs(readings=ZERO + 2 * HOUR))["reading"] == 2
    number = migrated.queue("src", "backfill", {}, "somebody", ZERO)
    assert [(r.id, r.state) for r in migrated.requests()] == [(number, RequestState.QUEUED)]


def test_a_foreign_table_in_the_way_leaves_the_first_version_whole(url: str) -> None:
    """Somebody else's `alert` table is named and kept, and nothing of the step is taken."""
    version(url, 1)
    postgres.execute(url, "CREATE TABLE alert (id integer)")
    before = shape(url)
    made = PostgresStore(url)
    with pytest.raises(StoreError, match=r"not the loader's \(alert\)"):
        made.migrate()
    made.close()
    assert shape(url) == before
    assert postgres.rows(url, "SELECT max(number) FROM loader_version") == [(1,)]


def test_the_second_version_finds_out_about_what_it_had(url: str) -> None:
    """Its events, alerts and counts stay; its readings are neighbours, assessed, and in the views."""
    version(url, 2)
    postgres.execute(url, FILLED + SECOND)
    store = PostgresStore(url)
    store.migrate()
    (event,) = store.limit_events("src", ZERO)
    assert (event.threshold, event.to_time, event.peak) == (25, None, 30)
    assert [a.rule for a in store.alerts()] == ["freshness"]
    assert [(r.counts.errors, r.counts.expired) for r in store.runs("src", 9)] == [(1, 2)] * 2
    assert postgres.rows(url, "SELECT run_id, completeness, uniqueness FROM quality_runs") == [
        (1, None, 1.0)
    ]
    assert postgres.rows(url, "SELECT objections FROM flagged") == [("upstream,gross_range",)]
    assert store.pending("src") == [Pending(1, Window(ZERO + HOUR - 1, ZERO + 3 * HOUR))]
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", ZERO)
    known = Series("s1", "pm25", "ug/m3", "st1", "p1")
    one = Readings.of([0], [ZERO + 4 * HOUR], [4.0])
    batch = Batch(run, 0, "src", ZERO + 5 * HOUR, (known,), one, (), (), (), Counts(fetched=1))

    def judge(series: Sequence[Series], readings: Readings, written: Bool) -> tuple[UInt8, UInt32]:
        del series, written
        return np.full(len(readings), 2, np.uint8), readings.tests

    assert store.commit(lease, batch, Checks(judge, Reach(rows=1))).counts.new == 1
    assert store.pending("src") == [Pending(1, Window(ZERO + HOUR - 1, ZERO + 4 * HOUR))]
    (chunk,) = store.scan([1], Window(ZERO, ZERO + 9 * HOUR))
    assert chunk.flag.tolist() == [1, 4, 2, 2]
    day = QualityDay(1, ZERO, due=4, observed=4, score=100.0)
    store.assess(lease, Assessment(1, store.pending("src")[0].window, days=(day,)))
    assert list(store.quality("src", ZERO, ZERO + 1)) == [day]
    assert store.pending("src") == []
    store.close()
