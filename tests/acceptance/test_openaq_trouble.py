"""OpenAQ when it misbehaves: what can be had is loaded, what cannot is a hole with its cause, and the
next run puts it right."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from loader.errors import AccessDenied, NotFound
from loader.records import Outcome
from tests.acceptance.openaq_run import STORES, hourly, loading
from tests.openaq_server import HOUR, MINUTE, Faults, Location, RateLimit, World, micros
from tests.openaq_server.render import SPOILS

START = micros("2025-09-01T00:00:00Z")


def steady(stations: int, sensors: int, hours: int, start: int = START) -> World:
    """Hourly sensors 11, 12, ... of station 1, 21, 22, ... of station 2; the clock stands a little
    after the last reading."""
    world = World()
    for station in range(1, stations + 1):
        world.add_location(Location(station, f"Station {station}", "Europe/London", 51.5, -0.1))
        for n in range(1, sensors + 1):
            world.add_sensor(10 * station + n, station, (2, 1, 7, 10, 8, 9)[n - 1])
            hourly(world, 10 * station + n, start, hours, value=float(n))
    world.now = start + hours * HOUR + 5 * MINUTE
    return world


def advance(world: World, hours: int) -> None:
    """Time passes, and every sensor goes on reporting."""
    for number, sensor in world.sensors.items():
        hourly(world, number, sensor.times[-1], hours, value=200.0)
    world.now += hours * HOUR


@pytest.mark.parametrize("store", STORES)
def test_a_poisoned_stretch_becomes_a_hole_that_heals(tmp_path: Path, store: str) -> None:
    """Pages with a bad stretch, an old one and one within the lookback, answer 500: the rest loads,
    the next run reads around them, and once they are healed --retry-holes fills them."""
    world = steady(stations=1, sensors=2, hours=60 * 24)
    bad = [START + n * HOUR for n in (401, 402, 403, 1420)]
    faults = Faults()
    faults.poison(11, bad[0] - HOUR, bad[2])
    faults.poison(11, bad[3] - HOUR, bad[3])
    with loading(tmp_path, world, faults, store=store, initial="60d", holes={"pause": "6h"}) as rig:
        report = rig.run()
        assert (report.outcome, report.partitions_ok, report.partitions_failed) == (Outcome.PARTIAL, 1, 1)
        assert rig.stored()["12"] == rig.truth()["12"]
        assert rig.stored()["11"] == {t: v for t, v in rig.truth()["11"].items() if t not in bad}
        holes = rig.holes()
        assert {(partition, isolated) for partition, _, _, _, isolated in holes} == {("11", True)}
        assert all("fetch failed" in cause and "500" in cause for *_, cause, _ in holes)
        assert all(any(start < t <= end for _, start, end, *_ in holes) for t in bad)
        assert sum(end - start for _, start, end, *_ in holes) < 5 * HOUR
        advance(world, 1)
        rig.server.forget_requests()
        assert rig.run().outcome is Outcome.OK
        asked = [(start, end) for n, start, end in rig.asked() if n == 11]
        assert len(asked) == 2
        assert not any(start < t <= end for t in bad for start, end in asked)
        faults.clear()
        healed = rig.run(retry_holes=True)
        assert (healed.outcome, healed.counts.new) == (Outcome.OK, 4)
        assert rig.stored() == rig.truth()
        assert rig.holes() == []
        rig.check_books()


def test_a_hole_is_tried_again_and_given_up_in_the_end(tmp_path: Path) -> None:
    """Pauses grow, tries are counted; given up, it is left alone and stays listed, until somebody
    asks for it."""
    world = steady(stations=1, sensors=1, hours=48)
    faults = Faults()
    rule = faults.poison(11, START + 20 * HOUR, START + 21 * HOUR)
    holes = {"pause": "10m", "max_pause": "20m", "tries": 3}
    with loading(tmp_path, world, faults, holes=holes) as rig:
        for minutes, tries in ((0, 1), (9, 1), (2, 2), (19, 2), (2, 3), (120, 3)):
            rig.now += minutes * MINUTE
            report = rig.run()
            due = minutes in (0, 2)
            assert report.outcome is (Outcome.PARTIAL if due else Outcome.OK), minutes
            assert rig.query("SELECT tries FROM hole") == [(tries,)]
        assert rig.query("SELECT next_try FROM hole") == [(None,)]
        faults.remove(rule)
        rig.run()
        assert len(rig.holes()) == 1
        rig.run(retry_holes=True)
        rig.check_books()


@pytest.mark.parametrize("store", STORES)
def test_rows_that_come_twice_are_stored_once(tmp_path: Path, store: str) -> None:
    """Pages that overlap and repeat rows are counted as duplicates and change nothing."""
    world = steady(stations=1, sensors=2, hours=2500)
    faults = Faults()
    faults.add("duplicate", route="measurements", share=0.1)
    faults.add("overlap", route="measurements", rows=3)
    with loading(tmp_path, world, faults, store=store, initial="110d") as rig:
        report = rig.run()
        assert (report.outcome, report.counts.new) == (Outcome.OK, 5000)
        assert report.counts.duplicate > 400
        rig.check_books()


@pytest.mark.parametrize("kind", ["rubbish", "html", "empty", "truncated", "reset", "408", "500", "502"])
def test_trouble_that_passes_is_not_noticed(tmp_path: Path, kind: str) -> None:
    """Bodies that are no answer, cut off or broken off, and passing errors: a retry gets over them."""
    world = steady(stations=2, sensors=2, hours=72)
    faults = Faults()
    faults.add(kind, times=2, route="measurements", sensor=11)
    faults.add(kind, times=1, route="location")
    with loading(tmp_path, world, faults) as rig:
        assert rig.run().outcome is Outcome.OK
        assert rig.holes() == []
        rig.check_books()


def test_a_slow_body_is_cut_off_and_asked_for_again(tmp_path: Path) -> None:
    """A body that drips longer than `timeouts.total` allows does not hold the run up."""
    world = steady(stations=1, sensors=1, hours=72)
    faults = Faults()
    faults.add("slow", times=1, route="measurements", seconds=200, pieces=2000)
    with loading(tmp_path, world, faults, timeouts={"read": "1s", "total": "1s"}) as rig:
        assert rig.run().outcome is Outcome.OK
        rig.check_books()


@pytest.mark.parametrize("kind", ["rubbish", "html", "500", "reset"])
def test_one_sensor_that_never_answers_costs_only_itself(tmp_path: Path, kind: str) -> None:
    """The others load, its window is a hole with the cause, and the next run fills it."""
    world = steady(stations=1, sensors=4, hours=72)
    faults = Faults()
    rule = faults.add(kind, route="measurements", sensor=12)
    with loading(tmp_path, world, faults) as rig:
        report = rig.run()
        assert (report.outcome, report.partitions_ok, report.partitions_failed) == (Outcome.PARTIAL, 3, 1)
        assert rig.stored() == {k: v for k, v in rig.truth().items() if k != "12"}
        holes = rig.holes()
        assert {h[0] for h in holes} == {"12"}
        assert all("fetch failed: " in h[3] for h in holes)
        assert max(h[2] for h in holes) == world.now
        faults.remove(rule)
        advance(world, 1)
        assert rig.run().outcome is Outcome.OK
        rig.check_books()


@pytest.mark.parametrize("store", STORES)
def test_broken_records_are_quarantined_and_the_rest_loads(tmp_path: Path, store: str) -> None:
    """Wrong types, times in words, NULs: each is kept with its rule, a replay changes nothing as long
    as they are broken, and mended at the source they are loaded by the next sweep."""
    world = steady(stations=1, sensors=2, hours=72)
    for n, how in enumerate(SPOILS):
        world.spoil(11, START + (30 + n) * HOUR, how)
    with loading(tmp_path, world, store=store, lookback={"min": "2h", "max": "3d", "sweep": "0s"}) as rig:
        report = rig.run()
        assert (report.outcome, report.counts.quarantined) == (Outcome.OK, len(SPOILS))
        assert rig.stored() == rig.truth()
        assert len(rig.store.quarantined("openaq", 100)) == len(SPOILS)
        again = rig.replay()
        assert (again.outcome, again.counts.new) == (Outcome.PARTIAL, 0)
        assert {q.replayed_by for q in rig.store.quarantined("openaq", 100)} == {None}
        world.sensors[11].spoilt.clear()
        assert rig.run().counts.new == len(SPOILS)
        assert rig.stored() == rig.truth()
        rig.check_sums()


@pytest.mark.parametrize("store", STORES)
def test_a_future_stamp_waits_in_the_quarantine_until_its_time(tmp_path: Path, store: str) -> None:
    """It is no reading while it lies ahead of the clock; replayed later it is one."""
    world = steady(stations=1, sensors=1, hours=72)
    faults = Faults()
    faults.add("future", times=1, route="measurements", ahead=3600)
    with loading(tmp_path, world, faults, store=store) as rig:
        report = rig.run()
        assert (report.outcome, report.counts.quarantined) == (Outcome.OK, 1)
        assert rig.watermarks() == {"11": START + 72 * HOUR}
        (kept,) = rig.store.quarantined("openaq", 10)
        assert (kept.rule, kept.replayed_by) == ("timestamp", None)
        assert rig.replay().counts.new == 0
        rig.now += 3 * HOUR
        done = rig.replay()
        assert (done.outcome, done.counts.new) == (Outcome.OK, 1)
        assert kept.time is not None
        assert rig.stored()["11"] == {**rig.truth()["11"], kept.time: rig.truth()["11"][START + 72 * HOUR]}
        (kept,) = rig.store.quarantined("openaq", 10)
        assert kept.replayed_by == done.id
        assert rig.watermarks() == {"11": START + 72 * HOUR}, "a replay only adds"
        rig.check_sums()


@pytest.mark.parametrize("how", ["bare", "headers", "retry-after"])
def test_too_many_requests_are_waited_for(tmp_path: Path, how: str) -> None:
    """A 429 with Retry-After, with x-ratelimit headers, or with nothing, costs time and no reading."""
    hours = 72
    world = steady(1, 2, hours, start=time.time_ns() // 1000 // HOUR * HOUR - hours * HOUR)
    world.now = None  # type: ignore[assignment]  # the real clock: waiting takes real time
    faults = Faults()
    faults.add("429", times=2, route="measurements", how=how, wait=1)
    with loading(tmp_path, world, faults) as rig:
        began = time.monotonic()
        assert rig.run().outcome is Outcome.OK
        waited = time.monotonic() - began
        assert rig.server.count(status=429) == 2
        assert waited < 10
        assert how == "bare" or waited >= 1
        rig.check_books()


class Hurrying(World):
    """A minute of its clock takes a second."""

    def __init__(self) -> None:
        super().__init__()
        self._began = time.time()

    @property
    def now(self) -> int:
        return int((self._began + (time.time() - self._began) * 60) * 1e6)

    @now.setter
    def now(self, value: int | None) -> None:
        raise AttributeError(f"this clock cannot be set to {value}")


@pytest.mark.slow
@pytest.mark.parametrize("ours", [30, 1_000_000], ids=["known", "unknown"])
def test_a_limit_that_is_enforced_is_kept(tmp_path: Path, ours: int) -> None:
    """Of 30 requests a minute, where 85 are needed, hardly one is refused, whether the limit is
    configured or has to be learned from the answers; none costs a reading."""
    world = Hurrying()
    plain = steady(2, 5, 8000, start=time.time_ns() // 1000 // HOUR * HOUR - 8001 * HOUR)
    world.locations, world.sensors = plain.locations, plain.sensors
    faults = Faults()
    faults.limits = [RateLimit(30, 60, clock=lambda: world.now / 1e6)]
    limits = {"per_minute": ours, "per_hour": 1_000_000}
    with loading(tmp_path, world, faults, limits=limits, initial="340d") as rig:
        report = rig.run()
        assert report.outcome is Outcome.OK
        assert report.counts.requests > 85
        # One that is sent as the minute ends counts for the next one.
        assert rig.server.count(status=429) < 12
        assert rig.stored() == rig.truth()


@pytest.mark.parametrize("how", ["close", "503"])
def test_a_server_that_is_down_is_a_failed_run(tmp_path: Path, how: str) -> None:
    """Nothing can be asked: the run says why; the next one completes."""
    world = steady(stations=2, sensors=2, hours=72)
    faults = Faults()
    rule = faults.add("down", how=how)
    with loading(tmp_path, world, faults) as rig:
        report = rig.run()
        assert (report.outcome, report.counts.new) == (Outcome.FAILED, 0)
        assert "/v3/locations/" in (report.error or "")
        faults.remove(rule)
        assert rig.run().outcome is Outcome.OK
        rig.check_books()


@pytest.mark.parametrize("how", ["close", "503"])
@pytest.mark.parametrize("answered", [0, 5])
def test_a_server_that_goes_down_leaves_holes_that_the_next_run_fills(
    tmp_path: Path, how: str, answered: int
) -> None:
    """After the survey, or amid the pages: what was read stays, the rest is a hole with its cause."""
    world = steady(stations=2, sensors=4, hours=72)
    faults = Faults()
    rule = faults.add("down", how=how, route="measurements", after=answered)
    with loading(tmp_path, world, faults) as rig:
        report = rig.run()
        assert report.outcome is (Outcome.PARTIAL if answered else Outcome.FAILED)
        assert report.error
        assert sum(map(len, rig.stored().values())) == answered * 72
        assert rig.holes()
        assert all("fetch failed" in h[3] for h in rig.holes())
        assert len(rig.asked()) < answered + 8 * 3, "a server that is down was asked for everything"
        faults.remove(rule)
        assert rig.run().outcome is Outcome.OK
        assert rig.holes() == []
        rig.check_books()


def test_nobody_listening_is_a_failed_run(tmp_path: Path) -> None:
    """A refused connection is told as such, and leaves nothing broken behind."""
    world = steady(stations=1, sensors=2, hours=72)
    with loading(tmp_path, world) as rig:
        rig.server.stop()
        report = rig.run()
        assert report.outcome is Outcome.FAILED
        assert "no connection" in (report.error or "")
        rig.server.start()
        assert rig.run().outcome is Outcome.OK
        rig.check_books()


def test_a_redirect_to_another_server_is_refused(tmp_path: Path) -> None:
    """The key never goes there, and the error says where it was sent and what to do."""
    world = steady(stations=1, sensors=1, hours=72)
    faults = Faults()
    faults.add("redirect-cross")
    with loading(tmp_path, world, faults) as rig:
        report = rig.run()
        assert report.outcome is Outcome.FAILED
        assert "redirects to another server (localhost), refused" in (report.error or "")
        assert rig.server.leaked == 0
        faults.clear()
        faults.add("redirect-same")
        assert rig.run().outcome is Outcome.OK
        rig.check_books()


def test_a_bad_key_ends_the_run_at_once(tmp_path: Path) -> None:
    """One request, no retries, an error that says where a key comes from."""
    world = steady(stations=1, sensors=1, hours=72)
    with loading(tmp_path, world) as rig:
        rig.server.keys = ("another",)
        with pytest.raises(AccessDenied, match=r"OPENAQ_API_KEY is refused.*explore\.openaq\.org"):
            rig.run()
        assert rig.server.count() == 1
        assert rig.query("SELECT outcome FROM run") == [("failed",)]


def test_an_unknown_location_is_named(tmp_path: Path) -> None:
    """A number that never existed is a mistake of the configuration, and the error says which."""
    world = steady(stations=1, sensors=1, hours=72)
    with loading(tmp_path, world, locations=[1, 777]) as rig:
        with pytest.raises(NotFound, match=r"sources\.openaq\.locations: 777 does not exist"):
            rig.run()
        rig.configure(locations=[1])
        assert rig.run().outcome is Outcome.OK
        rig.check_books()


def test_a_location_that_is_gone_keeps_its_readings(tmp_path: Path) -> None:
    """The others go on; the run says which one the source has no more."""
    world = steady(stations=2, sensors=1, hours=72)
    with loading(tmp_path, world) as rig:
        rig.run()
        before = rig.stored()
        del world.locations[2], world.sensors[21]
        advance(world, 1)
        report = rig.run()
        assert report.outcome is Outcome.PARTIAL
        assert "2" in "".join(rig.watching.warnings)
        assert rig.stored() == {**rig.truth(), "21": before["21"]}


def test_one_location_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    """Its survey ends in errors: the rest loads, the run is partial and names it."""
    world = steady(stations=3, sensors=2, hours=72)
    faults = Faults()
    faults.add("503", times=3, route="location")
    with loading(tmp_path, world, faults, concurrency=1) as rig:
        report = rig.run()
        assert report.outcome is Outcome.PARTIAL
        assert rig.stored() == {k: v for k, v in rig.truth().items() if k[0] != "1"}
        assert any("station 1" in w and "503" in w for w in rig.watching.warnings)
        assert rig.run().outcome is Outcome.OK
        rig.check_books()
