"""How often the default thresholds object to real data: `python -m benchmarks.flags FOLDER`.

FOLDER has `openaq/explorer_toronto_2025`, `openaq/france_raw_vs_injected/raw`, and in `airquality` five
years of Beijing (UCI 381) and one of an Italian city (UCI 360, whose -200 is no value). All are
hourly. Of each series the readings with a value are counted, and those of them with flag 3 and 4, by
check; then follows each stretch in which a check objects, with its first and last reading.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from benchmarks.airfiles import One, beijing, columns, files, france, toronto
from loader.quality.checks import CHECK_NAMES, Checks
from loader.readings import HOUR, Flag, Readings, Series, UInt8, UInt32
from loader.settings.durations import micros
from loader.settings.quality import PARAMETERS, QualitySettings, SourceQuality
from loader.settings.rules import rule_of

APART = 24 * HOUR
"""Objections further apart than this are told as two stretches."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One series with its flags. `city` names the data, the time is in microseconds UTC."""

    city: str
    series: Series
    readings: Readings
    flag: UInt8
    tests: UInt32

    @property
    def present(self) -> int:
        return int(np.count_nonzero(self.flag != Flag.MISSING))


def judged(folder: Path) -> Iterator[Judged]:
    """Every series of the folder whose parameter has a shipped rule, flagged with the defaults."""
    for city, of, (time, value) in every(folder):
        if of.parameter not in PARAMETERS:
            continue
        own = SourceQuality(sentinels=(-200,)) if city == "Italy" else SourceQuality()
        check = Checks(rule_of(QualitySettings(), own))
        readings = Readings.of(np.zeros(len(time), np.int32), time, value)
        flag, tests = check([of], readings, np.zeros(len(time), bool))
        yield Judged(city, of, readings, flag, tests)


def every(folder: Path) -> Iterator[tuple[str, Series, One]]:
    for of, one in toronto(folder / "openaq" / "explorer_toronto_2025").items():
        yield "Toronto", _series(of.station, of.parameter, of.unit), one
    for file in france(folder / "openaq" / "france_raw_vs_injected"):
        of = file.series
        yield "France", _series(of.station, of.parameter, of.unit), file.raw
    for of, one in beijing(folder / "airquality" / "PRSA_data_2010.1.1-2014.12.31.csv.gz").items():
        yield "Beijing", _series("1", of.parameter, of.unit), one
    yield from italy(folder / "airquality" / "AirQualityUCI.csv")


def italy(path: Path) -> Iterator[tuple[str, Series, One]]:
    known = {
        "CO(GT)": ("co", "mg/m³"),
        "NO2(GT)": ("no2", "µg/m³"),
        "T": ("temperature", "c"),
        "RH": ("relativehumidity", "%"),
    }
    (path,) = files(path.parent, path.name)
    table = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    stamps = [
        micros(datetime.strptime(f"{r['Date']} {r['Time']} +0000", "%d/%m/%Y %H:%M:%S %z")) for r in table
    ]
    for name, what in known.items():
        yield (
            "Italy",
            _series("1", *what),
            columns(zip(stamps, (float(r[name]) for r in table), strict=True)),
        )


def _series(station: str, parameter: str, unit: str) -> Series:
    return Series(f"{station}/{parameter}", parameter, unit, station, station, cadence_s=3600)


def stretches(one: Judged) -> Iterator[tuple[str, int, int, int]]:
    """(check, first, last, how many readings) of each stretch in which a check objects to readings
    with a value."""
    for check, name in CHECK_NAMES.items():
        found = ((one.tests & np.uint32(check)) != 0) & (one.flag != Flag.MISSING)
        at = one.readings.time[found]
        if len(at):
            for part in np.split(at, np.flatnonzero(np.diff(at) > APART) + 1):
                yield name, int(part[0]), int(part[-1]), len(part)


def summary(found: Sequence[Judged]) -> Iterator[list[object]]:
    """The heads and lines of a table: readings with a value and how often each check objects."""
    objecting = {name for one in found for name, *_ in stretches(one)}
    names = [name for name in CHECK_NAMES.values() if name in objecting]
    yield ["data", "parameter", "series", "readings", "suspect", "fail", *names, "share"]
    groups: dict[tuple[str, str], list[Judged]] = defaultdict(list)
    for one in found:
        groups[one.city, one.series.parameter].append(one)
    for (city, parameter), group in groups.items():
        present = sum(one.present for one in group)
        bad = [sum(int(np.sum(one.flag == level)) for one in group) for level in (Flag.SUSPECT, Flag.FAIL)]
        tests = Counter[str]()
        for one in group:
            for name, _, _, count in stretches(one):
                tests[name] += count
        share = f"{sum(bad) / present:.3%}"
        yield [city, parameter, len(group), present, *bad, *(tests[name] for name in names), share]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flags", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    found = list(judged(parser.parse_args().folder))
    heads, *lines = summary(found)
    for line in (heads, ["---"] * len(heads), *lines):
        _line(*line)
    print()
    _line("data", "station", "parameter", "check", "first", "last", "readings")
    _line(*["---"] * 7)
    for one in found:
        for name, first, last, count in stretches(one):
            where = (one.city, one.series.station, one.series.parameter)
            _line(*where, name, _shown(first), _shown(last), count)


def _line(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |")


def _shown(time: int) -> str:
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time):%Y-%m-%d %H:%M}"


if __name__ == "__main__":
    main()
