"""Limit events: put by window, asked for by time."""

from __future__ import annotations

from typing import Any

import pytest
from builders import Loading, at, series, span
from stores import AnyStore

from loader.errors import LeaseLost
from loader.journal import LimitEvent, Severity

S1, S2 = series("s1"), series("s2")


@pytest.fixture
def loading(store: AnyStore) -> Loading:
    loading = Loading(store)
    loading.commit([(S1, 1, 1.0), (S2, 1, 2.0)])
    return loading


def ids(loading: Loading) -> tuple[int, int]:
    found = {s.series.sensor: s.id for s in loading.store.series(loading.source)}
    return found["s1"], found["s2"]


def event(series_id: int, start: float, end: float | None, **more: Any) -> LimitEvent:
    given = {"level": Severity.WARNING, "threshold": 35.5, "peak": 40.25, "readings": 3, **more}
    return LimitEvent(series_id, from_time=at(start), to_time=None if end is None else at(end), **given)


def test_events_come_back_as_they_were_put(loading: Loading) -> None:
    """Both levels, lasting and ended, by series and time."""
    one, two = ids(loading)
    events = [
        event(one, 1, 2),
        event(one, 3, None, level=Severity.CRITICAL, threshold=-5.0, peak=-7.125, readings=1),
    ]
    loading.store.put_limit_events(loading.lease, two, span(0, 9), [event(two, 2, 2.5)])
    loading.store.put_limit_events(loading.lease, one, span(0, 9), events[::-1])
    assert loading.store.limit_events("src", at(0)) == [*events, event(two, 2, 2.5)]
    assert all(isinstance(e.level, Severity) for e in loading.store.limit_events(None, at(0)))


def test_a_window_replaces_what_begins_in_it(loading: Loading) -> None:
    """Its start is not in it, its end is; other series and other times stay."""
    one, two = ids(loading)
    put = loading.store.put_limit_events
    put(loading.lease, one, span(0, 9), [event(one, h, h + 0.5) for h in (1, 2, 3, 4)])
    put(loading.lease, two, span(0, 9), [event(two, 3, None)])
    put(loading.lease, one, span(1, 3), [event(one, 2.5, None)])
    found = loading.store.limit_events("src", at(0))
    assert found == [event(one, 1, 1.5), event(one, 2.5, None), event(one, 4, 4.5), event(two, 3, None)]
    put(loading.lease, one, span(2, 9), [])
    assert loading.store.limit_events("src", at(0)) == [event(one, 1, 1.5), event(two, 3, None)]


def test_putting_again_changes_nothing(loading: Loading) -> None:
    """The same events put twice are there once; a lasting one is ended by being put again."""
    one, _ = ids(loading)
    for end in (None, None, 5.0):
        loading.store.put_limit_events(loading.lease, one, span(0, 9), [event(one, 2, end)])
        assert loading.store.limit_events("src", at(0)) == [event(one, 2, end)]


def test_two_levels_may_begin_together(loading: Loading) -> None:
    """A value beyond the warning and the critical limit at once makes two events."""
    one, _ = ids(loading)
    both = [event(one, 2, None), event(one, 2, 3, level=Severity.CRITICAL, threshold=50.0)]
    loading.store.put_limit_events(loading.lease, one, span(0, 9), both)
    found = loading.store.limit_events("src", at(0))
    assert sorted(found, key=lambda e: e.threshold) == both


def test_what_ended_before_is_not_asked_for(loading: Loading) -> None:
    """Since a time: what ended after it, and everything that lasts, however long."""
    one, _ = ids(loading)
    events = [event(one, 1, 2), event(one, 3, 4), event(one, 5, None)]
    loading.store.put_limit_events(loading.lease, one, span(0, 9), events)
    for since, expected in (
        (1.9, events),
        (2, events[1:]),
        (3.5, events[1:]),
        (4, events[2:]),
        (99, events[2:]),
    ):
        assert loading.store.limit_events("src", at(since)) == expected


def test_events_belong_to_a_source(loading: Loading) -> None:
    """One source's are not another's, and all are listed without one."""
    one, _ = ids(loading)
    other = Loading(loading.store, "other")
    other.commit([(S1, 1, 1.0)])
    (its,) = (s.id for s in loading.store.series("other"))
    loading.store.put_limit_events(loading.lease, one, span(0, 9), [event(one, 1, None)])
    loading.store.put_limit_events(other.lease, its, span(0, 9), [event(its, 2, None)])
    assert loading.store.limit_events("other", at(0)) == [event(its, 2, None)]
    assert loading.store.limit_events(None, at(0)) == [event(one, 1, None), event(its, 2, None)]
    assert loading.store.limit_events("nobody", at(0)) == []


def test_events_need_the_lease_and_go_with_their_source(loading: Loading) -> None:
    """Forgetting the source deletes them, counted; without the lease nothing is put."""
    one, two = ids(loading)
    events = [event(one, h, None) for h in (1, 2)]
    loading.store.put_limit_events(loading.lease, one, span(0, 9), events)
    assert loading.store.forget(loading.lease)["limit_event"] == 2
    assert loading.store.limit_events(None, at(0)) == []
    loading.lease.release()
    with pytest.raises(LeaseLost, match="src"):
        loading.store.put_limit_events(loading.lease, two, span(0, 9), [event(two, 1, None)])
