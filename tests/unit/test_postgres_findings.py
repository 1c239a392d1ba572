"""What is found out about readings, as PostgreSQL's tables hold it and show it."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from loader.contracts import Lease
from loader.errors import StoreError, StoreUnavailable
from loader.findings import (
    Assessment,
    FoundAnomaly,
    FoundDrift,
    Model,
    Pending,
    QualityDay,
    Standing,
)
from loader.readings import DAY, HOUR, Partition, Readings, Series, Window
from loader.records import Batch, Counts, Outcome, RunReport
from loader.stores.postgres import PostgresStore
from loader.stores.postgres.findingreports import CHUNK
from tests import postgres
from tests.checks import Checks, good

ZERO = 1_706_659_200_000_000
"""2024-01-31T00:00:00Z."""

SERIES = Series("s1", "pm25", "ug/m3", "st1", "p1")
EVER = (-(2**62), 2**62)


@pytest.fixture
def lease(store: PostgresStore) -> Lease:
    """That of a source with one series, which has the id 1."""
    held = store.acquire("src")
    store.register(held, [Partition("p1", "st1", (SERIES,))], ZERO)
    return held


def commit(store: PostgresStore, lease: Lease, readings: Readings, check: Checks = good) -> int:
    """The id of the run."""
    run = store.begin_run(lease, "test", ZERO)
    counts = Counts(fetched=len(readings), due=10, observed=5, inconsistent=2, duplicate=1)
    store.commit(lease, Batch(run, 0, "src", ZERO, (SERIES,), readings, (), (), (), counts), check)
    return run


def test_figures_beyond_all_numbers_and_text_as_it_was_given(store: PostgresStore, lease: Lease) -> None:
    """Infinite shifts, JSON to the letter, any bytes; what no table takes is replaced in sentences."""
    told = '{"distance": "robust z",  "parts": [{"value": 1.50, "series_id": 1, "expected": null}]}'
    anomaly = FoundAnomaly(1, ZERO, "robust", "1", 7.5, told)
    drift = FoundDrift(1, ZERO, "season", 2**40, 9, 0.25, 1.5, math.inf, -math.inf, True)
    standing = Standing(1, "drift", True, -(2**62), ZERO, ZERO + 1, "a\x00b")
    model = Model("st1", "forest", "2", ZERO - DAY, ZERO, (3, 1, 2), bytes(range(256)))
    found = Assessment(1, anomalies=(anomaly,), drifts=(drift,), standings=(standing,))
    store.assess(lease, found)
    store.put_model(lease, model)
    assert list(store.anomalies("src", *EVER)) == [anomaly]
    assert store.drifts("src", ZERO - 1) == [drift]
    assert store.standings(None) == [Standing(1, "drift", True, -(2**62), ZERO, ZERO + 1, "a\ufffdb")]
    assert store.models("src") == [model]
    assert store.models("other") == []


def test_what_is_not_json_is_refused_whole(store: PostgresStore, lease: Lease) -> None:
    """An explanation that nobody could read leaves nothing of the assessment behind."""
    odd = FoundAnomaly(1, ZERO, "robust", "1", 7.5, '{"distance": Infinity}')
    with pytest.raises(StoreError, match="json"):
        store.assess(lease, Assessment(1, days=(QualityDay(1, ZERO, due=1),), anomalies=(odd,)))
    assert list(store.quality(None, *EVER)) == []


def test_long_answers_come_in_chunks(url: str, store: PostgresStore, lease: Lease) -> None:
    """Each row once and in order, where many share a time as well; nothing stays open meanwhile."""
    many = 2 * CHUNK + 7
    store.register(lease, [Partition("p2", "st1", (Series("s2", "pm25", "u", "st1", "p2"),))], ZERO)
    postgres.execute(
        url,
        "INSERT INTO quality (series_id, day, due)"
        " SELECT 1 + n % 2, '1970-01-01Z'::timestamptz + n * interval '1 day', n"
        f" FROM generate_series(1, {many}) n;"
        "INSERT INTO anomaly SELECT 1 + n % 2, '2024-01-31Z'::timestamptz + (n / 100) * interval '1 hour',"
        f" 'd' || n % 100, '1', n, '{{}}' FROM generate_series(1, {many}) n",
    )
    days = store.quality("src", *EVER)
    first = next(days)
    idle = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
    )
    assert postgres.rows(url, idle) == [(0,)]
    listed = [(day.series_id, day.day) for day in (first, *days)]
    assert len(listed) == many
    assert all(one < other for one, other in pairwise(listed))
    found = [(a.time, a.series_id, a.detector) for a in store.anomalies(None, *EVER)]
    assert len(found) == many
    assert all(one < other for one, other in pairwise(found))
    assert [d.day for d in store.quality("src", DAY, 3 * DAY)] == [2 * DAY, DAY]
    hours = {(a.time - ZERO) // HOUR for a in store.anomalies("src", ZERO, ZERO + 2 * HOUR)}
    assert hours == {1, 2}


def test_the_daily_view_has_shares(url: str, store: PostgresStore, lease: Lease) -> None:
    """By name and day, out of the counts; nothing is a share of nothing."""
    full = QualityDay(
        1,
        ZERO,
        due=24,
        observed=18,
        good=12,
        unevaluated=1,
        suspect=2,
        failed=1,
        missing=4,
        inconsistent=5,
        score=81.5,
    )
    store.assess(lease, Assessment(1, days=(full, QualityDay(1, ZERO + DAY))))
    postgres.execute(url, "UPDATE quality SET late = 10, duplicate = 5 WHERE due > 0")
    rows = postgres.rows(
        url,
        "SELECT source, station, sensor, parameter, unit, day::text, score, completeness, validity,"
        " timeliness, uniqueness, consistency, readings FROM quality_daily ORDER BY day",
    )
    named = ("src", "st1", "s1", "pm25", "ug/m3")
    assert rows == [
        (*named, "2024-01-31", 81.5, 0.75, 1 - 3 / 16, 0.5, 0.8, 0.75, 20),
        (*named, "2024-02-01", None, None, None, None, None, None, 0),
    ]


def test_the_view_of_runs_has_shares(url: str, store: PostgresStore, lease: Lease) -> None:
    """Of runs that have ended; one that fetched nothing has none."""
    readings = Readings.of([0] * 4, [ZERO + h * HOUR for h in range(4)], [1, 2, math.nan, 4])
    run = commit(store, lease, readings)
    store.finish_run(lease, RunReport(run, "src", "test", ZERO, ZERO, Outcome.OK, quality=50.0))
    store.record_skipped("src", "test", ZERO, Outcome.MISSED, "nobody was there")
    store.begin_run(lease, "test", ZERO + 1)
    rows = postgres.rows(url, "SELECT * FROM quality_runs ORDER BY run_id")
    assert [(row[0], *row[4:]) for row in rows] == [
        (1, 50.0, 0.5, 1.0, 1.0, 0.75, 0.5),
        (2, None, None, None, None, None, None),
    ]


def test_the_view_of_objections_names_them(url: str, store: PostgresStore, lease: Lease) -> None:
    """Readings with any bit set, the value as it is stored; the names are those of the checks."""
    from loader.quality.checks import check_names

    bits = [1 << i for i in range(12)]
    tests = np.array([0, *bits, 4095], np.uint32)

    def judge(*given: object) -> tuple[np.ndarray, np.ndarray]:
        del given
        return np.full(len(tests), 3, np.uint8), tests

    times = [ZERO + i * HOUR for i in range(len(tests))]
    commit(store, lease, Readings.of([0] * len(tests), times, [-999.0] * len(tests)), Checks(judge))
    rows = postgres.rows(url, "SELECT source, sensor, value, flag, objections FROM flagged ORDER BY time")
    expected = [",".join(check_names(int(one))) for one in tests[1:]]
    assert rows == [("src", "s1", -999.0, 3, names) for names in expected]


def test_a_series_of_another_source_is_left_alone(store: PostgresStore, lease: Lease) -> None:
    """Findings and flags under another source's lease, or for two series at once, are refused."""
    other = store.acquire("other")
    flags = (np.array([ZERO]), np.array([3], np.uint8), np.array([1], np.uint32))
    with pytest.raises(StoreError, match="series 1 is not of source 'other'"):
        store.assess(other, Assessment(1, days=(QualityDay(1, ZERO),)))
    with pytest.raises(StoreError, match="series 1 is not of source 'other'"):
        store.put_flags(other, 1, *flags)
    with pytest.raises(StoreError, match="other series than 1"):
        store.assess(lease, Assessment(1, days=(QualityDay(2, ZERO),)))
    assert list(store.quality(None, *EVER)) == []


def test_flags_are_put_across_years(store: PostgresStore, lease: Lease) -> None:
    """Pending begins at the reading before the first that differed, however far away that is."""
    times = [ZERO, ZERO + 800 * DAY, ZERO + 801 * DAY]
    commit(store, lease, Readings.of([0] * 3, times, [1, 2, 3]))
    store.assess(lease, Assessment(1, pending=Window(*EVER)))
    assert store.pending("src") == []
    given = (
        np.array([times[2], times[1], ZERO + 5]),
        np.array([1, 4, 4], np.uint8),
        np.array([0, 4, 4], np.uint32),
    )
    assert store.put_flags(lease, 1, *given) == 1
    assert store.pending("src") == [Pending(1, Window(times[0], times[1]))]
    assert store.put_flags(lease, 1, *given) == 0
    (chunk,) = store.scan([1], Window(*EVER))
    assert chunk.flag.tolist() == [1, 4, 1]
    assert chunk.tests.tolist() == [0, 4, 0]
    assert store.put_flags(lease, 1, *(column[:0] for column in given)) == 0


def test_an_assessment_is_remembered_or_not_at_all(url: str, store: PostgresStore, lease: Lease) -> None:
    """When its last table cannot be written, nothing of it stands and the stretch stays pending."""
    commit(store, lease, Readings.of([0], [ZERO], [1.0]))
    before = store.pending("src")
    postgres.execute(
        url,
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'made to fail' USING ERRCODE = '53100'; END $$;"
        "CREATE TRIGGER fail BEFORE INSERT ON standing FOR EACH ROW EXECUTE FUNCTION fail()",
    )
    found = Assessment(
        1,
        pending=before[0].window,
        days=(QualityDay(1, ZERO - DAY, due=1),),
        standings=(Standing(1, "robust", True, 0, ZERO, ZERO),),
    )
    with pytest.raises(StoreUnavailable, match="disk is full"):
        store.assess(lease, found)
    assert store.pending("src") == before
    assert list(store.quality("src", *EVER)) == []
    postgres.execute(url, "DROP TRIGGER fail ON standing")
    store.assess(lease, found)
    assert store.pending("src") == []
    assert list(store.quality("src", *EVER)) == list(found.days)
