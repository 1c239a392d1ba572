"""The daemon as a process: it loads on schedule, stops, reloads, and waits for a good configuration."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.acceptance.daemons import daemon
from tests.acceptance.trouble import desk, until

CONFIG = """
store: sqlite:///loader.db
sources:
  demo:
    type: simulator
    cadence: 1m
    initial: 1d
    latency: {latency}
    schedule: {schedule}
{more}
"""


def config(schedule: str = "{every: 1s}", latency: str = "0s", more: str = "") -> str:
    return CONFIG.format(schedule=schedule, latency=latency, more=more)


def test_it_loads_on_schedule_and_ends_with_0(tmp_path: Path) -> None:
    """Several runs, each on record with its trigger; SIGTERM ends it well within the grace."""
    with desk(tmp_path, config()) as made:
        one = daemon(made)
        one.until_ready()
        one.running.until("run ok", times=3)
        one.running.ask(signal.SIGTERM)
        assert one.running.end().code == 0
        made.check_sums()
        triggers = [t for (t,) in made.rows('SELECT "trigger" FROM run ORDER BY id')]
        assert triggers[:2] == ["start", "schedule"]
        assert not (tmp_path / "one.json").exists()


def test_a_signal_in_the_middle_of_a_run_ends_it_within_the_grace(tmp_path: Path) -> None:
    """The run is on record as interrupted, what was committed is there, the next run has the rest."""
    slow = config(schedule="{every: 1h}", latency="100ms").replace("1d", "10d")
    with desk(tmp_path, slow) as made:
        one = daemon(made)
        one.running.until("run begins")
        until(lambda: made.rows("SELECT count(*) FROM batch") > [(0,)], "a batch")
        one.running.ask(signal.SIGTERM)
        assert one.running.end().code == 0
        assert made.rows("SELECT outcome FROM run") == [("interrupted",)]
        made.check_sums()
        made.config.write_text(config(schedule="{every: 1h}").replace("1d", "10d"))
        two = daemon(made)
        two.running.until("run ok")
        two.running.ask(signal.SIGTERM)
        made.check_sums()
        assert made.rows('SELECT "trigger", outcome FROM run ORDER BY id') == [
            ("start", "interrupted"),
            ("catch-up", "ok"),
        ]


@pytest.mark.slow
def test_a_run_still_at_work_makes_the_next_one_skipped(tmp_path: Path) -> None:
    """It is never started twice, and the one left out is on record."""
    with desk(tmp_path, config(latency="400ms")) as made:
        one = daemon(made)
        one.running.until("run skipped")
        one.running.until("run ok")
        one.running.ask(signal.SIGTERM)
        ((why,),) = made.rows("SELECT DISTINCT error FROM run WHERE outcome = 'skipped'")
        assert why == "the run before it was still at work"
        made.check_sums()


def test_after_an_outage_there_is_one_catch_up_run_and_a_row_for_each_missed_one(tmp_path: Path) -> None:
    """Six hours without a loader on an hourly schedule: no run of them is made up for singly."""
    with desk(tmp_path, config(schedule="{every: 1h}")) as made:
        one = daemon(made)
        one.running.until("run ok")
        one.running.ask(signal.SIGTERM)
        made.execute("UPDATE run SET started = started - 21600000000, finished = finished - 21600000000")
        two = daemon(made)
        two.running.until("run ok")
        two.running.ask(signal.SIGTERM)
        outcomes = made.rows('SELECT "trigger", outcome, count(*) FROM run GROUP BY 1, 2 ORDER BY 1, 2')
        assert [o[:2] for o in outcomes] == [("catch-up", "ok"), ("schedule", "missed"), ("start", "ok")]
        assert outcomes[1][2] in (5, 6)


def test_a_hangup_reads_the_configuration_again_and_refuses_a_bad_one(tmp_path: Path) -> None:
    """The bad one is named with file and line and the old one stays; the good one is followed."""
    with desk(tmp_path, config(schedule="{every: 1h}")) as made:
        one = daemon(made)
        one.running.until("run ok")
        made.config.write_text(config(schedule="{every: soon}"))
        one.running.process.send_signal(signal.SIGHUP)
        one.running.until("config.yaml:9:")
        assert one.ask("/readyz").status == 200
        made.config.unlink()
        one.running.process.send_signal(signal.SIGHUP)
        one.running.until("there is no such file")
        more = "  other: {type: simulator, initial: 1d, schedule: {every: 1h}}"
        made.config.write_text(config(schedule="{every: 1s}", more=more))
        one.running.process.send_signal(signal.SIGHUP)
        one.running.until("configuration loaded")
        one.running.until("run ok", times=4)
        one.running.ask(signal.SIGTERM)
        assert made.rows("SELECT DISTINCT source FROM run ORDER BY 1") == [("demo",), ("other",)]


def test_a_bad_configuration_ends_it_with_78(tmp_path: Path) -> None:
    """As every other command."""
    with desk(tmp_path, config(schedule="{every: soon}")) as made:
        said = daemon(made).running.end()
        assert said.code == 78
        assert "config.yaml:9:" in said.err


def test_without_a_source_that_can_run_it_ends_with_78(tmp_path: Path) -> None:
    """It would do nothing for ever; the reason is named."""
    with desk(tmp_path, "sources: {openaq: {type: openaq, locations: [1]}}") as made:
        said = daemon(made).running.end()
        assert said.code == 78
        assert "no source can run: openaq: no API key" in said.err


def test_it_waits_for_a_good_configuration_where_it_is_told_to(tmp_path: Path) -> None:
    """It says why it is not ready, to the health check too, and is as soon as the file is mended."""
    with desk(tmp_path, config(schedule="{every: soon}")) as made:
        one = daemon(made, env={"LOADER_AWAIT_CONFIG": "1"})
        until(lambda: "config.yaml:9:" in one.ask("/readyz").text, "it says what is wrong")
        assert one.ask("/readyz").status == 503
        assert one.ask("/livez").status == 200
        health = ("health", "--file", "one.json")
        until(lambda: "config.yaml:9:" in made.loader(*health, code=None).err, "the health check says it")
        made.loader(*health, code=1)
        made.config.write_text(config())
        one.until_ready()
        one.running.until("run ok")
        made.loader(*health, code=0)
        one.running.ask(signal.SIGTERM)
        assert one.running.end().code == 0


def test_a_store_that_cannot_be_used_ends_it_with_1(tmp_path: Path) -> None:
    """What only a person can put right is said and not tried for ever."""
    (tmp_path / "loader.db").write_text("this is no database, whatever its name says" * 30)
    with desk(tmp_path, config()) as made:
        said = daemon(made).running.end()
        assert said.code == 1
        assert "is not a SQLite database" in said.err


@pytest.mark.slow
def test_a_stuck_run_ends_it_with_70(tmp_path: Path) -> None:
    """Nothing moves for longer than allowed: it ends, to be started anew."""
    more = "daemon: {watchdog: {run: 2s}}"
    with desk(tmp_path, config(latency="1h", more=more)) as made:
        one = daemon(made)
        one.running.process.wait(30)
        assert one.running.process.returncode == 70


def test_metrics_tell_what_it_did(tmp_path: Path) -> None:
    """Zero before, counted after."""
    with desk(tmp_path, config(schedule="{every: 1h}")) as made:
        one = daemon(made)
        one.running.until("run ok")
        until(
            lambda: one.metric('loader_runs_total{outcome="ok",source="demo"}') == 1, "the run is counted"
        )
        ((rows,),) = made.rows("SELECT count(*) FROM reading")
        assert one.metric('loader_readings_total{kind="new",source="demo"}') == rows
        assert one.metric('loader_runs_total{outcome="failed",source="demo"}') == 0
        until(
            lambda: one.metric('loader_next_run_timestamp_seconds{source="demo"}') > 1e9,
            "the next is known",
        )
        one.running.ask(signal.SIGTERM)


def test_the_command_line_overrides_the_schedule(tmp_path: Path) -> None:
    """--every and --source; what is no schedule is refused."""
    with desk(tmp_path, config(schedule="{every: 1d}")) as made:
        one = daemon(made, "--every", "1s", "--source", "demo")
        one.running.until("run ok", times=2)
        one.running.ask(signal.SIGTERM)
        assert "is not a duration" in made.loader("daemon", "--every", "soon", code=2).err
        assert (
            "exclude each other" in made.loader("daemon", "--every", "1h", "--cron", "@daily", code=2).err
        )
        assert "crontab" in made.loader("daemon", "--cron", "* *", code=2).err
