"""Messages as signed JSON, posted to a real receiver."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from notices import CLOCK, NASTY, NOW, bare_environment, notice, notices
from pydantic import SecretStr

from loader.errors import ConfigError, LoaderError, Permanent, Undelivered
from loader.journal import Notice, NoticeKind
from loader.notifiers.webhook import WebhookNotifier, payload
from loader.readings import SECOND
from loader.settings.alerting import WebhookSettings
from tests.receivers import Post, Receiver, Reply

PATH = "/hooks/loader?token=quite-secret-t0ken"
_environment = pytest.fixture(autouse=True)(bare_environment)


def webhook(url: str, *secrets: str, total_s: float = 10.0) -> WebhookNotifier:
    settings = WebhookSettings(url=SecretStr(url + PATH), secret=tuple(map(SecretStr, secrets)))
    return WebhookNotifier(settings, CLOCK, total_s=total_s)


def posted(*secrets: str, **other: Any) -> Post:
    with Receiver() as receiver:
        webhook(receiver.url, *secrets).send(notice(**other))
        return receiver.posts[0]


def test_the_body_is_as_documented() -> None:
    """Every field of version 1, with its name and type; the query of the address stays."""
    post = posted()
    assert post.path == PATH
    assert post.headers["Content-Type"] == "application/json"
    assert post.json == {
        "version": 1,
        "id": "n-1",
        "kind": "alert",
        "severity": "critical",
        "rule": "failures",
        "sources": ["openaq"],
        "subjects": ["Delhi & Agra"],
        "title": "openaq: 3 runs failed in a row",
        "lines": ["since 07:00 nothing could be read", "the last error: 503", "nothing is lost so far"],
        "facts": [
            {"name": "failures", "value": "3"},
            {"name": "station", "value": "Delhi & Agra"},
            {"name": "watermark", "value": "2027-01-15T06:45:00Z"},
        ],
        "command": "loader runs --source openaq",
        "at": "2027-01-15T08:00:00Z",
        "since": "2027-01-15T07:00:00Z",
    }


def signed(secret: str, post: Post) -> str:
    text = post.headers["X-Loader-Timestamp"].encode() + b"." + post.body
    return "v1=" + hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def test_every_secret_signs_time_and_body() -> None:
    """While one replaces the other, a receiver that knows either finds its signature."""
    post = posted("new-secret", "öld secret")
    assert post.headers["X-Loader-Timestamp"] == str(NOW // SECOND)
    assert post.headers["Idempotency-Key"] == "n-1"
    given = post.headers["X-Loader-Signature"].split(",")
    assert given == [signed("new-secret", post), signed("öld secret", post)]
    assert posted("one").headers["X-Loader-Signature"].count("v1=") == 1


def test_openssl_agrees_on_the_signature() -> None:
    """As the shell of the manual computes it."""
    post = posted("new-secret")
    text = post.headers["X-Loader-Timestamp"].encode() + b"." + post.body
    command = ["openssl", "dgst", "-sha256", "-hmac", "new-secret", "-hex"]
    made = subprocess.run(command, input=text, capture_output=True, check=True).stdout.decode().split()[-1]
    assert post.headers["X-Loader-Signature"] == f"v1={made}"


def test_without_a_secret_nothing_is_signed() -> None:
    """Rather no signature than one that everybody can make."""
    assert "X-Loader-Signature" not in posted().headers


def test_a_repetition_has_the_same_key() -> None:
    """So that the receiver takes it once; an id that no header can carry becomes a digest."""
    assert posted(id="n-9").headers["Idempotency-Key"] == "n-9"
    keys = {posted(id=NASTY).headers["Idempotency-Key"] for _ in range(2)}
    assert len(keys) == 1
    assert re.fullmatch("[0-9a-f]{32}", keys.pop())


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_2xx_is_delivered(status: int) -> None:
    """Whatever its body, or none."""
    with Receiver([Reply(status, b"")]) as receiver:
        webhook(receiver.url).send(notice())


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, Undelivered) for status in (407, 408, 409, 425, 429, 500, 501, 502, 503, 599)),
        *((status, Permanent) for status in (301, 304, 307, 400, 401, 403, 404, 410, 413, 422)),
    ],
)
def test_what_each_status_means(status: int, error: type[LoaderError]) -> None:
    """Later for what may pass, never for what will not; redirects are not followed."""
    with Receiver() as elsewhere:
        headers = {"Location": elsewhere.url, "Retry-After": "5"}
        with Receiver([Reply(status, b"", headers)]) as receiver:
            notifier = webhook(receiver.url, "hush-hush")
            with pytest.raises(error, match=str(status)) as caught:
                notifier.send(notice())
    assert type(caught.value) is error
    assert len(receiver.posts) == 1
    assert not elsewhere.posts
    if isinstance(caught.value, Undelivered):
        assert caught.value.wait_s == 5


@pytest.mark.parametrize("reply", [Reply(hang=True), Reply(reset=True)])
def test_no_answer_is_tried_again_with_the_same_body(reply: Reply) -> None:
    """The second time it is taken."""
    with Receiver([reply, Reply()]) as receiver:
        with pytest.raises(Undelivered):
            webhook(receiver.url, total_s=1).send(notice())
        webhook(receiver.url).send(notice())
        assert len({post.body for post in receiver.posts}) == 1


def test_nothing_secret_is_shown() -> None:
    """Neither the address nor a secret, where the receiver echoes both."""
    with Receiver([Reply(400, f"{PATH} quite-secret-t0ken hush-hush".encode())]) as receiver:
        notifier = webhook(receiver.url, "hush-hush")
        with pytest.raises(Permanent) as caught:
            notifier.send(notice())
    shown = str(caught.value) + repr(notifier)
    assert "t0ken" not in shown
    assert "hush-hush" not in shown
    assert f"127.0.0.1:{receiver.port}" in shown
    with pytest.raises(ConfigError, match="not set"):
        WebhookNotifier(WebhookSettings())


def test_user_and_password_of_the_address_log_in() -> None:
    """As HTTP's basic login, and neither shows."""
    with Receiver([Reply(401, b"no: us3r-name passw0rd")]) as receiver:
        notifier = webhook(receiver.url.replace("//", "//us3r-name:passw0rd@"))
        with pytest.raises(Permanent) as caught:
            notifier.send(notice())
    assert receiver.posts[0].headers["Authorization"] == "Basic dXMzci1uYW1lOnBhc3N3MHJk"
    assert "passw0rd" not in str(caught.value) + repr(notifier)
    assert "us3r" not in str(caught.value) + repr(notifier)


@settings(max_examples=20)
@given(notices())
def test_any_message_is_json_that_everybody_reads(any_notice: Notice) -> None:
    """UTF-8 without lone surrogates or control characters, all subjects in it."""
    raw = json.dumps(payload(any_notice), ensure_ascii=False).encode()
    read = json.loads(raw)
    assert read == payload(any_notice)
    assert len(read["subjects"]) == len(any_notice.subjects)
    assert read["title"].isprintable()
    assert all(line.isprintable() for line in read["lines"])
    assert read["kind"] in {str(kind) for kind in NoticeKind}
