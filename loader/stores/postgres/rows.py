"""The rows of `reading` that a batch meets, and those that it writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg2 import errors

from loader import columns, ledger
from loader.readings import DAY, Bool, Float64, Int32, Int64, Readings, Window
from loader.records import Batch
from loader.stores.postgres import copy
from loader.stores.postgres.partitions import MonthMissing
from loader.stores.postgres.session import SQL, Cursor, one
from loader.stores.postgres.times import array, clamped, stamps

STREAMED = 4 << 20
"""Bytes of stored rows held before those that no reading meets are let go: about 120,000 rows."""

_STORED = (np.int32, np.int64, np.float64)


class Moved(Exception):
    """Somebody else, without the lease, changed rows between the comparison and the writing."""


@dataclass(frozen=True, slots=True)
class Known:
    """A series as stored before the batch. `extent` is (first - 1, last], None without readings."""

    id: int
    partition: str
    extent: Window | None


@dataclass(frozen=True, slots=True, eq=False)
class Met:
    """A batch against the store: its split, the values that revised readings had (in their
    order), and how many stored rows in the windows read no reading answered."""

    split: columns.Split
    old: Float64
    vanished: int


@dataclass(frozen=True, slots=True)
class _Stretch:
    index: int
    id: int
    window: Window


def meet(cursor: Cursor, batch: Batch, series: Sequence[Known], others: Sequence[Known]) -> Met:
    """Compare the batch with what is stored. `series` are the batch's, in its order; `others` the
    rest of the partitions that it read.

    Rows around incoming readings are fetched, the rest of the windows read is only counted: an
    empty page may stand for years of stored rows.
    """
    read: dict[str, tuple[Window, ...]] = {}
    for progress in batch.progress:
        read[progress.partition] = ledger.union([*read.get(progress.partition, ()), *progress.read])
    fetch: list[_Stretch] = []
    count: list[_Stretch] = []
    for index, times in slices(batch.readings, len(series)):
        known = series[index]
        if known.extent is None:
            continue
        near = [w for w in _clusters(times) if w.clip(known.extent)]
        fetch.extend(_Stretch(index, known.id, w) for w in near)
        count.extend(_rest(known, index, read, near))
    for known in others:
        count.extend(_rest(known, -1, read, ()))
    windows = [read.get(s.partition, ()) for s in series]
    return _compare(cursor, batch.readings, fetch, windows, _count(cursor, count))


def slices(readings: Readings, count: int) -> Iterator[tuple[int, Int64]]:
    """(index, its times) of each of `count` series, those without readings included."""
    bounds = np.searchsorted(readings.series, np.arange(count + 1)).tolist()
    for index in range(count):
        yield index, readings.time[bounds[index] : bounds[index + 1]]


def inside(time: Int64, windows: Sequence[Window]) -> Bool:
    """Which times lie in sorted, disjoint windows."""
    if not windows or not len(time):
        return np.zeros(len(time), bool)
    starts = np.array([w.start for w in windows], np.int64)
    ends = np.array([w.end for w in windows], np.int64)
    at = np.searchsorted(starts, time, side="left") - 1
    return np.asarray((at >= 0) & (time <= ends[np.maximum(at, 0)]))


def _clusters(times: Int64) -> list[Window]:
    """Windows around ascending times, cut where nothing comes for more than a day."""
    if not len(times):
        return []
    cuts = np.flatnonzero(np.diff(times) > DAY)
    first = times[np.concatenate([[0], cuts + 1])]
    last = times[np.concatenate([cuts, [len(times) - 1]])]
    return [Window(a - 1, b) for a, b in zip(first.tolist(), last.tolist(), strict=True)]


def _rest(
    known: Known, index: int, read: Mapping[str, tuple[Window, ...]], near: Sequence[Window]
) -> list[_Stretch]:
    if known.extent is None or known.partition not in read:
        return []
    windows = ledger.intersect(read[known.partition], [known.extent])
    return [_Stretch(index, known.id, w) for w in ledger.subtract(windows, near)]


def _parameters(stretches: Sequence[_Stretch]) -> dict[str, object]:
    return {
        "indices": array([s.index for s in stretches]),
        "ids": array([s.id for s in stretches]),
        "starts": stamps([s.window.start for s in stretches]),
        "ends": stamps([s.window.end for s in stretches]),
        # Said once more as constants, so that the planner opens only the months in question.
        "low": clamped(min(s.window.start for s in stretches)),
        "high": clamped(max(s.window.end for s in stretches)),
    }


def _count(cursor: Cursor, stretches: Sequence[_Stretch]) -> int:
    if not stretches:
        return 0
    cursor.execute(SQL["count_stored"], _parameters(stretches))
    return int(one(cursor)[0])


def _compare(
    cursor: Cursor,
    readings: Readings,
    fetch: Sequence[_Stretch],
    read: Sequence[Sequence[Window]],
    vanished: int,
) -> Met:
    kept: list[tuple[Int32, Int64, Float64]] = []

    def unanswered(index: Int32, time: Int64, unseen: Int64) -> int:
        found = index[unseen]
        return sum(
            int(inside(np.sort(time[unseen[found == i]]), read[i]).sum()) for i in np.unique(found).tolist()
        )

    def take(rows: list[npt.NDArray[Any]]) -> None:
        """Of a full buffer keep what some reading meets, so that memory goes by the batch."""
        nonlocal vanished
        index, time, value = rows[0], copy.from_server(rows[1]), rows[2]
        split = columns.split(readings, index.astype(np.int64), time, value)
        vanished += unanswered(index, time, split.unseen)
        seen = np.ones(len(index), bool)
        seen[split.unseen] = False
        kept.append((index[seen], time[seen], value[seen]))

    if fetch:
        stream = copy.Decoder(_STORED, take, STREAMED)
        copy.run(cursor, cursor.mogrify(SQL["copy_stored"], _parameters(fetch)).decode(), stream)
        index, time, value = stream.rest()
        kept.append((index, copy.from_server(time), value))
    empty = (np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64))
    index, time, value = (np.concatenate(part) for part in zip(*(kept or [empty]), strict=True))
    order = np.lexsort((time, index))
    index, time, value = index[order], time[order], value[order]
    split = columns.split(readings, index.astype(np.int64), time, value)
    vanished += unanswered(index, time, split.unseen)
    return Met(split, value[split.old], vanished)


def copy_new(cursor: Cursor, readings: Readings, ids: Int32, run_id: int) -> None:
    """Write readings (flags and all) by binary COPY straight into the keyed table.

    Raises UniqueViolation where somebody else has written one of them, MonthMissing.
    """
    if not len(readings):
        return
    stream = copy.encode(
        [
            ids[readings.series],
            copy.to_server(readings.time),
            readings.value,
            readings.flag.astype(np.int16),
            readings.tests.view(np.int32),
            np.full(len(readings), run_id, np.int32),
        ]
    )
    try:
        copy.run(cursor, SQL["copy_readings"], stream)
    except errors.CheckViolation as error:
        raise MonthMissing(str(error)) from error


def revise(cursor: Cursor, readings: Readings, old: Float64, ids: Int32, run_id: int) -> None:
    """Give stored readings their new values and keep the old ones.

    Raises Moved when a row is no longer what it was a moment ago.
    """
    if not len(readings):
        return
    cursor.execute(SQL["make_revised"])
    stream = copy.encode(
        [
            ids[readings.series],
            copy.to_server(readings.time),
            old,
            readings.value,
            readings.flag.astype(np.int16),
            readings.tests.view(np.int32),
            np.full(len(readings), run_id, np.int32),
        ]
    )
    cursor.copy_expert(SQL["copy_revised"], stream, size=1 << 18)
    low, high = clamped(int(readings.time.min())), clamped(int(readings.time.max()))
    cursor.execute(SQL["revise_readings"], {"low": low, "high": high})
    if cursor.rowcount != len(readings):
        raise Moved
    cursor.execute(SQL["add_revisions"])
