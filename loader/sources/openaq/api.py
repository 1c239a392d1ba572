"""What the API is asked besides measurements: locations, their sensors, their newest readings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from loader.errors import NotFound
from loader.http import Http, Reply
from loader.responses import BadBody
from loader.sources.openaq.decode import Coordinates
from loader.sources.openaq.envelope import UNDECODABLE, raw_records, records
from loader.sources.openaq.times import cadence, parse_time

PAGE = 1000
"""The largest page the API serves."""

MOST_LOCATIONS = 50_000
"""More locations than this are not looked for: the world has fewer."""

LONGEST_NAME = 200


class _Moment(msgspec.Struct):
    utc: str | None = None

    @property
    def micros(self) -> int | None:
        return parse_time(self.utc) if self.utc else None


class _Named(msgspec.Struct):
    name: str | None = None


class _Parameter(msgspec.Struct):
    id: int
    name: str
    units: str


class _Coverage(msgspec.Struct):
    expectedCount: float | None = None
    expectedInterval: str | None = None


class _Newest(msgspec.Struct):
    datetime: _Moment | None = None


class _Sensor(msgspec.Struct):
    id: int
    parameter: _Parameter
    datetimeFirst: _Moment | None = None
    datetimeLast: _Moment | None = None
    coverage: _Coverage | None = None
    latest: _Newest | None = None


class _SensorBase(msgspec.Struct):
    id: int
    parameter: _Parameter


class _Location(msgspec.Struct):
    id: int
    name: str | None = None
    locality: str | None = None
    timezone: str | None = None
    coordinates: Coordinates | None = None
    sensors: list[_SensorBase] | None = None
    licenses: list[_Named] | None = None
    datetimeLast: _Moment | None = None
    distance: float | None = None


class _Latest(msgspec.Struct):
    sensorsId: int
    datetime: _Moment


# Made once, at import: threads that make them at the same time crash the interpreter.
_LOCATION = msgspec.json.Decoder(_Location)
_SENSOR = msgspec.json.Decoder(_Sensor)
_LATEST = msgspec.json.Decoder(_Latest)


@dataclass(frozen=True, slots=True)
class Sensor:
    """A sensor as its location lists it. Times are microseconds UTC, None where it has none;
    `cadence_s` is None where it cannot be told."""

    id: int
    parameter_id: int
    parameter: str
    unit: str
    first: int | None
    last: int | None
    cadence_s: float | None


@dataclass(frozen=True, slots=True)
class Location:
    """A location. `parameters` are the names its sensors measure, sorted; `last` is its newest
    reading's time in microseconds UTC; `distance` is in metres where it was looked for near a
    place."""

    id: int
    name: str
    timezone: str
    parameters: tuple[str, ...]
    last: int | None
    licences: tuple[str, ...]
    latitude: float | None
    longitude: float | None
    distance: float | None


def printable(text: str | None) -> str:
    """A name fit for databases and terminals: without control characters, of bounded length."""
    return "".join(c for c in text or "" if c.isprintable())[:LONGEST_NAME].strip()


def location(http: Http, number: int) -> Location:
    """The location of that id. Raises NotFound where there is none, and as Http.get does."""
    found = http.get(f"/v3/locations/{number}", parse=lambda reply: records(reply.body, _LOCATION))
    if not found:
        raise NotFound(f"location {number} does not exist")
    return _location(found[0])


def sensors(http: Http, number: int) -> list[Sensor]:
    """The sensors of a location, each once; empty for an unknown one. Raises as Http.get does."""
    found = http.get(f"/v3/locations/{number}/sensors", parse=lambda reply: records(reply.body, _SENSOR))
    return list({s.id: _sensor(s) for s in found}.values())


def latest(http: Http, number: int) -> dict[int, int]:
    """The newest reading's time (microseconds UTC) by sensor id. Raises as Http.get does."""
    out: dict[int, int] = {}
    for page in range(1, MOST_LOCATIONS // PAGE + 1):
        found = http.get(
            f"/v3/locations/{number}/latest",
            [("limit", PAGE), ("page", page)],
            parse=lambda reply: records(reply.body, _LATEST),
        )
        for one in found:
            if (at := one.datetime.micros) is not None:
                out[one.sensorsId] = max(at, out.get(one.sensorsId, at))
        if len(found) < PAGE:
            break
    return out


def search(http: Http, query: list[tuple[str, str | int | float]]) -> Iterator[Location]:
    """The locations that `query` finds, by id; those that cannot be read are left out.
    Raises as Http.get does."""
    for page in range(1, MOST_LOCATIONS // PAGE + 1):
        count, found = http.get("/v3/locations", [*query, ("limit", PAGE), ("page", page)], parse=_lenient)
        yield from found
        if count < PAGE:
            return


def _lenient(reply: Reply) -> tuple[int, list[Location]]:
    """How many records came, and those of them that are locations."""
    raws = raw_records(reply.body)[1]
    out = []
    for raw in raws:
        try:
            out.append(_location(_LOCATION.decode(raw)))
        except UNDECODABLE:
            continue
    if raws and not out:
        raise BadBody("no record is a location as the API describes it")
    return len(raws), out


def _location(found: _Location) -> Location:
    where = found.coordinates or Coordinates()
    return Location(
        id=found.id,
        name=printable(found.name) or printable(found.locality),
        timezone=printable(found.timezone),
        parameters=tuple(sorted({printable(s.parameter.name) for s in found.sensors or ()})),
        last=found.datetimeLast.micros if found.datetimeLast else None,
        licences=tuple(dict.fromkeys(printable(one.name) for one in found.licenses or () if one.name)),
        latitude=where.latitude,
        longitude=where.longitude,
        distance=found.distance,
    )


def _sensor(found: _Sensor) -> Sensor:
    newest = found.latest.datetime if found.latest else None
    last = [at for one in (newest, found.datetimeLast) if one and (at := one.micros) is not None]
    covered = found.coverage or _Coverage()
    return Sensor(
        id=found.id,
        parameter_id=found.parameter.id,
        parameter=printable(found.parameter.name),
        unit=printable(found.parameter.units),
        first=found.datetimeFirst.micros if found.datetimeFirst else None,
        last=max(last, default=None),
        # Two expected in an hour are one every half hour.
        cadence_s=cadence(covered.expectedInterval or "", covered.expectedCount or 1),
    )
