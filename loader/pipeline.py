"""One run for one source: survey, plan, read, check, commit, report."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

import numpy as np

from loader import lateness, planner
from loader.batches import Gathering
from loader.contracts import Checker, Clock, Database, Lease, Source, Survey, Usage
from loader.errors import (
    Interrupted,
    LeaseHeld,
    LeaseLost,
    LoaderError,
    Refused,
    SourceUnavailable,
    StoreUnavailable,
    UsageError,
)
from loader.log import get_logger
from loader.planner import Ledger, Policy
from loader.quality.cadence import Cadences
from loader.quality.score import Weights, score
from loader.reading import Reader, attended
from loader.readings import HOUR, Flag, PartitionState, Series, Task, TaskKind, UInt8, Window
from loader.records import Counts, Outcome, RunReport
from loader.tally import Tally

T = TypeVar("T")

STORE_PATIENCE_S = 300.0
"""How long a run waits for a store that went away before it gives up."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a run is asked to do.

    `stations` and `sensors` narrow it; empty means all. With `window` it reads that stretch
    instead of what is new: again where it was read before, or (`backfill`) only what is not
    covered yet. With `windows` it reads these, by partition, whatever was read before.
    """

    trigger: str = "command"
    stations: tuple[str, ...] = ()
    sensors: tuple[str, ...] = ()
    window: Window | None = None
    backfill: bool = False
    windows: Mapping[str, Sequence[Window]] | None = None
    retry_holes: bool = False
    dry_run: bool = False

    def chosen(self, states: Sequence[PartitionState]) -> list[PartitionState]:
        """The partitions that it is about."""
        chosen = planner.select(states, self.stations, self.sensors)
        return chosen if self.windows is None else [s for s in chosen if s.name in self.windows]


class Observer(Protocol):
    """Watches a run, for progress bars and logs. Called from the writing thread only."""

    def planned(self, source: str, tasks: Sequence[Task], requests: int) -> None:
        """The tasks are known; `requests` is the estimate of what reading them takes."""

    def advanced(self, source: str, task: Task, window: Window | None, ended: bool) -> None:
        """A page of `task` was taken in, or the task ended."""

    def committed(self, source: str, counts: Counts, used: Usage) -> None:
        """A batch is durable; `counts` is the run's total so far."""

    def warned(self, source: str, message: str) -> None:
        """Something went wrong that the run survives."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Runs orders for one source. Everything it needs is handed in; it names no adapter.

    `cadence_s` says which cadence the configuration sets for a series, in seconds.
    """

    source: Source
    store: Database
    check: Checker
    policy: Policy
    weights: Weights
    clock: Clock
    stop: threading.Event
    observer: Observer
    cadence_s: Callable[[Series], float | None] = lambda series: None  # noqa: ARG005

    def run(self, order: Order, lease: Lease | None = None) -> RunReport:
        """Do what `order` says; what went wrong is in the report. It is without `finished` where
        the end of the run could not be recorded.

        With a `lease` of the caller's it runs under that one, and leaves it held. Raises LeaseHeld
        where another loader works on this source (nothing was done, a skipped run is recorded),
        AccessDenied and the like after the failed run was recorded.
        """
        started = self.clock()
        if order.dry_run:
            return self._dry_run(order, started)
        if lease is not None:
            return self._run(order, lease, started)
        lease = self._lease(order, started)
        try:
            return self._run(order, lease, started)
        finally:
            lease.release()

    def _run(self, order: Order, lease: Lease, started: int) -> RunReport:
        name = self.source.name
        log = get_logger(source=name)
        run_id = self._patiently(lambda: self.store.begin_run(lease, order.trigger, started))
        log.debug("run.begin", run_id=run_id)
        tally = Tally()
        report = RunReport(run_id, name, order.trigger, started)
        try:
            report = self._work(order, lease, report, tally)
        except StoreUnavailable as error:
            # The run cannot be closed either; the next holder of the lease does that.
            return replace(report, outcome=Outcome.FAILED, error=str(error), counts=tally.counts)
        except Interrupted:
            report = replace(report, outcome=Outcome.INTERRUPTED)
        except LeaseLost:
            raise
        except SourceUnavailable as error:
            report = replace(report, outcome=Outcome.FAILED, error=str(error))
        except LoaderError as error:
            self.finish(lease, replace(report, outcome=Outcome.FAILED, error=str(error)), tally)
            raise
        report = self.finish(lease, report, tally)
        log.debug("run.end", run_id=run_id, outcome=report.outcome)
        return report

    def _lease(self, order: Order, started: int) -> Lease:
        name = self.source.name
        try:
            return self._patiently(lambda: self.store.acquire(name))
        except LeaseHeld as held:
            self.store.record_skipped(name, order.trigger, started, Outcome.SKIPPED, str(held))
            raise

    def tasks(
        self,
        order: Order,
        states: Sequence[PartitionState],
        survey: Survey,
        now: int,
        known: Sequence[PartitionState] = (),
    ) -> list[Task]:
        """What reading `order` comes to. `known` is all that the store holds, `states` what the
        survey named of it."""
        chosen = order.chosen(states)
        if not chosen and (order.stations or order.sensors):
            stations = ", ".join(sorted({s.station for s in states})[:20]) or "none"
            raise UsageError(
                f"{self.source.name} has no station or sensor {', '.join(order.stations + order.sensors)}; "
                f"its stations: {stations}"
            )
        if order.windows is not None:
            return [
                task
                for state in chosen
                for window in order.windows[state.name]
                for task in planner.stretch([state], window, now, again=True, retry_holes=True)
            ]
        if order.window is not None:
            return planner.stretch(
                chosen, order.window, now, again=not order.backfill, retry_holes=order.retry_holes
            )
        return planner.live(
            chosen,
            survey,
            now,
            self.policy,
            known=known,
            source_delays=lateness.add(s.delays for s in states),
            retry_holes=order.retry_holes,
        )

    def _survey(self, known: Sequence[PartitionState], now: int) -> Survey:
        survey = attended(lambda: self.source.survey(known, now), self.stop)
        get_logger().debug(
            "survey", source=self.source.name, partitions=len(survey.partitions), listed=len(survey.listed)
        )
        for station, reason in survey.failed.items():
            self.observer.warned(self.source.name, f"station {station} could not be asked: {reason}")
        return survey

    def _work(self, order: Order, lease: Lease, report: RunReport, tally: Tally) -> RunReport:
        name, now = self.source.name, report.started
        known = self._patiently(lambda: self.store.partitions(name))
        ahead = sum(s.watermark is not None and s.watermark > now + HOUR for s in known)
        if ahead:
            self.observer.warned(
                name,
                f"{ahead} of {len(known)} partitions were read beyond the present time: check the clock",
            )
        survey = self._survey(known, now)
        fresh = [p for p in survey.partitions if p.name in survey.listed]
        if fresh:
            self._patiently(lambda: self.store.register(lease, fresh, now))
            known = self.store.partitions(name)

        def commit(gathering: Gathering) -> set[str]:
            return self.commit(lease, gathering, report.id, tally)

        states = planner.surveyed(known, survey, now)
        tally.failed.update({f"station {s}": why for s, why in survey.failed.items()})
        tasks = self.tasks(order, states, survey, now, known)
        return self._read(tasks, order.chosen(states), report, tally, commit)

    def _read(
        self,
        tasks: Sequence[Task],
        states: Sequence[PartitionState],
        report: RunReport,
        tally: Tally,
        commit: Callable[[Gathering], set[str]],
    ) -> RunReport:
        """Read what there is to read, handing every ripe batch to `commit`, which names the
        partitions that are to be read no further."""
        name, now = self.source.name, report.started
        self.observer.planned(name, tasks, sum(map(self.source.requests, tasks)))
        ledgers = {s.name: Ledger(s, now, self.policy) for s in states}
        gathering = self.gathering()
        with Reader(self.source, tasks, states, ledgers) as reader:
            for piece in reader.pieces(self.stop):
                if piece is not None:
                    gathering.add(piece)
                    tally.ended.add(piece.task.partition)
                    if piece.failed:
                        tally.failed[piece.task.partition] = piece.failed
                        if piece.task.kind is not TaskKind.HOLE:
                            tally.lost.add(piece.task.partition)
                        self.observer.warned(name, f"{piece.task.partition}: {piece.failed}")
                    self.observer.advanced(name, piece.task, piece.window, piece.progress.ended)
                if gathering.ripe:
                    for partition in commit(gathering):
                        reader.abandon(partition)
        if not gathering.empty:
            commit(gathering)
        # Those that had nothing to read are well.
        all_lost = tally.lost.issuperset(s.name for s in states)
        return tally.judged(report, reader.down, stopping=self.stop.is_set(), all_lost=all_lost)

    def _used(self, tally: Tally) -> Counts:
        """Requests and bytes since the last batch."""
        used = self.source.usage()
        before = tally.used
        since = Counts(
            requests=used.requests - before.requests,
            errors=used.errors - before.errors,
            bytes=used.bytes - before.bytes,
        )
        tally.used = used
        return since

    def gathering(self) -> Gathering:
        """An empty batch to come, that knows the cadences as learned so far."""
        found = self.store.cadences(self.source.name)
        keys = {s.id: s.series.key for s in self.store.series(self.source.name)} if found else {}
        learned = {
            keys[number]: [(c.from_time, c.cadence_s) for c in its]
            for number, its in found.items()
            if number in keys
        }
        return Gathering(self.check, Cadences(self.cadence_s, learned))

    def commit(self, lease: Lease, gathering: Gathering, run_id: int, tally: Tally) -> set[str]:
        """Commit what was gathered, save what rules keep out of the store; returns the partitions
        that a rule has stopped.

        A reading whose rule says quarantine becomes a reject. Where one says stop, nothing of its
        partition is committed, and the task has failed.
        """
        name, seq, read_at, used = self.source.name, tally.seq, self.clock(), self._used(tally)
        tally.seq += 1
        log = get_logger(source=name, run_id=run_id, seq=seq)
        stopped: dict[str, str] = {}
        while True:
            batch = gathering.batch(run_id=run_id, seq=seq, source=name, read_at=read_at, used=used)
            log.debug("commit.begin", readings=len(batch.readings))
            try:
                done = self._patiently(partial(self.store.commit, lease, batch, self.check))
                break
            except Refused as refused:
                log.debug("commit.refused", objections=len(refused.objections))
                stopped |= gathering.refuse(batch.series, refused.objections)
        tally.kept_out += gathering.kept_out
        gathering.clear()
        for partition, why in stopped.items():
            tally.failed[partition] = why
            self.observer.warned(name, f"{partition}: {why}")
        for those in (tally.ended, tally.lost, tally.stopped):
            those.update(stopped)
        tally.counts += done.counts
        log.debug("commit.end", new=done.counts.new, revised=done.counts.revised)
        self.observer.committed(name, tally.counts, tally.used)
        return set(stopped)

    def _patiently(self, call: Callable[[], T]) -> T:
        """Repeat a store call while the store is away, with growing pauses."""
        waited, pause = 0.0, 0.5
        while True:
            try:
                return call()
            except StoreUnavailable as error:
                if waited >= STORE_PATIENCE_S:
                    raise
                self.observer.warned(self.source.name, f"{error}; trying again in {pause:g} s")
                if self.stop.wait(pause):
                    raise Interrupted("asked to stop while the store was away") from error
                waited += pause
                pause = min(pause * 2, 30.0)

    def finish(self, lease: Lease, report: RunReport, tally: Tally) -> RunReport:
        rest = self._used(tally)
        slowest = self.source.usage().slowest_s
        total = score(tally.counts, self.weights)
        report = replace(
            report,
            finished=self.clock(),
            counts=tally.counts + rest,
            slowest_request_s=slowest or None,
            quality=None if total is None else total.total,
        )
        try:
            self._patiently(lambda: self.store.finish_run(lease, replace(report, counts=rest)))
        except (StoreUnavailable, Interrupted) as error:
            # Every reading is where it belongs; the next holder of the lease closes the run.
            self.observer.warned(self.source.name, f"the end of the run could not be recorded: {error}")
            return replace(report, finished=None)
        return report

    def _dry_run(self, order: Order, started: int) -> RunReport:
        """Survey, plan and read, but write nothing: what came is only checked and counted."""
        known = self.store.partitions(self.source.name)
        survey = self._survey(known, started)
        states = planner.surveyed(known, survey, started)
        tally = Tally()

        def add_up(gathering: Gathering) -> set[str]:
            batch = gathering.batch(
                run_id=0, seq=0, source=self.source.name, read_at=started, used=self._used(tally)
            )
            gathering.clear()
            flag, _ = self.check.alone(batch.series, batch.readings)
            tally.counts += batch.counts + flagged(flag)
            return set()

        report = RunReport(0, self.source.name, order.trigger, started)
        tasks = self.tasks(order, states, survey, started, known)
        report = self._read(tasks, order.chosen(states), report, tally, add_up)
        return replace(report, finished=self.clock(), counts=tally.counts + self._used(tally))


def flagged(flag: UInt8) -> Counts:
    """How many readings are missing, suspect and failed."""
    number = np.bincount(flag, minlength=10)
    return Counts(
        missing=int(number[Flag.MISSING]), suspect=int(number[Flag.SUSPECT]), failed=int(number[Flag.FAIL])
    )
