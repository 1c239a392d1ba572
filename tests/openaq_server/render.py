"""The JSON of the API, byte for byte in the shapes that it was seen to send."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from tests.openaq_server.world import SECOND, Location, Parameter, Row, Sensor, World

Json = dict[str, Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SPOILS = (
    "value-text",
    "value-object",
    "value-infinite",
    "period-null",
    "period-missing",
    "time-words",
    "time-number",
    "time-nul",
    "time-surrogate",
    "record-null",
    "record-text",
)
"""The ways in which a single record of an otherwise good page can be broken."""


def dumps(thing: object) -> bytes:
    return json.dumps(thing, ensure_ascii=False, separators=(",", ":")).encode()


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def utc_text(at: int) -> str:
    return (EPOCH + timedelta(microseconds=at)).replace(tzinfo=None).isoformat() + "Z"


@lru_cache(maxsize=100_000)
def stamp(at: int, timezone: str) -> str:
    """The JSON object {utc, local} of a time; local is written with Z where the offset is 0."""
    local = (EPOCH + timedelta(microseconds=at)).astimezone(zone(timezone)).isoformat()
    if local.endswith("+00:00"):
        local = local[:-6] + "Z"
    return f'{{"utc":"{utc_text(at)}","local":"{local}"}}'


def stamp_object(at: int | None, timezone: str) -> Json | None:
    return None if at is None else json.loads(stamp(at, timezone))


def interval(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def number(value: float | None) -> str:
    return "null" if value is None else repr(float(value))


def measurement_parts(parameter: Parameter, cadence_s: int, at: int, timezone: str, flagged: bool) -> str:
    """A measurement from behind its value on: `{"value":` + number + this."""
    start, end = stamp(at - cadence_s * SECOND, timezone), stamp(at, timezone)
    every = interval(cadence_s)
    return (
        f',"flagInfo":{{"hasFlags":{"true" if flagged else "false"}}}'
        f',"parameter":{{"id":{parameter.id},"name":"{parameter.name}","units":"{parameter.units}"'
        ',"displayName":null}'
        f',"period":{{"label":"raw","interval":"{every}","datetimeFrom":{start},"datetimeTo":{end}}}'
        ',"coordinates":null,"summary":null'
        f',"coverage":{{"expectedCount":1,"expectedInterval":"{every}","observedCount":1'
        f',"observedInterval":"{every}","percentComplete":100.0,"percentCoverage":100.0'
        f',"datetimeFrom":{start},"datetimeTo":{end}}}}}'
    )


def measurement(sensor: Sensor, timezone: str, row: Row) -> bytes:
    """One row of a page, broken in the way `row.spoil` says, if any."""
    tail = measurement_parts(sensor.parameter, sensor.cadence_s, row.time, timezone, row.flagged)
    text = f'{{"value":{number(row.value)}{tail}'
    return text.encode() if row.spoil is None else spoil(text, row.spoil)


def spoil(text: str, how: str) -> bytes:
    """The text of a good record, broken; invalid JSON is never made here."""
    record = json.loads(text)
    end = record["period"]["datetimeTo"]
    match how:
        case "value-text":
            record["value"] = "n/a"
        case "value-object":
            record["value"] = {"v": record["value"]}
        case "value-infinite":
            record["value"] = math.inf
            return dumps(record).replace(b"Infinity", b"1e999", 1)
        case "period-null":
            record["period"] = None
        case "period-missing":
            del record["period"]
        case "time-words":
            end["utc"] = end["local"] = "yesterday, at noon"
        case "time-number":
            end["utc"] = end["local"] = 12
        case "time-nul":
            end["utc"] = end["local"] = end["utc"] + "\0"
        case "time-surrogate":
            end["utc"] = end["local"] = end["utc"] + "\ud800"
            return json.dumps(record, separators=(",", ":")).encode()
        case "record-null":
            record = None
        case "record-text":
            record = "out of order"
        case _:
            raise ValueError(f"{how}: unknown; one of {', '.join(SPOILS)}")
    return dumps(record)


def meta(page: int, limit: int, count: int) -> Json:
    """`found` is a number on a short page and the text ">LIMIT" on a full one."""
    return {
        "name": "openaq-api",
        "website": "/",
        "page": page,
        "limit": limit,
        "found": f">{limit}" if count >= limit else count,
    }


def envelope(results: Iterable[bytes], page: int, limit: int) -> bytes:
    rows = list(results)
    return b'{"meta":%b,"results":[%b]}' % (dumps(meta(page, limit, len(rows))), b",".join(rows))


def parameter_object(parameter: Parameter, *, full: bool = False, named: bool = True) -> Json:
    out: Json = {
        "id": parameter.id,
        "name": parameter.name,
        "units": parameter.units,
        "displayName": parameter.display_name if named else None,
    }
    if full:
        out["description"] = parameter.description
    return out


def sensor_base(sensor: Sensor) -> Json:
    return {
        "id": sensor.id,
        "name": f"{sensor.parameter.name} {sensor.parameter.units}",
        "parameter": parameter_object(sensor.parameter),
    }


def coordinates(location: Location) -> Json:
    return {"latitude": location.latitude, "longitude": location.longitude}


def sensor_object(world: World, sensor: Sensor) -> Json:
    """A sensor in full, as /v3/sensors/{id} and /v3/locations/{id}/sensors give it."""
    location = world.locations[sensor.location]
    rows = world.served(sensor, None, None)
    if not rows:
        empty = dict.fromkeys(("datetimeFirst", "datetimeLast", "coverage", "latest", "summary"))
        return sensor_base(sensor) | empty
    first, last = (stamp_object(r.time, location.timezone) for r in (rows[0], rows[-1]))
    values = [r.value for r in rows if r.value is not None] or [0.0]
    mean = sum(values) / len(values)
    span = sensor.cadence_s * len(rows)
    return sensor_base(sensor) | {
        "datetimeFirst": first,
        "datetimeLast": last,
        "coverage": {
            "expectedCount": 1,
            "expectedInterval": interval(sensor.cadence_s),
            "observedCount": len(rows),
            "observedInterval": interval(span),
            "percentComplete": 100.0 * len(rows),
            "percentCoverage": 100.0 * len(rows),
            "datetimeFrom": first,
            "datetimeTo": last,
        },
        "latest": {"datetime": last, "value": rows[-1].value, "coordinates": coordinates(location)},
        "summary": {
            "min": min(values),
            **dict.fromkeys(("q02", "q25", "median", "q75", "q98")),
            "max": max(values),
            "avg": mean,
            "sd": math.sqrt(sum((v - mean) ** 2 for v in values) / len(values)),
        },
    }


def location_object(world: World, location: Location, distance: float | None = None) -> Json:
    sensors = world.sensors_of(location.id)
    ends = [(s.times[0], newest.time) for s in sensors if (newest := world.newest(s)) is not None]
    owner = {"id": location.owner[0], "name": location.owner[1]}
    licence = {
        "id": 33,
        "name": "US Public Domain",
        "attribution": {"name": owner["name"], "url": None},
        "dateFrom": None,
        "dateTo": None,
    }
    first = stamp_object(min(e[0] for e in ends), location.timezone) if ends else None
    last = stamp_object(max(e[1] for e in ends), location.timezone) if ends else None
    return {
        "id": location.id,
        "name": location.name,
        "locality": location.locality,
        "timezone": location.timezone,
        "country": dict(zip(("id", "code", "name"), location.country, strict=True)),
        "owner": owner,
        "provider": {"id": location.provider[0], "name": location.provider[1]},
        "isMobile": False,
        "isMonitor": location.is_monitor,
        "instruments": [
            {"id": 2, "name": "Government Monitor"}
            if location.is_monitor
            else {"id": 1, "name": "Unknown Sensor"}
        ],
        "sensors": [sensor_base(s) for s in sensors],
        "coordinates": coordinates(location),
        "licenses": [licence] if location.licence else None,
        "bounds": [location.longitude, location.latitude] * 2,
        "distance": distance,
        "datetimeFirst": first,
        "datetimeLast": last,
    }


def latest_object(location: Location, sensor_id: int, at: int, value: float | None) -> Json:
    return {
        "datetime": stamp_object(at, location.timezone),
        "value": value,
        "coordinates": coordinates(location),
        "sensorsId": sensor_id,
        "locationsId": location.id,
    }
