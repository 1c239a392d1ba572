"""Coverage, holes and watermarks of the partitions in a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from loader import ledger
from loader.readings import Bool, Hole, Progress, Window
from loader.records import Batch
from loader.sqltext import storable
from loader.stores.postgres.session import SQL, Cursor
from loader.stores.postgres.times import micros, micros_or_none, stamp

_NEVER = -(2**62)


@dataclass(frozen=True, slots=True)
class Before:
    """The ledger before a batch: each partition's coverage, which of them have holes, and up to
    when the readings of those that retention has been at have expired."""

    coverage: Mapping[str, tuple[Window, ...]]
    holed: frozenset[str]
    expired: Mapping[str, int]


def ledger_of(cursor: Cursor, batch: Batch) -> Before:
    """The ledger of the batch's partitions; those that nobody has registered are inserted."""
    stations = dict.fromkeys((p.partition for p in batch.progress), "")
    stations |= {s.partition: s.station for s in batch.series}
    found: dict[str, list[Window]] = {}
    holed: set[str] = set()
    cursor.execute(SQL["ledger_of"], {"source": batch.source, "partitions": sorted(stations)})
    expired: dict[str, int] = {}
    for name, has_holes, expired_to, start, end in cursor:
        windows = found.setdefault(name, [])
        if start is not None:
            windows.append(Window(micros(start), micros(end)))
        if has_holes:
            holed.add(name)
        if expired_to is not None:
            expired[name] = micros(expired_to)
    unknown = sorted(stations.keys() - found.keys())
    if unknown:
        cursor.execute(
            SQL["add_partitions"],
            {
                "source": batch.source,
                "partitions": unknown,
                "stations": [stations[name] for name in unknown],
                "now": stamp(batch.read_at),
            },
        )
    return Before({name: tuple(found.get(name, ())) for name in stations}, frozenset(holed), expired)


def expired_to(cursor: Cursor, batch: Batch) -> dict[str, int]:
    """Up to when the readings of the batch's partitions have expired, where retention was at them."""
    names = sorted({s.partition for s in batch.series})
    cursor.execute(SQL["expired_to"], {"source": batch.source, "partitions": names})
    return {name: micros(moment) for name, moment in cursor}


def expired(batch: Batch, limit: Mapping[str, int]) -> Bool:
    """Which of the batch's readings are not after their partition's `expired_to`."""
    limits = [limit.get(s.partition, _NEVER) for s in batch.series]
    return np.asarray(batch.readings.time <= np.array(limits, np.int64)[batch.readings.series])


def unexpired(batch: Batch, limit: Mapping[str, int]) -> Batch:
    """The batch without what has expired: those readings, and the ledger's windows up to there."""
    if not limit:
        return batch
    gone = expired(batch, limit)
    return replace(
        batch,
        readings=batch.readings.take(~gone) if gone.any() else batch.readings,
        progress=tuple(_cut(p, limit.get(p.partition)) for p in batch.progress),
        counts=replace(batch.counts, expired=int(gone.sum())),
    )


def _cut(progress: Progress, limit: int | None) -> Progress:
    if limit is None:
        return progress
    kept = Window(limit, -_NEVER)

    def cut(windows: Sequence[Window]) -> tuple[Window, ...]:
        return tuple(part for w in windows if (part := w.clip(kept)))

    return replace(
        progress,
        read=cut(progress.read),
        cover=cut(progress.cover),
        holes=tuple(replace(h, window=part) for h in progress.holes if (part := h.window.clip(kept))),
    )


def hole(row: Sequence[Any]) -> Hole:
    start, end, cause, tries, next_try, isolated = row
    return Hole(Window(micros(start), micros(end)), cause, tries, micros_or_none(next_try), isolated)


def write(cursor: Cursor, batch: Batch, before: Before) -> None:
    """Apply the batch's progress."""
    merged: dict[str, list[Progress]] = {}
    for progress in batch.progress:
        merged.setdefault(progress.partition, []).append(progress)
    if not merged:
        return
    covered = {name: before.coverage[name] for name in merged}
    after = {
        name: ledger.union([*covered[name], *(w for p in merged[name] for w in p.cover)]) for name in merged
    }
    _put_coverage(cursor, batch.source, covered, after)
    holed = {
        name: ps
        for name, ps in merged.items()
        if any(p.holes for p in ps) or (name in before.holed and any(p.read for p in ps))
    }
    if holed:
        _put_holes(cursor, batch.source, holed)
    # Several of one partition, in their order; usually there is one of each.
    rounds = max(len(ps) for ps in merged.values())
    for turn in range(rounds):
        _advance(cursor, batch.source, [ps[turn] for ps in merged.values() if turn < len(ps)])


def _put_coverage(
    cursor: Cursor,
    source: str,
    before: Mapping[str, Sequence[Window]],
    after: Mapping[str, Sequence[Window]],
) -> None:
    old, new = ({name: set(of[name]) for name in of} for of in (before, after))
    gone = [(name, w) for name in before for w in before[name] if w not in new[name]]
    come = [(name, w) for name in after for w in after[name] if w not in old[name]]
    _drop(cursor, "drop_coverage", source, gone)
    if come:
        cursor.execute(
            SQL["add_coverage"],
            {
                "source": source,
                "partitions": [name for name, _ in come],
                "starts": [stamp(w.start) for _, w in come],
                "ends": [stamp(w.end) for _, w in come],
            },
        )


def _put_holes(cursor: Cursor, source: str, merged: Mapping[str, Sequence[Progress]]) -> None:
    touched = sorted(merged)
    stored: dict[str, list[Hole]] = {name: [] for name in touched}
    cursor.execute(SQL["holes_of"], {"source": source, "partitions": touched})
    for name, *row in cursor:
        stored[name].append(hole(row))
    gone: list[tuple[str, Window]] = []
    come: list[tuple[str, Hole]] = []
    for name in touched:
        before = settled = tuple(stored[name])
        for progress in merged[name]:
            settled = ledger.settle_holes(settled, progress.read, [h for h in progress.holes if h.window])
        gone.extend((name, h.window) for h in before if h not in settled)
        come.extend((name, h) for h in settled if h not in before)
    _drop(cursor, "drop_holes", source, gone)
    if come:
        cursor.execute(
            SQL["add_holes"],
            {
                "source": source,
                "partitions": [name for name, _ in come],
                "starts": [stamp(h.window.start) for _, h in come],
                "ends": [stamp(h.window.end) for _, h in come],
                "causes": [storable(h.cause) for _, h in come],
                "tries": [h.tries for _, h in come],
                "next": [stamp(h.next_try) for _, h in come],
                "isolated": [h.isolated for _, h in come],
            },
        )


def _drop(cursor: Cursor, query: str, source: str, gone: Sequence[tuple[str, Window]]) -> None:
    if gone:
        cursor.execute(
            SQL[query],
            {
                "source": source,
                "partitions": [name for name, _ in gone],
                "starts": [stamp(w.start) for _, w in gone],
            },
        )


def _advance(cursor: Cursor, source: str, progress: Sequence[Progress]) -> None:
    cursor.execute(
        SQL["advance_partitions"],
        {
            "source": source,
            "partitions": [p.partition for p in progress],
            "watermarks": [stamp(p.watermark) for p in progress],
            "swept": [stamp(p.swept_at) for p in progress],
            "ended": [p.ended for p in progress],
            "errors": [None if p.error is None else storable(p.error) for p in progress],
        },
    )
