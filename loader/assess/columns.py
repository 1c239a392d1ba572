"""The stored readings of one series that an assessment looks at, in bounded memory. Pure.

What lies before `since` is context: detectors and drift take the last usable reading of each hour,
and to learn the cadence takes the last few stamps. The rest is kept whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from loader.quality.cadence import STEPS
from loader.quality.reference import usable
from loader.readings import HOUR, Bool, Float64, Int64, Readings, UInt8, UInt32

TAIL = 2 * STEPS
"""Stamps before `since` that are kept to learn the cadence by, at least."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """One series in ascending time: `time`, `value`, `flag`, `tests` of the readings later than
    `since`; of those before, the thinned ones and the last stamps."""

    since: int
    time: Int64
    value: Float64
    flag: UInt8
    tests: UInt32
    context_time: Int64
    context_value: Float64
    stamps: Int64

    def __len__(self) -> int:
        return len(self.time)

    def until(self, end: int) -> Columns:
        """Those up to a time."""
        kept = slice(0, int(np.searchsorted(self.time, end, side="right")))
        return replace(
            self,
            time=self.time[kept],
            value=self.value[kept],
            flag=self.flag[kept],
            tests=self.tests[kept],
        )

    @property
    def every_time(self) -> Int64:
        """Context and readings, as detectors take them."""
        return np.concatenate((self.context_time, self.time))

    @property
    def every_value(self) -> Float64:
        """NaN for readings that detectors must not use."""
        good: Bool = usable(self.value, self.flag)
        return np.concatenate((self.context_value, np.where(good, self.value, np.nan)))


@dataclass(slots=True)
class Collector:
    """Gathers one series' readings, chunk by chunk in order of time. Of those before `since` the last
    stamps are kept, over so many microseconds (`memory`), and `TAIL` of them at least."""

    since: int
    cell: int = HOUR
    memory: int = 0
    _kept: list[Readings] = field(default_factory=list)
    _context: list[Readings] = field(default_factory=list)
    _stamps: Int64 = field(default_factory=lambda: np.empty(0, np.int64))

    def add(self, readings: Readings) -> None:
        cut = int(np.searchsorted(readings.time, self.since, side="right"))
        if cut:
            before = readings.take(np.arange(cut))
            stamps = np.concatenate((self._stamps, before.time))
            recent = int(np.searchsorted(stamps, stamps[-1] - self.memory))
            self._stamps = stamps[max(0, min(recent, len(stamps) - TAIL)) :]
            self._context.append(thinned(before, self.cell))
        if cut < len(readings):
            self._kept.append(readings.take(np.arange(cut, len(readings))))

    def context(self, thinned: Readings) -> None:
        """Add what lies before all that is added, thinned already."""
        self._context.append(thinned)

    def columns(self) -> Columns:
        kept = Readings.concat(self._kept)
        context = thinned(Readings.concat(self._context), self.cell)
        return Columns(
            self.since,
            kept.time,
            kept.value,
            kept.flag,
            kept.tests,
            context.time,
            context.value,
            self._stamps,
        )


def thinned(readings: Readings, cell: int) -> Readings:
    """The last usable reading of each cell of time."""
    good = np.flatnonzero(usable(readings.value, readings.flag))
    of = (readings.time[good] - 1) // cell
    last = np.ones(len(of), bool)
    last[:-1] = of[1:] != of[:-1]
    return readings.take(good[last])
