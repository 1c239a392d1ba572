"""How well the detectors find what somebody has labelled: `python -m benchmarks.anomaly FILE ...`.

Each FILE is a CSV (or .csv.gz; commas, semicolons or tabs) with a header: a time (ISO 8601, UTC where it
names no zone; or seconds, milliseconds, micro- or nanoseconds since 1970), one value or several, and
a label (1, true, anomaly: anomalous; 0, false, normal or empty: not). Where labels are windows, these
come from a JSON file (--windows) as the Numenta Anomaly Benchmark has it. Printed for each file:

  judged        share of the readings that the detector said something about
  precision, recall, F1   of readings; a labelled reading that was not judged counts as missed
  false alarms  share of the readings labelled normal that were called anomalous
  stretches     labelled stretches (readings in a row) in which something was found, of all
  delay         median time from a stretch's first reading to the first one found

No detector sees the future: a reading is judged by itself and earlier ones. The forest is fitted on
the first part of the file (`--healthy`), whose labels it is not shown; all detectors are judged behind it.
What is said about a reading there is the same when the file is cut right after it (with a time as
`--healthy`; a share is a longer stretch of a longer file).
`python -m benchmarks.airdata FOLDER` measures alerts on real data without labels.

Exit code 1: a file cannot be judged, with its line, field and remedy; 2: an option is wrong.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.labelled import Labelled, Layout, read
from loader.errors import ConfigError
from loader.quality import forest
from loader.quality.anomaly import DETECTORS, LARGEST, Detector, RobustZScore, UnitScale, ZScore
from loader.quality.reference import Season
from loader.readings import DAY, HOUR, Bool, Float64, Int64
from loader.settings.durations import format_duration, parse_duration, parse_time

_T = TypeVar("_T")

LONGEST = 2_000
"""Cells of a reference at most: so many are sorted for each cell that is judged."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a detector found in a labelled series. `delays` has one entry (microseconds) for each
    labelled stretch that was found."""

    judged: int
    found: int
    right: int
    labelled: int
    normal: int
    stretches: int
    delays: tuple[int, ...]

    @property
    def precision(self) -> float:
        return _share(self.right, self.found)

    @property
    def recall(self) -> float:
        return _share(self.right, self.labelled)

    @property
    def f1(self) -> float:
        return _share(2 * self.right, self.found + self.labelled)

    @property
    def false_alarms(self) -> float:
        return _share(self.found - self.right, self.normal)

    def row(self, name: str) -> str:
        figures = (
            (_share(self.judged, self.labelled + self.normal), "0.3f"),
            (self.precision, "0.3f"),
            (self.recall, "0.3f"),
            (self.f1, "0.3f"),
            (self.false_alarms, "0.5f"),
        )
        cells = ["-" if np.isnan(figure) else f"{figure:{form}}" for figure, form in figures]
        delay = format_duration(round(np.median(self.delays))) if self.delays else "-"
        return f"| {' | '.join([name, *cells, f'{len(self.delays)}/{self.stretches}', delay])} |"


COLUMNS = ("detector", "judged", "precision", "recall", "F1", "false alarms", "stretches", "delay")
HEADER = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def judge(times: Int64, label: Bool, found: Bool, judged: Bool | None = None) -> Outcome:
    """What was found against what is labelled; readings in order of time."""
    begins = np.flatnonzero(label & ~np.concatenate(([False], label[:-1])))
    ends = np.flatnonzero(label & ~np.concatenate((label[1:], [False])))
    delays = []
    for begin, end in zip(begins, ends, strict=True):
        hits = np.flatnonzero(found[begin : end + 1])
        if len(hits):
            delays.append(int(times[begin + hits[0]] - times[begin]))
    return Outcome(
        len(times) if judged is None else int(judged.sum()),
        int(found.sum()),
        int((found & label).sum()),
        int(label.sum()),
        int((~label).sum()),
        len(begins),
        tuple(delays),
    )


def scores(detector: Detector, series: Labelled) -> Float64:
    """The detector's scores, a row a reading: of all sensors together, or a column for each of them."""
    if isinstance(detector, forest.Forest):
        return detector.score(series.times, series.values)[:, None]
    return np.column_stack([detector.score(series.times, column) for column in series.values.T])


def detectors(series: Labelled, season: Season, start: int) -> list[Detector]:
    """All that there are; the forest fitted on the readings before position `start`."""
    every: list[Detector] = [RobustZScore(season), ZScore(season), UnitScale(season)]
    if len(series.sensors) > 1:
        try:
            every.append(forest.fit(series.times[:start], series.values[:start]))
        except (ConfigError, ValueError) as error:
            print(f"isolation_forest is left out: {error}\n")
    return every


def compare(
    series: Labelled, season: Season, start: int, thresholds: Mapping[str, float] | None = None
) -> dict[str, Outcome]:
    """Every detector on one series, judged from position `start` on; `thresholds` take the place of
    the detectors' own."""
    after, outcomes = slice(start, None), {}
    for detector in detectors(series, season, start):
        found = scores(detector, series)[after]
        outcomes[detector.name] = judge(
            series.times[after],
            series.label[after],
            (np.abs(found) >= (thresholds or {}).get(detector.name, detector.threshold)).any(axis=1),
            np.isfinite(found).any(axis=1),
        )
    return outcomes


def healthy(text: str) -> float | int:
    """A share of the readings, or the time (microseconds UTC) up to which they are healthy."""
    try:
        share = float(text)
    except ValueError:
        return parse_time(text)
    if not 0 <= share < 1:
        raise ValueError("is no share from 0 to less than 1")
    return share


def threshold(text: str) -> tuple[str, float]:
    """A detector's name and the score from which on it finds an anomaly."""
    name, _, score = text.partition("=")
    names = [*DETECTORS, forest.Forest.name]
    if name not in names or not 0 < float(score or "nan") < LARGEST:
        raise ValueError(f"is none; write one of {', '.join(names)}, = and a number above 0")
    return name, float(score)


def season_of(cell: int, period: int, recent: int) -> Season:
    """The reference; a period of 0 is none. Raises ValueError."""
    if cell > 0 and recent // cell > LONGEST:
        raise ValueError(f"recent: {recent // cell:,} cells, {LONGEST:,} at most; take longer ones")
    if not period:
        # One cell of an earlier period is too little to say anything: the recent cells decide alone.
        return Season(cell=cell, period=cell, periods=1, neighbours=0, recent=recent)
    return Season(cell=cell, period=period, recent=recent)


def _option(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    """The parser of an option whose ValueError says what to write instead."""

    def parsed(text: str) -> _T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} {error}") from None

    return parsed


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
        "--value", metavar="COLUMN", action="append", default=[], help="unless given all others"
    )
    parser.add_argument("--skip", metavar="COLUMN", action="append", default=[], help="no value either")
    parser.add_argument(
        "--anomalous",
        metavar="LABEL",
        action="append",
        default=[],
        help="of anomalies: --anomalous=-1",
    )
    parser.add_argument("--windows", type=Path, metavar="JSON", help="label by windows instead of a column")
    parser.add_argument(
        "--healthy",
        type=_option(healthy),
        default=0.25,
        metavar="SHARE|TIME",
        help="what to fit on: a share at the beginning, or all up to a time",
    )
    length = _option(parse_duration)
    parser.add_argument("--cell", type=length, default=HOUR, help="grain of the reference, 1h")
    parser.add_argument("--period", type=length, default=DAY, help="length of the season, 1d; 0 for none")
    parser.add_argument("--recent", type=length, default=2 * DAY, help="length of the recent reference, 2d")
    parser.add_argument(
        "--threshold",
        type=_option(threshold),
        metavar="DETECTOR=SCORE",
        action="append",
        default=[],
        help="from which score on a reading is anomalous: robust_zscore=3",
    )
    args = parser.parse_args(arguments)
    layout = Layout(args.time, args.label, args.value, args.skip, args.anomalous, args.windows)
    try:
        season = season_of(args.cell, args.period, args.recent)
    except ValueError as error:
        parser.error(str(error))
    totals: dict[str, list[Outcome]] = {}
    for path in args.files:
        series = read(path, layout)
        start = (
            int(np.searchsorted(series.times, args.healthy, side="right"))
            if isinstance(args.healthy, int)
            else int(len(series) * args.healthy)
        )
        if start == len(series):
            raise SystemExit(f"{path}: no readings after --healthy; name an earlier time")
        print(f"{path}: {len(series) - start:,} of {len(series):,} readings\n{HEADER}")
        for name, outcome in compare(series, season, start, dict(args.threshold)).items():
            print(outcome.row(name))
            totals.setdefault(name, []).append(outcome)
        print(flush=True)
    if len(args.files) > 1:
        print(f"all files\n{HEADER}")
        for name, parts in totals.items():
            print(together(parts).row(name))
    if not any(outcome.judged for parts in totals.values() for outcome in parts):
        raise SystemExit(
            "nothing was judged: a reading needs twelve cells with readings before it; see --cell, --recent"
        )


def together(parts: Sequence[Outcome]) -> Outcome:
    """The outcomes of several series, counted as one."""
    return Outcome(
        sum(p.judged for p in parts),
        sum(p.found for p in parts),
        sum(p.right for p in parts),
        sum(p.labelled for p in parts),
        sum(p.normal for p in parts),
        sum(p.stretches for p in parts),
        tuple(d for p in parts for d in p.delays),
    )


if __name__ == "__main__":
    main()
