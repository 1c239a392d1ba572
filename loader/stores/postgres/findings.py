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
from loader.findings import Assessment, FoundAnomaly, Model
from loader.readings import Readings, Window
from loader.sqltext import storable
from loader.stores.postgres.rows import Known
from loader.stores.postgres.session import SQL, Cursor
from loader.stores.postgres.surroundings import Surroundings, reflag
from loader.stores.postgres.times import array, clamped, micros, stamp, stamps

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


def assess(cursor: Cursor, source: str, found: Assessment) -> None:
    """Keep what was found about one series."""
    number = found.series_id
    kinds = (found.days, found.cadences or (), found.anomalies, found.drifts, found.standings)
    if any(row.series_id != number for rows in kinds for row in rows):
        raise StoreError(f"findings about other series than {number} were given for it")
    _lock(cursor, source, number)
    if found.pending is not None:
        _answer(cursor, number, found.pending)
    _put(
        cursor,
        "put_days",
        number,
        _once(found.days, "day"),
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
    if found.cadences is not None:
        cursor.execute(SQL["drop_cadences"], {"id": number})
        _put(
            cursor,
            "add_cadences",
            number,
            _once(found.cadences, "from_time"),
            times=("from_time",),
            plain=("cadence_s",),
        )
    _put_anomalies(cursor, number, found.judged or {}, found.anomalies)
    _put(
        cursor,
        "put_drifts",
        number,
        _once(found.drifts, "time", "against"),
        times=("time",),
        texts=("against",),
        plain=("reference", "current", "ks", "psi", "shift", "scale", "drifting"),
    )
    _put(
        cursor,
        "put_standings",
        number,
        _once(found.standings, "detector"),
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


def _answer(cursor: Cursor, number: int, answered: Window) -> None:
    """Take a stretch off what is to be assessed; what a commit added meanwhile stays."""
    cursor.execute(SQL["pending_of"], {"id": number})
    row = cursor.fetchone()
    if row is None:
        return
    left = ledger.subtract([Window(micros(row[0]), micros(row[1]))], [answered])
    if left:
        cursor.execute(
            SQL["cut_pending"], {"id": number, "start": stamp(left[0].start), "end": stamp(left[-1].end)}
        )
    else:
        cursor.execute(SQL["drop_pending"], {"id": number})


def _put_anomalies(
    cursor: Cursor, number: int, judged: Mapping[str, Window], anomalies: Iterable[FoundAnomaly]
) -> None:
    for detector in sorted(judged):
        window = judged[detector]
        cursor.execute(
            SQL["drop_anomalies"],
            {
                "id": number,
                "detector": storable(detector),
                "start": clamped(window.start),
                "end": clamped(window.end),
            },
        )
    _put(
        cursor,
        "put_anomalies",
        number,
        _once(anomalies, "time", "detector"),
        times=("time",),
        texts=("detector", "version", "explanation"),
        plain=("score",),
    )


def _once(rows: Iterable[T], *key: str) -> list[T]:
    """Each key once; of rows with the same, the last."""
    return list({attrgetter(*key)(row): row for row in rows}.values())


def _put(
    cursor: Cursor,
    query: str,
    number: int,
    rows: Sequence[object],
    *,
    times: Sequence[str] = (),
    texts: Sequence[str] = (),
    plain: Sequence[str] = (),
) -> None:
    """Run a query that takes rows as one array for each of these attributes."""
    if not rows:
        return
    parameters: dict[str, object] = {"id": number}
    parameters |= {name: stamps([getattr(row, name) for row in rows]) for name in times}
    parameters |= {name: [storable(getattr(row, name)) for row in rows] for name in texts}
    parameters |= {name: array([getattr(row, name) for row in rows]) for name in plain}
    cursor.execute(SQL[query], parameters)
