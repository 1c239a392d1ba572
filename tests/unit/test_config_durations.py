"""Durations and dates as people write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from loader.config import Duration, Initial, format_duration, parse_duration, parse_time
from loader.readings import DAY, HOUR, SECOND
from loader.settings.durations import LONGEST

MINUTE = 60 * SECOND


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2h", 2 * HOUR),
        ("7d", 7 * DAY),
        ("30m", 30 * MINUTE),
        ("45s", 45 * SECOND),
        ("500ms", SECOND // 2),
        ("2w", 14 * DAY),
        ("1d12h", 36 * HOUR),
        ("1.5h", 90 * MINUTE),
        ("0s", 0),
        ("0", 0),
        (" 5m ", 5 * MINUTE),
        ("P1DT2H", 26 * HOUR),
        ("PT0.5S", SECOND // 2),
        ("P2W", 14 * DAY),
        ("PT1H30M", 90 * MINUTE),
    ],
)
def test_durations_are_understood(text: str, micros: int) -> None:
    """Short and ISO 8601 forms give exact microseconds."""
    assert parse_duration(text) == micros


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not a duration"),
        ("5", "not a duration"),
        ("-5m", "not a duration"),
        ("5 m", "not a duration"),
        ("5x", "not a duration"),
        ("12h1d", "the largest first"),
        ("1h1h", "each unit once"),
        ("P", "not a duration"),
        ("PT", "not a duration"),
        ("P1M", "write days"),
        ("P1Y2D", "write days"),
        ("36501d", "100 years"),
        ("9999999999w", "100 years"),
        ("0.0000001s", "finer than a microsecond"),
        ("٣h", "not a duration"),
    ],
)
def test_what_is_no_duration_is_refused(text: str, what: str) -> None:
    """The error says what to write instead."""
    with pytest.raises(ValueError, match=what):
        parse_duration(text)


@given(st.integers(0, LONGEST))
def test_what_is_written_is_read_back(micros: int) -> None:
    """Every duration survives being formatted and parsed."""
    assert parse_duration(format_duration(micros)) == micros


@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """Nothing but ValueError comes out of parsing, for durations and dates alike."""
    for parse in (parse_duration, parse_time, Initial.parse):
        try:
            parse(text)
        except ValueError as e:
            assert str(e).startswith(("is ", "has ", "must "))  # noqa: PT017 - most texts are refused


def test_code_may_speak_microseconds_and_files_may_not() -> None:
    """An int is a duration for code; from a file only 0 is, since its unit would be a guess."""
    adapter: TypeAdapter[int] = TypeAdapter(Duration)
    assert adapter.validate_python(7200) == 7200
    assert adapter.validate_python(timedelta(hours=1)) == HOUR
    assert adapter.validate_python(0, context={"file": True}) == 0
    with pytest.raises(ValidationError, match="has no unit"):
        adapter.validate_python(7200, context={"file": True})
    for wrong in (True, -1, 1.5, None):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


def micros(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp()) * SECOND  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("value", "start"),
    [
        ("7d", micros(2024, 2, 23)),
        ("2024-01-01", micros(2024, 1, 1)),
        ("2024-01-01T06:00:00", micros(2024, 1, 1, 6)),
        ("2024-01-01T06:00:00Z", micros(2024, 1, 1, 6)),
        ("2024-01-01 06:00+05:45", micros(2024, 1, 1, 0, 15)),
        (date(2024, 1, 1), micros(2024, 1, 1)),
        (datetime(2024, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), micros(2024, 1, 1)),
        (timedelta(days=1), micros(2024, 2, 29)),
    ],
)
def test_a_first_run_begins_back_from_discovery_or_at_a_date(value: object, start: int) -> None:
    """A duration counts from the discovery; a date is UTC unless it names a zone."""
    assert Initial.parse(value).start(micros(2024, 3, 1)) == start


@pytest.mark.parametrize("value", ["7d", "1d12h", "2024-01-01", "2024-01-01T06:00:00Z"])
def test_an_initial_is_shown_as_it_was_written(value: str) -> None:
    """str() gives the text back that was parsed."""
    assert str(Initial.parse(value)) == value


@pytest.mark.parametrize("value", ["2024-13-01", "2024-01-01Tsoon", "soon", 7, None, True, "0000-01-01"])
def test_an_initial_that_is_neither_is_refused(value: object) -> None:
    """The error shows a date or a duration to write."""
    with pytest.raises(ValueError, match="2024-03-01"):
        Initial.parse(value)
