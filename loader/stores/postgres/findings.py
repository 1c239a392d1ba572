"""What is found out about a series after a run, and flags that change without a commit: written
inside the caller's transaction, under the lease."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TypeVar

import numpy as np

from loader import columns, ledger
from loader.context import Stretch
from loader.errors import StoreError
from loader.findings import Assessment, Model
from loader.readings import Readings, Window
from loader.sqltext import storable
from loader.stores.postgres.rows import Known
from loader.stores.postgres.session import SQL, Cursor
from loader.stores.postgres.surroundings import Surroundings, reflag
from loader.stores.postgres.times import array, micros, stamp, stamps

T = TypeVar("T")


def add_pending(cursor: Cursor, windows: Mapping[int, Window]) -> None:
    """Add windows, by series id, to what is to be assessed."""
    if windows:
        ids = sorted(windows)
        cursor.execute(
            SQL["add_pending"],
            {
                "ids": ids,
                "starts": stamps([windows[number].start for number in ids]),
                "ends": stamps([windows[number].end for number in ids]),
            },
        )


def put_flags(cursor: Cursor, source: str, series_id: int, given: Readings) -> int:
    """Give stored readings of a series (in `given` its index is 0) other flags; how many differed."""
    known = _lock(cursor, source, series_id)
    given, _ = columns.deduplicate(given)
    changed = reflag(cursor, given, np.array([series_id], np.int32))
    if changed:
        moments = [micros(moment) for _, moment in changed]
        first, last = min(moments), max(moments)
        ((before, _),) = Surroundings(cursor, [known]).edges([Stretch(0, first, last, 1)])
        add_pending(cursor, {series_id: Window(min(before, first - 1), last)})
    return len(changed)


def assess(cursor: Cursor, source: str, found: Sequence[Assessment]) -> None:
    """Keep what was found about series: a statement for each kind of finding, however many they are."""
    for one in found:
        kinds = (one.days, one.cadences or (), one.anomalies, one.drifts, one.standings)
        if any(row.series_id != one.series_id for rows in kinds for row in rows):
            raise StoreError(f"findings about other series than {one.series_id} were given for it")
    cursor.execute(SQL["flush_later"])
    _lock_all(cursor, source, {one.series_id for one in found})
    _answer(cursor, found)
    _put(
        cursor,
        "put_days",
        _once((day for one in found for day in one.days), "day"),
        times=("day",),
        plain=(
            "due",
            "observed",
            "good",
            "unevaluated",
            "suspect",
            "failed",
            "missing",
            "inconsistent",
            "score",
        ),
    )
    cadences = {one.series_id: one.cadences for one in found if one.cadences is not None}
    if cadences:
        cursor.execute(SQL["drop_cadences"], {"ids": list(cadences)})
    _put(
        cursor,
        "add_cadences",
        _once((cadence for those in cadences.values() for cadence in those), "from_time"),
        times=("from_time",),
        plain=("cadence_s",),
    )
    _put_anomalies(cursor, found)
    _put(
        cursor,
        "put_drifts",
        _once((drift for one in found for drift in one.drifts), "time", "against"),
        times=("time",),
        texts=("against",),
        plain=("reference", "current", "ks", "psi", "shift", "scale", "drifting"),
    )
    _put(
        cursor,
        "put_standings",
        _once((standing for one in found for standing in one.standings), "detector"),
        times=("since", "seen"),
        texts=("detector", "detail"),
        plain=("alerting", "latest"),
    )


def put_model(cursor: Cursor, source: str, model: Model) -> None:
    """Keep a fitted model instead of the one of the same station and detector."""
    cursor.execute(
        SQL["put_model"],
        {
            "source": source,
            "station": model.station,
            "detector": model.detector,
            "version": model.version,
            "fitted_from": stamp(model.fitted_from),
            "fitted_to": stamp(model.fitted_to),
            "sensors": list(model.sensors),
            "data": model.data,
        },
    )


def _lock(cursor: Cursor, source: str, number: int) -> Known:
    cursor.execute(SQL["lock_one_series"], {"id": number, "source": source})
    row = cursor.fetchone()
    if row is None:
        raise StoreError(f"series {number} is not of source {source!r}")
    partition, first, last = row
    return Known(number, partition, None if first is None else Window(micros(first) - 1, micros(last)))


def _lock_all(cursor: Cursor, source: str, numbers: set[int]) -> None:
    cursor.execute(SQL["lock_assessed"], {"ids": sorted(numbers), "source": source})
    for number in sorted(numbers - {number for (number,) in cursor.fetchall()}):
        raise StoreError(f"series {number} is not of source {source!r}")


def _answer(cursor: Cursor, found: Sequence[Assessment]) -> None:
    """Take stretches off what is to be assessed; what a commit added meanwhile stays."""
    answered: dict[int, list[Window]] = {}
    for one in found:
        if one.pending is not None:
            answered.setdefault(one.series_id, []).append(one.pending)
    if not answered:
        return
    cursor.execute(SQL["take_pending"], {"ids": list(answered)})
    kept = {}
    for number, start, end in cursor.fetchall():
        left = ledger.subtract([Window(micros(start), micros(end))], answered[number])
        if left:
            kept[number] = Window(left[0].start, left[-1].end)
    add_pending(cursor, kept)


def _put_anomalies(cursor: Cursor, found: Sequence[Assessment]) -> None:
    judged = [
        (one.series_id, detector, window)
        for one in found
        for detector, window in (one.judged or {}).items()
    ]
    if judged:
        cursor.execute(
            SQL["drop_anomalies"],
            {
                "ids": [number for number, _, _ in judged],
                "detectors": [storable(detector) for _, detector, _ in judged],
                "starts": stamps([window.start for _, _, window in judged]),
                "ends": stamps([window.end for _, _, window in judged]),
            },
        )
    _put(
        cursor,
        "put_anomalies",
        _once((anomaly for one in found for anomaly in one.anomalies), "time", "detector"),
        times=("time",),
        texts=("detector", "version", "explanation"),
        plain=("score",),
    )


def _once(rows: Iterable[T], *key: str) -> list[T]:
    """Each key of each series once; of rows with the same, the last."""
    return list({attrgetter("series_id", *key)(row): row for row in rows}.values())


def _put(
    cursor: Cursor,
    query: str,
    rows: Sequence[object],
    *,
    times: Sequence[str] = (),
    texts: Sequence[str] = (),
    plain: Sequence[str] = (),
) -> None:
    """Run a query that takes rows as one array for each of these attributes and the series' ids."""
    if not rows:
        return
    parameters: dict[str, object] = {}
    parameters |= {name: stamps([getattr(row, name) for row in rows]) for name in times}
    parameters |= {name: [storable(getattr(row, name)) for row in rows] for name in texts}
    parameters |= {name: array([getattr(row, name) for row in rows]) for name in ("series_id", *plain)}
    cursor.execute(SQL[query], parameters)
