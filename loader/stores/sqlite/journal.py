"""The request budget: one short transaction a call, on a connection of its own."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from loader.contracts import Grant
from loader.readings import SECOND
from loader.stores.sqlite.database import SQL, Database, transaction


class SQLiteJournal:
    """What threads and processes share without a lease."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._journal_guard = threading.Lock()
        self._journal: sqlite3.Connection | None = None

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
