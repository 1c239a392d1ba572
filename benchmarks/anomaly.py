"""How well the detectors find what somebody has labelled: `python -m benchmarks.anomaly FILE ...`.

Each FILE is a CSV (or .csv.gz) with a header: a time (ISO 8601, or seconds since 1970), one value or
several, and a label (1, true, anomaly: anomalous; 0, false, normal or empty: not). Printed for each:

  precision, recall, F1   of readings; a labelled reading that was not judged counts as missed
  false alarms            share of the readings labelled normal that were called anomalous
  stretches               labelled stretches (readings in a row) in which something was found, of all
  delay                   median time from a stretch's first reading to the first one found

No detector sees the future: a reading is judged by itself and earlier ones. The forest is fitted on
the first part of the file (`--healthy`), whose labels it is not shown; all detectors are judged behind it.
`python -m benchmarks.airdata FOLDER` measures alerts on real data without labels.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from loader.errors import ConfigError
from loader.quality import forest
from loader.quality.anomaly import Detector, RobustZScore, UnitScale, ZScore, anomalous
from loader.quality.reference import Season
from loader.readings import DAY, HOUR, SECOND, Bool, Float64, Int64

ANOMALOUS = frozenset({"1", "1.0", "true", "yes", "anomaly", "anomalous", "outlier"})
NORMAL = frozenset({"", "0", "0.0", "false", "no", "normal", "-1"})
LABELS = ("label", "is_anomaly", "anomaly", "attack", "outlier")
TIMES = ("time", "timestamp", "datetime", "date")


@dataclass(frozen=True, slots=True)
class Labelled:
    """A labelled series in order of time; `values` has a column a sensor."""

    times: Int64
    values: Float64
    label: Bool
    sensors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a detector found in a labelled series. `delays` has one entry (microseconds) for each
    labelled stretch that was found."""

    found: int
    right: int
    labelled: int
    normal: int
    stretches: int
    delays: tuple[int, ...]

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else float("nan")

    @property
    def recall(self) -> float:
        return self.right / self.labelled if self.labelled else float("nan")

    @property
    def f1(self) -> float:
        both = self.found + self.labelled
        return 2 * self.right / both if both else float("nan")

    @property
    def false_alarms(self) -> float:
        return (self.found - self.right) / self.normal if self.normal else float("nan")

    def row(self, name: str) -> str:
        delay = f"{np.median(self.delays) / HOUR:.2f} h" if self.delays else "-"
        return (
            f"| {name} | {self.precision:.3f} | {self.recall:.3f} | {self.f1:.3f} "
            f"| {self.false_alarms:.5f} | {len(self.delays)}/{self.stretches} | {delay} |"
        )


COLUMNS = ("detector", "precision", "recall", "F1", "false alarms", "stretches", "delay")
HEADER = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def judge(times: Int64, label: Bool, found: Bool) -> Outcome:
    """What was found against what is labelled; readings in order of time."""
    begins = np.flatnonzero(label & ~np.concatenate(([False], label[:-1])))
    ends = np.flatnonzero(label & ~np.concatenate((label[1:], [False])))
    delays = []
    for begin, end in zip(begins, ends, strict=True):
        hits = np.flatnonzero(found[begin : end + 1])
        if len(hits):
            delays.append(int(times[begin + hits[0]] - times[begin]))
    return Outcome(
        int(found.sum()),
        int((found & label).sum()),
        int(label.sum()),
        int((~label).sum()),
        len(begins),
        tuple(delays),
    )


def findings(detector: Detector, series: Labelled) -> Bool:
    """At which times the detector finds an anomaly: in any sensor, if it looks at them singly."""
    if isinstance(detector, forest.Forest):
        return anomalous(detector, detector.score(series.times, series.values))
    columns = (series.values[:, k] for k in range(len(series.sensors)))
    every = [anomalous(detector, detector.score(series.times, column)) for column in columns]
    return np.asarray(np.any(every, axis=0), np.bool_)


def read(path: Path, time: str | None, label: str | None, values: Sequence[str]) -> Labelled:
    """The series in a file; SystemExit with the file, line and remedy where it is not one."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    reader = csv.DictReader(io.StringIO(raw.decode("utf-8-sig")))
    columns = list(reader.fieldnames or ())
    when = _column(path, "time", time, TIMES, columns)
    what = _column(path, "label", label, LABELS, columns)
    sensors = tuple(values or [c for c in columns if c not in (when, what)])
    for name in sensors:
        _column(path, "value", name, (), columns)
    if not sensors:
        raise SystemExit(f"{path}: no column of values beside {when} and {what}")
    times, labels, table = [], [], []
    for row in reader:
        where = f"{path}:{reader.line_num}"
        times.append(_time(where, row[when]))
        labels.append(_label(where, row[what]))
        table.append([_number(row[name]) for name in sensors])
    order = np.argsort(np.array(times, np.int64), kind="stable")
    return Labelled(
        np.array(times, np.int64)[order],
        np.array(table, np.float64).reshape(len(times), len(sensors))[order],
        np.array(labels, np.bool_)[order],
        sensors,
    )


def _column(path: Path, kind: str, name: str | None, usual: Sequence[str], columns: Sequence[str]) -> str:
    if name is not None and name in columns:
        return name
    if name is None:
        found = [c for c in columns if c.strip().lower() in usual]
        if found:
            return found[0]
    raise SystemExit(f"{path}: no column {name or kind!r}; name it with --{kind}, of {', '.join(columns)}")


def _time(where: str, text: str) -> int:
    try:
        return round(float(text) * SECOND)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SystemExit(f"{where}: {text!r} is no time: ISO 8601 or seconds since 1970") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000) * 1000


def _label(where: str, text: str | None) -> bool:
    plain = (text or "").strip().lower()
    if plain not in ANOMALOUS | NORMAL:
        raise SystemExit(f"{where}: {text!r} is no label: 1 or 0")
    return plain in ANOMALOUS


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def compare(series: Labelled, season: Season, healthy: float) -> dict[str, Outcome]:
    """Every detector on one series, judged behind its first `healthy` share."""
    start = int(len(series.times) * healthy)
    detectors: list[Detector] = [RobustZScore(season), ZScore(season), UnitScale(season)]
    if len(series.sensors) > 1:
        try:
            detectors.append(forest.fit(series.times[:start], series.values[:start]))
        except (ConfigError, ValueError) as error:
            print(f"isolation_forest is left out: {error}\n")
    after = slice(start, None)
    return {
        d.name: judge(series.times[after], series.label[after], findings(d, series)[after])
        for d in detectors
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.anomaly",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--time", metavar="COLUMN")
    parser.add_argument("--label", metavar="COLUMN")
    parser.add_argument(
        "--value", metavar="COLUMN", action="append", default=[], help="all others unless given"
    )
    parser.add_argument("--healthy", type=float, default=0.25, help="the share at the beginning to fit on")
    parser.add_argument("--cell", type=float, default=HOUR / SECOND, help="grain of the reference, seconds")
    parser.add_argument("--period", type=float, default=DAY / SECOND, help="length of the season, seconds")
    parser.add_argument("--recent", type=float, default=2 * DAY / SECOND, help="recent reference, seconds")
    args = parser.parse_args(arguments)
    if not 0 <= args.healthy < 1:
        raise SystemExit("--healthy: a share from 0 to less than 1")
    cell, period, recent = (round(x * SECOND) for x in (args.cell, args.period, args.recent))
    try:
        season = Season(cell=cell, period=period, recent=recent)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    totals: dict[str, list[Outcome]] = {}
    for path in args.files:
        outcomes = compare(read(path, args.time, args.label, args.value), season, args.healthy)
        print(f"{path}\n{HEADER}")
        for name, outcome in outcomes.items():
            print(outcome.row(name))
            totals.setdefault(name, []).append(outcome)
        print()
    if len(args.files) > 1:
        print(f"all files\n{HEADER}")
        for name, parts in totals.items():
            print(together(parts).row(name))


def together(parts: Sequence[Outcome]) -> Outcome:
    """The outcomes of several series, counted as one."""
    return Outcome(
        sum(p.found for p in parts),
        sum(p.right for p in parts),
        sum(p.labelled for p in parts),
        sum(p.normal for p in parts),
        sum(p.stretches for p in parts),
        tuple(d for p in parts for d in p.delays),
    )


if __name__ == "__main__":
    main()
