"""The main job, whole: OpenAQ loaded run after run, compared row by row with what the server knows."""

from __future__ import annotations

import csv
import io
from itertools import count
from pathlib import Path

import pytest

from loader.readings import Flag
from loader.records import Outcome, RunReport
from tests.acceptance.openaq_run import SHARED, STORES, Rig, hourly, loading
from tests.openaq_server import (
    DAY,
    HOUR,
    MINUTE,
    Faults,
    Location,
    World,
    made_up,
    micros,
    toronto,
    unsettle,
)
from tests.openaq_server.world import PARAMETERS

SEPTEMBER = micros("2025-09-01T04:00:00Z")
NEW_YORK = Location(1, "Harlem River", "America/New_York", 40.85, -73.93)
KATHMANDU = Location(2, "Phora Durbar", "Asia/Kathmandu", 27.7127, 85.3157)


def month(locations: set[int] | None = None, parameters: set[str] | None = None) -> World:
    """Real Toronto series of September, or made-up ones where they are absent; rows come up to 8
    hours late, and values change within a day."""
    if not (SHARED / "data").is_dir():
        return made_up(1, stations=2, days=34, end=SEPTEMBER + 34 * DAY)
    world = toronto(SHARED, locations=locations, parameters=parameters)
    unsettle(world, 1, late=0.05, latest_s=8 * 3600, revised=0.01)
    return world


def load_a_month(rig: Rig, step: int) -> list[RunReport]:
    """A run every `step` microseconds for 30 days, and one when everything has settled. Once a day
    the same is asked again at once."""
    stations = len(rig.world.locations)
    reports = []
    for at in range(SEPTEMBER + 3 * DAY, SEPTEMBER + 33 * DAY, step):
        rig.now = at + 7 * MINUTE
        reports.append(rig.run())
        if (at - SEPTEMBER) % DAY == 0:
            before = rig.server.count()
            again = rig.run()
            assert (again.outcome, again.counts.new, again.counts.revised) == (Outcome.OK, 0, 0)
            assert rig.server.count() - before == again.counts.requests == stations
    rig.now = max(rig.world.settled, rig.now) + 7 * HOUR
    reports.append(rig.run())
    return reports


@pytest.mark.slow
def test_a_month_of_hourly_runs_equals_the_truth(tmp_path: Path) -> None:
    """After 720 runs every late row and every revised value is there, and a run with nothing new
    costs one request a location."""
    world = month({7570, 3145071}, {"pm25", "o3"})
    with loading(tmp_path, world) as rig:
        reports = load_a_month(rig, HOUR)
        assert {r.outcome for r in reports} == {Outcome.OK}
        assert sum(r.counts.late for r in reports) > 20
        assert sum(r.counts.revised for r in reports) > 10
        rig.check_books()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("store", STORES)
def test_a_month_of_all_stations_equals_the_truth(tmp_path: Path, store: str) -> None:
    """All 73 series of 15 stations, loaded every six hours, late rows and revisions included."""
    with loading(tmp_path, month(), store=store) as rig:
        assert {r.outcome for r in load_a_month(rig, 6 * HOUR)} == {Outcome.OK}
        rig.check_books()


@pytest.mark.parametrize("store", STORES)
def test_days_of_runs_equal_the_truth_in_every_store(tmp_path: Path, store: str) -> None:
    """Five stations of every kind, loaded every three hours while rows come late and values change."""
    end = micros("2025-11-05T00:00:00Z")
    world = made_up(3, stations=5, days=5, end=end)
    with loading(tmp_path, world, store=store) as rig:
        for hour in range(72, 120, 3):
            rig.now = end - 5 * DAY + hour * HOUR
            assert rig.run().outcome is Outcome.OK
        rig.now = world.settled + 7 * HOUR
        rig.run()
        rig.check_books()


def test_with_chosen_parameters_a_quiet_run_costs_one_request_a_location(tmp_path: Path) -> None:
    """Only the wanted sensors are read, and the unwanted ones cost nothing in between."""
    world = made_up(4, stations=2, days=3, end=SEPTEMBER, late=0, revised=0)
    world.now = SEPTEMBER + HOUR
    with loading(tmp_path, world, parameters=["pm25"]) as rig:
        rig.run()
        wanted = {str(s.id) for s in world.sensors.values() if s.parameter.name == "pm25"}
        assert rig.stored() == {k: v for k, v in rig.truth().items() if k in wanted}
        rig.server.forget_requests()
        assert rig.run().outcome is Outcome.OK
        assert rig.server.count() == len(world.locations)


@pytest.mark.slow
def test_the_lookback_is_learned_and_sweeps_still_catch_what_it_misses(tmp_path: Path) -> None:
    """After 200 late readings of at most 4 hours a run looks back hours, not days; a row that comes
    two days late is found by the next sweep."""
    world = made_up(5, stations=3, days=7, end=SEPTEMBER, late=0.5, latest_s=4 * 3600, revised=0)
    sensor, quarters = 3937, 2180
    with loading(tmp_path, world, locations=[quarters]) as rig:
        backs: list[tuple[int, int]] = []
        for hour in count(72):
            rig.now = SEPTEMBER - 7 * DAY + hour * HOUR + 6 * MINUTE
            marks = rig.watermarks()
            rig.run()
            late = rig.query("SELECT coalesce(sum(late), 0) FROM run")[0][0]
            ordinary = [t for t in rig.watching.tasks if not t.sweep]
            backs += [(late, (marks[t.partition] or 0) - t.window.start) for t in ordinary]
            if late > 260 and ordinary:
                break
            assert hour < 160
        assert {back for late, back in backs if late < 150} == {3 * DAY}
        assert 2 * HOUR <= backs[-1][1] <= 12 * HOUR
        forgotten = rig.now // HOUR * HOUR - 2 * DAY + 7 * MINUTE
        world.add(sensor, forgotten, 1.5, appears=rig.now + 1)
        swept = False
        while not swept:
            rig.now += HOUR
            rig.run()
            swept = any(t.sweep for t in rig.watching.tasks if t.partition == str(sensor))
            assert (forgotten in rig.stored()[str(sensor)]) == swept


@pytest.mark.parametrize("store", STORES)
def test_a_night_of_25_hours_and_a_zone_of_quarter_hours(tmp_path: Path, store: str) -> None:
    """On the night when clocks go back all 25 hours are stored, each once; +05:45 is exported as it is."""
    world = World()
    world.add_location(NEW_YORK)
    world.add_location(KATHMANDU)
    world.add_sensor(11, 1, 2)
    world.add_sensor(21, 2, 2)
    noon = micros("2025-11-01T12:00:00-04:00")
    hourly(world, 11, noon, 48)
    hourly(world, 21, noon + 15 * MINUTE, 48)
    with loading(tmp_path, world, store=store) as rig:
        for hour in range(0, 49, 3):
            rig.now = noon + hour * HOUR + 20 * MINUTE
            assert rig.run().outcome is Outcome.OK
        assert rig.stored() == rig.truth()
        first, last = micros("2025-11-02T00:00:00-04:00"), micros("2025-11-03T00:00:00-05:00")
        assert len([t for t in rig.stored()["11"] if first < t <= last]) == 25
        out = rig.loader("export", "--zone", "station").out
        rows = list(csv.DictReader(io.StringIO(out)))
        local = [r["time"] for r in rows if r["sensor"] == "11" and r["time"].startswith("2025-11-02")]
        assert len(local) == len(set(local)) == 24 + 1
        assert [t[-6:] for t in local if "T01" in t] == ["-04:00", "-05:00"]
        assert {r["time"][-6:] for r in rows if r["sensor"] == "21"} == {"+05:45"}


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("listed", [True, False], ids=["old id listed", "old id gone"])
def test_a_sensor_with_a_new_id_continues_without_a_gap(tmp_path: Path, store: str, listed: bool) -> None:
    """The new sensor names the one it replaces, and is read from that one's watermark on, however
    short `initial` is."""
    world = World()
    world.add_location(NEW_YORK)
    world.add_sensor(11, 1, 2)
    world.add_sensor(12, 1, 2, listed_from=SEPTEMBER + 4 * DAY)
    hourly(world, 11, SEPTEMBER, 4 * 24)
    hourly(world, 12, SEPTEMBER + 4 * DAY, 5 * 24, value=500.0)
    with loading(tmp_path, world, store=store, initial="1d") as rig:
        rig.now = SEPTEMBER + 4 * DAY - 1
        rig.run()
        mark = rig.watermarks()["11"]
        wanted = rig.truth()
        if not listed:
            del world.sensors[11]
            wanted["11"].popitem()
        rig.now = SEPTEMBER + 9 * DAY
        assert rig.run().outcome is Outcome.OK
        assert rig.query("SELECT sensor, replaces FROM series ORDER BY 1") == [("11", None), ("12", "11")]
        (task,) = [t for t in rig.watching.tasks if t.partition == "12"]
        assert task.window.start == mark
        before = {t: v for t, v in wanted["11"].items() if t > SEPTEMBER + 3 * DAY - 1}
        assert rig.stored() == {"11": before, "12": wanted["12"]}


@pytest.mark.parametrize("parameters", [[], ["pm25"]], ids=["all", "chosen"])
def test_a_sensor_nobody_knew_is_found_by_the_next_run(tmp_path: Path, parameters: list[str]) -> None:
    """A new sensor shows up in what the source says is newest; it is listed and read in that run."""
    world = World()
    world.add_location(NEW_YORK)
    world.add_sensor(11, 1, 2)
    hourly(world, 11, SEPTEMBER, 48)
    with loading(tmp_path, world, parameters=parameters) as rig:
        rig.now = SEPTEMBER + 20 * HOUR
        rig.run()
        world.add_sensor(12, 1, 2, listed_from=rig.now + 1)
        hourly(world, 12, SEPTEMBER + 18 * HOUR, 24)
        rig.now += 2 * HOUR
        assert rig.run().outcome is Outcome.OK
        assert rig.stored() == rig.truth(rig.now)
        assert rig.stored().keys() == {"11", "12"}


def test_a_ghost_among_the_newest_readings_harms_nothing(tmp_path: Path) -> None:
    """A sensor that is named once and never listed leaves no trace."""
    world = made_up(6, stations=1, days=2, end=SEPTEMBER, late=0, revised=0)
    with loading(tmp_path, world) as rig:
        rig.now = SEPTEMBER - HOUR
        rig.run()
        rig.faults.add("unknown-latest", route="latest")
        for _ in range(3):
            rig.now += HOUR
            assert rig.run().outcome is Outcome.OK
        rig.check_books()


@pytest.mark.parametrize("store", STORES)
def test_one_gas_in_three_units_is_three_series(tmp_path: Path, store: str) -> None:
    """ppm, ppb and µg/m³ are told apart, and each is held to the range of its own unit."""
    world = World()
    world.add_location(NEW_YORK)
    for number, parameter in enumerate((7, 15, 5), start=11):
        world.add_sensor(number, 1, parameter)
        world.add(number, SEPTEMBER, 30.0)
    world.now = SEPTEMBER + HOUR
    with loading(tmp_path, world, store=store) as rig:
        rig.run()
        units = [PARAMETERS[p].units for p in (7, 15, 5)]
        assert rig.query("SELECT sensor, parameter, unit, value, flag FROM readings ORDER BY sensor") == [
            ("11", "no2", units[0], 30.0, Flag.FAIL),
            ("12", "no2", units[1], 30.0, Flag.GOOD),
            ("13", "no2", units[2], 30.0, Flag.GOOD),
        ]


@pytest.mark.parametrize("store", STORES)
def test_nulls_and_sentinels_are_missing_and_kept(tmp_path: Path, store: str) -> None:
    """The table keeps what the source sent, the view shows nothing, and a number that takes the
    place of a null is a revision."""
    world = World()
    world.add_location(NEW_YORK)
    world.add_sensor(11, 1, 2)
    first, second, third = (SEPTEMBER + n * HOUR for n in (1, 2, 3))
    world.add(11, first, None)
    world.add(11, second, -999.0)
    world.add(11, third, 4.0)
    world.revise(11, first, 7.0, since=SEPTEMBER + 5 * HOUR)
    with loading(tmp_path, world, store=store) as rig:
        rig.now = SEPTEMBER + 4 * HOUR
        report = rig.run()
        assert (report.outcome, report.counts.missing, report.counts.new) == (Outcome.OK, 2, 3)
        assert rig.query("SELECT value, flag FROM reading ORDER BY time") == [
            (None, Flag.MISSING),
            (-999.0, Flag.MISSING),
            (4.0, Flag.GOOD),
        ]
        assert rig.query("SELECT value FROM readings ORDER BY time") == [(None,), (None,), (4.0,)]
        rig.now = SEPTEMBER + 11 * HOUR
        assert rig.run().counts.revised == 1
        assert rig.query("SELECT old_value, new_value FROM revision") == [(None, 7.0)]
        assert rig.query("SELECT value, flag FROM reading ORDER BY time LIMIT 1") == [(7.0, Flag.GOOD)]
        rig.check_books()


@pytest.mark.parametrize("store", STORES)
def test_what_the_source_takes_back_is_kept(tmp_path: Path, store: str) -> None:
    """A reading that is not served any more stays, and every run that misses it counts it."""
    world = World()
    world.add_location(NEW_YORK)
    world.add_sensor(11, 1, 2)
    times = hourly(world, 11, SEPTEMBER, 48)
    world.withdraw(11, times[20], since=SEPTEMBER + 25 * HOUR)
    with loading(tmp_path, world, store=store) as rig:
        for hour, vanished in ((24, 0), (26, 1), (28, 1)):
            rig.now = SEPTEMBER + hour * HOUR
            assert rig.run().counts.vanished == vanished
        rig.now = SEPTEMBER + 60 * HOUR
        rig.run()
        rig.check_books()


def test_answers_out_of_a_cache_delay_and_lose_nothing(tmp_path: Path) -> None:
    """What is told a quarter of an hour late is loaded a quarter of an hour late."""
    world = made_up(7, stations=3, days=2, end=SEPTEMBER)
    faults = Faults()
    faults.add("stale", age=900)
    with loading(tmp_path, world, faults, initial="3d") as rig:
        for minutes in range(0, 3 * 60, 10):
            rig.now = SEPTEMBER - 3 * HOUR + minutes * MINUTE
            assert rig.run().outcome is Outcome.OK
        assert "stale" in {kind for seen in rig.server.log for kind in seen.faults}
        faults.clear()
        rig.now = world.settled + 7 * HOUR
        rig.run()
        rig.check_books()
