"""The isolation forest over all sensors of a station: fitted on its latest healthy weeks, kept in the
store, and asked about every whole hour since."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loader.assess import findings
from loader.assess.columns import Collector
from loader.assess.known import Known
from loader.contracts import Database, Lease
from loader.findings import Assessment, Model, Standing
from loader.log import get_logger
from loader.quality import forest
from loader.quality.anomaly import among
from loader.quality.reference import usable
from loader.readings import DAY, HOUR, Float64, Int64, Readings, Window
from loader.records import StoredSeries
from loader.settings.analysis import AnomalySettings

NAME = "isolation_forest"

HEALTHY_SHARE = 0.9
"""So much of the readings of the weeks that a forest is fitted on must be usable."""

PRESENT_SHARE = 0.5
"""A sensor takes part that has a reading in so much of their hours."""

CHANGED = 7 * DAY
"""Where other sensors take part than at the last fit, the next one comes after this already."""

Scan = Callable[[int, Window], Iterator[Readings]]


@dataclass(slots=True)
class Station:
    """One station's series, in the order of their ids, and after when something has changed."""

    settings: AnomalySettings
    store: Database
    lease: Lease
    known: Known
    scan: Scan
    name: str
    members: Sequence[StoredSeries]
    changed: int

    @property
    def newest(self) -> int:
        return max(one.last_time or 0 for one in self.members)

    @property
    def whole(self) -> int:
        """The end of the newest hour that is over."""
        return self.newest // HOUR * HOUR

    def look(self, model: Model | None) -> None:
        """Judge the hours that are new, then fit where it is time to."""
        fitted = None
        if model is not None:
            try:
                fitted = forest.load(model.data)
            except ValueError as error:
                get_logger(source=self.lease.source).warning("forest", station=self.name, error=str(error))
        if fitted is not None and model is not None:
            self._judge(fitted, model.sensors)
        if fitted is None or model is None or self._due(fitted, model.sensors):
            self._fit()

    def _due(self, fitted: forest.Forest, sensors: Sequence[int]) -> bool:
        others = self.whole - fitted.fitted_to >= CHANGED and set(self._present()) != set(sensors)
        return others or forest.stale(fitted, self.whole, self.settings.forest.refit)

    def _present(self) -> list[int]:
        """The series that have been there during the healthy stretch, so far as their ends tell."""
        begin = self.whole - self.settings.forest.healthy
        return [
            one.id
            for one in self.members
            if one.first_time is not None
            and one.first_time <= begin + DAY
            and (one.last_time or 0) > self.whole - DAY
        ]

    def _judge(self, fitted: forest.Forest, sensors: Sequence[int]) -> None:
        standings = [self.known.standings.get(i, {}).get(NAME) for i in sensors]
        seen = min((one.seen for one in standings if one is not None), default=fitted.fitted_to)
        begin = max(min(seen, self.changed), self.newest - self.settings.history, fitted.fitted_to)
        window = Window(begin // HOUR * HOUR, self.whole)
        by_id = {one.id: one for one in self.members}
        if not window or not set(sensors) <= by_id.keys():
            return
        times, table = self._moments(sensors, window)[:2]
        judged = fitted.judge(times, table)
        found = among(fitted, judged, times, table)
        known = times[np.isfinite(judged.score)]
        for number, before in zip(sensors, standings, strict=True):
            one = findings.verdict(
                fitted,
                self.settings.rule,
                number,
                found=[a for a in found if sensors[a.parts[0].sensor] == number],
                judged=known,
                sensors=sensors,
                units=[by_id[i].series.unit for i in sensors],
                window=window,
                before=before,
                stored=self.known.anomalies.get((number, NAME), frozenset()),
            )
            self.store.assess(
                self.lease,
                Assessment(number, None, (), None, {NAME: window}, one.anomalies, (), (one.standing,)),
            )

    def _fit(self) -> None:
        """Fit on the latest weeks, if they are healthy; else the forest stays as it is."""
        sensors = self._present()
        if len(sensors) < 2 or any(
            standing.alerting for one in self.members for standing in self._standings(one).values()
        ):
            return
        window = Window(self.whole - self.settings.forest.healthy, self.whole)
        times, table, share = self._moments(sensors, window)
        there = np.isfinite(table).mean(axis=0) >= PRESENT_SHARE if len(table) else np.zeros(0, bool)
        log = get_logger(source=self.lease.source, station=self.name)
        if share < HEALTHY_SHARE or there.sum() < 2:
            log.debug("forest not fitted", usable=round(share, 3), sensors=int(there.sum()))
            return
        try:
            made = forest.fit(times, table[:, there])
        except ValueError as error:
            log.debug("forest not fitted", reason=str(error))
            return
        ids = tuple(i for i, kept in zip(sensors, there, strict=True) if kept)
        model = Model(
            self.name, NAME, made.version, made.fitted_from, made.fitted_to, ids, forest.dump(made)
        )
        self.store.put_model(self.lease, model)
        log.info("forest fitted", version=made.version, sensors=len(ids), moments=len(times))

    def _standings(self, one: StoredSeries) -> Mapping[str, Standing]:
        return self.known.standings.get(one.id, {})

    def _moments(self, sensors: Sequence[int], window: Window) -> tuple[Int64, Float64, float]:
        """The hours in the window, with a column a sensor; and the share of usable readings."""
        times, values, read, good = [], [], 0, 0
        for number in sensors:
            collector = Collector(window.end)
            for readings in self.scan(number, window):
                collector.add(readings)
                read += len(readings)
                good += int(np.count_nonzero(usable(readings.value, readings.flag)))
            columns = collector.columns()
            times.append(columns.context_time)
            values.append(columns.context_value)
        return (*forest.moments(times, values), good / read if read else 0.0)
