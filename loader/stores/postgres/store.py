"""The store itself: leases, runs, and the transactions that write."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from loader.contracts import Checker, Committed, Lease
from loader.errors import LeaseLost, StoreError, StoreUnavailable
from loader.findings import Assessment, Model
from loader.journal import Cutoffs, LimitEvent
from loader.readings import Bool, Int64, Partition, Readings, UInt8, UInt32, Window
from loader.records import Batch, Outcome, RunReport
from loader.sqltext import storable
from loader.stores.postgres import commit, findings, forget, progress, prune, schema
from loader.stores.postgres import lease as leases
from loader.stores.postgres.alertbook import PostgresAlertBook
from loader.stores.postgres.findingreports import PostgresFindings
from loader.stores.postgres.journal import PostgresJournal
from loader.stores.postgres.lease import PostgresLease
from loader.stores.postgres.partitions import MonthMissing, Months
from loader.stores.postgres.requests import PostgresRequests
from loader.stores.postgres.session import (
    SQL,
    Backend,
    Connection,
    Cursor,
    Limits,
    Server,
    Session,
    Sessions,
    one,
    transact,
)
from loader.stores.postgres.times import clamped, stamp

T = TypeVar("T")

_WRITING = Limits(statement_s=300, lock_s=30)
_ASKING = Limits(statement_s=300, lock_s=10)


class PostgresStore(PostgresFindings, PostgresJournal, PostgresRequests, PostgresAlertBook):
    """A `Database`: store, reports, journal and alert book in one PostgreSQL database.

    Nothing connects before the first call. `url` must lead to the server itself or to a pooler
    in session mode, for the sake of the lease. `beat_s` is how often a holder shows that it is
    alive, `stale_s` after how much silence it is taken over.
    """

    def __init__(self, url: str, *, beat_s: float = leases.BEAT_S, stale_s: float = leases.STALE_S) -> None:
        self._server = Server(url)
        self.url = self._server.url
        self._sessions = Sessions(self._server, _ASKING)
        self._writer = Session(self._server, _WRITING, self._joined)
        self._guard = threading.RLock()
        self._leases: list[PostgresLease] = []
        self._months = Months()
        self._beat_s = beat_s
        self._stale_s = stale_s

    def migrate(self) -> None:
        schema.migrate(self._writer)

    def acquire(self, source: str) -> Lease:
        with self._guard:
            held = leases.take(
                self._server,
                source,
                lambda: self._writer.backend,
                beat_s=self._beat_s,
                stale_s=self._stale_s,
            )
            self._leases = [one for one in self._leases if one.held] + [held]
            return held

    def _joined(self, connection: Connection, backend: Backend) -> None:
        """A new writing connection is on record before it can leave anything locked."""

        def note(cursor: Cursor) -> None:
            for held in self._leases:
                held.list_backends(cursor, backend)

        transact(connection, note)

    def begin_run(self, lease: Lease, trigger: str, started: int) -> int:
        run = {"source": lease.source, "trigger": trigger, "started": stamp(started)}

        def work(cursor: Cursor) -> int:
            # There already where the connection was lost during an earlier COMMIT.
            cursor.execute(SQL["begun_run"], run)
            found = cursor.fetchone()
            if found is None:
                cursor.execute(SQL["begin_run"], run)
                found = one(cursor)
            return int(found[0])

        return self._write(lease, work)

    def finish_run(self, lease: Lease, report: RunReport) -> None:
        parameters = {
            "run_id": report.id,
            "source": lease.source,
            "finished": stamp(report.finished),
            "outcome": report.outcome,
            "partitions_ok": report.partitions_ok,
            "partitions_failed": report.partitions_failed,
            "slowest_request_s": report.slowest_request_s,
            "quality": report.quality,
            "error": None if report.error is None else storable(report.error),
            "requests": report.counts.requests,
            "errors": report.counts.errors,
            "bytes": report.counts.bytes,
        }

        def work(cursor: Cursor) -> None:
            cursor.execute(SQL["finish_run"], parameters)
            if cursor.rowcount != 1:
                raise StoreError(f"run {report.id} of source {lease.source!r} is not in the store")

        self._write(lease, work)

    def record_skipped(self, source: str, trigger: str, at: int, outcome: Outcome, why: str) -> None:
        parameters = {
            "source": source,
            "trigger": trigger,
            "at": stamp(at),
            "outcome": outcome,
            "error": storable(why),
        }
        self._sessions.run(lambda cursor: cursor.execute(SQL["skipped_run"], parameters))

    def register(self, lease: Lease, partitions: Sequence[Partition], now: int) -> None:
        # Of what is named twice, the last counts; in one order, so that two do not deadlock.
        found = {p.name: p.station for p in sorted(partitions, key=lambda p: p.name)}
        series = {s.key: s for p in partitions for s in p.series}
        described = [series[key] for key in sorted(series)]

        def work(cursor: Cursor) -> None:
            if found:
                cursor.execute(
                    SQL["list_partitions"],
                    {
                        "source": lease.source,
                        "partitions": list(found),
                        "stations": list(found.values()),
                        "now": stamp(now),
                    },
                )
            if described:
                cursor.execute(SQL["describe_series"], commit.series_columns(lease.source, described))

        self._write(lease, work)

    def commit(self, lease: Lease, batch: Batch, check: Checker) -> Committed:
        if batch.source != lease.source:
            raise LeaseLost(f"the lease is for source {lease.source!r}, the batch is of {batch.source!r}")
        if len(batch.readings):
            # Both must be sayable: they become the series' first and last time.
            stamp(int(batch.readings.time.min())), stamp(int(batch.readings.time.max()))

        def unexpired() -> Bool:
            limits = self._writer.run(lambda cursor: progress.expired_to(cursor, batch))
            return ~progress.expired(batch, limits)

        def work(cursor: Cursor) -> Committed:
            return commit.write(cursor, batch, check)

        for _ in range(commit.TRIES):
            with self._guard:
                self._held(lease)
                self._months.ensure(self._writer, batch.readings.time, unexpired)
            try:
                return self._write(lease, work)
            except MonthMissing:
                self._months.forget()
        raise StoreUnavailable(f"{self.url}: months of `reading` disappear as fast as they are made")

    def reset(self, lease: Lease, partition: str | None, watermark: int | None) -> int:
        parameters = {"source": lease.source, "partition": partition, "watermark": stamp(watermark)}

        def work(cursor: Cursor) -> int:
            cursor.execute(SQL["reset_partitions"], parameters)
            changed = cursor.rowcount
            for table in ("coverage", "hole"):
                cursor.execute(SQL[f"reset_{table}"], parameters)
                if watermark is not None:
                    cursor.execute(SQL[f"cut_{table}"], parameters)
            return changed

        return self._write(lease, work)

    def forget(self, lease: Lease) -> dict[str, int]:
        return forget.forget(lease.source, write=lambda work: self._write(lease, work), ask=self._ask)

    def prune(self, lease: Lease, cutoffs: Cutoffs) -> dict[str, int]:
        return prune.prune(
            lease.source,
            cutoffs,
            write=lambda work: self._write(lease, work),
            ask=self._ask,
            dropped=self._months.forget,
        )

    def put_limit_events(
        self, lease: Lease, series_id: int, window: Window, events: Sequence[LimitEvent]
    ) -> None:
        if any(event.series_id != series_id for event in events):
            raise StoreError(f"limit events of other series than {series_id} were given for it")
        found = {(e.from_time, e.level, e.threshold): e for e in events}
        parameters = {
            "source": lease.source,
            "id": series_id,
            "start": clamped(window.start),
            "end": clamped(window.end),
            "levels": [e.level for e in found.values()],
            "thresholds": [e.threshold for e in found.values()],
            "starts": [stamp(e.from_time) for e in found.values()],
            "ends": [stamp(e.to_time) for e in found.values()],
            "peaks": [e.peak for e in found.values()],
            "readings": [e.readings for e in found.values()],
        }

        def work(cursor: Cursor) -> None:
            cursor.execute(SQL["drop_limit_events"], parameters)
            if cursor.fetchone() is None:
                raise StoreError(f"series {series_id} is not of source {lease.source!r}")
            if found:
                cursor.execute(SQL["add_limit_events"], parameters)

        self._write(lease, work)

    def put_flags(self, lease: Lease, series_id: int, time: Int64, flag: UInt8, tests: UInt32) -> int:
        given = Readings.of(np.zeros(len(time)), time, np.zeros(len(time)), tests, flag)
        return self._write(lease, lambda cursor: findings.put_flags(cursor, lease.source, series_id, given))

    def assess(self, lease: Lease, *found: Assessment) -> None:
        self._write(lease, lambda cursor: findings.assess(cursor, lease.source, found))

    def put_model(self, lease: Lease, model: Model) -> None:
        self._write(lease, lambda cursor: findings.put_model(cursor, lease.source, model))

    def drop_quarantined(self, lease: Lease, digests: Sequence[str]) -> int:
        def work(cursor: Cursor) -> int:
            cursor.execute(SQL["drop_quarantined"], {"source": lease.source, "digests": list(digests)})
            return cursor.rowcount

        return self._write(lease, work)

    def close(self) -> None:
        with self._guard:
            for held in self._leases:
                held.release()
            self._leases = []
            self._writer.close()
            self._sessions.close()

    def _held(self, lease: Lease) -> PostgresLease:
        found = next((held for held in self._leases if held is lease), None)
        if found is None:
            raise LeaseLost(f"the lease of source {lease.source!r} is gone; nothing was written")
        return found

    def _write(self, lease: Lease, work: Callable[[Cursor], T]) -> T:
        """One transaction under the lease."""
        with self._guard:
            held = self._held(lease)

            def fenced(cursor: Cursor) -> T:
                held.fence(cursor)
                return work(cursor)

            return self._writer.run(fenced)
