"""Work that commands ask for, and the one place that does it; `loader.work` has its kinds.

A command does its work itself where it gets the source's lease. Where that is held it queues a
request; the daemon's worker, the next `loader run`, or the command itself once the lease is free
then does the work here. Arguments travel as JSON and are checked again when they are taken out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from loader.contracts import Clock, Database, Lease, Store, Usage
from loader.errors import Interrupted, LeaseLost, LoaderError, StoreUnavailable
from loader.journal import Cutoffs, Request, RequestState
from loader.log import get_logger
from loader.pipeline import Observer
from loader.readings import Task, Window
from loader.records import Counts, Outcome, RunReport
from loader.work import KINDS, Done, Hand, Make, Work

LOOK_S = 0.1
"""How often a request at work is looked at for a reason to end."""

NOTE_S = 1.0
"""How often its progress is written, and a cancellation looked for."""


def retain(store: Store, lease: Lease, cutoffs: Cutoffs) -> None:
    """Delete what retention does not keep, after a run; say so where there was anything."""
    if not cutoffs:
        return
    gone = {table: count for table, count in store.prune(lease, cutoffs).items() if count}
    if gone:
        get_logger(source=lease.source).info("pruned", **gone)


def work_next(  # noqa: PLR0917 - all that a worker has
    source: str,
    store: Database,
    make: Make,
    lease: Lease,
    stop: threading.Event,
    observer: Observer,
    clock: Clock = lambda: time.time_ns() // 1000,
) -> RunReport | None:
    """Work the oldest request of the source that waits, or whose worker died; the report of the
    run that it was, None where it was none or none waits.

    Where `stop` is set midway it goes back into the queue, with its progress, and continues later
    from the ledger. Raises LeaseLost and StoreUnavailable (the request is then worked by
    whoever comes next), nothing else.
    """
    waiting = store.requests(source, final=False, limit=1)
    return work(waiting[0], store, make, lease, stop, observer, clock) if waiting else None


def work(  # noqa: PLR0917 - likewise
    request: Request,
    store: Database,
    make: Make,
    lease: Lease,
    stop: threading.Event,
    observer: Observer,
    clock: Clock = lambda: time.time_ns() // 1000,
) -> RunReport | None:
    """Work one request under the lease, as `work_next` does."""
    log = get_logger(source=request.source, request=request.id, kind=request.kind)
    if request.cancelling:
        store.note_request(request.id, clock(), state=RequestState.CANCELLED)
        return None
    store.note_request(request.id, clock(), state=RequestState.RUNNING)
    log.info("request begins")
    with _attended(request, store, stop, observer, clock) as watch:
        try:
            hand = Hand(request.source, store, lease, make, watch.halt, watch)
            done = _read(request).perform(hand)
        except (LeaseLost, StoreUnavailable):
            raise
        except Interrupted:
            done = Done({}, open=True)
        except LoaderError as error:
            watch.rest()
            store.note_request(request.id, clock(), state=RequestState.FAILED, error=str(error))
            log.warning("request failed", error=str(error))
            return None
        except Exception as error:
            # A bug must not come back with the same request for ever.
            watch.rest()
            text = f"{type(error).__name__}: {error}"
            store.note_request(request.id, clock(), state=RequestState.FAILED, error=text)
            log.exception("request failed")
            return None
    return _note(request, store, done, watch, clock)


def _note(request: Request, store: Database, done: Done, watch: _Watch, clock: Clock) -> RunReport | None:
    """Write down what came of it."""
    report, error = done.report, None
    if done.open:
        state = RequestState.CANCELLED if watch.cancelled else RequestState.QUEUED
    elif report is not None and report.outcome is Outcome.FAILED:
        state, error = RequestState.FAILED, report.error
    else:
        state = RequestState.DONE
    store.note_request(
        request.id,
        clock(),
        state=state,
        progress=watch.text or None,
        result=added(request.result, done.result),
        error=error,
    )
    get_logger(source=request.source, request=request.id, kind=request.kind).info(f"request {state}")
    return report


def added(before: Mapping[str, Any], since: Mapping[str, Any]) -> dict[str, Any]:
    """The result of work that was done in several goes: numbers are summed, lists joined, and of
    texts the last one counts."""
    total = dict(before)
    for name, value in since.items():
        old = total.get(name)
        joins = isinstance(value, int | list) and isinstance(old, type(value))
        total[name] = old + value if joins else value
    return total


def _read(request: Request) -> Work:
    """The work with its arguments. Raises LoaderError where they are none of this version's."""
    kind = KINDS.get(request.kind)
    if kind is None:
        why = f"the kind {request.kind!r} is unknown here"
    else:
        try:
            return kind.model_validate(dict(request.arguments))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    raise LoaderError(f"it was queued by another version of the loader ({why}); give its command again")


@contextmanager
def _attended(
    request: Request, store: Database, stop: threading.Event, observer: Observer, clock: Clock
) -> Iterator[_Watch]:
    watch = _Watch(request, store, stop, observer, clock)
    watch.start()
    try:
        yield watch
    finally:
        watch.rest()


@dataclass(slots=True)
class _Watch:
    """Sees to a request while it is worked: an observer that keeps a line of progress, and a
    thread that writes it and sets `halt` where the work has to end."""

    request: Request
    store: Database
    stop: threading.Event
    observer: Observer
    clock: Clock
    halt: threading.Event = field(default_factory=threading.Event)
    cancelled: bool = False
    text: str = ""
    _total: int = 0
    _read: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        if self.stop.is_set():
            self.halt.set()
        name = f"request {self.request.id}"
        self._thread = threading.Thread(target=self._attend, name=name, daemon=True)
        self._thread.start()

    def rest(self) -> None:
        """End the thread; called once the work is over, more than once at will."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _attend(self) -> None:
        written, noted = self.text, time.monotonic()
        while not self._over.wait(LOOK_S):
            if self.stop.is_set():
                self.halt.set()
            if time.monotonic() - noted < NOTE_S:
                continue
            noted = time.monotonic()
            try:
                if self.text != written:
                    written = self.text
                    self.store.note_request(self.request.id, self.clock(), progress=written)
                seen = self.store.request(self.request.id)
            except LoaderError as error:
                # The work itself finds out soon enough.
                get_logger(source=self.request.source).debug("request.progress", error=str(error))
                continue
            if seen is not None and seen.cancelling:
                self.cancelled = True
                self.halt.set()

    def planned(self, source: str, tasks: Sequence[Task], requests: int) -> None:
        self._total = sum(t.window.end - t.window.start for t in tasks)
        self._read = 0
        self.text = f"{len(tasks):,} windows to read" if tasks else "nothing to read"
        self.observer.planned(source, tasks, requests)

    def advanced(self, source: str, task: Task, window: Window | None, ended: bool) -> None:
        if window is not None:
            self._read += window.end - window.start
        self.observer.advanced(source, task, window, ended)

    def committed(self, source: str, counts: Counts, used: Usage) -> None:
        share = min(self._read / self._total, 1.0) if self._total else 1.0
        self.text = f"{share:.0%} read, {counts.new:,} new, {counts.requests:,} requests"
        self.observer.committed(source, counts, used)

    def warned(self, source: str, message: str) -> None:
        self.observer.warned(source, message)
