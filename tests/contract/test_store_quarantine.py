"""Records that could not become readings: kept once, counted, replayed, dropped."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from builders import Loading, at, series, span
from stores import AnyStore

from loader.readings import Progress, Reject
from tests.checks import Checks

BAD = Reject("p-s1", "schema", "value: expected a number", b'{"value": "x"}', at(3))


def digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


@pytest.fixture
def loading(store: AnyStore) -> Loading:
    return Loading(store)


def test_a_reject_is_kept_whole(loading: Loading) -> None:
    """Rule, reason, payload and time come back, with the run and the moment of reading."""
    assert loading.commit(rejects=[BAD], read_at=50).quarantined == 1
    (kept,) = loading.store.quarantined("src", 10)
    assert (kept.source, kept.partition, kept.rule, kept.reason) == ("src", "p-s1", BAD.rule, BAD.reason)
    assert (kept.payload, kept.digest, kept.time) == (BAD.payload, digest(BAD.payload), at(3))
    assert (kept.first_run, kept.last_seen, kept.count, kept.replayed_by) == (loading.run, at(50), 1, None)


def test_the_same_record_is_kept_once_and_counted(loading: Loading) -> None:
    """A payload seen again, in one batch or in later ones, raises the count and the last sighting."""
    loading.commit(rejects=[BAD, BAD], read_at=50)
    first_run = loading.run
    loading.finish()
    loading.begin()
    loading.commit(rejects=[replace(BAD, rule="unit", reason="other", time=None)], read_at=60)
    (kept,) = loading.store.quarantined("src", 10)
    assert (kept.count, kept.first_run, kept.last_seen) == (3, first_run, at(60))
    assert (kept.rule, kept.reason) == ("unit", "other"), "the newest reason counts"


def test_partition_and_source_keep_their_own(loading: Loading) -> None:
    """The same payload in another partition or source is another record."""
    loading.commit(rejects=[BAD, replace(BAD, partition="p-s2")])
    other = Loading(loading.store, "other")
    other.commit(rejects=[BAD])
    assert len(loading.store.quarantined("src", 10)) == 2
    assert len(loading.store.quarantined(None, 10)) == 3
    assert {q.count for q in loading.store.quarantined(None, 10)} == {1}


def test_long_payloads_are_cut_but_told_apart(loading: Loading) -> None:
    """64 kB are kept; the digest is of the whole, so two that differ at the end are two."""
    long = bytes(100_000)
    loading.commit(rejects=[replace(BAD, payload=long), replace(BAD, payload=long + b"x")])
    kept = loading.store.quarantined("src", 10)
    assert {q.digest for q in kept} == {digest(long), digest(long + b"x")}
    assert {len(q.payload) for q in kept} == {65_536}


def test_any_bytes_are_kept(loading: Loading) -> None:
    """Payloads are bytes, not text; a reason that quotes them is made fit."""
    odd = bytes(range(256))
    loading.commit(
        rejects=[replace(BAD, payload=odd, reason="has \x00 and \udc80"), replace(BAD, payload=b"")]
    )
    kept = {q.payload: q.reason for q in loading.store.quarantined("src", 10)}
    assert kept == {odd: "has \ufffd and \ufffd", b"": BAD.reason}


def test_the_newest_come_first_and_limited(loading: Loading) -> None:
    """They are listed by when they were last seen."""
    for hour in (2, 9, 4):
        loading.commit(rejects=[replace(BAD, payload=str(hour).encode())], read_at=hour)
    assert [q.payload for q in loading.store.quarantined("src", 10)] == [b"9", b"4", b"2"]
    assert [q.payload for q in loading.store.quarantined("src", 2)] == [b"9", b"4"]


def test_a_replay_marks_what_it_answers(loading: Loading) -> None:
    """The digests of a replaying batch get its run; seen as bad again they are open again."""
    other = replace(BAD, payload=b"other")
    Loading(loading.store, "other").commit(rejects=[BAD])
    loading.commit(rejects=[BAD, other])
    loading.commit([(series(), 3, 1.0)], replay=[digest(BAD.payload), digest(b"never seen")])
    kept = {q.payload: q.replayed_by for q in loading.store.quarantined("src", 10)}
    assert kept == {BAD.payload: loading.run, other.payload: None}
    assert [q.replayed_by for q in loading.store.quarantined("other", 10)] == [None]
    loading.commit(rejects=[BAD])
    assert {q.replayed_by for q in loading.store.quarantined("src", 10)} == {None}


def test_what_is_replayed_was_not_late(loading: Loading) -> None:
    """A record that came in time and became a reading afterwards says nothing of the source's delays."""
    read = Progress(series().partition, cover=(span(0, 6),), ended=True)
    loading.commit([(series(), 5, 1.0)], read, rejects=[BAD])
    assert loading.commit([(series(), 3, 1.0)], replay=[digest(BAD.payload)]).late == 0
    assert loading.commit([(series(), 4, 1.0)]).late == 1


def test_a_failed_batch_quarantines_nothing(loading: Loading) -> None:
    """Rejects and replay marks are part of the transaction."""
    loading.commit(rejects=[BAD])

    def fails(*_: object) -> object:
        raise ZeroDivisionError

    batch = loading.batch(
        [(series(), 1, 1.0)], rejects=[replace(BAD, payload=b"new")], replay=[digest(BAD.payload)]
    )
    with pytest.raises(ZeroDivisionError):
        loading.write(batch, Checks(fails))  # type: ignore[arg-type]
    (kept,) = loading.store.quarantined("src", 10)
    assert (kept.payload, kept.replayed_by) == (BAD.payload, None)


def test_records_can_be_dropped(loading: Loading) -> None:
    """Dropping goes by digest, says how many rows went, and leaves other sources alone."""
    loading.commit(rejects=[BAD, replace(BAD, partition="p-s2"), replace(BAD, payload=b"kept")])
    Loading(loading.store, "other").commit(rejects=[BAD])
    drop = loading.store.drop_quarantined
    assert drop(loading.lease, [digest(BAD.payload), digest(b"unknown")]) == 2
    assert [q.payload for q in loading.store.quarantined("src", 10)] == [b"kept"]
    assert len(loading.store.quarantined("other", 10)) == 1
    assert drop(loading.lease, []) == 0
