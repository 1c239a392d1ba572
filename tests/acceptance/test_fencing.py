"""PostgreSQL: a leader that was put to sleep is taken over, and writes nothing when it wakes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from loader.errors import LeaseHeld, LeaseLost, StoreUnavailable
from loader.readings import Bool, Readings, Series, UInt8, UInt32
from loader.records import Outcome
from loader.stores.postgres import PostgresStore
from tests import postgres
from tests.acceptance.fencing_loader import HOURS, ZERO, batch
from tests.checks import Checks, good

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(bool(postgres.missing()), reason=str(postgres.missing()))


@pytest.fixture(params=postgres.versions())
def server(request: pytest.FixtureRequest) -> postgres.Server:
    return postgres.server(request.param)


@pytest.fixture
def url(server: postgres.Server) -> Iterator[str]:
    """A database with the tables in it."""
    made = server.migrated()
    yield made
    server.drop(made)


@contextmanager
def loader(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A real loader process that has come to where it should be."""
    command = [sys.executable, "-m", "tests.acceptance.fencing_loader", *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def answer(process: subprocess.Popen[str]) -> str:
    """Let the process go on; how it says that ended."""
    return process.communicate("\n", timeout=60)[0].strip()


def taken_over(url: str, beat_s: float, stale_s: float) -> None:
    """What the successor does: take the lease as soon as it can, and load on."""
    store = PostgresStore(url, beat_s=beat_s, stale_s=stale_s)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                lease = store.acquire("src")
                break
            except LeaseHeld:
                assert time.monotonic() < deadline, "not taken over within 60 s"
            time.sleep(0.1)
        run = store.begin_run(lease, "test", ZERO + 1)
        for number in (1, 2, 3):
            store.commit(lease, batch(run, number, number, 1.0 if number == 1 else 2.0), good)
        lease.release()
        # The next holder closes the run with the sums of its batches.
        store.acquire("src").release()
    finally:
        store.close()


@pytest.mark.parametrize("where", ["between", "inside"])
@pytest.mark.parametrize(
    ("beat_s", "stale_s"), [(0.3, 1.5), pytest.param(5.0, 20.0, marks=pytest.mark.slow)]
)
def test_a_leader_put_to_sleep_commits_nothing_more(
    url: str, where: str, beat_s: float, stale_s: float
) -> None:
    """Stopped between batches or inside a transaction, taken over, woken: it finds its lease lost,
    and every reading is there once, with what the successor read."""
    with loader(url, beat_s, stale_s, where) as process:
        postgres.pause(process)
        taken_over(url, beat_s, stale_s)
        process.send_signal(signal.SIGCONT)
        assert answer(process) == "LeaseLost"
    assert postgres.rows(url, "SELECT value, count(*) FROM reading GROUP BY value ORDER BY value") == [
        (1.0, 2 * HOURS),
        (2.0, 2 * HOURS),
    ]
    assert postgres.rows(url, "SELECT count(*) FROM revision") == [(0,)]
    assert postgres.rows(url, "SELECT run_id, seq FROM batch ORDER BY run_id, seq") == [
        (1, 0),
        (1, 1),
        (2, 1),
        (2, 2),
        (2, 3),
    ]
    assert postgres.rows(url, "SELECT outcome, new, refetched FROM run ORDER BY id") == [
        ("interrupted", 2 * HOURS, 0),
        ("interrupted", 2 * HOURS, HOURS),
    ]


@pytest.mark.slow
def test_a_leader_that_is_awake_is_left_alone(url: str) -> None:
    """Longer than it takes to be called silent, a living holder keeps its lease and commits on."""
    rival = PostgresStore(url, beat_s=0.3, stale_s=3)
    with loader(url, 0.3, 3, "between") as process:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            with pytest.raises(LeaseHeld, match="src"):
                rival.acquire("src")
            time.sleep(0.1)
        assert answer(process) == "committed"
    rival.close()


def test_a_sleeper_that_nobody_relieves_goes_on(url: str) -> None:
    """Sleep alone costs nothing: as long as nobody took over, the same lease writes on."""
    with loader(url, 0.2, 0.5, "inside") as process:
        postgres.pause(process)
        silent = "SELECT beat_at < clock_timestamp() - interval '1 s' FROM lease"
        deadline = time.monotonic() + 60
        while postgres.rows(url, silent) != [(True,)]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGCONT)
        assert answer(process) == "committed"
    assert postgres.rows(url, "SELECT count(*) FROM reading") == [(3 * HOURS,)]


@pytest.mark.slow
@pytest.mark.parametrize("major", postgres.versions())
@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_server_restarted_in_the_middle_of_a_run(major: int, how: str) -> None:
    """Away between batches or inside a transaction: the store says so, and the same batch goes in
    once the server is back, under the same lease, which nobody else can take."""
    with postgres.own_server(major) as server:
        url = server.create()
        store = PostgresStore(url, beat_s=0.2)
        store.migrate()
        lease = store.acquire("src")
        run = store.begin_run(lease, "test", ZERO)
        store.commit(lease, batch(run, 0, 0, 1.0), good)
        server.stop(how)
        with pytest.raises(StoreUnavailable, match="cannot connect"):
            store.commit(lease, batch(run, 1, 1, 1.0), good)
        server.start()
        assert not store.commit(lease, batch(run, 1, 1, 1.0), good).replayed

        def breaks(series: Sequence[Series], readings: Readings, written: Bool) -> tuple[UInt8, UInt32]:
            server.stop(how)
            return good(series, readings, written)

        with pytest.raises(StoreUnavailable):
            store.commit(lease, batch(run, 2, 2, 1.0), Checks(breaks))
        server.start()
        assert not store.commit(lease, batch(run, 2, 2, 1.0), good).replayed
        assert store.commit(lease, batch(run, 2, 2, 1.0), good).replayed
        # The next beat takes the lock again that went down with the server.
        locked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        deadline = time.monotonic() + 60
        while postgres.rows(url, locked) != [(1,)]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        rival = PostgresStore(url)
        with pytest.raises(LeaseHeld):
            rival.acquire("src")
        lease.release()
        rival.acquire("src").release()
        assert [(r.outcome, r.counts.new) for r in rival.runs("src", 9)] == [
            (Outcome.INTERRUPTED, 3 * HOURS)
        ]
        assert postgres.rows(url, "SELECT count(*) FROM reading") == [(3 * HOURS,)]
        rival.close()
        store.close()


def test_a_holder_that_was_cut_off_finds_out(url: str) -> None:
    """When all its connections are ended and another takes the lease, the next commit is refused."""
    store, rival = PostgresStore(url, beat_s=60), PostgresStore(url, beat_s=60)
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", ZERO)
    store.commit(lease, batch(run, 0, 0, 1.0), good)
    listed = postgres.rows(url, "SELECT unnest(pids) FROM lease ORDER BY 1")
    backends = "SELECT pid FROM pg_stat_activity WHERE application_name = 'loader' ORDER BY 1"
    assert listed == postgres.rows(url, backends)
    postgres.rows(
        url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'loader'",
    )
    taken = rival.acquire("src")
    with pytest.raises(LeaseLost, match="src"):
        store.commit(lease, batch(run, 1, 1, 1.0), good)
    taken.release()
    store.close()
    rival.close()


def test_many_loaders_make_the_same_months_at_once(url: str) -> None:
    """Processes whose first batches need the same new months neither fail nor deadlock."""
    sources = ["a", "b", "c"]
    with ExitStack() as stack:
        processes = [stack.enter_context(loader(url, source, "months")) for source in sources]
        for process in processes:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            assert process.communicate(timeout=60)[0].strip() == "committed"
    assert postgres.rows(url, "SELECT count(*) FROM reading") == [(len(sources) * 5 * HOURS,)]
