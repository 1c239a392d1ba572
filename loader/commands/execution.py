"""Running orders from the command line: signals, progress, exit code."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from loader.commands.output import note
from loader.errors import Interrupted, LeaseHeld, LoaderError, StoreUnavailable, UsageError
from loader.log import get_logger
from loader.records import Outcome, RunReport

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.contracts import Database, Lease
    from loader.herald import Herald
    from loader.pipeline import Observer, Order, Pipeline

OPENING_S = 20.0
"""How long a run waits at its start for a store that is away."""

DELIVERY_S = 60.0
"""How long a run waits at its end for messages to be delivered; the rest stays in the outbox."""

OK, FAILED, USAGE, PARTIAL, LOCKED, CONFIG = 0, 1, 2, 3, 75, 78

CODES = {
    Outcome.OK: OK,
    Outcome.PARTIAL: PARTIAL,
    Outcome.FAILED: FAILED,
}


STOPPING = b"stopping after this batch; once more to leave at once\n"


@dataclass(slots=True)
class Stop:
    """Set by the first SIGINT or SIGTERM; the second one leaves at once. `words` are said then."""

    event: threading.Event
    signal: int = 0
    words: bytes = STOPPING

    @property
    def code(self) -> int:
        return 128 + self.signal


@contextmanager
def signals() -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM into a stop that lets the batch be finished."""
    stop = Stop(threading.Event())

    def asked(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signal module's signature
        if stop.signal:
            # Nothing is lost: what is committed stays, what is not is read again.
            os._exit(128 + number)
        stop.signal = number
        stop.event.set()
        with suppress(OSError):
            # On a terminal the cursor stands behind a progress bar.
            os.write(2, b"\n" * os.isatty(2) + stop.words)

    previous = {n: signal.signal(n, asked) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


Act = Callable[["Pipeline"], RunReport]


def runnable(context: Context, names: tuple[str, ...]) -> list[str]:
    """The chosen sources that can run; says why others, or none, cannot."""
    from loader import wiring

    run, skipped = wiring.chosen(context.config(), names)
    for name, reason in skipped.items():
        note(f"{name}: skipped: {reason}")
    if not run:
        note("loader: no source can run" + ("" if skipped else ": enable one in the configuration"))
    return run


def execute(
    context: Context,
    names: tuple[str, ...],
    act: Act,
    trigger: str = "command",
    herald: Herald | None = None,
) -> tuple[list[RunReport], int]:
    """Let `act` work on every chosen source, one after the other.

    Returns the reports and the exit code. One source's trouble does not keep the next from
    running; the report of one that could not run at all has the id 0. With a `herald`, all
    that follows a run follows: limits are looked at, what retention does not keep is deleted, what
    was requested is done, and who is to be told is told.
    """
    from loader import wiring
    from loader.commands.progress import observer

    config = context.config()
    run = runnable(context, names)
    if not run:
        return [], CONFIG
    for name in run:
        # What cannot be assessed as configured is said before anything is loaded.
        wiring.build_assessor(config, name)
    reports: list[RunReport] = []
    codes: list[int] = []
    with signals() as stop, observer(wiring.paces(config)) as watching:
        try:
            store = opened(context, stop)
        except Interrupted:
            return [], stop.code
        for name in run:
            if stop.event.is_set():
                break
            if herald is not None:
                herald.began(name)
            pipeline = wiring.build_pipeline(config, name, store, stop.event, watching)
            try:
                report, code = _attempt(pipeline, act, trigger)
            except Interrupted:
                break
            finally:
                pipeline.source.close()
            reports.append(report)
            codes.append(code)
            if herald is not None:
                herald.ended(report, pipeline.source.usage())
                try:
                    reports += _afterwards(context, store, name, stop, watching, herald)
                except LoaderError as error:
                    watching.warned(name, str(error))
                    codes.append(FAILED)
        if herald is not None:
            # The rules of a source that somebody else loads are theirs to look at.
            herald.round(
                DELIVERY_S, sorted({r.source for r in reports if r.outcome is not Outcome.SKIPPED})
            )
        if stop.signal:
            return reports, stop.code
    return reports, joint(codes)


def _attempt(pipeline: Pipeline, act: Act, trigger: str) -> tuple[RunReport, int]:
    """A run's report and exit code, also where it could not run at all. Raises UsageError and
    Interrupted."""
    name, began = pipeline.source.name, pipeline.clock()
    try:
        report = act(pipeline)
    except (UsageError, Interrupted):
        raise
    except LoaderError as error:
        pipeline.observer.warned(name, str(error))
        held = isinstance(error, LeaseHeld)
        outcome = Outcome.SKIPPED if held else Outcome.FAILED
        report = RunReport(0, name, trigger, began, pipeline.clock(), outcome, error=str(error))
        return report, LOCKED if held else FAILED
    return report, CODES.get(report.outcome or Outcome.FAILED, FAILED)


def _afterwards(
    context: Context, store: Database, name: str, stop: Stop, watching: Observer, herald: Herald
) -> list[RunReport]:
    """Assess what came, look at limits, delete what is too old, work the requests that wait; the
    reports of the runs among them."""
    from loader import requested, wiring

    try:
        lease = store.acquire(name)
    except LeaseHeld:
        # Whoever holds it does the same.
        return []
    try:
        assessed(context, store, lease, stop)
        herald.settled(store, lease, name)
        requested.retain(store, lease, context.config().sources[name].retention.cutoffs(wiring.now()))
        make = partial(wiring.build_pipeline, context.config(), name, store)
        worked = []
        for _ in store.requests(name, final=False):
            if not stop.event.is_set():
                worked.append(
                    requested.work_next(name, store, make, lease, stop.event, watching, wiring.now)
                )
        if worked:
            assessed(context, store, lease, stop)
        return [report for report in worked if report is not None]
    finally:
        lease.release()


def assessed(context: Context, store: Database, lease: Lease, stop: Stop) -> None:
    """Assess what the lease's source has been brought. A source that is not configured any more has
    no rules to do it by."""
    from loader import assess, wiring

    config = context.config()
    if lease.source in config.sources:
        # A command has no watchdog that would want signs of life.
        assess.afterwards(
            wiring.build_assessor(config, lease.source), store, lease, stop.event, lambda: None
        )


def opened(context: Context, stop: Stop) -> Database:
    """The store, waited for a little while it is away: a server may just be restarting.
    Interrupted where the process was asked to stop meanwhile."""
    deadline, pause = time.monotonic() + OPENING_S, 0.5
    while True:
        try:
            return context.store()
        except StoreUnavailable as error:
            if time.monotonic() + pause > deadline:
                raise
            get_logger().warning("store.away", what=f"{error}; trying again in {pause:g} s")
            if stop.event.wait(pause):
                raise Interrupted("asked to stop while the store was away") from error
            pause *= 2


def joint(codes: Sequence[int]) -> int:
    """One exit code for several sources: theirs where they agree, else partial."""
    distinct = set(codes)
    return distinct.pop() if len(distinct) == 1 else PARTIAL


def obey(order: Order) -> Act:
    """Run that order on each source."""
    return lambda pipeline: pipeline.run(order)
