"""Where an axis has its ticks and what they say: round values, and times that a calendar has. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import floor, log10

from loader.readings import DAY, HOUR, SECOND
from loader.validation.stamps import CYCLE

LARGEST = 1.7e308

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = 60 * SECOND
_STEPS = (
    *(k * 10**power for power in range(6) for k in (1, 2, 5)),
    *(k * SECOND for k in (1, 2, 5, 10, 15, 30)),
    *(k * _MINUTE for k in (1, 2, 5, 10, 15, 30)),
    *(k * HOUR for k in (1, 2, 3, 6, 12)),
    *(k * DAY for k in (1, 2, 4, 7, 14)),
)
"""Distances of ticks up to two weeks, in microseconds."""
_MONTHS = (1, 2, 3, 6, *(12 * k * 10**power for power in range(4) for k in (1, 2, 5)))


def round_values(low: float, high: float) -> list[float]:
    """About four multiples of 1, 2 or 5 times a power of ten between low and high."""
    rough = high / 4 - low / 4
    if not 1e-300 < rough < 1e300:
        return [low, high]
    power = 10.0 ** floor(log10(rough))
    step = next(k * power for k in (1, 2, 5, 10) if k * power >= rough)
    first = -(-low // step)
    # Written anew, so that 3 * 0.1 is 0.3.
    return [float(f"{(first + i) * step:.12g}") for i in range(6) if (first + i) * step <= high]


def cycles(begin: int, end: int) -> list[tuple[int, str]]:
    """(time, what it says) of ticks at round numbers of cycles."""
    return [
        (round(at * CYCLE), f"cycle {at:.0f}")
        for at in round_values(begin / CYCLE, max(end, begin + 4 * CYCLE) / CYCLE)
        if at == at // 1 and at * CYCLE <= end
    ]


def times(begin: int, end: int, most: int = 7) -> list[tuple[int, str]]:
    """(time, what it says) of up to `most` ticks: at round times of the day, at midnights (UTC), or at
    the first of months."""
    try:
        for step in _STEPS:
            if (end - begin) // step < most:
                origin = 4 * DAY if step in (7 * DAY, 14 * DAY) else 0  # weeks begin on Mondays
                first = begin - (begin - origin) % -step
                return [(at, _said(at, step, end - begin)) for at in range(first, end + 1, step)]
        for months in _MONTHS:
            if (end - begin) // (months * 28 * DAY) < 2 * most:
                found = [one for one in _firsts(begin, end, months) if begin <= one[0]]
                if len(found) <= most:
                    return found
    except OverflowError:
        pass
    return []


def _said(at: int, step: int, whole: int) -> str:
    when = _EPOCH + timedelta(microseconds=at)
    if step >= DAY:
        return f"{when:%Y-%m-%d}"
    clock = f"{when:%H:%M}" if step >= _MINUTE else f"{when:%H:%M:%S}"
    if step < SECOND:
        return f"{clock}.{when.microsecond:06}".rstrip("0").rstrip(".")
    return f"{when:%m-%d} {clock}" if whole > DAY / 2 else clock


def _firsts(begin: int, end: int, months: int) -> Iterator[tuple[int, str]]:
    """The first of every so many months."""
    start = _EPOCH + timedelta(microseconds=begin)
    number = (start.year * 12 + start.month - 1) // months * months
    while number < 9999 * 12:
        if number >= 12:
            when = datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)
            at = (when - _EPOCH) // timedelta(microseconds=1)
            if at > end:
                return
            yield at, f"{when:%Y}" if months % 12 == 0 else f"{when:%Y-%m}"
        number += months
