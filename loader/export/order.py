"""A station's readings by time, whichever series they are of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from loader.contracts import Reports
from loader.readings import Int64, Readings, Window
from loader.records import StoredSeries

ROWS = 20_000
"""Readings held at once."""


def ordered(
    reports: Reports, station: Sequence[StoredSeries], window: Window, rows: int = ROWS
) -> Iterator[Readings]:
    """The readings of one station by (time, position in `station`), no more than `rows` at once
    unless that many have the same time.

    `Readings.series` holds positions in `station`; no block is empty, and readings of one time
    are never in two. A store scans series after series; so that none has to be held back until
    the others are read, time is cut into slices, shorter where readings are dense.
    """
    window = window.clip(
        Window(
            min(s.first_time for s in station if s.first_time is not None) - 1,
            max(s.last_time for s in station if s.last_time is not None),
        )
    )
    ids = np.array([s.id for s in station], np.int64)
    if len(station) == 1:
        for part in reports.scan(ids.tolist(), window) if window else ():
            for at in range(0, len(part), rows):
                yield _at(part, np.arange(at, min(at + rows, len(part))), np.zeros(1, np.int64))
        return
    start, width = window.start, window.end - window.start
    while start < window.end:
        end = min(start + width, window.end)
        found = _slice(reports, ids.tolist(), Window(start, end), rows)
        if isinstance(found, int):
            width = found - start
            continue
        if len(found):
            by_id = np.argsort(ids)
            position = by_id[np.searchsorted(ids[by_id], found.series)]
            yield _at(found, np.lexsort((position, found.time)), position)
        width = (end - start) * (16 if len(found) * 32 <= rows else 2 if len(found) * 4 <= rows else 1)
        start = end


def _slice(reports: Reports, ids: list[int], window: Window, rows: int) -> Readings | int:
    """What lies in the window, or, as soon as it turns out to be too much, an earlier end."""
    parts: list[Readings] = []
    count = 0
    for part in reports.scan(ids, window):
        parts.append(part)
        count += len(part)
        if count > rows and window.end - window.start > 1:
            found = Readings.concat(parts)
            # The series not scanned yet are taken to be as dense as those that were.
            share = rows * len(np.unique(found.series)) // len(ids) // 2
            return min(int(np.sort(found.time)[share]), window.end - 1)
    return Readings.concat(parts)


def _at(readings: Readings, order: Int64, position: Int64) -> Readings:
    part = readings.take(order)
    return Readings(
        np.resize(position[order] if len(position) > 1 else position, len(order)).astype(np.int32),
        part.time,
        part.value,
        part.flag,
        part.tests,
    )
