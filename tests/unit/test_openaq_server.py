"""The OpenAQ server that other tests rely on keeps the captured contract, and its faults are real."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.openaq_server import (
    DAY,
    HOUR,
    KEY,
    SECOND,
    BenchWorld,
    OpenAQServer,
    captured,
    made_up,
    micros,
    toronto,
)
from tests.openaq_server.client import BEGIN, get, results, small_world, stamps
from tests.openaq_server.render import utc_text as iso

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
CAPTURED = SHARED / "openaq" / "captured"
CAPTURED_KEYS = ("KEY_FAST", "KEY_5")
END = micros("2025-11-05T00:00:00Z")

NOT_ASKED_FOR = (
    "agg_",
    "hours_",
    "days_",
    "dst_fallback_hours",
    "dst_fallback_measurements_hourly",
    "out_of_limit_hours",
)
"""Aggregates and registries are not served: no loader asks for them."""
NOT_SERVED = {
    "instruments",
    "licenses",
    "manufacturers",
    "owners",
    "providers",
    "openapi",
    "location_flags",
    "sensor_flags",
}
BREAKS = {
    "err_408_timeout": ("408", {}),
    "out_of_limit_500": ("500", {}),
    "ratelimit_6": ("429", {"how": "headers"}),
    "ratelimit_7": ("429", {"how": "headers"}),
    "ratelimit_8": ("429", {"how": "headers"}),
}
"""Answers that take a switch to be had."""


def captures() -> list[Path]:
    chosen = []
    for path in sorted(CAPTURED.glob("*.json")):
        if path.stem in NOT_SERVED or path.stem.startswith(NOT_ASKED_FOR) or path.stem == "err_500_json":
            continue
        if "request" in json.loads(path.read_text("utf-8")):
            chosen.append(path)
    return chosen


def shape(thing: object, path: str = "") -> dict[str, set[str]]:
    """path -> names of the types seen there."""
    if isinstance(thing, dict):
        out = {path: {"object"}}
        parts = [(f"{path}.{k}", v) for k, v in thing.items()]
    elif isinstance(thing, list):
        out = {path: {"list"}}
        parts = [(f"{path}[]", v) for v in thing]
    else:
        return {path: {type(thing).__name__}}
    for where, part in parts:
        for k, v in shape(part, where).items():
            out.setdefault(k, set()).update(v)
    return out


@pytest.fixture(scope="module")
def captured_server() -> Iterator[OpenAQServer]:
    if not CAPTURED.is_dir():
        pytest.skip("../shared/openaq/captured is absent")
    with OpenAQServer(captured(CAPTURED), keys=CAPTURED_KEYS) as server:
        yield server


@pytest.fixture
def small() -> Iterator[OpenAQServer]:
    with OpenAQServer(small_world()) as server:
        yield server


@pytest.mark.skipif(not CAPTURED.is_dir(), reason="../shared/openaq/captured is absent")
@pytest.mark.parametrize("path", captures(), ids=lambda p: p.stem)
def test_answers_like_the_captured_one(captured_server: OpenAQServer, path: Path) -> None:
    """The same request gets the same status, content type, header names and shape of body."""
    seen = json.loads(path.read_text("utf-8"))
    request = seen["request"]
    faults = captured_server.faults
    faults.clear()
    if path.stem in BREAKS:
        kind, options = BREAKS[path.stem]
        faults.add(kind, **options)
    if path.stem == "measurements_null_value_500":
        faults.poison(3943, micros("2026-11-02T04:00:00Z"), micros("2026-11-02T06:00:00Z"))
    status, headers, body = get(captured_server, request["path"], request["x-api-key"], request["method"])
    try:
        decoded = json.loads(body)
    except ValueError:
        decoded = body.decode()
    assert status == seen["status"]
    assert shape(decoded) == shape(seen["body"])
    assert headers["content-type"] == seen["headers"]["content-type"]
    # They packed and chunked every body; we pack on request and say the length.
    theirs = {k.lower() for k in seen["headers"]} - {"content-encoding", "transfer-encoding"}
    assert theirs <= headers.keys()
    assert ("x-ratelimit-limit" in theirs) == ("x-ratelimit-limit" in headers)


def test_captured_rows_are_as_long_as_ours() -> None:
    """A measurement object has the size of a real one: within 2 % of 678 bytes."""
    with OpenAQServer(BenchWorld(4, 1000).world, answers=BenchWorld(4, 1000).answers) as server:
        _, _, body = get(server, "/v3/sensors/1/measurements?limit=1000")
    assert len(body) / 1000 == pytest.approx(678, rel=0.02)


def test_window_is_exclusive_then_inclusive(small: OpenAQServer) -> None:
    """datetime_from itself is not served, datetime_to is."""
    rows = results(
        small,
        "/v3/sensors/7/measurements?datetime_from=2025-10-28T01:00:00Z&datetime_to=2025-10-28T03:00:00Z",
    )
    assert stamps(rows) == [BEGIN + 2 * HOUR, BEGIN + 3 * HOUR]


def test_naive_times_are_the_stations_own(small: OpenAQServer) -> None:
    """A time without an offset is read in the station's zone, 4 hours behind UTC here."""
    rows = results(small, "/v3/sensors/7/measurements?datetime_from=2025-10-28T00:00:00&limit=1")
    assert stamps(rows) == [BEGIN + 5 * HOUR]


def test_every_hour_of_the_night_the_clock_goes_back(small: OpenAQServer) -> None:
    """The repeated local hour of a fall-back is served twice, with its two offsets."""
    rows = results(
        small,
        "/v3/sensors/7/measurements?datetime_from=2025-11-02T04:00:00Z&datetime_to=2025-11-02T07:00:00Z",
    )
    local = [r["period"]["datetimeTo"]["local"] for r in rows]
    assert local == [f"2025-11-02T01:00:00{o}" for o in ("-04:00", "-05:00")] + [
        "2025-11-02T02:00:00-05:00"
    ]


def test_pages_by_offset_and_found(small: OpenAQServer) -> None:
    """Pages follow one another; `found` is text on a full page and a number on a short one."""
    pages = []
    for page in (1, 2, 3, 4):
        _, _, body = get(small, f"/v3/sensors/7/measurements?limit=100&page={page}")
        pages.append(json.loads(body))
    assert [p["meta"]["found"] for p in pages] == [">100", ">100", 40, 0]
    assert [r["value"] for p in pages for r in p["results"]] == [float(i) for i in range(240)]


def test_rows_appear_change_and_go_by_the_worlds_clock(small: OpenAQServer) -> None:
    """A late row shows when its time has come, a revision changes it, a withdrawal takes it away."""
    world, late, url = small.world, BEGIN + 30 * 60 * SECOND, "/v3/sensors/7/measurements?limit=1"
    now = world.now
    world.add(7, late, 50.0, appears=now + HOUR)
    world.revise(7, late, 51.0, since=now + 2 * HOUR)
    world.withdraw(7, late, since=now + 3 * HOUR)
    seen = []
    for hours in range(4):
        world.now = now + hours * HOUR
        seen.append(results(small, url)[0]["value"])
    assert seen == [0.0, 50.0, 51.0, 0.0]
    times, values = world.truth(7)
    assert dict(zip(times, values, strict=True))[late] == 51.0
    assert late not in world.truth(7, until=now)[0]


def test_late_row_between_two_pages_shows_a_row_twice(small: OpenAQServer) -> None:
    """A row inserted behind the page just read pushes that page's last row onto the next one."""
    first = results(small, "/v3/sensors/7/measurements?limit=10&page=1")
    small.world.add(7, BEGIN + HOUR // 2, 1.5)
    second = results(small, "/v3/sensors/7/measurements?limit=10&page=2")
    assert second[0] == first[-1]


def test_latest_says_the_newest_of_each_sensor(small: OpenAQServer) -> None:
    """`latest` gives stamp, value and ids, and only what is younger than datetime_min."""
    (row,) = results(small, "/v3/locations/1/latest")
    assert (row["sensorsId"], row["locationsId"], row["value"]) == (7, 1, 239.0)
    assert results(small, f"/v3/locations/1/latest?datetime_min={row['datetime']['utc']}") == []


def test_finding_locations() -> None:
    """Box, circle, country and parameter each narrow the list of locations."""
    world = made_up(seed=3, days=0.5, end=END)
    world.now = END
    with OpenAQServer(world) as server:

        def names(query: str) -> set[str]:
            return {r["name"] for r in results(server, f"/v3/locations?{query}")}

        assert names("bbox=-75,40,-73,41") == {"Harlem River"}
        assert names("coordinates=27.7,85.3&radius=5000") == {"Phora Durbar"}
        assert names("iso=gb") == {"Camden Lock"}
        assert names("parameters_id=15,1") == {"Accra Post", "Anand Vihar"}
        assert len(names("")) == 6


def test_sensor_with_a_new_id() -> None:
    """The new id of a replaced sensor is listed from its day on, and the two never overlap."""
    world = made_up(seed=4, days=9, end=END)
    old, new = world.sensors[3947], world.sensors[3952]
    assert old.parameter is new.parameter
    assert old.times[-1] < new.times[0]
    with OpenAQServer(world) as server:
        world.now = old.times[-1] - HOUR
        before = {s["id"] for s in results(server, "/v3/locations/2181/sensors")}
        world.now = END
        after = {s["id"] for s in results(server, "/v3/locations/2181/sensors")}
    assert after - before == {3952}


def test_made_up_world_is_the_same_again_and_has_its_oddities() -> None:
    """The same seed gives the same truth; nulls, -999, small negatives, late and revised rows are in it."""
    a, b, c = (made_up(seed=s, days=8, end=END) for s in (5, 5, 6))
    truth = [w.truth(3917) for w in (a, b, c)]
    assert truth[0] == truth[1] != truth[2]
    values = [v for s in a.sensors for v in a.truth(s)[1]]
    assert None in values
    assert -999.0 in values
    assert any(v is not None and -5 < v < 0 for v in values)
    assert any(
        late - t > HOUR for s in a.sensors.values() for t, late in zip(s.times, s.appears, strict=True)
    )
    assert any(s.changes for s in a.sensors.values())
    assert {s.cadence_s for s in a.sensors.values()} == {900, 3600}
    assert {x.timezone for x in a.locations.values()} >= {"Asia/Kathmandu", "America/New_York"}


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="../shared/data is absent")
def test_toronto_is_whole_and_may_be_moved() -> None:
    """All 53,413 readings of 73 series are in it; moved in time they end within the last hour."""
    world = toronto(SHARED)
    assert (world.count(), len(world.sensors), len(world.locations)) == (53_413, 73, 15)
    moved = toronto(SHARED, end=END, locations={7570})
    assert END - HOUR < max(s.times[-1] for s in moved.sensors.values()) <= END


def test_bench_pages_hold_its_truth() -> None:
    """Paging through a bench sensor by time gives each distinct reading, doubled rows and all."""
    bench = BenchWorld(sensors=2, rows=2500, duplicates=0.05, fresh=0.02)
    with OpenAQServer(bench.world, answers=bench.answers, gzip=False) as server:
        for fresh in (False, True):
            if fresh:
                bench.world.now = bench.released
            rows, after = [], BEGIN - 3650 * DAY
            while page := results(
                server, f"/v3/sensors/2/measurements?limit=1000&datetime_from={iso(after)}"
            ):
                rows += page
                after = stamps(page)[-1]
            assert len(rows) > bench.distinct
            got = dict(zip(stamps(rows), [r["value"] for r in rows], strict=True))
            assert got == dict(zip(*bench.truth(2, fresh=fresh), strict=True))


def test_own_process_and_its_switches() -> None:
    """As a process of its own it prints its port, obeys /_control and ends with its input."""
    command = [sys.executable, "-m", "tests.openaq_server", "--seed", "2", "--days", "1", "--until-eof"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        assert process.stdout is not None
        connection = http.client.HTTPConnection("127.0.0.1", int(process.stdout.readline()), timeout=10)

        def ask(method: str, url: str, body: object = None) -> Any:
            connection.request(method, url, json.dumps(body) if body else None, {"X-API-Key": KEY})
            return json.loads(connection.getresponse().read())

        assert len(ask("GET", "/v3/locations")["results"]) == 6
        ask("POST", "/_control/faults", {"add": [{"kind": "500", "route": "locations"}]})
        connection.request("GET", "/v3/locations", headers={"X-API-Key": KEY})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (500, b"Internal Server Error")
        assert ask("GET", "/_control/requests") == {"locations 200": 1, "locations 500": 1}
        assert ask("GET", "/_control/truth/3917")["times"]
        connection.close()
        process.communicate("", timeout=10)
    assert process.returncode == 0
