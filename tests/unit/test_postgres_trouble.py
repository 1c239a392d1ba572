"""What the PostgreSQL store does when things go wrong: real errors from a real server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
import psycopg2
import pytest

from loader.errors import ConfigError, LeaseHeld, LoaderError, StoreError, StoreUnavailable
from loader.readings import HOUR, SECOND, Bool, Progress, Readings, Reject, Series, UInt8, UInt32, Window
from loader.records import Batch, Counts
from loader.stores.postgres import PostgresStore
from tests import postgres
from tests.checks import Checks, good, present

ZERO = 1_706_659_200_000_000
"""2024-01-31T00:00:00Z."""

SERIES = Series("s1", "pm25", "ug/m3", "st1", "p1")
N = 5
"""Readings in the batch."""


def batch(run: int, seq: int = 0, value: float = 1.0, series: Series = SERIES) -> Batch:
    times = ZERO + np.arange(1, N + 1, dtype=np.int64) * HOUR
    window = Window(ZERO, int(times[-1]))
    return Batch(
        run_id=run,
        seq=seq,
        source="src",
        read_at=window.end,
        series=(series,),
        readings=Readings.of(np.zeros(N), times, np.full(N, value)),
        places=(),
        rejects=(),
        progress=(Progress("p1", read=(window,), cover=(window,), watermark=window.end, ended=True),),
        counts=Counts(fetched=N),
    )


def stored(url: str) -> dict[str, int]:
    """Rows by table, of the tables that a commit writes."""
    tables = ("reading", "revision", "series", "batch", "coverage")
    return {t: postgres.rows(url, f"SELECT count(*) FROM {t}")[0][0] for t in tables}  # type: ignore[misc]


NOTHING = {"reading": 0, "revision": 0, "series": 0, "batch": 0, "coverage": 0}
ALL = {"reading": N, "revision": 0, "series": 1, "batch": 1, "coverage": 1}


def fail(url: str, code: str, times: int) -> None:
    """From now on the server raises `code` in the middle of a commit, that many times."""
    # A sequence counts on, whatever is rolled back.
    postgres.execute(
        url,
        f"""
        CREATE SEQUENCE failures;
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('failures') <= {times} THEN
                RAISE EXCEPTION 'made to fail' USING ERRCODE = '{code}';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER fail BEFORE INSERT ON coverage FOR EACH ROW EXECUTE FUNCTION fail();
        """,
    )


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_serialization_failures_and_deadlocks_repeat_the_batch(
    url: str, store: PostgresStore, code: str
) -> None:
    """A few of them nobody notices; the checker is asked again each time."""
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", ZERO)
    fail(url, code, 2)
    asked: list[int] = []

    def judge(series: Sequence[Series], readings: Readings, written: Bool) -> tuple[UInt8, UInt32]:
        asked.append(int(written.sum()))
        return present(series, readings, written)

    assert store.commit(lease, batch(run), Checks(judge)).counts.new == N
    assert asked == [N, N, N]
    assert stored(url) == ALL


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        ("40001", StoreUnavailable, "made to fail"),
        ("53100", StoreUnavailable, "disk is full"),
        ("53300", StoreUnavailable, "no connection left"),
        ("55P03", StoreUnavailable, "another transaction"),
        ("57014", StoreUnavailable, "too long"),
        ("58030", StoreUnavailable, "made to fail"),
        ("25006", StoreError, "read-only"),
        ("42501", StoreError, "may not"),
        ("22003", StoreError, "made to fail"),
    ],
)
def test_errors_say_whether_waiting_helps(
    url: str, store: PostgresStore, code: str, kind: type[LoaderError], text: str
) -> None:
    """Nothing is half-written, the text says what and where, and the same batch goes in afterwards."""
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", ZERO)
    fail(url, code, 4 if code == "40001" else 1)
    with pytest.raises(kind, match=text) as caught:
        store.commit(lease, batch(run), good)
    assert store.url in str(caught.value)
    assert stored(url) == NOTHING
    assert store.commit(lease, batch(run), good).counts.new == N
    assert stored(url) == ALL


def test_a_read_only_database_is_said_to_be_one(url: str, store: PostgresStore) -> None:
    """Reading goes on, writing is refused with the reason, and `facts` shows it."""
    store.close()
    name = url.rsplit("/", 1)[1]
    postgres.execute(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    locked = PostgresStore(url)
    with pytest.raises(StoreError, match="read-only"):
        locked.acquire("src")
    assert locked.runs(None, 5) == []
    assert locked.facts()["writable"] == "no"
    locked.close()


def test_a_lock_that_is_not_let_go_ends_in_an_error(url: str, store: PostgresStore) -> None:
    """Whoever waits for a table that somebody else holds gives up after a while."""
    store.close()
    other = psycopg2.connect(url)
    with other.cursor() as cursor:
        cursor.execute("LOCK TABLE budget")
    name = url.rsplit("/", 1)[1]
    # Shorter than the store's own limit, so that the test is.
    postgres.execute(url, f"ALTER DATABASE {name} SET deadlock_timeout = '10s'")
    waiting = PostgresStore(url)
    waiting._sessions._limits = replace(waiting._sessions._limits, lock_s=0.2)
    with pytest.raises(StoreUnavailable, match="another transaction"):
        waiting.block("key", ZERO)
    other.close()
    waiting.block("key", ZERO)
    waiting.close()


def test_too_many_connections_is_something_to_wait_for(server: postgres.Server, bare: str) -> None:
    """The server has none left: StoreUnavailable, and fine again when there are."""
    name = bare.rsplit("/", 1)[1]
    postgres.execute(bare, "CREATE ROLE reader LOGIN PASSWORD 'reader'")
    try:
        postgres.execute(bare, f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        full = PostgresStore(server.url(name, "reader", "reader"))
        with pytest.raises(StoreUnavailable, match="too many connections"):
            full.sources()
        postgres.execute(bare, f"ALTER DATABASE {name} CONNECTION LIMIT -1")
        with pytest.raises(StoreError, match="was the schema set up"):
            full.sources()
        full.close()
    finally:
        postgres.execute(bare, "DROP ROLE reader")


def test_no_password_is_ever_shown(server: postgres.Server, url: str) -> None:
    """Not in the address, nor in errors about a wrong password, host, database or URL."""
    secret = "s3cret with space"
    name = url.rsplit("/", 1)[1]
    wrong = server.url(name, password=secret)
    stores = {
        wrong: StoreError,
        server.url("missing_database"): StoreError,
        f"postgresql://tester:{secret.replace(' ', '%20')}@127.0.0.1:1/x": StoreUnavailable,
        f"postgresql://tester@127.0.0.1:1/x?password={secret.replace(' ', '%20')}": StoreUnavailable,
    }
    for address, kind in stores.items():
        made = PostgresStore(address)
        with pytest.raises(kind) as caught:
            made.migrate()
        shown = f"{made.url} {caught.value} {caught.value!r} {made.__dict__.get('url')}"
        for form in (secret, secret.replace(" ", "%20"), postgres.PASSWORD):
            assert form not in shown
    for broken in (
        f"postgresql://tester:{secret}/#@host:5432/x",
        "postgresql://tester:123/s3cret@host:5432/x",
        "postgresql://u:p@h:port:1/x?a=b",
    ):
        with pytest.raises(ConfigError, match="percent-encoded") as caught:
            PostgresStore(broken)
        assert "s3cret" not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("text", ["nul \x00 byte", "lone \ud800 surrogate"])
def test_texts_that_no_table_takes_are_an_error_not_a_loop(
    url: str, store: PostgresStore, text: str
) -> None:
    """In what identifies a series they are refused for good, and the store works on."""
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", ZERO)
    with pytest.raises(StoreError, match="cannot be stored"):
        store.commit(lease, batch(run, series=replace(SERIES, sensor=text)), good)
    assert stored(url) == NOTHING
    assert store.commit(lease, batch(run), good).counts.new == N


def test_times_beyond_the_calendar_are_refused(url: str, store: PostgresStore) -> None:
    """A reading in the year 20000 could not be shown again; a rejected record keeps the nearest time."""
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", ZERO)
    far = 18_000 * 365 * 24 * HOUR
    given = batch(run)
    late = Readings.of([0], [far], [1.0])
    with pytest.raises(StoreError, match="years 1 to 9999"):
        store.commit(lease, replace(given, readings=late, progress=()), good)
    reject = Reject("p1", "timestamp", "too late", b"{}", far)
    store.commit(lease, replace(given, rejects=(reject,)), good)
    (kept,) = store.quarantined("src", 5)
    assert kept.time is not None
    assert ZERO < kept.time < far
    assert stored(url) == ALL


def test_a_checker_that_answers_the_wrong_length_is_found_out(store: PostgresStore) -> None:
    """Flags of another number of readings would be written to the wrong ones."""
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", ZERO)
    with pytest.raises(ValueError, match="4 flags for 5 readings"):
        store.commit(lease, batch(run), Checks(lambda s, r, w: present(s, r.take(np.arange(4)), w)))


def insert(url: str, hour: int, value: float) -> None:
    """A reading written by somebody who knows nothing of leases."""
    (number,) = postgres.rows(url, "SELECT id FROM series")[0]
    time = f"to_timestamp({ZERO // 10**6 + hour * 3600})"
    postgres.execute(url, f"INSERT INTO reading VALUES ({number}, {time}, {value}, 1, 0, 1)")


def test_a_rival_without_a_lease_is_compared_with(url: str, store: PostgresStore) -> None:
    """Rows that appear between comparison and writing are found equal or revised, not doubled."""
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", ZERO)
    store.commit(lease, replace(batch(run), readings=Readings.empty(), progress=()), good)
    asked: list[int] = []

    def judge(series: Sequence[Series], readings: Readings, written: Bool) -> tuple[UInt8, UInt32]:
        if not asked:
            insert(url, 1, 1.0)
            insert(url, 2, 7.0)
        asked.append(int(written.sum()))
        return present(series, readings, written)

    counts = store.commit(lease, batch(run, 1), Checks(judge)).counts
    assert (counts.new, counts.refetched, counts.revised) == (N - 2, 1, 1)
    assert asked == [N, N - 1]
    assert postgres.rows(url, "SELECT old_value, new_value FROM revision") == [(7.0, 1.0)]


def test_a_rival_that_revises_is_compared_with(url: str, store: PostgresStore) -> None:
    """A value that changes between comparison and writing is the old value of the revision."""
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", ZERO)
    store.commit(lease, batch(run), good)
    asked: list[int] = []

    def judge(series: Sequence[Series], readings: Readings, written: Bool) -> tuple[UInt8, UInt32]:
        if not asked:
            postgres.execute(url, "UPDATE reading SET value = 9")
        asked.append(int(written.sum()))
        return present(series, readings, written)

    assert store.commit(lease, batch(run, 1, 2.0), Checks(judge)).counts.revised == N
    assert len(asked) == 2
    assert postgres.rows(url, "SELECT DISTINCT old_value, new_value FROM revision") == [(9.0, 2.0)]


def test_a_rival_that_does_not_stop_is_an_error(url: str, store: PostgresStore) -> None:
    """After three comparisons the batch is given back, to be tried later; nothing of it is written."""
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", ZERO)
    store.commit(lease, replace(batch(run), readings=Readings.empty(), progress=()), good)
    asked: list[int] = []

    def judge(series: Sequence[Series], readings: Readings, written: Bool) -> tuple[UInt8, UInt32]:
        asked.append(int(written.sum()))
        insert(url, len(asked), 1.0)
        return present(series, readings, written)

    with pytest.raises(StoreUnavailable, match="without the lease"):
        store.commit(lease, batch(run, 1), Checks(judge))
    assert asked == [5, 4, 3]
    assert stored(url) == {**ALL, "reading": 3, "coverage": 0}


def test_few_readings_among_very_many_stored_ones(store: PostgresStore) -> None:
    """More stored rows lie around a batch than are held at once: each is compared or counted."""
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", ZERO)
    seconds = 2 * 86_400
    times = ZERO + np.arange(1, seconds + 1, dtype=np.int64) * SECOND
    dense = replace(batch(run), readings=Readings.of(np.zeros(seconds), times, np.ones(seconds)))
    store.commit(lease, dense, good)
    few = times[:: 6 * 3600]
    values = np.where(np.arange(len(few)) % 2, 1.0, 2.0)
    window = Window(ZERO + 3600 * SECOND, int(times[-1]))
    sparse = replace(
        batch(run, 1),
        readings=Readings.of(np.zeros(len(few)), few, values),
        progress=(Progress("p1", read=(window,)),),
    )
    counts = store.commit(lease, sparse, good).counts
    assert (counts.new, counts.refetched, counts.revised) == (0, len(few) // 2, len(few) // 2)
    assert counts.vanished == seconds - 3600 - (len(few) - 1), "the first came before the window"


def test_a_month_that_was_dropped_is_made_again(url: str, store: PostgresStore) -> None:
    """Somebody detaches an old month of a store that has seen it: the next batch brings it back."""
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", ZERO)
    store.commit(lease, batch(run), good)
    postgres.execute(url, "DROP TABLE reading_2024_01")
    assert store.commit(lease, batch(run, 1), good).counts.new == N


def test_each_month_gets_its_own_rows(url: str, store: PostgresStore) -> None:
    """The edges of months included."""
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", ZERO)
    february, march = 1_706_745_600 * SECOND, 1_709_251_200 * SECOND
    edges = np.array([february - 1, february, march - 1, march], np.int64)
    times = np.unique(np.concatenate([edges, february + np.arange(-1000, 2000) * HOUR]))
    given = Readings.of(np.zeros(len(times)), times, np.ones(len(times)))
    store.commit(lease, replace(batch(run), readings=given, progress=()), good)
    month = "'reading_' || to_char(time AT TIME ZONE 'UTC', 'YYYY_MM')"
    named = f"SELECT tableoid::regclass::text, {month} FROM reading"
    assert {a for a, b in postgres.rows(url, named) if a != b} == set()
    assert stored(url)["reading"] == len(times)


def test_tables_of_somebody_else_are_left_alone(bare: str) -> None:
    """A database that already has a table of the same name is refused before anything is made."""
    postgres.execute(bare, "CREATE TABLE run (id integer)")
    made = PostgresStore(bare)
    with pytest.raises(StoreError, match=r"not the loader's \(run\)"):
        made.migrate()
    made.close()
    assert postgres.rows(bare, "SELECT count(*) FROM pg_class WHERE relname = 'loader_version'") == [(0,)]


def test_a_newer_schema_is_refused(url: str, store: PostgresStore) -> None:
    """A database that a newer loader has changed is not written by an older one."""
    postgres.execute(url, "INSERT INTO loader_version (number, name) VALUES (999, 'later')")
    with pytest.raises(StoreError, match=r"999.*newer loader"):
        store.migrate()


def test_nothing_idles_inside_a_transaction(url: str, store: PostgresStore) -> None:
    """Between calls every connection is at rest, and names itself."""
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", ZERO)
    store.commit(lease, batch(run), good)
    store.take("key", 1, {60: 1}, 0.0, ZERO)
    abandoned = store.scan([1], Window(ZERO, ZERO + 10 * HOUR))
    assert len(next(iter(abandoned))) == N
    states = postgres.rows(
        url,
        "SELECT DISTINCT state FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'loader'",
    )
    assert states == [("idle",)]


def test_a_source_name_is_locked_by_schema(url: str, store: PostgresStore) -> None:
    """Two schemas of one database are two stores: the same source may be loaded into both."""
    postgres.execute(url, "CREATE SCHEMA other")
    beside = PostgresStore(f"{url}?options=-csearch_path%3Dother")
    beside.migrate()
    store.acquire("src")
    beside.acquire("src")
    with pytest.raises(LeaseHeld):
        beside.acquire("src")
    beside.close()


class Proxy:
    """Stands between store and server, and cuts the connection at a COMMIT when told to.

    `cut` is called with the forwarding of the COMMIT and its answer; what it does not call does
    not happen. The answer never reaches the store.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cut: Callable[[Callable[[], object]], object] | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                threading.Thread(target=self._pump, args=(server, client), daemon=True).start()
                threading.Thread(target=self._listen, args=(client, server), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        self._end(source, target)

    def _listen(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if self.cut is not None and b"COMMIT\x00" in data:
                    cut, self.cut = self.cut, None
                    # First deaf towards the client, then perhaps on to the server.
                    client.shutdown(socket.SHUT_RDWR)
                    cut(lambda data=data: server.sendall(data))  # type: ignore[misc]
                    break
                server.sendall(data)
        self._end(client, server)

    @staticmethod
    def _end(*ends: socket.socket) -> None:
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def proxied(server: postgres.Server, url: str) -> Iterator[tuple[Proxy, PostgresStore]]:
    proxy = Proxy(server.port)
    # Encryption would hide the COMMIT.
    made = PostgresStore(url.replace(str(server.port), str(proxy.port)) + "?sslmode=disable")
    try:
        yield proxy, made
    finally:
        made.close()
        proxy.close()


@pytest.mark.parametrize("arrives", [True, False])
def test_a_connection_lost_during_commit(
    server: postgres.Server, url: str, store: PostgresStore, arrives: bool
) -> None:
    """Whether the COMMIT still arrived or not: the batch is there once, and its counts are told."""
    del store
    with proxied(server, url) as (proxy, remote):
        lease = remote.acquire("src")
        run = remote.begin_run(lease, "test", ZERO)
        remote.commit(lease, batch(run), good)
        proxy.cut = lambda forward: forward() if arrives else None
        done = remote.commit(lease, batch(run, 1, 2.0), good)
        assert proxy.cut is None, "nothing was cut"
        assert done.counts.revised == N
        assert done.replayed == arrives
        assert remote.commit(lease, batch(run, 1, 2.0), good).counts == done.counts
    assert stored(url) == {**ALL, "batch": 2, "revision": N}


def test_a_run_begun_while_the_connection_was_lost_is_begun_once(
    server: postgres.Server, url: str, store: PostgresStore
) -> None:
    """The row that the lost COMMIT left is found again."""
    del store
    with proxied(server, url) as (proxy, remote):
        lease = remote.acquire("src")
        remote.register(lease, [], ZERO)
        proxy.cut = lambda forward: forward()
        remote.begin_run(lease, "test", ZERO)
        assert proxy.cut is None, "nothing was cut"
    assert postgres.rows(url, "SELECT count(*) FROM run") == [(1,)]
