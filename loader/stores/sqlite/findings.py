"""What is found out about series after a run, and flags that change without a commit.

All functions run inside the caller's transaction on the writing connection.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

import numpy as np

from loader import columns, ledger
from loader.errors import StoreError
from loader.findings import Assessment, Model, QualityDay
from loader.readings import Int64, Readings, UInt8, UInt32, Window
from loader.sqltext import storable
from loader.stores.sqlite.database import SQL

_ASSESSED = attrgetter(*(f.name for f in fields(QualityDay) if f.name not in ("late", "duplicate")))
"""A day in the order of its columns, without what commits count."""


def add_pending(connection: sqlite3.Connection, touched: Mapping[int, Window]) -> None:
    """Add windows, by series id, to what is to be assessed."""
    connection.executemany(SQL["add_pending"], [(i, w.start, w.end) for i, w in touched.items()])


def count_days(connection: sqlite3.Connection, what: str, ids: Sequence[int], readings: Readings) -> None:
    """Add readings to their days' counts; `what` is late or duplicate."""
    series, days, counts = columns.by_day(readings)
    numbers = np.array(ids, np.int64)[series].tolist()
    connection.executemany(SQL[f"count_{what}"], zip(numbers, days.tolist(), counts.tolist(), strict=True))


def put_flags(
    connection: sqlite3.Connection, source: str, series_id: int, given: tuple[Int64, UInt8, UInt32]
) -> int:
    """Give stored readings of a series other (times, flags, tests); how many differed."""
    _own(connection, source, series_id)
    changed = []
    for at, verdict, bits in zip(*(column.tolist() for column in given), strict=True):
        row = (verdict, bits, series_id, at, verdict, bits)
        if connection.execute(SQL["put_other_flags"], row).rowcount:
            changed.append(at)
    if changed:
        first, last = min(changed), max(changed)
        (before,) = connection.execute(SQL["reading_before"], (series_id, first)).fetchone()
        start = first - 1 if before is None else before
        add_pending(connection, {series_id: Window(start, last)})
    return len(changed)


def assess(connection: sqlite3.Connection, source: str, found: Assessment) -> None:
    """Keep what was found about one series."""
    number = found.series_id
    _own(connection, source, number)
    parts = (found.days, found.cadences or (), found.anomalies, found.drifts, found.standings)
    if any(row.series_id != number for part in parts for row in part):
        raise StoreError(f"findings about other series than {number} were given for it")
    if found.pending is not None:
        _answer(connection, number, found.pending)
    connection.executemany(SQL["put_day"], [_ASSESSED(day) for day in found.days])
    if found.cadences is not None:
        connection.execute(SQL["drop_cadences"], (number,))
        connection.executemany(SQL["put_cadence"], [_row(one) for one in found.cadences])
    for detector, window in (found.judged or {}).items():
        connection.execute(SQL["drop_anomalies"], (number, detector, window.start, window.end))
    connection.executemany(SQL["put_anomaly"], [_row(one) for one in found.anomalies])
    connection.executemany(SQL["put_drift"], [_row(one) for one in found.drifts])
    connection.executemany(
        SQL["put_standing"], [(*_row(one)[:-1], storable(one.detail)) for one in found.standings]
    )


def put_model(connection: sqlite3.Connection, source: str, model: Model) -> None:
    """Keep a fitted model instead of the one of the same station and detector."""
    row = _row(model)
    connection.execute(SQL["put_model"], (source, *row[:-2], json.dumps(model.sensors), model.data))


def _row(found: Any) -> tuple[Any, ...]:
    """A finding in the order of its fields, which is that of its table's columns."""
    return tuple(getattr(found, field.name) for field in fields(found))


def _own(connection: sqlite3.Connection, source: str, series_id: int) -> None:
    """Raises StoreError for a series that is not of the source whose lease is held."""
    row = connection.execute(SQL["source_of_series"], (series_id,)).fetchone()
    if row != (source,):
        raise StoreError(f"series {series_id} is not of source {source!r}")


def _answer(connection: sqlite3.Connection, number: int, answered: Window) -> None:
    """Take a stretch off what is to be assessed; what a commit added meanwhile stays."""
    row = connection.execute(SQL["pending_of"], (number,)).fetchone()
    if row is None:
        return
    left = ledger.subtract([Window(*row)], [answered])
    connection.execute(SQL["drop_pending"], (number,))
    if left:
        add_pending(connection, {number: Window(left[0].start, left[-1].end)})
