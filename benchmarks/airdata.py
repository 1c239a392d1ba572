"""Alerts on real air data, and what is found of injected errors: `python -m benchmarks.airdata FOLDER`.

FOLDER has `openaq/explorer_toronto_2025` (OpenAQ Explorer exports, 15 stations, September 2025) and
`openaq/france_raw_vs_injected` (`raw/N.csv.gz`, and the same with artificial errors); `airquality` has the
five years of Beijing (UCI 381). Everything is judged with the defaults, by all rules: robust z-score
and unit scale per series; the isolation forest per station, fitted on its first 14 days (Beijing: on the
12 weeks before, every 4 weeks), alerts counted behind them; drift per series against its first 14 days
(Beijing: the same season of the year before). An alert is one (series, rule) going from ok to alerting; a
station-month is 30.44 days on which the station has readings.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import numpy as np

from loader.quality import forest
from loader.quality.anomaly import CORE, Detector, ZScore, anomalous
from loader.quality.anomalyrule import AlertRule, AlertState, after_run
from loader.quality.drift import Against, DriftRule, DriftState, after_comparison, drift
from loader.readings import DAY, HOUR, SECOND, Bool, Float64, Int64

One: TypeAlias = tuple[Int64, Float64]
MONTH = 30.44
HEALTHY = 14 * DAY


def alerts(detector: Detector, times: Int64, scores: Float64, run: int) -> int:
    """How often the series starts to alert when every `run` microseconds are a run."""
    which, first = np.unique((times - 1) // run, return_index=True)
    judged = np.add.reduceat(np.isfinite(scores).astype(int), first) if len(which) else []
    found = np.add.reduceat(anomalous(detector, scores).astype(int), first) if len(which) else []
    state, begun = AlertState(), 0
    for n, k in zip(judged, found, strict=True):
        then = after_run(AlertRule(), state, int(n), int(k))
        begun += then.alerting and not state.alerting
        state = then
    return begun


def drift_alerts(times: Int64, values: Float64, against: Against = Against.FIRST) -> tuple[int, int]:
    """How often a daily comparison starts to alert; and how many comparisons could be made."""
    if not len(times):
        return 0, 0
    rule = DriftRule()
    ends = range(int(times[0]) + rule.reference + rule.window, int(times[-1]) + 1, DAY)
    state, begun, made = DriftState(), 0, 0
    for found in drift(rule, against, times, values, ends=ends):
        made += found is not None
        then = after_comparison(rule, state, found)
        begun += then.alerting and not state.alerting
        state = then
    return begun, made


def rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def microseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * 1_000_000


def columns(pairs: Iterable[tuple[int, float]]) -> One:
    ordered = sorted(pairs, key=lambda pair: pair[0])
    return np.array([t for t, _ in ordered], np.int64), np.array([v for _, v in ordered], np.float64)


def toronto(folder: Path) -> dict[str, dict[str, One]]:
    """The series of each station, by station and parameter."""
    stations: dict[str, dict[str, One]] = {}
    for path in sorted(folder.glob("*.csv.gz")):
        series: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for row in rows(path):
            key = f"{row['parameter']} {row['unit']}"
            series[key].append((microseconds(row["datetimeUtc"]), float(row["value"])))
        stations[path.name.split("_")[2]] = {k: columns(v) for k, v in series.items()}
    return stations


def france(folder: Path) -> dict[str, tuple[One, One, list[str]]]:
    """By file: the raw series, the injected one, and what was done to each of its readings."""
    files = {}
    for path in sorted((folder / "raw").glob("*.csv.gz")):
        raw = columns((microseconds(r["datetime_utc"]), float(r["value_avg"])) for r in rows(path))
        truth = dict(zip(raw[0].tolist(), raw[1].tolist(), strict=True))
        injected = columns(
            (microseconds(r["datetime_utc"]), float(r["value_avg"] or "nan"))
            for r in rows(folder / "injected" / path.name)
        )
        kinds = [
            _kind(truth[t], v) for t, v in zip(injected[0].tolist(), injected[1].tolist(), strict=True)
        ]
        files[path.name.split(".")[0]] = (raw, injected, kinds)
    return files


def beijing(path: Path) -> dict[str, One]:
    """The series of one station over five years: dust, dew point, temperature, pressure, wind."""
    table = rows(path)
    times = np.array(
        [
            int(datetime(*(int(r[c]) for c in ("year", "month", "day", "hour")), tzinfo=UTC).timestamp())
            for r in table
        ],
        np.int64,
    )
    names = ("pm", "DEWP", "TEMP", "PRES", "Iws")
    values = {
        n: np.array([float(r[n]) if r[n] not in ("", "NA") else np.nan for r in table]) for n in names
    }
    return {name: (times * SECOND, column) for name, column in values.items()}


def _kind(truth: float, value: float) -> str:
    if np.isnan(value):
        return "blank"
    if abs(value - truth) < 1e-9:
        return "unchanged"
    return "x 1000" if value > truth else "x 0.001"


def months(series: Iterable[One]) -> float:
    days = np.concatenate([t for t, _ in series]) // DAY
    return len(np.unique(days)) / MONTH


class Tally:
    """Alerts by rule and length of a run; points and judged readings by rule."""

    def __init__(self) -> None:
        self.alerts: Counter[tuple[str, str]] = Counter()
        self.points: Counter[str] = Counter()
        self.judged: Counter[str] = Counter()
        self.months = 0.0

    def add(self, detector: Detector, times: Int64, scores: Float64) -> None:
        for name, run in (("hour", HOUR), ("day", DAY)):
            self.alerts[detector.name, name] += alerts(detector, times, scores, run)
        self.points[detector.name] += int(anomalous(detector, scores).sum())
        self.judged[detector.name] += int(np.isfinite(scores).sum())

    def one(self, series: One, against: Against = Against.FIRST) -> None:
        for detector in CORE:
            self.add(detector, series[0], detector.score(*series))
        begun, made = drift_alerts(*series, against)
        self.alerts["drift", "hour"] += begun
        self.alerts["drift", "day"] += begun
        self.judged["drift"] += made

    def rates(self) -> tuple[float, float]:
        """Alerts per station and month, with hourly and with daily runs."""
        hourly, daily = (sum(n for (_, run), n in self.alerts.items() if run == r) for r in ("hour", "day"))
        return hourly / self.months, daily / self.months

    def show(self, title: str) -> None:
        print(f"{title}: {self.months:.1f} station-months\n")
        print("| rule | judged | anomalies | alerts, hourly runs | daily runs |\n|---|---|---|---|---|")
        for rule, judged in self.judged.items():
            by = [self.alerts[rule, run] for run in ("hour", "day")]
            print(f"| {rule} | {judged} | {self.points[rule]} | {by[0]} | {by[1]} |")
        hourly, daily = self.rates()
        print(f"| per station and month | | | {hourly:.2f} | {daily:.2f} |\n")


def spoilt(values: Float64, at: int, factor: float, shift: float, frozen: bool) -> Float64:
    """The values, from position `at` on multiplied, shifted by robust deviations, or frozen; over
    seven days of hourly readings the change grows from nothing to its full size."""
    out = values.copy()
    share = np.clip((np.arange(len(values)) - at) / 168, 0, 1)
    if frozen:
        out[at:] = values[at]
        return out
    deviation = float(np.median(np.abs(values - np.median(values)))) / 0.6745
    return values * (1 + (factor - 1) * share) + shift * deviation * share


def injected_drift(stations: dict[str, dict[str, One]]) -> None:
    """How many series of Toronto start to alert by drift when they are made to drift."""
    series = [s for group in stations.values() for s in group.values() if drift_alerts(*s)[1]]
    moving = [s for s in series if len(np.unique(s[1])) > 1]
    ways: dict[str, Callable[[Float64, int], Float64]] = {
        "doubled in a week": lambda v, at: spoilt(v, at, 2, 0, False),
        "tripled in a week": lambda v, at: spoilt(v, at, 3, 0, False),
        "halved in a week": lambda v, at: spoilt(v, at, 0.5, 0, False),
        "shifted 3 deviations in a week": lambda v, at: spoilt(v, at, 1, 3, False),
        "frozen": lambda v, at: spoilt(v, at, 1, 0, True),
    }
    print(f"drift injected behind the first 14 days of {len(moving)} moving series\n")
    print("| drift | series that alert |\n|---|---|")
    for name, way in ways.items():
        found = sum(
            drift_alerts(t, way(v, int(np.searchsorted(t, t[0] + HEALTHY))))[0] > 0 for t, v in moving
        )
        print(f"| {name} | {found} of {len(moving)} |")
    print()


def injected_into_stations(fitted: list[tuple[forest.Forest, Int64, Float64]]) -> None:
    """What the forests find where a tenth of the moments have one sensor that is wrong."""
    chance = np.random.default_rng(0)
    found: Counter[str] = Counter()
    made = 0
    for detector, times, table in fitted:
        at = chance.choice(len(table), len(table) // 10, replace=False)
        sensor = chance.integers(0, table.shape[1], len(at))
        other = table[chance.integers(0, len(table), len(at)), sensor]
        true = table[at, sensor]
        made += len(at)
        wrong = {"x 1000": true * 1000, "x 3": true * 3, "0": true * 0, "another moment's": other}
        for name, values in wrong.items():
            spoiled = table.copy()
            spoiled[at, sensor] = values
            hit: Bool = anomalous(detector, detector.score(times, spoiled))
            found[name] += int(hit[at].sum())
    print(f"isolation forest, one sensor wrong at {made} moments\n\n| value | recall |\n|---|---|")
    for name, n in found.items():
        print(f"| {name} | {n / made:.2f} |")
    print()


def injected_readings(series: Iterable[One]) -> None:
    """What the detectors of single series find of single wrong readings, one in fifty."""
    ways: dict[str, Callable[[Float64, float], Float64]] = {
        "x 3": lambda v, _: v * 3,
        "x 10": lambda v, _: v * 10,
        "x 30": lambda v, _: v * 30,
        "+ 5 standard deviations": lambda v, deviation: v + 5 * deviation,
        "+ 10 standard deviations": lambda v, deviation: v + 10 * deviation,
        "- 5 standard deviations": lambda v, deviation: v - 5 * deviation,
        "-999": lambda v, _: v * 0 - 999,
    }
    found: Counter[tuple[str, str]] = Counter()
    made = 0
    detectors = (*CORE, ZScore())
    for times, values in series:
        at = np.arange(240, len(values), 50)
        at = at[np.isfinite(values[at])]
        made += len(at)
        for name, way in ways.items():
            wrong = values.copy()
            wrong[at] = way(values[at], float(np.nanstd(values)))
            for d in detectors:
                found[name, d.name] += int(anomalous(d, d.score(times, wrong))[at].sum())
    print(f"single wrong readings, {made} of each kind: recall\n")
    print(f"| reading | {' | '.join(d.name for d in detectors)} |\n|---{'|---' * len(detectors)}|")
    for name in ways:
        print(f"| {name} | {' | '.join(f'{found[name, d.name] / made:.2f}' for d in detectors)} |")
    print()


def toronto_alerts(
    stations: dict[str, dict[str, One]],
) -> tuple[Tally, list[tuple[forest.Forest, Int64, Float64]]]:
    """All alerts of all stations; and the forests, each with the moments behind its healthy stretch."""
    tally, fitted = Tally(), []
    for series in stations.values():
        tally.months += months(series.values())
        for one in series.values():
            tally.one(one)
        times, table = forest.moments([t for t, _ in series.values()], [v for _, v in series.values()])
        early = times <= times[0] + HEALTHY
        if len(series) > 1 and not early.all():
            detector = forest.fit(times[early], table[early])
            fitted.append((detector, times[~early], table[~early]))
            tally.add(detector, times[~early], detector.score(times[~early], table[~early]))
    return tally, fitted


class France:
    """Alerts of the raw and of the injected files; readings by kind of error, judged and found, by
    detector and by `either`."""

    def __init__(self) -> None:
        self.clean, self.spoilt = Tally(), Tally()
        self.of: Counter[str] = Counter()
        self.judged: Counter[tuple[str, str]] = Counter()
        self.found: Counter[tuple[str, str]] = Counter()

    def recall(self, kind: str) -> float:
        return self.found["either", kind] / self.judged["either", kind]

    def show(self) -> None:
        self.clean.show("France, raw")
        self.spoilt.show("France, injected")
        print(
            "| injected | readings | detector | judged | found | of all | of the judged |\n"
            + "|---" * 7
            + "|"
        )
        for (name, kind), n in sorted(self.found.items(), key=lambda item: item[0][::-1]):
            known = self.judged[name, kind]
            share = f"{n / known:.2f}" if known else "-"
            print(
                f"| {kind} | {self.of[kind]} | {name} | {known} | {n} | {n / self.of[kind]:.2f} | {share} |"
            )


def france_alerts(files: dict[str, tuple[One, One, list[str]]]) -> France:
    result = France()
    for raw, injected, kinds in files.values():
        result.clean.months += months([raw])
        result.spoilt.months += months([injected])
        result.clean.one(raw)
        result.spoilt.one(injected)
        result.of.update(kinds)
        scores = {d.name: d.score(*injected) for d in CORE}
        hits = {d.name: anomalous(d, scores[d.name]) for d in CORE}
        hits["either"] = np.any(list(hits.values()), axis=0)
        scores["either"] = np.fmax(*(np.abs(s) for s in scores.values()))
        for i, kind in enumerate(kinds):
            for name, hit in hits.items():
                result.found[name, kind] += bool(hit[i])
                result.judged[name, kind] += bool(np.isfinite(scores[name][i]))
    return result


def beijing_alerts(series: dict[str, One]) -> Tally:
    """All alerts of one station; drift against the same season of the year before."""
    tally = Tally()
    tally.months = months(series.values())
    for one in series.values():
        tally.one(one, Against.SEASON)
    times, table = forest.moments([t for t, _ in series.values()], [v for _, v in series.values()])
    # Fitted on the twelve weeks before, again every four weeks; nobody vouches for their health.
    scores, begin = np.full(len(times), np.nan), int(times[0]) + 84 * DAY
    detector = None
    for start in range(begin, int(times[-1]), 28 * DAY):
        past = (times > start - 84 * DAY) & (times <= start)
        part = (times > start) & (times <= start + 28 * DAY)
        detector = forest.fit(times[past], table[past])
        scores[part] = np.where(anomalous(detector, detector.score(times[part], table[part])), 1.0, 0.0)
    if detector is not None:
        tally.add(replace(detector, threshold=1.0), times, scores)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.airdata", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    data: Path = parser.parse_args().folder
    folder = data / "openaq"
    stations = toronto(folder / "explorer_toronto_2025")
    tally, fitted = toronto_alerts(stations)
    tally.show("Toronto")
    injected_readings(s for g in stations.values() for s in g.values() if len(np.unique(s[1])) > 1)
    injected_into_stations(fitted)
    injected_drift(stations)
    france_alerts(france(folder / "france_raw_vs_injected")).show()
    print()
    beijing_alerts(beijing(data / "airquality" / "PRSA_data_2010.1.1-2014.12.31.csv.gz")).show("Beijing")


if __name__ == "__main__":
    main()
