"""What moves through the loader: readings as columns, and the records about them.

Times are integer microseconds since 1970-01-01T00:00:00Z throughout; windows are half-open,
(start, end]: the start is not in it, the end is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum, IntFlag, StrEnum
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


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened to records. Of a batch; a run's are the sum of its batches'.

    fetched      records the source sent, rejects included
    new          readings stored for the first time
    duplicate    records repeated within one read
    refetched    records already stored and equal
    revised      readings whose value at the source has changed
    late         of `new`: inside time that was covered before
    missing      of `new` and `revised`: flag 9
    suspect      likewise: flag 3
    failed       likewise: flag 4
    quarantined  records that could not become readings
    vanished     stored readings that the source no longer served when their window was read
    due          readings to be expected, by their series' cadence, in the windows read
    observed     of `due`: those that came with a value
    inconsistent records in another unit than configured
    expired      readings older than what retention has deleted; not stored
    requests     requests sent to the source
    errors       of `requests`: answered with an error, or not at all
    bytes        body bytes received
    """

    fetched: int = 0
    new: int = 0
    duplicate: int = 0
    refetched: int = 0
    revised: int = 0
    late: int = 0
    missing: int = 0
    suspect: int = 0
    failed: int = 0
    quarantined: int = 0
    vanished: int = 0
    due: int = 0
    observed: int = 0
    inconsistent: int = 0
    expired: int = 0
    requests: int = 0
    errors: int = 0
    bytes: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Counts)))


COUNT_NAMES: tuple[str, ...] = tuple(f.name for f in fields(Counts))


@dataclass(frozen=True, slots=True)
class Batch:
    """One commit: the pages gathered from any number of partitions.

    `readings` holds each (series, time) once, sorted by them. `replay` lists the quarantine
    digests that this batch answers; they are marked with the run's id.
    """

    run_id: int
    seq: int
    source: str
    read_at: int
    series: tuple[Series, ...]
    readings: Readings
    places: tuple[Place, ...]
    rejects: tuple[Reject, ...]
    progress: tuple[Progress, ...]
    counts: Counts
    replay: tuple[str, ...] = ()


class Outcome(StrEnum):
    """How a run ended."""

    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    MISSED = "missed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class RunReport:
    """One execution for one source, as the store keeps it. `id` is 0 for a dry run."""

    id: int
    source: str
    trigger: str
    started: int
    finished: int | None = None
    outcome: Outcome | None = None
    counts: Counts = field(default_factory=Counts)
    partitions_ok: int = 0
    partitions_failed: int = 0
    slowest_request_s: float | None = None
    quality: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """A series as stored, with its id and the times of its first and last reading."""

    id: int
    source: str
    series: Series
    first_time: int | None
    last_time: int | None
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A rejected record as stored. `digest` is the SHA-256 of the payload, in hex."""

    source: str
    partition: str
    rule: str
    digest: str
    reason: str
    payload: bytes
    time: int | None
    first_run: int
    last_seen: int
    count: int
    replayed_by: int | None
