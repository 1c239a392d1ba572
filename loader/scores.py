"""Stored readings judged by a detector as they are read, however many there are.

A detector needs the readings of its reach before those that it judges. They are kept, thinned to
what it looks at, so that a reading has the same score wherever a stretch of readings begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from loader.contracts import Reports
from loader.quality.anomaly import Anomaly, Detector, Judged, among
from loader.quality.reference import Season, usable
from loader.readings import Bool, Flag, Float64, Int64, Readings, UInt8, Window
from loader.records import StoredSeries


class Track:
    """One series on its way through a detector of single series, in ascending time."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._season: Season | None = getattr(detector, "season", None)
        self._times: Int64 = np.empty(0, np.int64)
        self._values: Float64 = np.empty(0, np.float64)

    def judge(self, times: Int64, values: Float64, flags: UInt8) -> Judged:
        """What the detector says of these readings, by those before them."""
        if not len(times):
            return self._detector.judge(times, values, flags)
        n = len(self._times)
        judged = self._detector.judge(
            np.concatenate([self._times, times]),
            np.concatenate([self._values, values]),
            np.concatenate([np.full(n, Flag.GOOD, np.uint8), flags]),
            int(times[0]) - 1,
        )
        self.keep(times, values, flags)
        return Judged(judged.score[n:], judged.expected[n:], judged.distance[n:])

    def keep(self, times: Int64, values: Float64, flags: UInt8) -> None:
        """Remember readings that are not to be judged themselves."""
        if not len(times):
            return
        good = usable(values, flags)
        self._times = np.concatenate([self._times, times[good]])
        self._values = np.concatenate([self._values, values[good]])
        stays = self._times > int(times[-1]) - self._detector.reach
        if self._season is not None:
            stays &= _last_of_each(self._season.cell, self._times)
        self._times, self._values = self._times[stays], self._values[stays]


def _last_of_each(cell: int, times: Int64) -> Bool:
    """Which usable readings stand for their cell: see `quality.reference`."""
    of = (times - 1) // cell
    last = np.ones(len(of), bool)
    last[:-1] = of[1:] != of[:-1]
    return last


def tracks(
    reports: Reports, series: Sequence[StoredSeries], start: int, detector: Detector
) -> Mapping[int, Track]:
    """By series id a track that knows what was before `start` (inclusive)."""
    made = {one.id: Track(detector) for one in series}
    earlier = [one.id for one in series if one.first_time is not None and one.first_time <= start]
    if earlier:
        for part in reports.scan(earlier, Window(start - detector.reach, start)):
            for id_, its in by_series(part):
                made[id_].keep(its.time, its.value, its.flag)
    return made


def by_series(part: Readings) -> Iterator[tuple[int, Readings]]:
    """Readings sorted by series, cut into those of each."""
    edges = [0, *(np.flatnonzero(part.series[1:] != part.series[:-1]) + 1).tolist(), len(part)]
    for begin, end in pairwise(edges):
        if end > begin:
            yield int(part.series[begin]), part.take(np.arange(begin, end))


def anomalies(
    reports: Reports, one: StoredSeries, window: Window, detectors: Sequence[Detector]
) -> Iterator[Anomaly]:
    """What the detectors find among the series' stored readings in the window, portion by portion;
    in one portion by detector and time."""
    if one.first_time is None or one.last_time is None:
        return
    window = window.clip(Window(one.first_time - 1, one.last_time))
    if not window:
        return
    made = [(d, tracks(reports, [one], window.start, d)[one.id]) for d in detectors]
    for part in reports.scan([one.id], window):
        for detector, track in made:
            judged = track.judge(part.time, part.value, part.flag)
            yield from among(detector, judged, part.time, part.value)
