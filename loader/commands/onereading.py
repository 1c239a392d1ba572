"""Which one reading a command is about. What is not there is refused, saying what is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from loader.commands.output import clean, iso
from loader.errors import UsageError

if TYPE_CHECKING:
    from loader.contracts import Reports
    from loader.readings import Readings
    from loader.records import Quarantined, StoredSeries

QUARANTINED = 10_000
"""Quarantined records, the newest, among which one is looked for."""

SHOWN = 8
"""Series that are listed where several have a reading."""

NEAR = 90 * 86_400_000_000
"""How far around a time its nearest readings are looked for, in microseconds."""


def title(one: StoredSeries) -> str:
    """The series of a reading, as commands take it."""
    return f"{one.source}/{one.series.sensor}/{one.series.parameter}"


def parts(text: str) -> tuple[str, str, str, str]:
    """Source, sensor, parameter and time; a sensor may have slashes in its name."""
    series, _, time = text.rpartition("@")
    source, first, rest = series.partition("/")
    sensor, second, parameter = rest.rpartition("/")
    if not (first and second and source and sensor and parameter and time):
        raise UsageError(f"{text!r} names no reading: write SOURCE/SENSOR/PARAMETER@TIME")
    return source, sensor, parameter, time


def in_unit(series: Sequence[StoredSeries], unit: str) -> list[StoredSeries]:
    from loader.readings import plain_unit

    found = [one for one in series if plain_unit(one.series.unit) == plain_unit(unit)]
    if not found:
        there = sorted({one.series.unit or "(none)" for one in series})
        raise UsageError(f"nothing comes in the unit {unit}; there are: {', '.join(there)}")
    return found


def that_has(store: Reports, series: Sequence[StoredSeries], time: int) -> StoredSeries:
    """The one series that has a reading at this time."""
    from loader.readings import Window

    found = [one for one in series if any(map(len, store.scan([one.id], Window(time - 1, time))))]
    if len(found) == 1:
        return found[0]
    if not found:
        if aside := _aside(store, series, time):
            raise UsageError(
                f"the reading of {iso(time)} is not stored: it is in quarantine by the rule {aside.rule}: "
                f"{clean(aside.reason)} (loader quarantine show {aside.digest[:12]})"
            )
        raise UsageError(f"there is no reading at {iso(time)}{_nearest(store, series, time)}")
    names = [
        clean(f"{title(one)}@{iso(time)}" + (f" --unit {one.series.unit}" if one.series.unit else ""))
        for one in found
    ]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    raise UsageError(f"several series have a reading then: {', '.join(names[:SHOWN])}{more}")


def _nearest(store: Reports, series: Sequence[StoredSeries], time: int) -> str:
    """When the readings before and after were, of the one series that it can be."""
    from loader.readings import Window

    if len(series) != 1:
        return ""
    one = series[0]
    times: list[int] = []
    for chunk in store.scan([one.id], Window(time - NEAR, time)):
        times = chunk.time[-1:].tolist()
    for chunk in store.scan([one.id], Window(time, time + NEAR)):
        times += chunk.time[:1].tolist()
        break
    return f"; the nearest: {' and '.join(map(iso, times))}" if times else ""


def _aside(store: Reports, series: Sequence[StoredSeries], time: int) -> Quarantined | None:
    """A quarantined record of that time, of a partition that these series are of."""
    partitions = {(one.source, one.series.partition) for one in series}
    for source in {source for source, _ in partitions}:
        for record in store.quarantined(source, QUARANTINED):
            if record.time == time and (source, record.partition) in partitions:
                return record
    return None


def newest_flagged(store: Reports, series: Sequence[StoredSeries]) -> tuple[StoredSeries, int]:
    """The newest reading that is suspect or fails, looked for backwards from the end."""
    from loader.readings import DAY, Window

    best: tuple[StoredSeries, int] | None = None
    for one in series:
        if one.first_time is None or one.last_time is None:
            continue
        end, width = one.last_time, 7 * DAY
        first = max(one.first_time - 1, best[1] if best else one.first_time - 1)
        while end > first:
            start = max(end - width, first)
            times = [int(t) for part in store.scan([one.id], Window(start, end)) for t in _objected(part)]
            if times:
                best = one, times[-1]
                break
            end, width = start, width * 2
    if best is None:
        raise UsageError("no reading that fits is suspect or fails")
    return best


def _objected(part: Readings) -> Any:
    return part.time[(part.flag == 3) | (part.flag == 4)][-1:]
