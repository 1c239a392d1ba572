"""What is found out about stored readings after runs, on every store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import ZERO, Loading, Row, at, series
from stores import AnyStore, StoreCase

from loader.analysissettings import AnomalySettings, DriftSettings
from loader.assess import Assessor, Left, afterwards, assessor
from loader.errors import StoreUnavailable
from loader.findings import Standing
from loader.quality.checks import Checks as RuleChecks
from loader.quality.neighbours import NeighbourRule
from loader.quality.rules import Rule
from loader.quality.score import COMPONENT_NAMES, day_score, of_day
from loader.readings import DAY, HOUR, Check, Flag, Readings, Window
from tests.checks import Checks

S1, S2 = (series(name, cadence_s=3600.0) for name in ("s1", "s2"))
RULES = RuleChecks(lambda _: Rule())
EVER = Window(-(2**60), 2**60)
DAYS = 36


def assess(loading: Loading, **more: Any) -> tuple[int, int]:
    """Assess with the defaults but for `more`; (done, waiting)."""
    given = {"anomalies": AnomalySettings(), "drift": DriftSettings(), "check": RULES, **more}
    left = Assessor(**given)(loading.store, loading.lease, threading.Event(), lambda: None)
    return left.done, left.waiting


def found(store: AnyStore) -> dict[str, list[Any]]:
    """Everything that assessments wrote."""
    return {
        "quality": list(store.quality("src", EVER.start, EVER.end)),
        "cadences": sorted(store.cadences("src").items()),
        "anomalies": sorted(
            store.anomalies("src", EVER.start, EVER.end), key=lambda a: (a.series_id, a.detector, a.time)
        ),
        "drifts": store.drifts("src", EVER.start),
        "standings": store.standings("src"),
    }


def standings(store: AnyStore) -> dict[str, Standing]:
    """Those of the only series, by detector."""
    return {one.detector: one for one in store.standings("src")}


def air(days: int = DAYS, seed: int = 1, which: Sequence[Any] = (S1, S2)) -> list[Row]:
    """Hourly values with a daily season; some hours are missing, some have no value."""
    chance = np.random.default_rng(seed)
    rows: list[Row] = []
    for one in which:
        for hour in range(1, days * 24 + 1):
            if chance.random() < 0.03:
                continue
            value = 20 + 5 * np.sin(hour * np.pi / 12) + chance.normal(0, 1)
            rows.append((one, hour, None if chance.random() < 0.02 else round(float(value), 3)))
    return rows


def spoilt(rows: Iterable[Row], hours: Iterable[int], factor: float = 30) -> list[Row]:
    """The rows, S1's values of these hours multiplied."""
    wrong = set(hours)
    return [
        (one, hour, value * factor if value is not None and one is S1 and hour in wrong else value)
        for one, hour, value in rows
    ]


def whole_days(rows: Iterable[Row]) -> dict[int, list[Row]]:
    by: dict[int, list[Row]] = {}
    for row in rows:
        by.setdefault(int((row[1] - 1) // 24), []).append(row)
    return by


def steps_of(rows: Iterable[Row], first: int) -> list[list[Row]]:
    """The first so many days in one step, and each day after them."""
    days = list(whole_days(rows).values())
    return [[row for day in days[:first] for row in day], *days[first:]]


@pytest.fixture
def loading(store: AnyStore) -> Loading:
    return Loading(store)


@pytest.fixture
def other(case: StoreCase, tmp_path: Path) -> Iterator[Loading]:
    """A second store of the same kind."""
    (tmp_path / "other").mkdir()
    address = case.fresh(tmp_path / "other")
    made = case.open(address)
    yield Loading(made)
    made.close()
    case.drop(address)


def test_small_steps_find_what_one_large_one_does(loading: Loading, other: Loading) -> None:
    """Four weeks and then day by day, or all at once: the same days, cadences, anomalies of the last week
    and drift."""
    last = DAYS * 24
    rows = spoilt(air(), range(last - 120, last - 100, 3))
    loading.commit(rows)
    assess(loading)
    for part in steps_of(rows, 28):
        other.commit(part)
        assess(other)
    once, steps = found(loading.store), found(other.store)
    assert once["quality"] == steps["quality"]
    assert len(once["quality"]) == 2 * DAYS
    assert (
        once["cadences"] == steps["cadences"] == [(1, once["cadences"][0][1]), (2, once["cadences"][1][1])]
    )
    since = at(last) - 7 * DAY
    assert once["anomalies"] == [a for a in steps["anomalies"] if a.time > since]
    assert {a.time for a in once["anomalies"]} >= {
        at(h) for one, h, value in rows if one is S1 and h in range(last - 120, last - 100, 3) and value
    }
    newest = once["drifts"][-1].time
    assert once["drifts"] == [d for d in steps["drifts"] if d.time == newest]
    assert len(steps["drifts"]) > len(once["drifts"]) == 2


def test_any_order_gives_the_same_days(loading: Loading, other: Loading) -> None:
    """Days that arrive in any order, assessed after each, have the counts of those that came in order."""
    rows = air(days=20)
    loading.commit(rows)
    assess(loading)
    parts = list(whole_days(rows).values())
    for i in np.random.default_rng(3).permutation(len(parts)):
        other.commit(parts[i])
        assess(other)
    for once, mixed in zip(found(loading.store)["quality"], found(other.store)["quality"], strict=True):
        assert once == replace(mixed, late=0, score=once.score)


def test_assessing_again_changes_nothing(loading: Loading) -> None:
    """A reading that is revised and revised back is looked at again, and every row is as before."""
    rows = spoilt(air(), [DAYS * 24 - 30, DAYS * 24 - 29])
    loading.commit(rows)
    assert assess(loading) == (4, 0)
    before = found(loading.store)
    assert assess(loading) == (0, 0)
    one, hour, value = rows[len(rows) // 2 - 40]
    loading.commit([(one, hour, 21.0)])
    loading.commit([(one, hour, value)])
    assert assess(loading) == (1, 0)
    assert found(loading.store) == before


def test_what_is_too_much_for_one_assessment_waits(
    loading: Loading, other: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts of bounded size, over several assessments, the result is that of one."""
    rows = air()
    loading.commit(rows)
    assess(loading)
    monkeypatch.setattr(assessor, "PART", 100)
    other.commit(rows)
    calls = [assess(other, rows=200)]
    while calls[-1][1]:
        calls.append(assess(other, rows=200))
        assert len(calls) < 100
    assert sum(done for done, _ in calls) > 12
    assert calls[0] == (1, 2), "the newest of the first series alone"
    assert found(other.store) == found(loading.store)


def test_a_stop_leaves_the_rest_pending(loading: Loading) -> None:
    """Asked to stop before it begins, it looks at nothing; asked midway, what is written stays."""
    loading.commit(air(days=10))
    stop = threading.Event()
    made = Assessor(AnomalySettings(), DriftSettings(), RULES)
    stop.set()
    assert made(loading.store, loading.lease, stop, lambda: None).waiting == 2
    assert found(loading.store)["quality"] == []
    stop.clear()
    signs: list[int] = []

    def alive() -> None:
        signs.append(1)
        if loading.store.standings("src"):
            stop.set()

    left = made(loading.store, loading.lease, stop, alive)
    assert (left.done, left.waiting) == (1, 2)
    assert len(signs) > 2
    stop.clear()
    assert made(loading.store, loading.lease, stop, lambda: None).waiting == 0


@pytest.mark.parametrize("error", [StoreUnavailable("the disk is full"), ZeroDivisionError("a bug")])
def test_trouble_never_reaches_the_run(
    loading: Loading, error: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever goes wrong while readings are assessed is logged, and everything stays pending."""

    def broken(_: object) -> Rule:
        raise error

    loading.commit(air(days=2))
    before = loading.store.pending("src")
    made = Assessor(AnomalySettings(), DriftSettings(), RuleChecks(broken))
    left = afterwards(made, loading.store, loading.lease, threading.Event(), lambda: None)
    assert (left, loading.store.pending("src")) == (Left(), before)
    assert str(error) in capfd.readouterr().err
    assess(loading)
    assert loading.store.pending("src") == []


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


def test_many_anomalies_in_one_run_alert_and_say_what_was_seen(loading: Loading) -> None:
    """Twelve wrong hours alert at once; good ones in as many runs as are remembered end it."""
    rows = air(which=[S1], days=30)
    last = 30 * 24
    clean = [row for row in rows if row[1] <= last - 48]
    loading.commit(clean)
    assess(loading)
    assert not any(one.alerting for one in standings(loading.store).values())
    wrong = range(last - 47, last - 24, 2)
    loading.commit([row for row in spoilt(rows, wrong, 1000) if last - 48 < row[1] <= last - 24])
    assess(loading)
    there = standings(loading.store)
    assert there["robust_zscore"].alerting
    assert there["unit_scale"].alerting
    assert "anomalies, the newest at" in there["robust_zscore"].detail
    assert "expected" in there["unit_scale"].detail
    assert there["robust_zscore"].since == at(last - 24)
    for row in [row for row in rows if row[1] > last - 24][:10]:
        loading.commit([row])
        assess(loading, anomalies=AnomalySettings(memory=6))
    assert not any(one.alerting for one in standings(loading.store).values())


def test_an_anomaly_counts_once(loading: Loading) -> None:
    """A wrong hour is judged again whenever a reading before it changes, but it is one of one run."""
    rows = air(which=[S1], days=30)
    loading.commit(spoilt(rows, [29 * 24 + 12]))
    assess(loading)
    before = standings(loading.store)["robust_zscore"]
    assert (before.latest, before.alerting) == (1, False)
    for value in (19.0, 20.0, 21.0, 22.0):
        loading.commit([(S1, 29 * 24 + 3, value)])
        assess(loading)
    assert standings(loading.store)["robust_zscore"] == before
    assert len(found(loading.store)["anomalies"]) == 1


def test_history_that_is_loaded_afterwards_is_not_judged(loading: Loading) -> None:
    """Older weeks full of errors get their days, and no anomaly."""
    rows = air(which=[S1], days=60)
    late = [row for row in rows if row[1] > 30 * 24]
    loading.commit(late)
    assess(loading)
    before = found(loading.store)
    loading.commit(spoilt([row for row in rows if row[1] <= 30 * 24], range(1, 720, 2), 1000))
    assess(loading)
    after = found(loading.store)
    assert len(after["quality"]) == 60
    assert (after["anomalies"], after["standings"]) == (before["anomalies"], before["standings"])


def test_a_series_that_moves_for_good_drifts(loading: Loading) -> None:
    """A shift of many deviations alerts after three daily comparisons in a row, with its figures."""
    rows = [
        (one, hour, value if value is None or hour <= 20 * 24 else value + 40)
        for one, hour, value in air(which=[S1], days=40)
    ]
    began = []
    for day, part in enumerate(steps_of(rows, 28), 27):
        loading.commit(part)
        assess(loading)
        if standings(loading.store)["drift"].alerting:
            began.append(day)
    drifting = [d.time for d in found(loading.store)["drifts"] if d.drifting]
    assert standings(loading.store)["drift"].since == drifting[2] == at((began[0] + 1) * 24)
    assert "median moved by" in standings(loading.store)["drift"].detail


def test_after_a_pause_only_the_newest_days_are_compared(loading: Loading) -> None:
    """Two weeks that come at once bring comparisons of a week at most."""
    rows = air(which=[S1], days=50)
    loading.commit([row for row in rows if row[1] <= 36 * 24])
    assess(loading)
    loading.commit([row for row in rows if row[1] > 36 * 24])
    assess(loading)
    assert [d.time for d in found(loading.store)["drifts"]] == [at(24 * 36)] + [
        at(24 * day) for day in range(44, 51)
    ]


def test_the_longest_waiting_series_comes_first(loading: Loading) -> None:
    """With room for one series an assessment, two that always have news take turns."""
    turns = []
    for hour in range(1, 7):
        loading.commit([(one, hour, 5.0) for one in (S1, S2)])
        assess(loading, rows=1)
        waiting = {one.series_id for one in loading.store.pending("src")}
        turns.append(({1, 2} - waiting).pop())
    assert turns == [1, 2, 1, 2, 1, 2]


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


def test_what_is_turned_off_is_not_looked_for(loading: Loading) -> None:
    """Without detectors and drift there are days and cadences, and no standing."""
    loading.commit(air(days=30))
    assess(loading, anomalies=AnomalySettings(enabled=False), drift=DriftSettings(enabled=False))
    rows = found(loading.store)
    assert len(rows["quality"]) == 60
    assert (rows["anomalies"], rows["drifts"], rows["standings"]) == ([], [], [])
