"""From a run to what is found out about its readings, and to whoever is told."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.acceptance.alerting import STATIONS, scene
from tests.acceptance.daemons import daemon
from tests.acceptance.trouble import Desk, demo, desk, until
from tests.openaq_server import HOUR, Location, World

TABLES = ("quality", "cadence", "drift", "standing", "anomaly")
SENSOR = 10


def counts(at: Desk) -> dict[str, int]:
    return {table: at.rows(f"SELECT count(*) FROM {table}")[0][0] for table in (*TABLES, "pending")}


def test_a_run_is_assessed(tmp_path: Path) -> None:
    """Every series of the simulator has its days, its cadence, a comparison and its standings; a backfill
    adds the days before."""
    with desk(tmp_path, demo(initial="40d")) as it:
        it.loader("run")
        found = counts(it)
        series = it.rows("SELECT count(*) FROM series")[0][0]
        assert series == 18
        assert found["quality"] >= 40 * series
        assert (found["cadence"], found["drift"], found["standing"]) == (series, series, 3 * series)
        assert found["pending"] == 0
        assert it.rows("SELECT DISTINCT score FROM quality") == [(100.0,)]
        it.loader("backfill", "--since", "50d", "--until", "40d")
        assert counts(it)["quality"] >= 49 * series
        assert counts(it)["pending"] == 0


@pytest.mark.slow
def test_a_loader_killed_before_it_assesses_is_made_up_for(tmp_path: Path) -> None:
    """Killed by SIGKILL between run and assessment, the readings stand and wait; the next run finds
    all that an undisturbed one does."""
    tables = [
        "SELECT * FROM quality ORDER BY 1, 2",
        "SELECT * FROM cadence ORDER BY 1, 2",
        "SELECT * FROM standing ORDER BY 1, 2",
    ]
    with desk(tmp_path, demo(initial="2026-01-01")) as it:
        dead = subprocess.run(
            [sys.executable, "-m", "tests.acceptance.killed_before_assessing", "run"],
            cwd=it.folder,
            env=it.environment({}),
            capture_output=True,
            check=False,
        )
        assert dead.returncode == -9
        assert it.rows("SELECT outcome FROM run") == [("ok",)]
        found = counts(it)
        assert found.pop("pending") == 18
        assert not any(found.values())
        it.loader("run")
        late = [it.rows(sql) for sql in tables]
        newest = it.rows("SELECT max(time) FROM reading")
        assert counts(it)["pending"] == 0
    (tmp_path / "other").mkdir()
    with desk(tmp_path / "other", demo(initial="2026-01-01")) as it:
        it.loader("run")
        if it.rows("SELECT max(time) FROM reading") != newest:
            pytest.skip("the hour has changed between the two loads")
        assert [it.rows(sql) for sql in tables] == late


@pytest.mark.slow
def test_a_daemon_assesses_and_shows_it(tmp_path: Path) -> None:
    """Its runs leave nothing pending, and what it is asked to fill in is assessed as well; the figures say
    so."""
    with desk(tmp_path, demo(initial="30d").replace("latency", "schedule: {every: 1h}\n    latency")) as it:
        one = daemon(it)
        one.running.until("run ok")
        until(lambda: counts(it)["standing"] == 54 and counts(it)["pending"] == 0, "all is assessed")
        days = counts(it)["quality"]
        it.loader("backfill", "--source", "demo", "--since", "60d", "--until", "30d")
        until(lambda: counts(it)["quality"] > days + 18 * 28, "the older days are assessed")
        until(lambda: one.metric('loader_pending_series{source="demo"}') == 0, "nothing is pending")
        assert one.metric('loader_anomalous_series{source="demo"}') == 0
        one.running.ask(signal.SIGTERM)
        assert counts(it)["anomaly"] == 0


def world() -> tuple[World, int]:
    """Two stations of hourly readings that end ten days ago, and when that is."""
    made = World()
    top = time.time_ns() // 1000 // HOUR * HOUR - 240 * HOUR
    for number, name in STATIONS.items():
        made.add_location(Location(number, name, "UTC", 40.0 + number, -73.0))
        made.add_sensor(number * SENSOR, number, 2)
        times = [top - i * HOUR for i in range(840)]
        made.extend(number * SENSOR, [(t, 10.0 + i % 7, t) for i, t in enumerate(times)])
    return made, top


def go_on(made: World, top: int, hours: range) -> None:
    """More hours of both stations, the first one's eight times as high."""
    for number in STATIONS:
        rows = [(top + i * HOUR, (10.0 + i % 7) * (8 if number == 1 else 1)) for i in hours]
        made.extend(number * SENSOR, [(t, value, t) for t, value in rows])


@pytest.mark.slow
def test_a_shift_is_told_as_anomalies_and_as_drift(tmp_path: Path) -> None:
    """One sensor reads eight times as much from one day on: a message each, naming series and figures;
    the sensor beside it is not named, and runs that bring nothing new say nothing more."""
    made, top = world()
    with scene(tmp_path, made, initial="60d", rules=", freshness: {enabled: false}") as it:
        it.run()
        assert it.told() == []
        assert counts(it.desk)["anomaly"] == 0
        go_on(it.server.world, top, range(1, 25))
        it.run()
        assert it.told() == [("alert", "anomaly")]
        go_on(it.server.world, top, range(25, 240))
        it.run()
        assert it.told()[1:] == [("alert", "drift")]
        told = {message["rule"]: message for message in it.messages()}
        for message in told.values():
            assert len(message["subjects"]) == 1
            assert "Harlem River pm25" in message["subjects"][0]
        (line,) = [line for line in told["anomaly"]["lines"] if "robust_zscore" in line]
        assert "was expected" in line
        assert "median moved by" in told["drift"]["lines"][0]
        it.run()
        it.run()
        assert [kind for kind, _ in it.told()].count("alert") == 2
        assert counts(it.desk)["anomaly"] > 10
        it.check_commands()
