"""How what runs have changed is looked at, on every store: all of it, once, in any order and in parts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from assessing import DAYS, RULES, S1, S2, air, assess, found, spoilt, steps_of, whole_days
from builders import Loading, Row, at, series
from stores import AnyStore, StoreCase

from loader.assess import Assessor, Left, afterwards, job
from loader.errors import StoreUnavailable
from loader.quality.checks import Checks as RuleChecks
from loader.quality.rules import Rule
from loader.readings import DAY
from loader.settings.analysis import AnomalySettings, DriftSettings


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
    monkeypatch.setattr(job, "PART", 100)
    other.commit(rows)
    calls = [assess(other, rows=200)]
    while calls[-1][1]:
        calls.append(assess(other, rows=200))
        assert len(calls) < 100
    assert sum(done for done, _ in calls) > 12
    assert calls[0] == (1, 2), "the newest of the first series alone"
    assert found(other.store) == found(loading.store)


def test_a_dense_series_is_assessed_as_any_other(
    loading: Loading, other: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a series that is dense only what counts of the past is read, and the findings are those of
    reading it all: over hours, a midnight with drift, hours without a usable reading, a late reading."""
    chance, dense = np.random.default_rng(5), series("s1", cadence_s=300.0)
    rows: list[Row] = []
    for n in range(1, 12 * (30 * 24 + 3) + 1):
        value = round(float(20 + 5 * np.sin(n * np.pi / 144) + chance.normal(0, 1)), 2)
        gone = n // 12 % 17 == 0 or chance.random() < 0.1
        rows.append((dense, n / 12, None if gone else value * (40 if n % 997 == 0 or n > 8650 else 1)))
    late = rows.pop(8000)
    steps = [rows[: 12 * 719], rows[12 * 719 : 12 * 722], [*rows[12 * 722 :], late]]
    for part in steps:
        loading.commit(part)
        assess(loading)
    monkeypatch.setattr(job, "DENSE", 1_000_000)
    for part in steps:
        other.commit(part)
        assess(other)
    plain = found(other.store)
    assert found(loading.store) == plain
    assert len(plain["drifts"]) == 2
    assert len(plain["anomalies"]) > 10


def test_a_stop_leaves_the_rest_pending(loading: Loading) -> None:
    """Asked to stop before it begins, it looks at nothing; asked midway, what is written stays: here
    what is new of both series, and not what is older."""
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
    assert (left.done, left.waiting) == (2, 2)
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


def test_the_longest_waiting_series_comes_first(loading: Loading) -> None:
    """With room for one series an assessment, two that always have news take turns."""
    turns = []
    for hour in range(1, 7):
        loading.commit([(one, hour, 5.0) for one in (S1, S2)])
        assess(loading, rows=1)
        waiting = {one.series_id for one in loading.store.pending("src")}
        turns.append(({1, 2} - waiting).pop())
    assert turns == [1, 2, 1, 2, 1, 2]


def test_what_is_turned_off_is_not_looked_for(loading: Loading) -> None:
    """Without detectors and drift there are days and cadences, and no standing."""
    loading.commit(air(days=30))
    assess(loading, anomalies=AnomalySettings(enabled=False), drift=DriftSettings(enabled=False))
    rows = found(loading.store)
    assert len(rows["quality"]) == 60
    assert (rows["anomalies"], rows["drifts"], rows["standings"]) == ([], [], [])
