"""The store itself: leases, runs, and the transactions that write."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from loader import ledger
from loader.contracts import DIED, Checker, Clock, Committed, Lease
from loader.errors import LeaseLost, StoreError
from loader.findings import Assessment, Model
from loader.journal import Cutoffs, LimitEvent
from loader.readings import Hole, Int64, Partition, UInt8, UInt32, Window
from loader.records import COUNT_NAMES, Batch, Counts, Outcome, RunReport
from loader.sqltext import storable
from loader.stores.sqlite import commit, findings, lease, ledger_rows, retention, schema
from loader.stores.sqlite.alertbook import SQLiteAlertBook
from loader.stores.sqlite.database import SQL, Database
from loader.stores.sqlite.journal import SQLiteJournal
from loader.stores.sqlite.reports import SQLiteReports

_SUM_BATCHES = SQL["sum_batches"].format(sums=", ".join(f"coalesce(sum({n}), 0)" for n in COUNT_NAMES))
_PUT_COUNTS = SQL["put_counts"].format(counts=", ".join(f"{n} = ?" for n in COUNT_NAMES))


def _now() -> int:
    return time.time_ns() // 1000


class SQLiteStore(SQLiteReports, SQLiteJournal, SQLiteAlertBook):
    """A `Store`, `Reports`, `Journal` and `AlertBook` in one file.

    `clock` dates only what the store itself notes: when a batch was committed, when a run without
    an end must have ended, when a migration was applied. `busy_s` is how long any call waits for
    another process's transaction before it raises StoreUnavailable.
    """

    def __init__(self, path: Path, clock: Clock = _now, busy_s: float = 30.0) -> None:
        self.url = f"sqlite:///{path}"
        self._database = Database(path, busy_s)
        SQLiteReports.__init__(self, self._database)
        SQLiteJournal.__init__(self, self._database)
        self._clock = clock
        self._guard = threading.RLock()
        self._leases: list[lease.FileLease] = []
        self._ids: dict[str, dict[commit.Key, int]] = {}

    def migrate(self) -> None:
        path = self._database.path
        if path.is_dir():
            raise StoreError(f"{path}: is a folder; name a file in it in `store`, such as {path}/loader.db")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise StoreError(
                f"{path.parent}: is a file, not a folder; name another place in `store`"
            ) from error
        except OSError as error:
            raise StoreError(f"{path.parent}: the folder cannot be made ({error.strerror})") from error
        if path.exists():
            # Before anything is changed: what is not ours keeps even its journal mode.
            with self._database.reading() as connection:
                schema.refuse_others(connection)
        with self._guard, self._database.errors():
            schema.migrate(self._database.writer(), self._clock)

    def acquire(self, source: str) -> Lease:
        with self._guard:
            held = lease.take(self._database.path, source)
            try:
                # Between two leases another process may have deleted and made series anew.
                self._ids.pop(source, None)
                self._close_unfinished(source)
            except BaseException:
                held.release()
                raise
            self._leases = [one for one in self._leases if one.held] + [held]
            return held

    def _close_unfinished(self, source: str) -> None:
        with self._database.writing() as connection:
            for (run,) in connection.execute(SQL["unfinished_runs"], (source,)).fetchall():
                (seen,) = connection.execute(SQL["last_commit"], (run,)).fetchone()
                _put_counts(connection, run, Counts())
                end = (seen or 0, Outcome.INTERRUPTED, 0, 0, None, None, DIED, run, source)
                connection.execute(SQL["end_run"], end)

    def begin_run(self, lease: Lease, trigger: str, started: int) -> int:
        with self._writing(lease) as connection:
            number = connection.execute(SQL["begin_run"], (lease.source, trigger, started)).lastrowid
        return int(number or 0)

    def finish_run(self, lease: Lease, report: RunReport) -> None:
        with self._writing(lease) as connection:
            end = (
                self._clock() if report.finished is None else report.finished,
                report.outcome,
                report.partitions_ok,
                report.partitions_failed,
                report.slowest_request_s,
                report.quality,
                None if report.error is None else storable(report.error),
                report.id,
                lease.source,
            )
            if connection.execute(SQL["end_run"], end).rowcount != 1:
                raise StoreError(f"run {report.id} of source {lease.source!r} is not in the store")
            _put_counts(connection, report.id, report.counts)

    def record_skipped(self, source: str, trigger: str, at: int, outcome: Outcome, why: str) -> None:
        with self._guard, self._database.writing() as connection:
            connection.execute(SQL["skipped_run"], (source, trigger, at, at, outcome, storable(why)))

    def register(self, lease: Lease, partitions: Sequence[Partition], now: int) -> None:
        with self._writing(lease) as connection:
            connection.executemany(
                SQL["list_partition"], [(lease.source, p.name, p.station, now, now) for p in partitions]
            )
            connection.executemany(
                SQL["describe_series"],
                [ledger_rows.series_row(lease.source, s) for p in partitions for s in p.series],
            )

    def commit(self, lease: Lease, batch: Batch, check: Checker) -> Committed:
        if batch.source != lease.source:
            raise LeaseLost(f"the lease is for source {lease.source!r}, the batch is of {batch.source!r}")
        known = self._ids.setdefault(batch.source, {})
        with self._writing(lease) as connection:
            committed, ids = commit.write(connection, batch, check, known, self._clock())
        known.update(ids)
        return committed

    def reset(self, lease: Lease, partition: str | None, watermark: int | None) -> int:
        changed = 0
        with self._writing(lease) as connection:
            names = [name for (name,) in connection.execute(SQL["partition_names"], (lease.source,))]
            for name in names if partition is None else [partition]:
                place = (lease.source, name)
                changed += connection.execute(SQL["set_watermark"], (watermark, *place)).rowcount
                covered = ledger_rows.coverage(connection, *place)
                stored = ledger_rows.holes(connection, *place)
                cut = [Window(-(2**63) if watermark is None else watermark, 2**63 - 1)]
                ledger_rows.put_coverage(connection, *place, ledger.subtract(covered, cut))
                kept = [
                    Hole(part, h.cause, h.tries, h.next_try, h.isolated)
                    for h in stored
                    for part in ledger.subtract([h.window], cut)
                ]
                ledger_rows.put_holes(connection, *place, kept)
        return changed

    def forget(self, lease: Lease) -> dict[str, int]:
        with self._database.reading() as connection:
            ids = [number for (number,) in connection.execute(SQL["source_series_ids"], (lease.source,))]
        deleted = retention.forget(lambda: self._writing(lease), lease.source, ids)
        self._ids.pop(lease.source, None)
        return deleted

    def prune(self, lease: Lease, cutoffs: Cutoffs) -> dict[str, int]:
        return retention.prune(lambda: self._writing(lease), lease.source, cutoffs)

    def put_limit_events(
        self, lease: Lease, series_id: int, window: Window, events: Sequence[LimitEvent]
    ) -> None:
        with self._writing(lease) as connection:
            connection.execute(SQL["drop_limit_events"], (series_id, window.start, window.end))
            connection.executemany(
                SQL["put_limit_event"],
                [
                    (series_id, e.level, e.threshold, e.from_time, e.to_time, e.peak, e.readings)
                    for e in events
                ],
            )

    def put_flags(self, lease: Lease, series_id: int, time: Int64, flag: UInt8, tests: UInt32) -> int:
        with self._writing(lease) as connection:
            return findings.put_flags(connection, lease.source, series_id, (time, flag, tests))

    def assess(self, lease: Lease, *found: Assessment) -> None:
        # Lost to a power failure, the stretches are pending as before.
        with self._writing(lease, lasting=False) as connection:
            for one in found:
                findings.assess(connection, lease.source, one)

    def put_model(self, lease: Lease, model: Model) -> None:
        with self._writing(lease) as connection:
            findings.put_model(connection, lease.source, model)

    def drop_quarantined(self, lease: Lease, digests: Sequence[str]) -> int:
        with self._writing(lease) as connection:
            return connection.executemany(
                SQL["drop_quarantined"], [(lease.source, digest) for digest in digests]
            ).rowcount

    def close(self) -> None:
        with self._guard:
            for held in self._leases:
                held.release()
            self._leases = []
            self._close_journal()
            self._database.close()

    @contextmanager
    def _writing(self, held: Lease, *, lasting: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction under the lease."""
        with self._guard:
            if not any(one is held and one.held for one in self._leases):
                raise LeaseLost(f"the lease of source {held.source!r} is gone; nothing was written")
            with self._database.writing(lasting=lasting) as connection:
                yield connection


def _put_counts(connection: sqlite3.Connection, run: int, own: Counts) -> None:
    """Write the sums of the run's batches, and the traffic that no batch carried."""
    total = Counts(*connection.execute(_SUM_BATCHES, (run,)).fetchone())
    total += Counts(requests=own.requests, errors=own.errors, bytes=own.bytes)
    connection.execute(_PUT_COUNTS, (*(getattr(total, name) for name in COUNT_NAMES), run))
