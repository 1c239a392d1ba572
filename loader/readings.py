"""What moves through the loader: readings as columns, and how far they have been read.

Times are integer microseconds since 1970-01-01T00:00:00Z throughout; windows are half-open,
(start, end]: the start is not in it, the end is.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag, StrEnum
from functools import lru_cache
from typing import Self

import numpy as np
import numpy.typing as npt

SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
UInt8 = npt.NDArray[np.uint8]
UInt32 = npt.NDArray[np.uint32]
Bool = npt.NDArray[np.bool_]


class Flag(IntEnum):
    """QARTOD primary flags (IOOS, Manual for Real-Time Quality Control, 2020)."""

    GOOD = 1
    NOT_EVALUATED = 2
    SUSPECT = 3
    FAIL = 4
    MISSING = 9


class Check(IntFlag):
    """A bit per check that a reading did not pass; stored in `reading.tests`."""

    UPSTREAM = 1 << 0
    """The source itself flagged the reading."""
    SENTINEL = 1 << 1
    """The value is one of the source's codes for "no value", such as -999."""
    GROSS_RANGE = 1 << 2
    """The value lies outside the range configured for its parameter."""
    UNIT = 1 << 3
    """The unit is not the one the parameter is configured to come in."""
    SPIKE = 1 << 4
    """The value stands out from both of its neighbours."""
    RATE = 1 << 5
    """The value changed faster than it can."""
    FLAT = 1 << 6
    """The value has not moved for too long."""
    GAP = 1 << 7
    """Too much time passed since the reading before."""
    ATTENUATED = 1 << 8
    """The value moves less than it should."""
    CLIMATOLOGY = 1 << 9
    """The value is unusual for the month and the hour of the day."""
    PRECISION = 1 << 10
    """Values have come with more, or fewer, decimals for a while."""
    NEIGHBOURS = 1 << 11
    """The value differs too much from the same parameter at near stations."""


KEPT = Check.UPSTREAM | Check.NEIGHBOURS
"""Bits that a reading brings along and checks do not take away: the source's own flag, and what
is found out after the run from other series."""


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A stretch of time (start, end] in microseconds UTC."""

    start: int
    end: int

    def __bool__(self) -> bool:
        return self.end > self.start

    def clip(self, other: Window) -> Window:
        """The part of this window that lies in `other`; empty (falsy) where there is none."""
        return Window(max(self.start, other.start), min(self.end, other.end))


@dataclass(frozen=True, slots=True)
class Reach:
    """What a flag can depend on: readings of its own series that are not more than `before`
    microseconds older or `after` microseconds younger, and the `rows` nearest on either side
    however far away they are."""

    before: int = 0
    after: int = 0
    rows: int = 0

    def __or__(self, other: Reach) -> Reach:
        return Reach(
            max(self.before, other.before), max(self.after, other.after), max(self.rows, other.rows)
        )


@lru_cache(maxsize=1024)
def plain_unit(unit: str) -> str:
    """A unit in one spelling: `µg/m³`, `μg/m³` (Greek mu) and `ug/m3` are the same."""
    return "".join(unicodedata.normalize("NFKC", unit).replace("μ", "u").split())


@dataclass(frozen=True, slots=True)
class Series:
    """What is measured: one sensor's one parameter in one unit.

    Its identity within a source is (`sensor`, `parameter`, `unit`); the rest describes it and
    may change. `cadence_s` is the usual distance of readings in seconds, None where unknown.
    `timezone` is the station's IANA zone, "" where unknown. `replaces` names the sensor that
    this one continues.
    """

    sensor: str
    parameter: str
    unit: str
    station: str
    partition: str
    name: str = ""
    timezone: str = ""
    cadence_s: float | None = None
    replaces: str | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.sensor, self.parameter, self.unit)


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Readings as five columns of one length.

    series  int32    index into the list of Series that travels with them
    time    int64    microseconds since the epoch, UTC; the period's end where one is measured
    value   float64  as the source sent it, sentinels included; NaN only where none was sent
    flag    uint8    a `Flag`
    tests   uint32   bits of `Check`
    """

    series: Int32
    time: Int64
    value: Float64
    flag: UInt8
    tests: UInt32

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def of(
        cls,
        series: npt.ArrayLike,
        time: npt.ArrayLike,
        value: npt.ArrayLike,
        tests: npt.ArrayLike | None = None,
        flag: npt.ArrayLike | None = None,
    ) -> Self:
        """Build readings from sequences; not yet evaluated (flag 2) unless flags are given."""
        time = np.asarray(time, np.int64)
        n = len(time)
        return cls(
            np.asarray(series, np.int32),
            time,
            np.asarray(value, np.float64),
            np.full(n, Flag.NOT_EVALUATED, np.uint8) if flag is None else np.asarray(flag, np.uint8),
            np.zeros(n, np.uint32) if tests is None else np.asarray(tests, np.uint32),
        )

    @classmethod
    def empty(cls) -> Self:
        return cls.of([], [], [])

    @classmethod
    def concat(cls, parts: Sequence[Readings]) -> Self:
        if not parts:
            return cls.empty()
        return cls(
            np.concatenate([p.series for p in parts]),
            np.concatenate([p.time for p in parts]),
            np.concatenate([p.value for p in parts]),
            np.concatenate([p.flag for p in parts]),
            np.concatenate([p.tests for p in parts]),
        )

    def take(self, index: Int64 | Bool) -> Readings:
        """The readings at `index` (positions or a mask), in that order."""
        return Readings(
            self.series[index], self.time[index], self.value[index], self.flag[index], self.tests[index]
        )

    def with_flags(self, flag: UInt8, tests: UInt32) -> Readings:
        return replace(self, flag=flag, tests=tests)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a series was measured from `time` on. `series` is an index as in `Readings`."""

    series: int
    time: int
    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that could not become a reading: kept whole, so that it can be replayed.

    `rule` is a short name (schema, timestamp, unit, ...); `reason` a sentence; `payload` the
    record as it came, cut to 64 kB by the store; `time` its time where that much was legible.
    """

    partition: str
    rule: str
    reason: str
    payload: bytes
    time: int | None = None


class TaskKind(StrEnum):
    """Why a window is read. Only `live` raises the watermark."""

    LIVE = "live"
    HOLE = "hole"
    RANGE = "range"


@dataclass(frozen=True, slots=True)
class Task:
    """Read one window of one partition.

    `sweep` marks a live task that reads back the whole maximum lookback. `probe` asks for one
    try without retries (bisection). `skip` lists the isolated holes inside the window that must
    not be asked for now.
    """

    partition: str
    window: Window
    kind: TaskKind
    sweep: bool = False
    probe: bool = False
    skip: tuple[Window, ...] = ()
    series: tuple[Series, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """What one step of `Source.read` brought.

    `readings.series` indexes `series`. Everything in (previous `covered_to` or the window's
    start, `covered_to`] has been read. `fetched` counts the records of the page, rejects
    included.
    """

    readings: Readings
    series: tuple[Series, ...]
    covered_to: int
    fetched: int
    rejects: tuple[Reject, ...] = ()
    places: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Partition:
    """A unit of progress as a source lists it."""

    name: str
    station: str
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class Hole:
    """A window that could not be read. After the last try `next_try` is None: given up.

    `isolated` marks one that bisection has cut out; a live run reads around it until
    `next_try` has come.
    """

    window: Window
    cause: str
    tries: int
    next_try: int | None
    isolated: bool = False


@dataclass(frozen=True, slots=True)
class PartitionState:
    """What the store knows of a partition.

    `discovered_at` is when it was first seen, `listed_at` when the source last listed it.
    `coverage` and `holes` are sorted and disjoint. `delays` is the histogram of late readings'
    delays (see `loader.lateness`).
    """

    name: str
    station: str
    discovered_at: int
    listed_at: int
    series: tuple[Series, ...] = ()
    watermark: int | None = None
    swept_at: int | None = None
    expired_to: int | None = None
    failures: int = 0
    last_error: str | None = None
    coverage: tuple[Window, ...] = ()
    holes: tuple[Hole, ...] = ()
    delays: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """What a batch says of one partition; applied in the same transaction as its readings.

    read       windows that were read: whatever hole lies in them is filled
    cover      windows to add to the coverage
    holes      windows that could not be read; written after `read` has been applied, replacing
               the stored holes that they overlap
    watermark  raise the watermark to this time, never lower it; None leaves it
    swept_at   the sweep that ended with this batch; None leaves it
    ended      the task is over: `failures` is reset, or raised by one where `error` says why
    """

    partition: str
    read: tuple[Window, ...] = ()
    cover: tuple[Window, ...] = ()
    holes: tuple[Hole, ...] = ()
    watermark: int | None = None
    swept_at: int | None = None
    ended: bool = False
    error: str | None = None
