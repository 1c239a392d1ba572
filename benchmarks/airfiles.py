"""The real air data that the benchmarks of drift and anomalies run on, as columns by series."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import numpy as np

from loader.readings import DAY, SECOND, Float64, Int64, Series

One: TypeAlias = tuple[Int64, Float64]
Data: TypeAlias = Mapping[Series, One]
MONTH = 30.44
"""Days."""


def station_months(data: Data) -> float:
    """Months of 30.44 days on which a station has readings, summed over the stations."""
    days: dict[str, list[Int64]] = defaultdict(list)
    for series, (times, _) in data.items():
        days[series.station].append(times // DAY)
    return sum(len(np.unique(np.concatenate(parts))) for parts in days.values()) / MONTH


def series(station: str, parameter: str, unit: str) -> Series:
    """An hourly series; its sensor is called after all that tells it from others."""
    name = f"{station}-{parameter}-{unit}"
    return Series(name, parameter, unit, station, name, cadence_s=3600.0)


def files(folder: Path, pattern: str) -> list[Path]:
    """Those of a folder in order; SystemExit where there are none."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise SystemExit(f"{folder}: no {pattern}; benchmarks/README.md says what the folder must have")
    return found


def rows(path: Path) -> list[dict[str, str]]:
    (path,) = files(path.parent, path.name)
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def microseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * 1_000_000


def columns(pairs: Iterable[tuple[int, float]]) -> One:
    ordered = sorted(pairs, key=lambda pair: pair[0])
    return np.array([t for t, _ in ordered], np.int64), np.array([v for _, v in ordered], np.float64)


def toronto(folder: Path) -> Data:
    """15 stations, 63 series, September 2025."""
    found: dict[Series, list[tuple[int, float]]] = defaultdict(list)
    for path in files(folder, "*.csv.gz"):
        for row in rows(path):
            one = series(path.name.split("_")[2], row["parameter"], row["unit"])
            found[one].append((microseconds(row["datetimeUtc"]), float(row["value"])))
    return {one: columns(pairs) for one, pairs in found.items()}


@dataclass(frozen=True)
class French:
    """A French file: the raw series, the same with errors, and what was done to each reading of it."""

    series: Series
    raw: One
    injected: One
    kinds: tuple[str, ...]


def france(folder: Path) -> list[French]:
    found = []
    for path in files(folder / "raw", "*.csv.gz"):
        table = rows(path)
        raw = columns((microseconds(r["datetime_utc"]), float(r["value_avg"])) for r in table)
        truth = dict(zip(raw[0].tolist(), raw[1].tolist(), strict=True))
        injected = columns(
            (microseconds(r["datetime_utc"]), float(r["value_avg"] or "nan"))
            for r in rows(folder / "injected" / path.name)
        )
        kinds = tuple(
            _kind(truth[t], v) for t, v in zip(injected[0].tolist(), injected[1].tolist(), strict=True)
        )
        name = path.name.split(".")[0]
        found.append(French(series(name, table[0]["parameter"], table[0]["units"]), raw, injected, kinds))
    return found


def beijing(path: Path) -> Data:
    """One station over five years: fine dust, dew point, temperature, pressure, cumulated wind."""
    table = rows(path)
    times = np.array(
        [
            int(datetime(*(int(r[c]) for c in ("year", "month", "day", "hour")), tzinfo=UTC).timestamp())
            for r in table
        ],
        np.int64,
    )
    names = {
        "pm": ("pm25", "µg/m³"),
        "DEWP": ("dewpoint", "c"),
        "TEMP": ("temperature", "c"),
        "PRES": ("pressure", "hpa"),
        "Iws": ("wind", "m/s"),
    }
    return {
        series("beijing", *what): (
            times * SECOND,
            np.array([float(r[n]) if r[n] not in ("", "NA") else np.nan for r in table]),
        )
        for n, what in names.items()
    }


def _kind(truth: float, value: float) -> str:
    if np.isnan(value):
        return "blank"
    if abs(value - truth) < 1e-9:
        return "unchanged"
    return "x 1000" if value > truth else "x 0.001"
