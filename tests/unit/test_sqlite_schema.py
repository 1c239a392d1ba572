"""Migrations, and what the tables look like to who opens the file with other tools."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from loader.errors import StoreError
from loader.findings import Pending
from loader.journal import Cutoffs
from loader.readings import Place, Readings, Series, Window
from loader.records import Batch, Counts
from loader.sqltext import Migration
from loader.stores.sqlite import SQLiteStore, schema
from loader.stores.sqlite.database import SQL
from tests.checks import good

SECOND_STEP = Migration(
    len(schema.MIGRATIONS) + 1,
    "later",
    "CREATE TABLE later (a INTEGER) STRICT;\n"
    "-- a trigger; with semicolons\n"
    "CREATE TRIGGER later_added AFTER INSERT ON later BEGIN\n"
    "    UPDATE later SET a = 1; -- one;\n"
    "    UPDATE later SET a = 2;\n"
    "END;\n",
)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "some.db", isolation_level=None)) as opened:
        yield opened


def tables(connection: sqlite3.Connection) -> set[tuple[str, str, str]]:
    return set(connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


@pytest.mark.parametrize("version", range(len(schema.MIGRATIONS)))
def test_every_earlier_version_becomes_the_current_one(
    connection: sqlite3.Connection, version: int
) -> None:
    """Migrating from it gives the very schema that a fresh file gets."""
    schema.migrate(connection, lambda: 1, schema.MIGRATIONS[:version])
    schema.migrate(connection, lambda: 2)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        schema.migrate(fresh, lambda: 3)
        assert tables(connection) == tables(fresh)
    assert schema.version(connection) == len(schema.MIGRATIONS)


VERSION_1 = """
INSERT INTO run (source, "trigger", started, finished, outcome, fetched, new, requests, bytes)
VALUES ('src', 'manual', 1, 9, 'ok', 3, 3, 2, 700);
INSERT INTO run (source, "trigger", started) VALUES ('src', 'schedule', 10);
INSERT INTO batch VALUES (1, 0, 5, 6, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 700);
INSERT INTO batch VALUES (2, 0, 11, 12, 2, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 300);
INSERT INTO partition (source, partition, station, watermark, discovered_at, listed_at)
VALUES ('src', 'p1', 'st1', 4000000, 1, 1);
INSERT INTO coverage VALUES ('src', 'p1', 0, 4000000);
INSERT INTO series
    (source, sensor, parameter, unit, partition, station, name, timezone, first_time, last_time)
VALUES ('src', 's1', 'pm25', 'ug/m3', 'p1', 'st1', '', '', 1000000, 4000000);
INSERT INTO reading VALUES (1, 1000000, 1.0, 1, 0, 1), (1, 2000000, 2.0, 1, 0, 1),
    (1, 3000000, NULL, 9, 0, 1), (1, 4000000, 4.0, 1, 0, 2);
INSERT INTO revision VALUES (1, 2000000, 1.5, 2.0, 1);
INSERT INTO quarantine (source, partition, digest, rule, reason, payload, first_run, last_seen)
VALUES ('src', 'p1', 'd', 'schema', 'bad', x'00', 1, 5);
"""


def test_a_file_of_version_1_goes_on_working(tmp_path: Path) -> None:
    """Everything in it is still there and will be assessed, its runs have failed no request, and it
    can be loaded into, its unfinished run closed, and pruned."""
    path = tmp_path / "loader.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        schema.migrate(old, lambda: 1, schema.MIGRATIONS[:1])
        old.executescript(VERSION_1)
    store = SQLiteStore(path)
    store.migrate()
    newest, first = store.runs("src", 9)
    assert first.counts == Counts(fetched=3, new=3, requests=2, bytes=700)
    assert (newest.outcome, newest.counts) == (None, Counts())
    assert store.pending("src") == [Pending(1, Window(999_999, 4_000_000))]
    lease = store.acquire("src")
    assert store.runs("src", 1)[0].counts == Counts(fetched=2, new=1, refetched=1, requests=1, bytes=300)
    run = store.begin_run(lease, "test", 20)
    listed = (Series("s1", "pm25", "ug/m3", "st1", "p1"),)
    counts = Counts(fetched=2, requests=3, errors=1)
    batch = Batch(
        run, 0, "src", 21, listed, Readings.of([0, 0], [10**6, 5 * 10**6], [1.0, 5.0]), (), (), (), counts
    )
    done = store.commit(lease, batch, good).counts
    assert done == Counts(fetched=2, new=1, refetched=1, requests=3, errors=1)
    gone = store.prune(lease, Cutoffs(readings=2_000_000, revisions=2_000_000, runs=9, quarantine=5))
    assert gone == {"reading": 2, "anomaly": 0, "revision": 1, "batch": 1, "run": 1, "quarantine": 1}
    (state,) = store.partitions("src")
    assert (state.coverage, state.watermark) == ((Window(2_000_000, 4_000_000),), 4_000_000)
    assert [s.first_time for s in store.series("src")] == [3_000_000]
    assert store.request(store.queue("src", "prune", {}, "x", 1)) is not None
    store.close()


@pytest.mark.parametrize("number", [m.number for m in schema.MIGRATIONS])
def test_a_migration_killed_midway_is_done_again(connection: sqlite3.Connection, number: int) -> None:
    """Whatever statement it had come to: none of it is there, and the next attempt is complete."""
    step = schema.MIGRATIONS[number - 1]
    schema.migrate(connection, lambda: 1, schema.MIGRATIONS[: number - 1])
    before = tables(connection)
    for stop in range(1, len(list(schema.statements(step.sql)))):
        some = "".join(list(schema.statements(step.sql))[:stop])
        cut = Migration(number, step.name, some + "SELECT * FROM nowhere;\n")
        with pytest.raises(sqlite3.OperationalError):
            schema.migrate(connection, lambda: 2, (*schema.MIGRATIONS[: number - 1], cut))
        assert {t for t in tables(connection) if t[1] != "schema_version"} == {
            t for t in before if t[1] != "schema_version"
        }
    schema.migrate(connection, lambda: 3)
    assert schema.version(connection) == len(schema.MIGRATIONS)


def test_a_later_step_is_applied_once(connection: sqlite3.Connection) -> None:
    """Only what is missing runs, statement by statement, and the versions are dated."""
    steps = (*schema.MIGRATIONS, SECOND_STEP)
    schema.migrate(connection, lambda: 1)
    schema.migrate(connection, lambda: 2, steps)
    schema.migrate(connection, lambda: 3, steps)
    assert {name for _, name, _ in tables(connection)} >= {"later", "later_added"}
    dated = connection.execute("SELECT version, applied_at FROM schema_version ORDER BY version").fetchall()
    assert dated == [*((m.number, 1) for m in schema.MIGRATIONS), (SECOND_STEP.number, 2)]
    assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_a_step_that_fails_leaves_the_version_before(connection: sqlite3.Connection) -> None:
    """Its transaction is undone whole, number included."""
    broken = Migration(
        SECOND_STEP.number, "broken", "CREATE TABLE half (a INTEGER);\nINSERT INTO nowhere VALUES (1);\n"
    )
    schema.migrate(connection, lambda: 1)
    before = tables(connection)
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(connection, lambda: 2, (*schema.MIGRATIONS, broken))
    assert (tables(connection), schema.version(connection)) == (before, len(schema.MIGRATIONS))


def test_a_step_that_breaks_references_is_refused(connection: sqlite3.Connection) -> None:
    """A migration may rebuild tables, but not lose what others refer to."""
    broken = Migration(SECOND_STEP.number, "broken", "INSERT INTO place VALUES (7, 1, 27.7, 85.3);\n")
    schema.migrate(connection, lambda: 1)
    with pytest.raises(StoreError, match="place"):
        schema.migrate(connection, lambda: 2, (*schema.MIGRATIONS, broken))
    assert connection.execute("SELECT count(*) FROM place").fetchone() == (0,)


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    """A program does not touch what a later one wrote, and says both versions."""
    path = tmp_path / "loader.db"
    store = SQLiteStore(path)
    store.migrate()
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO schema_version VALUES (99, 1)")
        connection.commit()
    again = SQLiteStore(path)
    with pytest.raises(StoreError, match=f"99.*{len(schema.MIGRATIONS)} at most"):
        again.migrate()
    again.close()


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    """A file with other tables is left as it is."""
    path = tmp_path / "photos.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE photo (a)")
    store = SQLiteStore(path)
    with pytest.raises(StoreError, match="another program"):
        store.migrate()
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert {name for _, name, _ in tables(connection)} == {"photo"}


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """It is named, and not overwritten."""
    path = tmp_path / "letter.txt"
    path.write_text("Dear diary, " * 100)
    store = SQLiteStore(path)
    with pytest.raises(StoreError, match=r"letter\.txt: is not a SQLite database"):
        store.migrate()
    store.close()
    assert path.read_text().startswith("Dear diary")


def test_missing_folders_are_made(tmp_path: Path) -> None:
    """A database in a folder that is not there yet can be opened; one below a file cannot."""
    store = SQLiteStore(tmp_path / "a" / "b" / "loader.db")
    store.migrate()
    store.close()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        SQLiteStore(tmp_path / "file" / "loader.db").migrate()


@pytest.fixture
def loaded(tmp_path: Path) -> Path:
    """A file with a few readings around 1970 and 2024, one without a value."""
    path = tmp_path / "loader.db"
    store = SQLiteStore(path)
    store.migrate()
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", 1)
    listed = (Series("s1", "pm25", "ug/m3", "st1", "p1"),)
    times = [-1_500_000, -1, 0, 1_706_659_200_000_000, 1_706_659_200_000_000 + 250_000]
    values = [-1.0, 1.0, 2.0, np.nan, 4.0]
    batch = Batch(
        run,
        1,
        "src",
        2,
        listed,
        Readings.of([0] * 5, times, values),
        (Place(0, 0, 27.7, 85.3),),
        (),
        (),
        Counts(),
    )
    store.commit(lease, batch, good)
    store.close()
    return path


def test_columns_hold_plain_numbers(loaded: Path) -> None:
    """Integers, floats and NULL; nothing of NumPy's, no NaN."""
    with closing(sqlite3.connect(loaded)) as connection:
        kinds = connection.execute(
            "SELECT DISTINCT typeof(series_id), typeof(time), typeof(value), typeof(flag), typeof(tests)"
            " FROM reading"
        ).fetchall()
    assert sorted(kinds) == [
        ("integer", "integer", "null", "integer", "integer"),
        ("integer", "integer", "real", "integer", "integer"),
    ]


def test_the_view_writes_times_out(loaded: Path) -> None:
    """ISO 8601 in UTC, with a fraction where there is one, before 1970 too."""
    with closing(sqlite3.connect(loaded)) as connection:
        rows = connection.execute("SELECT time, value, latitude FROM readings ORDER BY value").fetchall()
    assert rows == [
        ("2024-01-31T00:00:00Z", None, 27.7),
        ("1969-12-31T23:59:58.500000Z", -1.0, None),
        ("1969-12-31T23:59:59.999999Z", 1.0, None),
        ("1970-01-01T00:00:00Z", 2.0, 27.7),
        ("2024-01-31T00:00:00.250000Z", 4.0, 27.7),
    ]


def test_the_view_reads_by_key(loaded: Path) -> None:
    """For one series it neither scans the readings nor sorts."""
    with closing(sqlite3.connect(loaded)) as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT * FROM readings WHERE source = 'src'"
        ).fetchall()
    steps = [row[3] for row in plan]
    assert any(step.startswith("SEARCH r USING PRIMARY KEY") for step in steps), steps
    assert not any("SCAN" in step or "TEMP B-TREE" in step for step in steps), steps


def test_the_other_views_write_times_alike(loaded: Path) -> None:
    """What is flagged has the times that it has among all readings; days and runs are told by date."""
    with closing(sqlite3.connect(loaded)) as connection:
        connection.execute("UPDATE reading SET tests = 64 WHERE flag = 1")
        found = connection.execute("SELECT time, value, objections FROM flagged ORDER BY value").fetchall()
        every = connection.execute(
            "SELECT time, value, 'flat_line' FROM readings WHERE flag = 1 ORDER BY value"
        ).fetchall()
        connection.execute("INSERT INTO quality (series_id, day) VALUES (1, -86400000000)")
        connection.execute("UPDATE run SET finished = 1, started = 1706659200000000")
        days = connection.execute("SELECT day FROM quality_daily").fetchall()
        runs = connection.execute("SELECT started FROM quality_runs").fetchall()
    assert found == every
    assert len(found) == 4
    assert days == [("1969-12-31",)]
    assert runs == [("2024-01-31T00:00:00Z",)]


QUESTIONS = {
    "is_due": (1,),
    "due_dispatches": (1, 50),
    "newest_dispatches": (50,),
    "open_requests": (None, 50),
    "find_request": (1,),
    "delivered": ("[]",),
    "expired_to": ("src",),
    "prunable_reading": ("src", 1),
    "prunable_revision": ("src", 1),
    "prunable_batch": ("src", 1, 1),
    "prunable_anomaly": ("src", 1),
    "count_between": (1, 1, 9, 100),
    "stored_edges": (1, 1, 2, 1, 9, 2),
    "stored_readings": (0, 1, 1, 1, 2, 1, 1, 9, 2, 9),
    "pending": ("src",),
    "quality_days": (1, 1, 9),
    "anomalies": ("src", 1, 9, "", 9, 100),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_what_is_asked_often_reads_no_whole_table(tmp_path: Path, name: str) -> None:
    """Outbox, requests, ledger and readings are found by an index, however many there are."""
    with closing(sqlite3.connect(tmp_path / "some.db", isolation_level=None)) as connection:
        schema.migrate(connection, lambda: 1)
        plan = connection.execute("EXPLAIN QUERY PLAN " + SQL[name], QUESTIONS[name]).fetchall()
    steps = [row[3] for row in plan]
    fine = ("json_each", "USING", "subquery", "CONSTANT")
    whole = [s for s in steps if s.startswith("SCAN") and not any(part in s for part in fine)]
    assert whole == [], steps
