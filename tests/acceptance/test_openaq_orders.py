"""What a user asks of the command line over a real server: backfills, stretches, choices, dry runs,
summaries; and that the key shows up nowhere."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.acceptance.openaq_run import STORES, Rig, hourly, loading
from tests.openaq_server import DAY, HOUR, KEY, Faults, Location, OpenAQServer, World
from tests.openaq_server.render import dumps
from tests.openaq_server.request import Answer
from tests.openaq_server.server import Asked, Strike
from tests.openaq_server.world import MINUTE

STATIONS, SENSORS = 2, 2


def recent(days: int, stations: int = STATIONS) -> World:
    """Hourly sensors 11, 12 of station 1, 21, 22 of station 2 until half an hour ago, by the real clock:
    no reading passes the edge of a window while a test lasts."""
    end = (time.time_ns() // 1000 - HOUR // 2) // MINUTE * MINUTE
    world = World()
    for station in range(1, stations + 1):
        world.add_location(Location(station, f"Station {station}", "Europe/London", 51.5, -0.1))
        for n in range(1, SENSORS + 1):
            world.add_sensor(10 * station + n, station, n)
            hourly(world, 10 * station + n, end - days * DAY, days * 24, value=float(n))
    return world


def commits(process: subprocess.Popen[str], times: int) -> None:
    """Return when the log has told of so many commits."""
    assert process.stderr is not None
    for line in process.stderr:
        times -= line.startswith("{") and json.loads(line)["event"] == "commit.end"
        if times == 0:
            return
    pytest.fail("the process ended before")


@pytest.mark.slow
def test_a_killed_backfill_continues_where_it_was(tmp_path: Path) -> None:
    """A year is loaded in spite of a SIGKILL, nothing is read twice, and the watermarks stay."""
    world = recent(days=364, stations=1)
    faults = Faults()
    with loading(tmp_path, world, faults, initial="2d") as rig:
        rig.loader("run")
        marks = rig.watermarks()
        slow = faults.add("latency", seconds=0.05)
        small = "tests.acceptance.small_batches"
        process = rig.start("backfill", "--since", "365d", "--log-level", "debug", module=small)
        commits(process, 6)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        faults.remove(slow)
        stored = {sensor: set(rows) for sensor, rows in rig.stored().items()}
        assert 2000 < sum(map(len, stored.values())) < 2 * 364 * 24
        assert rig.watermarks() == marks
        rig.server.forget_requests()
        (report,) = json.loads(rig.loader("backfill", "--since", "365d", "--json").out)
        assert report["counts"]["new"] == 2 * 364 * 24 - sum(map(len, stored.values()))
        assert report["counts"]["refetched"] < 10
        assert rig.watermarks() == marks
        rig.check_books()
        rig.server.forget_requests()
        rig.loader("backfill", "--since", "365d")
        assert len(rig.asked()) <= 2, "what is covered was asked for again"


def test_a_stretch_is_read_again_on_request(tmp_path: Path) -> None:
    """A value that changed long ago is found with --since and --until, and by nothing before."""
    world = recent(days=30)
    with loading(tmp_path, world, initial="30d") as rig:
        rig.loader("run")
        changed = world.sensors[11].times[-20 * 24]
        world.revise(11, changed, 777.0, since=0)
        rig.loader("run")
        assert rig.stored()["11"][changed] != 777.0
        out = rig.loader("run", "--since", "21d", "--until", "19d", "--json").out
        (report,) = json.loads(out)
        assert (report["counts"]["revised"], report["counts"]["new"]) == (1, 0)
        assert rig.stored()["11"][changed] == 777.0
        rig.check_books()


def test_stations_and_sensors_can_be_chosen(tmp_path: Path) -> None:
    """--location and --only read those and no others; a name that nothing has is refused."""
    world = recent(days=3)
    with loading(tmp_path, world) as rig:
        rig.loader("run", "--only", "12")
        assert rig.stored().keys() == {"12"}
        rig.loader("run", "--location", "2")
        assert rig.stored().keys() == {"12", "21", "22"}
        err = rig.loader("run", "--location", "3", code=2).err
        assert "has no station or sensor 3; its stations: 1, 2" in err
        rig.loader("run")
        rig.check_books()


def test_stations_come_and_go_with_the_configuration(tmp_path: Path) -> None:
    """One that is added is loaded from its beginning, one that is taken out keeps its readings and
    costs nothing any more."""
    world = recent(days=3)
    with loading(tmp_path, world, locations=[1]) as rig:
        rig.loader("run")
        rig.configure(locations=[1, 2])
        rig.loader("run")
        rig.check_books()
        rig.configure(locations=[2])
        rig.server.forget_requests()
        rig.loader("run")
        assert rig.server.requests == {("latest", 200): 1}
        rig.check_books()


def test_a_backfill_may_come_first(tmp_path: Path) -> None:
    """Before any run it loads what it is asked for; the first run then begins at `initial`."""
    world = recent(days=20)
    with loading(tmp_path, world, initial="2d") as rig:
        rig.loader("backfill", "--since", "15d", "--until", "10d")
        assert set(rig.watermarks().values()) == {None}
        rig.loader("run")
        now = world.now
        spans = ((now - 15 * DAY, now - 10 * DAY), (now - 2 * DAY, now))
        for sensor, rows in rig.stored().items():
            wanted = [t for t in rig.truth()[sensor] if any(start < t <= end for start, end in spans)]
            assert sorted(rows) == wanted
        rig.loader("backfill", "--since", "21d")
        rig.check_books()


def dump(rig: Rig) -> list[str]:
    """Everything in the database but the request budget."""
    with closing(sqlite3.connect(rig.folder / "loader.db")) as db:
        return [line for line in db.iterdump() if 'INTO "budget"' not in line]


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    """It fetches, checks and counts, and leaves every table as it was."""
    world = recent(days=3)
    with loading(tmp_path, world) as rig:
        empty = dump(rig)
        said = rig.loader("run", "--dry-run", "--json")
        (report,) = json.loads(said.out)
        assert (report["id"], report["outcome"], report["counts"]["fetched"]) == (0, "ok", 4 * 72)
        assert dump(rig) == empty
        assert "nothing was written" in rig.loader("run", "--dry-run").err


def test_a_summary_is_appended_for_every_run(tmp_path: Path) -> None:
    """A Markdown table with the outcome and the counts, for the page of a scheduled job."""
    world = recent(days=3)
    with loading(tmp_path, world) as rig:
        for _ in range(2):
            rig.loader("run", "--summary", "summary.md")
        text = (tmp_path / "summary.md").read_text(encoding="utf-8")
        rows = [line for line in text.splitlines() if line.startswith("| openaq | ok | ")]
        assert [row.split(" | ")[2] for row in rows] == ["288", "0"]


@pytest.mark.parametrize("store", STORES)
def test_exit_codes_tell_how_a_run_ended(tmp_path: Path, store: str) -> None:
    """0 ok, 3 partial, 1 failed, each with a line that says why, on either store."""
    world = recent(days=3)
    faults = Faults()
    with loading(tmp_path, world, faults, store=store, holes={"pause": "1d"}) as rig:
        bad = world.now // HOUR * HOUR - 30 * HOUR
        faults.poison(11, bad - HOUR, bad)
        partial = rig.loader("run", code=3)
        assert "/v3/sensors/11/measurements: 500 Internal Server Error" in partial.out
        assert rig.loader("run").err.count("trouble") == 0
        gaps = rig.loader("gaps", "--json").out
        assert "/v3/sensors/11/measurements: 500" in gaps
        faults.clear()
        rig.loader("run", "--retry-holes")
        rig.check_books()
        rig.server.stop()
        down = rig.loader("run", code=1)
        assert "no connection" in down.out


def test_mistakes_end_in_one_line(tmp_path: Path) -> None:
    """A key that is refused and a location that does not exist: exit 1, and what to do about it."""
    world = recent(days=1)
    with loading(tmp_path, world) as rig:
        process = rig.start("run", "--log-level", "warning", OPENAQ_API_KEY="wrong-key-77")
        out, err = process.communicate(timeout=60)
        assert process.returncode == 1
        (line,) = err.splitlines()
        for text in (line, out):
            assert text.count("OPENAQ_API_KEY is refused") == 1
            assert "https://explore.openaq.org" in text
            assert "wrong-key-77" not in text
        rig.configure(locations=[1, 424_242])
        said = rig.loader("run", "--log-level", "warning", code=1)
        (line,) = said.err.splitlines()
        assert "sources.openaq.locations: 424242 does not exist" in line


UGLY = 'k3y+"with\\odd/chars=%41&more'
"""A key that looks otherwise in JSON, in a URL and in a repr."""
SECRETS = {UGLY, json.dumps(UGLY)[1:-1], repr(UGLY)[1:-1], quote(UGLY), quote(UGLY, safe="")}


class Echo(OpenAQServer):
    """Answers every third request with an error that repeats what was sent, key and all."""

    turn = 0

    def _decide(self, asked: Asked) -> tuple[str, list[Strike], Answer]:
        kind, strikes, answer = super()._decide(asked)
        self.turn += 1
        if self.turn % 3:
            return kind, strikes, answer
        key = asked.headers["x-api-key"]
        told = f"what do you mean by {asked.headers} and {key}?"
        bodies = [
            dumps({"detail": told}),
            dumps({"detail": [{"loc": ["header", key], "msg": told, "type": "x"}]}),
            dumps({"message": told}),
            dumps(told),
            told.encode(),
            dumps({"detail": told})[:-3],
            told.encode("utf-16"),
            (told * 9).encode(),
            f"{'-' * 190}{key}".encode(),
            f"see https://127.0.0.1/?key={quote(key, safe='')}&and={quote(key)}".encode(),
        ]
        way = self.turn // 3
        status = (500, 503, 408, 422, 429, 404)[way % 6]
        return kind, strikes, Answer(status, bodies[way % len(bodies)], cacheable=False)


def traces(folder: Path) -> Iterator[tuple[str, str]]:
    """(file, form) of every form of the key in any file of the folder but .env."""
    for path in folder.rglob("*"):
        if path.is_file() and path.name != ".env":
            body = path.read_bytes()
            yield from ((path.name, s) for s in SECRETS if s.encode() in body)


def test_the_key_shows_up_nowhere(tmp_path: Path) -> None:
    """Not in what is printed, logged or stored, though the server repeats it in its errors."""
    world = recent(days=20, stations=6)
    with loading(tmp_path, world, kind=Echo, tries=1, initial="20d", concurrency=2) as rig:
        rig.server.keys = (KEY, UGLY)
        process = rig.start("run", "--log-level", "debug", OPENAQ_API_KEY=UGLY)
        said = [(("in a process",), "".join(process.communicate(timeout=60)))]
        for args in (
            ("run", "--log-level", "debug", "--summary", "summary.md"),
            ("run", "--log-level", "debug", "--json"),
            ("run", "--retry-holes"),
            ("check",),
            ("plan",),
            ("status", "--stations"),
            ("gaps",),
            ("runs", "--json"),
            ("state", "show", "--json"),
            ("locations", "--country", "US"),
        ):
            spoken = rig.loader(*args, code=None, OPENAQ_API_KEY=UGLY)
            said.append((args, spoken.out + spoken.err))
        assert "what do you mean" in "".join(text for _, text in said), "no error was echoed"
        assert rig.query("SELECT count(*) FROM run WHERE error IS NOT NULL")[0][0] > 0
        assert [(args, s) for args, text in said for s in SECRETS if s in text] == []
        assert list(traces(tmp_path)) == []
