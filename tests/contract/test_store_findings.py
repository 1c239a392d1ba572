"""What assessments find out: kept, replaced, asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from builders import Loading, at, series, span
from found import EVER, S1, S2, anomaly, assessed, days, drift, flags, full, ids, model
from stores import AnyStore

from loader.errors import LeaseLost, LoaderError, StoreError
from loader.findings import (
    Assessment,
    Cadence,
    FoundAnomaly,
    Pending,
    QualityDay,
    Standing,
)
from loader.readings import DAY, Window
from loader.sqltext import storable

Query = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def loading(store: AnyStore) -> Loading:
    return assessed(store)


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
    assert [d.series_id for d in store.quality("src", *EVER, [two, two + 1])] == [two]
    assert list(store.quality("src", *EVER, [])) == list(store.quality("other", *EVER, [one])) == []
    store.assess(loading.lease, full(two))
    assert query("SELECT count(*) FROM anomaly") == [(4,)]


def test_assessments_of_many_series_are_kept_together(loading: Loading) -> None:
    """Two series and two parts of one of them in one call: everything of each, the later cadences of the
    two, and both parts off the pending list; with a series of nobody among them nothing."""
    one, two = ids(loading)
    store = loading.store
    loading.commit([(S1, 20, 1.0), (S2, 20, 1.0)])
    part = Assessment(
        one, span(15, 20), days=(QualityDay(one, at(24)),), cadences=(Cadence(one, at(1), 60.0),)
    )
    found = (replace(full(one), pending=span(9, 15)), replace(full(two), pending=span(9, 12)), part)
    with pytest.raises(StoreError, match=str(two + 1)):
        store.assess(loading.lease, *found, Assessment(two + 1))
    assert days(store) == []
    store.assess(loading.lease, *found)
    assert days(store) == [*found[0].days, *part.days, *found[1].days]
    assert store.cadences("src") == {one: part.cadences, two: found[1].cadences}
    assert comparable(store) == [plain(anomaly(n, hour)) for hour in (3, 4) for n in (one, two)]
    assert store.drifts("src", at(0)) == [drift(one, 8), drift(two, 8)]
    assert store.standings("src") == [*found[0].standings, *found[1].standings]
    assert store.pending("src") == [Pending(two, span(12, 20))]
    judged = Assessment(two, judged={"zscore": span(3, 9)})
    store.assess(loading.lease, Assessment(one, judged={"zscore": span(0, 3)}), judged)
    assert comparable(store) == [plain(anomaly(two, 3)), plain(anomaly(one, 4))]


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
