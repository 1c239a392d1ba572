"""Values that are true but alarming: where a series went beyond a limit, and until when.

An event begins with the reading that makes it n of the last m beyond the limit, and ends with the
first that is back by the hysteresis; readings before that end count no more for the next event.
Only readings flagged 1 or 2 count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np

from loader.alerts.freshness import USUAL_CADENCE_S
from loader.alerts.situation import Watched
from loader.contracts import Lease
from loader.journal import LimitEvent, Severity
from loader.readings import HOUR, SECOND, Flag, Float64, Int64, Readings, UInt8, Window, plain_unit
from loader.records import StoredSeries
from loader.settings.alerting import LimitSettings

SERIES = 64
"""Series whose readings are held at once."""


class Limited(Protocol):
    """What limits need of a store."""

    def series(self, source: str | None) -> list[StoredSeries]: ...
    def scan(self, series_ids: Sequence[int], window: Window) -> Iterator[Readings]: ...
    def limit_events(self, source: str | None, since: int) -> list[LimitEvent]: ...
    def put_limit_events(
        self, lease: Lease, series_id: int, window: Window, events: Sequence[LimitEvent]
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Columns:
    """One series' readings in ascending time."""

    time: Int64
    value: Float64
    flag: UInt8


def events(
    series_id: int, columns: Columns, levels: Mapping[Severity, float], settings: LimitSettings
) -> list[LimitEvent]:
    """Every event of a series, by level and time. Pure."""
    usable = np.isin(columns.flag, (Flag.GOOD, Flag.NOT_EVALUATED)) & np.isfinite(columns.value)
    times, values = columns.time[usable].tolist(), columns.value[usable].tolist()
    found = []
    for level, threshold in sorted(levels.items()):
        # Under a limit is over its negative: one comparison serves both.
        sign = -1.0 if settings.below else 1.0
        back = sign * threshold - settings.hysteresis * abs(threshold)
        beyond = [sign * v >= sign * threshold for v in values]
        recent: deque[bool] = deque(maxlen=settings.persistence[1])
        lasts: LimitEvent | None = None
        for time, value, over in zip(times, values, beyond, strict=True):
            if lasts is None:
                recent.append(over)
                if over and sum(recent) >= settings.persistence[0]:
                    lasts = LimitEvent(series_id, level, threshold, time, None, value, 1)
            elif over:
                peak = max(lasts.peak, value, key=lambda v: sign * v)
                lasts = replace(lasts, peak=peak, readings=lasts.readings + 1)
            elif sign * value <= back:
                found.append(replace(lasts, to_time=time))
                lasts = None
                recent.clear()
        if lasts is not None:
            found.append(lasts)
    return found


def update(
    store: Limited, lease: Lease, watched: Watched, limits: Mapping[str, LimitSettings], now: int
) -> None:
    """Bring the limit events of a source up to date with its readings.

    They are computed anew over the longest lookback, and from the start of an event that reaches
    into it: late and revised readings correct them. Raises what the store raises.
    """
    begin = now - watched.lookback_max
    series = store.series(watched.name)
    levels = {one.id: _levels(one, watched.name, limits) for one in series}
    lead = {one.id: _lead(one, limits) for one in series if levels[one.id]}
    stored: dict[int, list[LimitEvent]] = {}
    for event in store.limit_events(watched.name, begin - max(lead.values(), default=0)):
        stored.setdefault(event.series_id, []).append(event)
    # Most series share one window and one scan; those with an older event have their own.
    groups: dict[tuple[int, int], list[StoredSeries]] = {}
    for one in series:
        there = stored.get(one.id, [])
        start = _start(there, begin)
        if not levels[one.id]:
            if there:  # its limit was taken out of the configuration
                _put(store, lease, one, Window(start, now), ([], there))
        elif one.last_time is not None and (one.last_time > begin or there):
            groups.setdefault((start, lead[one.id]), []).append(one)
    for (start, before), members in groups.items():
        for at in range(0, len(members), SERIES):
            some = members[at : at + SERIES]
            end = max(now, *(one.last_time or 0 for one in some))
            read = _read(store, [one.id for one in some], Window(start - before, end))
            for one in some:
                settings = limits[one.series.parameter]
                made = events(one.id, read.get(one.id, _NOTHING), levels[one.id], settings)
                _put(store, lease, one, Window(start, end), (made, stored.get(one.id, [])))


_NOTHING = Columns(np.empty(0, np.int64), np.empty(0, np.float64), np.empty(0, np.uint8))


def _levels(one: StoredSeries, source: str, limits: Mapping[str, LimitSettings]) -> dict[Severity, float]:
    """The limits that hold for a series; empty where there are none."""
    settings = limits.get(one.series.parameter)
    if settings is None or (
        settings.unit is not None and plain_unit(settings.unit) != plain_unit(one.series.unit)
    ):
        return {}
    return settings.levels_for(source, one.series.station)


def _lead(one: StoredSeries, limits: Mapping[str, LimitSettings]) -> int:
    """How far before the window the readings lie that its first event may need."""
    cadence = one.series.cadence_s or USUAL_CADENCE_S
    return max(HOUR, round(2 * limits[one.series.parameter].persistence[1] * cadence * SECOND))


def _start(stored: Sequence[LimitEvent], begin: int) -> int:
    """`begin`, or before the events that reach over it."""
    start = begin
    for event in sorted(stored, key=lambda e: e.from_time, reverse=True):
        if event.from_time <= start and (event.to_time is None or event.to_time > start):
            start = event.from_time - 1
    return start


def _read(store: Limited, ids: Sequence[int], window: Window) -> dict[int, Columns]:
    """The readings by series."""
    parts: dict[int, list[Readings]] = {}
    for chunk in store.scan(ids, window):
        edges = np.flatnonzero(np.diff(chunk.series)) + 1
        bounds = [0, *edges.tolist(), len(chunk)]
        for a, b in pairwise(bounds):
            if b > a:
                parts.setdefault(int(chunk.series[a]), []).append(chunk.take(np.arange(a, b)))
    whole = {number: Readings.concat(pieces) for number, pieces in parts.items()}
    return {number: Columns(r.time, r.value, r.flag) for number, r in whole.items()}


def _put(
    store: Limited,
    lease: Lease,
    series: StoredSeries,
    window: Window,
    both: tuple[Sequence[LimitEvent], Sequence[LimitEvent]],
) -> None:
    """Write the events that begin in the window, if they are not stored already; `both` are those
    made now and those that are stored."""
    made, stored = both
    # An event that was never written, or begins earlier by what came late, is written whole.
    start = _start(made, window.start)
    mine = [e for e in made if e.from_time > start]
    there = [e for e in stored if e.from_time > start]
    if _sorted(mine) != _sorted(there):
        store.put_limit_events(lease, series.id, Window(start, window.end), mine)


def _sorted(events: Sequence[LimitEvent]) -> list[tuple[object, ...]]:
    return sorted((e.from_time, str(e.level), e.threshold, e.to_time, e.peak, e.readings) for e in events)
