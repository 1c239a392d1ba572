"""What a batch leaves beside its readings: places, rejected records, how late readings came, what each day
has of them."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence

from psycopg2.extras import execute_batch

from loader import columns, lateness
from loader.readings import Int32, Readings, Reject
from loader.records import Batch
from loader.sqltext import storable
from loader.stores.postgres.rows import slices
from loader.stores.postgres.session import SQL, Cursor
from loader.stores.postgres.times import array, clamped, micros, stamp, stamps

PAYLOAD = 65_536
"""Bytes of a rejected record that are kept."""


def write_places(cursor: Cursor, batch: Batch, ids: Int32) -> int:
    """A row only where a series moves; how often they moved from where they were before. Of
    neighbours in one spot the earlier row stays alone."""
    if not batch.places:
        return 0
    moves = 0
    known: dict[int, dict[int, tuple[float, float]]] = {int(ids[p.series]): {} for p in batch.places}
    cursor.execute(SQL["places_of"], {"ids": sorted(known)})
    for number, time, latitude, longitude in cursor:
        known[number][micros(time)] = (latitude, longitude)
    for place in sorted(batch.places, key=lambda p: (p.series, p.time)):
        number, spot = int(ids[place.series]), (place.latitude, place.longitude)
        rows = known[number]
        times = sorted(rows)
        at = bisect_right(times, place.time)
        if at and rows[times[at - 1]] == spot:
            continue
        moves += at > 0
        rows[place.time] = spot
        cursor.execute(
            SQL["put_place"],
            {"id": number, "time": stamp(place.time), "latitude": spot[0], "longitude": spot[1]},
        )
        if at < len(times) and rows[times[at]] == spot:
            del rows[times[at]]
            cursor.execute(SQL["drop_place"], {"id": number, "time": stamp(times[at])})
    return moves


def write_rejects(cursor: Cursor, batch: Batch) -> None:
    """Keep rejected records, once each; then mark those that the batch answers."""
    found: dict[tuple[str, str], tuple[Reject, int]] = {}
    for reject in batch.rejects:
        key = (reject.partition, hashlib.sha256(reject.payload).hexdigest())
        found[key] = (reject, found[key][1] + 1 if key in found else 1)
    rows = [
        {
            "source": batch.source,
            "partition": partition,
            "rule": storable(reject.rule),
            "digest": digest,
            "reason": storable(reject.reason),
            "payload": reject.payload[:PAYLOAD],
            "time": None if reject.time is None else clamped(reject.time),
            "run_id": batch.run_id,
            "read_at": stamp(batch.read_at),
            "count": count,
        }
        for (partition, digest), (reject, count) in found.items()
    ]
    execute_batch(cursor, SQL["put_quarantine"], rows, page_size=50)
    if batch.replay:
        cursor.execute(
            SQL["mark_replayed"],
            {"source": batch.source, "run_id": batch.run_id, "digests": list(batch.replay)},
        )


def write_delays(cursor: Cursor, batch: Batch, late: Readings, ids: Int32) -> None:
    """Add the delays of late readings to their series' histograms."""
    if not len(late):
        return
    times = {int(ids[i]): found for i, found in slices(late, len(ids)) if len(found)}
    cursor.execute(SQL["lateness_of"], {"ids": sorted(times)})
    stored: dict[int, Sequence[int]] = dict(cursor)
    histograms = []
    for number in sorted(times):
        delays = lateness.histogram(batch.read_at - times[number]).tolist()
        total = lateness.add([stored.get(number, []), delays])
        histograms.append({"source": batch.source, "id": number, "histogram": list(total)})
    execute_batch(cursor, SQL["put_lateness"], histograms)


def count_days(cursor: Cursor, what: str, readings: Readings, ids: Int32) -> None:
    """Add readings to their days' counts; `what` is late or duplicate."""
    if len(readings):
        series, days, counts = columns.by_day(readings)
        cursor.execute(
            SQL[f"count_{what}"],
            {"ids": array(ids[series]), "days": stamps(days), "counts": array(counts)},
        )
