"""The faults of the OpenAQ test server are real, one by one, and leave no trace when turned off."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from tests.openaq_server import DAY, HOUR, KEY, SECOND, Faults, OpenAQServer, RateLimit, micros
from tests.openaq_server.client import BEGIN, get, results, small_world, stamps
from tests.openaq_server.render import SPOILS
from tests.openaq_server.render import utc_text as iso


@pytest.fixture
def small() -> Iterator[OpenAQServer]:
    with OpenAQServer(small_world()) as server:
        yield server


@pytest.mark.parametrize(
    ("kind", "options", "status", "content"),
    [
        ("408", {}, 408, b"timed out"),
        ("429", {}, 429, b"Too many"),
        ("500", {}, 500, b"Internal Server Error"),
        ("500", {"how": "json"}, 500, b'{"detail"'),
        ("502", {}, 502, b"<html>"),
        ("down", {}, 503, b"no server"),
        ("rubbish", {}, 200, b"results"),
        ("html", {}, 200, b"<!doctype"),
        ("empty", {}, 200, b""),
        ("redirect-same", {}, 307, b""),
        ("redirect-cross", {}, 307, b""),
    ],
)
def test_fault_takes_the_place_of_one_answer(
    small: OpenAQServer, kind: str, options: dict[str, Any], status: int, content: bytes
) -> None:
    """A one-shot fault strikes once; the request after it is answered as ever."""
    small.faults.add(kind, times=1, **options)
    url = "/v3/sensors/7/measurements?limit=2"
    seen, _, body = get(small, url)
    assert seen == status
    assert content in body
    assert len(results(small, url)) == 2
    assert small.count("measurements", 200) == (2 if status == 200 else 1)


def test_too_many_requests_with_and_without_headers(small: OpenAQServer) -> None:
    """A 429 comes bare, with x-ratelimit headers, or with Retry-After, as asked for."""
    kinds = []
    for how in ("bare", "headers", "retry-after"):
        small.faults.add("429", times=1, how=how, wait=3)
        _, headers, _ = get(small, "/v3/locations")
        kinds.append((headers.get("x-ratelimit-reset"), headers.get("retry-after")))
    assert kinds == [(None, None), ("3", None), (None, "3")]


def test_enforced_limit_counts_calendar_minutes(small: OpenAQServer) -> None:
    """Five a minute are allowed, the sixth is refused, and the next minute begins anew."""
    clock = [1_000_020.0]
    small.faults.limits = [RateLimit(5, 60, lambda: clock[0])]
    seen = [get(small, "/v3/parameters/2")[:2] for _ in range(6)]
    assert [s for s, _ in seen] == [200] * 5 + [429]
    assert [h["x-ratelimit-remaining"] for _, h in seen] == ["4", "3", "2", "1", "0", "0"]
    clock[0] = 1_000_080.0
    assert get(small, "/v3/parameters/2")[0] == 200


def test_wire_faults(small: OpenAQServer) -> None:
    """A truncated body ends early and a reset one fails; a slow one comes whole."""
    url = "/v3/sensors/7/measurements?limit=100"
    small.faults.add("truncated", times=1, at=0.5)
    with pytest.raises(http.client.IncompleteRead):
        get(small, url)
    small.faults.add("reset", times=1, at=0.5)
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        get(small, url)
    small.faults.add("slow", times=1, seconds=0.05)
    assert len(results(small, url)) == 100
    small.faults.add("down", times=1, how="close")
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        get(small, url)


def test_bomb_is_small_on_the_wire(small: OpenAQServer) -> None:
    """A body of a few MB unpacks to a thousand times as much."""
    small.faults.add("bomb", size=1 << 28)
    _, headers, body = get(small, "/v3/locations", **{"Accept-Encoding": "gzip"})
    assert headers["content-encoding"] == "gzip"
    assert len(body) < 1 << 20
    with gzip.open(io.BytesIO(body)) as stream:
        assert len(stream.read(1 << 25)) == 1 << 25


def test_poison_stands_until_it_is_taken_away(small: OpenAQServer) -> None:
    """Every page with a reading of the stretch is a 500, any other is served, and at last all are."""
    start, end = BEGIN + 20 * HOUR, BEGIN + 23 * HOUR
    rule = small.faults.poison(7, start, end)

    def status(first: int, last: int) -> int:
        window = {"datetime_from": iso(BEGIN + first * HOUR), "datetime_to": iso(BEGIN + last * HOUR)}
        return get(small, f"/v3/sensors/7/measurements?limit=1000&{urllib.parse.urlencode(window)}")[0]

    assert [status(0, 20), status(0, 21), status(22, 30), status(23, 30)] == [200, 500, 500, 200]
    small.faults.remove(rule)
    assert status(0, 30) == 200


def test_faults_in_the_content(small: OpenAQServer) -> None:
    """Doubled, overlapping, null and future rows turn up where they are switched on, and only once."""
    window = f"datetime_from={iso(BEGIN + 10 * HOUR)}&datetime_to={iso(BEGIN + 20 * HOUR)}"
    url = f"/v3/sensors/7/measurements?{window}"
    plain = results(small, url)
    small.faults.add("duplicate", times=1, share=0.2)
    assert len(results(small, url)) == 12
    small.faults.add("overlap", times=1, rows=2)
    assert stamps(results(small, url)) == [BEGIN + h * HOUR for h in range(9, 21)]
    small.faults.add("null", times=1)
    assert [r["value"] for r in results(small, url)].count(None) == 1
    small.faults.add("future", times=1, ahead=DAY // SECOND)
    assert stamps(results(small, url))[-1] > small.world.now
    assert results(small, url) == plain


@pytest.mark.parametrize("how", SPOILS)
def test_spoilt_record_is_valid_json_but_no_reading(small: OpenAQServer, how: str) -> None:
    """A record that is broken for good is served broken, among good ones, and is not in the truth."""
    at = BEGIN + 5 * HOUR
    small.world.spoil(7, at, how)
    rows = results(small, "/v3/sensors/7/measurements?limit=10")
    assert len(rows) == 10
    good = [r for i, r in enumerate(rows) if i != 4]
    assert stamps(good) == [BEGIN + (i + 1) * HOUR for i in range(10) if i != 4]
    assert at not in small.world.truth(7)[0]


def test_latest_with_faults(small: OpenAQServer) -> None:
    """`latest` may leave a sensor out, name an unknown one, run ahead of the clock, or be stale."""
    url = "/v3/locations/1/latest"
    rule = small.faults.add("missing-latest")
    assert results(small, url) == []
    small.faults.remove(rule)
    rule = small.faults.add("unknown-latest", number=99)
    assert [r["sensorsId"] for r in results(small, url)] == [7, 99]
    small.faults.remove(rule)
    rule = small.faults.add("future-latest", ahead=600)
    assert micros(results(small, url)[0]["datetime"]["utc"]) == small.world.now + 600 * SECOND
    small.faults.remove(rule)
    small.faults.add("stale", route="latest", age=900)
    before = results(small, url)
    small.world.add(7, small.world.now + HOUR // 10, 1.0)
    small.world.now += HOUR // 5
    assert results(small, url) == before
    small.world.now += HOUR
    assert results(small, url) != before


def test_redirects_keep_or_change_the_host(small: OpenAQServer) -> None:
    """Following a redirect to another host name with the key is noticed by the server."""
    small.faults.add("redirect-cross", times=1)
    _, headers, _ = get(small, "/v3/locations/1")
    target = urllib.parse.urlsplit(headers["location"])
    assert target.hostname == "localhost"
    assert small.leaked == 0
    get(small, f"{target.path}?{target.query}", Host=target.netloc)
    assert small.leaked == 1


def test_same_seed_same_faults(small: OpenAQServer) -> None:
    """Which requests are struck depends on the seed and the requests, not on chance."""

    def struck(seed: int) -> list[int]:
        small.faults = Faults(seed)
        small.faults.add("500", 0.3)
        return [get(small, f"/v3/parameters/{i}")[0] for i in range(1, 40)]

    first = struck(1)
    assert 3 < first.count(500) < 25
    assert first == struck(1) != struck(2)


def test_keep_alive_and_packing(small: OpenAQServer) -> None:
    """One connection carries many requests; bodies are packed only for those who accept it."""
    connection = http.client.HTTPConnection("127.0.0.1", small.port, timeout=10)
    for accept in ("gzip", "identity"):
        connection.request(
            "GET", "/v3/sensors/7/measurements", headers={"X-API-Key": KEY, "Accept-Encoding": accept}
        )
        sock = connection.sock
        answer = connection.getresponse()
        body = answer.read()
        assert (answer.headers["content-encoding"] == "gzip") == (accept == "gzip")
        rows = json.loads(gzip.decompress(body) if accept == "gzip" else body)["results"]
        assert len(rows) == 100
        assert connection.sock is sock
    connection.close()


def test_many_at_once_are_counted(small: OpenAQServer) -> None:
    """Requests that overlap are answered side by side, and the server says how many there were."""
    small.faults.add("latency", seconds=0.2)
    threads = [threading.Thread(target=get, args=(small, "/v3/locations")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert small.most_at_once > 1
    assert small.requests["locations", 200] == 4


def test_stop_refuses_and_start_serves_again_on_the_same_port(small: OpenAQServer) -> None:
    """A stopped server refuses connections; started again it is found where it was."""
    port = small.port
    small.stop()
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):  # noqa: PT011
        pass
    small.start()
    assert small.port == port
    assert len(results(small, "/v3/locations")) == 1
