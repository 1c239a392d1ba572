"""What is found out about stored readings: counted by commits, kept by assessments, asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builders import Loading, Row, at, series, span, values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import AnyStore, StoreCase

from loader.errors import LeaseLost, LoaderError, StoreError
from loader.findings import (
    Assessment,
    Cadence,
    FoundAnomaly,
    FoundDrift,
    Model,
    Pending,
    QualityDay,
    Standing,
    day_of,
)
from loader.journal import Cutoffs
from loader.readings import DAY, Check, Flag, Progress, Window
from loader.records import Counts
from loader.sqltext import storable

Query = Callable[[str], list[tuple[Any, ...]]]
S1, S2 = series("s1"), series("s2")
EVER = (-(2**62), 2**62)
TABLES = ("pending", "quality", "cadence", "anomaly", "drift", "standing", "model")


@pytest.fixture
def loading(store: AnyStore) -> Loading:
    """Two sensors with readings of hours 1 to 9, assessed."""
    loading = Loading(store)
    rows = [(one, float(h), float(h)) for one in (S1, S2) for h in range(1, 10)]
    cover = (span(0, 9),)
    loading.commit(rows, Progress("p-s1", cover=cover), Progress("p-s2", cover=cover))
    for pending in store.pending("src"):
        store.assess(loading.lease, Assessment(pending.series_id, pending.window))
    return loading


def ids(loading: Loading) -> tuple[int, int]:
    found = {s.series.sensor: s.id for s in loading.store.series(loading.source)}
    return found["s1"], found["s2"]


def days(store: AnyStore, source: str | None = "src") -> list[QualityDay]:
    return list(store.quality(source, *EVER))


def anomaly(number: int, hour: float, detector: str = "zscore", **more: Any) -> FoundAnomaly:
    explanation = json.dumps({"distance": "x", "parts": [{"series_id": number, "value": 1.5}]})
    given = {"version": "1", "score": -4.5, "explanation": explanation, **more}
    return FoundAnomaly(number, at(hour), detector, **given)


def drift(number: int, hour: float, against: str = "first", **more: Any) -> FoundDrift:
    given = {"ks": 0.5, "psi": 0.25, "shift": 1.5, "scale": 2.0, "drifting": True, **more}
    return FoundDrift(number, at(hour), against, 30, 40, **given)


def model(station: str = "st1", version: str = "1", **more: Any) -> Model:
    return Model(station, "forest", version, at(0), at(9), **{"sensors": (2, 1), "data": b"\x00x", **more})


def full(number: int) -> Assessment:
    """Something of everything."""
    return Assessment(
        number,
        days=(QualityDay(number, at(0), due=24, observed=20, good=18, suspect=2, score=87.5),),
        cadences=(Cadence(number, at(0), 3600.0), Cadence(number, at(5), 0.25)),
        judged={"zscore": span(0, 9)},
        anomalies=(anomaly(number, 3), anomaly(number, 4)),
        drifts=(drift(number, 8),),
        standings=(Standing(number, "zscore", True, 5, at(3), at(9), "5 in a run"),),
    )


# What commits count


DAY_HOURS = st.integers(-40, 100).map(lambda half: half / 2)


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
    """Each belongs to the day of its time, midnight to the day before; the days of all series sum up
    to what the run counts, and a batch committed again counts nothing."""
    store = case.open(address)
    loading = Loading(store, f"days{len(store.sources())}")
    expected: dict[tuple[str, int], list[int]] = {}
    stored, covered = set(), False
    for rows, repeated, cover in commits:
        for (one, hour), kind in [*((key, 0) for key in rows), *(((r[0], r[1]), 1) for r in repeated)]:
            if kind or (covered and (one.sensor, hour) not in stored):
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
    assert [counts.late, counts.duplicate] == [sum(n[kind] for n in expected.values()) for kind in (0, 1)]
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


# Assessments


def test_an_assessment_is_kept_whole(loading: Loading, query: Query) -> None:
    """Everything comes back as it was given, of one source or of all."""
    one, two = ids(loading)
    store, found = loading.store, full(one)
    store.assess(loading.lease, found)
    for source in ("src", None):
        assert tuple(days(store, source)) == found.days
        assert store.cadences(source) == {one: found.cadences}
        assert comparable(store, source) == [plain(a) for a in found.anomalies]
        assert tuple(store.drifts(source, at(0))) == found.drifts
        assert tuple(store.standings(source)) == found.standings
    assert days(store, "other") == store.drifts("other", at(0)) == store.standings("other") == []
    assert list(store.anomalies("other", *EVER)) == []
    assert store.cadences("other") == {}
    store.assess(loading.lease, full(two))
    assert [d.series_id for d in days(store)] == [one, two]
    assert [(a.series_id, a.time) for a in store.anomalies("src", *EVER)] == [
        (one, at(3)), (two, at(3)), (one, at(4)), (two, at(4))
    ]  # fmt: skip
    store.assess(loading.lease, full(two))
    assert query("SELECT count(*) FROM anomaly") == [(4,)]


def plain(found: FoundAnomaly) -> FoundAnomaly:
    """With its explanation in one spelling: a store may keep JSON in another."""
    return replace(found, explanation=json.dumps(json.loads(found.explanation), sort_keys=True))


def comparable(store: AnyStore, source: str | None = "src") -> list[FoundAnomaly]:
    return [plain(found) for found in store.anomalies(source, *EVER)]


def test_days_keep_what_commits_counted(loading: Loading) -> None:
    """All else is replaced, the score taken away where there is none; other days stay; and what an
    assessment says of late and repeated readings is not looked at."""
    one, _ = ids(loading)
    loading.commit([(S1, 2.5, 1.0), (S1, 24, 1.0)], repeated=[(S1, 2.5, 0.5), (S1, 2.5, 0.75)])
    first = QualityDay(one, at(0), 24, 10, 5, 1, 1, 1, 2, 99, 99, 3, 50.0)
    later = QualityDay(one, at(24), good=1)
    loading.store.assess(loading.lease, Assessment(one, days=(first, later)))
    assert days(loading.store) == [replace(first, late=1, duplicate=2), later]
    loading.store.assess(loading.lease, Assessment(one, days=(QualityDay(one, at(0), good=12),)))
    assert days(loading.store) == [QualityDay(one, at(0), good=12, late=1, duplicate=2), later]
    loading.commit([(S1, 3.5, 1.0)], repeated=[(S1, 3.5, 0.5)])
    assert days(loading.store) == [QualityDay(one, at(0), good=12, late=2, duplicate=3), later]


ANSWERS: list[tuple[tuple[int, int] | None, tuple[int, int] | None]] = [
    ((10, 20), None),
    ((5, 30), None),
    ((10, 15), (15, 20)),
    ((5, 15), (15, 20)),
    ((15, 20), (10, 15)),
    ((15, 30), (10, 15)),
    ((12, 15), (10, 20)),
    ((0, 10), (10, 20)),
    ((20, 25), (10, 20)),
    (None, (10, 20)),
]
"""Hours that an assessment answers, and those of 10 to 20 that are pending afterwards."""


def test_what_was_answered_is_pending_no_more(loading: Loading) -> None:
    """What a commit has added meanwhile stays, as one stretch; other series' stretches stay whole."""
    store, lease = loading.store, loading.lease
    rows = [(series(f"n{n}"), 10.0, 1.0) for n in range(len(ANSWERS))]
    loading.commit(rows)
    first = [pending.series_id for pending in store.pending("src")]
    for number in first:
        store.assess(lease, Assessment(number, Window(at(0), at(10))))
    loading.commit([(one, 20.0, 1.0) for one, *_ in rows])
    assert store.pending("src") == [Pending(number, span(10, 20)) for number in first]
    for number, (answered, _) in zip(first, ANSWERS, strict=True):
        store.assess(lease, Assessment(number, None if answered is None else span(*answered)))
    assert store.pending("src") == [
        Pending(number, span(*left)) for number, (_, left) in zip(first, ANSWERS, strict=True) if left
    ]


def test_cadences_are_replaced_together(loading: Loading) -> None:
    """None leaves them, an empty list takes them away."""
    one, two = ids(loading)
    store, lease = loading.store, loading.lease
    for number in (one, two):
        store.assess(lease, Assessment(number, cadences=(Cadence(number, at(3), 60.0),)))
    store.assess(lease, Assessment(one, cadences=(Cadence(one, at(4), 900.0), Cadence(one, at(1), 30.0))))
    store.assess(lease, Assessment(one))
    assert store.cadences("src") == {
        one: (Cadence(one, at(1), 30.0), Cadence(one, at(4), 900.0)),
        two: (Cadence(two, at(3), 60.0),),
    }
    store.assess(lease, Assessment(one, cadences=()))
    assert store.cadences("src") == {two: (Cadence(two, at(3), 60.0),)}


def test_anomalies_are_replaced_in_the_window_judged(loading: Loading) -> None:
    """Of that detector and series only; the window's start is not in it, its end is."""
    one, two = ids(loading)
    store, lease = loading.store, loading.lease
    for number in (one, two):
        found = [anomaly(number, h, d) for h in (2, 3, 4, 5) for d in ("a", "b")]
        store.assess(lease, Assessment(number, anomalies=tuple(found)))
    again = (anomaly(one, 4, "a", score=math.inf), anomaly(one, 3.5, "a"))
    store.assess(lease, Assessment(one, judged={"a": span(2, 4), "c": span(0, 9)}, anomalies=again))
    kept = {(a.time, a.detector): a.score for a in store.anomalies("src", *EVER) if a.series_id == one}
    assert kept == {
        (at(2), "a"): -4.5, (at(3.5), "a"): -4.5, (at(4), "a"): math.inf, (at(5), "a"): -4.5,
        (at(2), "b"): -4.5, (at(3), "b"): -4.5, (at(4), "b"): -4.5, (at(5), "b"): -4.5,
    }  # fmt: skip
    assert sum(a.series_id == two for a in store.anomalies("src", *EVER)) == 8
    store.assess(lease, Assessment(two, judged={"a": span(0, 9), "b": span(0, 9)}))
    assert all(a.series_id == one for a in store.anomalies("src", *EVER))


def test_drifts_and_standings_replace_their_own(loading: Loading) -> None:
    """A comparison replaces the one of its time and reference, a standing the one of its detector;
    figures may be infinite."""
    one, _ = ids(loading)
    store, lease = loading.store, loading.lease
    first = [drift(one, 1), drift(one, 1, "season"), drift(one, 2)]
    standings = [Standing(one, d, False, 0, at(0), at(5)) for d in ("a", "b")]
    store.assess(lease, Assessment(one, drifts=tuple(first), standings=tuple(standings)))
    infinite = drift(one, 1, "season", shift=-math.inf, scale=math.inf, drifting=False)
    standing = Standing(one, "b", True, 2**63, at(3), at(6), "twice\na day")
    store.assess(lease, Assessment(one, drifts=(infinite,), standings=(replace(standing, latest=2**40),)))
    assert store.drifts("src", at(0)) == [first[0], infinite, first[2]]
    assert store.standings("src") == [standings[0], replace(standing, latest=2**40)]
    assert all(type(s.alerting) is bool for s in store.standings("src"))
    assert all(type(d.drifting) is bool for d in store.drifts("src", at(0)))


def test_a_sentence_may_quote_anything(loading: Loading) -> None:
    """What no table can hold is replaced in the sentence for the alert."""
    one, _ = ids(loading)
    standing = Standing(one, "zscore", True, 1, at(1), at(2), "a'b\x00µ\ud800")
    loading.store.assess(loading.lease, Assessment(one, standings=(standing,)))
    assert [s.detail for s in loading.store.standings("src")] == [storable(standing.detail)]


def test_questions_keep_to_their_window(loading: Loading) -> None:
    """Days that begin in [since, until), anomalies in (since, until], drift that ended after since."""
    one, _ = ids(loading)
    store = loading.store
    found = Assessment(
        one,
        days=tuple(QualityDay(one, at(24 * n)) for n in range(4)),
        anomalies=tuple(anomaly(one, h) for h in range(4)),
        drifts=tuple(drift(one, h) for h in range(4)),
    )
    store.assess(loading.lease, found)
    assert [d.day for d in store.quality("src", at(24), at(72))] == [at(24), at(48)]
    assert [d.day for d in store.quality("src", at(24) + 1, at(72) + 1)] == [at(48), at(72)]
    assert [a.time for a in store.anomalies("src", at(1), at(3))] == [at(2), at(3)]
    assert [d.time for d in store.drifts("src", at(1))] == [at(2), at(3)]
    assert list(store.anomalies("src", at(3), at(1))) == []


def test_many_findings_come_in_order(loading: Loading) -> None:
    """More than any store reads at once, none twice, none left out."""
    one, two = ids(loading)
    rows = 24_000
    for number in (one, two):
        found = tuple(anomaly(number, n / 3600) for n in range(rows // 2))
        loading.store.assess(loading.lease, Assessment(number, anomalies=found))
        found_days = tuple(QualityDay(number, n * DAY, good=n) for n in range(rows // 4))
        loading.store.assess(loading.lease, Assessment(number, days=found_days))
    seen = [(a.time, a.series_id) for a in loading.store.anomalies("src", *EVER)]
    assert seen == sorted(set(seen))
    assert len(seen) == rows
    asked = [(d.series_id, d.day) for d in loading.store.quality(None, *EVER)]
    assert asked == sorted(set(asked))
    assert len(asked) == rows // 2


def test_an_assessment_happens_entirely_or_not_at_all(loading: Loading) -> None:
    """A cadence that cannot be takes everything else with it."""
    one, _ = ids(loading)
    loading.commit([(S1, 12, 1.0)])
    bad = replace(full(one), pending=span(9, 12), cadences=(Cadence(one, at(0), 0.0),))
    with pytest.raises(LoaderError):
        loading.store.assess(loading.lease, bad)
    assert loading.store.pending("src") == [Pending(one, span(9, 12))]
    assert days(loading.store) == loading.store.standings("src") == []


def test_only_who_holds_the_source_may_write(loading: Loading) -> None:
    """A series of another source, findings about another series, and a lease that is gone are refused."""
    one, two = ids(loading)
    store = loading.store
    other = Loading(store, "other")
    with pytest.raises(StoreError, match="other"):
        store.assess(other.lease, full(one))
    with pytest.raises(StoreError, match="other"):
        store.put_flags(other.lease, one, *flags([(1, 4, 0)]))
    with pytest.raises(StoreError):
        store.assess(loading.lease, replace(full(one), anomalies=(anomaly(two, 3),)))
    loading.lease.release()
    for write in (
        lambda: store.assess(loading.lease, full(one)),
        lambda: store.put_flags(loading.lease, one, *flags([(1, 4, 0)])),
        lambda: store.put_model(loading.lease, model()),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert days(store) == store.models("src") == []


# Flags that change without a commit


def flags(rows: list[tuple[float, int, int]]) -> tuple[Any, Any, Any]:
    """(hour, flag, tests) as columns."""
    hour, flag, tests = zip(*rows, strict=True)
    return (
        np.array([at(h) for h in hour], np.int64),
        np.array(flag, np.uint8),
        np.array(tests, np.uint32),
    )


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


# Models


def test_a_model_replaces_the_older_one(loading: Loading) -> None:
    """Of the same station and detector; its bytes and the order of its sensors are kept."""
    other = Loading(loading.store, "other")
    data = bytes(range(256)) * 5000
    loading.store.put_model(loading.lease, model())
    loading.store.put_model(loading.lease, model("st0", sensors=()))
    other.store.put_model(other.lease, model(version="x"))
    loading.store.put_model(loading.lease, model(version="2", data=data, sensors=(9, 3, 7)))
    assert loading.store.models("src") == [
        model("st0", sensors=()),
        model(version="2", data=data, sensors=(9, 3, 7)),
    ]
    assert loading.store.models("other") == [model(version="x")]
    assert loading.store.models("nothing") == []


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
