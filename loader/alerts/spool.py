"""The alert book in a file, for while the store is away: one JSON file, replaced as a whole, under
a lock. What cannot be written (a full disk) is kept in memory until it can."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from loader import atomic
from loader.alerts.wording import one_line
from loader.journal import Alert, Dispatch, Mute, Phase
from loader.journalcontracts import WITHDRAWN
from loader.log import get_logger

NAME = "alerts.json"

SETTLED, WAITING = 50, 200
"""So many delivered or given up messages are remembered, and so many wait at most: the newest."""

LARGEST = 16 << 20
"""A file of more bytes was not written by us."""

T = TypeVar("T")


@dataclass
class _Book:
    """What the file holds."""

    alerts: list[Alert] = field(default_factory=list)
    outbox: list[Dispatch] = field(default_factory=list)
    mutes: list[Mute] = field(default_factory=list)


# Made here: threads that meet a type at once for the first time crash the interpreter.
_DECODER = msgspec.json.Decoder(_Book)


class Spool:
    """An AlertBook in the folder `folder`. Never raises for what the disk does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / NAME
        self._lock = threading.RLock()
        self._unwritten: _Book | None = None
        self._complained = False

    def alerts(self) -> list[Alert]:
        return sorted(self._read().alerts, key=lambda a: a.key)

    def record(
        self, alerts: Sequence[Alert], dispatches: Sequence[Dispatch] = (), withdrawn: Sequence[str] = ()
    ) -> None:
        def change(book: _Book) -> None:
            keys = {a.key for a in alerts}
            book.alerts = [a for a in book.alerts if a.key not in keys]
            book.alerts += [a for a in alerts if a.phase is not Phase.OK]
            gone = set(withdrawn)
            book.outbox = [
                replace(d, next_try=None, error=WITHDRAWN) if _waits(d) and d.notice.id in gone else d
                for d in book.outbox
            ]
            there = {(d.notice.id, d.channel) for d in book.outbox}
            book.outbox += [d for d in dispatches if (d.notice.id, d.channel) not in there]

        self._change(change)

    def claim(self, now: int, hold: int, limit: int = 50) -> list[Dispatch]:
        if not any(_due(d, now) for d in self._read().outbox):
            return []

        def change(book: _Book) -> list[Dispatch]:
            due = sorted((d for d in book.outbox if _due(d, now)), key=lambda d: d.queued_at)[:limit]
            keys = {(d.notice.id, d.channel) for d in due}
            book.outbox = [
                replace(d, next_try=now + hold) if (d.notice.id, d.channel) in keys else d
                for d in book.outbox
            ]
            return [replace(d, next_try=now + hold) for d in due]

        return self._change(change)

    def settle(
        self,
        notice: str,
        channel: str,
        *,
        delivered_at: int | None = None,
        next_try: int | None = None,
        error: str | None = None,
    ) -> None:
        def change(book: _Book) -> None:
            for i, d in enumerate(book.outbox):
                if d.notice.id != notice or d.channel != channel or d.delivered_at is not None:
                    continue
                if delivered_at is not None or _waits(d):
                    book.outbox[i] = replace(
                        d,
                        next_try=None if delivered_at is not None else next_try,
                        tries=d.tries + 1,
                        delivered_at=delivered_at,
                        error=None if delivered_at is not None else error,
                    )

        self._change(change)

    def delivered(self, notices: Sequence[str]) -> set[str]:
        asked = set(notices)
        return {
            d.notice.id for d in self._read().outbox if d.delivered_at is not None and d.notice.id in asked
        }

    def dispatches(self, limit: int) -> list[Dispatch]:
        return sorted(self._read().outbox, key=lambda d: d.queued_at, reverse=True)[:limit]

    def mutes(self, now: int) -> list[Mute]:
        return sorted((m for m in self._read().mutes if m.until > now), key=lambda m: m.source)

    def mute(self, mute: Mute) -> None:
        def change(book: _Book) -> None:
            book.mutes = [m for m in book.mutes if m.source != mute.source and m.until > mute.at] + [mute]

        self._change(change)

    def unmute(self, source: str) -> bool:
        def change(book: _Book) -> bool:
            there = len(book.mutes)
            book.mutes = [m for m in book.mutes if m.source != source]
            return len(book.mutes) < there

        return self._change(change)

    def _read(self) -> _Book:
        """The newest state; a file that is no book of ours is set aside."""
        with self._lock:
            if self._unwritten is not None:
                return self._unwritten
            try:
                with self._path.open("rb") as file:
                    data = file.read(LARGEST + 1)
                if len(data) > LARGEST:
                    raise ValueError("the file is too large")
                return _DECODER.decode(data)
            except FileNotFoundError:
                return _Book()
            except (ValueError, msgspec.MsgspecError) as error:
                get_logger().error("alerts.spool_unreadable", file=str(self._path), error=str(error))
                with suppress(OSError):
                    self._path.replace(self._path.with_suffix(".unreadable"))
                return _Book()
            except OSError as error:
                self._complain(error)
                return _Book()

    def _change(self, change: Callable[[_Book], T]) -> T:
        with self._lock, self._alone():
            book = self._read()
            result = change(book)
            waiting = [d for d in book.outbox if _waits(d)]
            settled = [d for d in book.outbox if not _waits(d)]
            kept = {id(d) for d in [*_newest(waiting, WAITING), *_newest(settled, SETTLED)]}
            book.outbox = [d for d in book.outbox if id(d) in kept]
            try:
                atomic.replace(self._path, msgspec.json.encode(book), sync=True)
                self._unwritten, self._complained = None, False
            except OSError as error:
                self._unwritten = book
                self._complain(error)
            return result

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes out; where there is no room for a lock, go on without."""
        lock = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._folder / "alerts.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            self._complain(error)
        try:
            yield
        finally:
            if lock is not None:
                os.close(lock)

    def _complain(self, error: OSError) -> None:
        """Say once what is wrong."""
        if not self._complained:
            self._complained = True
            text = one_line(error.strerror or str(error))
            get_logger().error("alerts.spool_unwritable", file=str(self._path), error=text)


def _waits(dispatch: Dispatch) -> bool:
    return dispatch.delivered_at is None and dispatch.next_try is not None


def _due(dispatch: Dispatch, now: int) -> bool:
    return dispatch.delivered_at is None and dispatch.next_try is not None and dispatch.next_try <= now


def _newest(dispatches: list[Dispatch], most: int) -> list[Dispatch]:
    return sorted(dispatches, key=lambda d: d.queued_at, reverse=True)[:most]
