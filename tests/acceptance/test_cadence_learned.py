"""A station that changes how often it reports, from the source to what commands say of it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.acceptance.openaq_run import STORES, loading
from tests.openaq_server import DAY, HOUR, Location, World
from tests.openaq_server.world import MINUTE


@pytest.mark.parametrize("store", STORES)
def test_a_station_that_goes_hourly_is_not_missing_for_ever(tmp_path: Path, store: str) -> None:
    """It is found after a day; from then on hours are due, and those before count again."""
    end = time.time_ns() // 1000 // HOUR * HOUR
    change = end - 60 * HOUR
    world = World()
    world.add_location(Location(1, "Station 1", "Europe/London", 51.5, -0.1))
    world.add_sensor(11, 1, 2, cadence_s=900)
    quarters = range(change - 5 * DAY + 15 * MINUTE, change + 1, 15 * MINUTE)
    hours = range(change + HOUR, end + 1, HOUR)
    world.extend(11, [(t, 10.0 + i % 7, t) for i, t in enumerate([*quarters, *hours])])
    with loading(tmp_path, world, store=store, initial="5d") as rig:
        world.now = change + 12 * HOUR
        rig.loader("run")
        early = json.loads(rig.loader("gaps", "--json", "--since", "3d", "--until", "50h").out)
        assert early, "nothing was known of the change yet"
        world.now = end
        rig.loader("run")
        assert json.loads(rig.loader("gaps", "--json", "--since", "4d", "--until", "2h").out) == []
        found = rig.query("SELECT cadence_s FROM cadence ORDER BY from_time")
        assert [float(cadence_s) for (cadence_s,) in found] == [900.0, 3600.0]
        out = rig.loader("quality", "--by", "day", "--since", "1d", "--json").out
        days = [row["counts"] for row in json.loads(out)]
        assert days
        assert all(0 < day["due"] == day["observed"] <= 24 for day in days)
