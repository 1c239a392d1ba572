"""The right to send requests: shared by threads, by processes and by sources that use one key,
and kept in the journal, so that a restart does not begin a new allowance."""

from __future__ import annotations

import contextlib
import hashlib
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from loader.contracts import Clock
from loader.errors import Interrupted, StoreUnavailable
from loader.journalcontracts import Journal
from loader.log import get_logger
from loader.readings import SECOND
from loader.responses import http_date, number, retry_after

MINUTE_S, HOUR_S = 60, 3600
LOT = 5
"""Requests taken from the journal at once: what a killed process loses at most."""
RESERVE = 0.2
"""The share of every limit that background work leaves for live runs."""
LOOK_S = 1.0
"""A waiting thread looks at the clock this often: another may have learned something."""
UNEXPLAINED = 3
"""So many refusals in a row without a word about limits mean an exhausted minute."""
BELIEVE_S = 10
"""A refusal this soon after a window ended says that it had not."""
AWAY_S = 300.0
"""How long a journal that went away is waited for: requests that nobody counts are not sent."""
LONG_S = 5
"""Who waits for longer than this says so."""
SPREAD_S = 0.25
"""Waiting threads and processes come back spread over this long."""


def budget_key(base_url: str, secret: str) -> str:
    """The name under which the requests of one key at one server are counted: a digest."""
    return hashlib.sha256(f"{base_url.rstrip('/')}\n{secret}".encode()).hexdigest()[:32]


class Unlimited:
    """A budget for servers without limits; it only hears when to stop."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def acquire(self, background: bool = False) -> None:  # noqa: ARG002 - as contracts.Budget
        """Return at once. Raises Interrupted when the process is asked to stop."""
        if self._stop.is_set():
            raise Interrupted("asked to stop before a request")

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        """Nothing to learn."""

    def close(self) -> None:
        """Nothing to give back."""


@dataclass(slots=True)
class _Lot:
    """Requests granted and not sent yet. `not_before`: when to ask for more."""

    count: int = 0
    taken_at: int = 0
    not_before: int = 0


class JournalBudget:
    """A budget counted in the journal under `key`, taken from it in lots of `lot` requests.

    `limits` maps a window in seconds to the requests it allows (60 -> 60, 3600 -> 2000).
    Callable from any thread. What the server says goes before what is configured: a window that
    it calls exhausted closes the key for everybody.
    """

    def __init__(  # noqa: PLR0917 - nothing but what it needs
        self,
        journal: Journal,
        key: str,
        limits: Mapping[int, int],
        clock: Clock,
        stop: threading.Event,
        lot: int = LOT,
    ) -> None:
        self._journal = journal
        self._key = key
        self._limits = {seconds: count for seconds, count in limits.items() if count > 0}
        self._shortest = min(self._limits, default=MINUTE_S) * SECOND
        self._clock = clock
        self._stop = stop
        self._lot = lot
        self._lock = threading.Lock()
        self._lots = {False: _Lot(), True: _Lot()}
        self._blocked_until = 0
        self._unexplained = 0
        self._told_until = 0

    def acquire(self, background: bool = False) -> None:
        """Return when one request may be sent; `background` leaves a fifth of the limits alone.
        Raises Interrupted when the process is asked to stop meanwhile, StoreUnavailable when the
        journal stays away."""
        away_since, pause = None, 0.5
        while not self._stop.is_set():
            try:
                come_again = self._try(background)
            except StoreUnavailable as error:
                if away_since is None:
                    away_since = time.monotonic()
                    get_logger().warning("budget.waits", reason=str(error))
                elif time.monotonic() - away_since > AWAY_S:
                    raise
                self._stop.wait(pause)
                pause = min(2 * pause, 30.0)
                continue
            if come_again is None:
                return
            away_since, pause = None, 0.5
            self._tell(come_again)
            wait = min((come_again - self._clock()) / SECOND, LOOK_S)
            self._stop.wait(max(wait, 0) + random.uniform(0, SPREAD_S))  # noqa: S311
        raise Interrupted("asked to stop while waiting for the request limit")

    def _try(self, background: bool) -> int | None:
        """Take one request; None, or the time to come again."""
        with self._lock:
            now = self._clock()
            if now < self._blocked_until:
                return self._blocked_until
            lot = self._lots[background]
            if lot.count and now // self._shortest != lot.taken_at // self._shortest:
                # Granted for a window that is over: sent now they would count twice.
                self._return(lot)
            if not lot.count:
                if now < lot.not_before:
                    return lot.not_before
                reserve = RESERVE if background else 0.0
                grant = self._journal.take(self._key, self._lot, self._limits, reserve, now)
                lot.count, lot.taken_at = grant.count, now
                if not grant.count:
                    lot.not_before = grant.retry_at
                    return lot.not_before
            lot.count -= 1
            return None

    def _tell(self, come_again: int) -> None:
        """Say once, for all threads, that a limit is reached and how long that lasts."""
        with self._lock:
            seconds = (come_again - self._clock()) // SECOND
            if seconds < LONG_S or come_again <= self._told_until:
                return
            self._told_until = come_again
        get_logger().info("request limit reached", goes_on_in_s=seconds)

    def _return(self, lot: _Lot) -> None:
        count, lot.count = lot.count, 0
        if count:
            self._journal.give_back(self._key, count, lot.taken_at)

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        """Learn from `x-ratelimit-*`, `date` and `retry-after` of a response.

        What a cache kept (`age`) describes another minute and is left alone.
        """
        if (number(headers, "age") or 0) > 0 and status != 429:
            return
        remaining = number(headers, "x-ratelimit-remaining")
        with self._lock:
            if status != 429:
                self._unexplained = 0
                if remaining is None:
                    return
            if status == 429 or remaining == 0:
                self._block(self._end(status, headers))
            for lot in self._lots.values():
                # Somebody else may spend from the same key: what is left is not ours to hold.
                lot.count = min(lot.count, remaining or 0)

    def _block(self, until: int) -> None:
        if until > self._blocked_until:
            self._blocked_until = until
            # A journal that is away cannot tell the others; each hears it from the server then.
            with contextlib.suppress(StoreUnavailable):
                self._journal.block(self._key, until)

    def _end(self, status: int, headers: Mapping[str, str]) -> int:
        """When the exhausted window is over.

        A minute's window is the server's calendar minute: its `reset` may claim more. Where that
        turned out to be too early, `reset` is believed. A refusal that says nothing at all may
        pass by itself, so only the third in a row counts as an exhausted minute.
        """
        now = self._clock()
        limit = number(headers, "x-ratelimit-limit")
        reset = number(headers, "x-ratelimit-reset")
        asked = retry_after(headers, now)
        if status == 429 and asked is not None:
            return now + int(min(asked, HOUR_S) * SECOND)
        if limit is None and reset is None:
            self._unexplained += 1
            if self._unexplained < UNEXPLAINED:
                return 0
        hourly = self._is_hourly(limit, reset)
        longest = HOUR_S if hourly else MINUTE_S
        claimed = longest if reset is None else min(reset, longest)
        too_early = status == 429 and 0 <= now - self._blocked_until < BELIEVE_S * SECOND
        if not hourly and not too_early:
            claimed = min(claimed, MINUTE_S - _server_seconds(now, headers) % MINUTE_S)
        return now + claimed * SECOND

    def _is_hourly(self, limit: int | None, reset: int | None) -> bool:
        if limit is not None and limit == self._limits.get(MINUTE_S):
            return False
        if limit is not None and limit == self._limits.get(HOUR_S):
            return True
        return reset is not None and reset > MINUTE_S

    def close(self) -> None:
        """Give back what was granted and not used, unless the journal is away: it forgets by itself."""
        with self._lock, contextlib.suppress(StoreUnavailable):
            for lot in self._lots.values():
                self._return(lot)


def _server_seconds(now: int, headers: Mapping[str, str]) -> int:
    """The server's clock in whole seconds, rounded down; ours where it does not say."""
    at = http_date(headers.get("date", ""))
    return now // SECOND if at is None else int(at)
