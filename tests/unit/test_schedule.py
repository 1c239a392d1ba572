"""When a source is due, against an oracle that looks at every minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.readings import DAY, HOUR, SECOND
from loader.schedule import Cron, Every, coming, passed, zone
from loader.settings.durations import MINUTE, parse_time

ZONES = ["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]

CHANGES = {
    "UTC": ["2024-06-01T00:00Z"],
    "Europe/Paris": ["2024-03-31T01:00Z", "2024-10-27T01:00Z"],
    "America/New_York": ["2024-03-10T07:00Z", "2024-11-03T06:00Z"],
    "Australia/Lord_Howe": ["2024-10-05T15:30Z", "2024-04-06T15:00Z"],
    "Asia/Kolkata": ["2024-02-28T18:30Z"],
}
"""Moments when the clocks change, or others worth a look."""

RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(text: str) -> int:
    return parse_time(text)


def shown(at: int) -> str:
    return (EPOCH + timedelta(microseconds=at)).strftime("%Y-%m-%dT%H:%MZ")


def wanted(text: str, low: int, high: int) -> set[int]:
    """The values of a field that has numbers only."""
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        begin, end = (low, high) if first == "*" else (int(first), int(last or first))
        found |= {n for n in range(begin, end + 1) if (n - begin) % int(step or 1) == 0}
    return found


def matches(line: str, wall: datetime) -> bool:
    """Whether crontab(5) has the line run at that minute of the wall clock."""
    fields = line.split()
    minute, hour, day, month, weekday = (
        wanted(f, low, high) for f, (low, high) in zip(fields, RANGES, strict=True)
    )
    if wall.minute not in minute or wall.hour not in hour or wall.month not in month:
        return False
    today = wall.isoweekday()
    by_day, by_weekday = wall.day in day, today in weekday or (today == 7 and 0 in weekday)
    if fields[2].startswith("*") or fields[4].startswith("*"):
        return by_day and by_weekday
    return by_day or by_weekday


def oracle(line: str, timezone: str, after: int, until: int) -> list[int]:
    """Every due moment in (after, until], found by looking at each minute."""
    place = ZoneInfo(timezone)
    found = []
    minute = after - after % MINUTE + MINUTE
    while minute <= until:
        utc = EPOCH + timedelta(microseconds=minute)
        local = utc.astimezone(place)
        walls = [] if local.fold else [local.replace(tzinfo=None)]
        for ahead in (timedelta(minutes=30), timedelta(hours=1)):
            # So shortly after the clocks went forward, the minute that they skipped has its turn.
            if local.utcoffset() - (utc - ahead).astimezone(place).utcoffset() == ahead:  # type: ignore[operator]
                walls.append(local.replace(tzinfo=None) - ahead)
        if any(matches(line, wall) for wall in walls):
            found.append(minute)
        minute += MINUTE
    return found


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    step = st.integers(1, 12)
    span = st.tuples(number, number).map(lambda two: f"{min(two)}-{max(two)}")
    part = st.one_of(number.map(str), span, st.builds(lambda s, n: f"{s}/{n}", span, step))
    listed = st.lists(part, min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), step.map(lambda n: f"*/{n}"), listed)


LINES = st.tuples(
    field(0, 59), field(0, 23), st.one_of(st.just("*"), field(1, 28)), st.just("*"), field(0, 6)
).map(" ".join)


@settings(max_examples=20)
@given(line=LINES, timezone=st.sampled_from(ZONES), shift=st.integers(-40 * 60, 10 * 60), data=st.data())
def test_a_line_is_due_just_when_the_oracle_says(
    line: str, timezone: str, shift: int, data: st.DataObject
) -> None:
    """Around changes of the clocks every due moment is found, in order, and no other."""
    start = moment(data.draw(st.sampled_from(CHANGES[timezone]))) + shift * MINUTE
    until = start + 30 * HOUR
    expected = oracle(line, timezone, start, until)
    cron = Cron.parse(line, timezone)
    found: list[int] = []
    at = cron.after(start)
    while at <= until:
        found.append(at)
        at = cron.after(at)
    assert [shown(t) for t in found] == [shown(t) for t in expected]


@pytest.mark.parametrize(
    ("line", "timezone", "start", "due"),
    [
        ("30 2 * * *", "Europe/Paris", "2024-03-30T12:00Z", ["2024-03-31T01:30Z", "2024-04-01T00:30Z"]),
        ("30 2 * * *", "Europe/Paris", "2024-10-26T12:00Z", ["2024-10-27T00:30Z", "2024-10-28T01:30Z"]),
        ("30 1 * * *", "America/New_York", "2024-11-02T12:00Z", ["2024-11-03T05:30Z", "2024-11-04T06:30Z"]),
        ("15 2 * * *", "Australia/Lord_Howe", "2024-10-05T12:00Z", ["2024-10-05T15:45Z"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2024-04-06T12:00Z", ["2024-04-06T14:45Z"]),
        ("0 0 * * *", "Asia/Kolkata", "2024-01-01T00:00Z", ["2024-01-01T18:30Z"]),
        ("0 0 29 2 *", "UTC", "2024-03-01T00:00Z", ["2028-02-29T00:00Z"]),
        ("0 0 29 2 *", "UTC", "2096-03-01T00:00Z", ["2104-02-29T00:00Z"]),
        ("0 0 13 * 5", "UTC", "2024-09-10T00:00Z", ["2024-09-13T00:00Z", "2024-09-20T00:00Z"]),
        ("0 0 13 * 5", "UTC", "2024-10-12T00:00Z", ["2024-10-13T00:00Z", "2024-10-18T00:00Z"]),
        ("0 0 */2 * 1", "UTC", "2024-09-01T00:00Z", ["2024-09-09T00:00Z", "2024-09-23T00:00Z"]),
        ("*/7 * * * *", "UTC", "2024-01-01T00:50Z", ["2024-01-01T00:56Z", "2024-01-01T01:00Z"]),
        ("0 12 * jan-mar MON", "UTC", "2024-03-20T00:00Z", ["2024-03-25T12:00Z", "2025-01-06T12:00Z"]),
        ("0 0 * * 5-7", "UTC", "2024-01-06T01:00Z", ["2024-01-07T00:00Z", "2024-01-12T00:00Z"]),
    ],
)  # fmt: skip
def test_known_moments(line: str, timezone: str, start: str, due: list[str]) -> None:
    """Nights of change, leap days, either day rule, steps, names and ranges, as worked out by hand."""
    assert [shown(at) for at in coming(Cron.parse(line, timezone), moment(start), len(due))] == due


def test_sunday_is_nought_and_seven_and_its_name() -> None:
    """Three ways to write Sunday mean the same, and it is not Monday."""
    start = moment("2024-01-01T00:00Z")
    found = {shown(Cron.parse(f"0 6 * * {day}").after(start)) for day in ("0", "7", "sun", "Sun")}
    assert found == {"2024-01-07T06:00Z"}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@ANNUALLY", "0 0 1 1 *"),
    ],
)
def test_nicknames(name: str, line: str) -> None:
    """A nickname means the line that crontab(5) gives for it."""
    assert Cron.parse(name) == Cron.parse(line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 0 31 2 *", "never due"),
        ("0 0 30 feb *", "never due"),
        ("0 0 * *", "no crontab line"),
        ("0 0 * * * *", "no crontab line"),
        ("@reboot", "no crontab line"),
        ("60 * * * *", "minute 60"),
        ("0 24 * * *", "hour 24"),
        ("0 0 0 * *", "day of month 0"),
        ("0 0 * 13 *", "month 13"),
        ("0 0 * * 8", "weekday 8"),
        ("0 0 * * mo", "weekday mo"),
        ("*/0 * * * *", "step 0"),
        ("9-5 * * * *", "ends before it begins"),
        ("*-5 * * * *", "legible minute"),
        ("1,,2 * * * *", "legible minute"),
        ("-1 * * * *", "legible minute"),
        ("0 0 L * *", "day of month L"),
    ],
)
def test_what_cannot_be_meant_is_refused(line: str, said: str) -> None:
    """The message names the field that is wrong."""
    with pytest.raises(ValueError, match=said):
        Cron.parse(line)


def test_unknown_zones_are_refused() -> None:
    """A name that is no IANA zone, or would leave its folder, is refused with an example."""
    for name in ("Europe/Pairs", "../etc/passwd", "", "CEST\0"):
        with pytest.raises(ValueError, match="Europe/Paris"):
            zone(name)


@given(
    interval=st.integers(SECOND, 40 * DAY),
    start=st.integers(0, 50_000 * DAY),
    count=st.integers(1, 5),
)
def test_every_counts_from_the_epoch(interval: int, start: int, count: int) -> None:
    """Due moments are consecutive multiples of the interval, the first of them after the start."""
    due = coming(Every(interval), start, count)
    assert all(at % interval == 0 for at in due)
    assert start < due[0] <= start + interval
    assert [b - a for a, b in pairwise(due)] == [interval] * (count - 1)


def test_a_due_moment_is_not_after_itself() -> None:
    """Asked at a due moment, both kinds give the next one."""
    at = moment("2024-01-01T02:00Z")
    assert shown(Every(2 * HOUR).after(at)) == "2024-01-01T04:00Z"
    assert shown(Cron.parse("0 */2 * * *").after(at)) == "2024-01-01T04:00Z"
    assert Cron.parse("0 */2 * * *").after(at - 1) == at


def test_passed_counts_what_was_due() -> None:
    """Both ends of (since, now] are respected; the list is short, the count goes further, bounded."""
    start = moment("2024-01-01T00:00Z")
    every = Every(HOUR)
    assert passed(every, start, start + HOUR - 1, 5) == ([], 0)
    assert passed(every, start, start + HOUR, 5) == ([start + HOUR], 1)
    assert passed(every, start, start + 8 * HOUR, 3) == ([start + n * HOUR for n in (1, 2, 3)], 8)
    assert passed(every, start, start + 1000 * DAY, 2)[1] == 200


def test_every_minute_of_a_day_is_asked_for_in_turn() -> None:
    """As a worker may; each comes once."""
    cron = Cron.parse("* * * * *", "Europe/Paris")
    start = moment("2024-06-01T00:00Z")
    assert coming(cron, start, 1440) == [start + n * HOUR // 60 for n in range(1, 1441)]
