"""The OpenAQ source: survey, windows read page by page, replay, a look at the connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from loader.contracts import Clock, Finding, Survey, Usage
from loader.errors import AccessDenied, Interrupted, LoaderError, PageFailed, Permanent, SourceUnavailable
from loader.http import Http, Reply
from loader.ledger import subtract
from loader.readings import (
    HOUR,
    SECOND,
    Page,
    PartitionState,
    Place,
    Readings,
    Series,
    Task,
    TaskKind,
    Window,
)
from loader.responses import http_date, number
from loader.sources.openaq import api
from loader.sources.openaq.decode import Decoded, Sanity, decode_page, decode_record
from loader.sources.openaq.envelope import raw_records
from loader.sources.openaq.settings import KEY_REMEDY, OpenAQSettings
from loader.sources.openaq.survey import Surveyor
from loader.sources.openaq.times import stamp
from loader.transport import Unanswered

PAGE = api.PAGE
CLOCK_SKEW_S = 60
"""Seconds that the server's clock and ours may differ before `check` complains."""


class OpenAQ:
    """Readings of the sensors that `settings` choose; a `contracts.Source`.

    `earliest` (microseconds UTC) and `future` (microseconds ahead of the clock) bound the stamps
    that are believed. Closes `http` when it is closed.
    """

    def __init__(
        self,
        name: str,
        settings: OpenAQSettings,
        http: Http,
        clock: Clock,
        *,
        earliest: int,
        future: int,
    ) -> None:
        self.name = name
        self.concurrency = settings.concurrency
        self._settings = settings
        self._http = http
        self._clock = clock
        self._earliest = earliest
        self._future = future
        self._locations: dict[str, api.Location] = {}

    def survey(self, known: Sequence[PartitionState], now: int) -> Survey:
        """See `contracts.Source.survey`. NotFound names an id in `locations` that never existed."""
        try:
            survey, self._locations = Surveyor(self.name, self._settings, self._http).survey(known, now)
        except AccessDenied as error:
            raise self._denied(error) from None
        return survey

    def read(self, task: Task) -> Iterator[Page]:
        """See `contracts.Source.read`. Windows in `task.skip` are not asked for; the last page's
        `covered_to` is the window's end even where one of them lies there."""
        parts = subtract([task.window], task.skip)
        known = task.series or (Series(task.partition, "", "", "", task.partition),)
        if not parts:
            yield Page(Readings.empty(), (), task.window.end, 0)
        placed = False
        for i, part in enumerate(parts):
            end = task.window.end if i == len(parts) - 1 else part.end
            after: int | None = part.start
            while after is not None:
                decoded = self._page(task, known, Window(after, part.end))
                after = self._onward(decoded, Window(after, part.end))
                places = decoded.places
                if not placed and len(decoded.readings):
                    placed = True
                    places = places or self._places(decoded)
                yield Page(
                    decoded.readings,
                    decoded.series,
                    end if after is None else after,
                    decoded.count,
                    decoded.rejects,
                    places,
                )

    def _page(self, task: Task, known: Sequence[Series], window: Window) -> Decoded:
        """One page of the window, from its beginning."""
        now = self._clock()
        sanity = Sanity(self._earliest, now + self._future)
        try:
            return self._http.get(
                f"/v3/sensors/{task.partition}/measurements",
                [
                    ("datetime_from", stamp(window.start)),
                    ("datetime_to", stamp(window.end)),
                    ("limit", PAGE),
                ],
                parse=lambda reply: decode_page(reply.body, known, sanity),
                tries=1 if task.probe else None,
                background=task.kind is TaskKind.RANGE,
            )
        except AccessDenied as error:
            raise self._denied(error) from None
        except Unanswered as error:
            raise self._failed(str(error), known, window, bisect=error.bisect) from error
        except Permanent as error:
            raise self._failed(str(error), known, window, bisect=False) from error

    def _onward(self, decoded: Decoded, window: Window) -> int | None:
        """Where the next page begins; None when this one was the last.

        A page is full by the number of its records; what it says of their total is not to be
        trusted. It is narrowed by time, not by page number: rows that come or go in between
        would shift those.
        """
        if decoded.count < min(PAGE, decoded.limit or PAGE):
            return None
        inside = decoded.stamps[(decoded.stamps > window.start) & (decoded.stamps <= window.end)]
        if not len(inside):
            raise PageFailed(
                "a full page holds nothing of the window that was asked for",
                after=window.start,
                until=window.end,
                # Without a legible time smaller windows can still bring the records one by one.
                bisect=not len(decoded.stamps),
            )
        last = int(inside[-1])
        return None if last == window.end else last

    def _failed(self, why: str, known: Sequence[Series], window: Window, *, bisect: bool) -> PageFailed:
        step = int((known[0].cadence_s or HOUR / SECOND) * SECOND)
        until = min(window.end, window.start + PAGE * step)
        return PageFailed(why, after=window.start, until=until, bisect=bisect)

    def _places(self, decoded: Decoded) -> tuple[Place, ...]:
        """Where the location stands, as it was described in this run, if it was."""
        out = []
        for i, series in enumerate(decoded.series):
            where = self._locations.get(series.station)
            times = decoded.readings.time[decoded.readings.series == i]
            if where is None or where.latitude is None or where.longitude is None or not len(times):
                continue
            out.append(Place(i, int(np.min(times)), where.latitude, where.longitude))
        return tuple(out)

    def decode(self, partition: PartitionState, payload: bytes) -> Page:
        """See `contracts.Source.decode`."""
        known = partition.series or (Series(partition.name, "", "", partition.station, partition.name),)
        sanity = Sanity(self._earliest, self._clock() + self._future)
        decoded = decode_record(payload, known, sanity)
        at = int(decoded.stamps[-1]) if len(decoded.stamps) else 0
        return Page(decoded.readings, decoded.series, at, 1, decoded.rejects, decoded.places)

    def requests(self, task: Task) -> int:
        """See `contracts.Source.requests`: a request for every thousand readings that are due."""
        steps = [s.cadence_s for s in task.series if s.cadence_s]
        step = int(min(steps, default=HOUR / SECOND) * SECOND)
        parts = subtract([task.window], task.skip)
        return sum((w.end - w.start) // (step * PAGE) + 1 for w in parts)

    def usage(self) -> Usage:
        """See `contracts.Source.usage`."""
        return self._http.usage()

    def check(self) -> list[Finding]:
        """See `contracts.Source.check`: connection, key, request limit, clock, stations."""
        if self._settings.locations:
            path, query = f"/v3/locations/{self._settings.locations[0]}", []
        else:
            path, query = "/v3/locations", [*self._settings.queries()[0], ("limit", 1)]
        try:
            reply = self._http.get(path, query, parse=_whole, tries=1)
        except AccessDenied as error:
            return [
                Finding("connection", True, self._http.origin),
                Finding("key", False, self._remedy(error)),
            ]
        except Interrupted:
            return [Finding("connection", False, "interrupted")]
        except (SourceUnavailable, Unanswered) as error:
            return [Finding("connection", False, str(error))]
        except LoaderError as error:
            return [
                Finding("connection", True, self._http.origin),
                Finding("key", True, "accepted"),
                Finding("stations", False, str(error)),
            ]
        found = [
            Finding("connection", True, self._http.origin),
            Finding("key", True, "accepted"),
            self._limit(reply),
            *self._skew(reply),
        ]
        return [*found, Finding("stations", True, "the first one that is configured answers")]

    def _limit(self, reply: Reply) -> Finding:
        limits = self._settings.limits
        ours = f"configured {limits.per_minute} a minute, {limits.per_hour} an hour"
        own = number(reply.headers, "x-ratelimit-limit")
        if own is None:
            return Finding("request limit", True, f"{ours}; the server does not say")
        left = number(reply.headers, "x-ratelimit-remaining")
        return Finding(
            "request limit", own >= limits.per_minute, f"{ours}; the server says {own}, {left} left"
        )

    def _skew(self, reply: Reply) -> list[Finding]:
        at = http_date(reply.headers.get("date", ""))
        if at is None:
            return []
        skew = self._clock() / SECOND - at
        if abs(skew) <= CLOCK_SKEW_S:
            return [Finding("clock", True, "agrees with the server's")]
        way = "ahead of" if skew > 0 else "behind"
        remedy = "set this machine's clock (NTP)"
        return [Finding("clock", False, f"{abs(skew):.0f} s {way} the server's: {remedy}")]

    def _denied(self, error: AccessDenied) -> AccessDenied:
        return AccessDenied(self._remedy(error))

    def _remedy(self, error: AccessDenied) -> str:
        return f"OPENAQ_API_KEY is refused ({error}); {KEY_REMEDY}"

    def close(self) -> None:
        """See `contracts.Source.close`."""
        self._http.close()


def _whole(reply: Reply) -> Reply:
    raw_records(reply.body)
    return reply
