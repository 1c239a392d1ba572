"""A small world behind a real server, and sources that read it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from loader.budget import Unlimited
from loader.contracts import Survey
from loader.readings import HOUR, Page, Partition, PartitionState, Readings, Task, TaskKind, Window
from loader.sources.openaq import OpenAQSettings, connect
from loader.sources.openaq.source import OpenAQ
from tests.openaq_server import KEY, Faults, Location, OpenAQServer, World, micros

NOW = micros("2026-11-20T10:20:30Z") + 123_456
LAST = NOW // HOUR * HOUR
EARLIEST = micros("1990-01-01T00:00:00Z")
FUTURE = HOUR // 12
PM25, NO2, O3, O3_MASS, TEMPERATURE = 2, 7, 10, 3, 100


def world() -> World:
    """Two stations: New York with fine dust, ozone in ppm and temperature, Kathmandu with fine dust;
    ten days of hours, visible from their own time on."""
    out = World()
    out.now = NOW
    out.add_location(Location(1, "Harlem", "America/New_York", 40.85, -73.93))
    out.add_location(Location(2, "Ratnapark", "Asia/Kathmandu", 27.71, 85.32, country=(4, "NP", "Nepal")))
    for sensor, location, parameter in ((11, 1, PM25), (12, 1, O3), (13, 1, TEMPERATURE), (21, 2, PM25)):
        out.add_sensor(sensor, location, parameter)
        offset = HOUR // 4 if location == 2 else 0
        for h in range(240):
            at = LAST - h * HOUR - offset
            out.add(sensor, at, float(sensor * 1000 + h))
    return out


@dataclass
class Site:
    """The server with its switches, and sources on it."""

    world: World
    faults: Faults
    server: OpenAQServer

    def source(self, **changes: Any) -> OpenAQ:
        given = {
            "base_url": self.server.url,
            "api_key": KEY,
            "locations": [] if {"bbox", "country", "near"} & changes.keys() else [1, 2],
            "tries": 2,
            "backoff": "100ms",
        }
        stop = threading.Event()
        settings = OpenAQSettings.model_validate(given | changes)

        def clock() -> int:
            return self.world.now

        http = connect(settings, budget=Unlimited(stop), clock=clock, stop=stop)
        return OpenAQ("openaq", settings, http, clock, earliest=EARLIEST, future=FUTURE)

    def asked(self) -> list[str]:
        """The addresses asked for since the last call, without the server's name."""
        out = [seen.url for seen in self.server.log]
        self.server.log.clear()
        return out


@contextmanager
def site(of: World | None = None) -> Iterator[Site]:
    of = of or world()
    faults = Faults(seed=7)
    with OpenAQServer(of, faults) as server:
        yield Site(of, faults, server)


def registered(survey: Survey, known: Sequence[PartitionState], now: int) -> list[PartitionState]:
    """What a store holds after a survey, as far as the next survey can see it."""
    states = {s.name: s for s in known}
    for partition in survey.partitions:
        if partition.name in survey.listed:
            states[partition.name] = state(partition, now)
    return list(states.values())


def state(partition: Partition, listed_at: int, **more: Any) -> PartitionState:
    return PartitionState(
        partition.name, partition.station, listed_at, listed_at, series=partition.series, **more
    )


def task(source: OpenAQ, partition: str, start: int, end: int, **more: Any) -> Task:
    """A task of the partition as a survey of the source describes it."""
    found = next(p for p in source.survey([], end).partitions if p.name == partition)
    return Task(partition, Window(start, end), more.pop("kind", TaskKind.LIVE), series=found.series, **more)


def joined(pages: Sequence[Page]) -> Readings:
    return Readings.concat([p.readings for p in pages])
