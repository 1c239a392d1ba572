"""The right to write a source: an advisory lock that dies with its process, and a row whose token
keeps a holder that was only asleep from writing after somebody else has taken over.

The lock and the row must be on one and the same connection to the server itself: a pooler that
hands each transaction to another backend would strand the lock.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence

import psycopg2

from loader.contracts import DIED
from loader.errors import LeaseHeld, LeaseLost, LoaderError
from loader.log import get_logger
from loader.stores.postgres.session import (
    SQL,
    Backend,
    Connection,
    Cursor,
    Limits,
    Server,
    close,
    one,
    own_backend,
    transact,
)

BEAT_S = 5.0
"""How often a holder shows that it is alive."""

STALE_S = 20.0
"""A holder that was silent for so long is taken for asleep or cut off, and is ended."""

LETTING_GO_S = 10.0
"""How long an ended holder's lock may take to become free."""

_LIMITS = Limits(statement_s=15, lock_s=10, idle_s=15)


class PostgresLease:
    """A lease that is held; see `take`. Beats on a thread of its own until released or lost."""

    def __init__(
        self,
        server: Server,
        source: str,
        connection: Connection,
        backend: Backend,
        *,
        writer: Callable[[], Backend | None],
        beat_s: float,
    ) -> None:
        self.source = source
        self.token = 0
        self._server = server
        self._connection: Connection | None = connection
        self._backend = backend
        self._locked = True
        self._writer = writer
        self._over: str | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._keep_beating, args=(beat_s,), name=f"lease {source}", daemon=True
        )

    @property
    def held(self) -> bool:
        return self._over is None

    def fence(self, cursor: Cursor) -> None:
        """First statement of every writing transaction: nobody can take the lease over before
        that transaction has ended. Raises LeaseLost."""
        if self._over is None:
            cursor.execute(SQL["fence"], {"source": self.source, "token": self.token})
            if cursor.rowcount != 1:
                self._over = "another loader has taken it over"
        if self._over is not None:
            raise LeaseLost(
                f"the lease of source {self.source!r} is gone ({self._over}); nothing was written"
            )

    def list_backends(self, cursor: Cursor, writer: Backend) -> None:
        """Note a new writing connection before it is used, so that a successor can end it."""
        # Not while a beat is under way, which may still report the connection before.
        with self._lock:
            if self._over is None:
                cursor.execute(SQL["beat"], self._parameters(writer))

    def release(self) -> None:
        self._stop.set()
        with self._lock:
            if self._over is None:
                self._over = "it was released"
                if self._connection is not None:
                    try:
                        transact(self._connection, self._give_back)
                        transact(self._connection, self._unlock)
                    except psycopg2.Error as error:
                        # The row then still names this holder, but the lock below is free.
                        why = str(self._server.error(error))
                        get_logger().debug("lease.release", source=self.source, error=why)
            self._hang_up()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def begin(self, connection: Connection, holder: str, own: Sequence[int]) -> None:
        """Having the lock, raise the token and close what the last holder left open."""

        def take(cursor: Cursor) -> int:
            # What the last holder left running would keep the row locked; it may not commit anyway.
            cursor.execute(SQL["end_leftover"], {"source": self.source, "own": list(own)})
            cursor.execute(SQL["lock_lease"], {"source": self.source})
            cursor.execute(SQL["take_lease"], {"holder": holder, **self._parameters(self._writer())})
            token = int(one(cursor)[0])
            cursor.execute(SQL["close_runs"], {"source": self.source, "died": DIED})
            return token

        self.token = transact(connection, take)
        self._thread.start()

    def _parameters(self, writer: Backend | None) -> dict[str, object]:
        backends = [self._backend, *([] if writer is None else [writer])]
        return {
            "source": self.source,
            "token": self.token,
            "pids": [pid for pid, _ in backends],
            "starts": [start for _, start in backends],
        }

    def _give_back(self, cursor: Cursor) -> None:
        cursor.execute(SQL["release_lease"], {"source": self.source, "token": self.token})

    def _unlock(self, cursor: Cursor) -> None:
        # Hanging up would do it too, but only some time later: the next run may come first.
        cursor.execute(SQL["unlock_source"], {"source": self.source})

    def _keep_beating(self, beat_s: float) -> None:
        log = get_logger(source=self.source)
        while not self._stop.wait(beat_s):
            with self._lock:
                if self._over is not None:
                    return
                try:
                    self._beat()
                except (psycopg2.Error, LoaderError) as error:
                    # Not fatal: the token decides, and the next beat connects anew.
                    log.warning("lease.beat", error=str(self._server.error(error)))
                    if self._connection is not None and self._connection.closed:
                        self._hang_up()
                if self._over is not None:
                    log.error("lease.lost", reason=self._over)
                    self._hang_up()
                    return

    def _beat(self) -> None:
        connection = self._connection
        if connection is None or connection.closed:
            self._hang_up()
            connection = self._connection = self._server.connect(_LIMITS)
            self._backend = transact(connection, own_backend)
            self._locked = False
        if not self._locked:
            # Lost with its connection; taken again once the server has let go of it.
            self._locked = _try_lock(connection, self.source)

        def beat(cursor: Cursor) -> int:
            cursor.execute(SQL["beat"], self._parameters(self._writer()))
            return cursor.rowcount

        if transact(connection, beat) != 1:
            self._over = "another loader has taken it over"

    def _hang_up(self) -> None:
        if self._connection is not None:
            close(self._connection)
        self._connection = None


def take(
    server: Server,
    source: str,
    writer: Callable[[], Backend | None],
    *,
    beat_s: float = BEAT_S,
    stale_s: float = STALE_S,
) -> PostgresLease:
    """Become the one writer of `source`.

    `writer` names the backend that will write, if there is one. Raises LeaseHeld at once when a
    living loader holds the lease; one that has not beaten for `stale_s` is ended first.
    """
    connection = server.connect(_LIMITS)
    try:
        backend = transact(connection, own_backend)
        transact(connection, lambda cursor: cursor.execute(SQL["add_lease"], {"source": source}))
        if not _try_lock(connection, source):
            _end_silent_holder(connection, source, stale_s)
        lease = PostgresLease(server, source, connection, backend, writer=writer, beat_s=beat_s)
        mine = writer()
        lease.begin(
            connection,
            f"{socket.gethostname()} process {os.getpid()}",
            [backend[0], *([] if mine is None else [mine[0]])],
        )
    except psycopg2.Error as error:
        close(connection)
        raise server.error(error) from error
    except BaseException:
        close(connection)
        raise
    return lease


def _try_lock(connection: Connection, source: str) -> bool:
    def attempt(cursor: Cursor) -> bool:
        cursor.execute(SQL["try_lock_source"], {"source": source})
        return bool(one(cursor)[0])

    return transact(connection, attempt)


def _end_silent_holder(connection: Connection, source: str, stale_s: float) -> None:
    """Get the lock from a holder that is asleep; raises LeaseHeld when it is awake."""

    def look(cursor: Cursor) -> tuple[int, str, bool, float]:
        cursor.execute(SQL["lease_holder"], {"source": source, "stale_s": stale_s})
        token, holder, stale, silent_s = one(cursor)
        return token, holder, stale, silent_s

    token, holder, stale, silent_s = transact(connection, look)
    held = LeaseHeld(
        f"source {source!r} is being loaded by {holder or 'another loader'} "
        f"(its last sign of life was {max(silent_s, 0):.0f} s ago)"
    )
    if not stale:
        raise held
    get_logger().warning("lease.takeover", source=source, holder=holder, silent_s=silent_s)
    transact(
        connection,
        lambda cursor: cursor.execute(
            SQL["end_stale"], {"source": source, "token": token, "stale_s": stale_s}
        ),
    )
    deadline = time.monotonic() + LETTING_GO_S
    while not _try_lock(connection, source):
        if time.monotonic() > deadline:
            raise held
        time.sleep(0.05)
