"""One source's thread in the daemon: leads or stands by, runs when due, works requests in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from loader.assess import Assessor, Left, afterwards
from loader.contracts import Clock, Database, Lease, Usage
from loader.errors import LeaseHeld, LeaseLost, LoaderError, StoreError, StoreUnavailable
from loader.journal import Cutoffs
from loader.log import get_logger
from loader.pipeline import Observer, Order, Pipeline
from loader.readings import SECOND, Task, Window
from loader.records import Counts, Outcome, RunReport
from loader.requested import retain, work_next
from loader.schedule import Timetable, passed

STANDBY_S = 3.0
"""How often a stand-by tries to become the leader: well within the 30 s of a takeover."""

POLL_S = 1.0
"""How often an idle leader looks for requests."""

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
"""Between two tries of a store that is away."""

LATE = 300 * SECOND
"""A run that begins up to this much after it was due (and before it is due again) is only late."""

ROWS = 50
"""Missed runs that get a row each; the last row tells how many more there were."""


@dataclass(frozen=True, slots=True)
class Job:
    """One source's work as the configuration has it. `jitter` is in microseconds.

    `address` tells whether two jobs mean the same store; it is compared, never shown.
    """

    name: str
    timetable: Timetable
    jitter: int
    run_at_start: bool
    address: object
    open_store: Callable[[], Database]
    pipeline: Callable[[Database, threading.Event, Observer], Pipeline]
    cutoffs: Callable[[int], Cutoffs]
    assess: Assessor


class Aftermath(Protocol):
    """Who is told of what a worker did. Called from the workers' threads."""

    def began(self, source: str) -> None:
        """A scheduled run begins."""

    def ran(self, report: RunReport, usage: Usage, store: Database, lease: Lease) -> None:
        """A run has ended and is on record; the lease is still held."""

    def passed_over(self, report: RunReport) -> None:
        """A run did not take place: skipped or missed."""

    def store_changed(self) -> None:
        """The store stopped answering, or answers again."""


class Worker:
    """Runs one source until stopped or retired.

    `due` is called by the scheduler and returns at once. `state` is one of starting, leading,
    standing by, or what keeps it from both.
    """

    def __init__(self, job: Job, stop: threading.Event, aftermath: Aftermath, clock: Clock) -> None:
        self.state = "starting"
        self.trouble: str | None = None
        self.refused: str | None = None
        """Why the store cannot be used at all, where it never could."""
        self._job = job
        self._stop = stop
        self._aftermath = aftermath
        self._clock = clock
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._pause = threading.Event()
        self._leave = threading.Event()
        self._retired = False
        self._due: str | None = None
        self._left = Left()
        self._live = False
        self._skipped: list[int] = []
        self._handled: int | None = None
        self._signs = _Signs(job.name)
        self._pause_s = SHORTEST_PAUSE_S
        self._answered = False
        self._thread = threading.Thread(target=self._main, name=f"worker {job.name}", daemon=True)
        self.died: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for the end; false where it has not come in time."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def leading(self) -> bool:
        return self.state == "leading"

    def silent_s(self) -> float | None:
        """Seconds since the work at hand last moved; None while there is none."""
        return self._signs.age()

    def due(self) -> None:
        """The timetable says so."""
        with self._lock:
            if self._live:
                self._skipped.append(self._clock())
            else:
                self._due = "schedule"
                self._pause.set()
                self._wake.set()

    def nudge(self) -> None:
        """The process is to stop: end what is at hand."""
        self._pause.set()
        self._wake.set()

    def replace(self, job: Job) -> None:
        """Go on with other settings after the run at hand."""
        with self._lock:
            if job.address != self._job.address:
                self._leave.set()
                self._pause.set()
            self._job = job
            self._wake.set()

    def retire(self) -> None:
        """End after the run at hand."""
        self._retired = True
        self._leave.set()
        self._pause.set()
        self._wake.set()

    def _over(self) -> bool:
        return self._stop.is_set() or self._leave.is_set()

    def _main(self) -> None:
        try:
            self._tend()
        except BaseException as error:
            # A bug: the daemon ends with an error and is started anew.
            self.died = error
            get_logger(source=self._job.name).exception("worker.died")

    def _tend(self) -> None:
        while not self._stop.is_set() and not self._retired:
            self._leave.clear()
            try:
                store = self._job.open_store()
                try:
                    self._stand_by(store)
                finally:
                    store.close()
            except LoaderError as error:
                self._ail(error)
                self._rest()

    def _well(self) -> None:
        """The store has answered."""
        if self.trouble is not None:
            get_logger(source=self._job.name).info("store.back")
            self._aftermath.store_changed()
        self.trouble, self.refused, self._pause_s = None, None, SHORTEST_PAUSE_S
        self._answered = True

    def _ail(self, error: LoaderError) -> None:
        self.state = "in trouble"
        log = get_logger(source=self._job.name)
        if isinstance(error, LeaseLost):
            log.error("lease.lost", reason=str(error))
            return
        if self.trouble is None or not isinstance(error, StoreUnavailable):
            log.error("store.trouble", reason=str(error))
        self.trouble = str(error)
        if isinstance(error, StoreError) and not self._answered:
            self.refused = str(error)
        self._aftermath.store_changed()

    def _wait(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()

    def _rest(self) -> None:
        """Before the store is tried again; being due does not shorten it."""
        until = time.monotonic() + self._pause_s
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        while not self._over() and (left := until - time.monotonic()) > 0:
            self._wait(left)

    def _stand_by(self, store: Database) -> None:
        """Try for the lease until there is reason to leave this store."""
        log = get_logger(source=self._job.name)
        while not self._over():
            try:
                lease = store.acquire(self._job.name)
            except LeaseHeld as held:
                if self.state != "standing by":
                    log.info("standing by", reason=str(held))
                self.state = "standing by"
                self._well()
                self._due = None
                self._wait(STANDBY_S)
                continue
            try:
                log.info("leading")
                self.state = "leading"
                self._lead(store, lease)
            finally:
                self.state = "starting"
                lease.release()

    def _lead(self, store: Database, lease: Lease) -> None:
        """Run when due, work requests in between, until there is reason to let go of the lease."""
        first = self._first(store)
        self._well()
        with self._lock:
            self._due = first or self._due
        while not self._over():
            with self._lock:
                trigger, self._due = self._due, None
                self._live = trigger is not None
                if not self._over():
                    self._pause.clear()
            if trigger is not None:
                try:
                    if not self._run(store, lease, trigger):
                        return
                finally:
                    with self._lock:
                        skipped, self._skipped, self._live = self._skipped, [], False
                for at in skipped:
                    self._handled = at
                    self._pass_over(store, at, Outcome.SKIPPED, "the run before it was still at work")
            elif not self._request(store, lease) and not self._catch_up(store, lease):
                self._wait(POLL_S)

    def _first(self, store: Database) -> str | None:
        """What to begin with. The last run on record says from when on runs may be missing."""
        last = next((r for r in store.runs(self._job.name, 200) if r.took_place and r.of_schedule), None)
        now = self._clock()
        if last is None:
            self._handled = now
            return "start" if self._job.run_at_start else None
        self._handled = max(min(last.started, now), self._handled or 0)
        if last.outcome is Outcome.INTERRUPTED or self._job.timetable.after(self._handled) <= now:
            return "catch-up"
        return "start" if self._job.run_at_start else None

    def _run(self, store: Database, lease: Lease, trigger: str) -> bool:
        """One scheduled run. False where its end is not on record: whoever takes the lease next
        closes it."""
        job, log = self._job, get_logger(source=self._job.name)
        self._missed(store)
        self._aftermath.began(job.name)
        log.info("run begins", trigger=trigger)
        with self._signs.busy() as signs:
            pipeline = job.pipeline(store, self._stop, signs)
            try:
                report = pipeline.run(Order(trigger=trigger), lease)
            except (LeaseLost, StoreUnavailable, StoreError):
                raise
            except LoaderError as error:
                log.error("run failed", error=str(error))
                # Another process may have been turned away meanwhile, and have left its row.
                report = next(r for r in store.runs(job.name, ROWS) if r.took_place)
            finally:
                pipeline.source.close()
            signs.move()
            _say(report)
            if report.finished is None:
                self._ail(StoreUnavailable(report.error or "the end of the run could not be recorded"))
                return False
            retain(store, lease, job.cutoffs(self._clock()))
            self._assess(store, lease, self._stop, signs)
            self._aftermath.ran(report, pipeline.source.usage(), store, lease)
        self._well()
        return True

    def _request(self, store: Database, lease: Lease) -> bool:
        """Work a request where one waits; it makes way when a run is due."""
        if not store.requests(self._job.name, final=False, limit=1):
            return False
        with self._signs.busy() as signs:
            used: list[Pipeline] = []

            def make(stop: threading.Event, observer: Observer) -> Pipeline:
                used.append(self._job.pipeline(store, stop, observer))
                return used[-1]

            report = work_next(self._job.name, store, make, lease, self._pause, signs)
            self._assess(store, lease, self._pause, signs)
            if report is not None:
                _say(report)
                self._aftermath.ran(report, used[-1].source.usage(), store, lease)
        return True

    def _assess(self, store: Database, lease: Lease, stop: threading.Event, signs: _Signs) -> None:
        self._left = afterwards(self._job.assess, store, lease, stop, signs.move)

    def _catch_up(self, store: Database, lease: Lease) -> bool:
        """Go on assessing where the last assessment left anything; it makes way when a run is due."""
        if not self._left.done or not self._left.waiting:
            return False
        with self._signs.busy() as signs:
            self._assess(store, lease, self._pause, signs)
        return True

    def _missed(self, store: Database) -> None:
        """Put on record what was due and did not take place; the run that begins now makes up
        for all of it."""
        job, now = self._job, self._clock()
        since = now if self._handled is None else self._handled
        self._handled = now
        found, count = passed(job.timetable, since, now, ROWS)
        late = [d for d in found if now - d - job.jitter > min(LATE, job.timetable.after(d) - d)]
        for at in late:
            why = "no loader was at work"
            if at == late[-1] and count > len(found):
                why += f"; so it was for {count - len(found)} more runs after this one"
            self._pass_over(store, at, Outcome.MISSED, why)

    def _pass_over(self, store: Database, at: int, outcome: Outcome, why: str) -> None:
        store.record_skipped(self._job.name, "schedule", at, outcome, why)
        get_logger(source=self._job.name).warning(f"run {outcome}", due=at, reason=why)
        self._aftermath.passed_over(RunReport(0, self._job.name, "schedule", at, at, outcome, error=why))


class _Signs:
    """An observer that notes when the work last moved, and logs what goes wrong."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at: float | None = None

    @contextmanager
    def busy(self) -> Iterator[_Signs]:
        self.move()
        try:
            yield self
        finally:
            self._at = None

    def move(self) -> None:
        self._at = time.monotonic()

    def age(self) -> float | None:
        at = self._at
        return None if at is None else time.monotonic() - at

    def planned(self, source: str, tasks: Sequence[Task], requests: int) -> None:
        self.move()
        get_logger(source=source).debug("planned", tasks=len(tasks), requests=requests)

    def advanced(self, source: str, task: Task, window: Window | None, ended: bool) -> None:  # noqa: ARG002
        self.move()

    def committed(self, source: str, counts: Counts, used: Usage) -> None:  # noqa: ARG002
        self.move()

    def warned(self, source: str, message: str) -> None:
        self.move()
        get_logger(source=source).warning("trouble", what=message)


def _say(report: RunReport) -> None:
    """One line for the log."""
    counts = report.counts
    told = {name: getattr(counts, name) for name in ("new", "revised", "late", "quarantined", "requests")}
    log = get_logger(source=report.source, run_id=report.id)
    line = log.info if report.outcome in (Outcome.OK, Outcome.INTERRUPTED) else log.warning
    quality = {} if report.quality is None else {"quality": round(report.quality, 1)}
    error = {} if report.error is None else {"error": report.error}
    line(f"run {report.outcome}", **told, **quality, **error)
