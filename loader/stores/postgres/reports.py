"""What may be asked of the store; each answer is one snapshot on a connection of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from loader import lateness
from loader.journal import Cutoffs, LimitEvent, Severity
from loader.readings import Hole, PartitionState, Readings, Series, Window
from loader.records import Counts, Outcome, Quarantined, RunReport, StoredSeries
from loader.stores.postgres import copy, progress, prune, schema
from loader.stores.postgres.session import SQL, Cursor, Server, Sessions, one
from loader.stores.postgres.times import clamped, micros, micros_or_none

T = TypeVar("T")

CHUNK = 50_000
"""Rows in a chunk of a scan."""

_SCANNED = (np.int64, np.float64, np.int16, np.int32)


class PostgresReports:
    """Questions; callable from any thread. Readers never wait for the writer, nor it for them."""

    _server: Server
    _sessions: Sessions

    def _ask(self, question: Callable[[Cursor], T]) -> T:
        """Several queries on one snapshot."""

        def work(cursor: Cursor) -> T:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return question(cursor)

        return self._sessions.run(work)

    def _rows(self, query: str, parameters: dict[str, object]) -> list[tuple[Any, ...]]:
        """Of one query, which is a snapshot by itself."""

        def question(cursor: Cursor) -> list[tuple[Any, ...]]:
            cursor.execute(SQL[query], parameters)
            return cursor.fetchall()

        return self._sessions.run(question)

    def sources(self) -> list[str]:
        # Sorted here, so that the order does not hang on the database's collation.
        return sorted(source for (source,) in self._rows("sources", {}))

    def runs(self, source: str | None, limit: int) -> list[RunReport]:
        return [_run(row) for row in self._rows("runs", {"source": source, "limit": limit})]

    def series(self, source: str | None) -> list[StoredSeries]:
        return [
            StoredSeries(
                number,
                of,
                Series(*described),
                micros_or_none(first),
                micros_or_none(last),
                latitude,
                longitude,
            )
            for number, of, first, last, latitude, longitude, *described in self._rows(
                "series", {"source": source}
            )
        ]

    def partitions(self, source: str) -> list[PartitionState]:
        return self._ask(lambda cursor: _partitions(cursor, source))

    def scan(self, series_ids: Sequence[int], window: Window) -> Iterator[Readings]:
        """As promised by `Reports`. A query a chunk: whoever dawdles holds no transaction open, so
        what is committed meanwhile may appear in chunks that were not read yet."""
        parts: list[Readings] = []
        gathered = 0
        end = clamped(window.end)
        for number in sorted({int(i) for i in series_ids}):
            start = window.start
            while True:
                wanted = CHUNK - gathered
                part = _columns(number, self._chunk(number, clamped(start), end, wanted))
                if len(part):
                    parts.append(part)
                    gathered += len(part)
                    start = int(part.time[-1])
                if gathered < CHUNK:
                    break
                yield Readings.concat(parts)
                parts, gathered = [], 0
        if parts:
            yield Readings.concat(parts)

    def _chunk(self, number: int, start: object, end: object, limit: int) -> list[npt.NDArray[Any]]:
        return self._copied("scan", {"id": number, "start": start, "end": end, "limit": limit})

    def _copied(self, query: str, parameters: Mapping[str, object]) -> list[npt.NDArray[Any]]:
        def question(cursor: Cursor) -> list[npt.NDArray[Any]]:
            return copy.fetch(cursor, cursor.mogrify(SQL[query], parameters).decode(), _SCANNED)

        return self._sessions.run(question)

    def thinned(self, series_id: int, window: Window, cell: int) -> Readings:
        parameters = {
            "id": series_id,
            "start": clamped(window.start),
            "end": clamped(window.end),
            "cell": timedelta(microseconds=cell),
        }
        return _columns(series_id, self._copied("thinned", parameters))

    def places(self, series_ids: Sequence[int]) -> dict[int, list[tuple[int, float, float]]]:
        found: dict[int, list[tuple[int, float, float]]] = {int(i): [] for i in series_ids}
        for number, time, latitude, longitude in self._rows("places_of", {"ids": sorted(found)}):
            found[number].append((micros(time), latitude, longitude))
        return found

    def quarantined(self, source: str | None, limit: int) -> list[Quarantined]:
        return [
            Quarantined(
                source=of,
                partition=partition,
                rule=rule,
                digest=digest,
                reason=reason,
                payload=bytes(payload),
                time=micros_or_none(time),
                first_run=first_run,
                last_seen=micros(last_seen),
                count=count,
                replayed_by=replayed_by,
            )
            for (
                of,
                partition,
                rule,
                digest,
                reason,
                payload,
                time,
                first_run,
                last_seen,
                count,
                replayed_by,
            ) in self._rows("quarantined", {"source": source, "limit": limit})
        ]

    def prunable(self, source: str, cutoffs: Cutoffs) -> dict[str, int]:
        return self._ask(lambda cursor: prune.prunable(cursor, source, cutoffs))

    def limit_events(self, source: str | None, since: int) -> list[LimitEvent]:
        return [
            LimitEvent(
                number, Severity(level), threshold, micros(start), micros_or_none(end), peak, readings
            )
            for number, level, threshold, start, end, peak, readings in self._rows(
                "limit_events", {"source": source, "since": clamped(since)}
            )
        ]

    def facts(self) -> dict[str, str]:
        def question(cursor: Cursor) -> tuple[Any, ...]:
            cursor.execute(SQL["facts"])
            return (*one(cursor), schema.version(cursor))

        server, database, namespace, size, timescale, months, read_only, number = self._ask(question)
        return {
            "product": f"PostgreSQL {server}" + (f" with TimescaleDB {timescale}" if timescale else ""),
            "schema": str(number),
            "database": f"{database}, schema {namespace}",
            "size": size,
            "months": str(months),
            "writable": "no" if read_only else "yes",
        }


def _run(row: tuple[Any, ...]) -> RunReport:
    number, source, trigger, started, finished, outcome, ok, failed, slowest, quality, error, *counts = row
    return RunReport(
        id=number,
        source=source,
        trigger=trigger,
        started=micros(started),
        finished=micros_or_none(finished),
        outcome=None if outcome is None else Outcome(outcome),
        counts=Counts(*counts),
        partitions_ok=ok,
        partitions_failed=failed,
        slowest_request_s=slowest,
        quality=quality,
        error=error,
    )


def _columns(number: int, columns: list[npt.NDArray[Any]]) -> Readings:
    time, value, flag, tests = columns
    return Readings(
        np.full(len(time), number, np.int32),
        copy.from_server(time),
        value,
        flag.astype(np.uint8),
        tests.view(np.uint32),
    )


def _partitions(cursor: Cursor, source: str) -> list[PartitionState]:
    parameters = {"source": source}
    cursor.execute(SQL["partition_series"], parameters)
    series: dict[str, list[Series]] = defaultdict(list)
    for row in cursor:
        described = Series(*row)
        series[described.partition].append(described)
    cursor.execute(SQL["partition_coverage"], parameters)
    coverage: dict[str, list[Window]] = defaultdict(list)
    for name, start, end in cursor:
        coverage[name].append(Window(micros(start), micros(end)))
    cursor.execute(SQL["partition_holes"], parameters)
    holes: dict[str, list[Hole]] = defaultdict(list)
    for name, *described_hole in cursor:
        holes[name].append(progress.hole(described_hole))
    cursor.execute(SQL["partition_lateness"], parameters)
    delays: dict[str, list[list[int]]] = defaultdict(list)
    for name, histogram in cursor:
        delays[name].append(histogram)
    cursor.execute(SQL["partition_rows"], parameters)
    states = []
    for name, station, discovered, listed, watermark, swept, expired, failures, last_error in cursor:
        states.append(
            PartitionState(
                name=name,
                station=station,
                discovered_at=micros(discovered),
                listed_at=micros(listed),
                series=tuple(series[name]),
                watermark=micros_or_none(watermark),
                swept_at=micros_or_none(swept),
                expired_to=micros_or_none(expired),
                failures=failures,
                last_error=last_error,
                coverage=tuple(coverage[name]),
                holes=tuple(holes[name]),
                delays=lateness.add(delays[name]) if name in delays else (),
            )
        )
    return sorted(states, key=lambda state: state.name)
