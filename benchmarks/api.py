"""The loopback API in a process of its own: the test server's bench world."""

from __future__ import annotations

import contextlib
import datetime
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.process import ROOT, Failed

KEY = "bench-key"
FIRST_DAY = "2024-01-01"
"""Where the bench world's readings begin."""


@dataclass(frozen=True, slots=True)
class World:
    """What the API serves: hourly readings unless `cadence_s` says otherwise, four sensors to a
    location. `rows` counts the records of a sensor, those that repeat another included."""

    sensors: int = 100
    rows: int = 10_000
    duplicates: float = 0.05
    fresh: float = 0.01
    cadence_s: int = 3600

    @property
    def locations(self) -> list[int]:
        return list(range(1, -(-self.sensors // 4) + 1))

    @property
    def records(self) -> int:
        return self.sensors * self.rows

    @property
    def distinct(self) -> int:
        """Readings to be stored after the first load."""
        return self.sensors * (self.rows - round(self.rows * self.duplicates))

    def newest(self, count: int) -> str:
        """The time after which a sensor's newest `count` readings come, without duplicates."""
        back = datetime.timedelta(seconds=(self.rows - count) * self.cadence_s)
        return f"{datetime.datetime.fromisoformat(FIRST_DAY) + back:%Y-%m-%dT%H:%M:%SZ}"

    @property
    def new(self) -> int:
        """Readings that appear with `release`."""
        return self.sensors * round(self.rows * self.fresh)


@dataclass(frozen=True, slots=True)
class API:
    """A running server."""

    url: str
    world: World

    def set_latency(self, seconds: float) -> None:
        """Wait so long before every answer."""
        add = [{"kind": "latency", "seconds": seconds}] if seconds else []
        self._post("faults", {"clear": True, "add": add})

    def release(self) -> None:
        """Show the new readings."""
        self._post("release", {})

    def take_back(self) -> None:
        """Hide them again."""
        self._post("now", {"now": 0})

    def requests(self) -> int:
        """Requests answered since the last call of this."""
        with urllib.request.urlopen(f"{self.url}/_control/requests", timeout=10) as reply:
            total = sum(json.load(reply).values())
        self._post("forget", {})
        return int(total)

    def _post(self, what: str, body: dict[str, Any]) -> None:
        request = urllib.request.Request(
            f"{self.url}/_control/{what}", json.dumps(body).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            answer = json.load(reply)
        if not answer.get("ok"):
            raise Failed(f"the API's {what}: {answer}")


@contextlib.contextmanager
def serve(world: World) -> Iterator[API]:
    """Serve `world` until the end of `with`."""
    options = {
        "--sensors": world.sensors,
        "--rows": world.rows,
        "--duplicates": world.duplicates,
        "--fresh": world.fresh,
        "--cadence": world.cadence_s,
        "--key": KEY,
    }
    command = [sys.executable, "-m", "tests.openaq_server", "--bench", "--until-eof"]
    command += [str(part) for pair in options.items() for part in pair]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port.isdecimal():
            process.kill()
            raise Failed("the loopback API did not start")
        try:
            yield API(f"http://127.0.0.1:{port}", world)
        finally:
            process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
