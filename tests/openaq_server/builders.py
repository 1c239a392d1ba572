"""Worlds to serve: the real Toronto series, made-up ones, and one like the captured responses."""

from __future__ import annotations

import csv
import gzip
import json
import math
import time
from pathlib import Path
from random import Random

from tests.openaq_server.world import DAY, HOUR, MINUTE, PARAMETERS, SECOND, Location, World, micros

TORONTO = Path("data/openaq/explorer_toronto_2025")
PARAMETER_IDS = {(p.name, p.units): p.id for p in PARAMETERS.values()}


def toronto(
    shared: Path,
    end: int | None = None,
    locations: set[int] | None = None,
    parameters: set[str] | None = None,
) -> World:
    """The 15 stations of a real export: 73 series, 53,413 readings, 2025-09-01 to 10-04.

    `shared` is the folder that holds `data/`. Where `end` is given, every time moves by the same
    whole number of hours so that the newest reading lies in the hour before it. Sensors are
    numbered location * 100 + n. Everything is visible from its own time on.
    """
    rows: dict[tuple[int, str, str], list[tuple[int, float]]] = {}
    world = World()
    homes: dict[int, dict[str, str]] = {}
    for path in sorted((shared / TORONTO).glob("*.csv.gz")):
        with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
            for record in csv.DictReader(lines):
                number = int(record["location_id"])
                if locations is not None and number not in locations:
                    break
                if parameters is not None and record["parameter"] not in parameters:
                    continue
                homes.setdefault(number, record)
                key = (number, record["parameter"], record["unit"])
                rows.setdefault(key, []).append((micros(record["datetimeUtc"]), float(record["value"])))
    if not rows:
        raise FileNotFoundError(f"{shared / TORONTO}: no readings of what was asked for")
    shift = 0 if end is None else (end - max(t for r in rows.values() for t, _ in r)) // HOUR * HOUR
    for number, record in homes.items():
        place = (float(record["latitude"]), float(record["longitude"]))
        world.add_location(
            Location(
                number,
                record["location_name"],
                record["timezone"],
                *place,
                country=(156, "CA", "Canada"),
                provider=(1, record["provider"]),
                is_monitor=record["provider"] == "AirNow",
            )
        )
    for (number, name, unit), readings in sorted(rows.items()):
        count = len(world.sensors_of(number))
        steps = sorted(
            b - a for (a, _), (b, _) in zip(sorted(readings), sorted(readings)[1:], strict=False)
        )
        cadence = steps[len(steps) // 2] // SECOND
        sensor = world.add_sensor(number * 100 + count + 1, number, PARAMETER_IDS[name, unit], cadence)
        world.extend(sensor.id, ((t + shift, v, t + shift) for t, v in readings))
    return world


STATIONS = (
    # name, zone, latitude, longitude, country, cadence (s), parameter ids
    ("Harlem River", "America/New_York", 40.85, -73.93, (1, "US", "United States"), 3600, (2, 10, 7)),
    ("Phora Durbar", "Asia/Kathmandu", 27.7127, 85.3157, (4, "NP", "Nepal"), 3600, (2, 3)),
    ("Echo Park Roof", "America/Los_Angeles", 34.08, -118.26, (1, "US", "United States"), 900, (2, 98)),
    ("Camden Lock", "Europe/London", 51.5392, -0.1426, (2, "GB", "United Kingdom"), 3600, (2, 5)),
    ("Accra Post", "Africa/Accra", 5.5808, -0.1726, (5, "GH", "Ghana"), 3600, (7, 15)),
    ("Anand Vihar", "Asia/Kolkata", 28.6469, 77.3152, (3, "IN", "India"), 3600, (2, 1)),
)
SWAPPED = 3
"""Index in STATIONS of the one whose first sensor gets a new id two thirds of the way."""


def made_up(
    seed: int,
    stations: int = 6,
    days: float = 10,
    end: int | None = None,
    *,
    late: float = 0.1,
    latest_s: int = 8 * 3600,
    revised: float = 0.02,
    nulls: float = 0.003,
    sentinels: float = 0.003,
    gaps: float = 0.01,
) -> World:
    """A made-up world of `days` days up to `end` (None: the hour that has begun now).

    Stations come from STATIONS in turn: zones with daylight saving and +05:45 among them, cadences
    of 60 and 15 minutes, one gas in ppm, ppb and mass units, and one sensor whose id changes
    (the old id stays listed, the new one is listed from its first reading on). A share `late` of
    the rows appears up to `latest_s` late (the others within 5 minutes), a share `revised`
    changes within a day; nulls, -999 and small negatives are strewn in. The same arguments give
    the same world.
    """
    finish = (time.time_ns() // 1000 // HOUR) * HOUR if end is None else end // HOUR * HOUR
    world = World()
    for i in range(stations):
        name, zone, lat, lon, country, cadence_s, parameters = STATIONS[i % len(STATIONS)]
        number = 2178 + i
        place = (lat + 0.01 * (i // len(STATIONS)), lon)
        world.add_location(Location(number, name, zone, *place, country=country, licence=i % 2 == 0))
        # Half-hour zones publish on their own full hours.
        offset = {"Asia/Kathmandu": 15 * MINUTE, "Asia/Kolkata": 30 * MINUTE}.get(zone, 0)
        for j, parameter in enumerate(parameters):
            random = Random(f"{seed}/{number}/{parameter}")
            sensor_id = 3917 + 10 * i + j
            world.add_sensor(sensor_id, number, parameter, cadence_s)
            start = finish - round(days * 24) * HOUR - offset
            times = range(start + cadence_s * SECOND, finish - offset + 1, cadence_s * SECOND)
            swap = start + round(days * 16) * HOUR if i % len(STATIONS) == SWAPPED and j == 0 else None
            if swap is not None:
                world.add_sensor(sensor_id + 5, number, parameter, cadence_s, listed_from=swap)
            for at in times:
                owner = sensor_id + 5 if swap is not None and at > swap else sensor_id
                if random.random() >= gaps:
                    value = _value(random, parameter, at, nulls, sentinels)
                    _publish(world, owner, at, value, random, late=late, latest_s=latest_s, revised=revised)
    return world


def _value(random: Random, parameter: int, at: int, nulls: float, sentinels: float) -> float | None:
    dice = random.random()
    if dice < nulls:
        return None
    if dice < nulls + sentinels:
        return -999.0
    wave = math.sin(2 * math.pi * at / DAY)
    if PARAMETERS[parameter].units == "ppm":
        return round(0.03 + 0.01 * wave + random.gauss(0, 0.003), 4)
    if dice < nulls + sentinels + 0.01:
        return round(-random.random() * 2, 1)
    return round(20 + 8 * wave + random.gauss(0, 3), 1)


def _publish(
    world: World,
    sensor: int,
    at: int,
    value: float | None,
    random: Random,
    *,
    late: float,
    latest_s: int,
    revised: float,
) -> None:
    delay = random.uniform(0, 5 * MINUTE)
    if random.random() < late:
        delay = random.uniform(HOUR, max(HOUR, latest_s * SECOND))
    appears = at + round(delay)
    world.add(sensor, at, value, appears)
    if random.random() < revised:
        changed = round(random.uniform(1, 60), 1)
        world.revise(sensor, at, changed, appears + round(random.uniform(HOUR, DAY)))


def captured(folder: Path) -> World:
    """A world like the one whose answers were captured: its locations and sensors, with readings
    of our own over the same days; the world's clock stands where it stood then."""
    world = World()
    body = json.loads((folder / "locations_list.json").read_text("utf-8"))["body"]
    for record in body["results"]:
        where, country = record["coordinates"], record["country"]
        world.add_location(
            Location(
                record["id"],
                record["name"],
                record["timezone"],
                where["latitude"],
                where["longitude"],
                (country["id"], country["code"], country["name"]),
                record["locality"],
                (record["provider"]["id"], record["provider"]["name"]),
                is_monitor=record["isMonitor"],
                licence=record["licenses"] is not None,
            )
        )
        cadence_s = 900 if record["timezone"] == "America/Los_Angeles" else 3600
        for entry in record["sensors"]:
            sensor = world.add_sensor(entry["id"], record["id"], entry["parameter"]["id"], cadence_s)
            if record["datetimeFirst"] is not None:
                first, last = (micros(record[k]["utc"]) for k in ("datetimeFirst", "datetimeLast"))
                times = range(first, last + 1, cadence_s * SECOND)
                sensor.times = list(times)
                sensor.values = [round(20 + 8 * math.sin(t / DAY), 1) for t in times]
                sensor.appears = list(times)
    world.now = micros("2026-11-21T00:00:00Z")
    return world


def unsettle(world: World, seed: int, *, late: float, latest_s: int, revised: float) -> None:
    """Make a share of all readings appear up to `latest_s` after their time, and give a share
    another value within a day of their appearing. The same arguments do the same."""
    for sensor in world.sensors.values():
        random = Random(f"{seed}/unsettled/{sensor.id}")
        for k, at in enumerate(sensor.times):
            if random.random() < late:
                sensor.appears[k] = at + round(random.uniform(HOUR, latest_s * SECOND))
            if random.random() < revised:
                changed = round((sensor.values[k] or 0.0) * random.uniform(0.5, 1.5) + 0.001, 4)
                world.revise(sensor.id, at, changed, sensor.appears[k] + round(random.uniform(HOUR, DAY)))


def merge(world: World, other: World) -> World:
    """`world` with everything of `other` in it; their numbers must differ."""
    doubled = (world.locations.keys() & other.locations) | (world.sensors.keys() & other.sensors)
    if doubled:
        raise ValueError(f"in both worlds: {sorted(doubled)}")
    world.locations |= other.locations
    world.sensors |= other.sensors
    return world
