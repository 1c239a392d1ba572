"""Alerts of a running daemon, from real trouble to real receivers."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests import postgres
from tests.acceptance.alerting import SIGNING, TOKENS, city, scene
from tests.acceptance.trouble import until
from tests.openaq_server import HOUR, SECOND
from tests.receivers import Receiver, Reply


@pytest.mark.slow
def test_three_failures_are_told_once_through_every_channel(tmp_path: Path) -> None:
    """One critical message and one recovery in Slack, mail and webhook, though six runs fail; they
    say what to know at night, and hold no secret; the dead man's switch hears of each run."""
    with scene(tmp_path) as it:
        one = it.daemon()
        one.running.until("run ok")
        it.break_source()
        one.running.until("run failed", times=6)
        told = it.until_told(1)
        it.mend()
        over = it.until_told(2)
        one.running.ask(signal.SIGTERM)
        assert it.told() == [("alert", "failures"), ("recovery", "failures")]
        assert (len(it.slack.posts), len(it.mail.mails)) == (2, 2)

        assert (told["severity"], told["title"]) == ("critical", "city: runs keep failing")
        text = "\n".join(told["lines"])
        ((first,),) = it.desk.rows("SELECT min(started) FROM run WHERE outcome = 'failed'")
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(first / SECOND))
        for part in (since, "3 times in a row", "500 Internal Server Error", "lost: nothing"):
            assert part in text
        downtime = over["lines"][0]
        assert since in downtime
        assert "for " in downtime
        assert "city: 0 new readings were stored since then" in over["lines"]

        header = it.slack.posts[0].json["blocks"][0]["text"]["text"]
        assert header == "🔴 city: runs keep failing"
        mail = it.mail.mails[0]
        assert (mail.encrypted, mail.user) == (True, "loader")
        assert mail.message["Subject"] == "[critical] city: runs keep failing"
        for kind in ("plain", "html"):
            assert told["lines"][1] in mail.part(kind)
            assert told["command"] in mail.part(kind)
        calls = [(post.method, post.path.removeprefix(f"/in/{TOKENS[2]}")) for post in it.ping.posts]
        assert calls[:4] == [("GET", "/start"), ("GET", ""), ("GET", "/start"), ("POST", "/fail")]
        it.check_signatures()
        it.check_commands()
        it.check_secrets()


@pytest.mark.slow
def test_mute_list_and_history_beside_a_daemon(tmp_path: Path) -> None:
    """Muted it says nothing and shows the state; unmuted it tells what lasts; history knows it."""
    with scene(tmp_path) as it:
        one = it.daemon()
        one.running.until("run ok")
        it.desk.loader("alerts", "mute", "city", "--for", "1h", "--reason", "moving house", env=it.env)
        it.break_source()
        one.running.until("run failed", times=4)
        until(lambda: it.desk.rows("SELECT phase FROM alert") == [("alerting",)], "it is an alert")
        assert it.told() == []
        shown = it.desk.loader("alerts", "list", env=it.env).out
        assert "failures" in shown
        assert "moving house" in shown
        it.desk.loader("alerts", "unmute", "city", env=it.env)
        assert it.until_told(1)["title"] == "city: runs keep failing"
        one.running.until('"event": "alert.delivered"', times=3)
        history = it.desk.loader("alerts", "history", "--json", env=it.env).out
        assert history.count(it.messages()[0]["id"]) >= 1
        assert not [secret for secret in (*TOKENS, SIGNING) if secret in history]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_after_each_run_neither_repeats_nor_forgets(tmp_path: Path, how: signal.Signals) -> None:
    """Each run is another daemon's: the third failure is told, the two after it are not, the
    recovery is."""
    with scene(tmp_path, every="1h") as it:

        def one_run(ends: str, messages: int) -> None:
            # A run that is not due: what was done lies more than an hour back.
            with_past = "UPDATE run SET started = started - {0}, finished = finished - {0}"
            if it.said:
                it.desk.execute(with_past.format(3601 * SECOND))
            one = it.daemon()
            one.running.until(ends)
            if messages:
                it.until_told(messages)
            until(
                lambda: it.desk.rows("SELECT count(*) FROM outbox WHERE delivered_at IS NULL") == [(0,)],
                "all is delivered",
            )
            one.running.ask(how)

        one_run("run ok", 0)
        it.break_source()
        for messages in (0, 0, 1, 1, 1):
            one_run("run failed", messages)
        it.mend()
        one_run("run ok", 2)
        one_run("run ok", 2)
        kinds = [m["kind"] for m in it.messages() if m["rule"] == "failures"]
        assert kinds == ["alert", "recovery"]


@pytest.mark.slow
def test_a_kill_between_sending_and_noting_repeats_with_the_same_id(tmp_path: Path) -> None:
    """The receiver has it and has not answered; it comes once more, and is known as the same."""
    with scene(tmp_path, slack=[Reply(hang=True), Reply()]) as it:
        one = it.daemon()
        one.running.until("run ok")
        it.break_source()
        until(lambda: len(it.slack.posts) == 1, "Slack has the message")
        one.running.ask(signal.SIGKILL)
        it.hurry()
        two = it.daemon("two")
        it.until_told(1)
        until(lambda: len(it.slack.posts) == 2, "it comes again")
        two.running.until("run failed", times=3)
        two.running.ask(signal.SIGTERM)
        first, again = (post.json for post in it.slack.posts)
        assert first == again
        assert len(it.hook.posts) == len(it.mail.mails) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "pause_s"),
    [
        (Reply(429, b"rate_limited", {"Retry-After": "600"}), 600),
        (Reply(500, b"slacktoken77aa is in trouble"), 30),
        (Reply(reset=True), 30),
        (Reply(hang=True), 30),
    ],
    ids=["429", "500", "reset", "hang"],
)
def test_slack_in_trouble_gets_it_later_once_and_delays_no_run(
    tmp_path: Path, reply: Reply, pause_s: int
) -> None:
    """The others are told, runs go on meanwhile, and Slack has it once it answers."""
    with scene(tmp_path, slack=[reply, Reply()]) as it:
        one = it.daemon()
        one.running.until("run ok")
        broken = time.time()
        it.break_source()
        until(lambda: len(it.slack.posts) == 1, "Slack is asked")
        before = len(it.desk.rows("SELECT id FROM run"))
        until(lambda: bool(it.desk.rows("SELECT 1 FROM outbox WHERE tries = 1 AND error > ''")), "noted")
        runs = len(it.desk.rows("SELECT id FROM run")) - before
        assert runs >= 2 or not reply.hang
        ((wait,),) = it.desk.rows("SELECT next_try FROM outbox WHERE channel = 'slack'")
        assert broken <= wait / SECOND - pause_s <= time.time()
        until(lambda: len(it.hook.posts) == len(it.mail.mails) == 1, "the others are told")
        it.hurry()
        it.until_told(1)
        until(lambda: len(it.slack.posts) == 2, "Slack has it")
        one.running.until("run failed", times=6)
        it.mend()
        it.until_told(2)
        one.running.ask(signal.SIGTERM)
        kinds = [post.json["text"].split(":")[0] for post in it.slack.posts]
        assert kinds == ["🔴 critical", "🔴 critical", "🟢 recovered"]
        it.check_secrets()


class Back(Receiver):
    """A receiver on a port where nobody listened until now."""

    def __init__(self, port: int) -> None:
        super().__init__()
        served = self._server
        served.server_close()
        self._server = type(served)(("127.0.0.1", port), served.RequestHandlerClass)
        self.port, self.url = port, f"http://127.0.0.1:{port}"


@pytest.mark.slow
def test_what_could_not_be_delivered_is_after_a_restart(tmp_path: Path) -> None:
    """The receiver is not there; hours and a restart later it is, and has message and recovery of
    nothing it was not told of."""
    with Receiver() as gone:
        port = gone.port
    with scene(tmp_path) as it:
        it.desk.config.write_text(it.desk.config.read_text().replace(str(it.slack.port), str(port)))
        one = it.daemon()
        one.running.until("run ok")
        it.break_source()
        one.running.until("alert.undelivered")
        one.running.ask(signal.SIGTERM)
        ((tries, error),) = it.desk.rows("SELECT tries, error FROM outbox WHERE channel = 'slack'")
        assert tries >= 1
        assert "refused" in error
        with Back(port) as back:
            it.hurry()
            two = it.daemon("two")
            until(lambda: len(back.posts) == 1, "the message has arrived")
            it.mend()
            until(lambda: len(back.posts) == 2, "the recovery has arrived")
            two.running.ask(signal.SIGTERM)
            texts = [post.json["text"] for post in back.posts]
        assert texts[0].startswith("🔴 critical")
        assert texts[1].startswith("🟢 recovered")
        assert it.told() == [("alert", "failures"), ("recovery", "failures")]


@pytest.mark.slow
def test_sources_without_a_network_are_one_message(tmp_path: Path) -> None:
    """Nobody listens for either source: one message, one recovery."""
    with scene(tmp_path, names=("north", "south")) as it:
        one = it.daemon()
        one.running.until("run ok", times=2)
        it.server.stop()
        told = it.until_told(1)
        one.running.until("run failed", times=10)
        it.server.start()
        over = it.until_told(2)
        one.running.until("run ok", times=6)
        one.running.ask(signal.SIGTERM)
        assert it.told() == [("alert", "failures"), ("recovery", "failures")]
        assert {"name": "in common", "value": "the network"} in told["facts"]
        assert over["sources"] == ["north", "south"]
        it.check_commands()


@pytest.mark.slow
def test_a_store_away_is_told_past_it_once_over_a_restart(tmp_path: Path) -> None:
    """PostgreSQL stops: one message through the spool, none more after a restart, one recovery."""
    if reason := postgres.missing():
        pytest.skip(reason)
    with postgres.own_server(postgres.majors()[-1]) as server:
        url = server.create()
        with scene(tmp_path, store=url, rules=", store: 2s") as it:
            one = it.daemon()
            one.running.until("run ok", times=2)
            server.stop("immediate")
            told = it.until_told(1)
            assert (told["rule"], told["severity"], told["sources"]) == ("store", "critical", [])
            one.running.ask(signal.SIGKILL)
            two = it.daemon()
            two.running.until("store.trouble")
            began = time.monotonic()
            # Two looks of the herald: one at its start, one 15 s later at the latest.
            until(lambda: time.monotonic() - began > 17, "it has looked again")
            assert it.told() == [("alert", "store")]
            server.start()
            it.until_told(2)
            two.running.until("run ok", times=2)
            it.check_commands()
            two.running.ask(signal.SIGTERM)
            ours = [t for t in it.told() if t[1] != "missed"]
            assert ours == [("alert", "store"), ("recovery", "store")]
            said = "\n".join([*told["lines"], "".join(one.running._err), "".join(two.running._err)])
            assert postgres.PASSWORD not in said
            assert "nothing is lost" in said


@pytest.mark.slow
def test_values_beyond_a_limit_are_told_rise_and_end(tmp_path: Path) -> None:
    """Over 55 a warning, over 250 critical, back below a recovery, and the events are on record."""
    world = city()
    more = "limits: {pm25: {warning: 55, critical: 250}}"
    now = time.time_ns() // 1000 // SECOND * SECOND
    minute = iter(range(now - 20 * 60 * SECOND, now, 60 * SECOND))
    world.add_location(next(iter(world.locations.values())))
    world.add_sensor(11, 1, 1, 60)
    with scene(tmp_path, world, more=more.replace("pm25", "pm10")) as it:

        def smoke(*values: float) -> None:
            for value in values:
                world.add(11, next(minute), value)

        smoke(40.0, 45.0, 50.0)
        one = it.daemon()
        one.running.until("run ok")
        smoke(58.0, 62.0)
        told = it.until_told(1)
        smoke(258.0, 280.0)
        worse = it.until_told(2)
        smoke(20.0)
        it.until_told(3)
        one.running.ask(signal.SIGTERM)
        assert it.told() == [("alert", "limit"), ("alert", "limit"), ("recovery", "limit")]
        assert (told["severity"], worse["severity"]) == ("warning", "critical")
        assert told["subjects"] == ["1 Harlem River pm10 (11)"]
        assert "62" in told["lines"][0]
        assert "280" in worse["lines"][0]
        events = it.desk.rows(
            "SELECT level, threshold, peak, to_time IS NULL FROM limit_event ORDER BY threshold"
        )
        assert events == [("warning", 55.0, 280.0, 0), ("critical", 250.0, 280.0, 0)]
        it.check_commands()


@pytest.mark.slow
def test_a_station_that_stops_sending_is_named_alone(tmp_path: Path) -> None:
    """Both send every second, then one does not: one warning naming that one, though the other
    goes on; it sends again, and it is over."""
    world = city(hours=0)
    now = time.time_ns() // 1000 // SECOND * SECOND
    for number, seconds in ((10, 90), (20, 8)):
        world.sensors[number].cadence_s = 1
        for i in range(-30, seconds):
            world.add(number, now + i * SECOND, 10.0 + i % 5)
    with scene(tmp_path, world, initial="1h", lookback="1s") as it:
        one = it.daemon()
        one.running.until("run ok")
        told = it.until_told(1)
        for i in range(60):
            world.add(20, time.time_ns() // 1000 // SECOND * SECOND + i * SECOND, 11.0)
        it.until_told(2)
        one.running.ask(signal.SIGTERM)
        assert it.told() == [("alert", "freshness"), ("recovery", "freshness")]
        assert (told["severity"], told["subjects"]) == ("warning", ['2 Accra "Post" <b>'])
        assert "Accra" in told["title"]
        it.check_commands()


@pytest.mark.slow
def test_a_fresh_install_that_loads_its_history_is_not_silent(tmp_path: Path) -> None:
    """What it has so far is months old; another source ends runs meanwhile, so the rules are looked
    at; nobody is told anything."""
    with scene(tmp_path, city(hours=24 * 400), initial="400d") as it:
        text = it.desk.config.read_text()
        other = "  demo: {type: simulator, initial: 2h, schedule: {every: 1s}}\nalerts:"
        it.desk.config.write_text(text.replace("alerts:", other))
        it.server.faults.add("latency", route="measurements", seconds=5)
        one = it.daemon()
        one.running.until("run ok", times=1)
        stored = "SELECT count(*) FROM series WHERE source = 'city' AND last_time IS NOT NULL"
        until(lambda: it.desk.rows(stored) != [(0,)], "a part of the history is stored")
        before = it.desk.rows("SELECT count(*) FROM run WHERE source = 'demo'")[0][0]
        one.running.until("run ok", times=before + 3)
        assert it.desk.rows("SELECT outcome FROM run WHERE source = 'city'") == [(None,)]
        one.running.ask(signal.SIGTERM)
        two = it.daemon("two")
        two.running.until("run ok", times=3)
        two.running.ask(signal.SIGTERM)
        assert it.desk.rows("SELECT outcome FROM run WHERE source = 'city' AND outcome = 'ok'") == []
        assert "freshness" not in {rule for _, rule in it.told()}


@pytest.mark.slow
def test_silence_while_no_loader_ran_is_not_the_stations(tmp_path: Path) -> None:
    """Seven hours off: before its first run ends, and after it, no station is called silent; the
    runs that did not take place are told, once."""
    with scene(tmp_path, missed=True) as it:
        one = it.daemon()
        one.running.until("run ok")
        one.running.ask(signal.SIGTERM)
        off = 7 * HOUR
        it.desk.execute(f"UPDATE run SET started = started - {off}, finished = finished - {off}")
        it.desk.execute(f"UPDATE series SET last_time = last_time - {off}")
        now = time.time_ns() // 1000 // SECOND * SECOND
        for number in (10, 20):
            it.server.world.add(number, now, 11.0)
        it.server.faults.add("latency", times=4, seconds=2)
        two = it.daemon("two")
        two.running.until("run ok", times=3)
        two.running.ask(signal.SIGTERM)
        assert it.desk.rows("SELECT rule FROM alert WHERE rule = 'freshness'") == []
        assert {rule for _, rule in it.told()} == {"missed"}
        assert it.told().count(("alert", "missed")) == 1
        it.check_commands()


@pytest.mark.slow
def test_a_station_that_keeps_failing_is_the_subject(tmp_path: Path) -> None:
    """The runs are partial: the message names the station, not the source."""
    with scene(tmp_path, rules=", error_rate: {enabled: false}") as it:
        one = it.daemon()
        one.running.until("run ok")
        it.break_source(sensor=20)
        now = time.time_ns() // 1000
        for i in range(20):
            it.server.world.add(20, now + i * SECOND, 12.0)
        told = it.until_told(1)
        it.mend()
        assert (told["rule"], told["sources"]) == ("failures", ["city"])
        assert told["subjects"] == ['2 Accra "Post" <b>']
        assert told["title"] == 'city: a station keeps failing (2 Accra "Post" <b>)'
        it.check_commands()
        one.running.ask(signal.SIGTERM)


@pytest.mark.slow
def test_a_silent_dead_mans_switch_delays_nothing(tmp_path: Path) -> None:
    """It takes calls and answers none: runs go on, messages go out, the end is in time."""
    with scene(tmp_path, ping=[Reply(hang=True)]) as it:
        one = it.daemon()
        one.running.until("run ok", times=4)
        assert len(it.ping.posts) == 1
        it.break_source()
        it.until_told(1)
        one.running.ask(signal.SIGTERM)
        assert one.running.end().code == 0
