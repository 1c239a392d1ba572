"""The quality of days and the cadences that are found after runs, on every store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from assessing import S1, assess, found
from builders import ZERO, Loading, Row, at, series
from stores import AnyStore

from loader.quality.checks import Checks as RuleChecks
from loader.quality.neighbours import NeighbourRule
from loader.quality.rules import Rule
from loader.quality.score import COMPONENT_NAMES, day_score, of_day
from loader.readings import DAY, HOUR, Check, Flag, Readings
from tests.checks import Checks


@pytest.fixture
def loading(store: AnyStore) -> Loading:
    return Loading(store)


def test_days_of_silence_are_due_and_not_observed(loading: Loading) -> None:
    """Between two readings every hour is due; after the newest and before the first none is."""
    loading.commit([(S1, hour, 1.0) for hour in (*range(13, 20), *range(97, 109))])
    assess(loading)
    days = found(loading.store)["quality"]
    assert [(d.day, d.due, d.observed) for d in days] == [
        (ZERO, 12, 7),
        (ZERO + DAY, 24, 0),
        (ZERO + 2 * DAY, 24, 0),
        (ZERO + 3 * DAY, 24, 0),
        (ZERO + 4 * DAY, 12, 12),
    ]
    assert [d.score for d in days] == [pytest.approx(100 * (0.35 * 7 / 12 + 0.65)), 0, 0, 0, 100]


def test_a_day_counts_its_flags_and_inconsistencies(loading: Loading) -> None:
    """Each flag in its column; a wrong unit, a stamp off the grid and a move are inconsistent, and what
    is late or repeated is not taken away."""
    flags = [1, 1, 2, 3, 4, 9, 1, 1]
    bits = [0, Check.UNIT, 0, 0, 0, 0, 0, 0]

    def check(*_: object) -> Any:
        return np.array(flags, np.uint8), np.array(bits, np.uint32)

    rows: list[Row] = [(S1, hour, 5.0) for hour in (1, 2, 3, 4, 5, 6, 7.4, 8)]
    places = [(S1, 1, 10.0, 10.0), (S1, 8, 10.0, 11.0)]
    batch = loading.batch(rows, places=places)
    again = Readings.of([0, 0], [at(1), at(2)], [5.0, 5.0])
    loading.write(replace(batch, repeated=again), Checks(check))
    assess(loading)
    (day,) = found(loading.store)["quality"]
    assert (day.good, day.unevaluated, day.suspect, day.failed, day.missing) == (4, 1, 1, 1, 1)
    assert (day.due, day.observed, day.duplicate, day.inconsistent) == (8, 7, 2, 3)
    expected = 0.35 * 7 / 8 + 0.3 * (1 - 2 / 7) + 0.15 + 0.1 * (1 - 2 / 10) + 0.1 * (1 - 3 / 8)
    assert day.score == pytest.approx(100 * expected)


def test_the_view_shows_the_shares_that_the_score_is_made_of(
    loading: Loading, query: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    """For days of all kinds the view's five shares are those of the formulas."""
    chance = np.random.default_rng(5)

    def check(listed: object, readings: Readings, written: object) -> Any:
        del listed, written
        bits = np.where(readings.time % (7 * HOUR) == 0, np.uint32(Check.UNIT), np.uint32(0))
        return 1 + (readings.time // HOUR % 4 // 2 * 2).astype(np.uint8), bits

    rows = [(S1, hour, 1.0) for hour in range(1, 24 * 12) if chance.random() < 0.7 and hour // 24 != 5]
    loading.commit(rows, check=Checks(check))
    again = Readings.of([0, 0], [at(1), at(2)], [1.0, 1.0])
    loading.write(replace(loading.batch(listed=[S1]), repeated=again))
    assess(loading)
    names = ", ".join(COMPONENT_NAMES)
    shown = query(f"SELECT {names}, score FROM quality_daily ORDER BY day")
    days = found(loading.store)["quality"]
    assert len(days) == 12
    assert sum(day.readings == 0 for day in days) == 1
    for day, row in zip(days, shown, strict=True):
        parts = of_day(day)
        assert [*map(approx, row[:5])] == [getattr(parts, name) for name in COMPONENT_NAMES]
        assert row[5] == day.score == day_score(day)


def approx(share: float | None) -> Any:
    return None if share is None else pytest.approx(float(share))


def test_a_configured_cadence_goes_before_a_learned_one(loading: Loading) -> None:
    """A series that reports hourly and is declared so is due every half hour where that is configured."""
    loading.commit([(S1, hour, 1.0) for hour in range(1, 73)])
    assess(loading, check=RuleChecks(lambda _: Rule(cadence=HOUR // 2)))
    assert [(d.due, d.observed) for d in found(loading.store)["quality"]] == [(47, 24), (48, 24), (48, 24)]


def test_a_station_that_goes_hourly_is_not_incomplete_for_ever(loading: Loading) -> None:
    """The new cadence is learned once enough of it has been seen, and holds from its start."""
    quarter = [(S1, hour / 4, 1.0) for hour in range(1, 10 * 96 + 1)]
    loading.commit([(replace(S1, cadence_s=900.0), hour, value) for _, hour, value in quarter])
    assess(loading)
    for day in range(10, 14):
        loading.commit([(replace(S1, cadence_s=900.0), day * 24 + hour, 1.0) for hour in range(1, 25)])
        assess(loading)
    learned = loading.store.cadences("src")[1]
    assert [one.cadence_s for one in learned] == [900.0, 3600.0]
    assert [d.score for d in found(loading.store)["quality"]] == [100.0] * 14


def test_a_reading_at_odds_with_near_stations_is_flagged_and_counted(loading: Loading) -> None:
    """What near stations say is found before the days are counted, though it changes flags itself."""
    near = [series(f"n{i}", station=f"st{i}", cadence_s=3600.0) for i in range(4)]
    rule = Rule(neighbours=NeighbourRule(within_km=10, suspect=20, least=2))
    loading.commit(
        [
            (one, hour, 90.0 if (i, hour) == (0, 3) else 10.0)
            for i, one in enumerate(near)
            for hour in range(1, 6)
        ],
        places=[(one, 1, 45.0, 7.0 + i / 100) for i, one in enumerate(near)],
    )
    assess(loading, check=RuleChecks(lambda _: rule))
    flags = {key[0]: row for key, row in loading.readings().items() if key[3] == 3}
    assert {name: row[1] == Flag.SUSPECT for name, row in flags.items()} == {
        "n0": True, "n1": False, "n2": False, "n3": False,
    }  # fmt: skip
    assert flags["n0"][2] & Check.NEIGHBOURS
    assert [day.suspect for day in found(loading.store)["quality"]] == [1, 0, 0, 0]
    assert loading.store.pending("src") == []
