"""When a source is due: every so often, or as a crontab line says. Pure: no clock."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

HORIZON_DAYS = 8 * 366 + 31
"""A 29 February can be eight years away (1896 to 1904, 2096 to 2104); what is due later never is."""

_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, {name: i for i, name in enumerate(_MONTHS, 1)}),
    ("weekday", 0, 7, {name: i for i, name in enumerate(_DAYS)}),
)
_PART = re.compile(r"(\*|[a-z0-9]+)(?:-([a-z0-9]+))?(?:/([0-9]+))?", re.IGNORECASE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Timetable(Protocol):
    """Moments in microseconds UTC."""

    def after(self, moment: int) -> int:
        """The first due moment after `moment`."""


@dataclass(frozen=True, slots=True)
class Every:
    """At whole multiples of `interval` (microseconds) since the epoch."""

    interval: int

    def after(self, moment: int) -> int:
        return moment - moment % self.interval + self.interval


@dataclass(frozen=True)
class Cron:
    """A crontab line in a time zone, as cron itself means it.

    Sunday is 0 or 7. Where both day of month and weekday are restricted, either one will do
    (crontab(5)). A wall time that the clocks skip is due when they have been put forward; one
    that they repeat is due once, the first time.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool
    timezone: str = "UTC"

    @classmethod
    def parse(cls, text: str, timezone: str = "UTC") -> Cron:
        """Read five fields or `@hourly` and the like; ValueError says what is wrong."""
        fields = _NAMED.get(text.strip().lower(), text).split()
        if len(fields) != len(_FIELDS):
            known = ", ".join(_NAMED)
            raise ValueError(
                f"is no crontab line: write minute hour day month weekday, such as 17 */2 * * *, or {known}"
            )
        minutes, hours, days, months, weekdays = (
            _field(part, *spec) for part, spec in zip(fields, _FIELDS, strict=True)
        )
        # crontab(5): a field that begins with * does not restrict.
        either = not fields[2].startswith("*") and not fields[4].startswith("*")
        cron = cls(
            tuple(sorted(minutes)),
            tuple(sorted(hours)),
            frozenset(days),
            frozenset(months),
            frozenset(day % 7 for day in weekdays),
            either,
            timezone,
        )
        if not any(cron._on(date(2096, 2, 29) + timedelta(days=n)) for n in range(HORIZON_DAYS)):
            raise ValueError("is never due: no such day exists")
        return cron

    @cached_property
    def _zone(self) -> ZoneInfo:
        return zone(self.timezone)

    def after(self, moment: int) -> int:
        start = _EPOCH + timedelta(microseconds=moment)
        # A day earlier: skipped wall times and zones far from UTC may reach over midnight.
        day = start.astimezone(self._zone).date() - timedelta(days=1)
        for _ in range(HORIZON_DAYS):
            if day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
                continue
            if self._on(day):
                times = _times(self, day)
                if times and times[-1] > moment:
                    return times[bisect_right(times, moment)]
            day += timedelta(days=1)
        raise ValueError("is never due")

    def _on(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.either else of_month and of_week


@lru_cache(maxsize=64)
def _times(cron: Cron, day: date) -> list[int]:
    """The due moments of a day, ascending. The first of two equal wall times is meant (fold 0),
    and a skipped one counts with the offset before the change, as PEP 495 has it.

    Kept, since a line that is due every minute has 1,440 of them and is asked for each in turn."""
    found = {
        (datetime(day.year, day.month, day.day, hour, minute, tzinfo=cron._zone) - _EPOCH)
        // timedelta(microseconds=1)
        for hour in cron.hours
        for minute in cron.minutes
    }
    return sorted(found)


def _field(text: str, name: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None or (match[1] == "*" and match[2]):
            raise ValueError(f"has no legible {name}: {part or 'nothing'}; write *, 5, 1-5, */2 or 1,15")
        first, last, step = match[1], match[2], int(match[3] or 1)
        begin = low if first == "*" else _number(first, name, low, high, names)
        if last is not None:
            end = _number(last, name, low, high, names)
        else:
            end = high if first == "*" or match[3] else begin
        if first == "*" and name == "weekday":
            end = 6
        if begin > end:
            raise ValueError(f"has a {name} that ends before it begins: {part}")
        if step < 1:
            raise ValueError(f"has a {name} with the step 0: {part}")
        found.update(range(begin, end + 1, step))
    return found


def _number(text: str, name: str, low: int, high: int, names: dict[str, int]) -> int:
    number = names.get(text.lower())
    if number is None:
        number = int(text) if text.isdecimal() else -1
    if not low <= number <= high:
        known = f", or {', '.join(names)}" if names else ""
        raise ValueError(f"has the {name} {text}; it must be {low} to {high}{known}")
    return number


def zone(name: str) -> ZoneInfo:
    """The IANA zone of that name; ValueError where there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name} is no IANA time zone; write one such as Europe/Paris") from None


def coming(timetable: Timetable, now: int, count: int) -> list[int]:
    """The next due moments after `now`, ascending."""
    out: list[int] = []
    for _ in range(count):
        out.append(timetable.after(out[-1] if out else now))
    return out


def passed(timetable: Timetable, since: int, now: int, limit: int) -> tuple[list[int], int]:
    """The due moments in (since, now]: the oldest `limit` of them, and how many they are in all
    (counted up to a hundred times the limit)."""
    found: list[int] = []
    count, at = 0, timetable.after(since)
    while at <= now and count < limit * 100:
        count += 1
        if len(found) < limit:
            found.append(at)
        at = timetable.after(at)
    return found, count
