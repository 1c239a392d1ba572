"""The months that `reading` is cut into. On TimescaleDB there is nothing to do: it cuts itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from psycopg2 import errors, sql

from loader.log import get_logger
from loader.readings import Bool, Int64
from loader.stores.postgres.session import SQL, Cursor, Session, one
from loader.stores.postgres.times import clamped

_PREFIX = "reading_"


class MonthMissing(Exception):
    """A month's partition was dropped after it had been seen."""


class Months:
    """Sees to it that every month of a batch has its partition before the batch begins.

    Each call that has to create one does so in a transaction of its own, under an advisory lock:
    creating them inside the batch deadlocks with another loader's batch.
    """

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._partitioned: bool | None = None

    def ensure(self, session: Session, time: Int64, unexpired: Callable[[], Bool]) -> None:
        """Make the partitions that readings at `time` (microseconds UTC) need. Which of them have
        not expired is asked only when some are missing: for what has, none is made."""
        if len(time) == 0:
            return
        wanted = {_name(month): month for month in np.unique(_months(time))}
        if self._partitioned is None:
            self._partitioned = session.run(_is_partitioned)
        if not self._partitioned or wanted.keys() <= self._known:
            return
        wanted = {_name(month): month for month in np.unique(_months(time[unexpired()]))}
        there = session.run(_names)
        if not wanted.keys() <= there:
            there |= session.run(lambda cursor: _create(cursor, wanted))
        # Known only now that it is committed.
        self._known |= there

    def forget(self) -> None:
        """Look again next time: somebody may have dropped old months."""
        self._known.clear()


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of `reading` that can go as a whole: [start, stop) in a table of its own."""

    schema: str
    table: str
    start: datetime
    stop: datetime


def before(cursor: Cursor, cutoff: int) -> list[Stretch]:
    """The months (chunks on TimescaleDB) of which nothing is after `cutoff`, the oldest first."""
    query = "months" if _is_partitioned(cursor) else "chunks"
    # Half-open the other way round: a month ends before the first moment of the next.
    cursor.execute(SQL[query], {"cutoff": clamped(cutoff + 1)})
    return [Stretch(*row) for row in cursor]


def expired(cursor: Cursor, stretch: Stretch) -> bool:
    """Whether every reading in it has expired, whichever source it is of."""
    cursor.execute(SQL["unexpired"], {"start": stretch.start, "stop": stretch.stop})
    return not one(cursor)[0]


def drop(cursor: Cursor, stretch: Stretch) -> bool:
    """Drop it, if all of it has expired now that nobody can add to it; the first times of series
    follow.

    False, with nothing locked or changed, where the lock cannot be had soon, or something else
    keeps it from being dropped.
    """
    cursor.execute("SAVEPOINT month")
    try:
        cursor.execute(SQL["lock_readings"])
        table = sql.Identifier(stretch.schema, stretch.table)
        cursor.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE").format(table))
        if expired(cursor, stretch):
            bounds = {"start": stretch.start, "stop": stretch.stop}
            if _is_partitioned(cursor):
                cursor.execute(sql.SQL("DROP TABLE {}").format(table))
            else:
                cursor.execute(SQL["drop_chunk"], bounds)
            cursor.execute(SQL["shrink_dropped"], bounds)
            return True
    except (
        errors.LockNotAvailable,
        errors.DeadlockDetected,
        errors.DependentObjectsStillExist,
        errors.UndefinedTable,
    ) as error:
        get_logger().debug("prune.month", month=stretch.table, reason=str(error).splitlines()[0])
    cursor.execute("ROLLBACK TO SAVEPOINT month")
    return False


def _months(time: Int64) -> npt.NDArray[np.datetime64]:
    return time.astype("datetime64[us]").astype("datetime64[M]")


def _name(month: np.datetime64) -> str:
    return _PREFIX + str(month).replace("-", "_")


def _is_partitioned(cursor: Cursor) -> bool:
    cursor.execute(SQL["is_partitioned"])
    return bool(one(cursor)[0])


def _names(cursor: Cursor) -> set[str]:
    cursor.execute(SQL["find_months"])
    return {name for (name,) in cursor}


def _create(cursor: Cursor, wanted: dict[str, np.datetime64]) -> set[str]:
    cursor.execute(SQL["lock_months"])
    for name in sorted(wanted.keys() - _names(cursor)):
        month = wanted[name]
        cursor.execute(sql.SQL("CREATE TABLE {} (LIKE reading INCLUDING ALL)").format(sql.Identifier(name)))
        cursor.execute(
            sql.SQL("ALTER TABLE reading ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
                sql.Identifier(name),
                sql.Literal(f"{month}-01 00:00Z"),
                sql.Literal(f"{month + np.timedelta64(1, 'M')}-01 00:00Z"),
            )
        )
    return set(wanted)
