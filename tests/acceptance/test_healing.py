"""Gaps that another read fills, over a real server and the command line: late records, failed
fetches, what nobody asked for; and what is left alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.acceptance.openaq_run import Rig, hourly, loading
from tests.openaq_server import DAY, HOUR, Faults, Location, World

SLOWER = ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)]
DAYS = 30
LATE = (*range(4, 10), *range(30, 36))
"""Hours ago whose records come up only later."""
OLD = range(20 * 24, 20 * 24 + 5)
"""Hours ago that the source never had, until long afterwards."""
LOST = range(50, 53)
"""Hours ago that cannot be fetched at first."""


def station(late: Iterable[int]) -> tuple[World, int]:
    """Two hourly sensors up to this hour; of the first one those so many hours ago are held back.
    The hour it ends with."""
    end = time.time_ns() // 1000 // HOUR * HOUR
    world = World()
    world.add_location(Location(1, "Station 1", "Europe/London", 51.5, -0.1))
    for sensor in (11, 12):
        world.add_sensor(sensor, 1, sensor - 10)
    held = {end - hours * HOUR for hours in late}
    stamps = [end - n * HOUR for n in range(DAYS * 24, -1, -1)]
    rows = [(t, float(i), end + DAY if t in held else t) for i, t in enumerate(stamps)]
    world.extend(11, rows)
    hourly(world, 12, end - DAYS * DAY, DAYS * 24)
    return world, end


def causes(rig: Rig, *args: str) -> dict[str, int]:
    """How many readings of sensor 11 are missing, by cause."""
    out: dict[str, int] = {}
    for gap in json.loads(rig.loader("gaps", "--json", "--sensor", "11", *args).out):
        cause = str(gap["cause"]).partition(":")[0]
        out[cause] = out.get(cause, 0) + int(gap["missing"])
    return out


@pytest.mark.parametrize("store", SLOWER)
def test_a_station_whose_records_appear_later_heals(tmp_path: Path, store: str) -> None:
    """What came late and what failed is found again; nothing else is asked for."""
    world, end = station([*LATE, *OLD])
    faults = Faults()
    with loading(tmp_path, world, faults, store=store, initial=f"{DAYS}d", holes={"pause": "1d"}) as rig:
        faults.poison(11, end - LOST[-1] * HOUR - 1, end - LOST[0] * HOUR)
        rig.loader("run", code=3)
        asked = {"source had nothing": len(LATE) + len(OLD), "fetch failed": len(LOST)}
        assert causes(rig, "--until", "2h") == asked
        faults.clear()
        # Nothing has appeared yet: what can be had is found, the rest is still missing.
        said = rig.loader("gaps", "--heal", "--since", "3d", "--until", "2h", "--sensor", "11")
        found, left = len(LOST), len(LATE)
        assert f"openaq: {found} of {found + left} missing readings found, {left} still" in said.out
        world.now = end + 2 * DAY
        rig.server.forget_requests()
        plan = json.loads(rig.loader("gaps", "--heal", "--dry-run", "--json", "--until", "2h").out)
        assert not rig.server.log
        assert [(p["source"], p["missing"], p["requests"]) for p in plan] == [("openaq", len(LATE), 1)]
        assert [w["partition"] for w in plan[0]["windows"]] == ["11"]
        text = rig.loader("gaps", "--heal", "--dry-run", "--until", "2h")
        assert f"{len(LATE)} missing readings to look for in 1 window, 1 request" in text.out
        assert "nothing was asked for" in text.err
        marks = rig.watermarks()
        said = rig.loader("gaps", "--heal", "--until", "2h")
        assert f"openaq: {len(LATE)} of {len(LATE)} missing readings found, 0 still missing" in said.out
        (only,) = rig.asked()
        assert only[0] == 11
        assert end - 36 * HOUR <= only[1] < only[2] <= end - 3 * HOUR
        assert rig.watermarks() == marks
        assert causes(rig, "--until", "2h") == {"source had nothing": len(OLD)}
        assert "no gap is worth another read" in rig.loader("gaps", "--heal", "--until", "2h").out
        stretch = f"{DAYS}d", "--until", "1h"
        rig.loader("run", "--since", *stretch)
        assert causes(rig, "--until", "2h") == {}
        rig.check_sums()


@pytest.mark.parametrize("store", SLOWER)
def test_behind_another_loader_it_is_queued(tmp_path: Path, store: str) -> None:
    """With the lease taken it becomes a request, which the next run works."""
    world, end = station(LATE)
    with loading(tmp_path, world, store=store, initial="3d") as rig:
        rig.loader("run")
        world.now = end + 2 * DAY
        lease = rig.store.acquire("openaq")
        said = rig.loader("gaps", "--heal", "--detach", "--until", "2h", "--parameter", "pm10", code=None)
        assert "queued as request 1" in said.err, said.err
        lease.release()
        rig.loader("run", "--only", "12")
        (request,) = json.loads(rig.loader("requests", "list", "--json").out)
        assert (request["kind"], request["state"]) == ("heal", "done")
        assert (request["result"]["healed"], request["result"]["left"]) == (len(LATE), "0")
        assert causes(rig, "--until", "2h") == {}


def test_what_nobody_asked_for_is_read_with_since(tmp_path: Path) -> None:
    """From before the first run on, as far as --since says, and as JSON."""
    world, _ = station([])
    with loading(tmp_path, world, initial="2d") as rig:
        rig.loader("run")
        assert set(causes(rig, "--since", "5d", "--until", "1d")) == {"not asked for"}
        out = rig.loader("gaps", "--heal", "--since", "5d", "--until", "1d", "--json").out
        (done,) = json.loads(out)
        assert (done["source"], done["left"], done["outcome"]) == ("openaq", 0, "ok")
        assert done["healed"] == done["new"] > 2 * 70
        assert causes(rig, "--since", "5d", "--until", "1d") == {}


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    """--dry-run and --detach belong to --heal; before the first run there is nothing to heal."""
    world, _ = station([])
    with loading(tmp_path, world) as rig:
        for option in ("--dry-run", "--detach"):
            assert "need --heal" in rig.loader("gaps", option, code=2).err
        assert "nothing has been loaded yet" in rig.loader("gaps", "--heal").err


def test_a_source_that_is_away_heals_nothing(tmp_path: Path) -> None:
    """The failure is told, as text and as JSON, and what is missing still is."""
    world, _ = station(LATE)
    with loading(tmp_path, world, initial="3d") as rig:
        rig.loader("run")
        before = causes(rig, "--until", "2h")
        rig.server.stop()
        for args in ((), ("--json",)):
            said = rig.loader("gaps", "--heal", "--until", "2h", *args, code=1)
            assert "no connection" in said.out
        (done,) = json.loads(said.out)
        assert (done["outcome"], done["healed"], done["left"]) == ("failed", 0, sum(before.values()))
        assert causes(rig, "--until", "2h") == before
