"""What the loader alerts of on real air data, and what it finds of errors: with the defaults, by its own
pipeline, checks, assessment and rules (`benchmarks.airreplay`): `python -m benchmarks.airdata FOLDER`.

FOLDER has `openaq/explorer_toronto_2025` (OpenAQ Explorer exports, 15 stations, September 2025) and
`openaq/france_raw_vs_injected` (`raw/N.csv.gz`, and the same with artificial errors); `airquality` has the
five years of Beijing (UCI 381). An alert is one (series, rule) going from ok to alerting; each is listed. A
station-month is 30.44 days on which a station has readings. `--every 1h` takes hours for Beijing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.airfiles import Data, French, One, beijing, france, station_months, toronto
from benchmarks.airreplay import Replayed, Told, replay
from loader.quality import forest
from loader.quality.anomaly import CORE, ZScore, anomalous
from loader.quality.drift import Against, DriftRule, DriftState, after_comparison, drift
from loader.readings import DAY, Bool, Flag, Float64, Int64
from loader.settings.durations import parse_duration

HEALTHY = 14 * DAY
RULES = ("anomaly", "drift", "failing_sensor", "quality_below")
"""Rules about readings."""


@dataclass
class Alerts:
    """Of one body of data."""

    name: str
    months: float = 0.0
    told: list[Told] = field(default_factory=list)

    def add(self, data: Data, replayed: Replayed) -> None:
        self.months += station_months(data)
        self.told += replayed.told

    @property
    def rate(self) -> float:
        """Alerts per station and month, whatever the rule."""
        return len(self.told) / self.months

    def show(self) -> None:
        count = Counter(one.rule for one in self.told)
        by_rule = ", ".join(f"{rule} {count[rule]}" for rule in sorted({*RULES, *count}))
        print(f"{self.name}: {self.months:.1f} station-months, {self.rate:.2f} alerts in each: {by_rule}")
        for one in sorted(self.told, key=lambda told: told.at):
            print(f"  {one}")
        print(flush=True)


def quietly(data: Data, every: int) -> Replayed:
    """Replay without the log."""
    with contextlib.redirect_stderr(io.StringIO()):
        return replay(data, every)


def clean(name: str, bodies: Iterable[Data], every: int) -> Alerts:
    """The alerts on bodies of data, each a source of its own."""
    alerts = Alerts(name)
    for data in bodies:
        alerts.add(data, quietly(data, every))
    return alerts


@dataclass
class Recall:
    """Of the injected errors by kind: how many are stored, how many the anomalies name, how many have a
    flag from 3 on, and how many either. `repeated` rows gave way to another one of the same time."""

    all: Counter[str] = field(default_factory=Counter)
    named: Counter[str] = field(default_factory=Counter)
    flagged: Counter[str] = field(default_factory=Counter)
    either: Counter[str] = field(default_factory=Counter)
    repeated: int = 0

    def add(self, file: French, replayed: Replayed) -> None:
        (number,) = replayed.series
        stored = replayed.stored[number]
        at = np.searchsorted(stored.time, file.injected[0])
        # Some stamps occur twice; the last value of each is the one that is stored.
        kept = stored.value[at] == file.injected[1]
        kept |= np.isnan(stored.value[at]) & np.isnan(file.injected[1])
        self.repeated += int(np.count_nonzero(~kept))
        for i in np.flatnonzero(kept).tolist():
            kind, time = file.kinds[i], int(file.injected[0][i])
            named, bad = time in replayed.anomalies[number], stored.flag[at[i]] >= Flag.SUSPECT
            self.all[kind] += 1
            self.named[kind] += named
            self.flagged[kind] += bad
            self.either[kind] += named or bad

    def share(self, kind: str) -> float:
        return self.either[kind] / self.all[kind]

    def show(self) -> None:
        print("| France, injected | readings | anomalies | flag 3, 4, 9 | either | share |")
        print("|---" * 6 + "|")
        for kind, n in sorted(self.all.items()):
            counts = f"{self.named[kind]} | {self.flagged[kind]} | {self.either[kind]}"
            print(f"| {kind} | {n} | {counts} | {self.share(kind):.2f} |")
        print(f"\n{self.repeated} rows gave way to another one of the same time\n", flush=True)


def injected(files: Iterable[French], every: int) -> tuple[Alerts, Recall]:
    """The alerts on the French files with errors, and what is found of these."""
    alerts, recall = Alerts("France, injected"), Recall()
    for file in files:
        data = {file.series: file.injected}
        replayed = quietly(data, every)
        alerts.add(data, replayed)
        recall.add(file, replayed)
    return alerts, recall


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


def injected_drift(data: Data) -> None:
    """How many series of Toronto start to alert by drift when they are made to drift."""
    series = [s for s in data.values() if drift_alerts(*s)[1]]
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


def forests(data: Data) -> list[tuple[forest.Forest, Int64, Float64]]:
    """A forest for each station, fitted on its first 14 days; with the moments behind those."""
    stations: dict[str, list[One]] = defaultdict(list)
    for series, one in data.items():
        stations[series.station].append(one)
    fitted = []
    for members in stations.values():
        times, table = forest.moments([t for t, _ in members], [v for _, v in members])
        early = times <= times[0] + HEALTHY
        if len(members) > 1 and not early.all():
            fitted.append((forest.fit(times[early], table[early]), times[~early], table[~early]))
    return fitted


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.airdata", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--every", type=parse_duration, default=DAY, metavar="TIME", help="1d, 2h, 1h")
    parser.add_argument("--only", choices=("toronto", "france", "beijing", "injected"))
    args = parser.parse_args()
    if args.every <= 0:
        parser.error("--every: longer than 0s")
    folder: Path = args.folder
    wanted = (args.only,) if args.only else ("toronto", "france", "beijing", "injected")
    if {"toronto", "injected"} & set(wanted):
        stations = toronto(folder / "openaq" / "explorer_toronto_2025")
    if "toronto" in wanted:
        clean("Toronto", [stations], args.every).show()
    if "france" in wanted:
        files = france(folder / "openaq" / "france_raw_vs_injected")
        clean("France, raw", [{file.series: file.raw} for file in files], args.every).show()
        for result in injected(files, args.every):
            result.show()
    if "beijing" in wanted:
        path = folder / "airquality" / "PRSA_data_2010.1.1-2014.12.31.csv.gz"
        clean("Beijing", [beijing(path)], args.every).show()
    if "injected" in wanted:
        injected_readings(s for s in stations.values() if len(np.unique(s[1])) > 1)
        injected_into_stations(forests(stations))
        injected_drift(stations)


if __name__ == "__main__":
    main()
