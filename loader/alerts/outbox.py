"""Messages on their way: sent when due, tried again with growing pauses, given up after days.

Whoever is killed between sending and noting it sends the message again, with the same id.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from loader.alerts.wording import one_line
from loader.contracts import Clock, Notifier
from loader.errors import LoaderError, Permanent, Undelivered
from loader.journal import Dispatch
from loader.journalcontracts import AlertBook
from loader.log import get_logger
from loader.readings import DAY, HOUR, SECOND
from loader.settings.alerting import Channel
from loader.settings.durations import MINUTE

FIRST_PAUSE = 30 * SECOND
LONGEST_PAUSE = HOUR
GIVE_UP = 3 * DAY

HOLD = 5 * MINUTE
"""A claimed message is left alone by other processes so long: more than a channel may take."""

Channels = Mapping[str, tuple[Channel, Notifier]]


def pause(tries: int, wait_s: float | None = None) -> int:
    """How long to wait after so many failed attempts, in microseconds; what the receiver asks for
    counts where it is longer, up to a day."""
    usual = min(FIRST_PAUSE << min(max(tries - 1, 0), 20), LONGEST_PAUSE)
    if wait_s is None or not wait_s > 0:
        return usual
    return max(usual, round(min(wait_s, DAY / SECOND) * SECOND))


def send_due(
    book: AlertBook, channels: Channels, clock: Clock, stop: threading.Event, patience_s: float
) -> int:
    """Send what is due until nothing is, or time is up; returns how many were delivered.

    A channel's trouble is noted and never raised; the book's is raised.
    """
    deadline, sent = time.monotonic() + patience_s, 0
    while not stop.is_set():
        due = book.claim(clock(), HOLD, 1)
        if not due:
            break
        sent += _attempt(book, channels, clock, due[0])
        if time.monotonic() >= deadline:
            break
    return sent


def _attempt(book: AlertBook, channels: Channels, clock: Clock, dispatch: Dispatch) -> bool:
    """One attempt, and how it ended."""
    notice, name = dispatch.notice, dispatch.channel
    log = get_logger(channel=name, notice=notice.id, rule=notice.rule)
    if name not in channels:
        book.settle(notice.id, name, error="the channel is not configured any more")
        log.warning("alert.given_up", error="the channel is not configured any more")
        return False
    try:
        channels[name][1].send(notice)
    except Permanent as error:
        book.settle(notice.id, name, error=one_line(str(error)))
        log.error("alert.given_up", error=one_line(str(error)))
        return False
    except Exception as error:  # no channel's trouble may end the loader
        said = str(error) if isinstance(error, LoaderError) else f"{type(error).__name__}: {error}"
        said = one_line(said)
        wait = pause(dispatch.tries + 1, error.wait_s if isinstance(error, Undelivered) else None)
        now = clock()
        if now + wait - dispatch.queued_at > GIVE_UP:
            book.settle(notice.id, name, error=said)
            log.error("alert.given_up", error=said)
        else:
            book.settle(notice.id, name, next_try=now + wait, error=said)
            log.warning("alert.undelivered", error=said, again_in_s=wait / SECOND)
        return False
    book.settle(notice.id, name, delivered_at=clock())
    log.info("alert.delivered", kind=str(notice.kind))
    return True
