"""Retention: what is deleted and what stays, that it is never fetched again, and kills midway."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import Loading, at, hole, partition, readings, series, span, values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import AnyStore, StoreCase
from test_store_runs import acquired

from loader.contracts import DIED
from loader.errors import LeaseLost
from loader.journal import Cutoffs
from loader.readings import Progress, Reject
from loader.records import Counts, Outcome, RunReport
from tests.checks import Checks

Query = Callable[[str], list[tuple[Any, ...]]]
Reopen = Callable[[], AnyStore]
S1, S2 = series("s1"), series("s2")
HERE = Path(__file__).parent


@pytest.fixture
def loading(store: AnyStore) -> Loading:
    """Two sensors with readings of hours 0 to 9, covered from -1 to 9."""
    loading = Loading(store)
    for one in (S1, S2):
        loading.commit(
            [(one, h, float(h)) for h in range(10)],
            Progress(one.partition, cover=(span(-1, 9),), watermark=at(9)),
        )
    return loading


def deleted(found: dict[str, int]) -> dict[str, int]:
    return {table: rows for table, rows in found.items() if rows}


def prune(loading: Loading, **cutoffs: int | None) -> dict[str, int]:
    """Prune; what was deleted, which is what was promised."""
    store, wanted = loading.store, Cutoffs(**cutoffs)
    promised = deleted(store.prunable(loading.source, wanted))
    done = deleted(store.prune(loading.lease, wanted))
    assert done == promised
    assert deleted(store.prunable(loading.source, wanted)) == {}
    return done


def test_readings_go_up_to_the_cutoff(loading: Loading) -> None:
    """That of the cutoff itself goes too, what is after it stays; watermarks stay where they are."""
    assert prune(loading, readings=at(4)) == {"reading": 10}
    left = {(s, float(h)): float(h) for s in ("s1", "s2") for h in range(5, 10)}
    assert values(loading.store) == left
    for state in loading.store.partitions("src"):
        assert (state.expired_to, state.watermark, state.coverage) == (at(4), at(9), (span(4, 9),))
    assert [(s.first_time, s.last_time) for s in loading.store.series("src")] == [(at(5), at(9))] * 2
    assert prune(loading, readings=at(4)) == {}
    assert values(loading.store) == left


def test_nothing_is_deleted_without_a_cutoff(loading: Loading, query: Query) -> None:
    """No cutoffs, or such that nothing is old enough for, delete nothing."""
    loading.commit([(S1, 3, 7.0)], rejects=[Reject("p-s1", "schema", "bad", b"x")])
    loading.finish()
    before = readings(loading.store)
    assert prune(loading) == {}
    assert loading.state().expired_to is None
    early = at(-5)
    assert (
        prune(loading, readings=early, revisions=early, runs=early, batches=early, quarantine=early) == {}
    )
    assert loading.state().coverage == (span(-1, 9),)
    assert readings(loading.store) == before
    assert query("SELECT count(*) FROM batch") == [(3,)]


def test_series_whose_readings_are_all_gone_stay_known(loading: Loading) -> None:
    """Without a first reading, but with the time of the last; they take new ones as before."""
    assert prune(loading, readings=at(20)) == {"reading": 20}
    assert values(loading.store) == {}
    first, second = loading.store.series("src")
    assert (first.first_time, first.last_time) == (None, at(9))
    assert (first.series, second.series) == (S1, S2)
    assert loading.state().coverage == ()
    assert loading.commit([(S1, 21, 1.0), (S1, 19, 1.0)]) == Counts(fetched=2, new=1, expired=1)
    first, _ = loading.store.series("src")
    assert (first.first_time, first.last_time) == (at(21), at(21))


def test_what_has_expired_does_not_come_back(loading: Loading) -> None:
    """A source that serves it again has it counted, not stored; nor do the windows return."""
    prune(loading, readings=at(4))
    loading.finish()
    loading.begin()
    counts = loading.commit(
        [(S1, h, float(h)) for h in range(12)] + [(S2, 4, 4.0), (S2, 4.5, 4.5)],
        Progress("p-s1", read=(span(-1, 11),), cover=(span(-1, 11),), watermark=at(11)),
        Progress("p-s2", cover=(span(0, 2), span(3, 4)), holes=(hole(0, 2), hole(3, 6), hole(7, 8))),
    )
    assert counts == Counts(fetched=14, expired=6, refetched=5, new=3, late=1)
    late = {("s2", 4.5): 4.5}
    kept = {("s2", float(h)): float(h) for h in range(5, 10)}
    assert values(loading.store) == {("s1", float(h)): float(h) for h in range(5, 12)} | late | kept
    one, two = loading.store.partitions("src")
    assert (one.coverage, one.watermark, one.expired_to) == ((span(4, 11),), at(11), at(4))
    assert (two.coverage, two.holes) == ((span(4, 9),), (hole(4, 6), hole(7, 8)))
    assert loading.finish().counts.expired == 6


def test_an_expired_change_is_no_revision(loading: Loading, query: Query) -> None:
    """A changed value of a time that has expired is counted and dropped, its checker not asked."""
    prune(loading, readings=at(9))
    counts = loading.commit([(S1, 3, 77.0), (S1, 9, None)], check=Checks(lambda *_: pytest.fail("asked")))
    assert counts == Counts(fetched=2, expired=2)
    assert query("SELECT count(*) FROM revision") == [(0,)]
    assert values(loading.store) == {}


def test_a_replayed_record_may_have_expired(loading: Loading) -> None:
    """It is counted, and its row in the quarantine names the run that answered it."""
    loading.commit(rejects=[Reject("p-s1", "schema", "bad", b"x", at(3))])
    prune(loading, readings=at(4))
    (bad,) = loading.store.quarantined("src", 9)
    assert loading.commit([(S1, 3, 1.0)], replay=[bad.digest]) == Counts(fetched=1, expired=1)
    (bad,) = loading.store.quarantined("src", 9)
    assert bad.replayed_by == loading.run


def test_expired_readings_do_not_vanish(loading: Loading) -> None:
    """Whatever is still stored of expired time, nobody asked the source for it."""
    prune(loading, readings=at(4))
    loading.commit([(series("s4", partition="p-s4"), h, 1.0) for h in (1, 5)])
    moved = series("s4", partition="p-s1")
    loading.store.register(loading.lease, [partition(S1, moved)], at(9))
    counts = loading.commit([], Progress("p-s1", read=(span(-1, 6),)), listed=[S1, moved])
    assert counts.vanished == 3, "hours 5 and 6 of the one, hour 5 of the other"


def test_only_partitions_that_were_there_have_expired(loading: Loading) -> None:
    """One that is found later may still be read back as far as the next prune allows."""
    prune(loading, readings=at(4))
    new = series("new")
    assert loading.commit([(new, 1, 1.0)], Progress("p-new", cover=(span(0, 5),))).new == 1
    assert loading.state("p-new").expired_to is None
    assert prune(loading, readings=at(4)) == {"reading": 1}
    assert (loading.state("p-new").expired_to, loading.state("p-new").coverage) == (at(4), (span(4, 5),))


def test_expiry_never_goes_back(loading: Loading) -> None:
    """A longer retention deletes nothing more and asks for nothing back; a shorter one goes on."""
    prune(loading, readings=at(4))
    assert prune(loading, readings=at(2)) == {}
    assert loading.state().expired_to == at(4)
    assert loading.commit([(S1, 3, 1.0)]).expired == 1
    assert prune(loading, readings=at(6)) == {"reading": 4}
    assert (loading.state().expired_to, loading.state().coverage) == (at(6), (span(6, 9),))


def test_a_reset_does_not_undo_expiry_but_forgetting_does(loading: Loading) -> None:
    """What was pruned stays away until the source itself is forgotten."""
    prune(loading, readings=at(4))
    loading.store.reset(loading.lease, None, None)
    assert loading.state().expired_to == at(4)
    assert loading.commit([(S1, 3, 1.0)]).expired == 1
    loading.store.forget(loading.lease)
    loading.begin()
    assert loading.commit([(S1, 3, 1.0)]).new == 1


def test_holes_are_cut_at_the_cutoff(loading: Loading) -> None:
    """One across it keeps cause and tries; one before it is gone."""
    across = hole(3, 6, tries=3, isolated=True)
    loading.commit([], Progress("p-s1", holes=(hole(0, 2), across, hole(7, 8, next_try=None))))
    prune(loading, readings=at(4))
    left = (hole(4, 6, tries=3, isolated=True), hole(7, 8, next_try=None))
    assert loading.state().holes == left
    loading.commit([], Progress("p-s1", read=(span(-1, 5),)))
    assert loading.state().holes == (hole(5, 6, tries=3, isolated=True), left[1])


def test_places_stay_for_what_is_left(loading: Loading) -> None:
    """A series that has not moved since still has its place after the reading with it is gone."""
    loading.commit([], places=[(S1, 1, 27.7, 85.3), (S1, 7, 28.0, 85.0)])
    prune(loading, readings=at(4))
    known = loading.store.series("src")[0]
    places = loading.store.places([known.id])[known.id]
    assert [p for p in places if p[0] <= at(5)][-1] == (at(1), 27.7, 85.3)
    assert places[-1] == (at(7), 28.0, 85.0)


def test_revisions_have_a_cutoff_of_their_own(loading: Loading, query: Query) -> None:
    """By the reading's time; pruned readings leave their revisions."""
    loading.commit([(S1, h, 70.0 + h) for h in (1, 2, 3, 6)])
    assert prune(loading, readings=at(4)) == {"reading": 10}
    assert query("SELECT count(*) FROM revision") == [(4,)]
    assert prune(loading, revisions=at(2)) == {"revision": 2}
    assert prune(loading, revisions=at(20)) == {"revision": 2}
    assert len(values(loading.store)) == 10


def end(loading: Loading, hour: float) -> int:
    """End the run at that hour and begin another; the id of the ended one."""
    ended = loading.run
    report = RunReport(ended, loading.source, "test", at(0), at(hour), Outcome.OK)
    loading.store.finish_run(loading.lease, report)
    loading.begin()
    return ended


def test_runs_go_with_their_batches(loading: Loading, query: Query) -> None:
    """By when they ended, skipped ones too; the sums of the runs left and the readings stay."""
    first = end(loading, 1)
    loading.commit([(S1, 10, 1.0)])
    second = end(loading, 3)
    loading.store.record_skipped("src", "schedule", at(1), Outcome.SKIPPED, "x")
    before = readings(loading.store)
    assert prune(loading, runs=at(1)) == {"run": 2, "batch": 2}
    left = {r.id: r.counts.new for r in loading.store.runs("src", 9)}
    assert left == {second: 1, loading.run: 0}
    assert first not in left
    assert query(f"SELECT count(*) FROM batch WHERE run_id = {second}") == [(1,)]
    assert readings(loading.store) == before


def test_batches_go_without_their_runs(loading: Loading, query: Query) -> None:
    """A run keeps its counts; how it came to them is gone."""
    ended = end(loading, 1)
    assert prune(loading, batches=at(10**6)) == {"batch": 2}
    assert {r.id: r.counts.new for r in loading.store.runs("src", 9)} == {ended: 20, loading.run: 0}
    assert query("SELECT count(*) FROM batch") == [(0,)]


def test_the_run_under_way_keeps_everything(loading: Loading, query: Query) -> None:
    """However short retention is; when it dies, it is closed with the whole of its sums."""
    every = at(10**6)
    wanted = Cutoffs(runs=every, batches=every, quarantine=every, revisions=every)
    assert deleted(loading.store.prune(loading.lease, wanted)) == {}
    assert query("SELECT count(*) FROM batch") == [(2,)]
    loading.lease.release()
    loading.store.acquire("src").release()
    (run,) = loading.store.runs("src", 9)
    assert (run.outcome, run.counts.new, run.error) == (Outcome.INTERRUPTED, 20, DIED)


def test_quarantine_goes_by_its_last_sighting(loading: Loading) -> None:
    """A record that still comes stays, however long it has been known."""
    old, again = Reject("p-s1", "schema", "bad", b"old", at(3)), Reject("p-s1", "schema", "bad", b"again")
    loading.commit(rejects=[old, again], read_at=50)
    loading.commit(rejects=[again], read_at=60)
    assert prune(loading, quarantine=at(49)) == {}
    assert prune(loading, quarantine=at(50)) == {"quarantine": 1}
    assert [q.payload for q in loading.store.quarantined("src", 9)] == [b"again"]
    assert prune(loading, quarantine=at(60)) == {"quarantine": 1}


def test_another_source_keeps_its_own(loading: Loading) -> None:
    """Pruning is for the lease's source alone, and needs the lease."""
    other = Loading(loading.store, "other")
    other.commit(
        [(S1, h, 5.0) for h in range(10)],
        Progress("p-s1", cover=(span(0, 9),)),
        rejects=[Reject("p-s1", "schema", "bad", b"x")],
        read_at=1,
    )
    other.commit([(S1, 1, 6.0)])
    end(other, 1)
    end(loading, 1)
    kept, state = readings(other.store, "other"), other.state()
    cutoff = at(9)
    prune(loading, readings=cutoff, revisions=cutoff, runs=cutoff, batches=at(10**6), quarantine=cutoff)
    assert (readings(other.store, "other"), other.state()) == (kept, state)
    assert len(loading.store.quarantined("other", 9)) == 1
    assert len(loading.store.runs("other", 9)) == 2
    every = Cutoffs(cutoff, cutoff, cutoff, at(10**6), cutoff)
    assert deleted(loading.store.prunable("other", every)) == {
        "reading": 10, "revision": 1, "run": 1, "batch": 2, "quarantine": 1
    }  # fmt: skip
    loading.lease.release()
    with pytest.raises(LeaseLost, match="src"):
        loading.store.prune(loading.lease, every)


PRUNE = """
import sys
from stores import by_name
from loader.journal import Cutoffs
store = by_name(sys.argv[1]).open(sys.argv[2])
lease = store.acquire("src")
print("ready", flush=True)
store.prune(lease, Cutoffs(readings=int(sys.argv[3])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("gone", [1, 100_001])
def test_a_prune_killed_midway_is_finished_by_the_next(
    case: StoreCase, address: str, reopen: Reopen, query: Query, gone: int
) -> None:
    """At no time is there coverage of what was deleted, or a wrong first time; the next call does
    what is left, and in the end only what is after the cutoff is there."""
    store, rows, cutoff = reopen(), 90_000, at(1400)
    loading = Loading(store)
    for one in (S1, S2):
        loading.commit(
            [(one, h / 60, 1.0) for h in range(1, rows + 1)],
            Progress(one.partition, cover=(span(0, rows / 60),)),
        )
    loading.finish()
    loading.lease.release()
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    process = subprocess.Popen(
        [sys.executable, "-c", PRUNE, case.name, address, str(cutoff)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    while process.poll() is None and query("SELECT count(*) FROM reading")[0][0] > 2 * rows - gone:
        pass
    process.kill()
    process.communicate(timeout=60)
    loading = acquired(store)
    ((left,),) = query("SELECT count(*) FROM reading")
    assert left < 2 * rows
    assert {(s.expired_to, s.coverage) for s in store.partitions("src")} == {
        (cutoff, (span(1400, rows / 60),))
    }
    known = store.series("src")
    for one in known:
        first = next(store.scan([one.id], span(-1, 10_000)))
        assert one.first_time == first.time[0]
    done = prune(loading, readings=cutoff)
    assert done.get("reading", 0) == left - 2 * 6_000
    assert query("SELECT count(*) FROM reading") == [(2 * 6_000,)]
    assert {s.first_time for s in store.series("src")} == {at(1400 + 1 / 60)}


hours = st.integers(0, 12)


@settings(
    max_examples=25,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    steps=st.lists(
        st.tuples(st.just("prune"), hours)
        | st.tuples(st.just("read"), st.dictionaries(hours, st.sampled_from([1.0, 2.0, None]), max_size=9)),
        max_size=12,
    )
)
def test_any_reads_and_prunes_keep_to_the_model(
    case: StoreCase, address: str, steps: list[tuple[str, Any]]
) -> None:
    """Nothing at or before the highest cutoff so far is ever there or covered, all else is."""
    store = case.open(address)
    loading = Loading(store)
    try:
        loading.commit([], listed=[S1])
        truth: dict[tuple[str, float], float | None] = {}
        expired = covered_to = -1
        total = Counts()
        for what, given_now in steps:
            if what == "prune":
                gone = [k for k in truth if k[1] <= given_now]
                assert prune(loading, readings=at(given_now)).get("reading", 0) == len(gone)
                truth = {k: v for k, v in truth.items() if k not in gone}
                expired = max(expired, given_now)
            else:
                served = {("s1", float(h)): v for h, v in given_now.items()}
                covered_to = max(covered_to, *given_now, -1)
                total += loading.commit(
                    [(S1, h, v) for h, v in given_now.items()],
                    Progress("p-s1", cover=(span(-1, covered_to),)),
                )
                truth |= {k: v for k, v in served.items() if k[1] > expired}
            assert values(store) == truth
            state = loading.state()
            assert state.coverage == ((span(expired, covered_to),) if covered_to > expired else ())
            assert state.expired_to == (at(expired) if expired >= 0 else None)
            (known,) = store.series("src")
            first = min((h for _, h in truth), default=None)
            assert known.first_time == (None if first is None else at(first))
        assert total.fetched == total.new + total.refetched + total.revised + total.expired
    finally:
        store.forget(loading.lease)
        loading.lease.release()
        store.close()
