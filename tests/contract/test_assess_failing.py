"""From readings to an alert: a sensor that only fails among others that do not, on every store."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path

from assessing import assess
from builders import Loading, Row, at, series
from stores import AnyStore

from loader.alerts.centre import Centre, Watched
from loader.journal import Notice
from loader.quality.checks import Checks
from loader.quality.rules import FlatRule, Rule
from loader.readings import DAY, HOUR
from loader.schedule import Every
from loader.settings.alerting import AlertSettings, Channel

SENSORS = [series(f"s{i}", station=f"st{i}", cadence_s=3600.0) for i in range(3)]
CHECK = Checks(lambda _: Rule(expected=True, flat=FlatRule(fail=12 * HOUR)))


class Box:
    """A channel that keeps what it is sent."""

    name = "box"

    def __init__(self) -> None:
        self.got: list[Notice] = []

    def send(self, notice: Notice) -> None:
        self.got.append(notice)


def value(hour: int) -> float:
    return 20 + 5 * math.sin(hour)


def office(folder: Path, box: Box, clock: Callable[[], int]) -> Centre:
    """A centre of the source with the rules' defaults; the machine of the tests is none of its business."""
    settings = AlertSettings.model_validate({"rules": {"memory": "64GB", "disk_free": 0}})
    return Centre(
        watched={"src": Watched("src", settings.rules, Every(HOUR), HOUR, DAY)},
        settings=settings,
        limits={},
        channels={"box": (Channel(), box)},
        spool=folder / "spool",
        disk=None,
        clock=clock,
    )


def test_a_sensor_that_only_fails_is_told(store: AnyStore, tmp_path: Path) -> None:
    """One that is stuck and one that sends no values are one message, and one more when they are well
    again; the one beside them is not named."""
    box, hour, loading = Box(), 0, Loading(store)
    centre = office(tmp_path, box, lambda: at(hour))

    def until(last: int, **own: Callable[[int], float | None]) -> list[str]:
        """Load hours up to this one and look; titles of what was sent."""
        nonlocal hour
        hours = range(hour + 1, last + 1)
        rows: list[Row] = [(one, h, own.get(one.sensor, value)(h)) for one in SENSORS for h in hours]
        loading.commit(rows, check=CHECK)
        assess(loading, check=CHECK)
        hour, told = last, len(box.got)
        centre.look(store, ["src"])
        centre.deliver(store, threading.Event(), 10)
        return [notice.title for notice in box.got[told:]]

    both = "(st1 pm25 (s1), st2 pm25 (s2))"
    assert until(48) == []
    assert until(58, s1=lambda _: 20.0) == []
    assert until(81, s1=lambda _: 20.0, s2=lambda _: None) == []
    assert until(112, s1=lambda _: 20.0, s2=lambda _: None) == [
        f"src: nearly all readings of a sensor fail {both}"
    ]
    line = next(line for line in box.got[0].lines if line.startswith("st1"))
    assert line.endswith(": of its newest 40 readings 40 failed and 0 have no value")
    assert until(113, s1=lambda _: 20.0, s2=lambda _: None) == []
    assert until(121) == [f"src: well again, it was: nearly all readings of a sensor fail {both}"]
