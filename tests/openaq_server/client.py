"""Asking the server plainly, with the standard library: for tests of the server itself."""

from __future__ import annotations

import http.client
import json
from typing import Any

from tests.openaq_server.server import KEY, OpenAQServer
from tests.openaq_server.world import HOUR, Location, World, micros

BEGIN = micros("2025-10-28T00:00:00Z")

Answer = tuple[int, dict[str, str], bytes]


def get(
    server: OpenAQServer, url: str, key: str | None = KEY, method: str = "GET", **headers: str
) -> Answer:
    """(status, headers by lower-case name, body) of one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, url, headers=({"X-API-Key": key} if key else {}) | headers)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def results(server: OpenAQServer, url: str) -> list[dict[str, Any]]:
    status, _, body = get(server, url)
    assert status == 200, body
    return list(json.loads(body)["results"])


def stamps(rows: list[dict[str, Any]]) -> list[int]:
    return [micros(r["period"]["datetimeTo"]["utc"]) for r in rows]


def small_world() -> World:
    """One station with one hourly sensor, 7, of 240 readings 0.0, 1.0, ... from BEGIN on, all visible."""
    world = World()
    world.add_location(Location(1, "Here", "America/New_York", 40.0, -74.0))
    world.add_sensor(7, 1, 2)
    for i in range(240):
        world.add(7, BEGIN + (i + 1) * HOUR, float(i))
    world.now = BEGIN + 240 * HOUR
    return world
