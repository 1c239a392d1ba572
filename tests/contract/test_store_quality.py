"""What is found out about stored readings: counted by commits, flagged anew, deleted, shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from builders import Loading, Row, at, span, values
from found import EVER, S1, S2, assessed, days, flags, full, ids, model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import AnyStore, StoreCase

from loader.findings import (
    Assessment,
    Pending,
    QualityDay,
    day_of,
)
from loader.journal import Cutoffs
from loader.readings import Check, Flag, Progress, Window
from loader.records import Counts

Query = Callable[[str], list[tuple[Any, ...]]]
TABLES = ("pending", "quality", "cadence", "anomaly", "drift", "standing", "model")


@pytest.fixture
def loading(store: AnyStore) -> Loading:
    return assessed(store)


# What commits count


DAY_HOURS = st.sampled_from([-3.0, 0.0, 0.5, 24.0, 24.5, 48.0])


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    commits=st.lists(
        st.tuples(
            st.dictionaries(st.tuples(st.sampled_from([S1, S2]), DAY_HOURS), st.just(1.0), max_size=8),
            st.lists(st.tuples(st.sampled_from([S1, S2]), DAY_HOURS, st.just(2.0)), max_size=4),
            st.booleans(),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_late_and_repeated_readings_are_counted_by_day(
    case: StoreCase, address: str, commits: list[tuple[dict[tuple[Any, float], float], list[Row], bool]]
) -> None:
    """Each belongs to the day of its time, midnight to the day before; what is repeated counts when the
    reading is new, and a batch committed again counts nothing."""
    store = case.open(address)
    loading = Loading(store, f"days{len(store.sources())}")
    expected: dict[tuple[str, int], list[int]] = {}
    stored, covered = set(), False
    for rows, repeated, cover in commits:
        for (one, hour), kind in [*((key, 0) for key in rows), *(((r[0], r[1]), 1) for r in repeated)]:
            new = (one, hour) in rows and (one.sensor, hour) not in stored
            if new and (kind or covered):
                expected.setdefault((one.sensor, day_of(at(hour))), [0, 0])[kind] += 1
        windows = (span(-100, 100),) if cover else ()
        progress = [Progress(one.partition, cover=windows) for one in (S1, S2)]
        batch = loading.batch([(*key, value) for key, value in rows.items()], *progress, repeated=repeated)
        assert not loading.write(batch).replayed
        assert loading.write(batch).replayed
        stored |= {(one.sensor, hour) for one, hour in rows}
        covered = covered or cover
    names = {one.id: one.series.sensor for one in store.series(loading.source)}
    found = {(names[d.series_id], d.day): [d.late, d.duplicate] for d in days(store, loading.source)}
    assert found == expected
    counts = loading.finish().counts
    assert counts.late == sum(late for late, _ in expected.values())
    store.close()


def test_a_move_is_counted(loading: Loading) -> None:
    """A series that comes from another place than before is inconsistent once; where it comes from
    first, or comes from still, is not."""
    assert loading.commit(places=[(S1, 1, 10.0, 20.0), (S2, 1, 1.0, 2.0)]).inconsistent == 0
    assert loading.commit(places=[(S1, 2, 10.0, 20.0), (S1, 1, 10.0, 20.0)]).inconsistent == 0
    moved = loading.batch(places=[(S1, 3, 10.0, 20.5), (S2, 5, 1.0, 2.0)], counts=Counts(inconsistent=7))
    assert loading.write(moved).counts.inconsistent == 8
    assert loading.write(moved).counts.inconsistent == 8
    assert loading.commit(places=[(S1, 4, 10.0, 20.0), (S1, 5, 10.0, 20.5)]).inconsistent == 2
    assert loading.finish().counts.inconsistent == 10


def test_what_changed_is_pending(loading: Loading) -> None:
    """From the reading before the first change, over all that changed since; a refetched reading
    changes nothing, and another source's are its own."""
    one, two = ids(loading)
    store = loading.store
    assert store.pending("src") == []
    loading.commit([(S1, 5, 5.5), (S1, 7, 7.0)])
    assert store.pending("src") == [Pending(one, span(4, 5))]
    loading.commit([(S1, 30, 1.0), (S2, 9, 9.0)])
    assert store.pending("src") == [Pending(one, span(4, 30))]
    loading.commit([(S1, 2.5, 1.0), (S2, 0.5, 1.0)])
    assert store.pending("src") == [Pending(one, span(2, 30)), Pending(two, Window(at(0.5) - 1, at(0.5)))]
    assert store.pending("other") == []


# Flags that change without a commit


def test_flags_can_be_put(loading: Loading, query: Query) -> None:
    """Those that differ are counted, written and pending; values, runs and revisions stay, and times
    that nothing is stored of are passed over."""
    one, _ = ids(loading)
    store, before = loading.store, loading.readings()
    given = [(3, 4, 1 << 31), (4, Flag.GOOD, 0), (4.5, 4, 1), (5, Flag.GOOD, Check.NEIGHBOURS)]
    assert store.put_flags(loading.lease, one, *flags(given)) == 2
    after = loading.readings()
    changed = {key: (after[key][1], after[key][2]) for key in after if after[key] != before[key]}
    assert changed == {
        ("s1", "pm25", "ug/m3", 3): (4, 1 << 31),
        ("s1", "pm25", "ug/m3", 5): (1, Check.NEIGHBOURS),
    }
    assert store.pending("src") == [Pending(one, span(2, 5))]
    assert store.put_flags(loading.lease, one, *flags(given)) == 0
    assert values(store) == {(key[0], key[3]): row[0] for key, row in before.items()}
    assert query("SELECT count(*) FROM revision") == [(0,)]


def test_the_first_reading_can_be_flagged(loading: Loading) -> None:
    """There is nothing before it to begin at; and nothing to put changes nothing."""
    one, _ = ids(loading)
    empty = np.empty(0)
    none = (empty.astype(np.int64), empty.astype(np.uint8), empty.astype(np.uint32))
    assert loading.store.put_flags(loading.lease, one, *none) == 0
    assert loading.store.pending("src") == []
    assert loading.store.put_flags(loading.lease, one, *flags([(1, 3, 4)])) == 1
    assert loading.store.pending("src") == [Pending(one, Window(at(1) - 1, at(1)))]


# What is deleted


def test_nothing_is_left_of_a_forgotten_source(loading: Loading, query: Query) -> None:
    """Each row is counted, what was found about another source stays, and a second call finds nothing."""
    other = Loading(loading.store, "other")
    for each in (loading, other):
        each.commit([(S1, 20, 1.0), (S2, 20, 1.0)])
        for number in ids(each):
            each.store.assess(each.lease, full(number))
        each.store.put_model(each.lease, model())
    rows = {table: query(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}
    deleted = loading.store.forget(loading.lease)
    assert {table: 2 * deleted[table] for table in TABLES} == rows
    for table in TABLES:
        assert query(f"SELECT count(*) FROM {table}") == [(rows[table] // 2,)], table
    assert len(days(loading.store, "other")) == 2
    assert sum(loading.store.forget(loading.lease).values()) == 0


def test_anomalies_and_pending_go_with_their_readings(loading: Loading) -> None:
    """Up to the cutoff, in proportion to what is promised; days, drift and where series stand stay as
    history, and so does what belongs to another source."""
    one, two = ids(loading)
    store, other = loading.store, Loading(loading.store, "other")
    other.commit([(S1, hour, 1.0) for hour in (1, 2, 3)])
    (theirs,) = (s.id for s in store.series("other"))
    store.assess(other.lease, full(theirs))
    for number in (one, two):
        store.assess(loading.lease, full(number))
    loading.commit([(S1, 1, 1.5), (S1, 9, 9.5), (S2, 2, 2.5)])
    kept = (days(store), store.drifts("src", at(0)), store.standings("src"), store.cadences("src"))
    cutoffs = Cutoffs(readings=at(3))
    promised = store.prunable("src", cutoffs)["anomaly"]
    assert store.prune(loading.lease, cutoffs)["anomaly"] == promised == 2
    assert [a.time for a in store.anomalies("src", *EVER)] == [at(4), at(4)]
    assert store.pending("src") == [Pending(one, span(3, 9))]
    assert (days(store), store.drifts("src", at(0)), store.standings("src"), store.cadences("src")) == kept
    assert len(list(store.anomalies("other", *EVER))) == 2
    assert store.pending("other") == [Pending(theirs, Window(at(1) - 1, at(3)))]


# Views


def test_days_can_be_read_as_shares(loading: Loading, query: Query) -> None:
    """The view says of each day what its counts come to, nothing where there is nothing to share."""
    one, two = ids(loading)
    loading.commit([(S1, 2.5, 1.0)], repeated=[(S1, 2.5, 0.5)])
    day = QualityDay(one, at(0), 20, 15, 10, 1, 2, 2, 1, 0, 0, 4, 71.5)
    loading.store.assess(loading.lease, Assessment(one, days=(day,)))
    over = QualityDay(two, at(0), due=4, observed=5, missing=2, inconsistent=9)
    loading.store.assess(loading.lease, Assessment(two, days=(over, QualityDay(two, at(24)))))
    found = query(
        "SELECT source, station, sensor, parameter, unit, CAST(day AS text), score, completeness, validity,"
        " timeliness, uniqueness, consistency, readings FROM quality_daily ORDER BY sensor, 6"
    )
    named = [("src", "st1", name, "pm25", "ug/m3") for name in ("s1", "s2", "s2")]
    assert found == [
        (*named[0], "2024-01-31", 71.5, 0.75, pytest.approx(1 - 4 / 15), 1 - 1 / 16,
         pytest.approx(1 - 1 / 17), 0.75, 16),
        (*named[1], "2024-01-31", None, 1.0, None, 1.0, 1.0, 0.0, 2),
        (*named[2], "2024-02-01", None, None, None, None, None, None, 0),
    ]  # fmt: skip


def test_runs_can_be_read_as_shares(loading: Loading, query: Query) -> None:
    """The view has the runs that are over, each with the components of its score."""
    loading.finish()
    loading.begin()
    loading.commit(
        [(S1, 2.5, 1.0), (S1, 20, None)],
        repeated=[(S1, 2.5, 0.5)],
        counts=Counts(fetched=4, duplicate=1, due=8, observed=2, inconsistent=1),
    )
    assert query("SELECT count(*) FROM quality_runs") == [(1,)]
    loading.finish(quality=61.5)
    columns = "source, score, completeness, validity, timeliness, uniqueness, consistency"
    loading.begin()
    loading.finish()
    assert query(f"SELECT {columns} FROM quality_runs ORDER BY run_id DESC")[:2] == [
        ("src", *[None] * 6),
        ("src", 61.5, 0.25, 1.0, 0.5, 0.75, 0.75),
    ]


def test_flagged_readings_can_be_read_with_their_checks(loading: Loading, query: Query) -> None:
    """The view lists what some check objects to, the checks by name, in the order of their bits."""
    one, _ = ids(loading)
    every = sum(Check)
    loading.store.put_flags(loading.lease, one, *flags([(2, 4, every), (3, 3, Check.FLAT), (4, 3, 0)]))
    assert query("SELECT source, sensor, value, flag, objections FROM flagged ORDER BY value") == [
        (
            "src", "s1", 2.0, 4,
            "upstream,sentinel,gross_range,unit,spike,rate,flat_line,gap,attenuated,climatology,precision,"
            "neighbours",
        ),
        ("src", "s1", 3.0, 3, "flat_line"),
    ]  # fmt: skip
