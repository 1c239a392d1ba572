"""One series' pending stretch: what is found in it, and how it is read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from loader.assess import findings
from loader.assess.cadences import learned
from loader.assess.columns import TAIL, Collector, Columns, thinned
from loader.assess.days import quality_days
from loader.assess.known import Known
from loader.contracts import Database, Lease
from loader.errors import Interrupted
from loader.findings import Assessment, Cadence, FoundDrift, QualityDay, Standing, day_of
from loader.quality.cadence import PERIODS, Episode
from loader.quality.checks import Checks
from loader.quality.drift import DRIFT
from loader.quality.score import Weights
from loader.readings import DAY, HOUR, SECOND, Int64, Readings, Window
from loader.records import StoredSeries
from loader.settings.analysis import AnomalySettings, DriftSettings

PART = 100_000
"""Readings of history that are held at once."""

TOGETHER = 30_000
"""Readings of several series that are judged and written together."""

_AHEAD = (DAY, 32 * DAY, 1 << 62)
"""How far is looked for the next reading, at first, and then."""

LEAD = 2 * DAY
"""What is read before the first day that changed, to learn the cadence by, at least."""

DENSE = 12
"""So many readings an hour make a series dense: of its past the store picks the ones that count."""

DENSE_LEAD = 6 * HOUR
"""`LEAD` of a dense series."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is looked for in one source's readings."""

    anomalies: AnomalySettings
    drift: DriftSettings
    check: Checks
    weights: Weights = field(default_factory=Weights)


@dataclass(slots=True)
class Watch:
    """Counts readings that are looked at and stretches that are done, and says when to end."""

    stop: threading.Event
    alive: Callable[[], None]
    rows: int
    read: int = 0
    done: int = 0

    @property
    def over(self) -> bool:
        return self.stop.is_set() or self.read >= self.rows

    def looked_at(self, rows: int) -> None:
        self.alive()
        self.read += rows
        if self.stop.is_set():
            raise Interrupted("asked to stop while readings were assessed")


@dataclass(frozen=True, slots=True)
class Look:
    """What was found of a series by looking at it alone, how many readings are held for it, and by
    detector what is still to be judged."""

    found: Assessment
    readings: int
    fresh: Mapping[str, findings.Fresh] = field(default_factory=dict)

    def judged(self, verdicts: Sequence[findings.Verdict]) -> Assessment:
        """All of it, to be written."""
        if not self.fresh:
            return self.found
        return replace(
            self.found,
            judged={one.standing.detector: one.window for one in verdicts},
            anomalies=tuple(row for one in verdicts for row in one.anomalies),
            standings=(*(one.standing for one in verdicts), *self.found.standings),
        )


@dataclass(slots=True)
class Job:
    """One series' pending stretch."""

    plan: Plan
    store: Database
    lease: Lease
    watch: Watch
    known: Known
    stored: StoredSeries
    pending: Window

    @property
    def id(self) -> int:
        return self.stored.id

    @property
    def newest(self) -> int:
        return self.stored.last_time or 0

    @property
    def first(self) -> int:
        return self.newest if self.stored.first_time is None else self.stored.first_time

    def days(self) -> Window:
        """The days in which something changed, whole. Readings before the ones that were the first
        make the hours between due."""
        end = self.pending.end
        if self.pending.start < self.first <= end < self.newest:
            end = next(
                int(after.time[0]) for step in _AHEAD for after in self._scan(Window(end, end + step))
            )
        return Window(self.pending.start // DAY * DAY, day_of(end) + DAY)

    @property
    def border(self) -> int:
        """The midnight from which on readings are new rather than history."""
        return (self.newest - self.plan.anomalies.history) // DAY * DAY

    def front(self) -> Look | None:
        """Look at what is new: its days and drift, and what there is to judge. None where nothing is."""
        if self.pending.end <= self.border:
            return None
        days = self.days()
        span = days.clip(Window(self.border, days.end))
        plan, standings = self.plan, self.known.standings.get(self.id, {})
        after = findings.first_judged(plan.anomalies, self.newest, self.pending.start, standings)
        ends = self._drift_ends(standings.get(DRIFT))
        since = min([span.start, *after.values()])
        begin = lead = since - self._lead()
        begin = min([begin, *(since - one.reach for one in plan.anomalies.chosen)])
        if ends:
            begin = min(begin, ends[0] - plan.drift.rule.window)
        collector = Collector(since, memory=self._memory())
        if self._dense():
            collector.context(self._thinned(Window(begin, lead), collector.cell))
            begin = lead
        for readings in self._scan(Window(begin, max(self.newest, span.end))):
            collector.add(readings)
        columns = collector.columns()
        episodes = self._learn(np.concatenate((columns.stamps, columns.time)))
        drifts, drift_standings = self._drift(columns, ends, standings.get(DRIFT))
        found = Assessment(
            self.id,
            span,
            self._days(span, columns, episodes),
            self._rows(episodes),
            drifts=drifts,
            standings=drift_standings,
        )
        times, values = columns.every_time, columns.every_value
        fresh = {
            name: findings.Fresh(
                self.id,
                self.stored.series.unit,
                times,
                values,
                Window(start, self.newest),
                standings.get(name),
                self.known.anomalies.get((self.id, name), frozenset()),
            )
            for name, start in after.items()
        }
        return Look(found, len(times), fresh)

    def history(self) -> Iterator[Look]:
        """Look at the days of what was loaded further back, in parts."""
        span = self.days()
        if self.pending.end > self.border:
            span = span.clip(Window(span.start, self.border))
        while span and not self.watch.over:
            columns, end = self._part(span)
            episodes = self._learn(np.concatenate((columns.stamps, columns.time)))
            part = Window(span.start, end)
            found = Assessment(self.id, part, self._days(part, columns, episodes), self._rows(episodes))
            yield Look(found, len(columns))
            span = Window(end, span.end)

    def _part(self, span: Window) -> tuple[Columns, int]:
        """So many whole days of the span as can be held, and where they end."""
        collector, room = Collector(span.start, memory=self._memory()), PART
        for readings in self._scan(Window(span.start - self._lead(), span.end)):
            collector.add(readings)
            time = readings.time[np.searchsorted(readings.time, span.start, side="right") :]
            if len(time) and len(time) >= room:
                cut = (int(time[max(room, 1) - 1]) - 1) // DAY * DAY
                if cut > span.start:
                    return collector.columns().until(cut), cut
            room -= len(time)
        return collector.columns(), span.end

    def _slowest(self) -> float:
        """Of the cadences that the series is known to have had, in microseconds."""
        known = self.known.episodes.get(self.id, ())
        return SECOND * max([self.stored.series.cadence_s or 0, *(cadence_s for _, cadence_s in known)])

    def _dense(self) -> bool:
        """Whether it is known to report so often that reading all of its past would be dear."""
        known = self.known.episodes.get(self.id, ())
        configured = self.plan.check.rule(self.stored.series).cadence
        learned = SECOND * known[-1][1] if known else SECOND * (self.stored.series.cadence_s or HOUR)
        return DENSE * (configured or learned) <= HOUR

    def _lead(self) -> int:
        """What is read before the first day that changed, to learn the cadence by."""
        return max(DENSE_LEAD if self._dense() else LEAD, round(TAIL * self._slowest()))

    def _memory(self) -> int:
        """What of it is kept whole: as much as `learn` wants."""
        return round(PERIODS * self._slowest())

    def _thinned(self, window: Window, cell: int) -> Readings:
        """The last usable reading of each cell."""
        if not self._dense():
            return thinned(Readings.concat([thinned(part, cell) for part in self._scan(window)]), cell)
        found = self.store.thinned(self.id, window, cell)
        self.watch.looked_at(len(found))
        return found

    def _scan(self, window: Window) -> Iterator[Readings]:
        return self.scan(self.id, window)

    def scan(self, series_id: int, window: Window) -> Iterator[Readings]:
        """The stored readings of a series; ends early, by Interrupted, where asked to stop."""
        for readings in self.store.scan([series_id], window):
            self.watch.looked_at(len(readings))
            yield readings

    def _learn(self, stamps: Int64) -> tuple[Episode, ...]:
        """The cadences of the series, now that it has these stamps."""
        known = self.known.episodes.get(self.id, ())
        if not self.plan.check.rule(self.stored.series).cadence:
            known = learned(stamps, self.stored.series.cadence_s, known)
            self.known.episodes[self.id] = known
        return known

    def _rows(self, episodes: Sequence[Episode]) -> tuple[Cadence, ...]:
        return tuple(Cadence(self.id, at, cadence_s) for at, cadence_s in episodes)

    def _days(self, span: Window, columns: Columns, episodes: Sequence[Episode]) -> tuple[QualityDay, ...]:
        configured = self.plan.check.rule(self.stored.series).cadence
        return quality_days(
            self.id,
            span,
            columns,
            known=(self.first, self.newest),
            episodes=() if configured else episodes,
            declared_s=configured / SECOND if configured else self.stored.series.cadence_s,
            moves=self.known.moves.get(self.id, np.empty(0, np.int64)),
            shortcomings=self.known.shortcomings.get(self.id, {}),
            weights=self.plan.weights,
        )

    def _drift_ends(self, standing: Standing | None) -> list[int]:
        if not self.plan.drift.enabled:
            return []
        return findings.comparisons(standing.seen if standing else None, self.newest)

    def _drift(
        self, columns: Columns, ends: Sequence[int], before: Standing | None
    ) -> tuple[tuple[FoundDrift, ...], tuple[Standing, ...]]:
        if not ends:
            return (), ()
        settings = self.plan.drift
        rule = settings.rule
        against, window = findings.reference(rule, settings, self.first, ends)
        usual = Readings.empty()
        if window.end <= ends[-1] - rule.window:
            usual = self._thinned(window, rule.thin)
        found = findings.drifted(
            rule,
            against,
            self.id,
            np.concatenate((usual.time, columns.every_time)),
            np.concatenate((usual.value, columns.every_value)),
            ends=ends,
            first=self.first,
            before=before,
        )
        return found.found, (found.standing,)
