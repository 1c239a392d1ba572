"""What the API knows: locations, sensors, and readings that become visible, change and vanish
at declared moments of the world's own clock. So every late row and every revision is known in
advance, and the truth at any moment can be asked for."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def micros(text: str) -> int:
    """Microseconds UTC of an ISO 8601 time with an offset or Z."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text}: an offset or Z is needed")
    return round((moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * SECOND


@dataclass(frozen=True, slots=True)
class Parameter:
    """What is measured, in which unit: a unit belongs to the parameter's id."""

    id: int
    name: str
    units: str
    display_name: str | None = None
    description: str | None = None


PARAMETERS: dict[int, Parameter] = {
    p.id: p
    for p in (
        Parameter(19, "pm1", "µg/m³", "PM1", "Particulate matter below 1 micrometre, by mass"),
        Parameter(2, "pm25", "µg/m³", "PM2.5", "Particulate matter below 2.5 micrometres, by mass"),
        Parameter(1, "pm10", "µg/m³", "PM10", "Particulate matter below 10 micrometres, by mass"),
        Parameter(125, "um003", "particles/cm³"),
        Parameter(7, "no2", "ppm", "NO₂", "Nitrogen dioxide"),
        Parameter(10, "o3", "ppm", "O₃", "Ozone"),
        Parameter(8, "co", "ppm", "CO", "Carbon monoxide"),
        Parameter(9, "so2", "ppm", "SO₂", "Sulphur dioxide"),
        Parameter(35, "no", "ppm", "NO", "Nitrogen monoxide"),
        Parameter(19840, "nox", "ppm", "NOₓ", "Nitrogen oxides"),
        Parameter(15, "no2", "ppb"),
        Parameter(5, "no2", "µg/m³", "NO₂ mass", "Nitrogen dioxide, by mass"),
        Parameter(3, "o3", "µg/m³", "O₃ mass", "Ozone, by mass"),
        Parameter(100, "temperature", "c"),
        Parameter(98, "relativehumidity", "%"),
    )
}


@dataclass(slots=True)
class Location:
    """A station. `listed_from` is when the API begins to list it (None: always)."""

    id: int
    name: str
    timezone: str
    latitude: float
    longitude: float
    country: tuple[int, str, str] = (1, "US", "United States")
    locality: str | None = None
    provider: tuple[int, str] = (119, "AirNow")
    owner: tuple[int, str] = (4, "Unknown Governmental Organization")
    is_monitor: bool = True
    licence: bool = True
    listed_from: int | None = None


@dataclass(slots=True)
class Sensor:
    """One sensor and its readings, as columns sorted by time.

    values    what is first published; None is a null
    appears   when each row becomes visible
    changes   time -> [(from when, value), ...] ascending: revisions
    gone      time -> when the row disappears
    spoilt    time -> how its record is broken (see `render.SPOILS`): it never becomes a reading
    flagged   times whose record says `hasFlags: true`
    """

    id: int
    parameter: Parameter
    location: int
    cadence_s: int = 3600
    listed_from: int | None = None
    times: list[int] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    appears: list[int] = field(default_factory=list)
    changes: dict[int, list[tuple[int, float | None]]] = field(default_factory=dict)
    gone: dict[int, int] = field(default_factory=dict)
    spoilt: dict[int, str] = field(default_factory=dict)
    flagged: set[int] = field(default_factory=set)

    def value_at(self, index: int, now: int) -> float | None:
        value = self.values[index]
        for since, changed in self.changes.get(self.times[index], ()):
            if since <= now:
                value = changed
        return value

    def visible(self, index: int, now: int) -> bool:
        return self.appears[index] <= now < self.gone.get(self.times[index], FOREVER)


FOREVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Row:
    """A reading as it is served now."""

    time: int
    value: float | None
    flagged: bool = False
    spoil: str | None = None


class World:
    """Everything the API serves, and the clock that decides what of it is visible.

    `now` is the real clock until it is set; setting it to None brings the real clock back.
    """

    def __init__(self) -> None:
        self.locations: dict[int, Location] = {}
        self.sensors: dict[int, Sensor] = {}
        self.lock = threading.RLock()
        self._now: int | None = None

    @property
    def now(self) -> int:
        return time.time_ns() // 1000 if self._now is None else self._now

    @now.setter
    def now(self, value: int | None) -> None:
        self._now = value

    def add_location(self, location: Location) -> Location:
        with self.lock:
            self.locations[location.id] = location
        return location

    def add_sensor(
        self,
        sensor_id: int,
        location: int,
        parameter: int,
        cadence_s: int = 3600,
        listed_from: int | None = None,
    ) -> Sensor:
        sensor = Sensor(sensor_id, PARAMETERS[parameter], location, cadence_s, listed_from)
        with self.lock:
            self.sensors[sensor_id] = sensor
        return sensor

    def add(self, sensor_id: int, at: int, value: float | None, appears: int | None = None) -> None:
        """Add one reading, stamped `at`; it becomes visible at `appears` (None: at its own time)."""
        with self.lock:
            s = self.sensors[sensor_id]
            i = bisect_left(s.times, at)
            if i < len(s.times) and s.times[i] == at:
                raise ValueError(f"sensor {sensor_id} has a reading at {at} already; use revise")
            s.times.insert(i, at)
            s.values.insert(i, value)
            s.appears.insert(i, at if appears is None else appears)

    def extend(self, sensor_id: int, rows: Iterable[tuple[int, float | None, int]]) -> None:
        """Add many readings: (time, value, appears), in any order."""
        for at, value, appears in sorted(rows):
            self.add(sensor_id, at, value, appears)

    def revise(self, sensor_id: int, at: int, value: float | None, since: int) -> None:
        """From `since` on the reading of `at` has another value."""
        with self.lock:
            s = self.sensors[sensor_id]
            self._index(s, at)
            s.changes[at] = sorted([*s.changes.get(at, []), (since, value)], key=lambda c: c[0])

    def withdraw(self, sensor_id: int, at: int, since: int) -> None:
        """From `since` on the reading of `at` is no longer served."""
        with self.lock:
            s = self.sensors[sensor_id]
            self._index(s, at)
            s.gone[at] = since

    def spoil(self, sensor_id: int, at: int, how: str) -> None:
        """The record of `at` is broken for good, in the way `how`: it cannot become a reading."""
        with self.lock:
            s = self.sensors[sensor_id]
            self._index(s, at)
            s.spoilt[at] = how

    @staticmethod
    def _index(sensor: Sensor, at: int) -> int:
        i = bisect_left(sensor.times, at)
        if i == len(sensor.times) or sensor.times[i] != at:
            raise ValueError(f"sensor {sensor.id} has no reading at {at}")
        return i

    def listed(self, thing: Location | Sensor) -> bool:
        """Whether the API lists it at this moment."""
        return thing.listed_from is None or thing.listed_from <= self.now

    def sensors_of(self, location: int) -> list[Sensor]:
        with self.lock:
            return [s for s in self.sensors.values() if s.location == location and self.listed(s)]

    def served(self, sensor: Sensor, start: int | None, end: int | None) -> list[Row]:
        """The rows visible now in (start, end], ascending; None is no bound."""
        with self.lock:
            now = self.now
            i = 0 if start is None else bisect_right(sensor.times, start)
            j = len(sensor.times) if end is None else bisect_right(sensor.times, end)
            return [
                Row(t, sensor.value_at(k, now), t in sensor.flagged, sensor.spoilt.get(t))
                for k in range(i, j)
                if sensor.visible(k, now)
                for t in (sensor.times[k],)
            ]

    def newest(self, sensor: Sensor) -> Row | None:
        """The visible row with the latest stamp."""
        with self.lock:
            now = self.now
            for k in range(len(sensor.times) - 1, -1, -1):
                if sensor.visible(k, now):
                    t = sensor.times[k]
                    return Row(t, sensor.value_at(k, now), t in sensor.flagged, sensor.spoilt.get(t))
            return None

    def truth(self, sensor_id: int, until: int | None = None) -> tuple[list[int], list[float | None]]:
        """(times, values) of the readings that a loader must hold in the end.

        `until` is a moment of the world's clock: what had become visible by then, with the values
        of that moment (None: everything, at last). Withdrawn rows are in it, since a loader keeps
        what it has read; spoilt ones are not.
        """
        with self.lock:
            s = self.sensors[sensor_id]
            now = FOREVER if until is None else until
            kept = [k for k in range(len(s.times)) if s.appears[k] <= now and s.times[k] not in s.spoilt]
            return [s.times[k] for k in kept], [s.value_at(k, now) for k in kept]

    @property
    def settled(self) -> int:
        """From this moment on nothing appears, changes or goes any more."""
        moments = [0]
        for s in self.sensors.values():
            moments += [*s.appears, *s.gone.values(), *(at for c in s.changes.values() for at, _ in c)]
        return max(moments)

    def count(self, until: int | None = None) -> int:
        """Readings that a loader must hold in the end (see `truth`)."""
        return sum(len(self.truth(s, until)[0]) for s in self.sensors)
