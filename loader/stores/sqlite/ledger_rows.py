"""The small rows of a commit: coverage, holes, watermark, places, quarantine."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from typing import Any

from loader import ledger
from loader.readings import Hole, Progress, Series, Window
from loader.records import Batch
from loader.sqltext import storable
from loader.stores.sqlite.database import SQL

PAYLOAD = 64 * 1024
"""Bytes kept of a rejected record."""


def series_row(source: str, series: Series) -> tuple[str | float | None, ...]:
    """A series in the column order of the statements that insert one."""
    return (
        source,
        *series.key,
        series.partition,
        series.station,
        series.name,
        series.timezone,
        None if series.cadence_s is None else float(series.cadence_s),
        series.replaces,
    )


def coverage(connection: sqlite3.Connection, source: str, partition: str) -> tuple[Window, ...]:
    return tuple(Window(*row) for row in connection.execute(SQL["coverage_of"], (source, partition)))


def holes(connection: sqlite3.Connection, source: str, partition: str) -> tuple[Hole, ...]:
    return tuple(hole(row) for row in connection.execute(SQL["holes_of"], (source, partition)))


def hole(row: Sequence[Any]) -> Hole:
    """A hole from the columns (from_time, to_time, cause, tries, next_try, isolated)."""
    start, end, cause, tries, next_try, isolated = row
    return Hole(Window(start, end), cause, tries, next_try, bool(isolated))


def put_coverage(
    connection: sqlite3.Connection, source: str, partition: str, windows: Sequence[Window]
) -> None:
    """Make `windows` (sorted, disjoint) the partition's coverage; writes what differs only."""
    before = coverage(connection, source, partition)
    gone, come = set(before).difference(windows), set(windows).difference(before)
    connection.executemany(SQL["drop_coverage"], [(source, partition, w.start) for w in sorted(gone)])
    connection.executemany(SQL["add_coverage"], [(source, partition, w.start, w.end) for w in sorted(come)])


def put_holes(connection: sqlite3.Connection, source: str, partition: str, found: Sequence[Hole]) -> None:
    connection.execute(SQL["drop_holes"], (source, partition))
    connection.executemany(
        SQL["add_hole"],
        [
            (
                source,
                partition,
                h.window.start,
                h.window.end,
                storable(h.cause),
                h.tries,
                h.next_try,
                int(h.isolated),
            )
            for h in found
            if h.window
        ],
    )


def write_progress(connection: sqlite3.Connection, source: str, progress: Progress) -> None:
    place = (source, progress.partition)
    if progress.cover:
        before = coverage(connection, *place)
        put_coverage(connection, *place, ledger.union([*before, *progress.cover]))
    if progress.read or progress.holes:
        stored = holes(connection, *place)
        settled = ledger.settle_holes(stored, progress.read, progress.holes)
        if settled != stored:
            put_holes(connection, *place, settled)
    if progress.watermark is not None:
        connection.execute(SQL["raise_watermark"], (progress.watermark, *place))
    if progress.swept_at is not None:
        connection.execute(SQL["set_swept"], (progress.swept_at, *place))
    if progress.ended and progress.error is None:
        connection.execute(SQL["task_succeeded"], place)
    elif progress.ended:
        connection.execute(SQL["task_failed"], (storable(progress.error or ""), *place))


def write_places(connection: sqlite3.Connection, batch: Batch, ids: Sequence[int]) -> int:
    """A row only where a series moves. Of neighbours in one spot the earlier row stays alone.
    Returns how many series were somewhere else before, each as often as it moved."""
    moved = 0
    for place in sorted(batch.places, key=lambda p: (p.series, p.time)):
        number, spot = ids[place.series], (place.latitude, place.longitude)
        before = connection.execute(SQL["place_before"], (number, place.time)).fetchone()
        if before and before[1:] == spot:
            continue
        moved += before is not None
        connection.execute(SQL["put_place"], (number, place.time, *spot))
        after = connection.execute(SQL["place_after"], (number, place.time)).fetchone()
        if after and after[1:] == spot:
            connection.execute(SQL["drop_place"], (number, after[0]))
    return moved


def write_rejects(connection: sqlite3.Connection, batch: Batch) -> None:
    connection.executemany(
        SQL["put_quarantine"],
        [
            (
                batch.source,
                r.partition,
                hashlib.sha256(r.payload).hexdigest(),
                storable(r.rule),
                storable(r.reason),
                r.payload[:PAYLOAD],
                r.time,
                batch.run_id,
                batch.read_at,
            )
            for r in batch.rejects
        ],
    )
    connection.executemany(SQL["mark_replayed"], [(batch.run_id, batch.source, d) for d in batch.replay])
