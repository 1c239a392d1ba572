"""Times as ISO 8601 text, many at once: in UTC, or in a zone with the offset that applied. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import numpy as np

from loader.readings import DAY, SECOND, Int64

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CALENDAR = (-719_162, 2_932_895)
"""Days since the epoch on which every offset stays within the years 1 to 9999."""


def zone_of(name: str) -> tzinfo | None:
    """The IANA zone of that name; None where the name is empty or unknown."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return None


def stamps(time: Int64, zone: tzinfo | None = None) -> list[str]:
    """Microseconds UTC as `2026-11-20T06:00:00Z`, or in `zone` as `2026-11-20T07:00:00+01:00`.

    A fraction, six digits, is written only where there is one.
    """
    if zone is None:
        return [text + "Z" for text in _plain(time)]
    offset = offsets(time, zone)
    known, which = np.unique(offset, return_inverse=True)
    suffixes = [_suffix(o) for o in known.tolist()]
    local = _plain(time + offset)
    return [text + suffixes[i] for text, i in zip(local, which.tolist(), strict=True)]


def offsets(time: Int64, zone: tzinfo) -> Int64:
    """What to add to UTC for local time, in microseconds.

    A day that begins and ends with one offset has it throughout; only on the others is every
    time looked up by itself.
    """
    day = time // DAY
    days, which = np.unique(day, return_inverse=True)
    begin = np.array([_offset(d * DAY, zone) for d in days.tolist()], np.int64)
    end = np.array([_offset((d + 1) * DAY - 1, zone) for d in days.tolist()], np.int64)
    result: Int64 = begin[which]
    for i in np.flatnonzero((begin != end)[which]).tolist():
        result[i] = _offset(int(time[i]), zone)
    return result


def _offset(time: int, zone: tzinfo) -> int:
    if not _CALENDAR[0] < time // DAY < _CALENDAR[1]:
        return 0
    offset = (_EPOCH + timedelta(microseconds=time)).astimezone(zone).utcoffset() or timedelta()
    return offset // timedelta(microseconds=1)


def _plain(time: Int64) -> list[str]:
    whole = time % SECOND == 0
    texts: list[str] = np.datetime_as_string(time.astype("M8[us]"), unit="s").tolist()
    if not whole.all():
        fine = np.datetime_as_string(time.astype("M8[us]"), unit="us").tolist()
        texts = [a if w else b for a, b, w in zip(texts, fine, whole.tolist(), strict=True)]
    return texts


def _suffix(offset: int) -> str:
    sign = "-" if offset < 0 else "+"
    minutes, seconds = divmod(abs(offset) // SECOND, 60)
    text = f"{sign}{minutes // 60:02}:{minutes % 60:02}"
    # Local mean times of the nineteenth century are not whole minutes.
    return f"{text}:{seconds:02}" if seconds else text
