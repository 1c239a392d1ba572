"""What may be asked of the store: each answer is one snapshot, on a connection that cannot write."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from loader import lateness
from loader.findings import Cadence, FoundAnomaly, FoundDrift, Model, Pending, QualityDay, Standing
from loader.journal import Cutoffs, LimitEvent, Severity
from loader.readings import Hole, PartitionState, Readings, Series, Window
from loader.records import COUNT_NAMES, Counts, Outcome, Quarantined, RunReport, StoredSeries
from loader.stores.sqlite import ledger_rows, retention, schema
from loader.stores.sqlite.database import SQL, Database

CHUNK = 50_000
"""Rows in a chunk of a scan."""

PAGE = 10_000
"""Findings asked for at once: whoever dawdles over them holds no transaction open."""

_SCANNED = np.dtype([("time", np.int64), ("value", np.float64), ("flag", np.uint8), ("tests", np.uint32)])

_RUNS = SQL["runs"].format(counts=", ".join(COUNT_NAMES))


class SQLiteReports:
    """Questions; callable from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def sources(self) -> list[str]:
        with self._database.reading() as connection:
            return [source for (source,) in connection.execute(SQL["sources"])]

    def runs(self, source: str | None, limit: int) -> list[RunReport]:
        with self._database.reading() as connection:
            return [_run(row) for row in connection.execute(_RUNS, (source, limit))]

    def series(self, source: str | None) -> list[StoredSeries]:
        with self._database.reading() as connection:
            rows = connection.execute(SQL["all_series"], (source,)).fetchall()
        return [
            StoredSeries(number, of, Series(*described), first, last, latitude, longitude)
            for number, of, first, last, latitude, longitude, *described in rows
        ]

    def partitions(self, source: str) -> list[PartitionState]:
        with self._database.reading() as connection:
            return _partitions(connection, source)

    def scan(self, series_ids: Sequence[int], window: Window) -> Iterator[Readings]:
        parts: list[Readings] = []
        gathered = 0
        for series_id in sorted({int(i) for i in series_ids}):
            after = window.start
            while True:
                # A query a chunk, not a cursor: a reader that dawdles must not keep the log growing.
                wanted = CHUNK - gathered
                with self._database.reading() as connection:
                    rows = connection.execute(
                        SQL["scan"], (series_id, after, window.end, wanted)
                    ).fetchall()
                if rows:
                    parts.append(_columns(series_id, rows))
                    gathered += len(rows)
                    after = rows[-1][0]
                if gathered < CHUNK:
                    break
                yield Readings.concat(parts)
                parts, gathered = [], 0
        if parts:
            yield Readings.concat(parts)

    def thinned(self, series_id: int, window: Window, cell: int) -> Readings:
        parameters = {"id": series_id, "start": window.start, "end": window.end, "cell": cell}
        with self._database.reading() as connection:
            rows = connection.execute(SQL["thinned"], parameters).fetchall()
        return _columns(series_id, rows)

    def places(self, series_ids: Sequence[int]) -> dict[int, list[tuple[int, float, float]]]:
        found: dict[int, list[tuple[int, float, float]]] = {int(i): [] for i in series_ids}
        with self._database.reading() as connection:
            for series_id, *place in connection.execute(SQL["places"], (json.dumps(sorted(found)),)):
                found[series_id].append((place[0], place[1], place[2]))
        return found

    def quarantined(self, source: str | None, limit: int) -> list[Quarantined]:
        with self._database.reading() as connection:
            return [Quarantined(*row) for row in connection.execute(SQL["quarantined"], (source, limit))]

    def prunable(self, source: str, cutoffs: Cutoffs) -> dict[str, int]:
        with self._database.reading() as connection:
            return retention.prunable(connection, source, cutoffs)

    def limit_events(self, source: str | None, since: int) -> list[LimitEvent]:
        with self._database.reading() as connection:
            rows = connection.execute(SQL["limit_events"], (source, since)).fetchall()
        return [LimitEvent(number, Severity(level), *rest) for number, level, *rest in rows]

    def pending(self, source: str) -> list[Pending]:
        with self._database.reading() as connection:
            rows = connection.execute(SQL["pending"], (source,)).fetchall()
        return [Pending(number, Window(start, end)) for number, start, end in rows]

    def quality(
        self, source: str | None, since: int, until: int, series_ids: Sequence[int] | None = None
    ) -> Iterator[QualityDay]:
        with self._database.reading() as connection:
            ids = [number for (number,) in connection.execute(SQL["series_ids"], (source,))]
        if series_ids is not None:
            ids = sorted(set(series_ids).intersection(ids))
        for number in ids:
            with self._database.reading() as connection:
                rows = connection.execute(SQL["quality_days"], (number, since, until)).fetchall()
            yield from (QualityDay(*row) for row in rows)

    def cadences(self, source: str | None) -> dict[int, tuple[Cadence, ...]]:
        found: dict[int, tuple[Cadence, ...]] = {}
        with self._database.reading() as connection:
            for row in connection.execute(SQL["cadences"], (source,)):
                found[row[0]] = (*found.get(row[0], ()), Cadence(*row))
        return found

    def anomalies(self, source: str | None, since: int, until: int) -> Iterator[FoundAnomaly]:
        after: tuple[int, int, str] = (since, 2**63 - 1, "")
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(SQL["anomalies"], (source, *after, until, PAGE)).fetchall()
            yield from (FoundAnomaly(*row) for row in rows)
            if len(rows) < PAGE:
                return
            number, time, detector, *_ = rows[-1]
            after = (time, number, detector)

    def drifts(self, source: str | None, since: int) -> list[FoundDrift]:
        with self._database.reading() as connection:
            rows = connection.execute(SQL["drifts"], (source, since)).fetchall()
        return [FoundDrift(*(*row[:-1], bool(row[-1]))) for row in rows]

    def standings(self, source: str | None) -> list[Standing]:
        with self._database.reading() as connection:
            rows = connection.execute(SQL["standings"], (source,)).fetchall()
        return [Standing(*(*row[:2], bool(row[2]), *row[3:])) for row in rows]

    def models(self, source: str) -> list[Model]:
        with self._database.reading() as connection:
            rows = connection.execute(SQL["models"], (source,)).fetchall()
        return [Model(*(*row[:-2], tuple(json.loads(row[-2])), row[-1])) for row in rows]

    def facts(self) -> dict[str, str]:
        path = self._database.path
        with self._database.reading() as connection:
            number = schema.version(connection)
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        return {
            "product": f"SQLite {sqlite3.sqlite_version}",
            "schema": str(number),
            "file": str(path),
            "size": f"{pages * page_size / 1e6:.1f} MB",
        }


def _run(row: tuple[Any, ...]) -> RunReport:
    number, source, trigger, started, finished, outcome, ok, failed, slowest, quality, error, *counts = row
    return RunReport(
        id=number,
        source=source,
        trigger=trigger,
        started=started,
        finished=finished,
        outcome=None if outcome is None else Outcome(outcome),
        counts=Counts(*counts),
        partitions_ok=ok,
        partitions_failed=failed,
        slowest_request_s=slowest,
        quality=quality,
        error=error,
    )


def _columns(series_id: int, rows: list[tuple[int, float | None, int, int]]) -> Readings:
    # One record array costs a third of what four sequences do, a row.
    table = np.array(rows, _SCANNED)
    columns = [np.ascontiguousarray(table[name]) for name in _SCANNED.names or ()]
    return Readings(np.full(len(rows), series_id, np.int32), *columns)


def _partitions(connection: sqlite3.Connection, source: str) -> list[PartitionState]:
    series: dict[str, list[Series]] = defaultdict(list)
    for partition, *described in connection.execute(SQL["source_series"], (source,)):
        series[partition].append(Series(*described))
    coverage: dict[str, list[Window]] = defaultdict(list)
    for partition, start, end in connection.execute(SQL["source_coverage"], (source,)):
        coverage[partition].append(Window(start, end))
    holes: dict[str, list[Hole]] = defaultdict(list)
    for partition, *hole in connection.execute(SQL["source_holes"], (source,)):
        holes[partition].append(ledger_rows.hole(hole))
    delays: dict[str, list[list[int]]] = defaultdict(list)
    for partition, histogram in connection.execute(SQL["source_lateness"], (source,)):
        delays[partition].append(json.loads(histogram))
    states = []
    for row in connection.execute(SQL["partition_rows"], (source,)):
        name, station, discovered_at, listed_at, watermark, swept_at, expired_to, failures, last_error = row
        states.append(
            PartitionState(
                name=name,
                station=station,
                discovered_at=discovered_at,
                listed_at=listed_at,
                series=tuple(series[name]),
                watermark=watermark,
                swept_at=swept_at,
                expired_to=expired_to,
                failures=failures,
                last_error=last_error,
                coverage=tuple(coverage[name]),
                holes=tuple(holes[name]),
                delays=lateness.add(delays[name]) if name in delays else (),
            )
        )
    return states
