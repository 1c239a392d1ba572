"""Two daemons on one store: one leads, the other stands by and takes over; and a store that goes away."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loader.contracts import DIED
from loader.stores.postgres.lease import STALE_S
from tests import postgres
from tests.acceptance.daemons import Daemon, daemon
from tests.acceptance.trouble import Desk, desk, until

pytestmark = pytest.mark.slow

CONFIG = """
store: {store}
sources:
  demo: {{type: simulator, cadence: 1m, initial: 15d, latency: 50ms, schedule: {{every: 2s}}}}
"""


class Books:
    """Asks the store behind the loader's back."""

    def __init__(self, desk: Desk, url: str | None) -> None:
        self.rows: Callable[[str], list[tuple[Any, ...]]] = (
            desk.rows if url is None else lambda sql: postgres.rows(url, sql)
        )

    def check_sums(self) -> None:
        assert self.rows("SELECT sum(new) FROM run WHERE finished IS NOT NULL") == self.rows(
            "SELECT count(*) FROM reading"
        )


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The address of a PostgreSQL database without rows; None for SQLite."""
    if request.param == "sqlite":
        yield None
        return
    if missing := postgres.missing():
        pytest.skip(missing)
    server = postgres.server(postgres.majors()[0])
    made = server.migrated()
    yield made
    server.drop(made)


def pair(desk: Desk) -> tuple[Daemon, Daemon]:
    """A leader in the middle of its first run, and a stand-by."""
    first = daemon(desk, name="first")
    first.running.until("run begins")
    second = daemon(desk, name="second")
    second.running.until("standing by")
    second.until_ready()
    return first, second


def test_a_stand_by_takes_over_from_a_killed_leader(tmp_path: Path, store: str | None) -> None:
    """Closing the dead run; nothing lost, nothing doubled."""
    with desk(tmp_path, CONFIG.format(store=store or "sqlite:///loader.db")) as made:
        books = Books(made, store)
        first, second = pair(made)
        until(lambda: books.rows("SELECT count(*) FROM batch")[0][0] > 0, "a batch")
        first.running.process.kill()
        second.running.until("run begins")
        second.running.until("run ok")
        second.running.ask(signal.SIGTERM)
        assert second.running.end().code == 0
        assert books.rows("SELECT outcome, error FROM run ORDER BY id LIMIT 1") == [("interrupted", DIED)]
        books.check_sums()


def test_a_stand_by_takes_over_at_once_from_a_leader_that_stops(tmp_path: Path, store: str | None) -> None:
    """A leader that is told to stop gives the lease back."""
    with desk(tmp_path, CONFIG.format(store=store or "sqlite:///loader.db")) as made:
        first, second = pair(made)
        first.running.ask(signal.SIGTERM)
        assert first.running.end().code == 0
        began = time.monotonic()
        second.running.until("leading")
        assert time.monotonic() - began < STALE_S
        second.running.until("run ok")
        second.running.ask(signal.SIGTERM)
        Books(made, store).check_sums()


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_a_stand_by_takes_over_from_a_frozen_leader(tmp_path: Path, store: str) -> None:
    """After 20 s of silence, not before; the frozen one writes nothing when it wakes, and stands by."""
    with desk(tmp_path, CONFIG.format(store=store)) as made:
        books = Books(made, store)
        first, second = pair(made)
        first.running.process.send_signal(signal.SIGSTOP)
        [(token, beat)] = books.rows("SELECT token, beat_at FROM lease")
        second.running.until("leading")
        [(next_token, next_beat)] = books.rows("SELECT token, beat_at FROM lease")
        assert next_token == token + 1
        assert (next_beat - beat).total_seconds() >= STALE_S
        first.running.process.send_signal(signal.SIGCONT)
        first.running.until("standing by")
        second.running.until("run ok")
        for one in (second, first):
            one.running.ask(signal.SIGTERM)
            assert one.running.end().code == 0
        books.check_sums()


def test_the_server_goes_away_and_comes_back(tmp_path: Path) -> None:
    """It says so, is not ready meanwhile, and goes on by itself without losing anything."""
    if missing := postgres.missing():
        pytest.skip(missing)
    with postgres.own_server(postgres.majors()[0]) as server:
        url = server.create()
        with desk(tmp_path, CONFIG.format(store=url)) as made:
            one = daemon(made)
            one.running.until("run ok")
            server.stop()
            until(lambda: one.ask("/readyz").status == 503, "it is not ready")
            assert one.ask("/livez").status == 200
            server.start()
            one.until_ready()
            one.running.until("run ok", times=3)
            one.running.ask(signal.SIGTERM)
            Books(made, url).check_sums()
