"""A source deleted whole, in bounded transactions."""

from __future__ import annotations

from collections import deque

from loader.stores.postgres.session import SQL, Cursor, Transaction

ROWS = 50_000
"""Rows deleted in one transaction, so that locks and the log stay small."""

_LEDGER = ("coverage", "hole", "partition")
_OF_SERIES = (
    "reading",
    "revision",
    "place",
    "limit_event",
    "pending",
    "quality",
    "cadence",
    "anomaly",
    "drift",
    "standing",
)
_OF_SOURCE = ("model", "lateness", "quarantine", "series", "alert", "mute", "request", "batch", "run")


def forget(source: str, *, write: Transaction, ask: Transaction) -> dict[str, int]:
    """Delete it; the rows deleted by table. `write` works under the source's lease, `ask` only reads.

    The ledger goes first: readings without coverage are only read again, coverage without readings
    would be a loss nobody sees. Runs go last, so that the source stays listed.
    """

    def series(cursor: Cursor) -> list[int]:
        cursor.execute(SQL["source_ids"], {"source": source})
        return [number for (number,) in cursor]

    ids = ask(series)
    steps = deque[tuple[str, str | int]]()
    steps.extend((table, source) for table in _LEDGER)
    steps.extend((table, number) for number in ids for table in _OF_SERIES)
    steps.extend((table, source) for table in _OF_SOURCE)
    deleted = dict.fromkeys((table for table, _ in steps), 0)

    def work(cursor: Cursor) -> list[tuple[str, int, bool]]:
        room, gone = ROWS, []
        for table, of in steps:
            cursor.execute(SQL[f"forget_{table}"], {"of": of, "limit": room})
            count = cursor.rowcount
            gone.append((table, count, count < room))
            # A look at an empty table is work too.
            room -= max(count, 1)
            if room <= 0:
                break
        return gone

    while steps:
        for table, count, done in write(work):
            deleted[table] += count
            if done:
                steps.popleft()
    return deleted
