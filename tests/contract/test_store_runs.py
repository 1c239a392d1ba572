"""Leases and runs: one writer per source, and sums that hold however a process ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from builders import ZERO, Loading, at, partition, series, span, values
from stores import AnyStore, StoreCase

from loader.contracts import DIED
from loader.errors import LeaseHeld, LeaseLost
from loader.readings import Progress, Reject
from loader.records import COUNT_NAMES, Counts, Outcome, RunReport
from tests.checks import good

Query = Callable[[str], list[tuple[Any, ...]]]
Reopen = Callable[[], AnyStore]
S1, S2 = series("s1"), series("s2")
HERE = Path(__file__).parent


@contextmanager
def holder(case: StoreCase, address: str, where: str) -> Iterator[subprocess.Popen[str]]:
    """A real process that holds the lease of `src`; killed at the end in any case."""
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    process = subprocess.Popen(
        [sys.executable, str(HERE / "holder.py"), case.name, address, "src", where],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdin
    assert process.stdout
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait(30)
        process.stdin.close()
        process.stdout.close()


def acquired(store: AnyStore, within_s: float = 60) -> Loading:
    """The lease of `src`, as soon as the system has noticed that its holder died."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return Loading(store)
        except LeaseHeld:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def test_a_lease_has_one_holder(reopen: Reopen) -> None:
    """A second taker is refused at once, with the source's name; another source is free."""
    first, second = reopen(), reopen()
    lease = first.acquire("src")
    assert lease.source == "src"
    for taker in (first, second):
        with pytest.raises(LeaseHeld, match="src"):
            taker.acquire("src")
    second.acquire("other").release()
    lease.release()
    lease.release()
    for taker in (second, first) * 10:
        taker.acquire("src").release()


def test_odd_source_names_have_leases_of_their_own(store: AnyStore) -> None:
    """Whatever a source is called, its lease works and is nobody else's."""
    names = ["src", "Src", "src/../x", "a b", "", "é" * 80, "x" * 300]
    leases = [store.acquire(name) for name in names]
    for name in names:
        with pytest.raises(LeaseHeld):
            store.acquire(name)
    for lease in leases:
        lease.release()


def test_closing_the_store_gives_the_lease_back(reopen: Reopen) -> None:
    """Nothing stays locked behind a store that was closed; closing twice is harmless."""
    first, second = reopen(), reopen()
    first.acquire("src")
    first.close()
    first.close()
    second.acquire("src").release()


def test_nothing_is_written_without_the_lease(store: AnyStore, query: Query) -> None:
    """After the release every writing method refuses, and nothing has changed."""
    loading = Loading(store)
    loading.commit([(S1, 1, 1.0)], rejects=[Reject("p-s1", "schema", "bad", b"x")])
    (bad,) = store.quarantined("src", 1)
    loading.lease.release()
    report = RunReport(loading.run, "src", "test", ZERO, at(1), Outcome.OK)
    attempts: list[Callable[[], object]] = [
        lambda: store.begin_run(loading.lease, "test", ZERO),
        lambda: store.finish_run(loading.lease, report),
        lambda: store.register(loading.lease, [partition(S2)], ZERO),
        lambda: store.commit(loading.lease, loading.batch([(S1, 2, 1.0)]), good),
        lambda: store.reset(loading.lease, None, None),
        lambda: store.forget(loading.lease),
        lambda: store.drop_quarantined(loading.lease, [bad.digest]),
    ]
    for attempt in attempts:
        with pytest.raises(LeaseLost, match="src"):
            attempt()
    assert values(store) == {("s1", 1): 1.0}
    assert len(store.quarantined("src", 9)) == 1
    assert query("SELECT count(*) FROM run WHERE finished IS NULL") == [(1,)]


def test_a_lease_is_for_its_source_only(store: AnyStore, query: Query) -> None:
    """A batch of one source cannot be written under the lease of another."""
    mine, other = Loading(store), Loading(store, "other")
    with pytest.raises(LeaseLost):
        store.commit(other.lease, mine.batch([(S1, 1, 1.0)]), good)
    assert query("SELECT count(*) FROM reading") == [(0,)]


def test_a_killed_holder_leaves_lease_and_sums_behind(
    case: StoreCase, address: str, reopen: Reopen, query: Query
) -> None:
    """While it lives nobody gets in; after SIGKILL the next one does, and closes the run it left as
    interrupted with the sum of what was committed."""
    store = reopen()
    with holder(case, address, "commits") as process:
        with pytest.raises(LeaseHeld):
            store.acquire("src")
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        loading = acquired(store)
    newest, left = store.runs("src", 10)
    assert newest.outcome is None
    assert left.outcome is Outcome.INTERRUPTED
    assert left.finished is not None
    assert left.finished >= left.started
    assert left.error == DIED
    assert left.counts == Counts(fetched=2, new=2)
    assert loading.commit([(S1, 1, 1.0), (S1, 3, 1.0)]).new == 1
    assert query("SELECT count(*) FROM reading") == [(3,)]


def test_a_holder_killed_inside_a_commit_leaves_nothing_of_it(
    case: StoreCase, address: str, reopen: Reopen, query: Query
) -> None:
    """What was committed before stands; of the transaction under way there is no trace."""
    store = reopen()
    with holder(case, address, "inside") as process:
        assert values(store) == {("s1", 1): 1.0, ("s1", 2): 2.0}
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        loading = acquired(store)
    assert values(store) == {("s1", 1): 1.0, ("s1", 2): 2.0}
    assert (loading.state().coverage, loading.state().watermark) == ((span(0, 2),), None)
    assert query("SELECT count(*) FROM revision") == [(0,)]
    assert query("SELECT count(*) FROM batch") == [(1,)]
    counts = loading.commit([(S1, 2, 2.5), (S1, 3, 3.0)])
    assert (counts.new, counts.revised) == (1, 1)


def test_a_run_is_recorded_with_the_sum_of_its_batches(store: AnyStore, query: Query) -> None:
    """Counts come from the batches; only requests, errors and bytes of the report are added to them."""
    loading = Loading(store)
    carried = Counts(
        fetched=3, duplicate=1, due=5, observed=4, inconsistent=2, requests=7, errors=1, bytes=100
    )
    loading.commit([(S1, 1, 1.0), (S1, 2, None)], counts=carried)
    loading.commit([(S1, 1, 2.0), (S1, 2, None)], counts=carried)
    (open_run,) = store.runs("src", 5)
    assert (open_run.id, open_run.finished, open_run.outcome) == (loading.run, None, None)
    done = loading.finish(
        counts=Counts(new=999, expired=999, requests=2, errors=3, bytes=30),
        partitions_ok=3,
        partitions_failed=1,
        slowest_request_s=1.5,
        quality=87.5,
        error="one partition failed",
    )
    expected = Counts(
        fetched=6,
        new=2,
        duplicate=2,
        refetched=1,
        revised=1,
        missing=1,
        due=10,
        observed=8,
        inconsistent=4,
        requests=16,
        errors=5,
        bytes=230,
    )
    assert done.counts == expected
    assert (done.source, done.trigger, done.started, done.finished) == ("src", "test", ZERO, at(1))
    assert (done.outcome, done.partitions_ok, done.partitions_failed) == (Outcome.OK, 3, 1)
    assert (done.slowest_request_s, done.quality, done.error) == (1.5, 87.5, "one partition failed")
    columns = ", ".join(COUNT_NAMES)
    (row,) = query(f"SELECT {columns} FROM run")
    assert Counts(*(int(n) for n in row)) == expected


def test_a_commit_carries_the_counts_it_was_given(store: AnyStore) -> None:
    """What the batch knows comes back untouched beside what the store counts."""
    given = Counts(
        fetched=9,
        duplicate=2,
        quarantined=3,
        due=5,
        observed=4,
        inconsistent=1,
        requests=7,
        errors=3,
        bytes=2**40,
    )
    counts = Loading(store).commit([(S1, 1, 1.0)], counts=given)
    assert counts == given + Counts(new=1)


def test_the_sums_hold(store: AnyStore, query: Query) -> None:
    """Over finished, interrupted and failed runs: new = rows of readings, revised = rows of revisions."""
    for run in range(4):
        loading = Loading(store)
        loading.commit([(S1, run + h, float(run)) for h in range(3)])
        loading.commit([(S2, run, 1.0), (S1, run + 1, 7.5)])
        if run % 2:
            loading.finish()
        loading.lease.release()
    store.acquire("src").release()
    sums = query("SELECT sum(new), sum(revised) FROM run")[0]
    rows = query("SELECT count(*) FROM reading")[0] + query("SELECT count(*) FROM revision")[0]
    assert tuple(int(n) for n in sums) == rows
    assert [r.outcome for r in store.runs("src", 9)] == [Outcome.OK, Outcome.INTERRUPTED] * 2


def test_only_runs_of_the_same_source_are_closed(reopen: Reopen) -> None:
    """Taking a lease ends what its own source left open, nothing else, and nothing twice."""
    first, second = reopen(), reopen()
    Loading(first, "other")
    Loading(first, "src").lease.release()
    second.acquire("src").release()
    second.acquire("src").release()
    assert [r.outcome for r in second.runs("src", 9)] == [Outcome.INTERRUPTED]
    assert [r.outcome for r in second.runs("other", 9)] == [None]


def test_runs_that_did_not_take_place_are_recorded_without_a_lease(reopen: Reopen) -> None:
    """While another holds the lease, a skipped run is one finished row with its reason."""
    first, second = reopen(), reopen()
    Loading(first)
    second.record_skipped("src", "schedule", at(3), Outcome.SKIPPED, "still running")
    skipped, running = second.runs("src", 9)
    assert (skipped.trigger, skipped.outcome, skipped.error) == (
        "schedule",
        Outcome.SKIPPED,
        "still running",
    )
    assert (skipped.started, skipped.finished, skipped.counts) == (at(3), at(3), Counts())
    assert running.outcome is None


def test_runs_come_newest_first(store: AnyStore) -> None:
    """Of one source or of all, and no more than asked for."""
    for source in ("a", "b", "a"):
        loading = Loading(store, source)
        loading.finish()
        loading.lease.release()
    every = store.runs(None, 10)
    assert [r.source for r in every] == ["a", "b", "a"]
    assert [r.id for r in every] == sorted((r.id for r in every), reverse=True)
    assert len(store.runs("a", 10)) == 2
    assert [r.id for r in store.runs("a", 1)] == [every[0].id]


def test_sources_are_those_with_a_partition_or_a_run(store: AnyStore) -> None:
    """Each once, sorted; taking a lease alone makes none."""
    store.acquire("nothing")
    store.record_skipped("z", "schedule", ZERO, Outcome.MISSED, "off")
    loading = Loading(store, "b")
    loading.commit([(S1, 1, 1.0)])
    lease = store.acquire("a")
    store.register(lease, [partition(S1)], ZERO)
    assert store.sources() == ["a", "b", "z"]


def test_forget_deletes_one_source_whole(store: AnyStore, query: Query) -> None:
    """Every row of the source goes, counted by table, and another source keeps all of its own."""
    loading, other = Loading(store), Loading(store, "other")
    for one in (loading, other):
        one.commit(
            [(S1, h, 1.0) for h in range(5)], Progress("p-s1", cover=(span(-1, 9),), watermark=at(5))
        )
        one.commit(
            [(S1, 2, 2.0), (S1, 2.5, 1.0)],
            places=[(S1, 0, 1.0, 2.0)],
            rejects=[Reject("p-s1", "schema", "bad", b"x")],
        )
        one.finish()
    state, kept = other.state(), values(store, "other")
    deleted = store.forget(loading.lease)
    wanted = {"reading": 6, "revision": 1, "series": 1, "partition": 1, "coverage": 1, "place": 1,
              "quarantine": 1, "lateness": 1, "run": 1, "batch": 2, "pending": 1, "quality": 1}  # fmt: skip
    assert {table: deleted.get(table) for table in wanted} == wanted
    assert sum(deleted.values()) == sum(wanted.values())
    for table, rows in wanted.items():
        assert query(f"SELECT count(*) FROM {table}") == [(rows,)], table
    assert store.sources() == ["other"]
    assert (other.state(), values(store, "other")) == (state, kept)
    assert sum(store.forget(loading.lease).values()) == 0


def test_a_forgotten_source_starts_anew(reopen: Reopen) -> None:
    """Loading it again works, in the store that forgot it and in one that was open all the while."""
    first, second = reopen(), reopen()
    for _ in range(2):
        loading = Loading(first)
        assert loading.commit([(S1, 1, 1.0), (S2, 1, 2.0)]).new == 2
        assert values(first) == values(second) == {("s1", 1): 1.0, ("s2", 1): 2.0}
        loading.lease.release()
        lease = second.acquire("src")
        second.forget(lease)
        lease.release()
    loading = Loading(second)
    assert loading.commit([(S1, 1, 1.0)]).new == 1
    second.forget(loading.lease)
    loading.begin()
    assert loading.commit([(S2, 1, 1.0)]).new == 1
    assert values(first) == {("s2", 1): 1.0}


def test_forget_goes_through_many_rows(store: AnyStore, query: Query) -> None:
    """More rows than one transaction deletes go as well."""
    loading = Loading(store)
    for one in (S1, S2):
        loading.commit([(one, h / 60, 1.0) for h in range(60_000)])
    assert store.forget(loading.lease)["reading"] == 120_000
    assert query("SELECT count(*) FROM reading") == [(0,)]


def test_what_was_written_is_there_after_reopening(reopen: Reopen) -> None:
    """Ledger, readings and runs outlive the store object."""
    store = reopen()
    loading = Loading(store)
    loading.commit([(S1, 1, 1.0)], Progress("p-s1", cover=(span(0, 1),), watermark=at(1)))
    state, runs, known = loading.state(), store.runs(None, 9), store.series(None)
    store.close()
    again = reopen()
    again.migrate()
    assert again.partitions("src") == [state]
    assert (again.runs(None, 9), again.series(None)) == (runs, known)
    assert values(again) == {("s1", 1): 1.0}


def test_facts_and_address_are_for_people(store: AnyStore) -> None:
    """They name the product and the schema's version, as text."""
    facts = store.facts()
    assert all(isinstance(v, str) and v for v in facts.values())
    assert int(facts["schema"]) >= 1
    assert facts["product"]
    assert facts["size"]
    assert "://" in store.url


@pytest.mark.slow
def test_several_may_migrate_at_once(case: StoreCase, tmp_path: Path) -> None:
    """Four processes that open an empty place together all find a working store."""
    script = (
        "import sys; from stores import by_name;"
        "store = by_name(sys.argv[1]).open(sys.argv[2]);"
        "store.record_skipped('src', 'test', 1, 'skipped', 'x'); store.close()"
    )
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    address = case.bare(tmp_path)
    command = [sys.executable, "-c", script, case.name, address]
    many = [
        subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    outcomes = [(p.communicate(timeout=60)[1], p.returncode) for p in many]
    assert outcomes == [("", 0)] * 4
    store = case.open(address)
    try:
        assert len(store.runs("src", 9)) == 4
    finally:
        store.close()
        case.drop(address)
