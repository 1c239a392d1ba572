"""What is known of real sensor data is what a validation finds in it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from loader.readings import HOUR, Flag
from loader.settings.durations import parse_time
from loader.settings.quality import ParameterRule, QualitySettings
from tests.unit.validated import data, only, told, validated


@pytest.mark.slow
def test_toronto() -> None:
    """73 series; CO at one station and SO2 at two stood still and fail; O3 was -0.001 once; one
    location was cut at 1000 rows."""
    found = validated(*data("openaq/explorer_toronto_2025/*.csv.gz"))
    assert (found.malformed, len(found.tallies), len(found.readings)) == (False, 73, 53413)
    assert found.repeats.same + found.repeats.other + found.repeats.again + found.repeats.revised == 0
    failing = {(t.series.station, t.series.parameter): t for t in found.tallies if t.counts.failed}
    assert set(failing) == {("1274950", "co"), ("1274950", "so2"), ("1274949", "so2")}
    assert all(set(t.checks) == {"flat_line"} for t in failing.values())
    co = failing["1274950", "co"]
    assert (co.counts.revised, co.highest) == (740, 0.0)
    o3 = [i for i, t in enumerate(found.tallies) if t.series.parameter == "o3"]
    of_o3 = found.readings.value[np.isin(found.readings.series, o3)]
    assert of_o3[of_o3 < 0].tolist() == [-0.001]
    assert {t.counts.revised for t in found.tallies if t.series.station == "3145071"} == {1000}
    hourly = [t for t in found.tallies if t.cadences and t.cadences[-1][1] == 3600.0]
    assert len(hourly) >= 70
    assert max(t.gaps.count for t in hourly) == 33
    assert found.score is not None
    assert found.score.total > 95


def test_the_italian_station() -> None:
    """With -200 as no value CO misses 1683, NO2 1642, NMHC 8443; 31 hours have nothing at all. Without,
    the code is suspected in every column, and fails where there is a range."""
    (path,) = data("airquality/AirQualityUCI.csv")
    found = validated(path, quality=QualitySettings(sentinels=(-200,)))
    missing = {t.series.parameter: t.counts.missing for t in found.tallies}
    assert (len(missing), len(found.readings)) == (13, 13 * 9357)
    assert (missing["CO(GT)"], missing["NO2(GT)"], missing["NMHC(GT)"]) == (1683, 1642, 8443)
    gone = Counter(found.readings.time[found.readings.flag == Flag.MISSING].tolist())
    assert sum(count == 13 for count in gone.values()) == 31
    assert all((t.gaps.count, t.cadences[0][1]) == (0, 3600.0) for t in found.tallies)
    assert {t.first for t in found.tallies} == {parse_time("2004-03-10T18:00")}

    plain = validated(path)
    assert {t.code for t in plain.tallies} == {(-200.0, n) for n in (1683, 366, 8443, 1639, 1642)}
    co = only(validated(path, columns={"co": "CO(GT)"}, units={"co": "mg/m3"}))
    assert co.checks["gross_range"].count == 1683
    assert co.counts.failed >= 1683


def test_beijing() -> None:
    """A column each for year, month, day and hour; NA is missing, at most for 155 hours in a row."""
    (path,) = data("airquality/PRSA_data_*.csv.gz")
    found = validated(path, columns={"pm25": "pm"}, units={"pm25": "µg/m³"})
    tally = only(found)
    assert (tally.counts.revised, tally.counts.missing, tally.highest) == (43824, 2067, 994.0)
    assert (tally.counts.due, tally.counts.observed) == (43824, 43824 - 2067)
    there = found.readings.time[found.readings.flag != Flag.MISSING]
    assert int(np.diff(there).max()) == 156 * HOUR
    assert found.files[0].types["cbwd"] == "text"


@pytest.mark.slow
def test_the_stream_of_2018() -> None:
    """Codes for no value, stamps in the future, lines out of order, and by location alone repeats."""
    paths = data("openaq/realtime_ndjson_2018-02-06/*.ndjson.gz")
    now = parse_time("2018-02-07T12:00:00Z")
    found = validated(paths[1], latest=now)
    assert found.files[0].failing == {"future": 6}
    assert found.troubles[0].reason == "2018-06-01T23:30:00.000Z lies in the future"
    assert found.checks["sentinel"].count == np.count_nonzero(found.readings.flag == Flag.MISSING) == 3
    assert not found.repeats.same + found.repeats.other
    assert sum(t.unordered for t in found.tallies) == 2
    by_name = validated(paths[1], latest=now, columns={"station": "location"})
    assert by_name.repeats.same + by_name.repeats.other == 2793


def test_addis_ababa_and_kabul() -> None:
    """Nothing but codes is no error. A file without a header says what to do, and then is read."""
    addis, kabul = data("openaq/legacy_csv/*.csv")
    found = validated(addis)
    tally = only(found)
    assert (tally.counts.revised, tally.counts.missing, tally.counts.failed) == (10, 10, 0)
    assert not found.malformed

    (why,) = validated(kabul).errors
    assert why.removeprefix(str(kabul)) == (
        ":1: the first line is no header; its columns are numbered, 1 to 11. Say which is which, such"
        " as --column time=4 --column value=7 (also parameter, unit, station, sensor)"
    )
    columns = {"time": "4", "parameter": "6", "value": "7", "unit": "8", "station": "1"}
    read = only(validated(kabul, columns=columns))
    assert (read.series.parameter, read.series.unit, read.counts.revised) == ("pm25", "µg/m³", 24)
    assert read.descending
    assert read.unordered == 0


@pytest.mark.slow
def test_turbofans() -> None:
    """26 columns without a header: 100 engines of one file are others than those of the next."""
    train, test = (data(f"cmapss/{name}_FD001.txt")[0] for name in ("train", "test"))
    found = validated(train, test, parameters=("s7",))
    s7 = found.tallies
    assert (len(found.readings), len(s7)) == (20631 + 13096, 200)
    assert found.repeats.again == 0
    assert len(found.files[0].layout.parameters if found.files[0].layout else ()) == 24
    assert s7[0].cycles
    assert (s7[0].first // HOUR, s7[0].series.station) == (1, "train_FD001, 1")
    assert 549 < min(t.lowest or 0 for t in s7) < max(t.highest or 0 for t in s7) < 557
    ruled = QualitySettings(parameters={"s7": ParameterRule.model_validate({"range": [549, 554]})})
    failing = validated(train, quality=ruled, parameters=("s7",))
    assert set(failing.checks) >= {"gross_range"}
    assert told(failing)[0].startswith("train_FD001.txt:")


def test_injected_errors_of_france() -> None:
    """999 as a latitude is a move, blanks are missing; in the raw file there is neither."""
    (raw,), (injected,) = data("openaq/*/raw/1.csv.gz"), data("openaq/*/injected/1.csv.gz")
    clean, spoilt = validated(raw), validated(injected)
    assert sum(t.moved for t in clean.tallies) == 0
    assert sum(t.moved for t in spoilt.tallies) > 0
    assert clean.counts.missing == 0
    assert spoilt.files[0].values.absent == 47
    assert spoilt.counts.missing > 0
