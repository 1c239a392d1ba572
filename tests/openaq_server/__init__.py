"""An OpenAQ API v3 of our own: real HTTP on loopback, over a world whose truth is known.

    world = made_up(seed=1)
    with OpenAQServer(world, Faults(seed=1)) as server:
        ...  # point a client at server.url with the key KEY

Times are integer microseconds UTC throughout, as in the loader.
"""

from __future__ import annotations

from tests.openaq_server.bench import BenchWorld
from tests.openaq_server.builders import captured, made_up, merge, toronto, unsettle
from tests.openaq_server.faults import Faults, RateLimit, Rule
from tests.openaq_server.server import KEY, OpenAQServer
from tests.openaq_server.world import DAY, HOUR, MINUTE, SECOND, Location, Sensor, World, micros

__all__ = [
    "DAY",
    "HOUR",
    "KEY",
    "MINUTE",
    "SECOND",
    "BenchWorld",
    "Faults",
    "Location",
    "OpenAQServer",
    "RateLimit",
    "Rule",
    "Sensor",
    "World",
    "captured",
    "made_up",
    "merge",
    "micros",
    "toronto",
    "unsettle",
]
