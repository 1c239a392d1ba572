"""One batch in one transaction: what is new, what was revised, and everything that follows.

All functions run inside the caller's transaction on the writing connection.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from loader import columns, lateness, ledger
from loader.context import flagged
from loader.contracts import Checker, Committed
from loader.readings import DAY, Bool, Flag, Float64, Int64, Readings, Series, Window
from loader.records import COUNT_NAMES, Batch, Counts
from loader.stores.sqlite import findings, ledger_rows, retention
from loader.stores.sqlite.database import SQL
from loader.stores.sqlite.surroundings import Surroundings

Key = tuple[str, str, str]

ROWS = 500
"""Rows in one INSERT: the more rows, the fewer calls; beyond this nothing more is gained."""

CHUNK = 20_000
"""Stored rows read at once for comparison."""

WIDTH = 6
# Without numbers: some releases of Python 3.12 and 3.13 take a tenfold time over `?1`.
_INSERT_ONE = "INSERT INTO reading (series_id, time, value, flag, tests, run_id) VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_MANY = _INSERT_ONE + ", (?, ?, ?, ?, ?, ?)" * (ROWS - 1)
_FIND_BATCH = SQL["find_batch"].format(counts=", ".join(COUNT_NAMES))
_ADD_BATCH = SQL["add_batch"].format(counts=", ".join(COUNT_NAMES), marks=", ".join("?" * len(COUNT_NAMES)))


@dataclass(frozen=True, slots=True, eq=False)
class _Stored:
    """What the tables held before the batch.

    ids       id of each of the batch's series
    fresh     ids that this transaction inserted
    covered   coverage of the partitions in the batch
    in_read   partition -> (its windows read, ids of its series, number of stored rows in them)
    """

    ids: list[int]
    fresh: frozenset[int]
    covered: Mapping[str, tuple[Window, ...]]
    in_read: Mapping[str, tuple[tuple[Window, ...], frozenset[int], int]]


def write(
    connection: sqlite3.Connection, batch: Batch, check: Checker, known: Mapping[Key, int], now: int
) -> tuple[Committed, dict[Key, int]]:
    """Write the batch; returns what it did and the ids of its series, valid once committed."""
    done = connection.execute(_FIND_BATCH, (batch.run_id, batch.seq)).fetchone()
    if done:
        return Committed(Counts(*done), replayed=True), {}
    batch, expired = retention.unexpired(connection, batch)
    stored = _look(connection, batch, known)
    bounds = np.searchsorted(batch.readings.series, np.arange(len(batch.series) + 1))
    split, old_values = _compare(connection, batch.readings, stored, bounds)
    changed = split.new | split.revised
    found = flagged(
        check,
        batch.series,
        batch.readings.take(changed),
        Surroundings(connection, stored.ids, stored.fresh),
    )
    written = found.readings
    _insert(connection, batch.run_id, stored.ids, written.take(split.new[changed]))
    _revise(connection, batch.run_id, stored.ids, written.take(split.revised[changed]), old_values)
    _reflag(connection, stored.ids, found.neighbours)
    late = _late(batch, split.new, stored, bounds)
    _stretch(connection, batch.readings, split.new, stored.ids, bounds)
    _add_delays(connection, batch, late, stored.ids, bounds)
    findings.add_pending(connection, {stored.ids[i]: w for i, w in found.touched.items()})
    findings.count_days(connection, "late", stored.ids, batch.readings.take(late))
    # Once, though a source that repeats a record does so whenever it is read.
    repeated = columns.among(batch.repeated, batch.readings.take(split.new))
    findings.count_days(connection, "duplicate", stored.ids, repeated)
    moved = ledger_rows.write_places(connection, batch, stored.ids)
    ledger_rows.write_rejects(connection, batch)
    for progress in batch.progress:
        ledger_rows.write_progress(connection, batch.source, progress)
    counts = replace(
        batch.counts,
        expired=expired,
        new=int(split.new.sum()),
        refetched=int(split.refetched.sum()),
        revised=int(split.revised.sum()),
        late=int(late.sum()),
        missing=int((written.flag == Flag.MISSING).sum()),
        suspect=int((written.flag == Flag.SUSPECT).sum()),
        failed=int((written.flag == Flag.FAIL).sum()),
        vanished=_vanished(batch, ~split.new, stored, bounds),
        inconsistent=batch.counts.inconsistent + moved,
    )
    connection.execute(
        _ADD_BATCH,
        (batch.run_id, batch.seq, batch.read_at, now, *(getattr(counts, n) for n in COUNT_NAMES)),
    )
    return Committed(counts), dict(zip((s.key for s in batch.series), stored.ids, strict=True))


def _look(connection: sqlite3.Connection, batch: Batch, known: Mapping[Key, int]) -> _Stored:
    stations = {s.partition: s.station for s in batch.series}
    partitions = {**dict.fromkeys(p.partition for p in batch.progress), **dict.fromkeys(stations)}
    connection.executemany(
        SQL["add_partition"],
        [(batch.source, p, stations.get(p, ""), batch.read_at, batch.read_at) for p in partitions],
    )
    covered = {p: ledger_rows.coverage(connection, batch.source, p) for p in partitions}
    ids: list[int] = []
    fresh: set[int] = set()
    for series in batch.series:
        number = known.get(series.key) or _find(connection, batch.source, series)
        if number is None:
            number = int(
                connection.execute(
                    SQL["add_series"], ledger_rows.series_row(batch.source, series)
                ).lastrowid
                or 0
            )
            fresh.add(number)
        ids.append(number)
    windows: dict[str, list[Window]] = {}
    for progress in batch.progress:
        windows.setdefault(progress.partition, []).extend(progress.read)
    in_read = {p: _count(connection, batch.source, p, w) for p, w in windows.items() if w}
    return _Stored(ids, frozenset(fresh), covered, in_read)


def _find(connection: sqlite3.Connection, source: str, series: Series) -> int | None:
    row = connection.execute(SQL["find_series"], (source, *series.key)).fetchone()
    return None if row is None else int(row[0])


def _count(
    connection: sqlite3.Connection, source: str, partition: str, windows: list[Window]
) -> tuple[tuple[Window, ...], frozenset[int], int]:
    """Counted, not fetched: an empty page may stand for years of stored rows."""
    merged = ledger.union(windows)
    ids = frozenset(int(i) for (i,) in connection.execute(SQL["partition_series"], (source, partition)))
    total = sum(
        connection.execute(SQL["count_stored"], (i, w.start, w.end)).fetchone()[0]
        for i in ids
        for w in merged
    )
    return merged, ids, total


def _compare(
    connection: sqlite3.Connection, readings: Readings, stored: _Stored, bounds: Int64
) -> tuple[columns.Split, Float64]:
    """The split, and the old values of the revised readings in their order."""
    series: list[Int64] = []
    times: list[Int64] = []
    values: list[Float64] = []
    for index in np.unique(readings.series).tolist():
        if stored.ids[index] in stored.fresh:
            continue
        for time, value in _matching(
            connection, stored.ids[index], readings.time[bounds[index] : bounds[index + 1]]
        ):
            series.append(np.full(len(time), index, np.int64))
            times.append(time)
            values.append(value)
    if not times:
        split = columns.split(
            readings, np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64)
        )
        return split, np.empty(0, np.float64)
    value = np.concatenate(values)
    split = columns.split(readings, np.concatenate(series), np.concatenate(times), value)
    return split, value[split.old]


def _matching(
    connection: sqlite3.Connection, series_id: int, wanted: Int64
) -> Iterator[tuple[Int64, Float64]]:
    """Stored rows at the wanted times (ascending). Wide gaps are not read across, and of dense
    stretches only what is wanted is kept, so that memory goes by the batch alone."""
    cuts = np.flatnonzero(np.diff(wanted) > DAY) + 1
    for part in np.split(wanted, cuts):
        cursor = connection.execute(SQL["stored_values"], (series_id, int(part[0]), int(part[-1])))
        while rows := cursor.fetchmany(CHUNK):
            time, value = zip(*rows, strict=True)
            stored_time, stored_value = np.array(time, np.int64), np.array(value, np.float64)
            # Not np.isin: it sorts what is sorted already.
            at = np.minimum(np.searchsorted(part, stored_time), len(part) - 1)
            kept = part[at] == stored_time
            yield stored_time[kept], stored_value[kept]


def _insert(connection: sqlite3.Connection, run_id: int, ids: list[int], readings: Readings) -> None:
    n = len(readings)
    # Lists of plain Python numbers: SQLite would store NumPy's as blobs. NaN it binds as NULL.
    flat: list[float] = [run_id] * (WIDTH * n)
    flat[0::WIDTH] = np.array(ids, np.int64)[readings.series].tolist()
    flat[1::WIDTH] = readings.time.tolist()
    flat[2::WIDTH] = readings.value.tolist()
    flat[3::WIDTH] = readings.flag.tolist()
    flat[4::WIDTH] = readings.tests.tolist()
    whole = WIDTH * (n - n % ROWS)
    for at in range(0, whole, WIDTH * ROWS):
        connection.execute(_INSERT_MANY, flat[at : at + WIDTH * ROWS])
    connection.executemany(_INSERT_ONE, [flat[at : at + WIDTH] for at in range(whole, WIDTH * n, WIDTH)])


def _revise(
    connection: sqlite3.Connection, run_id: int, ids: list[int], readings: Readings, old_values: Float64
) -> None:
    if len(readings) == 0:
        return
    series = np.array(ids, np.int64)[readings.series].tolist()
    time, value = readings.time.tolist(), readings.value.tolist()
    flag, tests = readings.flag.tolist(), readings.tests.tolist()
    run = [run_id] * len(readings)
    connection.executemany(SQL["revise_reading"], zip(value, flag, tests, run, series, time, strict=True))
    connection.executemany(
        SQL["add_revision"], zip(series, time, old_values.tolist(), value, run, strict=True)
    )


def _reflag(connection: sqlite3.Connection, ids: list[int], neighbours: Readings) -> None:
    series = np.array(ids, np.int64)[neighbours.series].tolist()
    flag, tests, time = neighbours.flag.tolist(), neighbours.tests.tolist(), neighbours.time.tolist()
    connection.executemany(SQL["put_flags"], zip(flag, tests, series, time, strict=True))


def _late(batch: Batch, new: Bool, stored: _Stored, bounds: Int64) -> Bool:
    """Which readings came when their time had been read before; none of a replay, whose records came
    in time."""
    late = np.zeros(len(new), bool)
    for index in () if batch.replay else np.unique(batch.readings.series[new]).tolist():
        covered = stored.covered[batch.series[index].partition]
        rows = slice(bounds[index], bounds[index + 1])
        late[rows] = new[rows] & _inside(batch.readings.time[rows], covered)
    return late


def _vanished(batch: Batch, met: Bool, stored: _Stored, bounds: Int64) -> int:
    """Stored rows in the windows read, less those that an incoming reading met."""
    index_of = {number: index for index, number in enumerate(stored.ids)}
    vanished = 0
    for windows, ids, total in stored.in_read.values():
        vanished += total
        for index in (index_of[number] for number in ids if number in index_of):
            rows = slice(bounds[index], bounds[index + 1])
            vanished -= int((met[rows] & _inside(batch.readings.time[rows], windows)).sum())
    return vanished


def _inside(time: Int64, windows: tuple[Window, ...]) -> Bool:
    """Which times lie in sorted, disjoint windows (start, end]."""
    if not windows:
        return np.zeros(len(time), bool)
    starts = np.array([w.start for w in windows])
    ends = np.array([w.end for w in windows])
    at = np.searchsorted(starts, time, side="left") - 1
    return np.asarray((at >= 0) & (time <= ends[np.maximum(at, 0)]))


def _stretch(
    connection: sqlite3.Connection, readings: Readings, new: Bool, ids: list[int], bounds: Int64
) -> None:
    rows = []
    for index in np.unique(readings.series[new]).tolist():
        part = slice(bounds[index], bounds[index + 1])
        time = readings.time[part][new[part]]
        rows.append((int(time[0]), int(time[-1]), ids[index]))
    connection.executemany(SQL["stretch_series"], rows)


def _add_delays(
    connection: sqlite3.Connection, batch: Batch, late: Bool, ids: list[int], bounds: Int64
) -> None:
    for index in np.unique(batch.readings.series[late]).tolist():
        part = slice(bounds[index], bounds[index + 1])
        found = lateness.histogram(batch.read_at - batch.readings.time[part][late[part]])
        row = connection.execute(SQL["find_lateness"], (batch.source, ids[index])).fetchone()
        total = lateness.add([found.tolist(), json.loads(row[0]) if row else []])
        connection.execute(SQL["put_lateness"], (batch.source, ids[index], json.dumps(total)))
