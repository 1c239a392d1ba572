"""Readings at odds with near stations, found after runs, on every store."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from builders import Loading, Row, at, series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import AnyStore

from loader.assess.near import Network, compare, recheck_all, told
from loader.quality.checks import Checks
from loader.quality.neighbours import NeighbourRule
from loader.quality.rules import FlatRule, Limits, Rule, SpikeRule
from loader.readings import HOUR, Check, Flag, Readings, Window
from loader.records import StoredSeries

RULE = NeighbourRule(within_km=5, suspect=20, least=2, apart=HOUR)
CHECKS = Checks(
    lambda _: Rule(
        expected=True,
        fail=(0, 500),
        spike=SpikeRule(Limits(suspect=100)),
        flat=FlatRule(suspect=6 * HOUR),
        neighbours=RULE,
    )
)
STATIONS = [series(f"s{i}", station=f"st{i}", cadence_s=3600.0) for i in range(4)]
FAR = series("far", station="far", cadence_s=3600.0)
PLACES = [(one, 0, 50 + 0.01 * i, 8.0) for i, one in enumerate(STATIONS)] + [(FAR, 0, 52.0, 8.0)]
SERIES = [*STATIONS, FAR]

SUSPECT, GOOD = int(Flag.SUSPECT), int(Flag.GOOD)


@pytest.fixture
def loading(store: AnyStore) -> Loading:
    return Loading(store)


def look(loading: Loading, checks: Checks = CHECKS) -> int:
    """Compare what is pending; how many flags changed."""
    network = Network.of(checks, loading.store.series(loading.source))
    pending = loading.store.pending(loading.source)
    return sum(
        compare(loading.store, loading.lease, checks, network, one, lambda _: None) for one in pending
    )


def nearest(loading: Loading, one: StoredSeries) -> Readings:
    """The stored reading of hour 5."""
    return Readings.concat(list(loading.store.scan([one.id], Window(at(5) - 1, at(5)))))


def level(hours: int = 12, value: float = 50) -> list[Row]:
    """All stations, a little apart, never still."""
    return [(one, h, value + i + h % 3) for i, one in enumerate(SERIES) for h in range(1, hours + 1)]


def test_a_station_at_odds_is_suspect_and_recovers_when_a_neighbour_agrees(loading: Loading) -> None:
    """Two neighbours of three see another air; a late reading of one of them clears the reading."""
    rows = [(one, h, 90 if one is STATIONS[0] and h == 5 else v) for one, h, v in level()]
    late = (STATIONS[1], 5, 85.0)
    loading.commit([r for r in rows if r[:2] != late[:2]], places=PLACES, check=CHECKS)
    assert look(loading) == 1
    key = ("s0", "pm25", "ug/m3", 5)
    assert loading.readings()[key] == (90, SUSPECT, int(Check.NEIGHBOURS))
    stored = next(s for s in loading.store.series("src") if s.series.sensor == "s0")
    assert told(loading.store, CHECKS, stored, nearest(loading, stored)) == (
        "90 ug/m3, while 3 near stations measured 52 to 55 ug/m3"
    )
    loading.commit([late], check=CHECKS)
    look(loading)
    assert loading.readings()[key] == (90, GOOD, 0)
    assert told(loading.store, CHECKS, stored, nearest(loading, stored)) is None
    assert look(loading) == 0


def test_a_station_far_away_is_nobodys_neighbour(loading: Loading) -> None:
    """It may measure what it likes, and is measured by nobody."""
    rows = [(one, h, v + 40 if one is FAR else v) for one, h, v in level()]
    loading.commit(rows, places=PLACES, check=CHECKS)
    assert look(loading) == 0


def test_without_a_rule_nothing_is_compared(loading: Loading) -> None:
    """The network is empty."""
    loading.commit(level(), places=PLACES, check=CHECKS)
    network = Network.of(Checks(lambda _: Rule()), loading.store.series("src"))
    assert not network.near


def test_a_commit_keeps_what_was_found(loading: Loading) -> None:
    """A late reading beside it changes other flags of it, and leaves this bit."""
    rows = [(one, h, 90 if one is STATIONS[0] and h == 5 else v) for one, h, v in level()]
    loading.commit([r for r in rows if r[:2] != (STATIONS[0], 6)], places=PLACES, check=CHECKS)
    look(loading)
    loading.commit([(STATIONS[0], 6, 300.0)], check=CHECKS)
    value, flag, tests = loading.readings()["s0", "pm25", "ug/m3", 5]
    assert (value, flag, tests & Check.NEIGHBOURS) == (90, SUSPECT, Check.NEIGHBOURS)


@pytest.mark.parametrize("written", [True, False])
def test_a_recheck_compares_by_the_rule_of_today(loading: Loading, written: bool) -> None:
    """A wider rule clears some readings, a narrower one finds more, none clears all; without a
    lease they are only counted."""
    off = {3: 85, 5: 120, 7: 70}
    rows = [(one, h, off.get(h, v) if one is STATIONS[0] else v) for one, h, v in level()]
    loading.commit(rows, places=PLACES, check=CHECKS)

    def recheck(rule: NeighbourRule | None) -> tuple[dict[str, int], list[float]]:
        checks = Checks(lambda _: Rule(expected=True, neighbours=rule))
        changes, ended = recheck_all(
            loading.store,
            loading.store,
            loading.lease if written else None,
            checks,
            loading.store.series("src"),
            Window(at(1), at(12)),
        )
        assert ended
        odd = [key[3] for key, row in loading.readings().items() if row[2] & Check.NEIGHBOURS]
        return {k: n for k, n in changes.as_dict().items() if k != "checked"}, odd

    assert look(loading) == 2
    wider, narrower = replace(RULE, suspect=50), replace(RULE, suspect=10)
    cleared = {"suspect -> good": 1, "neighbours: objects no more": 1}
    assert recheck(wider) == ({"changed": 1, **cleared}, [5] if written else [3, 5])
    found = 2 if written else 1
    more = {"changed": found, "good -> suspect": found, "neighbours: now objects": found}
    assert recheck(narrower) == (more, [3, 5, 7] if written else [3, 5])
    gone = 3 if written else 2
    none = {"changed": gone, "suspect -> good": gone, "neighbours: objects no more": gone}
    assert recheck(None) == (none, [] if written else [3, 5])


NAMES = itertools.count()


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_neither_cut_nor_order_matters(store: AnyStore, data: st.DataObject) -> None:
    """Whatever comes when, and however often it is looked at: in the end the flags are those of
    one look at the whole."""
    values = st.sampled_from([10.0, 11.0, 20.0, 45.0, 80.0, 600.0, None])
    rows = [(one, h, v) for one in SERIES for h in range(1, 7) if (v := data.draw(values)) is not None]
    order = data.draw(st.permutations(rows))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(rows)), max_size=3)))
    looks = [data.draw(st.booleans()) for _ in cuts]
    parts = [list(order[a:b]) for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    assert flags(store, parts, [*looks, True]) == flags(store, [rows], [True])


def flags(store: AnyStore, parts: list[list[Row]], looks: list[bool]) -> dict[object, object]:
    """What a new source holds after these commits, with a look after those that say so."""
    loading = Loading(store, f"src{next(NAMES)}")
    loading.commit([], places=PLACES, listed=SERIES, check=CHECKS)
    for part, wanted in zip(parts, looks, strict=True):
        loading.commit(part, check=CHECKS)
        if wanted:
            look(loading)
    assert look(loading) == 0
    loading.lease.release()
    return dict(loading.readings())


def test_the_reading_nearest_in_time_counts(loading: Loading) -> None:
    """Half-hourly neighbours of an hourly station, one of them far off at another time."""
    near = [(one, h / 2, 50.0 + h % 5) for one in STATIONS[1:3] for h in range(2, 12)]
    mine = [(STATIONS[0], h, 60.0 + h % 2) for h in range(1, 6)]
    loading.commit([*near, *mine], places=PLACES, check=CHECKS)
    assert look(loading) == 0
    loading.commit([(STATIONS[1], 3, 10.0), (STATIONS[2], 3, 12.0)], check=CHECKS)
    look(loading)
    odd = [key[3] for key, row in loading.readings().items() if row[2] & Check.NEIGHBOURS]
    assert np.array(odd).tolist() == [3]
