"""The request budget in PostgreSQL, and what leaves the journal with time: each call one short
transaction, or several, from any thread."""

from __future__ import annotations

from collections.abc import Mapping

from loader.journalcontracts import Grant
from loader.readings import SECOND
from loader.stores.postgres.session import SQL, Cursor, Sessions
from loader.stores.postgres.times import micros, micros_or_none, stamp

TIDY_ROWS = 5_000
"""Rows that `tidy` deletes in one transaction, so that locks and the log stay small."""


class PostgresJournal:
    """What loaders share without a lease. Of one key's rows one transaction at a time counts."""

    _sessions: Sessions

    def take(self, key: str, lot: int, limits: Mapping[int, int], reserve: float, now: int) -> Grant:
        lengths = sorted(limits)

        def work(cursor: Cursor) -> Grant:
            starts = [now - now % (length * SECOND) for length in lengths]
            cursor.execute(
                SQL["add_budget"], {"key": key, "windows": lengths, "starts": [stamp(s) for s in starts]}
            )
            cursor.execute(SQL["lock_budget"], {"key": key})
            rows = {length: (micros(start), used, until) for length, start, used, until in cursor}
            blocked = micros_or_none(rows[0][2]) if 0 in rows else None
            if blocked is not None and blocked > now:
                return Grant(0, blocked)
            count, retry_at = lot, now
            windows: list[tuple[int, int, int]] = []
            for length, current in zip(lengths, starts, strict=True):
                start, used, _ = rows[length]
                # A clock a little ahead of this one may have begun the next window already.
                if not current <= start <= current + length * SECOND:
                    start, used = current, 0
                # Shares such as 0.1 have no exact binary form: 30 * (1 - 0.1) must count as 27.
                allowed = max(1, int(limits[length] * (1 - reserve) + 1e-9)) if limits[length] > 0 else 0
                if used >= allowed:
                    retry_at = max(retry_at, start + length * SECOND)
                count = min(count, allowed - used)
                windows.append((length, start, used))
            if count <= 0:
                return Grant(0, retry_at)
            cursor.execute(
                SQL["put_budget"],
                {
                    "key": key,
                    "windows": [length for length, _, _ in windows],
                    "starts": [stamp(start) for _, start, _ in windows],
                    "used": [used + count for _, _, used in windows],
                },
            )
            return Grant(count, now)

        return self._sessions.run(work)

    def give_back(self, key: str, count: int, taken_at: int) -> None:
        parameters = {"key": key, "count": count, "at": stamp(taken_at)}
        self._sessions.run(lambda cursor: cursor.execute(SQL["give_back"], parameters))

    def block(self, key: str, until: int) -> None:
        parameters = {"key": key, "until": stamp(until)}
        self._sessions.run(lambda cursor: cursor.execute(SQL["block"], parameters))

    def tidy(self, before: int) -> dict[str, int]:
        parameters = {"before": stamp(before), "limit": TIDY_ROWS}
        deleted = dict.fromkeys(("outbox", "request", "mute", "limit_event"), 0)
        for table in deleted:

            def work(cursor: Cursor, query: str = SQL[f"tidy_{table}"]) -> int:
                cursor.execute(query, parameters)
                return cursor.rowcount

            gone = TIDY_ROWS
            while gone == TIDY_ROWS:
                gone = self._sessions.run(work)
                deleted[table] += gone
        return deleted
