"""What rules look at, and what they say. Spans in microseconds, times in microseconds UTC."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from loader.alerts.wording import one_line
from loader.findings import Standing
from loader.journal import LimitEvent, Severity
from loader.quality.score import Weights
from loader.readings import PartitionState, Series
from loader.records import RunReport, StoredSeries
from loader.schedule import Timetable
from loader.settings.alerting import Rules


@dataclass(frozen=True, slots=True)
class Watched:
    """A source as the rules see it: `rules` are its own over the general ones, the lookbacks are
    microseconds, `alive` says whether new readings are to be expected, `weights` what the score is
    made of."""

    name: str
    rules: Rules
    timetable: Timetable
    lookback_min: int
    lookback_max: int
    alive: bool = True
    weights: Weights = field(default_factory=Weights)


@dataclass(frozen=True, slots=True)
class Lately:
    """Of a series' newest days, from `since` on: how many readings there are, and how many of them
    failed or have no value."""

    series_id: int
    since: int
    readings: int
    failed: int
    missing: int


@dataclass(frozen=True, slots=True)
class Situation:
    """What the rules look at: the source's newest runs, the newest first, what is stored of it,
    its limit events that last, where its series stand with their detectors, what of their newest days
    is bad, and which alerts (rule, subject) of the source last."""

    watched: Watched
    now: int
    runs: Sequence[RunReport] = ()
    partitions: Sequence[PartitionState] = ()
    series: Sequence[StoredSeries] = ()
    events: Sequence[LimitEvent] = ()
    standings: Sequence[Standing] = ()
    lately: Sequence[Lately] = ()
    alerting: Collection[tuple[str, str]] = ()

    @property
    def rules(self) -> Rules:
        return self.watched.rules

    def subject(self, station: str) -> str:
        """The station with its name behind it, where it has one: `2178 Harlem River`."""
        names = (one.series.name for one in self.series if one.series.station == station)
        name = next((name for name in names if name), "")
        return one_line(f"{station} {name}" if name and name != station else station)

    def of_series(self, series: Series) -> str:
        """The station, and which of its series."""
        return one_line(f"{self.subject(series.station)} {series.parameter} ({series.sensor})")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not well. `broken` says that it is an alert, else it is only counted.

    `since` is when it became bad, where the rule knows that. See `Alert` for the rest.
    """

    source: str
    rule: str
    subject: str
    severity: Severity
    broken: bool
    count: int = 1
    since: int | None = None
    value: float | None = None
    detail: str = ""
    cause: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.source, self.rule, self.subject)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is not well; all else is. Of the rules in `unsaid` nothing can be said now of their
    subjects: those stay as they are."""

    findings: tuple[Finding, ...]
    unsaid: frozenset[str] = frozenset()
