"""The HTTP session against a real server on loopback."""

from __future__ import annotations

import gzip
import itertools
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from scripted import Answer, Scripted, until

from loader.budget import Unlimited
from loader.contracts import Budget
from loader.errors import AccessDenied, ConfigError, Interrupted, NotFound, Permanent, SourceUnavailable
from loader.http import Http, Limits, Reply
from loader.responses import BadBody, TooLarge, inflate
from loader.transport import Unanswered

NOW = 1_800_000_000_000_000
KEY = "s3cr3t-k3y"
QUICK = Limits(connect_s=2, read_s=0.5, total_s=2, tries=3, backoff_s=0.01, longest_wait_s=1.5)


class Counting:
    """A budget that counts."""

    def __init__(self) -> None:
        self.acquired: list[bool] = []
        self.observed: list[tuple[int, dict[str, str]]] = []
        self.closed = False

    def acquire(self, background: bool = False) -> None:
        self.acquired.append(background)

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        self.observed.append((status, {k.lower(): v for k, v in headers.items()}))

    def close(self) -> None:
        self.closed = True


def session(
    server: Scripted | str,
    *,
    budget: Budget | None = None,
    stop: threading.Event | None = None,
    limits: Limits = QUICK,
    **more: Any,
) -> Http:
    stop = stop or threading.Event()
    url = server if isinstance(server, str) else server.url
    return Http(
        url,
        budget=budget or Unlimited(stop),
        stop=stop,
        clock=lambda: NOW,
        secrets={"X-API-Key": KEY},
        limits=limits,
        **more,
    )


def body(reply: Reply) -> bytes:
    return reply.body


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_key_and_query_are_sent_and_a_plus_is_escaped() -> None:
    """The request carries the key and a query in which a plus stays a plus."""
    with Scripted([Answer(body=b"hello")]) as server:
        http = session(server)
        assert (
            http.get("/a", [("datetime_from", "2026-01-01T00:00:00+05:45"), ("b", 2)], parse=body)
            == b"hello"
        )
        asked = server.asked[0]
    assert asked.headers["X-API-Key"] == KEY
    assert asked.query == {"datetime_from": "2026-01-01T00:00:00+05:45", "b": "2"}
    assert asked.headers["User-Agent"].startswith("sensor-loader/")


def test_connection_is_used_again() -> None:
    """Several responses, small and large, chunked or not, come over one connection."""
    answers = [
        Answer(body=b"x" * 10),
        Answer(body=b"x" * 3_000_000),
        Answer(body=b"y" * 99_999, chunked=True),
    ]
    with Scripted([*answers, Answer(404, b"{}"), Answer(body=b"")]) as server:
        http = session(server)
        sizes = [len(http.get("/a", parse=body)) for _ in range(3)]
        with pytest.raises(NotFound):
            http.get("/a", parse=body)
        http.get("/a", parse=body)
        assert sizes == [10, 3_000_000, 99_999]
        assert len({asked.connection for asked in server.asked}) == 1


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("gzip", lambda data: gzip.compress(data[:500]) + gzip.compress(data[500:]) + b"\0" * 8),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("identity", lambda data: data),
    ],
)
def test_codings(coding: str, pack: Callable[[bytes], bytes], chunked: bool) -> None:
    """Gzip of one or several members, deflate of both kinds and plain bodies come out whole."""
    data = bytes(range(256)) * 1000
    with Scripted(
        [Answer(body=pack(data), headers={"Content-Encoding": coding}, chunked=chunked)]
    ) as server:
        assert session(server).get("/a", parse=body) == data


@pytest.mark.parametrize(
    ("broken", "bisect"),
    [
        (Answer(408, b'{"detail":"Connection timed out"}'), True),
        (Answer(500, b"Internal Server Error"), True),
        (Answer(504), True),
        (Answer(502), False),
        (Answer(503), False),
        (Answer(reset=True), False),
        (Answer(body=b"x" * 1000, cut=10), True),
        (Answer(body=b"x" * 1000, cut=100, chunked=True), True),
        (Answer(body=b"no gzip at all", headers={"Content-Encoding": "gzip"}), True),
        (
            Answer(body=gzip.compress(b"x" * 9999, mtime=0)[:-20], headers={"Content-Encoding": "gzip"}),
            True,
        ),
        (Answer(body=zlib.compress(b"x" * 9999)[:-20], headers={"Content-Encoding": "deflate"}), True),
        (Answer(body=b"abc", headers={"Content-Encoding": "br"}), True),
        (Answer(body=b"abc", wait=3), False),
        (Answer(body=b"x" * 1000, drip=0.01), False),
    ],
    ids=lambda value: f"{value.status}-{value.body[:8]!r}" if isinstance(value, Answer) else str(value),
)
def test_failures_are_retried(broken: Answer, bisect: bool) -> None:
    """Whatever may pass is tried again, and in the end is a failure of the page that says whether
    less of it may succeed."""
    limits = Limits(connect_s=2, read_s=0.3, total_s=0.4, tries=2, backoff_s=0.01)
    with Scripted([broken, Answer(body=b"good")]) as server:
        assert session(server, limits=limits).get("/a", parse=body) == b"good"
        assert len(server.asked) == 2
        assert server.asked[1].headers.get("Cache-Control") == "no-cache"
    with Scripted([broken]) as server:
        with pytest.raises(Unanswered) as caught:
            session(server, limits=limits).get("/a/b", [("key", KEY)], parse=body)
        assert caught.value.bisect is bisect
        assert str(caught.value).startswith(server.url.removeprefix("http://") + "/a/b: ")
        assert KEY not in str(caught.value)
        assert len(server.asked) == 2


def test_one_try_is_one_request() -> None:
    """A call that asks for one try sends one request."""
    with Scripted([Answer(500)]) as server:
        with pytest.raises(Unanswered):
            session(server).get("/a", parse=body, tries=1)
        assert len(server.asked) == 1


def test_throttling_does_not_use_up_tries() -> None:
    """A 429 says nothing about the page, so that even a single try outlives it."""
    with Scripted([Answer(429), Answer(429), Answer(body=b"good")]) as server:
        assert session(server).get("/a", parse=body, tries=1) == b"good"
    with Scripted([Answer(429, b'{"detail":"Too many requests"}')]) as server:
        with pytest.raises(SourceUnavailable, match="429 Too many requests"):
            session(server).get("/a", parse=body)
        assert len(server.asked) == 5


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_honoured(date: bool) -> None:
    """Retry-After, in seconds or as a date, sets the pause before the next try."""
    value = format_datetime(datetime.fromtimestamp(NOW / 1e6 + 1, UTC), usegmt=True) if date else "1"
    with Scripted([Answer(503, headers={"Retry-After": value}), Answer()]) as server:
        began = time.monotonic()
        session(server).get("/a", parse=body)
        assert time.monotonic() - began >= 0.99


@pytest.mark.parametrize("status", [429, 503])
def test_long_retry_after_is_not_waited_for(status: int) -> None:
    """A server that wants hours is left alone for this run, at once."""
    with Scripted([Answer(status, headers={"Retry-After": "7200"})]) as server:
        with pytest.raises(SourceUnavailable, match="come back in 7200 s"):
            session(server).get("/a", parse=body)
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (Answer.json({"detail": "Invalid credentials"}, 401), AccessDenied, "401 Invalid credentials"),
        (Answer.json({"message": "Forbidden"}, 403), AccessDenied, "403 Forbidden"),
        (Answer.json({"detail": "Location not found"}, 404), NotFound, "404 Location not found"),
        (Answer.json({"detail": "gone"}, 410), NotFound, "410 gone"),
        (
            Answer.json({"detail": [{"loc": ["query", "limit"], "msg": "too big", "input": "9"}]}, 422),
            Permanent,
            "422 limit: too big",
        ),
        (Answer.json("from must be older", 422), Permanent, "422 from must be older"),
        (Answer(405, b"<html>no</html>"), Permanent, "405 Method Not Allowed"),
        (Answer(501, b"not here"), Permanent, "501 not here"),
        (Answer(400, b"\x1b[31mred\x07" + b"x" * 500), Permanent, "400 [31mred xxx"),
        (Answer(400, KEY.encode() + b" is bad"), Permanent, r"400 \*\*\* is bad"),
        (Answer(401, b"no" * 40_000), AccessDenied, "401 Unauthorized"),
        (Answer(304), Permanent, "304"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else None,
)
def test_refusals_are_final(answer: Answer, error: type[Exception], says: str) -> None:
    """A refusal is not retried, and says status and detail, short, printable, without secrets."""
    with Scripted([answer]) as server:
        with pytest.raises(error, match=says.replace("[", r"\[")) as caught:
            session(server).get("/a", parse=body)
        assert type(caught.value) is error
        assert len(str(caught.value)) < 260
        assert str(caught.value).isprintable()
        assert len(server.asked) == 1


def test_body_that_is_not_what_was_asked_for_is_retried() -> None:
    """What the parser refuses is tried again like a broken body."""
    answers = itertools.chain([b"<html>"], itertools.repeat(b"{}"))

    def parse(reply: Reply) -> str:
        if reply.body.startswith(b"<"):
            raise BadBody("no document")
        return "parsed"

    with Scripted(lambda _: Answer(body=next(answers))) as server:
        assert session(server).get("/a", parse=parse) == "parsed"
        assert len(server.asked) == 2
    with (
        Scripted([Answer(body=b"<html>")]) as server,
        pytest.raises(Unanswered, match="no document") as caught,
    ):
        session(server).get("/a", parse=parse)
    assert caught.value.bisect


def test_bomb_is_refused_while_it_is_inflated() -> None:
    """A small body that inflates to gigabytes is refused at the limit, at once and once."""
    stream = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(stream.compress(b"\0" * (1 << 20)) for _ in range(300)) + stream.flush()
    limits = Limits(body=1 << 20, tries=3)
    with Scripted([Answer(body=bomb, headers={"Content-Encoding": "gzip"})]) as server:
        with pytest.raises(Unanswered, match="more than 1048576 bytes") as caught:
            session(server, limits=limits).get("/a", parse=body)
        assert caught.value.bisect
        assert len(server.asked) == 1


def test_an_error_keeps_nothing_of_the_body() -> None:
    """Nothing that was inflated stays in memory while the error of a body beyond its limit is kept."""
    bomb, limit, errors = gzip.compress(bytes(4 << 20)), 1 << 20, []
    tracemalloc.start()
    try:
        for _ in range(20):
            try:
                inflate([bomb], "gzip", limit)
            except TooLarge as error:
                errors.append(error)
        assert len(errors) == 20
        assert tracemalloc.get_traced_memory()[0] < 2 * limit
    finally:
        tracemalloc.stop()


def test_body_on_the_wire_is_limited() -> None:
    """An endless plain body ends at the limit, whatever length it announced."""
    with Scripted([Answer(body=b"x" * 5_000_000, chunked=True)]) as server:
        http = session(server, limits=Limits(body=1 << 20))
        with pytest.raises(Unanswered, match="more than 1048576 bytes"):
            http.get("/a", parse=body)
        assert http.usage().bytes < 2 << 20


def test_redirects_stay_at_home() -> None:
    """A redirect within the server is followed; one to another is not, and never sees the key."""
    with Scripted([Answer(body=b"elsewhere")]) as other:
        target = {"to": "/b?x=1"}

        def script(asked: Any) -> Answer:
            if asked.path == "/b":
                return Answer(body=b"moved")
            return Answer(307, b"", {"Location": target["to"]})

        with Scripted(script) as server:
            http = session(server)
            assert http.get("/a", parse=body) == b"moved"
            assert server.asked[-1].query == {"x": "1"}
            for to in (other.url + "/b", f"http://localhost:{other.host.split(':')[1]}/b", "//evil.test/"):
                target["to"] = to
                with pytest.raises(Permanent, match="redirects to another server"):
                    http.get("/a", parse=body)
            target["to"] = f"https://{server.host}/b"
            with pytest.raises(Permanent, match="redirects to another server"):
                http.get("/a", parse=body)
        assert other.asked == []


def test_redirects_in_circles_end() -> None:
    """A server that redirects for ever is asked four times."""
    with Scripted([Answer(302, b"", {"Location": "/a"})]) as server:
        with pytest.raises(Permanent, match="more than 3 times"):
            session(server).get("/a", parse=body)
        assert len(server.asked) == 4


def test_budget_hears_of_every_request() -> None:
    """The budget is asked before each request, retries and redirects included, and told after."""
    budget = Counting()
    answers = [
        Answer(500),
        Answer(302, b"", {"Location": "/b"}),
        Answer(200, headers={"X-RateLimit-Used": "7"}),
    ]
    with Scripted(answers) as server:
        http = session(server, budget=budget)
        http.get("/a", parse=body, background=True)
        http.close()
    assert budget.acquired == [True, True, True]
    assert [status for status, _ in budget.observed] == [500, 302, 200]
    assert budget.observed[-1][1]["x-ratelimit-used"] == "7"
    assert budget.closed


def test_usage_counts_requests_bytes_and_the_slowest() -> None:
    """Usage holds every request, the bytes on the wire and the slowest response."""
    packed = gzip.compress(b"x" * 100_000)
    with Scripted(
        [Answer(500, b"12345"), Answer(body=packed, headers={"Content-Encoding": "gzip"}, wait=0.2)]
    ) as s:
        http = session(s)
        http.get("/a", parse=body)
        used = http.usage()
    assert (used.requests, used.bytes) == (2, 5 + len(packed))
    assert 0.2 <= used.slowest_s < 2


def test_usage_counts_requests_by_how_they_were_answered() -> None:
    """Redirects and good answers are no errors; refusals, timeouts and broken answers are."""
    script = [
        Answer(302, b"", {"Location": "/b"}),
        Answer(body=b"fine"),
        Answer(429, b"", {"Retry-After": "0"}),
        Answer(503),
        Answer(wait=1.0),
        Answer(404),
    ]
    with Scripted(script) as server:
        http = session(server, limits=replace(QUICK, tries=5))
        http.get("/a", parse=body)
        with pytest.raises(NotFound):
            http.get("/c", parse=body)
        used = http.usage()
    assert used.codes == {"302": 1, "200": 1, "429": 1, "503": 1, "none": 1, "404": 1}
    assert (used.requests, used.errors) == (6, 4)


def test_a_request_that_nobody_takes_counts_as_none() -> None:
    """Where no server listens every try is a request without an answer."""
    with Scripted([Answer()]) as server:
        gone = server.url
    http = session(gone)
    with pytest.raises(SourceUnavailable):
        http.get("/a", parse=body)
    used = http.usage()
    assert used.requests == used.errors == used.codes["none"] > 0


def test_stop_ends_a_pause() -> None:
    """A stop ends the pause between two tries."""
    stop = threading.Event()
    failed: list[BaseException] = []
    with Scripted([Answer(503)]) as server:
        http = session(server, stop=stop, limits=Limits(backoff_s=600, longest_wait_s=600))

        def ask() -> None:
            try:
                http.get("/a", parse=body)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        until(lambda: http.usage().requests == 1)
        stop.set()
        thread.join(60)
        assert not thread.is_alive()
    assert isinstance(failed[0], Interrupted)


def test_stop_ends_a_slow_body() -> None:
    """A stop ends a response that is still coming in."""
    stop = threading.Event()
    failed: list[BaseException] = []
    with Scripted([Answer(body=b"x" * 100_000, drip=0.02)]) as server:
        http = session(server, stop=stop, limits=Limits())

        def ask() -> None:
            try:
                http.get("/a", parse=body)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        until(lambda: len(server.asked) == 1)
        stop.set()
        thread.join(60)
        assert not thread.is_alive()
    assert isinstance(failed[0], Interrupted)


def test_nobody_there() -> None:
    """A refused connection and an unknown host mean that the source is not there."""
    with Scripted([Answer()]) as server:
        url = server.url
    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1:\d+/a: no connection"):
        session(url).get("/a", [("k", KEY)], parse=body)
    with pytest.raises(SourceUnavailable, match="cannot be resolved"):
        session("https://no-such-host.invalid").get("/a", parse=body)


def test_proxy_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is used, unless NO_PROXY names the host; its password is not shown."""
    with Scripted([Answer(body=b"by proxy")]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:pass-word@{proxy.host}")
        http = session("http://sensors.test", insecure=True)
        assert http.get("/a", parse=body) == b"by proxy"
        assert proxy.asked[0].path == "/a"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with Scripted([Answer(body=b"direct")]) as server:
            assert session(server).get("/a", parse=body) == b"direct"
    with pytest.raises(SourceUnavailable, match="proxy does not answer") as caught:
        session("http://sensors.test", insecure=True).get("/a", parse=body)
    assert "pass-word" not in str(caught.value)


def test_ca_bundle_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A CA bundle that is named and missing is told of at once."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "no.pem"))
    with pytest.raises(ConfigError, match="REQUESTS_CA_BUNDLE names"):
        session("https://sensors.test")


@pytest.mark.parametrize(
    ("url", "insecure", "problem"),
    [
        ("http://api.example.org", False, "plain http"),
        ("http://10.0.0.1", False, "plain http"),
        ("ftp://api.example.org", True, "must be an address"),
        ("api.example.org", True, "must be an address"),
        ("https://user:pw@api.example.org", True, "no user"),
        ("https://api.example.org?key=1", True, "no user"),
        ("https://api.example.org:port", True, "must be an address"),
        ("http://api.example.org", True, None),
        ("http://localhost:1", False, None),
        ("http://[::1]:1", False, None),
        ("http://127.9.9.9", False, None),
        ("https://api.example.org/v9/", False, None),
    ],
)
def test_addresses(url: str, insecure: bool, problem: str | None) -> None:
    """Plain http is for this machine alone unless it is allowed; odd addresses are refused."""
    if problem is None:
        session(url, insecure=insecure).close()
        return
    with pytest.raises(ConfigError, match=problem) as caught:
        session(url, insecure=insecure)
    assert "pw" not in str(caught.value)


def test_key_that_no_header_can_carry() -> None:
    """A key with a line break is refused without being shown."""
    stop = threading.Event()
    with pytest.raises(ConfigError, match="X-API-Key") as caught:
        Http(
            "https://a.test",
            budget=Unlimited(stop),
            stop=stop,
            clock=lambda: NOW,
            secrets={"X-API-Key": "a\nb9"},
        )
    assert "b9" not in str(caught.value)
