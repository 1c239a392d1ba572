"""The months that `reading` is cut into. On TimescaleDB there is nothing to do: it cuts itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from psycopg2 import sql

from loader.readings import Bool, Int64
from loader.stores.postgres.session import SQL, Cursor, Session, one

_PREFIX = "reading_"

DIRECT = 1_000
"""Rows a month from which on a COPY of its own pays."""


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

    def ensure(self, session: Session, time: Int64) -> None:
        """Make the partitions that readings at `time` (microseconds UTC) need."""
        if len(time) == 0:
            return
        wanted = {_name(month): month for month in np.unique(_months(time))}
        if self._partitioned is None:
            self._partitioned = session.run(_is_partitioned)
        missing = wanted.keys() - self._known
        if not self._partitioned or not missing:
            return
        there = session.run(_names)
        if not wanted.keys() <= there:
            there |= session.run(lambda cursor: _create(cursor, wanted))
        # Known only now that it is committed.
        self._known |= there

    def tables(self, time: Int64) -> list[tuple[str, Bool | None]]:
        """Where rows at `time` are written, after `ensure`: each month's own table with a mask of
        its rows, which spares the server a fifth of the work; all (None) where it is little."""
        if self._partitioned and len(time) >= DIRECT:
            months = _months(time)
            present = np.unique(months)
            if len(time) >= DIRECT * len(present):
                return [(_name(month), months == month) for month in present]
        return [("reading", None)]

    def forget(self) -> None:
        """Look again next time: somebody may have dropped old months."""
        self._known.clear()


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
