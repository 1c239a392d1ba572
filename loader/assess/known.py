"""What was known of a source's series before an assessment; read once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loader.contracts import Database
from loader.findings import Pending, Standing
from loader.quality.cadence import Episode
from loader.readings import DAY, Int64, Window
from loader.records import StoredSeries


@dataclass(frozen=True, slots=True)
class Known:
    """By series id, but for `anomalies`: those are by series id and detector.

    shortcomings  by day (late, duplicate), as commits have counted them
    moves         times from which the series has been at another place
    anomalies     times of those that are stored
    """

    series: dict[int, StoredSeries]
    standings: dict[int, dict[str, Standing]]
    episodes: dict[int, tuple[Episode, ...]]
    shortcomings: dict[int, dict[int, tuple[int, int]]]
    moves: dict[int, Int64]
    anomalies: dict[tuple[int, str], frozenset[int]]

    @classmethod
    def of(
        cls,
        store: Database,
        source: str,
        every: Sequence[StoredSeries],
        pending: Sequence[Pending],
        history: int,
    ) -> Known:
        """Read what an assessment of these stretches needs; `every` are the source's series."""
        ids = {one.series_id for one in pending}
        series = {one.id: one for one in every}
        standings: dict[int, dict[str, Standing]] = {}
        for standing in store.standings(source):
            standings.setdefault(standing.series_id, {})[standing.detector] = standing
        # Who has news of years ago is asked for these years, and nobody else.
        alike: dict[int, list[Pending]] = {}
        for one in pending:
            alike.setdefault(one.window.start // DAY * DAY, []).append(one)
        shortcomings: dict[int, dict[int, tuple[int, int]]] = {}
        for since, those in alike.items():
            until = max(one.window.end for one in those)
            for day in store.quality(source, since, until, [one.series_id for one in those]):
                if day.late or day.duplicate:
                    shortcomings.setdefault(day.series_id, {})[day.day] = (day.late, day.duplicate)
        newest = [one.last_time for one in series.values() if one.id in ids and one.last_time is not None]
        window = Window(min(newest, default=0) - history - DAY, max(newest, default=0))
        anomalies: dict[tuple[int, str], set[int]] = {}
        for found in store.anomalies(source, window.start, window.end):
            anomalies.setdefault((found.series_id, found.detector), set()).add(found.time)
        return cls(
            series,
            standings,
            {
                number: tuple((one.from_time, one.cadence_s) for one in learned)
                for number, learned in store.cadences(source).items()
            },
            shortcomings,
            {
                number: np.array([time for time, _, _ in places[1:]], np.int64)
                for number, places in store.places(sorted(ids)).items()
            },
            {key: frozenset(times) for key, times in anomalies.items()},
        )
