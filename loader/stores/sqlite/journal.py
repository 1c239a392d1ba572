"""Request budget and requests for work: what changes them is one short transaction on a connection
of its own, what only asks is a snapshot that waits for nobody."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from loader.journal import Request, RequestState
from loader.journalcontracts import Grant
from loader.readings import SECOND
from loader.sqltext import storable
from loader.stores.sqlite.database import SQL, Database, transaction

TIDY_ROWS = 5_000
"""Rows that `tidy` deletes in one transaction: no commit has to wait long for it."""


class JournalConnection:
    """The connection that all small shared state is written on, by one thread at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._journal_guard = threading.Lock()
        self._journal: sqlite3.Connection | None = None

    @contextmanager
    def _entry(self) -> Iterator[sqlite3.Connection]:
        with self._journal_guard, self._database.errors():
            if self._journal is None:
                self._journal = self._database.connect()
            with transaction(self._journal):
                yield self._journal

    def _close_journal(self) -> None:
        with self._journal_guard:
            if self._journal is not None:
                self._journal.close()
                self._journal = None


class SQLiteJournal(JournalConnection):
    """What threads and processes share without a lease."""

    def take(self, key: str, lot: int, limits: Mapping[int, int], reserve: float, now: int) -> Grant:
        with self._entry() as connection:
            rows = {row[0]: row[1:] for row in connection.execute(SQL["find_budget"], (key,))}
            blocked = rows.get(0, (0, 0, 0))[2] or 0
            if blocked > now:
                return Grant(0, blocked)
            left, retry_at = lot, now
            windows = []
            for window_s, limit in limits.items():
                length = window_s * SECOND
                start, used = now - now % length, 0
                stored, spent, _ = rows.get(window_s, (None, 0, None))
                # A clock a little ahead of this one may have begun the next window already.
                if stored is not None and start <= stored <= start + length:
                    start, used = stored, spent
                # 1e-9: 30 * (1 - 0.1) is a hair above 27, others a hair below.
                allowed = max(1, int(limit * (1 - reserve) + 1e-9)) if limit > 0 else 0
                if used >= allowed:
                    retry_at = max(retry_at, start + length)
                left = min(left, allowed - used)
                windows.append((window_s, start, used))
            if left <= 0:
                return Grant(0, retry_at)
            connection.executemany(
                SQL["put_budget"],
                [(key, window_s, start, used + left) for window_s, start, used in windows],
            )
            return Grant(left, now)

    def give_back(self, key: str, count: int, taken_at: int) -> None:
        with self._entry() as connection:
            connection.execute(SQL["give_back"], (count, key, taken_at))

    def block(self, key: str, until: int) -> None:
        with self._entry() as connection:
            connection.execute(SQL["block"], (key, until))

    def queue(self, source: str, kind: str, arguments: Mapping[str, Any], by: str, at: int) -> int:
        with self._entry() as connection:
            row = (source, kind, as_json(arguments), storable(by), at)
            return int(connection.execute(SQL["queue_request"], row).lastrowid or 0)

    def requests(self, source: str | None = None, *, final: bool = True, limit: int = 100) -> list[Request]:
        with self._database.reading() as connection:
            wanted = SQL["newest_requests" if final else "open_requests"]
            found = [_request(row) for row in connection.execute(wanted, (source, limit))]
        return sorted(found, key=lambda r: r.id)

    def request(self, number: int) -> Request | None:
        with self._database.reading() as connection:
            return _find(connection, number)

    def note_request(
        self,
        number: int,
        at: int,
        *,
        state: RequestState | None = None,
        progress: str | None = None,
        result: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        note = {
            "id": number,
            "at": at,
            "state": state,
            "progress": None if progress is None else storable(progress),
            "result": None if result is None else as_json(result),
            "error": None if error is None else storable(error),
        }
        with self._entry() as connection:
            connection.execute(SQL["note_request"], note)

    def cancel_request(self, number: int, at: int) -> Request | None:
        with self._entry() as connection:
            if _find(connection, number) is None:
                return None
            connection.execute(SQL["cancel_queued"], (at, number))
            connection.execute(SQL["cancel_running"], (number,))
            return _find(connection, number)

    def tidy(self, before: int) -> dict[str, int]:
        deleted = dict.fromkeys(("outbox", "request", "mute", "limit_event"), 0)
        for table in deleted:
            gone = TIDY_ROWS
            while gone == TIDY_ROWS:
                with self._entry() as connection:
                    gone = connection.execute(SQL[f"tidy_{table}"], (before, TIDY_ROWS)).rowcount
                deleted[table] += gone
        return deleted


def as_json(value: object) -> str:
    return storable(json.dumps(value, ensure_ascii=False))


def _find(connection: sqlite3.Connection, number: int) -> Request | None:
    if abs(number) >= 2**63:
        return None
    row = connection.execute(SQL["find_request"], (number,)).fetchone()
    return None if row is None else _request(row)


def _request(row: tuple[Any, ...]) -> Request:
    (
        number,
        source,
        kind,
        arguments,
        by,
        at,
        state,
        started,
        finished,
        progress,
        result,
        error,
        cancelling,
    ) = row
    return Request(
        id=number,
        source=source,
        kind=kind,
        arguments=json.loads(arguments),
        asked_by=by,
        queued_at=at,
        state=RequestState(state),
        started=started,
        finished=finished,
        progress=progress,
        result=json.loads(result),
        error=error,
        cancelling=bool(cancelling),
    )
