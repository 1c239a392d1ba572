"""Pages to columns: times, the slow path beside the fast one, broken bytes."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loader.readings import HOUR, Series
from loader.responses import BadBody
from loader.sources.openaq.decode import Sanity, decode_page, decode_record
from loader.sources.openaq.envelope import raw_records
from loader.sources.openaq.times import cadence, parse_time, parse_times, stamp

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ANY = Sanity(-(2**62), 2**62)
SERIES = (Series("1", "pm25", "µg/m³", "2", "1"),)
START = 1_790_000_000_000_000 // HOUR * HOUR

moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))


def record(at: str = "2026-10-05T01:00:00Z", value: Any = 1.5, **more: Any) -> dict[str, Any]:
    return {
        "value": value,
        "flagInfo": {"hasFlags": False},
        "parameter": {"id": 2, "name": "pm25", "units": "µg/m³"},
        "period": {"label": "raw", "interval": "01:00:00", "datetimeTo": {"utc": at, "local": at}},
        "coordinates": None,
        **more,
    }


def page(*rows: Any) -> bytes:
    return json.dumps({"meta": {"limit": 1000, "found": ">1000"}, "results": rows}).encode()


@given(st.lists(moments.map(lambda m: m.replace(microsecond=0)), min_size=2, max_size=20))
def test_usual_times_are_exact(times: list[datetime]) -> None:
    """Times in the usual form become the microseconds that the calendar says."""
    texts = [f"{t.replace(tzinfo=None).isoformat()}Z" for t in times]
    got, legible = parse_times(texts)
    assert legible.all()
    assert got.tolist() == [(t - EPOCH) // timedelta(microseconds=1) for t in times]


@given(moments, st.integers(-14 * 60 + 1, 14 * 60), st.booleans())
@example(datetime(2026, 10, 5, 1, tzinfo=UTC), 345, False)
def test_other_forms_are_exact(at: datetime, offset: int, spaced: bool) -> None:
    """Fractions, offsets such as +05:45 and a space for the T mean the same moment."""
    local = at.replace(year=2026, day=10).astimezone(timezone(timedelta(minutes=offset)))
    text = local.isoformat(" " if spaced else "T")
    expected = (at.replace(year=2026, day=10) - EPOCH) // timedelta(microseconds=1)
    assert parse_times([text, "2026-10-05T01:00:00Z"])[0][0] == expected
    assert parse_time(text) == expected
    assert parse_time(stamp(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterday", "2026-10-05", "2026-10-05T01:00:00", "2026-02-30T01:00:00Z",
        "2026-10-05T24:00:00Z", "2026-10-05T01:00:60Z", "2026-10-05T01:00:00Z\0",
        "2026-10-05T0１:00:00Z", "2026-10-05 01:00:00",
        "20a6-10-05T01:00:00Z", "2026-10-05T01:00:0\x000Z", "+026-10-05T01:00:00Z", "2026-13-05T01:00:00Z",
    ],
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    """Naive, impossible and odd times are not legible, alone or among good ones."""
    assert parse_time(text) is None
    _, legible = parse_times(["2026-10-05T01:00:00Z", text, "2026-10-05T02:00:00Z"])
    assert legible.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("interval", "count", "seconds"),
    [
        ("01:00:00", 1, 3600.0), ("01:00:00", 2, 1800.0), ("00:15:00", 1, 900.0), ("24:00:00", 1, 86_400.0),
        ("2088:00:00", 1, None), ("00:00:00", 1, None), ("1 hour", 1, None), ("01:00:00", 0, None),
        ("", 1, None),
    ],
)  # fmt: skip
def test_cadence(interval: str, count: float, seconds: float | None) -> None:
    """The distance of readings is the interval by what is expected in it, where that makes sense."""
    assert cadence(interval, count) == seconds


def test_cadence_is_learned_from_a_page() -> None:
    """A series whose cadence is not known takes it from its first measurement."""
    decoded = decode_page(page(record(), record("2026-10-05T02:00:00Z")), SERIES, ANY)
    assert decoded.series[0].cadence_s == 3600.0


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (record(value="12"), "value: expected `float | null`, got `str`"),
        (record(value=True), "value: expected `float | null`, got `bool`"),
        ({k: v for k, v in record().items() if k != "value"}, "value: missing"),
        (record(period=None), "period: expected `object`, got `null`"),
        (record(period={"label": "raw"}), "period.datetimeTo: missing"),
        (record(period={"datetimeTo": {"local": "x"}}), "period.datetimeTo.utc: missing"),
        (record("2026-10-05T01:00:00"), "period.datetimeTo.utc: not a time with a zone in ISO 8601"),
        (record(flagInfo={"hasFlags": "yes"}), "flagInfo.hasFlags: expected `bool`, got `str`"),
        (record(parameter={"name": "pm\0", "units": "x"}),
         "parameter.name: empty, too long, or with characters that cannot be printed"),
        (record(parameter={"name": "pm25", "units": ""}),
         "parameter.units: empty, too long, or with characters that cannot be printed"),
        (record(parameter={"name": "\ud800", "units": "x"}), "not readable as JSON"),
        (record(coordinates={"latitude": "north"}),
         "coordinates.latitude: expected `float | null`, got `str`"),
        (7, "expected `object`, got `int`"),
        (None, "expected `object`, got `null`"),
        (float("nan"), "not readable as JSON"),
        (record(value=float("-inf")), "not readable as JSON"),
    ],
    ids=str,
)  # fmt: skip
def test_reject_names_the_field(bad: Any, reason: str) -> None:
    """A record that is none is rejected whole, with the field in the reason; its neighbours load."""
    body = page(record(), bad, record("2026-10-05T02:00:00Z", 2.0))
    decoded = decode_page(body, SERIES, ANY)
    assert decoded.readings.value.tolist() == [1.5, 2.0]
    (reject,) = decoded.rejects
    assert (reject.rule, reject.reason, reject.partition) == ("schema", reason, "1")
    assert reject.payload == json.dumps(bad).encode()
    assert decoded.count == 3
    assert decode_record(reject.payload, SERIES, ANY).rejects[0].reason == reason


@pytest.mark.parametrize("info", [None, {}, "absent"])
def test_missing_flag_info_is_no_flag(info: Any) -> None:
    """A record that says nothing about flags is not flagged."""
    row = record(flagInfo=info)
    if info == "absent":
        del row["flagInfo"]
    decoded = decode_page(page(row, record("2026-10-05T02:00:00Z")), SERIES, ANY)
    assert decoded.readings.tests.tolist() == [0, 0]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{}", b'{"results": []}', b'{"meta": {}}', b'{"meta": {}, "results": {}}',
        b'{"meta": {}, "results": null}', b"<html>nothing</html>", b'{"detail": "no"}', b"\xff\xfe",
        b'{"meta": {}, "results": [', b'{"meta": {}, "results": [{}', b"[" * 100_000,
        b'{"meta": {}, "results": [{"value": 1,}]}',
    ],
    ids=lambda b: b[:30].decode("latin-1"),
)  # fmt: skip
def test_what_is_no_page(body: bytes) -> None:
    """Anything but a whole envelope is no page at all."""
    with pytest.raises(BadBody):
        decode_page(body, SERIES, ANY)


@pytest.mark.parametrize("limit", [100, None, "x", 0, -5, True])
def test_page_size_is_taken_where_it_is_one(limit: Any) -> None:
    """The page size that the server names counts only where it is a number that can be one."""
    body = json.dumps({"meta": {"limit": limit}, "results": [record()]}).encode()
    assert decode_page(body, SERIES, ANY).limit == (100 if limit == 100 else None)


def test_records_keep_their_bytes_around_half_characters() -> None:
    """In a page with broken escapes every record is still found, byte for byte."""
    rows = [
        b'{"a": "\\ud83d\\ude00 \\\\ud800"}',
        b'{"b": "half \\ud800 half"}',
        b'{"c":  NaN, "d": "NaN"}',
        b"-Infinity",
        b'"\\udc00\\\\"',
    ]
    body = b'{"meta": {"x": "NaN"}, "results": [' + b" , ".join(rows) + b"]}"
    assert raw_records(body)[1] == rows


@given(st.data())
def test_fast_and_slow_path_agree(data: st.DataObject) -> None:
    """One broken record in a page changes nothing about the others."""
    rng = random.Random(data.draw(st.integers(0, 2**32), label="seed"))
    rows = [
        record(
            stamp(START + h * HOUR),
            rng.choice([None, -999.0, 0.0, rng.uniform(-5, 500), rng.randrange(100)]),
            flagInfo={"hasFlags": rng.random() < 0.3},
            parameter={"name": rng.choice(["pm25", "pm10"]), "units": rng.choice(["µg/m³", "ppm"])},
            coordinates=rng.choice([None, {"latitude": rng.choice([1.0, 2.0]), "longitude": 3.0}]),
        )
        for h in range(rng.randint(1, 12))
    ]
    sanity = Sanity(START + HOUR, START + 9 * HOUR)
    fast = decode_page(page(*rows), SERIES, sanity)
    rows.insert(rng.randint(0, len(rows)), {"nothing": 1})
    slow = decode_page(page(*rows), SERIES, sanity)
    assert slow.count == fast.count + 1
    assert [r for r in slow.rejects if r.rule != "schema"] == list(fast.rejects)
    assert slow.series == fast.series
    assert slow.places == fast.places
    for column in ("series", "time", "value", "flag", "tests"):
        a, b = getattr(fast.readings, column), getattr(slow.readings, column)
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    assert fast.count == len(fast.readings) + len(fast.rejects)


@given(st.integers(0, 2**32))
def test_damaged_bytes_never_surprise(seed: int) -> None:
    """Whatever happens to the bytes of a page, every record is a reading or a reject, or the page is
    none at all."""
    rng = random.Random(seed)
    body = bytearray(page(*(record(stamp(START + h * HOUR)) for h in range(4))))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(body))
        choice = rng.randrange(3)
        if choice == 0:
            body[at] = rng.randrange(256)
        elif choice == 1:
            del body[at : at + rng.randint(1, 30)]
        else:
            body[at:at] = rng.choice(
                [b"\\ud800", b"NaN", b"null", b'"', b"}", b"\\u0000", b"\xff", b"1e999"]
            )
    try:
        decoded = decode_page(bytes(body), SERIES, ANY)
    except BadBody:
        return
    assert decoded.count == len(decoded.readings) + len(decoded.rejects), f"seed {seed}"
    assert len(decoded.stamps) <= decoded.count
    for series in decoded.series:
        assert series.parameter.isprintable(), f"seed {seed}"


@pytest.mark.parametrize("text", ["2026-11-20T07:00:0ZZ", "2026-11-20T07-00:00Z", "-026-11-20T07:00:00Z"])
def test_a_time_that_only_numpy_would_read_is_refused(text: str) -> None:
    """Also in the company of good ones."""
    times, legible = parse_times(["2026-11-20T07:00:00Z", text])
    assert legible.tolist() == [True, False]
    assert times[0] == parse_time("2026-11-20T07:00:00Z")
