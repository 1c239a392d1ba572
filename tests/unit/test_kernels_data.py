"""What is known of real sensor data is what the QARTOD tests find in it."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from loader.quality.kernels import GrossRange, TimeGap, evaluate
from loader.quality.rows import Rows
from loader.quality.windows import FlatLine
from loader.readings import DAY, HOUR, SECOND, Flag
from tests.unit.qartod import NAN, rows_of

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
Key = tuple[str, str]


def records(pattern: str) -> Iterator[tuple[Path, list[dict[str, str]]]]:
    """The CSV files of that name, each with its rows."""
    paths = sorted(DATA.glob(pattern))
    if not paths:
        pytest.skip(f"no {pattern} at {DATA.resolve()}")
    for path in paths:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        yield path, list(csv.DictReader(content.decode("utf-8-sig").splitlines()))


def micros(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * SECOND


def test_the_sentinel_of_the_italian_station_is_missing_throughout() -> None:
    """With -200 as no value, CO, NO2 and NMHC miss 1683, 1642 and 8443 values; 31 rows all 13."""
    _, table = next(records("airquality/AirQualityUCI.csv"))
    names = [name for name in table[0] if name not in {"Date", "Time"}]
    hours = [micros(datetime.strptime(f"{r['Date']} {r['Time']} +0000", "%d/%m/%Y %H:%M:%S %z").isoformat())
             for r in table]  # fmt: skip
    assert (len(names), len(hours)) == (13, 9357)
    value = np.array([float(row[name]) for name in names for row in table])
    value[value == -200] = NAN
    rows = rows_of(np.repeat(range(13), len(hours)).tolist(), hours * 13, value.tolist())
    everything = [np.full(13, bound) for bound in (-1e4, 1e4, NAN, NAN)]
    flag, bits = evaluate(rows, [GrossRange(*everything), TimeGap(np.full(13, HOUR))])
    missing = (flag == Flag.MISSING).reshape(13, -1)
    counts = dict(zip(names, missing.sum(1).tolist(), strict=True))
    assert (counts["CO(GT)"], counts["NO2(GT)"], counts["NMHC(GT)"]) == (1683, 1642, 8443)
    assert np.count_nonzero(missing.all(0)) == 31
    assert set(flag.tolist()) == {1, 9}
    assert not bits.any()


def test_the_longest_silence_in_beijing_is_found() -> None:
    """Of 43824 hours 2067 have no value; the longest run of them, 155 hours, is the longest gap."""
    _, table = next(records("airquality/PRSA_data_*.csv.gz"))
    hours = np.array([
        micros(f"{r['year']}-{int(r['month']):02}-{int(r['day']):02}T{int(r['hour']):02}:00:00+00:00")
        for r in table
    ])  # fmt: skip
    value = np.array([NAN if row["pm"] == "NA" else float(row["pm"]) for row in table])
    index = np.zeros(len(hours), np.int32)
    whole = Rows.of(index, hours, value)
    assert (len(whole), len(whole.absent), np.nanmax(value)) == (43824, 2067, 994)
    assert set(TimeGap(np.array([HOUR])).flags(whole).tolist()) == {1}
    sent = ~np.isnan(value)
    rows = Rows.of(index[sent], hours[sent], value[sent])

    def after_gaps(silent: int) -> np.ndarray:
        """Positions after more than so many missing hours; the first row only echoes the second."""
        return np.flatnonzero(TimeGap(np.array([silent * HOUR + HOUR])).flags(rows)[1:] == 4) + 1

    assert len(after_gaps(155)) == 0
    longest = after_gaps(154)
    assert len(longest) == 1
    assert rows.time[longest[0]] - rows.time[longest[0] - 1] == 156 * HOUR
    assert np.sum(np.diff(rows.time)[after_gaps(0) - 1] // HOUR - 1) == 2067 - np.argmax(sent)


def toronto() -> tuple[dict[Key, int], Rows]:
    """The hourly series of the Toronto stations and their readings."""
    keys: dict[Key, int] = {}
    columns: list[tuple[int, int, float]] = []
    for _, table in records("openaq/explorer_toronto_2025/*.csv.gz"):
        for row in table:
            key = keys.setdefault((row["location_id"], f"{row['parameter']} {row['unit']}"), len(keys))
            columns.append((key, micros(row["datetimeUtc"]), float(row["value"])))
    index, time, value = map(np.array, zip(*columns, strict=True))
    order = np.lexsort((time, index))
    assert len({*zip(index.tolist(), time.tolist(), strict=True)}) == len(order)  # no key twice
    return keys, Rows.of(index[order].astype(np.int32), time[order], value[order])


def test_gases_that_stood_still_in_toronto_are_found_with_start_and_length() -> None:
    """CO lay at 0 for 740 hours at one station and SO2 at two; nothing else stood still so long."""
    keys, rows = toronto()
    assert (len(keys), len(rows)) == (73, 53413)
    n = len(keys)
    day = np.full(n, DAY)
    test = FlatLine(day, 20 * day, np.zeros(n), np.full(n, HOUR), np.full(n, 90 * HOUR))
    flag = test.flags(rows)
    found = {}
    for key, s in keys.items():
        mine = rows.series == s
        flat = np.flatnonzero(flag[mine] >= Flag.SUSPECT)
        if np.any(flag[mine] == Flag.FAIL):
            first = flat[0] - 24
            start = datetime.fromtimestamp(int(rows.time[mine][first]) // SECOND).astimezone()
            assert np.ptp(rows.value[mine][first : flat[-1] + 1]) == 0
            found[key] = (start.timestamp(), int(flat[-1] - first) + 1)
    begin = datetime.fromisoformat("2025-09-01T01:00:00+00:00").timestamp()
    assert found == {
        ("1274950", "co ppm"): (begin, 740),
        ("1274950", "so2 ppm"): (begin, 707),
        ("1274949", "so2 ppm"): (begin, 734),
    }
