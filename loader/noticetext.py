"""What a message says, in plain text, and texts from elsewhere made fit for any channel. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from loader.journal import Notice, NoticeKind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

MOST_LINES = 100
MOST_FACTS = 50
MOST_SUBJECTS = 100
NAMED_BY_ITSELF = 10
"""Title, lines and facts of a message name so many subjects; more are listed below them."""
LONGEST_LINE = 500
LONGEST_NAME = 100


def line(text: str, limit: int = LONGEST_LINE) -> str:
    """The text on one line: neither line breaks nor control characters nor halves of surrogate
    pairs, which headers, JSON readers and terminals each take amiss."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def lines(notice: Notice, most: int = MOST_LINES) -> list[str]:
    """Its lines, without empty ones; the last says how many more there are."""
    return _first([made for text in notice.lines if (made := line(text))], most, "… and {} more lines")


def facts(notice: Notice, most: int = MOST_FACTS) -> list[tuple[str, str]]:
    """Its facts; a dash stands for what is empty."""
    return [(line(name) or "-", line(value) or "-") for name, value in notice.facts[:most]]


def subjects(notice: Notice, most: int = MOST_SUBJECTS) -> str:
    """The names of what it is about, where they are more than its lines name; the last words say
    how many more there are."""
    if len(notice.subjects) <= NAMED_BY_ITSELF:
        return ""
    named = [made for text in notice.subjects if (made := line(text, LONGEST_NAME))]
    return ", ".join(_first(named, most, "and {} more"))


def _first(items: Sequence[str], most: int, rest: str) -> list[str]:
    more = len(items) - most
    return [*items[:most], rest.format(more)] if more > 0 else list(items)


def title(notice: Notice, limit: int = 200) -> str:
    return line(notice.title, limit) or "message of the loader"


def word(notice: Notice) -> str:
    """Why it is sent, in a word or two: critical; critical, reminder; recovered; test."""
    if notice.kind is NoticeKind.TEST:
        return "test"
    if notice.kind is NoticeKind.RECOVERY:
        return "recovered"
    return f"{notice.severity}, reminder" if notice.kind is NoticeKind.REMINDER else str(notice.severity)


def footer(notice: Notice) -> str:
    """One line: why and when it was made, and its id."""
    return f"{word(notice)} · {stamp(notice.at, whole=True)} · {key(notice)}"


def text(notice: Notice) -> str:
    """The whole message below its title."""
    blocks = [
        "\n".join(lines(notice)),
        "\n".join(f"{name}: {value}" for name, value in facts(notice)),
        f"Concerns: {names}" if (names := subjects(notice)) else "",
        f"Look closer: {command}" if (command := line(notice.command)) else "",
        footer(notice),
    ]
    return "\n\n".join(block for block in blocks if block)


def key(notice: Notice) -> str:
    """Its id, fit for any header: letters, digits, `.`, `_`, `-`; a digest of one that is not."""
    if _SAFE_ID.fullmatch(notice.id):
        return notice.id
    return hashlib.sha256(notice.id.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def stamp(at: int, *, whole: bool = False) -> str:
    """Microseconds UTC as `2026-11-20T06:00:00Z`; to `whole` seconds, or with a fraction where
    there is one."""
    time = (_EPOCH + timedelta(microseconds=at)).replace(tzinfo=None)
    return time.isoformat(timespec="seconds" if whole else "auto") + "Z"
