"""Files become readings, or clear messages."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loader.readings import HOUR, Check
from loader.settings.durations import parse_time
from loader.validation.blocks import sample
from loader.validation.result import document
from tests.unit.validated import LONG, only, rows, told, validated, write


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("start", ["", "\ufeff", "# made by hand\n\n"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_csv_of_any_kind(tmp_path: Path, separator: str, start: str, ending: str) -> None:
    """Separator, byte order mark, comments, line ends and gzip make no difference."""
    text = start + (LONG + rows(30)).replace(",", separator)
    raw = text.replace("\n", ending).encode()
    for name, content in (("a.csv", raw), ("b.csv.gz", gzip.compress(raw)), ("no-suffix", raw)):
        found = validated(write(tmp_path, name, content))
        tally = only(found)
        assert (found.errors, found.malformed) == ([], False)
        assert (tally.series.station, tally.series.parameter, tally.series.unit) == (
            "here",
            "pm25",
            "µg/m³",
        )
        assert (tally.counts.revised, tally.cadences[0][1]) == (30, 3600.0)
        assert tally.score is not None
        assert tally.score.total == 100
        first = start.count("\n") + 2
        assert found.line.tolist() == list(range(first, first + 30))


def test_quoted_fields_go_on_over_lines(tmp_path: Path) -> None:
    """A record has the number of the line it begins in."""
    text = (
        'time,"station",parameter,value\n2024-01-01T00:00Z,"a ""b"",\nc",pm25,1\n'
        '2024-01-01T01:00Z,"x",pm25,-5\n'
    )
    found = validated(write(tmp_path, "a.csv", text))
    assert [t.series.station for t in found.tallies] == ['a "b",\nc', "x"]
    assert found.line.tolist() == [2, 4]
    assert told(found) == ["a.csv:4: pm25: -5 fails: gross_range"]


def test_wide_files_have_a_series_a_column(tmp_path: Path) -> None:
    """A column of numbers is a parameter, its unit may stand in its name; decimal commas are read."""
    text = (
        "No;Date;Time;PM2.5 (µg/m³);T;remark;empty;\n"
        "1;31/01/2024;18.00.00;2,6;13;fine;;\n"
        "2;31/01/2024;19.00.00;;n/a;;;\n"
        "3;31/01/2024;20.00.00;x;-200;;;\n"
    )
    path = write(tmp_path, "house.csv", text)
    found = validated(path, units={"T": "c"})
    named = {(t.series.station, t.series.parameter, t.series.unit): t for t in found.tallies}
    assert set(named) == {("house", "pm25", "µg/m³"), ("house", "T", "c")}
    first = named["house", "pm25", "µg/m³"]
    assert found.readings.value[0] == 2.6
    assert (first.first, first.counts.missing) == (parse_time("2024-01-31T18:00:00Z"), 1)
    assert told(found) == ["house.csv:4: PM2.5 (µg/m³): 'x' is no number"]
    assert (found.files[0].naive, found.files[0].values.absent) == (3, 2)
    assert found.files[0].types["remark"] == "text"
    chosen = validated(path, columns={"temperature": "T"}, units={"temperature": "c"})
    assert only(chosen).series.parameter == "temperature"
    assert told(chosen) == ["house.csv:4: temperature: -200 c fails: gross_range"]


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2024-01-31T18:00:00Z", "2024-01-31T18:00:00Z"),
        ("2024-01-31 18:00:00+01:00", "2024-01-31T17:00:00Z"),
        ("2024-01-31 18:00:00 UTC", "2024-01-31T18:00:00Z"),
        ("2024-01-31T18:00", "2024-01-31T23:00:00Z"),
        ("31/01/2024 18:00", "2024-01-31T23:00:00Z"),
        ("31.01.2024 06.30.15", "2024-01-31T11:30:15Z"),
        ("01/31/2024 6:00 PM", "2024-01-31T23:00:00Z"),
        ("2024/01/31 18:00", "2024-01-31T23:00:00Z"),
        ("1706724000", "2024-01-31T18:00:00Z"),
        ("1706724000.5", "2024-01-31T18:00:00.500000Z"),
        ("1706724000000", "2024-01-31T18:00:00Z"),
        ("1706724000000001", "2024-01-31T18:00:00.000001Z"),
        ("1706724000000001999", "2024-01-31T18:00:00.000001Z"),
    ],
)
def test_times_in_many_forms(tmp_path: Path, text: str, utc: str) -> None:
    """Naive ones are taken to be in the zone that was given."""
    from zoneinfo import ZoneInfo

    path = write(tmp_path, "a.csv", f"time,parameter,value\n{text},pm25,1\n")
    assert only(validated(path, zone=ZoneInfo("America/Toronto"))).first == parse_time(utc)


def test_hours_that_clocks_skip_or_have_twice_are_noted(tmp_path: Path) -> None:
    """They repeat, or are missing, and the user is told why."""
    from zoneinfo import ZoneInfo

    stamps = ["2024-10-27 01:30", "2024-10-27 02:30", "2024-10-27 02:30", "2024-10-27T02:30+01:00"]
    text = "time,pm25\n" + "".join(f"{one},{i}\n" for i, one in enumerate([*stamps, "2024-03-31 02:30"]))
    found = validated(write(tmp_path, "a.csv", text), zone=ZoneInfo("Europe/Paris"))
    (note,) = found.files[0].notes
    assert note == "3 times stand in an hour that clocks skip or have twice: taken for the first"
    assert only(found).repeats.other == 1
    assert validated(tmp_path / "a.csv").files[0].notes == []


def test_days_and_months_are_told_apart_by_the_whole_file(tmp_path: Path) -> None:
    """03/04 is what the other rows make of it; where they say nothing, that is said."""
    text = "time,parameter,value\n03/04/2024,pm25,1\n04/13/2024,pm25,1\n"
    assert only(validated(write(tmp_path, "a.csv", text))).first == parse_time("2024-03-04")
    found = validated(write(tmp_path, "b.csv", "time,parameter,value\n03/04/2024,pm25,1\n"))
    assert only(found).first == parse_time("2024-04-03")
    assert "cannot be told apart" in found.files[0].notes[0]


OPENAQ = {
    "meta": {"name": "openaq-api", "found": ">2"},
    "results": [
        {
            "value": value,
            "flagInfo": {"hasFlags": flagged},
            "parameter": {"id": 2, "name": "pm25", "units": "µg/m³"},
            "period": {
                "datetimeFrom": {"utc": "2024-01-01T00:00:00Z"},
                "datetimeTo": {"utc": f"2024-01-01T0{hour}:00:00Z", "local": "x"},
            },
            "coordinates": None,
        }
        for hour, value, flagged in ((1, 3.5, False), (2, 4, True), (3, None, False))
    ],
}


def test_an_answer_of_openaq(tmp_path: Path) -> None:
    """Version 3: the period's end is the time, the source's own flag is kept, null is missing."""
    for text in (json.dumps(OPENAQ), json.dumps(OPENAQ, indent=1), json.dumps(OPENAQ["results"])):
        found = validated(write(tmp_path, "v3.json", text))
        tally = only(found)
        assert found.files[0].format == "json"
        assert (tally.series.parameter, tally.series.unit) == ("pm25", "µg/m³")
        assert tally.first == parse_time("2024-01-01T01:00:00Z")
        assert (tally.counts.revised, tally.counts.missing) == (3, 1)
        assert (found.readings.tests & Check.UPSTREAM).tolist() == [0, 1, 0]


def test_an_array_of_records_is_found_deep_in_a_document(tmp_path: Path) -> None:
    """In objects inside each other; what stands beside it, before or after, is passed over."""
    hours = [{"time": f"2024-01-01T{h:02}:00Z", "value": h} for h in range(5)]
    whole = {"a": {"b": [], "c": 1}, "data": {"rows": hours, "rest": [[hours]]}, "more": [{"time": 1}]}
    for text in (json.dumps(whole), json.dumps(whole, indent=1)):
        found = validated(write(tmp_path, "a.json", text))
        assert found.errors == []
        assert found.readings.value.tolist() == [0, 1, 2, 3, 4]
    hours[3]["value"] = "x"
    found = validated(write(tmp_path, "a.json", json.dumps(whole)))
    assert told(found) == ["a.json:1: data.rows[3].value: 'x' is no number"]


def test_json_items_have_their_lines(tmp_path: Path) -> None:
    """Line and place in the array of what fails, and what stands before a mistake is read."""
    good = '{"time": "2024-01-01T00:00Z",\n "parameter": "pm25", "value": 1}'
    text = f'[{good},\n{good.replace("1}", "true}")},\n17,\n{good.replace("T00", "T01")},\n{{"time": ,}}]'
    found = validated(write(tmp_path, "a.json", text))
    assert told(found) == [
        "a.json:3: [1].value: true is no number",
        "a.json:5: line: is a number, not an object",
    ]
    assert only(found).counts.revised == 2
    (why,) = found.errors
    assert why.endswith("a.json:8: is no JSON (Expecting value)")


def test_an_array_is_read_in_portions(tmp_path: Path) -> None:
    """One line of several megabytes is well, as JSON; items lie across portions."""
    many = [
        {"time": 1704067200 + i, "parameter": "x", "value": i / 7, "s": "x" * (i % 50)}
        for i in range(20_000)
    ]
    found = validated(write(tmp_path, "a.json", json.dumps(many)))
    assert found.readings.value.tolist() == [one["value"] for one in many]
    assert set(found.line.tolist()) == {1}


def test_lines_of_json(tmp_path: Path) -> None:
    """What is no record is told with its line; NaN is let through and is a missing value."""
    lines = [
        '{"time":"2024-01-01T00:00Z","parameter":"o3","unit":"ppm","value":0.01}',
        '{"time":"2024-01-01T01:00Z","parameter":"o3","unit":"ppm","value":"0.01"}',
        "",
        '{"time":5,"value":1}',
        "[1]",
        "nope",
        '{"time":"2024-01-01T02:00Z","parameter":"o3","unit":"ppm","value":NaN}',
        "[" * 100_000,
        '{"time":"2024-01-01T03:00Z","parameter":"o3","unit":"ppm","value":1e999}',
    ]
    found = validated(write(tmp_path, "a.ndjson", "\n".join(lines)))
    assert told(found) == [
        "a.ndjson:2: value: '0.01' is no number",
        "a.ndjson:4: time: 5 is no time",
        "a.ndjson:5: line: is an array, not an object",
        "a.ndjson:6: line: is no JSON (Expecting value, column 1)",
        "a.ndjson:8: line: is nested too deeply",
        "a.ndjson:9: o3: inf ppm fails: gross_range",
    ]
    assert only(found).counts.missing == 1
    assert found.files[0].values.nan == 1


def test_parquet(tmp_path: Path) -> None:
    """Typed times with and without a zone, structs, decimals, and rows instead of lines."""
    pa = pytest.importorskip("pyarrow")
    from decimal import Decimal

    import pyarrow.parquet as pq

    hours = [parse_time("2024-01-01") + h * HOUR for h in range(300)]
    table = pa.table({
        "datetime": pa.array([t * 1000 for t in hours], pa.timestamp("ns", "UTC")),
        "parameter": pa.array([{"name": "pm25", "units": "µg/m³"}] * 300),
        "value": pa.array([Decimal(h) / 4 for h in range(299)] + [None], pa.decimal128(9, 2)),
        "location": pa.array(["here"] * 300).dictionary_encode(),
    })  # fmt: skip
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=100)
    found = validated(path)
    tally = only(found)
    assert found.files[0].format == "parquet"
    assert (tally.series.station, tally.series.parameter, tally.series.unit) == ("here", "pm25", "µg/m³")
    assert found.readings.time.tolist() == hours
    assert found.readings.value[:4].tolist() == [0, 0.25, 0.5, 0.75]
    assert (tally.counts.missing, found.line[-1]) == (1, 300)
    assert validated(path, lines=100).files[0].cut
    assert validated(path, sample=100).line.tolist() == list(range(1, 101))
    path.write_bytes(path.read_bytes()[:-20])
    (why,) = validated(path).errors
    assert "is no Parquet file that can be read" in why


def test_parquet_with_a_time_beyond_the_calendar(tmp_path: Path) -> None:
    """The row fails, the others are read."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    times = pa.array([parse_time("2024-01-01"), 2**62], pa.int64()).cast(pa.timestamp("us"))
    pq.write_table(pa.table({"time": times, "pm25": [1.0, 2.0]}), tmp_path / "a.parquet")
    found = validated(tmp_path / "a.parquet")
    assert told(found) == [f"a.parquet:2: time: '{2**62} timestamp[us]' is no time"]
    assert only(found).counts.revised == 1


def test_every_format_tells_the_same(tmp_path: Path) -> None:
    """The same records as CSV, JSON, NDJSON and Parquet have the same readings, flags and score."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    lines = rows(90).splitlines()
    lines[7], lines[8] = lines[7].rsplit(",", 1)[0] + ",-999", lines[8].rsplit(",", 1)[0] + ",2000"
    lines = [*lines[:40], *lines[50:], lines[60]]
    names = LONG.strip().split(",")
    records = [dict(zip(names, line.split(","), strict=True)) for line in lines]
    typed = [record | {"value": float(record["value"])} for record in records]
    pq.write_table(pa.Table.from_pylist(typed), tmp_path / "a.parquet")
    found = [
        validated(path)
        for path in (
            write(tmp_path, "a.csv", LONG + "\n".join(lines)),
            write(tmp_path, "a.json", json.dumps(typed, indent=2)),
            write(tmp_path, "a.ndjson", "\n".join(map(json.dumps, typed))),
            tmp_path / "a.parquet",
        )
    ]
    assert [one.files[0].format for one in found] == ["csv", "json", "ndjson", "parquet"]
    first = found[0]
    assert (first.counts.missing, first.counts.failed, first.gaps.missing) == (1, 1, 10)
    for other in found[1:]:
        assert other.readings.flag.tolist() == first.readings.flag.tolist()
        assert other.readings.tests.tolist() == first.readings.tests.tolist()
        assert (other.counts, other.score, other.repeats) == (first.counts, first.score, first.repeats)


def test_a_parameter_in_two_units_is_two_series(tmp_path: Path) -> None:
    """And two columns of one parameter in one unit keep the names that they have."""
    head = "time,O3 (ppm),O3 (µg/m³),T (c),t (c)\n"
    found = validated(write(tmp_path, "a.csv", head + "2024-01-01T00:00Z,0.02,40,7,8\n"))
    named = {(t.series.parameter, t.series.unit): t.highest for t in found.tallies}
    assert named == {("o3", "ppm"): 0.02, ("o3", "µg/m³"): 40, ("T", "c"): 7, ("t", "c"): 8}
    twice = validated(write(tmp_path, "a.csv", "time,O3 (ppm),o3 [ppm]\n2024-01-01T00:00Z,0.02,0.03\n"))
    assert {t.series.parameter for t in twice.tallies} == {"O3 (ppm)", "o3 [ppm]"}


def test_max_lines_ends_a_file_early(tmp_path: Path) -> None:
    """And says so, unless there is nothing more."""
    path = write(tmp_path, "a.csv", LONG + rows(100))
    some = validated(path, lines=60)
    assert (some.files[0].cut, len(some.readings)) == (True, 60)
    assert not validated(path, lines=100).files[0].cut


@given(st.integers(1, 10_000), st.integers(0, 100_000), st.integers(1, 20_000))
def test_samples_are_blocks_from_beginning_to_end(first: int, more: int, wanted: int) -> None:
    """Disjoint and ascending, the first and the last number among them, about as many as asked for."""
    last = first + more
    blocks = sample(first, last, wanted)
    numbers = [n for one in blocks.ranges for n in (one.start, one.stop - 1)]
    assert numbers == sorted(numbers)
    assert all(a.stop <= b.start for a, b in zip(blocks.ranges, blocks.ranges[1:], strict=False))
    count = sum(map(len, blocks.ranges))
    assert blocks.sampled == (more + 1 > wanted)
    if blocks.sampled:
        assert wanted - 10 < count <= wanted
        assert blocks.ranges[0].start == first
        assert blocks.end == last or len(blocks.ranges) == 1
    else:
        assert count == more + 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(st.characters(codec="utf-8"), max_size=300).map(str.encode),
        st.lists(st.tuples(st.sampled_from(["2024-01-01T00:00Z", "x", "1704067200", ""]),
                           st.sampled_from(["1", "-999", "nan", "1e999", '"', "é"])), max_size=20)
        .map(lambda some: ("time,value\n" + "\n".join(map(",".join, some))).encode()),
        st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=3),
                     lambda inner: st.lists(inner, max_size=4)
                     | st.dictionaries(st.sampled_from(["time", "value", "unit", "a"]), inner, max_size=4),
                     max_leaves=20).map(lambda value: json.dumps(value).encode()),
    ),
    st.booleans(),
    st.sampled_from([None, 3]),
)  # fmt: skip
def test_no_file_brings_it_down(tmp_path: Path, content: bytes, packed: bool, wanted: int | None) -> None:
    """Whatever is in a file, there is a result, a document and a page."""
    path = write(tmp_path, "any", gzip.compress(content) if packed else content)
    found = validated(path, sample=wanted, draws=True)
    json.dumps(document(found), allow_nan=False)
    assert found.html.endswith("</html>\n")
    assert found.malformed or len(found.readings)
