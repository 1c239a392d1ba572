"""Partitions and their progress: coverage, holes, watermark, failures; register and reset."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import Loading, at, hole, partition, series, span
from stores import AnyStore

from loader.readings import Hole, Progress, Series

S1, S2 = series("s1"), series("s2")


@pytest.fixture
def loading(store: AnyStore) -> Loading:
    made = Loading(store)
    store.register(made.lease, [partition(S1), partition(S2)], at(0))
    return made


def test_a_registered_partition_starts_bare(loading: Loading) -> None:
    """It has its dates and series, no progress yet, and partitions come by name."""
    first, second = loading.store.partitions("src")
    assert (first.name, second.name) == ("p-s1", "p-s2")
    assert (first.station, first.series) == ("st1", (S1,))
    assert (first.discovered_at, first.listed_at) == (at(0), at(0))
    assert (first.watermark, first.swept_at, first.expired_to, first.last_error) == (None,) * 4
    assert (first.failures, first.coverage, first.holes, sum(first.delays)) == (0, (), (), 0)
    assert loading.store.partitions("other") == []


def test_registering_again_updates_the_description(loading: Loading) -> None:
    """Discovery keeps its date, progress stays, the listing's date and what describes series move."""
    loading.commit([(S1, 1, 1.0)], Progress("p-s1", cover=(span(0, 1),), watermark=at(1)))
    moved = replace(
        S1, station="st9", name="roof", timezone="Asia/Kathmandu", cadence_s=900.0, replaces="s0"
    )
    added = series("s1", parameter="no2")
    loading.store.register(loading.lease, [partition(moved, added)], at(5))
    state = loading.state()
    assert (state.discovered_at, state.listed_at, state.station) == (at(0), at(5), "st9")
    assert set(state.series) == {moved, added}
    assert (state.watermark, state.coverage) == (at(1), (span(0, 1),))
    assert loading.state("p-s2").listed_at == at(0)
    assert loading.commit([(moved, 1, 1.0)]).refetched == 1, "it is still the same series"
    bare = replace(moved, cadence_s=None, replaces=None)
    loading.store.register(loading.lease, [partition(bare)], at(6))
    assert bare in loading.state().series


def test_a_series_may_move_to_another_partition(loading: Loading) -> None:
    """It takes its readings along: they count as vanished where it is now, not where it was."""
    loading.commit([(S1, 1, 1.0)])
    moved = replace(S1, partition="p-s2")
    loading.store.register(loading.lease, [partition(moved)], at(5))
    assert loading.state("p-s1").series == ()
    assert set(loading.state("p-s2").series) == {moved, S2}
    assert loading.commit([], Progress("p-s1", read=(span(0, 9),))).vanished == 0
    assert loading.commit([], Progress("p-s2", read=(span(0, 9),))).vanished == 1


def test_sources_do_not_touch_each_other(loading: Loading) -> None:
    """The same partition and series names in another source are others."""
    loading.commit([(S1, 1, 1.0)], Progress("p-s1", cover=(span(0, 1),), watermark=at(1)))
    other = Loading(loading.store, "other")
    assert other.commit([(S1, 1, 5.0)], Progress("p-s1", cover=(span(0, 9),))).new == 1
    assert loading.state().coverage == (span(0, 1),)
    assert loading.commit([(S1, 1, 1.0)]).refetched == 1
    assert [s.source for s in loading.store.series(None)] == ["src", "src", "other"]
    assert [s.series for s in loading.store.series("other")] == [S1]


def test_what_was_never_listed_is_taken_all_the_same(loading: Loading) -> None:
    """A series or partition that first shows up in a batch is stored with it."""
    new = series("new", station="st7")
    loading.commit([(new, 1, 1.0)], Progress("p-new", cover=(span(0, 1),)), read_at=30)
    state = loading.state("p-new")
    assert (state.series, state.station, state.coverage) == ((new,), "st7", (span(0, 1),))
    assert (state.discovered_at, state.listed_at) == (at(30), at(30))


def test_a_batch_does_not_change_descriptions(loading: Loading) -> None:
    """A series in a batch is found by what identifies it; what it is called stays as listed."""
    loading.commit([(replace(S1, name="other", cadence_s=1.0), 1, 1.0)])
    assert loading.state().series == (S1,)


def test_coverage_grows_together(loading: Loading) -> None:
    """Windows touching or overlapping become one, those apart stay apart, in any order."""
    loading.commit([], Progress("p-s1", cover=(span(4, 6), span(0, 1))))
    assert loading.state().coverage == (span(0, 1), span(4, 6))
    loading.commit([], Progress("p-s1", cover=(span(8, 9), span(1, 2))))
    assert loading.state().coverage == (span(0, 2), span(4, 6), span(8, 9))
    loading.commit([], Progress("p-s1", cover=(span(5, 8.5),)), Progress("p-s2", cover=(span(3, 4),)))
    assert loading.state().coverage == (span(0, 2), span(4, 9))
    assert loading.state("p-s2").coverage == (span(3, 4),)
    loading.commit([], Progress("p-s1", cover=(span(5, 6),)))
    loading.commit([], Progress("p-s1", cover=(span(2, 4), span(2, 2))))
    assert loading.state().coverage == (span(0, 9),)


def test_holes_are_kept_cut_and_replaced(loading: Loading) -> None:
    """What is read is cut out of holes, and what is found replaces the holes it overlaps."""
    first = hole(0, 10, tries=3, isolated=True)
    loading.commit([], Progress("p-s1", holes=(first, hole(20, 21, next_try=None))))
    assert loading.state().holes == (first, hole(20, 21, next_try=None))
    loading.commit([], Progress("p-s1", read=(span(4, 6),)))
    parts = (replace(first, window=span(0, 4)), replace(first, window=span(6, 10)))
    assert loading.state().holes == (*parts, hole(20, 21, next_try=None))
    found = hole(8, 20.5, cause="timeout")
    loading.commit([], Progress("p-s1", read=(span(7, 9),), holes=(found,)))
    assert loading.state().holes == (
        parts[0],
        replace(first, window=span(6, 7)),
        found,
        hole(20.5, 21, next_try=None),
    )
    loading.commit([], Progress("p-s1", read=(span(-5, 30),)))
    assert loading.state().holes == ()
    assert loading.state().coverage == (), "reading alone does not cover"


def test_a_hole_found_where_was_read_stays(loading: Loading) -> None:
    """Holes of a batch are written after its reads have been applied."""
    loading.commit([], Progress("p-s1", read=(span(0, 10),), cover=(span(0, 10),), holes=(hole(2, 3),)))
    assert loading.state().holes == (hole(2, 3),)
    loading.commit([], Progress("p-s1", holes=(hole(2, 3, tries=2, next_try=None),)))
    assert loading.state().holes == (hole(2, 3, tries=2, next_try=None),)


def test_a_commit_without_news_of_holes_leaves_them(loading: Loading) -> None:
    """Covering time or raising the watermark does not touch holes."""
    loading.commit([], Progress("p-s1", holes=(hole(2, 3),)))
    loading.commit([(S1, 2.5, 1.0)], Progress("p-s1", cover=(span(0, 9),), watermark=at(9), ended=True))
    assert loading.state().holes == (hole(2, 3),)


def test_the_watermark_only_rises(loading: Loading) -> None:
    """A lower one, or none, leaves it; it belongs to one partition."""
    for given, kept in ((3, 3), (2, 3), (None, 3), (4, 4), (4, 4), (-1, 4)):
        loading.commit([], Progress("p-s1", watermark=None if given is None else at(given)))
        assert loading.state().watermark == at(kept)
    assert loading.state("p-s2").watermark is None


def test_sweeps_and_failures_are_noted(loading: Loading) -> None:
    """An ended task resets the failures or adds one, with its error; one under way does neither."""
    loading.commit([], Progress("p-s1", swept_at=at(3)))
    loading.commit([], Progress("p-s1", ended=True, error="first"))
    loading.commit([], Progress("p-s1", ended=True, error="second"))
    loading.commit([], Progress("p-s1", cover=(span(0, 1),)))
    state = loading.state()
    assert (state.swept_at, state.failures, state.last_error) == (at(3), 2, "second")
    loading.commit([], Progress("p-s1", swept_at=at(4), ended=True))
    state = loading.state()
    assert (state.swept_at, state.failures, state.last_error) == (at(4), 0, None)


def test_reset_goes_back_to_a_time(loading: Loading) -> None:
    """Coverage and holes after it are forgotten, what lies before and the readings stay."""
    early, late = hole(1, 2), hole(4, 8)
    for one in (S1, S2):
        loading.commit(
            [(one, h, 1.0) for h in range(10)],
            Progress(one.partition, cover=(span(0, 3), span(4, 10)), holes=(early, late), watermark=at(10)),
        )
    assert loading.store.reset(loading.lease, "p-s1", at(6)) == 1
    state = loading.state()
    assert (state.watermark, state.coverage) == (at(6), (span(0, 3), span(4, 6)))
    assert state.holes == (early, Hole(span(4, 6), late.cause, late.tries, late.next_try))
    assert loading.state("p-s2").watermark == at(10)
    assert loading.commit([(S1, 9.5, 1.0)]).late == 0, "its time is not covered any more"
    assert loading.store.reset(loading.lease, None, None) == 2
    for state in loading.store.partitions("src"):
        assert (state.watermark, state.coverage, state.holes) == (None, (), ())
    assert loading.commit([(S2, h, 1.0) for h in range(10)]).refetched == 10
    assert loading.store.reset(loading.lease, "unknown", None) == 0


def test_reset_leaves_other_sources(loading: Loading) -> None:
    """All partitions means all of the lease's source."""
    other = Loading(loading.store, "other")
    other.commit([(S1, 1, 1.0)], Progress("p-s1", cover=(span(0, 1),), watermark=at(1)))
    loading.store.reset(loading.lease, None, None)
    assert (other.state().watermark, other.state().coverage) == (at(1), (span(0, 1),))


def places_of(loading: Loading, one: Series) -> list[tuple[int, float, float]]:
    (number,) = (s.id for s in loading.store.series("src") if s.series.key == one.key)
    return loading.store.places([number])[number]


def test_a_place_is_a_row_only_when_it_changes(loading: Loading) -> None:
    """The same spot again adds nothing, a move adds a row, and coming back another."""
    here, there = (27.7, 85.3), (28.0, 85.0)
    for hour, spot in ((1, here), (2, here), (3, there), (4, there), (5, here)):
        loading.commit([], places=[(S1, hour, *spot)])
    assert places_of(loading, S1) == [(at(1), *here), (at(3), *there), (at(5), *here)]
    assert places_of(loading, S2) == []
    by_sensor = {s.series.sensor: (s.latitude, s.longitude) for s in loading.store.series("src")}
    assert by_sensor == {"s1": here, "s2": (None, None)}


def test_places_may_come_late_and_several_at_once(loading: Loading) -> None:
    """An older place goes before the known ones; neighbours in one spot are one row, the earlier."""
    here, there = (27.7, 85.3), (28.0, 85.0)
    loading.commit([], places=[(S1, 9, *here), (S1, 5, *there), (S1, 7, *here)])
    assert places_of(loading, S1) == [(at(5), *there), (at(7), *here)]
    loading.commit([], places=[(S1, 3, *there)])
    assert places_of(loading, S1) == [(at(3), *there), (at(7), *here)]
    loading.commit([], places=[(S1, 7, *there)])
    assert places_of(loading, S1)[0] == (at(3), *there)


def test_places_of_unknown_series_are_none(loading: Loading) -> None:
    """Asking for no series, or for one that is not there, is no error."""
    assert loading.store.places([]) == {}
    assert loading.store.places([10**6]).get(10**6, []) == []
