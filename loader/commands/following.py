"""Doing work that needs a source's lease: at once where it is free, else as a request that is
queued for its holder and followed until it is done."""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from loader.commands.execution import CODES, FAILED, OK, STOPPING, Stop, assessed, joint, opened, signals
from loader.commands.output import clean, document, note
from loader.errors import Interrupted, LeaseHeld, LoaderError, StoreUnavailable, UsageError
from loader.journal import RequestState
from loader.records import Outcome, RunReport

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.contracts import Database, Lease
    from loader.journal import Request
    from loader.work import Done, Make, Work

POLL_S = 0.5
"""How often a followed request is looked at."""

TRY_S = 2.0
"""How often its follower tries for the lease, to work it itself."""

OPEN_RUNS = 200
"""Runs among which those of a request are looked for."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What came of one source's work, whoever did it. `result` is empty where it was left queued."""

    source: str
    result: Mapping[str, Any]
    reports: tuple[RunReport, ...]
    code: int


def carry_out(
    context: Context, works: Mapping[str, Work], *, detach: bool, as_json: bool = False
) -> tuple[list[Carried], int]:
    """Do each source's work; returns what came of it and the exit code.

    Where another loader holds a lease the work is queued, and followed until that one has done it,
    or until the lease is free and it can be done here. With `detach` it is only queued, and its
    number said; with `as_json` printed, too.
    """
    done: list[Carried] = []
    with signals() as stop:
        try:
            store = opened(context, stop)
        except Interrupted:
            return [], stop.code
        queued: list[tuple[str, int]] = []
        for source, work in works.items():
            if stop.event.is_set():
                break
            lease = None if detach else _free(store, source)
            if lease is None:
                queued.append((source, _queue(store, source, work, detach=detach)))
                continue
            try:
                done.append(_here(context, store, lease, work, stop))
                assessed(context, store, lease, stop)
            finally:
                lease.release()
        if not detach:
            for _, number in queued:
                done.append(_follow(context, store, number, stop, takes_over=True))
        elif as_json:
            document([{"source": source, "request": number} for source, number in queued])
        if stop.signal:
            return done, stop.code
    return done, joint([one.code for one in done]) if done else OK


def follow(context: Context, number: int) -> tuple[Carried, int]:
    """Follow a request that another process works. Raises UsageError where there is none."""
    with signals() as stop:
        try:
            store = opened(context, stop)
        except Interrupted:
            raise click.exceptions.Exit(stop.code) from None
        done = _follow(context, store, number, stop, takes_over=False)
        return done, stop.code or done.code if stop.signal else done.code


def _free(store: Database, source: str) -> Lease | None:
    try:
        return store.acquire(source)
    except LeaseHeld:
        return None


def _queue(store: Database, source: str, work: Work, *, detach: bool) -> int:
    from loader.wiring import now

    number = store.queue(source, work.kind, work.model_dump(mode="json"), asked_by(), now())
    why = "" if detach else "another loader works on it; "
    say(f"{source}: {why}queued as request {number}")
    if detach:
        say(f"  loader requests follow {number}, loader requests cancel {number}")
    return number


def asked_by() -> str:
    """Who asks: user and host, as far as they have names."""
    user = str(os.getuid())
    with suppress(OSError, KeyError):
        user = getpass.getuser()
    return f"{user}@{socket.gethostname()}"


def _here(context: Context, store: Database, lease: Lease, work: Work, stop: Stop) -> Carried:
    """Do it in this process. Trouble with the source is in the report; trouble of other work is
    raised."""
    from loader import wiring
    from loader.commands.progress import observer
    from loader.work import Backfill, Hand, Heal, Replay

    config, source = context.config(), lease.source
    with observer(wiring.paces(config)) as watching:
        began = wiring.now()
        hand = Hand(source, store, lease, maker(context, store, source), stop.event, watching)
        try:
            made: Done = work.perform(hand)
        except UsageError:
            raise
        except Interrupted:
            return Carried(source, {}, (), stop.code)
        except LoaderError as error:
            if not isinstance(work, Backfill | Heal | Replay):
                raise
            watching.warned(source, str(error))
            report = RunReport(0, source, work.kind, began, wiring.now(), Outcome.FAILED, error=str(error))
            return Carried(source, {}, (report,), FAILED)
    reports = () if made.report is None else (made.report,)
    return Carried(source, made.result, reports, _code(reports))


def _code(reports: Sequence[RunReport]) -> int:
    return CODES.get(reports[-1].outcome or Outcome.FAILED, FAILED) if reports else OK


def maker(context: Context, store: Database, source: str) -> Make:
    """Builds the source's pipeline when it is needed. It raises LoaderError where the source is
    not configured, or cannot run."""
    from loader import wiring

    def make(stop: Any, observer: Any) -> Any:
        config = context.config()
        settings = config.sources.get(source)
        why = "it is not in the configuration" if settings is None else settings.unusable()
        if why:
            raise LoaderError(f"source {source} cannot run: {why}")
        return wiring.build_pipeline(config, source, store, stop, observer)

    return make


def _follow(context: Context, store: Database, number: int, stop: Stop, *, takes_over: bool) -> Carried:
    """Say what becomes of a request until it has ended, or the process is asked to stop.

    With `takes_over` it is worked here once the lease is free.
    """
    said, tried = "", time.monotonic()
    stop.words = b""
    while True:
        try:
            request = store.request(number)
        except StoreUnavailable as error:
            say(f"request {number}: {error}; looking again")
            stop.event.wait(TRY_S)
            request = None
            if not stop.event.is_set():
                continue
        else:
            if request is None and said:
                say(f"request {number}: has ended, and its source was forgotten since")
                return Carried("", {}, (), 0)
            if request is None:
                raise UsageError(f"there is no request {number}; `loader requests list` shows them")
            if (text := described(request)) != said:
                said = text
                say(f"request {number}: {text}")
            if request.state.final:
                return _ended(store, request)
        if stop.event.wait(POLL_S) or request is None:
            running = request is not None and request.state is RequestState.RUNNING
            stays = "goes on" if running else "stays queued"
            say(f"request {number} {stays}; `loader requests cancel {number}` cancels it")
            return Carried("" if request is None else request.source, {}, (), stop.code)
        if takes_over and time.monotonic() - tried >= TRY_S:
            _take_over(context, store, request, stop)
            tried = time.monotonic()


def _take_over(context: Context, store: Database, request: Request, stop: Stop) -> None:
    """Work the request here if the lease is free now."""
    from loader import requested, wiring
    from loader.commands.progress import observer

    try:
        lease = store.acquire(request.source)
    except (LeaseHeld, StoreUnavailable):
        return
    try:
        # Between the look and the lease its worker may have ended it.
        fresh = store.request(request.id)
        if fresh is None or fresh.state.final:
            return
        stop.words = STOPPING
        with observer(wiring.paces(context.config())) as watching:
            make = maker(context, store, request.source)
            requested.work(fresh, store, make, lease, stop.event, watching, wiring.now)
            assessed(context, store, lease, stop)
    except StoreUnavailable as error:
        say(f"request {request.id}: {error}; looking again")
    finally:
        stop.words = b""
        lease.release()


def described(request: Request) -> str:
    """Where it stands, in a line."""
    parts = [str(request.state)]
    if request.cancelling and not request.state.final:
        parts.append("to be cancelled")
    if request.progress:
        parts.append(request.progress)
    if request.error:
        parts.append(request.error)
    return ": ".join(parts)


def _ended(store: Database, request: Request) -> Carried:
    numbers = request.result.get("runs")
    wanted = set(numbers) if isinstance(numbers, list) else set()
    found = [r for r in store.runs(request.source, OPEN_RUNS) if r.id in wanted] if wanted else []
    reports = tuple(sorted(found, key=lambda r: r.id))
    code = _code(reports) if request.state is RequestState.DONE else FAILED
    return Carried(request.source, request.result, reports, code)


def say(text: str) -> None:
    """One line on stderr."""
    note(clean(text))
