"""Questions about what was found out: each answer is one snapshot, or read a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loader.findings import Cadence, FoundAnomaly, FoundDrift, Model, Pending, QualityDay, Standing
from loader.readings import Window
from loader.stores.postgres.reports import PostgresReports
from loader.stores.postgres.times import array, clamped, micros

CHUNK = 10_000
"""Rows asked for at once: whoever dawdles over them holds no transaction open."""


class PostgresFindings(PostgresReports):
    """Questions; callable from any thread."""

    def pending(self, source: str) -> list[Pending]:
        return [
            Pending(number, Window(micros(start), micros(end)))
            for number, start, end in self._rows("pending", {"source": source})
        ]

    def quality(
        self, source: str | None, since: int, until: int, series_ids: Sequence[int] | None = None
    ) -> Iterator[QualityDay]:
        parameters = {
            "source": source,
            "since": clamped(since),
            "until": clamped(until),
            "ids": None if series_ids is None else array(series_ids),
            "limit": CHUNK,
        }
        number, day = -1, clamped(since)
        while True:
            rows = self._rows("quality", {**parameters, "id": number, "day": day})
            for number, day, *counts in rows:
                yield QualityDay(number, micros(day), *counts)
            if len(rows) < CHUNK:
                return

    def cadences(self, source: str | None) -> dict[int, tuple[Cadence, ...]]:
        found: dict[int, tuple[Cadence, ...]] = {}
        for number, start, cadence_s in self._rows("cadences", {"source": source}):
            found[number] = (*found.get(number, ()), Cadence(number, micros(start), cadence_s))
        return found

    def anomalies(self, source: str | None, since: int, until: int) -> Iterator[FoundAnomaly]:
        parameters = {"source": source, "since": clamped(since), "until": clamped(until), "limit": CHUNK}
        time, number, detector = clamped(since), -1, ""
        while True:
            rows = self._rows("anomalies", {**parameters, "time": time, "id": number, "detector": detector})
            for number, time, detector, version, score, explanation in rows:
                yield FoundAnomaly(number, micros(time), detector, version, score, explanation)
            if len(rows) < CHUNK:
                return

    def drifts(self, source: str | None, since: int) -> list[FoundDrift]:
        rows = self._rows("drifts", {"source": source, "since": clamped(since)})
        return [FoundDrift(number, micros(time), *rest) for number, time, *rest in rows]

    def standings(self, source: str | None) -> list[Standing]:
        return [
            Standing(number, detector, alerting, latest, micros(since), micros(seen), detail)
            for number, detector, alerting, latest, since, seen, detail in self._rows(
                "standings", {"source": source}
            )
        ]

    def models(self, source: str) -> list[Model]:
        return [
            Model(station, detector, version, micros(start), micros(end), tuple(sensors), bytes(data))
            for station, detector, version, start, end, sensors, data in self._rows(
                "models", {"source": source}
            )
        ]
