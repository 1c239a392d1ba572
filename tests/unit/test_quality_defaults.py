"""The shipped thresholds on real data: what they find, and how rarely they object to what is clean."""

from __future__ import annotations

import csv
import gzip
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.flags import Judged, judged, stretches
from loader.quality.checks import Checks
from loader.readings import HOUR, Check, Flag, Readings, Series
from loader.settings.durations import parse_time
from loader.settings.quality import PARAMETERS, SHIPPED, QualitySettings, SourceQuality
from loader.settings.rules import made, rule_of
from loader.settings.shipped import AIR, C_MAPSS, C_MAPSS_SEEN, widened

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


@cache
def everything() -> tuple[Judged, ...]:
    """All series with a shipped rule, flagged with the defaults."""
    if not DATA.exists():
        pytest.skip(f"no data at {DATA.resolve()}")
    return tuple(judged(DATA))


def share(city: str, *parameters: str) -> float:
    """The share of readings with a value that are suspect or fail."""
    of = [one for one in everything() if one.city == city and one.series.parameter in parameters]
    bad = sum(int(np.isin(one.flag, (Flag.SUSPECT, Flag.FAIL)).sum()) for one in of)
    return bad / sum(one.present for one in of)


@pytest.mark.parametrize(
    ("city", "parameters", "most"),
    [
        ("France", ("o3", "no2"), 0),
        ("Italy", ("co", "no2", "temperature", "relativehumidity"), 0),
        ("Toronto", ("o3", "no2", "relativehumidity"), 0),
        ("Toronto", ("temperature",), 0.0005),
        ("Beijing", ("pm25",), 0.0005),
        ("Beijing", ("temperature", "pressure"), 0.002),
        # One indoor sensor says exactly 0 for up to six days, three times.
        ("Toronto", ("pm25", "pm1"), 0.02),
    ],
)
def test_clean_data_is_left_in_peace(city: str, parameters: tuple[str, ...], most: float) -> None:
    """Of clean series no more than this share is suspect or fails with the defaults."""
    assert share(city, *parameters) <= most


def test_dust_fails_nowhere_and_stands_still_at_one_sensor_only() -> None:
    """The flat lines in Toronto's fine dust are all those of one sensor, and only suspect."""
    dust = [one for one in everything() if one.series.parameter in ("pm25", "pm1", "pm10")]
    assert {one.series.station for one in dust if one.tests.any() and one.city == "Toronto"} == {"5491763"}
    assert not any((one.flag == Flag.FAIL).any() for one in dust)


def test_gases_that_stood_still_are_found_with_start_and_length() -> None:
    """CO at 0 for 740 hours and SO2 at two stations fail, from ten days after they came to rest on."""
    found = {}
    for one in everything():
        if one.city == "Toronto" and (one.flag == Flag.FAIL).any():
            rule = PARAMETERS[one.series.parameter].flat_line
            assert rule is not None
            assert rule.suspect is not None
            (flat,) = stretches(one)
            objects = np.flatnonzero(one.tests)
            first = objects[0] - rule.suspect // HOUR
            calm = one.readings.value[first : objects[-1] + 1]
            assert (flat[0], np.ptp(calm), len(objects)) == ("flat_line", 0, flat[3])
            found[one.series.station, one.series.parameter] = (int(one.readings.time[first]), len(calm))
    begin = parse_time("2025-09-01T01:00:00Z")
    assert found == {
        ("1274949", "so2"): (begin, 734),
        ("1274950", "co"): (begin, 740),
        ("1274950", "so2"): (begin, 707),
    }


def italian() -> Iterator[tuple[str, list[float]]]:
    """The 13 columns of the Italian station."""
    path = DATA / "airquality" / "AirQualityUCI.csv"
    if not path.exists():
        pytest.skip(f"no data at {path.resolve()}")
    table = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    for name in table[0]:
        if name not in {"Date", "Time"}:
            yield name, [float(row[name]) for row in table]


def test_the_configured_code_of_the_italian_station_is_missing_throughout() -> None:
    """With -200 as a sentinel of the source every such reading is missing, no other is, and none
    takes part in any test: no value stands out by more than the values themselves span."""
    missing: dict[str, int] = {}
    every = []
    for name, values in italian():
        code = np.array(values) == -200
        width = float(np.ptp(np.array(values)[~code]))
        rule = {"spike": {"fail": width}, "rate": {"fail": width}}
        own = SourceQuality.model_validate({"sentinels": [-200], "parameters": {name: rule}})
        check = Checks(rule_of(QualitySettings(), own))
        of = [Series(name, name, "x", "1", "1", cadence_s=3600)]
        readings = Readings.of([0] * len(values), [i * HOUR for i in range(len(values))], values)
        flag, tests = check(of, readings, np.ones(len(values), bool))
        np.testing.assert_array_equal(flag == Flag.MISSING, code)
        np.testing.assert_array_equal(tests, np.where(code, int(Check.SENTINEL), 0))
        missing[name] = int(np.count_nonzero(code))
        every.append(code)
    assert (missing["CO(GT)"], missing["NO2(GT)"], missing["NMHC(GT)"]) == (1683, 1642, 8443)
    assert np.count_nonzero(np.all(every, axis=0)) == 31


class Record(msgspec.Struct):
    """What counts of one line of the stream."""

    parameter: str
    unit: str
    value: float


def test_codes_in_the_stream_of_2018_are_missing() -> None:
    """Every -999, -9999 and -99 of the stream is missing with the defaults, whatever it measures;
    no other value is, and what lies out of its range fails."""
    paths = sorted(DATA.glob("openaq/realtime_ndjson_2018-02-06/*.ndjson.gz"))
    if not paths:
        pytest.skip(f"no stream at {DATA.resolve()}")
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for path in paths:
        for record in msgspec.json.Decoder(Record).decode_lines(gzip.decompress(path.read_bytes())):
            values[record.parameter, record.unit].append(record.value)
    series = [Series(f"{p} {u}", p, u, "1", "1") for p, u in values]
    index = np.repeat(np.arange(len(series)), [len(v) for v in values.values()])
    value = np.concatenate(list(map(np.array, values.values())))
    readings = Readings.of(index, np.arange(len(value)), value)
    flag, _ = Checks(rule_of(QualitySettings(), SourceQuality())).alone(series, readings)
    codes = np.isin(value, (-999, -9999, -99))
    np.testing.assert_array_equal(flag == Flag.MISSING, codes)
    assert {float(v) for v in value[codes]} >= {-999, -9999}
    known = np.isin(index, [i for i, s in enumerate(series) if s.parameter in PARAMETERS])
    assert set(flag[known & ~codes & (value < -100)].tolist()) <= {Flag.FAIL, Flag.GOOD}
    assert (flag[known & (value == -1111)] == Flag.FAIL).all()
    judged_values = flag[known & ~codes]
    # Negative dust, of which there is much, is out of range; little else is.
    assert np.count_nonzero(judged_values == Flag.FAIL) / len(judged_values) < 0.03
    assert np.count_nonzero(judged_values == Flag.SUSPECT) / len(judged_values) < 0.001


def test_a_hole_of_155_hours_in_beijing_is_a_gap() -> None:
    """With a gap of 155 hours allowed nothing objects; with one less the reading after the longest
    silence fails, 156 hours after the one before it."""
    (one,) = (one for one in everything() if (one.city, one.series.parameter) == ("Beijing", "pm25"))
    present = ~np.isnan(one.readings.value)
    readings = one.readings.take(present)
    for hours, count in [(156, 0), (155, 1)]:
        own = SourceQuality.model_validate(
            {"parameters": {"pm25": {"gap": hours * HOUR, "flat_line": None}}}
        )
        check = Checks(rule_of(QualitySettings(), own))
        flag, tests = check([one.series], readings, np.zeros(len(readings), bool))
        late = np.flatnonzero(tests & np.uint32(Check.GAP))
        assert len(late) == count
        assert all(flag[late] == Flag.FAIL)
        for i in late:
            assert readings.time[i] - readings.time[i - 1] == 156 * HOUR


def fd001() -> np.ndarray:
    """Settings and sensors of train and test together: (rows, 24)."""
    folder = DATA / "cmapss"
    if not folder.exists():
        pytest.skip(f"no C-MAPSS data at {folder.resolve()}")
    return np.vstack([np.loadtxt(folder / f"{part}_FD001.txt")[:, 2:] for part in ("train", "test")])


def test_c_mapss_ranges_are_those_of_the_data() -> None:
    """The shipped ranges are what FD001 itself gives, widened as documented; nothing in it objects."""
    table = fd001()
    names = ["setting_1", "setting_2", "setting_3", *(f"s{i}" for i in range(1, 22))]
    assert table.shape == (20631 + 13096, len(names))
    seen = dict(zip(names, zip(table.min(0).tolist(), table.max(0).tolist(), strict=True), strict=True))
    assert seen == C_MAPSS_SEEN
    assert {name: widened(*span) for name, span in seen.items()} == C_MAPSS
    check = Checks(rule_of(QualitySettings(), SourceQuality(defaults=("cmapss",))))
    series = [Series(f"1/{name}", name, "", "1", "1") for name in names]
    index = np.repeat(np.arange(len(names)), len(table))
    readings = Readings.of(index, np.tile(np.arange(len(table)), len(names)), table.T.ravel())
    flag, tests = check(series, readings, np.ones(len(readings), bool))
    assert set(flag.tolist()) == {Flag.GOOD}
    assert not tests.any()


@pytest.mark.parametrize("name", sorted(C_MAPSS))
def test_c_mapss_ranges_notice_a_wrong_sensor(name: str) -> None:
    """Where it was constant, 3 % off fails; where it was not, twice its whole width off does. Published
    tables that are wrong by orders of magnitude (s7 lies at 549 to 556) are off far more."""
    low, high = C_MAPSS_SEEN[name]
    off = 2 * (high - low) or 0.03 * high
    check = Checks(lambda s: made(SHIPPED["cmapss"][s.parameter], s.unit, ()))
    values = [low, high, low - off, high + off, high + 0.75 * (high - low or 0.02 * high)]
    flag, _ = check.alone([Series(name, name, "", "1", "1")], Readings.of([0] * 5, range(5), values))
    assert flag.tolist() == [1, 1, 4, 4, 3]


def test_thresholds_of_a_gas_are_the_same_in_every_unit_of_a_kind() -> None:
    """A thousand ppb are a ppm, and a mg/m³ a thousand µg/m³, in every threshold."""
    for gas in ("o3", "no2", "so2", "co"):
        for small, large in (("ppb", "ppm"), ("µg/m³", "mg/m³")):
            few, many = made(PARAMETERS[gas], small, ()), made(PARAMETERS[gas], large, ())
            assert few.spike is not None
            assert many.spike is not None
            pairs = [
                (few.fail[0], many.fail[0]),
                (few.fail[1], many.fail[1]),
                (few.suspect[1], many.suspect[1]),
                (few.spike.limits.suspect, many.spike.limits.suspect),
                (few.spike.limits.fail, many.spike.limits.fail),
            ]
            assert all(math.isclose(a, 1000 * b) for a, b in pairs), (gas, pairs)
            assert few.flat == many.flat


def test_flat_lines_are_looked_for_at_usual_cadences() -> None:
    """From a reading in five minutes to one in eight hours there is something to look for in every
    parameter of air; in a minute in some; a series that reports every second asks for too many."""
    found: Counter[float] = Counter()
    check = Checks(lambda s: made(PARAMETERS[s.parameter], s.unit, ()))
    for name in AIR:
        unit = next(iter(PARAMETERS[name].ranges), "any")
        for cadence_s in (1, 60, 300, 3600, 28800):
            series = Series(name, name, unit, "1", "1", cadence_s=cadence_s)
            found[cadence_s] += check.reach(series).before > 0
    assert found == {1: 0, 60: 3, 300: 10, 3600: 10, 28800: 10}
