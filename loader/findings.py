"""What is found out about stored readings after a run: the quality of each day, cadences,
anomalies, drift, and where each series stands with its detectors.

Times are integer microseconds UTC. The day of a reading is that of (time - 1): a reading at
midnight is the end of a period of the day before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loader.readings import DAY, Window


def day_of(time: int) -> int:
    """00:00 UTC of the day that a reading's time belongs to."""
    return (time - 1) // DAY * DAY


@dataclass(frozen=True, slots=True)
class Pending:
    """A stretch of a series in which a commit changed something, and which was not assessed yet.
    It begins at the reading before the first change."""

    series_id: int
    window: Window


@dataclass(frozen=True, slots=True)
class QualityDay:
    """One series' one day (day, day + 24 h], in counts, and the score made of them.

    due           readings to be expected by the cadence, up to the newest one stored
    observed      of `due`: those that are there, with a value
    good, unevaluated, suspect, failed, missing   stored readings by flag: 1, 2, 3, 4, 9
    late          readings that came when their time had been read before
    duplicate     records repeated within one read
    inconsistent  stored readings in another unit than configured, off the cadence, or from
                  another place than the one before
    score         0 to 100; None where nothing was due
    """

    series_id: int
    day: int
    due: int = 0
    observed: int = 0
    good: int = 0
    unevaluated: int = 0
    suspect: int = 0
    failed: int = 0
    missing: int = 0
    late: int = 0
    duplicate: int = 0
    inconsistent: int = 0
    score: float | None = None

    @property
    def readings(self) -> int:
        return self.good + self.unevaluated + self.suspect + self.failed + self.missing


@dataclass(frozen=True, slots=True)
class Cadence:
    """From this time on a series reports every so many seconds."""

    series_id: int
    from_time: int
    cadence_s: float


@dataclass(frozen=True, slots=True)
class FoundAnomaly:
    """An anomalous reading, or moment of a station (then `series_id` is the worst sensor's).

    explanation  JSON: {"distance": unit of the distances, "parts": [{"series_id", "value",
                 "expected", "distance"}, ...]}, the worst first
    """

    series_id: int
    time: int
    detector: str
    version: str
    score: float
    explanation: str


@dataclass(frozen=True, slots=True)
class FoundDrift:
    """One comparison of a series' latest weeks, ending at `time`, with its reference."""

    series_id: int
    time: int
    against: str
    reference: int
    current: int
    ks: float
    psi: float
    shift: float
    scale: float
    drifting: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a series stands with a detector (`drift` is one). `latest` is the detector's own
    memory; `since` when it last went from ok to alerting or back; `seen` up to when readings
    were judged; `detail` a sentence for the alert."""

    series_id: int
    detector: str
    alerting: bool
    latest: int
    since: int
    seen: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """A fitted model of a station, as bytes. `sensors` are the ids of its series, in the model's
    order."""

    station: str
    detector: str
    version: str
    fitted_from: int
    fitted_to: int
    sensors: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Assessment:
    """What was found about one series, or a part of it.

    pending    the stretch that it answers: taken off the list of what is to be assessed
    days       replace the counts of these days, save `late` and `duplicate`, which commits count
    cadences   replace all of the series' cadences; None leaves them
    judged     by detector the window in which its `anomalies` replace the stored ones
    drifts     replace those of the same time and reference
    standings  replace those of the same detector
    """

    series_id: int
    pending: Window | None = None
    days: tuple[QualityDay, ...] = ()
    cadences: tuple[Cadence, ...] | None = None
    judged: Mapping[str, Window] | None = None
    anomalies: tuple[FoundAnomaly, ...] = ()
    drifts: tuple[FoundDrift, ...] = ()
    standings: tuple[Standing, ...] = ()
