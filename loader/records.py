"""What a store keeps beside the readings: batches and runs with their counts, series, quarantine.

Times are integer microseconds UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum

from loader.readings import Place, Progress, Readings, Reject, Series


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
    inconsistent records in another unit than configured, off their series' cadence, or that moved
                 their series to another place
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
    digests that this batch answers; they are marked with the run's id. `repeated` are the
    readings that came more than once, each as often as it was dropped.
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
    repeated: Readings = field(default_factory=Readings.empty)


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

    @property
    def took_place(self) -> bool:
        """Whether it has begun and ended, well or not."""
        return self.outcome not in (None, Outcome.MISSED, Outcome.SKIPPED)

    @property
    def of_schedule(self) -> bool:
        """Whether it asked for what is new, as a run on schedule or by hand does; a backfill or a
        replay goes on beside those."""
        return self.trigger not in ("backfill", "replay")


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """A series as stored, with its id and the times of its first and last reading.

    `first_time` is that of the oldest reading still stored, None where there is none; `last_time`
    that of the newest ever stored: it stays when retention has deleted that reading.
    """

    id: int
    source: str
    series: Series
    first_time: int | None
    last_time: int | None
    latitude: float | None = None
    longitude: float | None = None

    def fits(
        self, stations: Sequence[str] = (), parameters: Sequence[str] = (), sensors: Sequence[str] = ()
    ) -> bool:
        """Whether it is of one of each that is asked for; where none is of a kind, any fits."""
        return (
            (not stations or self.series.station in stations)
            and (not parameters or self.series.parameter in parameters)
            and (not sensors or self.series.sensor in sensors)
        )


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
