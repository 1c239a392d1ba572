"""Alerts of `loader run`, as somebody else's schedule starts it: each run is a process of its own."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests import postgres
from tests.acceptance.alerting import TOKENS, scene
from tests.acceptance.trouble import until
from tests.openaq_server import HOUR, SECOND
from tests.receivers import Reply


def test_the_third_run_that_fails_tells_before_it_ends(tmp_path: Path) -> None:
    """One message from four failing processes, one recovery from the fifth with downtime and what
    was caught up; all delivered before the process ends; no secret anywhere."""
    with scene(tmp_path) as it:
        it.run()
        it.break_source()
        for told in (0, 0, 1, 1):
            it.run(code=1)
            assert (len(it.hook.posts), len(it.slack.posts), len(it.mail.mails)) == (told, told, told)
        it.mend()
        newest = it.server.world.sensors[10].times[-1]
        it.server.world.add(10, newest + HOUR // 60, 12.0)
        it.run()
        assert it.told() == [("alert", "failures"), ("recovery", "failures")]
        told_first, over = it.messages()
        assert told_first["severity"] == "critical"
        assert "3 times in a row" in told_first["lines"][0]
        assert "city: 1 new reading was stored since then" in over["lines"]
        calls = [(post.method, post.path.removeprefix(f"/in/{TOKENS[2]}")) for post in it.ping.posts]
        assert calls[:4] == [("GET", "/start"), ("GET", ""), ("GET", "/start"), ("POST", "/fail")]
        it.check_signatures()
        it.check_commands()
        it.check_secrets()


@pytest.mark.slow
@pytest.mark.parametrize(
    "reply",
    [Reply(429, b"", {"Retry-After": "600"}), Reply(500), Reply(reset=True)],
    ids=["429", "500", "reset"],
)
def test_a_later_run_delivers_what_slack_refused(tmp_path: Path, reply: Reply) -> None:
    """The run ends in time with its own exit code; the message waits in the outbox for a run after
    its pause, and comes once."""
    with scene(tmp_path, slack=[reply, Reply()]) as it:
        it.run()
        it.break_source()
        for _ in range(3):
            it.run(code=1)
        assert len(it.hook.posts) == len(it.mail.mails) == len(it.slack.posts) == 1
        it.run(code=1)
        assert len(it.slack.posts) == 1, "its pause is not over"
        it.hurry()
        it.run(code=1)
        it.run(code=1)
        assert len(it.slack.posts) == 2
        assert it.slack.posts[0].json == it.slack.posts[1].json
        assert len(it.hook.posts) == len(it.mail.mails) == 1


@pytest.mark.slow
def test_a_run_killed_while_it_sends_repeats_with_the_same_id(tmp_path: Path) -> None:
    """Slack has it and has not answered; the next run sends it once more."""
    with scene(tmp_path, slack=[Reply(hang=True), Reply()]) as it:
        it.run()
        it.break_source()
        it.run(code=1)
        it.run(code=1)
        third = it.desk.start("run", env=it.env)
        until(lambda: len(it.slack.posts) == 1, "Slack has it")
        third.ask(signal.SIGKILL)
        it.hurry()
        it.run(code=1)
        assert it.slack.posts[0].json == it.slack.posts[1].json
        assert len(it.slack.posts) == 2
        assert len(it.hook.posts) == len(it.mail.mails) == 1


@pytest.mark.slow
def test_sources_without_a_network_are_one_message(tmp_path: Path) -> None:
    """Two sources, nobody listens for either: told once, naming both, well again once."""
    with scene(tmp_path, names=("north", "south")) as it:
        it.run()
        it.server.stop()
        for _ in range(4):
            it.run(code=1)
        it.server.start()
        it.run()
        it.run()
        assert it.told() == [("alert", "failures"), ("recovery", "failures")]
        told, over = it.messages()
        assert told["sources"] == over["sources"] == ["north", "south"]
        assert told["title"] == "north, south: runs keep failing, all by the network"
        it.check_commands()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_store_away_is_told_by_runs_once(tmp_path: Path) -> None:
    """PostgreSQL is stopped over three runs: one message, one recovery by the run that finds it."""
    if reason := postgres.missing():
        pytest.skip(reason)
    with postgres.own_server(postgres.majors()[-1]) as server:
        url = server.create()
        with scene(tmp_path, store=url, rules=", store: 2s") as it:
            it.run()
            server.stop("immediate")
            for told in (0, 1, 1):
                it.run(code=1)
                assert len(it.told()) == told
            server.start()
            it.run()
            it.run()
            assert it.told() == [("alert", "store"), ("recovery", "store")]
            assert (len(it.slack.posts), len(it.mail.mails)) == (2, 2)
            assert postgres.PASSWORD not in str([m["lines"] for m in it.messages()])
            it.check_commands()


@pytest.mark.slow
def test_a_silent_dead_mans_switch_holds_no_run_up_for_long(tmp_path: Path) -> None:
    """It takes calls and answers none: the run ends all the same."""
    with scene(tmp_path, ping=[Reply(hang=True)]) as it:
        it.run()
        assert it.ping.posts


@pytest.mark.slow
def test_limits_are_told_by_the_run_that_sees_them(tmp_path: Path) -> None:
    """Over 55 a warning, over 250 critical, back below a recovery."""
    with scene(tmp_path, more="limits: {pm25: {warning: 55, critical: 250}}") as it:
        sensor = it.server.world.add_sensor(11, 1, 2, 60)
        at = time.time_ns() // 1000 // SECOND * SECOND - 30 * 60 * SECOND
        expected = [(40.0, 0), (60.0, 0), (65.0, 1), (260.0, 1), (270.0, 2), (20.0, 3)]
        for value, told in expected:
            at += 60 * SECOND
            it.server.world.add(sensor.id, at, value)
            it.run()
            assert len(it.told()) == told, f"after {value}"
        kinds = [(m["kind"], m["severity"]) for m in it.messages()]
        assert kinds == [("alert", "warning"), ("alert", "critical"), ("recovery", "critical")]
        levels = it.desk.rows("SELECT level, peak FROM limit_event WHERE to_time IS NOT NULL ORDER BY 1")
        assert levels == [("critical", 270.0), ("warning", 270.0)]
        it.check_commands()
