"""Readings as text: what stands in a row, in which order, and that nothing is lost on the way."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import random
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from builders import Loading, at, series

from loader.export import Form, Layout, Style, cell, export, numbers, ordered
from loader.readings import HOUR, SECOND, Bool, Readings, Series, UInt8, UInt32, Window
from loader.stores.sqlite import SQLiteStore
from tests.checks import Checks

ALWAYS = Window(-(2**62), 2**62)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    made = SQLiteStore(tmp_path / "loader.db")
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def loading(store: SQLiteStore) -> Loading:
    return Loading(store)


def written(store: SQLiteStore, style: Style, window: Window = ALWAYS) -> str:
    return b"".join(export(store, store.series(None), window, style)).decode()


def table(store: SQLiteStore, window: Window = ALWAYS, **style: object) -> list[list[str]]:
    """The CSV as any reader sees it."""
    text = written(store, Style(**style), window)  # type: ignore[arg-type]
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def test_a_long_row_says_everything(loading: Loading, store: SQLiteStore) -> None:
    """Identity, time, value, flag and the place that counted then, in this order."""
    s = series(unit="µg/m³")
    loading.commit([(s, 1, 2.5), (s, 2, -3), (s, 3, None)], places=[(s, 2, 43.5, -79.25)])
    assert table(store) == [
        [*"source station sensor parameter unit time value flag latitude longitude".split()],  # noqa: SIM905
        ["src", "st1", "s1", "pm25", "µg/m³", "2024-01-31T01:00:00Z", "2.5", "1", "", ""],
        ["src", "st1", "s1", "pm25", "µg/m³", "2024-01-31T02:00:00Z", "-3.0", "1", "43.5", "-79.25"],
        ["src", "st1", "s1", "pm25", "µg/m³", "2024-01-31T03:00:00Z", "", "9", "43.5", "-79.25"],
    ]
    assert written(store, Style()).endswith("-79.25\r\n"), "RFC 4180 ends every line with CRLF"


def test_a_sentinel_is_no_value(loading: Loading, store: SQLiteStore) -> None:
    """What is flagged missing is empty, though the store keeps what the source sent."""
    s = series()

    def missing(_: Sequence[Series], readings: Readings, __: Bool) -> tuple[UInt8, UInt32]:
        return (readings.flag * 0 + 9).astype("u1"), readings.tests

    loading.commit([(s, 1, -999)], check=Checks(missing))
    assert table(store)[1][6:8] == ["", "9"]
    assert json.loads(written(store, Style(Form.JSON)))[0]["value"] is None


def test_json_and_ndjson_hold_the_same_objects(loading: Loading, store: SQLiteStore) -> None:
    """One array, or one object a line, in both layouts; numbers are numbers, nothing is null."""
    s = series(station='sta"tion\n1', unit="°")
    loading.commit([(s, 1, 2.5), (s, 1.5, None)], places=[(s, 0, 1, 2)])
    for layout in Layout:
        array = json.loads(written(store, Style(Form.JSON, layout)))
        lines = written(store, Style(Form.NDJSON, layout)).splitlines()
        assert [json.loads(line) for line in lines] == array
    long = json.loads(written(store, Style(Form.JSON)))
    assert long[0] == {
        "source": "src",
        "station": 'sta"tion\n1',
        "sensor": "s1",
        "parameter": "pm25",
        "unit": "°",
        "time": "2024-01-31T01:00:00Z",
        "value": 2.5,
        "flag": 1,
        "latitude": 1.0,
        "longitude": 2.0,
    }
    assert (long[1]["time"], long[1]["value"]) == ("2024-01-31T01:30:00Z", None)
    wide = json.loads(written(store, Style(Form.JSON, Layout.WIDE, flags=True)))
    assert wide[1] == {
        "source": "src",
        "station": 'sta"tion\n1',
        "time": "2024-01-31T01:30:00Z",
        "pm25": None,
        "pm25 flag": 9,
    }


@pytest.mark.parametrize("layout", Layout)
def test_nothing_to_export_is_still_a_document(store: SQLiteStore, layout: Layout) -> None:
    """A header alone, an empty array, or no line at all."""
    assert len(written(store, Style(Form.CSV, layout)).splitlines()) == 1
    assert json.loads(written(store, Style(Form.JSON, layout))) == []
    assert written(store, Style(Form.NDJSON, layout)) == ""


def test_a_wide_row_gathers_a_time_of_a_station(loading: Loading, store: SQLiteStore) -> None:
    """A column a parameter, with the unit where it comes in several; flags on request."""
    a = series("a", parameter="no2", unit="ppb")
    b = series("b", parameter="no2", unit="ug/m3", station="st2")
    c = series("c", parameter="pm25")
    loading.commit([(a, 1, 1), (a, 2, 2), (b, 2, 3), (c, 2, 4), (c, 3, None)])
    assert table(store, layout=Layout.WIDE) == [
        ["source", "station", "time", "no2 [ppb]", "no2 [ug/m3]", "pm25"],
        ["src", "st1", "2024-01-31T01:00:00Z", "1.0", "", ""],
        ["src", "st1", "2024-01-31T02:00:00Z", "2.0", "", "4.0"],
        ["src", "st1", "2024-01-31T03:00:00Z", "", "", ""],
        ["src", "st2", "2024-01-31T02:00:00Z", "", "3.0", ""],
    ]
    flagged = table(store, layout=Layout.WIDE, flags=True)
    assert flagged[0][3:] == [
        "no2 [ppb]", "no2 [ppb] flag", "no2 [ug/m3]", "no2 [ug/m3] flag", "pm25", "pm25 flag",
    ]  # fmt: skip
    assert flagged[3][3:] == ["", "", "", "", "", "9"]


def test_sensors_that_overlap_get_columns_of_their_own(loading: Loading, store: SQLiteStore) -> None:
    """Two of one parameter at one time stand side by side; one that followed shares a column."""
    first, beside, after = series("first"), series("beside"), series("after", replaces="first")
    loading.commit([(first, 1, 1), (first, 2, 2), (beside, 2, 3), (beside, 5, 4), (after, 3, 5)])
    assert table(store, layout=Layout.WIDE) == [
        ["source", "station", "time", "pm25", "pm25 #2"],
        ["src", "st1", "2024-01-31T01:00:00Z", "1.0", ""],
        ["src", "st1", "2024-01-31T02:00:00Z", "2.0", "3.0"],
        ["src", "st1", "2024-01-31T03:00:00Z", "5.0", ""],
        ["src", "st1", "2024-01-31T05:00:00Z", "", "4.0"],
    ]


def test_what_came_while_it_was_written_is_not_lost(loading: Loading, store: SQLiteStore) -> None:
    """Two readings that meet in one cell get a row each."""
    first, after = series("first"), series("after")
    loading.commit([(first, 1, 1), (after, 3, 5)])
    listed = store.series(None)
    loading.commit([(first, 2, 2), (after, 2, 4)])
    text = b"".join(export(store, listed, ALWAYS, Style(layout=Layout.WIDE))).decode()
    assert [line.split(",")[2:] for line in text.splitlines()[1:]] == [
        ["2024-01-31T01:00:00Z", "1.0"],
        ["2024-01-31T02:00:00Z", "4.0"],
        ["2024-01-31T02:00:00Z", "2.0"],
        ["2024-01-31T03:00:00Z", "5.0"],
    ]


def test_a_parameter_may_be_called_as_a_column_is(loading: Loading, store: SQLiteStore) -> None:
    """No two columns have one name."""
    for number, name in enumerate(("time", "x", "x flag")):
        loading.commit([(series(f"s{number}", parameter=name), 1, number)])
    header = table(store, layout=Layout.WIDE, flags=True)[0]
    assert len(set(header)) == len(header) == 9


def test_the_window_is_half_open(loading: Loading, store: SQLiteStore) -> None:
    """The start is not in it, the end is."""
    s = series()
    loading.commit([(s, hour, hour) for hour in range(5)])
    assert [row[6] for row in table(store, Window(at(1), at(3)))[1:]] == ["2.0", "3.0"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\rx", '"\'\rx"'),
        ('=HYPERLINK("a","b")', '"\'=HYPERLINK(""a"",""b"")"'),
        ("a,b", '"a,b"'),
        ('a "b"', '"a ""b"""'),
        ("two\nlines", '"two\nlines"'),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_text_is_quoted_and_defused(text: str, shown: str) -> None:
    """A spreadsheet sees text where text is, and no formula."""
    assert cell(text) == shown


@given(st.text())
def test_any_text_survives_quoting(text: str) -> None:
    """A reader gets the text back, with at most an apostrophe before it, and never a formula."""
    rows = list(csv.reader(io.StringIO(cell(text) + ",end\r\n", newline=""), strict=True))
    ((back, _),) = rows
    assert back in (text, "'" + text)
    assert not back.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_hostile_names_are_defused_in_every_column_and_numbers_are_not(
    loading: Loading, store: SQLiteStore
) -> None:
    """A formula for a name is text wherever it stands, in the wide header too; -3 stays -3."""
    s = series("=s", parameter="+p", unit="-u", station="@st")
    loading.commit([(s, 1, -3)], places=[(s, 0, -43.5, -79.25)])
    assert table(store)[1] == [
        "src", "'@st", "'=s", "'+p", "'-u", "2024-01-31T01:00:00Z", "-3.0", "1", "-43.5", "-79.25",
    ]  # fmt: skip
    assert table(store, layout=Layout.WIDE)[0][3] == "'+p"


@given(st.lists(st.floats()))
def test_numbers_read_back_as_the_same_double(values: list[float]) -> None:
    """Bit for bit, infinities included; NaN is nothing."""
    for value, text in zip(values, numbers(values, "null"), strict=True):
        if math.isnan(value):
            assert text == "null"
        else:
            assert float(text) == json.loads(text) == value
            assert math.copysign(1, float(text)) == math.copysign(1, value)


def test_a_dst_night_is_told_apart(loading: Loading, store: SQLiteStore) -> None:
    """The hour that comes twice has two offsets; the station's zone is the row's."""
    s = series(timezone="America/Toronto")
    other = series("s2", station="st2", timezone="Asia/Kathmandu")
    unknown = series("s3", station="st3", timezone="Nowhere/City")
    night = 277 * 24 + 4  # 2024-11-03T04:00Z; clocks go back at 06:00Z
    loading.commit([(x, night + hour, hour) for x in (s, other, unknown) for hour in range(4)])
    assert [row[5] for row in table(store, local=True)[1:6]] == [
        "2024-11-03T00:00:00-04:00",
        "2024-11-03T01:00:00-04:00",
        "2024-11-03T01:00:00-05:00",
        "2024-11-03T02:00:00-05:00",
        "2024-11-03T09:45:00+05:45",
    ]
    assert table(store, local=True)[-1][5] == "2024-11-03T07:00:00Z"
    wide = table(store, local=True, layout=Layout.WIDE)
    assert [row[2] for row in wide[1:3]] == ["2024-11-03T00:00:00-04:00", "2024-11-03T01:00:00-04:00"]


def test_rows_are_sorted_by_station_then_time(loading: Loading, store: SQLiteStore) -> None:
    """However the readings came and whatever ids their series got."""
    seed = int(os.environ.get("EXPORT_SEED", random.SystemRandom().randrange(2**32)))
    print(f"EXPORT_SEED={seed}")  # noqa: T201 - pytest shows it with a failure
    dice = random.Random(seed)
    members = [
        series(f"s{i}", station=f"st{i % 3}", parameter=f"p{i % 4}") for i in range(dice.randint(1, 12))
    ]
    dice.shuffle(members)
    truth = {(s, hour): dice.random() for s in members for hour in range(40) if dice.random() < 0.5}
    loading.commit([(s, hour, value) for (s, hour), value in truth.items()])
    rows = [(r["station"], r["time"], r["parameter"], r["sensor"]) for r in objects(store)]
    assert len(rows) == len(truth)
    assert rows == sorted(rows)


def objects(store: SQLiteStore) -> list[dict[str, object]]:
    return [dict(o) for o in json.loads(written(store, Style(Form.JSON)))]


@pytest.mark.parametrize("rows", [1, 2, 7, 100, 10_000])
def test_blocks_are_bounded_complete_and_in_order(loading: Loading, store: SQLiteStore, rows: int) -> None:
    """Whatever the density: no reading is lost or doubled, no time is split, no block too large."""
    a, b = series("a", cadence_s=1), series("b", cadence_s=3600)
    dense = [(a, 30 + i / 3600, i) for i in range(500)]
    sparse = [(b, hour, hour) for hour in range(0, 2000, 9)]
    same = [(series("c"), hour, 0) for hour in range(0, 2000, 9)]
    loading.commit([*dense, *sparse, *same])
    station = store.series(None)
    blocks = list(ordered(store, station, ALWAYS, rows))
    found = [
        (t, s) for block in blocks for t, s in zip(block.time.tolist(), block.series.tolist(), strict=True)
    ]
    assert found == sorted(found)
    assert len(found) == len(set(found)) == 500 + 2 * 223
    assert all(0 < len(block) <= max(rows, len(station)) for block in blocks)
    times = [set(block.time.tolist()) for block in blocks]
    assert all(not (one & two) for one, two in pairwise(times))


def test_one_series_comes_in_bounded_blocks(loading: Loading, store: SQLiteStore) -> None:
    """A station with a single series needs no slices and is cut all the same."""
    s = series()
    loading.commit([(s, hour, hour) for hour in range(100)])
    sizes = [len(block) for block in ordered(store, store.series(None), ALWAYS, 30)]
    assert sizes == [30, 30, 30, 10]


def test_fractions_of_a_second_are_kept(loading: Loading, store: SQLiteStore) -> None:
    """Six digits where there is one, none where there is not."""
    s = series()
    loading.commit([(s, 1, 1), (s, 1 + SECOND / HOUR / 4, 2)])
    assert [row[5] for row in table(store)[1:]] == ["2024-01-31T01:00:00Z", "2024-01-31T01:00:00.250000Z"]
