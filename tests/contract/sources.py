"""The sources that the conformance suite runs on. A source joins by adding one `SourceCase` here."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loader.contracts import Source
from loader.readings import DAY, HOUR, SECOND, Window

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

EARLIEST = 631_152_000 * SECOND
FUTURE = 300 * SECOND
NOW = 1_750_000_000 * SECOND + 123_456
"""What every clock of the suite says."""

WINDOW = Window(NOW - 60 * DAY, NOW)
"""Long enough for several pages of hourly readings."""


@dataclass(frozen=True)
class Stage:
    """One source set up for a test, and the levers to pull behind its back.

    open          builds a source; the caller closes it
    truth         time -> value (None where none was sent) of a partition's readings in WINDOW, as
                  a loader must have them at NOW
    fail          from now on no page can be had; None for a source that cannot fail
    refused       builds a source whose key is wrong; None where there are no keys
    astray        builds a source that is told to load a station that does not exist; likewise
    """

    open: Callable[[], Source]
    truth: Callable[[str], dict[int, float | None]]
    fail: Callable[[], None] | None = None
    refused: Callable[[], Source] | None = None
    astray: Callable[[], Source] | None = None


@dataclass(frozen=True)
class SourceCase:
    """How the suite gets at one kind of source. `stage` is handed an empty folder."""

    name: str
    stage: Callable[[Path], AbstractContextManager[Stage]]


def now() -> int:
    return NOW


@contextmanager
def simulator(folder: Path, kind: str = "air") -> Iterator[Stage]:
    """A simulated source with a bit of everything that can be wrong with readings."""
    from loader.sources.simulator import Flaws, Simulator, SimulatorSettings

    del folder
    flaws = dict.fromkeys(Flaws.model_fields, 0.03)

    def build() -> Simulator:
        settings = SimulatorSettings(type="simulator", kind=kind, cadence="1h", stations=2, flaws=flaws)
        return Simulator("sim", settings, now, EARLIEST, FUTURE)

    def truth(partition: str) -> dict[int, float | None]:
        readings = build().truth(partition, WINDOW, NOW)
        return dict(zip(readings.time.tolist(), readings.value.tolist(), strict=True))

    yield Stage(build, truth)


SENSORS = {101: (1, 2), 102: (1, 10), 103: (2, 2)}
"""Sensor id -> (location, parameter id): fine dust at both stations, ozone at the first."""


def openaq_world() -> Any:
    """Two stations, three sensors, 65 days of hours; nulls, sentinels and broken records among them."""
    import random

    from tests.openaq_server.world import Location, World

    world, dice = World(), random.Random(11)
    world.now = NOW
    world.add_location(Location(1, "Toronto Downtown", "America/Toronto", 43.66, -79.39))
    world.add_location(Location(2, "Ratnapark", "Asia/Kathmandu", 27.71, 85.32))
    last = NOW // HOUR * HOUR
    for number, (location, parameter) in SENSORS.items():
        world.add_sensor(number, location, parameter)
        stamps = [last - h * HOUR for h in range(65 * 24) if dice.random() > 0.02]
        for at in stamps:
            draw = dice.random()
            value = None if draw < 0.02 else -999.0 if draw < 0.04 else round(dice.uniform(0, 40), 3)
            world.add(number, at, value, appears=at)
        for at in dice.sample(stamps[24:], 5):
            world.spoil(number, at, "value-text")
    return world


@contextmanager
def openaq(folder: Path) -> Iterator[Stage]:
    """The OpenAQ source against a server of its API on loopback."""
    from loader.sources.openaq import OpenAQSettings, build
    from loader.stores.sqlite import SQLiteStore
    from tests.openaq_server import KEY, Faults, OpenAQServer

    world, faults = openaq_world(), Faults(seed=1)
    journal = SQLiteStore(folder / "journal.db")
    journal.migrate()

    with OpenAQServer(world, faults) as server:

        def source(**changes: Any) -> Source:
            given = {
                "type": "openaq", "base_url": server.url, "api_key": KEY, "locations": [1, 2],
                "limits": {"per_minute": 1_000_000, "per_hour": 1_000_000}, "tries": 2, "backoff": "100ms",
            } | changes  # fmt: skip
            made: Source = build(
                "openaq", OpenAQSettings.model_validate(given), journal=journal, clock=now,
                stop=threading.Event(), earliest=EARLIEST, future=FUTURE,
            )  # fmt: skip
            return made

        def truth(partition: str) -> dict[int, float | None]:
            times, values = world.truth(int(partition.rpartition("/")[2]), NOW)
            rows = zip(times, values, strict=True)
            return {t: v for t, v in rows if WINDOW.start < t <= WINDOW.end}

        def fail() -> None:
            faults.add("500", route="measurements")

        yield Stage(
            source,
            truth,
            fail,
            refused=lambda: source(api_key="not-the-key"),
            astray=lambda: source(locations=[999_999]),
        )
    journal.close()


SOURCES: list[SourceCase] = [
    SourceCase("simulator", simulator),
    SourceCase("simulator-rig", lambda folder: simulator(folder, "rig")),
    SourceCase("openaq", openaq),
]
