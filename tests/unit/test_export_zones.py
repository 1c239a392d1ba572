"""Times as text, in UTC and in a zone: the same as the standard library says, for any time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loader.readings import DAY, SECOND
from loader.zones import stamps, zone_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ZONES = [
    "America/Toronto",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Europe/Dublin",
    "UTC",
]

TORONTO_BACK = 1_730_613_600 * SECOND
"""2024-11-03T06:00:00Z, when clocks in Toronto went back."""


@pytest.mark.parametrize("name", ZONES)
@given(
    times=st.lists(st.integers(-2_000_000_000, 4_000_000_000), max_size=20), micro=st.integers(0, 999_999)
)
@example(times=[TORONTO_BACK // SECOND + s for s in (-3601, -3600, -1, 0, 1, 3599, 3600)], micro=0)
def test_any_time_reads_as_the_library_says(name: str, times: list[int], micro: int) -> None:
    """Local time and offset of every zone, DST nights, half-hour shifts and old offsets included."""
    time = np.array([t * SECOND + micro for t in times], np.int64)
    zone = zone_of(name)
    assert zone is not None
    expected = [
        (EPOCH + timedelta(microseconds=t)).astimezone(ZoneInfo(name)).isoformat() for t in time.tolist()
    ]
    assert stamps(time, zone) == expected
    assert [text.replace("Z", "+00:00") for text in stamps(time)] == [
        (EPOCH + timedelta(microseconds=t)).isoformat() for t in time.tolist()
    ]


@pytest.mark.parametrize(
    "name", ["", "Nowhere/City", "../etc/passwd", "/etc/localtime", "A" * 5000, "a\0b"]
)
def test_an_unknown_zone_is_none(name: str) -> None:
    """Whatever a source may send for a zone."""
    assert zone_of(name) is None


def test_times_beyond_the_calendar_have_no_offset() -> None:
    """They are written in UTC's clock rather than stop the export."""
    zone = zone_of("America/Toronto")
    assert stamps(np.array([3_000_000 * DAY], np.int64), zone)[0].endswith("+00:00")
