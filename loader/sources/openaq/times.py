"""Times as the API writes and takes them: ISO 8601, microseconds UTC in the loader."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from loader.readings import Bool, Int64

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
STAMP = 20
"""Letters of the usual form, 2026-10-05T01:00:00Z."""


def stamp(at: int) -> str:
    """A time in microseconds UTC as the API takes it: with a Z, for it means local time without."""
    text = (EPOCH + timedelta(microseconds=at)).replace(tzinfo=None).isoformat()
    return f"{text}Z"


def cadence(interval: str, count: float) -> float | None:
    """Seconds between readings, from `count` of them in an interval such as 01:00:00; None
    where that makes no sense."""
    match = re.fullmatch(r"([0-9]{1,4}):([0-5][0-9]):([0-5][0-9])", interval)
    if match is None or count <= 0:
        return None
    hours, minutes, seconds = map(int, match.groups())
    every = (hours * 3600 + minutes * 60 + seconds) / count
    return every if 1 <= every <= 7 * 86_400 else None


DIGITS = [i for i, letter in enumerate("0000-00-00T00:00:00Z") if letter == "0"]
MARKS = [4, 7, 10, 13, 16, 19]
MARKED = np.frombuffer(b"--T::Z", np.uint8)


def parse_time(text: str) -> int | None:
    """Microseconds UTC of one ISO 8601 time with a zone; None for anything else."""
    if not (text.isascii() and text.isprintable()):
        return None
    try:
        at = datetime.fromisoformat(text)
        return None if at.tzinfo is None else (at - EPOCH) // MICROSECOND
    except (ValueError, OverflowError):
        return None


def parse_times(texts: Sequence[str]) -> tuple[Int64, Bool]:
    """Microseconds UTC of ISO 8601 times with a zone, and which of them were legible."""
    n = len(texts)
    if n > 1 and (fast := _parse_usual(texts)) is not None:
        return fast, np.ones(n, bool)
    slow = [parse_time(text) for text in texts]
    legible = np.array([at is not None for at in slow], bool)
    return np.array([at or 0 for at in slow], np.int64), legible


def _parse_usual(texts: Sequence[str]) -> Int64 | None:
    """The same where all are in the usual form, in one go; None where one is not."""
    joined = "".join(texts)
    if set(map(len, texts)) != {STAMP} or not joined.isascii():
        return None
    letters = np.frombuffer(joined.encode("ascii"), np.uint8).reshape(-1, STAMP)
    # NumPy takes more forms than these, signs and zones where digits belong among them.
    if not ((letters[:, DIGITS] - ord("0") <= 9).all() and (letters[:, MARKS] == MARKED).all()):
        return None
    try:
        seconds = np.ascontiguousarray(letters[:, :19]).view("S19").ravel().astype("datetime64[s]")
    except ValueError:
        return None
    return seconds.astype(np.int64) * 1_000_000
