"""Connections to the file, transactions on them, and what SQLite's errors mean to a user."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from loader import sqltext
from loader.errors import LoaderError, StoreError, StoreUnavailable

OLDEST = (3, 37, 0)
"""The first SQLite with STRICT tables."""

_BUSY = (StoreUnavailable, "another process kept the database busy for {busy_s:.0f} s")
_CLOSED = (
    StoreError,
    "cannot be written ({error}); file and folder must be writable for the user who runs the loader",
)
_MEANING: dict[int, tuple[type[LoaderError], str]] = {
    sqlite3.SQLITE_FULL: (StoreUnavailable, "the disk is full ({free}); nothing was written; make room"),
    sqlite3.SQLITE_IOERR: (StoreUnavailable, "the disk refused to read or write ({name}, {free})"),
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_READONLY: _CLOSED,
    sqlite3.SQLITE_CANTOPEN: _CLOSED,
    sqlite3.SQLITE_PERM: _CLOSED,
    sqlite3.SQLITE_NOTADB: (StoreError, "is not a SQLite database; name another file in `store`"),
    sqlite3.SQLITE_CORRUPT: (StoreError, "the database is damaged ({error}); restore it from a backup"),
}

_HERE = Path(__file__).parent
SQL = {**sqltext.queries(_HERE / "queries.sql"), **sqltext.queries(_HERE / "findings.sql")}


class Database:
    """One file and the connections to it: one that writes, one for the journal, some that read."""

    def __init__(self, path: Path, busy_s: float) -> None:
        self.path = path.resolve()
        self._busy_s = busy_s
        self._guard = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._idle: list[sqlite3.Connection] = []

    def connect(self, *, query_only: bool = False) -> sqlite3.Connection:
        """A new connection, usable from any one thread at a time, in autocommit mode."""
        if sqlite3.sqlite_version_info < OLDEST:
            raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old; 3.37 or newer is needed")
        connection = sqlite3.connect(
            self.path,
            timeout=self._busy_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            if query_only:
                connection.execute("PRAGMA query_only = ON")
                return connection
            self._use_wal(connection)
            # FULL: NORMAL may forget the newest commits when the power goes.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
            connection.execute("PRAGMA journal_size_limit = 67108864")
        except BaseException:
            connection.close()
            raise
        return connection

    def writer(self) -> sqlite3.Connection:
        """The one connection that writes readings. Raises StoreError when the file under it was
        taken away: what is written then would be lost."""
        if self._writer is None:
            self._writer = self.connect()
            self._identity = _identity(self.path)
        elif _identity(self.path) != self._identity:
            raise StoreError(f"{self.path}: the database was removed or replaced while it was in use")
        return self._writer

    @contextmanager
    def writing(self, *, lasting: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction on the writing connection. One that is not `lasting` does not wait for
        the disk: a power failure may take it back, and then all those after it too."""
        with self.errors():
            connection = self.writer()
            try:
                if not lasting:
                    connection.execute("PRAGMA synchronous = NORMAL")
                with transaction(connection):
                    yield connection
            except BaseException:
                if connection.in_transaction:
                    self._drop_writer()
                raise
            finally:
                if not lasting and self._writer is connection:
                    connection.execute("PRAGMA synchronous = FULL")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One snapshot on a connection that cannot write."""
        with self.errors():
            with self._guard:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = self.connect(query_only=True)
            try:
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.close()
                raise
            with self._guard:
                self._idle.append(connection)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn SQLite's errors into the loader's."""
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) is None:
                raise
            raise self._explain(error) from error

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Two processes that create the file at once collide here, past the busy timeout's reach."""
        deadline = time.monotonic() + self._busy_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def _explain(self, error: sqlite3.Error) -> LoaderError:
        code = error.sqlite_errorcode & 0xFF
        if code == sqlite3.SQLITE_IOERR and self._no_room():
            code = sqlite3.SQLITE_FULL
        kind, text = _MEANING.get(code, (StoreError, "{error}"))
        what = text.format(error=error, name=error.sqlite_errorname, free=self._free(), busy_s=self._busy_s)
        return kind(f"{self.path}: {what}")

    def _no_room(self) -> bool:
        """Whether not even the index that readers and writers share (32 kB) finds room."""
        try:
            return shutil.disk_usage(self.path.parent).free < 1 << 15
        except OSError:
            return False

    def _free(self) -> str:
        try:
            return f"{shutil.disk_usage(self.path.parent).free} bytes free"
        except OSError:
            return "free space unknown"

    def _drop_writer(self) -> None:
        """After a transaction that could not even be rolled back: closing ends it."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def close(self) -> None:
        with self._guard:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        self._drop_writer()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE ... COMMIT, or ROLLBACK when anything is raised."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - once per commit; a Path method costs more for nothing
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
