"""Connections to one database: how they are made, repeated and closed, and what errors mean."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import psycopg2
from psycopg2 import extensions

from loader.errors import ConfigError, LoaderError, StoreError, StoreUnavailable
from loader.sqltext import queries

Connection = extensions.connection
Cursor = extensions.cursor
Backend = tuple[int, datetime]
"""A server process: its pid and when it started; together they never come back."""

T = TypeVar("T")


class Transaction(Protocol):
    """Does work in one transaction; may do it again where that failed."""

    def __call__(self, work: Callable[[Cursor], T], /) -> T: ...


SQL = {name: sql for file in Path(__file__).parent.glob("*.sql") for name, sql in queries(file).items()}

OLDEST_SERVER = 15

# What libpq and the server say while connecting, when waiting will not help. There is no error
# code to go by: the connection does not exist yet.
_REFUSED = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|permission denied"
    r'|(?:database|role) ".*" (?:does not exist|is not permitted)|SSL|certificate|invalid|unsupported',
    re.IGNORECASE,
)
_REMEDIES = (
    (r"authentication failed|no password supplied", "check user and password in the store's address"),
    (r'database ".*" does not exist', "create it (`createdb`), or name another in the store's address"),
    (r"no pg_hba\.conf entry", "the server's pg_hba.conf has to let this user in from here"),
    (r"Connection refused|No such file", "is the server running, and is the port right?"),
    (r"could not translate host name", "check the host in the store's address"),
)
_REPEAT = {"40001", "40P01"}
_REPEATS = 4
_AWAY = {
    "53100": "its disk is full",
    "53300": "it has no connection left to give",
    "55P03": "another transaction holds what this one needs",
    "57014": "a statement took too long",
    "25P03": "a transaction was idle for too long",
}
_AWAY_CLASSES = ("08", "40", "53", "57", "58", "XX")
_BROKEN = {
    "25006": "it is read-only (a stand-by?)",
    "3D000": "there is no such database",
    "42501": "this user may not do that",
    "42P01": "a table is missing: was the schema set up?",
    "42703": "a column is missing: is the schema from another version?",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a connection's statements may take, wait for locks, and idle inside a transaction."""

    statement_s: float
    lock_s: float
    idle_s: float = 60.0


class Server:
    """A database server by its URL. `url` is for people and never holds a password."""

    def __init__(self, url: str) -> None:
        try:
            given = extensions.parse_dsn(url)
        except psycopg2.Error:
            given = {"port": "?"}
        # The driver's own message would quote what it could not parse, and a slash in a password
        # makes its beginning the port and its end the database: both may hold the password.
        if not re.fullmatch(r"[\d,]*", given.get("port", "")) or "@" in given.get("dbname", ""):
            raise ConfigError(
                "store: this is not a PostgreSQL URL; one reads postgresql://user:password@host:5432/name, "
                "with special characters in the password percent-encoded"
            )
        self._secrets = [s for s in {given.get("password"), given.get("sslpassword")} if s]
        self._parameters: dict[str, Any] = {
            "application_name": "loader",
            "connect_timeout": "10",
            "keepalives_idle": "30",
            "keepalives_interval": "10",
            "keepalives_count": "3",
            "tcp_user_timeout": "30000",
            **given,
            "client_encoding": "UTF8",
        }
        user = quote(given.get("user", ""), safe="")
        host = given.get("host", "")
        port = f":{given['port']}" if "port" in given else ""
        place = quote(host, safe="") if host.startswith("/") else host
        self.url = f"postgresql://{user}{'@' if user else ''}{place}{port}/{given.get('dbname', '')}"

    def connect(self, limits: Limits) -> Connection:
        """A new connection: UTC, READ COMMITTED, not inside a transaction.

        Raises StoreUnavailable when the server does not answer, StoreError when it never will.
        """
        try:
            connection: Connection = psycopg2.connect(**self._parameters)
        except (psycopg2.Error, ValueError) as error:
            text = self._text(error)
            text += next((f"; {what}" for when, what in _REMEDIES if re.search(when, text)), "")
            if _REFUSED.search(text):
                raise StoreError(f"{self.url}: cannot connect: {text}") from None
            raise StoreUnavailable(f"{self.url}: cannot connect: {text}") from None
        try:
            if connection.server_version < OLDEST_SERVER * 10_000:
                raise StoreError(
                    f"{self.url}: this is PostgreSQL {connection.server_version // 10_000}; "
                    f"{OLDEST_SERVER} or later is needed"
                )
            connection.set_session(isolation_level="READ COMMITTED")
            with connection.cursor() as cursor:
                cursor.execute(
                    SQL["prepare"],
                    {
                        "lock_ms": f"{limits.lock_s * 1000:.0f}",
                        "statement_ms": f"{limits.statement_s * 1000:.0f}",
                        "idle_ms": f"{limits.idle_s * 1000:.0f}",
                    },
                )
            connection.commit()
        except BaseException as error:
            close(connection)
            if isinstance(error, psycopg2.Error):
                raise self.error(error) from error
            raise
        return connection

    def error(self, cause: Exception) -> LoaderError:
        """What an error of the driver means to the caller."""
        if isinstance(cause, LoaderError):
            return cause
        text, code = self._text(cause), getattr(cause, "pgcode", None)
        if code in _AWAY:
            return StoreUnavailable(f"{self.url}: {_AWAY[code]}: {text}")
        if code in _BROKEN:
            return StoreError(f"{self.url}: {_BROKEN[code]}: {text}")
        if code is not None:
            kind = StoreUnavailable if code.startswith(_AWAY_CLASSES) else StoreError
            return kind(f"{self.url}: {text} ({code})")
        if isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError):
            return StoreUnavailable(f"{self.url}: the connection was lost: {text}")
        return StoreError(f"{self.url}: cannot be stored: {text}")

    def _text(self, cause: Exception) -> str:
        lines = [line.strip() for line in str(cause).splitlines()]
        text = next((line for line in lines if line), type(cause).__name__)
        for secret in self._secrets:
            text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
        return text


def close(connection: Connection) -> None:
    with suppress(psycopg2.Error):
        connection.close()


def transact(connection: Connection, work: Callable[[Cursor], T]) -> T:
    """Do `work` in one transaction; whatever it raises rolls back."""
    try:
        with connection.cursor() as cursor:
            done = work(cursor)
        connection.commit()
    except BaseException:
        if not connection.closed:
            with suppress(psycopg2.Error):
                connection.rollback()
        raise
    return done


class Session:
    """One connection, made when it is first needed and again after it was lost.

    `joined` is called with the backend of every new connection before it is used.
    """

    def __init__(
        self, server: Server, limits: Limits, joined: Callable[[Connection, Backend], None] | None = None
    ) -> None:
        self._server = server
        self._limits = limits
        self._joined = joined
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self.backend: Backend | None = None

    def run(self, work: Callable[[Cursor], T]) -> T:
        """Do `work` in one transaction, from the start again after a deadlock, a serialization
        failure, or (once) a lost connection. So `work` must bear being done twice: a connection
        lost during COMMIT leaves open whether it was. Raises StoreUnavailable and StoreError."""
        with self._lock:
            for attempt in range(1, _REPEATS + 1):
                connection = self.connection()
                try:
                    return transact(connection, work)
                except (psycopg2.Error, ValueError) as error:
                    if not (isinstance(error, psycopg2.Error) or _unstorable(error)):
                        raise
                    again = getattr(error, "pgcode", None) in _REPEAT
                    if connection.closed:
                        self.close()
                        again = attempt == 1
                    if not again or attempt == _REPEATS:
                        raise self._server.error(error) from error
            raise AssertionError("unreachable: the last attempt returns or raises")

    def connection(self) -> Connection:
        """The connection, made if there is none. Only for one thread at a time."""
        if self._connection is None or self._connection.closed:
            connection = self._server.connect(self._limits)
            try:
                # First known, then reported: a beat in between reports it too.
                self.backend = transact(connection, own_backend)
                if self._joined is not None:
                    self._joined(connection, self.backend)
            except psycopg2.Error as error:
                close(connection)
                raise self._server.error(error) from error
            self._connection = connection
        return self._connection

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                close(self._connection)
            self._connection = self.backend = None


def _unstorable(error: ValueError) -> bool:
    """Whether the driver refused a text: a lone surrogate, or a NUL byte."""
    return isinstance(error, UnicodeEncodeError) or "NUL" in str(error)


def own_backend(cursor: Cursor) -> Backend:
    cursor.execute(SQL["own_backend"])
    pid, start = one(cursor)
    return pid, start


def one(cursor: Cursor) -> tuple[Any, ...]:
    """The row that a query is known to return."""
    row = cursor.fetchone()
    if row is None:
        raise StoreError("the database returned no row where there is always one")
    return row


class Sessions:
    """Sessions for short transactions from any thread; a few are kept for the next call."""

    def __init__(self, server: Server, limits: Limits, keep: int = 4) -> None:
        self._server = server
        self._limits = limits
        self._keep = keep
        self._lock = threading.Lock()
        self._idle: list[Session] = []

    def run(self, work: Callable[[Cursor], T]) -> T:
        """As `Session.run`, on a session of its own."""
        with self._lock:
            session = self._idle.pop() if self._idle else Session(self._server, self._limits)
        try:
            return session.run(work)
        finally:
            with self._lock:
                kept = len(self._idle) < self._keep
                if kept:
                    self._idle.append(session)
            if not kept:
                session.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()
