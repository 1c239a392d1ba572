"""PostgreSQL that cannot be reached, restarts, throws its clients out, or takes nothing in."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import postgres
from tests.acceptance.trouble import Desk, desk

CONFIG = """
store: ${{DATABASE_URL}}
sources:
  demo: {{type: simulator, initial: {initial}, latency: {latency}}}
"""

pytestmark = pytest.mark.skipif(postgres.missing() is not None, reason=str(postgres.missing()))


@contextmanager
def loading(
    folder: Path, server: postgres.Server, initial: str = "5d", latency: str = "0s"
) -> Iterator[tuple[Desk, str]]:
    """A desk whose store is a fresh database of the server, and that database's address."""
    url = server.create()
    try:
        with desk(folder, CONFIG.format(initial=initial, latency=latency)) as made:
            (folder / ".env").write_text(f"DATABASE_URL={url}\n")
            yield made, url
    finally:
        server.drop(url)


def newest() -> int:
    return max(postgres.binaries())


@pytest.fixture(scope="module")
def own() -> Iterator[postgres.Server]:
    """A server that the tests of this module may stop."""
    with postgres.own_server(newest()) as made:
        yield made


def check(url: str, readings: int) -> None:
    """Everything is there once, and the books agree."""
    (count, distinct) = postgres.rows(
        url, "SELECT count(*), count(DISTINCT (series_id, time)) FROM reading"
    )[0]
    assert count == distinct
    assert abs(int(str(count)) - readings) <= 18
    assert postgres.rows(url, "SELECT sum(new) FROM run") == [(count,)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("correct%20horse", "not-the-one"), "password authentication failed.*check user and password"),
        (("127.0.0.1", "no-such-host.invalid"), "could not translate host name.*check the host"),
        (("/test_", "/no_such_"), "does not exist.*createdb"),
    ],
)
def test_an_address_that_leads_nowhere_is_named(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    """One line with address and remedy, and no password in it."""
    server = postgres.server(newest())
    with loading(tmp_path, server) as (made, url):
        told = made.loader("status", code=1, env={"DATABASE_URL": url.replace(*change)})
        assert len(told.err.splitlines()) == 1
        assert told.err.startswith("loader: postgresql://tester@")
        assert re.search(said, told.err), told.err
        for secret in ("horse", "not-the-one"):
            assert secret not in told.err
        assert "FAIL  store" in made.loader("check", code=1, env={"DATABASE_URL": url.replace(*change)}).out


def test_a_server_that_is_starting_is_waited_for(tmp_path: Path, own: postgres.Server) -> None:
    """A run that finds nobody there tries again for a while, and goes on when somebody is."""
    with loading(tmp_path, own) as (made, url):
        own.stop()
        try:
            run = made.start("run")
            run.until("Connection refused", times=2)
        finally:
            own.start()
        assert run.end().code == 0
        check(url, 18 * 5 * 24)


def test_a_wait_for_the_server_can_be_ended(tmp_path: Path, own: postgres.Server) -> None:
    """At the start of a run, with nothing done yet."""
    with loading(tmp_path, own) as (made, _):
        own.stop()
        try:
            run = made.start("run")
            run.until("trying again in 1 s")
            run.ask(signal.SIGINT)
            assert run.end().code == 130
        finally:
            own.start()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_restart_in_the_middle_of_a_run_is_survived(
    tmp_path: Path, own: postgres.Server, how: str
) -> None:
    """The run waits, continues, and ends with every row once; the driver's own complaints stay out of
    the log."""
    with loading(tmp_path, own, "700d", "20ms") as (made, url):
        run = made.start("run", "--log-level", "debug")
        run.until("commit.end", times=2)
        own.stop(how)
        run.until("trying again")
        own.start()
        said = run.end()
        assert said.code == 0
        assert "SystemError" not in said.err
        check(url, 18 * 700 * 24)


@pytest.mark.slow
def test_sessions_ended_by_the_administrator_are_made_again(tmp_path: Path) -> None:
    """pg_terminate_backend, again and again, costs nothing but time."""
    server = postgres.server(newest())
    with loading(tmp_path, server, "700d", "10ms") as (made, url):
        run = made.start("run", "--log-level", "debug")
        done = threading.Event()
        ended = 0
        try:
            run.until("commit.end")
            while run.process.poll() is None:
                ((count,),) = postgres.rows(
                    url,
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE application_name = 'loader' AND datname = current_database()",
                )
                ended += int(str(count))
                done.wait(0.15)
        finally:
            said = run.end()
        assert said.code == 0
        assert ended > 3
        assert "SystemError" not in said.err
        check(url, 18 * 700 * 24)


def test_a_read_only_database_is_told_at_once(tmp_path: Path) -> None:
    """Waiting would not help; reports still work, and `check` fails."""
    server = postgres.server(newest())
    with loading(tmp_path, server) as (made, url):
        made.loader("run")
        name = url.rsplit("/", 1)[1]
        postgres.execute(server.url(), f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        told = made.loader("run", code=1)
        assert "it is read-only" in told.out
        assert "trying again" not in told.err
        assert "demo" in made.loader("status").out
        assert "FAIL  store" in made.loader("check", code=1).out
        postgres.execute(server.url(), f"ALTER DATABASE {name} SET default_transaction_read_only = off")
        made.loader("run")
        check(url, 18 * 5 * 24)


def test_too_few_connections_are_waited_for(tmp_path: Path) -> None:
    """A server that has none left is no failure: the run goes on when one is free."""
    server = postgres.server(newest())
    with loading(tmp_path, server) as (made, url):
        postgres.execute(url, "CREATE ROLE few LOGIN PASSWORD 'a few only' CONNECTION LIMIT 0")
        try:
            postgres.execute(url, "GRANT CREATE, USAGE ON SCHEMA public TO few")
            run = made.start(
                "run", env={"DATABASE_URL": url.replace("tester:correct%20horse", "few:a%20few%20only")}
            )
            run.until("too many connections", times=2)
            postgres.execute(url, "ALTER ROLE few CONNECTION LIMIT 10")
            assert run.end().code == 0
            check(url, 18 * 5 * 24)
        finally:
            postgres.execute(url, "DROP OWNED BY few")
            postgres.execute(url, "DROP ROLE few")


@pytest.mark.slow
def test_an_export_from_a_server_that_goes_away_leaves_no_file(
    tmp_path: Path, own: postgres.Server
) -> None:
    """One line says so; half a file would look like a whole one."""
    with loading(tmp_path, own, "3000d") as (made, _):
        made.loader("run")
        (tmp_path / "out.csv").write_text("old")
        export = made.start("export", "--format", "json", "-o", "out.csv")
        part = f".out.csv.{export.process.pid}.part"
        deadline = time.monotonic() + 60
        while not (tmp_path / part).exists() or (tmp_path / part).stat().st_size < 1 << 20:
            assert time.monotonic() < deadline
            assert export.process.poll() is None
        own.stop("immediate")
        try:
            said = export.end()
        finally:
            own.start()
        assert said.code == 1
        assert len(said.err.splitlines()) == 1, said.err
        assert (tmp_path / "out.csv").read_text() == "old"
        assert not (tmp_path / part).exists()
