"""Messages to Slack, posted to a real receiver, and their sizes."""

from __future__ import annotations

import html
from typing import Any

import pytest
from hypothesis import given, settings
from notices import CLOCK, bare_environment, notice, notices
from pydantic import SecretStr

from loader.errors import ConfigError, Permanent, Undelivered
from loader.journal import Notice, NoticeKind, Severity
from loader.notifiers.slack import SlackNotifier, escaped, payload
from loader.posting import Poster
from loader.settings.alerting import SlackSettings
from tests.receivers import Lines, Receiver, Reply, certificate

PATH = "/services/T0AAAAAAA/B0BBBBBBB/cccccccccccccccccccccccc"
_environment = pytest.fixture(autouse=True)(bare_environment)


def slack(url: str, **more: Any) -> SlackNotifier:
    return SlackNotifier(SlackSettings(webhook_url=SecretStr(url + PATH)), CLOCK, **more)


def texts(made: dict[str, Any]) -> list[str]:
    """Every text of every block."""
    found = []
    for block in made["blocks"]:
        found += [one["text"] for one in block.get("fields", []) + block.get("elements", [])]
        found += [block["text"]["text"]] if "text" in block else []
    return found


def test_a_message_is_posted_with_a_fallback_and_blocks() -> None:
    """What failed, the facts, the command and the id all arrive, below a header with a sign."""
    with Receiver() as receiver:
        slack(receiver.url).send(notice())
        post = receiver.posts[0]
    assert (post.method, post.path) == ("POST", PATH)
    assert post.headers["Content-Type"] == "application/json"
    made = post.json
    assert made["text"] == "🔴 critical: openaq: 3 runs failed in a row"
    assert made["blocks"][0]["text"]["text"] == "🔴 openaq: 3 runs failed in a row"
    whole = "\n".join(texts(made))
    for said in (
        "the last error: 503",
        "*failures*\n3",
        "Delhi &amp; Agra",
        "`loader runs --source openaq`",
    ):
        assert said in whole
    assert whole.endswith("critical · 2027-01-15T08:00:00Z · n-1")


@pytest.mark.parametrize(
    ("kind", "severity", "sign"),
    [
        (NoticeKind.ALERT, Severity.WARNING, "🟠 warning: "),
        (NoticeKind.REMINDER, Severity.CRITICAL, "🔴 critical, reminder: "),
        (NoticeKind.RECOVERY, Severity.CRITICAL, "🟢 recovered: "),
        (NoticeKind.TEST, Severity.WARNING, "🔵 test: "),
    ],
)
def test_kind_and_severity_show_at_once(kind: NoticeKind, severity: Severity, sign: str) -> None:
    """By a sign and a word, before the title."""
    assert payload(notice(kind=kind, severity=severity))["text"].startswith(sign)


@pytest.mark.parametrize(
    ("status", "said", "remedy"),
    [
        (400, b"invalid_payload", "report it"),
        (403, b"action_prohibited", "administrator"),
        (403, b"invalid_token", "SLACK_WEBHOOK_URL"),
        (404, b"no_service", "make a new webhook in Slack and put its address into SLACK_WEBHOOK_URL"),
        (404, b"channel_not_found", "make a new webhook"),
        (410, b"channel_is_archived", "out of the archive"),
        (418, b"something_new", "check SLACK_WEBHOOK_URL"),
        (302, b"", "redirects"),
    ],
)
def test_a_refusal_for_good_says_what_slack_said_and_what_to_do(
    status: int, said: bytes, remedy: str
) -> None:
    """It is not tried again, and neither the error nor the repr shows the address."""
    with Receiver([Reply(status, said, {"Location": "http://127.0.0.1:1/"})]) as receiver:
        notifier = slack(receiver.url)
        with pytest.raises(Permanent) as caught:
            notifier.send(notice())
    text = str(caught.value)
    assert said.decode() in text
    assert remedy in text
    assert f"127.0.0.1:{receiver.port}: {status}" in text
    assert len(receiver.posts) == 1
    assert "T0AAAAAAA" not in text + repr(notifier)
    assert "services" not in text + repr(notifier)


def test_too_many_is_delivered_later() -> None:
    """A 429 says how long to wait, and the next try delivers."""
    with Receiver([Reply(429, b"rate_limited", {"Retry-After": "7"}), Reply()]) as receiver:
        notifier = slack(receiver.url)
        with pytest.raises(Undelivered, match="rate_limited") as caught:
            notifier.send(notice())
        assert caught.value.wait_s == 7
        notifier.send(notice())
        assert [post.json for post in receiver.posts] == [payload(notice())] * 2


@pytest.mark.parametrize(("header", "wait_s"), [("999999999", 3600), ("-1", None), ("soon", None)])
def test_a_wait_that_makes_no_sense_is_bounded(header: str, wait_s: float | None) -> None:
    """Nobody parks a message for years."""
    reply = Reply(429, b"", {"Retry-After": header})
    with Receiver([reply]) as receiver, pytest.raises(Undelivered) as caught:
        slack(receiver.url).send(notice())
    assert caught.value.wait_s == wait_s


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(500, b"rollup_error"), "500 rollup_error"),
        (Reply(503, b"<html>busy</html>"), "503 Said"),
        (Reply(500, b"x" * 1_000_000), "500 xxx"),
        (Reply(500, b"half", cut=1), "500"),
        (Reply(reset=True), "connection broke"),
        (Reply(hang=True), "no answer within"),
        (Reply(drip=0.02), "no answer within 0.5 s in all"),
    ],
)
def test_no_answer_and_a_fault_of_the_server_are_tried_again(reply: Reply, said: str) -> None:
    """A server in trouble, one that hangs, one that sends its header a byte at a time."""
    with Receiver([reply]) as receiver, pytest.raises(Undelivered, match=said) as caught:
        slack(receiver.url, total_s=0.5 if said.startswith("no answer") else 10.0).send(notice())
    assert "T0AAAAAAA" not in str(caught.value)


def test_an_answer_cut_off_after_its_200_counts() -> None:
    """The message was taken; a second one would be a repetition."""
    with Receiver([Reply(200, b"ok", cut=1)]) as receiver:
        slack(receiver.url).send(notice())
    assert len(receiver.posts) == 1


def test_nobody_listening_is_tried_again() -> None:
    """A refused connection, and one that is closed without an answer."""
    with Lines(cut=True) as server, pytest.raises(Undelivered, match="connection broke"):
        slack(f"http://127.0.0.1:{server.port}").send(notice())
    with pytest.raises(Undelivered, match="no connection, it is refused"):
        slack(f"http://127.0.0.1:{server.port}").send(notice())


def test_the_certificate_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown one is refused with the remedy; with its CA in the bundle the message arrives."""
    with Receiver(tls=True, host="localhost") as receiver:
        with pytest.raises(Undelivered, match=r"cannot be verified.*REQUESTS_CA_BUNDLE"):
            slack(receiver.url).send(notice())
        assert not receiver.posts
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate().pem))
        slack(receiver.url).send(notice())
        assert len(receiver.posts) == 1


def test_a_certificate_for_another_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where whoever signed it is trusted."""
    other = certificate("elsewhere.example")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other.pem))
    with Receiver(tls=other, host="localhost") as receiver:
        notifier = slack(receiver.url)
        with pytest.raises(Undelivered, match="cannot be verified"):
            notifier.send(notice())
    assert not receiver.posts


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message goes to the proxy, and one that is named in NO_PROXY does not."""
    with Receiver() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        slack("http://hooks.example").send(notice())
        assert proxy.posts[0].path == "http://hooks.example" + PATH
        with Receiver() as direct:
            slack(direct.url).send(notice())
        assert (len(proxy.posts), len(direct.posts)) == (1, 1)


@pytest.mark.parametrize(
    "url", ["hooks.slack.com/x", "ftp://host/x", "https:///x", "https://host:99999/x", "https://a b/\n"]
)
def test_an_address_that_is_none_is_refused_without_being_shown(url: str) -> None:
    """The key is named."""
    with pytest.raises(ConfigError, match=r"alerts\.slack\.webhook_url") as caught:
        Poster(url, setting="alerts.slack.webhook_url", clock=CLOCK)
    assert url not in str(caught.value)
    with pytest.raises(ConfigError, match="is not set"):
        SlackNotifier(SlackSettings(), CLOCK)


def check_limits(made: dict[str, Any]) -> None:
    def units(text: str) -> int:
        return len(text.encode("utf-16-le")) // 2

    assert 0 < units(made["text"]) <= 4000
    assert 0 < len(made["blocks"]) <= 50
    for block in made["blocks"]:
        if block["type"] == "header":
            assert units(block["text"]["text"]) <= 150
        if block["type"] == "section":
            assert ("text" in block) != ("fields" in block)
            assert 0 < len(block.get("fields", [1])) <= 10
            for one in block.get("fields", []):
                assert units(one["text"]) <= 2000
        if block["type"] == "context":
            assert 0 < len(block["elements"]) <= 10
    for text in texts(made):
        assert text.strip()
        assert units(text) <= 3000
        assert "<" not in text
        assert ">" not in text
        assert text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").count("&") == 0
        text.encode()
    assert sum(map(units, texts(made))) < 13_000


@settings(max_examples=20)
@given(notices())
def test_any_message_fits_slack(any_notice: Notice) -> None:
    """Every text is within its limit, not blank, escaped, and free of lone surrogates."""
    check_limits(payload(any_notice))


def test_a_thousand_subjects_fit() -> None:
    """The first are named, the others counted, and lines that do not fit are counted as well."""
    names = tuple(f"station-{n:04} <&> with a long name of its own" for n in range(1000))
    made = payload(
        notice(
            subjects=names,
            lines=tuple(f"{name} was silent for 7 h" for name in names),
            facts=tuple((name, "<" * 500) for name in names),
            title="&" * 500,
        )
    )
    check_limits(made)
    whole = "\n".join(texts(made))
    assert "station-0000 &lt;&amp;&gt;" in whole
    assert "and 980 more" in whole
    shown = whole.count("was silent for 7 h")
    assert f"… and {1000 - shown} more lines" in whole


@pytest.mark.parametrize("limit", range(1, 18))
def test_nothing_is_cut_inside_an_escape(limit: int) -> None:
    """What is left, unescaped, is a beginning of the text, and all of it where it fits."""
    cut = escaped("a&b<c>d", limit)
    assert len(cut) <= limit
    assert "a&b<c>d".startswith(html.unescape(cut).rstrip("…"))
    assert html.escape(html.unescape(cut), quote=False) == cut
    assert cut.endswith("…") == (limit < 17)


def test_the_address_may_be_echoed() -> None:
    """A server that repeats what it was asked for does not get it into the log."""
    with Receiver([Reply(404, f"nothing at {PATH}, B0BBBBBBB".encode())]) as receiver:
        notifier = slack(receiver.url)
        with pytest.raises(Permanent) as caught:
            notifier.send(notice())
    assert "nothing at" in str(caught.value)
    assert "B0BBBBBBB" not in str(caught.value)
