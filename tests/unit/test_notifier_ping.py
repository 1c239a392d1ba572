"""The dead man's switch, against a real receiver."""

from __future__ import annotations

import threading

import pytest
from notices import NASTY, NOW, bare_environment
from pydantic import SecretStr
from scripted import until

from loader.errors import ConfigError
from loader.notifiers.ping import Ping
from loader.readings import HOUR
from loader.settings.alerting import PingSettings
from tests.receivers import Receiver, Reply

UUID = "5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278"
WARNING = "the dead man's switch could not be told"
_environment = pytest.fixture(autouse=True)(bare_environment)


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


def ping(url: str, clock: Time | None = None, *, total_s: float = 10.0) -> Ping:
    return Ping(PingSettings(url=SecretStr(url)), clock or Time(), total_s=total_s)


@pytest.mark.parametrize(
    ("end", "paths"),
    [
        ("", ["/start", "", "/fail"]),
        ("/", ["/start", "/", "/fail"]),
        ("?key=a%2Fb", ["/start?key=a%2Fb", "?key=a%2Fb", "/fail?key=a%2Fb"]),
    ],
)
def test_each_step_has_its_address(end: str, paths: list[str]) -> None:
    """Start and success ask, a failure posts its text; the query of the address stays."""
    with Receiver() as receiver:
        switch = ping(f"{receiver.url}/{UUID}{end}")
        switch.started()
        switch.succeeded()
        switch.failed("the source does not answer")
        posts = receiver.posts
    assert [post.path for post in posts] == [f"/{UUID}{path}" for path in paths]
    assert [post.method for post in posts] == ["GET", "GET", "POST"]
    assert posts[2].body == b"the source does not answer"


def test_a_long_text_is_cut() -> None:
    """At 10,000 bytes, never inside a character; what is no text at all is sent as well."""
    with Receiver() as receiver:
        switch = ping(receiver.url)
        switch.failed("x" + "ä" * 20_000)
        switch.failed(NASTY)
        switch.failed("")
    assert len(receiver.posts[0].body) == 9_999
    assert receiver.posts[0].body.decode() == "x" + "ä" * 4_999
    assert b"Bcc" in receiver.posts[1].body
    assert receiver.posts[2].method == "POST"


def test_one_more_try(capsys: pytest.CaptureFixture[str]) -> None:
    """After no answer or a fault of the server; not after a refusal."""
    with Receiver([Reply(reset=True), Reply(), Reply(503), Reply(), Reply(404, b"not found")]) as receiver:
        switch = ping(receiver.url)
        switch.succeeded()
        switch.succeeded()
        assert len(receiver.posts) == 4
        assert WARNING not in capsys.readouterr().err
        switch.succeeded()
        assert len(receiver.posts) == 5
    assert "404 not found" in capsys.readouterr().err


def test_every_try_has_a_connection_of_its_own() -> None:
    """Also where the server kept the first one open, and may close it at any moment."""
    with Receiver([Reply(503, keep=True), Reply(keep=True)]) as receiver:
        switch = ping(receiver.url)
        switch.succeeded()
        switch.succeeded()
        posts = receiver.posts
    assert len(posts) == 3
    assert len({post.client for post in posts}) == 3


def test_it_warns_once_an_hour_and_never_raises(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever happens, and without the address."""
    clock = Time()
    with Receiver([Reply(500)]) as receiver:
        switch = ping(f"{receiver.url}/{UUID}", clock)
        switch.started()
        switch.failed("x")
        clock.now += HOUR - 1
        switch.succeeded()
        said = capsys.readouterr().err
        assert said.count(WARNING) == 1
        clock.now += 1
        switch.succeeded()
        assert capsys.readouterr().err.count(WARNING) == 1
    clock.now += HOUR
    switch.succeeded()
    said += capsys.readouterr().err
    assert "refused" in said
    assert UUID not in said + repr(switch)


def test_it_takes_its_time_limit_at_most() -> None:
    """Both tries together, with a receiver that hangs."""
    with Receiver([Reply(hang=True)]) as receiver:
        ping(receiver.url, total_s=1).started()
        until(lambda: len(receiver.posts) == 2)


def test_several_threads_may_call() -> None:
    """Runs of several sources begin and end at the same time."""
    with Receiver() as receiver:
        switch = ping(receiver.url)
        threads = [threading.Thread(target=switch.started) for _ in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert len(receiver.posts) == 8


def test_without_an_address_nothing_is_done() -> None:
    """And an address that cannot be used is refused at once, without being shown."""
    switch = Ping(PingSettings(), Time())
    switch.started()
    switch.failed("x")
    assert repr(switch) == "Ping(off)"
    bad = PingSettings.model_construct(url=SecretStr(f"ftp://host/{UUID}"))
    with pytest.raises(ConfigError, match=r"alerts\.ping\.url") as caught:
        Ping(bad, Time())
    assert UUID not in str(caught.value)
