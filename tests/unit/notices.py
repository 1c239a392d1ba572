"""Messages for the tests of the channels: one as it comes, and any that might."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st

from loader.journal import Notice, NoticeKind, Severity
from loader.readings import DAY, HOUR, SECOND

NOW = 1_800_000_000 * SECOND
"""2027-01-15T08:00:00Z."""
CLOCK: Callable[[], int] = lambda: NOW  # noqa: E731 - a clock is one expression

NASTY = "\r\nBcc: everybody@example.com\r\n\r\n<b>&amp;\x00\x1b[2J\u2028\ud800\U0001f525"
"""What breaks headers, markup, terminals and encoders."""


def notice(**other: Any) -> Notice:
    """An alert about failed runs."""
    usual = Notice(
        id="n-1",
        kind=NoticeKind.ALERT,
        severity=Severity.CRITICAL,
        rule="failures",
        sources=("openaq",),
        subjects=("Delhi & Agra",),
        title="openaq: 3 runs failed in a row",
        lines=("since 07:00 nothing could be read", "the last error: 503", "nothing is lost so far"),
        facts=(("failures", "3"), ("station", "Delhi & Agra"), ("watermark", "2027-01-15T06:45:00Z")),
        command="loader runs --source openaq",
        at=NOW,
        since=NOW - HOUR,
    )
    return replace(usual, **other)


def notices() -> st.SearchStrategy[Notice]:
    """Any message at all, long and nasty ones among them."""
    characters = st.characters(codec=None)
    text = st.one_of(
        st.text(characters, max_size=60),
        st.builds(lambda one, times: one * times, st.text(characters, max_size=5), st.integers(0, 1500)),
        st.just(NASTY),
        st.sampled_from(["", " ", "&<>" * 2000, "\U0001f525" * 4000]),
    )
    texts = st.lists(text, max_size=12).map(tuple)
    many = st.builds(lambda some, times: some * times, texts, st.sampled_from([1, 1, 90]))
    moment = st.integers(0, 50_000 * DAY)
    return st.builds(
        Notice,
        id=text,
        kind=st.sampled_from(NoticeKind),
        severity=st.sampled_from(Severity),
        rule=text,
        sources=many,
        subjects=many,
        title=text,
        lines=many,
        facts=st.lists(st.tuples(text, text), max_size=30).map(tuple),
        command=text,
        at=moment,
        since=st.none() | moment,
    )


def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no certificates but those that a test names."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    for name in (*names, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
