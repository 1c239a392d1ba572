"""What retention deletes of a source, in bounded transactions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from loader.journal import Cutoffs
from loader.stores.postgres import partitions
from loader.stores.postgres.partitions import Stretch
from loader.stores.postgres.session import SQL, Cursor, Transaction, one
from loader.stores.postgres.times import stamp

ROWS = 50_000
"""Rows deleted in one transaction, so that locks and the log stay small."""

_TABLES = ("reading", "anomaly", "revision", "quarantine", "batch", "run")
"""In the order in which they go: a run after its batches."""


def prune(
    source: str, cutoffs: Cutoffs, *, write: Transaction, ask: Transaction, dropped: Callable[[], None]
) -> dict[str, int]:
    """Delete what is not after the cutoffs; the rows deleted by table.

    `write` works under the source's lease, `ask` only reads; `dropped` is called when a month is
    gone.
    """
    parameters = _parameters(source, cutoffs)
    deleted = dict.fromkeys(_TABLES, 0)
    if cutoffs.readings is not None:
        deleted["reading"] = _readings(parameters, cutoffs.readings, write=write, ask=ask, dropped=dropped)
    for table in _concerned(cutoffs):
        while gone := write(partial(_some, table=table, parameters=parameters)):
            deleted[table] += gone
            if gone < ROWS:
                break
    return deleted


def prunable(cursor: Cursor, source: str, cutoffs: Cutoffs) -> dict[str, int]:
    """How many rows `prune` would delete, by table."""
    parameters = _parameters(source, cutoffs)
    found = dict.fromkeys(_TABLES, 0)
    concerned = _concerned(cutoffs) + (["reading"] if cutoffs.readings is not None else [])
    for table in concerned:
        cursor.execute(SQL[f"prunable_{table}"], parameters)
        found[table] = int(one(cursor)[0])
    return found


def _parameters(source: str, cutoffs: Cutoffs) -> dict[str, object]:
    return {
        "source": source,
        "limit": ROWS,
        "readings": stamp(cutoffs.readings),
        "revisions": stamp(cutoffs.revisions),
        "runs": stamp(cutoffs.runs),
        "batches": stamp(cutoffs.batches),
        "quarantine": stamp(cutoffs.quarantine),
    }


def _concerned(cutoffs: Cutoffs) -> list[str]:
    """The tables, `reading` aside, that something may go from."""
    wanted = {
        "anomaly": cutoffs.readings is not None,
        "revision": cutoffs.revisions is not None,
        "quarantine": cutoffs.quarantine is not None,
        "batch": cutoffs.batches is not None or cutoffs.runs is not None,
        "run": cutoffs.runs is not None,
    }
    return [table for table, concerned in wanted.items() if concerned]


def _some(cursor: Cursor, *, table: str, parameters: Mapping[str, object]) -> int:
    cursor.execute(SQL[f"prune_{table}"], parameters)
    return cursor.rowcount


def _readings(
    parameters: Mapping[str, object],
    cutoff: int,
    *,
    write: Transaction,
    ask: Transaction,
    dropped: Callable[[], None],
) -> int:
    """The ledger and the first rows, then whole months, then what is left row by row."""

    def expiring(cursor: Cursor) -> list[int]:
        cursor.execute(SQL["expiring_series"], parameters)
        return [number for (number,) in cursor]

    left = ask(expiring)
    deleted, done = write(partial(_expire, parameters=parameters, ids=left))
    left = left[done:]
    for month in ask(partial(partitions.before, cutoff=cutoff)):
        own = ask(partial(_droppable, month=month, parameters=parameters))
        if own is None:
            continue
        if not write(partial(partitions.drop, stretch=month)):
            break
        dropped()
        deleted += own
    while left:
        gone, done = write(partial(_delete, parameters=parameters, ids=left))
        deleted += gone
        left = left[done:]
    return deleted


def _expire(cursor: Cursor, *, parameters: Mapping[str, object], ids: Sequence[int]) -> tuple[int, int]:
    """From now on nothing up to the cutoff is fetched or stored any more."""
    for query in (
        "expire_partitions",
        "expire_coverage",
        "trim_coverage",
        "expire_hole",
        "trim_hole",
        "expire_pending",
        "trim_pending",
    ):
        cursor.execute(SQL[query], parameters)
    return _delete(cursor, parameters=parameters, ids=ids)


def _delete(cursor: Cursor, *, parameters: Mapping[str, object], ids: Sequence[int]) -> tuple[int, int]:
    """Rows of these series, the oldest first: how many went, and of how many series all did."""
    room, deleted, done = ROWS, 0, 0
    touched = []
    for number in ids:
        cursor.execute(SQL["prune_reading"], {**parameters, "of": number, "limit": room})
        touched.append(number)
        deleted += cursor.rowcount
        done += cursor.rowcount < room
        # A look at an empty table is work too.
        room -= max(cursor.rowcount, 1)
        if room <= 0:
            break
    if touched:
        cursor.execute(SQL["shrink_series"], {"ids": touched})
    return deleted, done


def _droppable(cursor: Cursor, *, month: Stretch, parameters: Mapping[str, object]) -> int | None:
    """How many rows of the source go with a month; None where it has to stay."""
    if not partitions.expired(cursor, month):
        return None
    cursor.execute(SQL["month_readings"], {**parameters, "start": month.start, "stop": month.stop})
    return int(one(cursor)[0])
