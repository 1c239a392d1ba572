"""Times as files have them: ISO 8601, `31/01/2024 18.00.00`, seconds since 1970, cycles."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

import numpy as np

from loader.readings import HOUR, Int64

NONE = -(2**63)
"""Stands in columns of times for one that cannot be read."""

CYCLE = HOUR
"""What a cycle counts as: durations in rules are then cycles instead of hours."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_REMEMBERED = 20_000

_DIGITS = {10: 1_000_000, 13: 1_000, 16: 1}
"""Microseconds in one, by the number of digits that a count since 1970 has in our time."""

_WRITTEN = re.compile(
    r"(\d{1,4})[./-](\d{1,2})[./-](\d{2,4})"
    r"(?:[ T]+(\d{1,2})(?:[:.](\d{2}))?(?:[:.](\d{2}))?(?:[.,](\d{1,9}))?)?"
    r"\s*([AaPp][Mm])?\s*(Z|UTC|GMT|[+-]\d{2}:?\d{2})?"
)


@dataclass(slots=True)
class Clock:
    """How the times of one file are read.

    zone      of times that name none
    dayfirst  whether 03/04/2024 is the 3rd of April
    naive     how many times named no zone
    shifted   how many of them stand in an hour that the zone's clocks skip or have twice
    """

    zone: tzinfo = UTC
    dayfirst: bool = True
    cycles: bool = False
    naive: int = 0
    shifted: int = 0
    _known: dict[Any, tuple[int, int]] = field(default_factory=dict)

    def read(self, values: Sequence[Any]) -> Int64:
        """Microseconds UTC of each; NONE where it cannot be read."""
        out = np.empty(len(values), np.int64)
        known = self._known
        if len(known) > _REMEMBERED:
            known.clear()
        naive = shifted = 0
        for i, value in enumerate(values):
            try:
                found = known[value]
            except KeyError:
                found = known[value] = self._read(value)
            except TypeError:
                found = (NONE, 0)
            out[i] = found[0]
            naive += found[1] > 0
            shifted += found[1] > 1
        self.naive += naive
        self.shifted += shifted
        return out

    def _read(self, value: Any) -> tuple[int, int]:
        """(microseconds, 0 with a zone, 1 without, 2 without where the clocks are changed)."""
        if self.cycles:
            return _cycle(value), 0
        if isinstance(value, bool) or value is None:
            return NONE, 0
        if isinstance(value, date):
            return self._micros(
                value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
            )
        text = value.strip() if isinstance(value, str) else repr(value)
        counted = _counted(text)
        if counted != NONE or not text.isascii():
            return counted, 0
        at = _iso(text) or _written(text, self.dayfirst)
        return (NONE, 0) if at is None else self._micros(at)

    def _micros(self, at: datetime) -> tuple[int, int]:
        naive = at.tzinfo is None
        try:
            here = at.replace(tzinfo=self.zone) if naive else at
            shifted = naive and here.utcoffset() != here.replace(fold=1).utcoffset()
            return (here - _EPOCH) // _MICROSECOND, naive + shifted
        except (OverflowError, ValueError):
            return NONE, 0


def _iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _counted(text: str) -> int:
    """Seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by their digits."""
    whole, _, fraction = text.partition(".")
    if len(whole) == 19 and whole.isdigit() and not fraction:
        return int(whole) // 1000
    unit = _DIGITS.get(len(whole))
    if unit is None or not whole.isdigit() or not (fraction.isdigit() or not fraction):
        return NONE
    return int(whole) * unit + round(float(f"0.{fraction or 0}") * unit)


def _cycle(value: Any) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return NONE
    return int(number) * CYCLE if number == number // 1 and 0 <= number < 1e6 else NONE


def _written(text: str, dayfirst: bool) -> datetime | None:
    match = _WRITTEN.fullmatch(text)
    if match is None:
        return None
    a, b, c, hour, minute, second, fraction, half, zone = match.groups()
    if len(a) == 4:
        year, month, day = int(a), int(b), int(c)
    else:
        day, month = (int(a), int(b)) if dayfirst else (int(b), int(a))
        year = int(c) + (2000 if len(c) == 2 else 0)
    h = int(hour or 0)
    if half:
        if not 1 <= h <= 12:
            return None
        h = h % 12 + (12 if half.lower() == "pm" else 0)
    micro = int(f"{fraction or 0:0<6}"[:6])
    try:
        at = datetime(year, month, day, h, int(minute or 0), int(second or 0), micro)
        return at if zone is None else datetime.combine(at.date(), at.time(), _offset(zone))
    except ValueError:
        return None


def _offset(zone: str) -> tzinfo:
    return UTC if zone[0] not in "+-" else datetime.strptime(zone.replace(":", ""), "%z").tzinfo or UTC


def day_first(texts: Iterable[Any]) -> bool | None:
    """Whether the day stands before the month in texts such as 31/01/2024; None where they do not
    tell, or are not of this form."""
    for text in texts:
        match = _WRITTEN.fullmatch(text.strip()) if isinstance(text, str) else None
        if match is not None and len(match[1]) <= 2:
            if int(match[1]) > 12:
                return True
            if int(match[2]) > 12:
                return False
    return None


def ambiguous(texts: Iterable[Any]) -> bool:
    """Whether any text has the day and the month where only others can tell which is which."""
    matches = (_WRITTEN.fullmatch(t.strip()) for t in texts if isinstance(t, str))
    return any(m is not None and len(m[1]) <= 2 for m in matches)


def is_time(text: str) -> bool:
    """Whether a text is a date or a time; plain counts are not told from other numbers."""
    text = text.strip()
    return bool(re.search(r"\d[-/.:]\d", text)) and _plain_time(text)


def _plain_time(text: str) -> bool:
    if not re.search(r"\d[-/]\d", text) and text.count(".") < 2:
        return False
    return _iso(text) is not None or _written(text, True) is not None or _written(text, False) is not None


def composed(parts: Sequence[Sequence[Any]]) -> list[str]:
    """Times that stand in several columns: a date and a time; or year, month, day, hour, minute."""
    if len(parts) == 2:
        return [f"{a} {b}" for a, b in zip(*parts, strict=True)]
    out = []
    for row in zip(*parts, strict=True):
        try:
            year, month, day, *clock = (int(float(one)) for one in row)
        except (TypeError, ValueError, OverflowError):
            out.append(" ".join(map(str, row)))
            continue
        hour, minute = [*clock, 0, 0][:2]
        out.append(f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}")
    return out
