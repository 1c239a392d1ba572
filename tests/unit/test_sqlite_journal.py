"""Requests, alerts and messages while somebody else writes to the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from loader.errors import StoreError, StoreUnavailable
from loader.journal import (
    Alert,
    Cutoffs,
    Dispatch,
    LimitEvent,
    Notice,
    NoticeKind,
    Phase,
    RequestState,
    Severity,
)
from loader.readings import Window
from loader.stores.sqlite import SQLiteStore

ALERT = Alert("src", "freshness", "st1", Phase.ALERTING, Severity.WARNING, 1, 10, 10)
NOTICE = Notice("n1", NoticeKind.ALERT, Severity.WARNING, "freshness", (), (), "t", (), (), "loader", 10)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    """A store that waits for others no longer than it must, with one request, alert and message."""
    made = SQLiteStore(tmp_path / "loader.db", busy_s=0.05)
    made.migrate()
    made.queue("src", "prune", {}, "x", 1)
    made.record([ALERT], [Dispatch(NOTICE, "slack", 10, 10)])
    yield made
    made.close()


@contextmanager
def somebody_writing(path: Path) -> Iterator[None]:
    """A transaction of another program that goes on and on."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM alert")
        yield
        other.execute("ROLLBACK")


def test_asking_waits_for_nobody(store: SQLiteStore, tmp_path: Path) -> None:
    """During a long commit everything can be looked up, and an outbox with nothing due as well."""
    with somebody_writing(tmp_path / "loader.db"):
        assert store.alerts() == [ALERT]
        assert [r.state for r in store.requests()] == [RequestState.QUEUED]
        assert [r.id for r in store.requests("src", final=False)] == [1]
        assert store.request(1) is not None
        assert store.delivered(["n1"]) == set()
        assert [d.tries for d in store.dispatches(9)] == [0]
        assert store.claim(9, 60) == []
        assert store.mutes(1) == []
        assert store.limit_events(None, 0) == []
        assert sum(store.prunable("src", Cutoffs(1, 1, 1, 1, 1)).values()) == 0


def test_writing_gives_up_and_works_later(store: SQLiteStore, tmp_path: Path) -> None:
    """What cannot be written in time is refused as passing, nothing of it is there, and it goes in
    afterwards."""
    with somebody_writing(tmp_path / "loader.db"):
        for attempt in (
            lambda: store.record([], [], ["n1"]),
            lambda: store.claim(10, 60),
            lambda: store.settle("n1", "slack", delivered_at=1),
            lambda: store.queue("src", "prune", {}, "x", 1),
            lambda: store.note_request(1, 1, state=RequestState.RUNNING),
            lambda: store.cancel_request(1, 1),
            lambda: store.unmute("src"),
        ):
            with pytest.raises(StoreUnavailable, match=r"loader\.db: .*busy"):
                attempt()
    assert [r.state for r in store.requests()] == [RequestState.QUEUED]
    assert [d.notice.id for d in store.claim(10, 60)] == ["n1"]


def test_pruning_gives_up_between_transactions_only(store: SQLiteStore, tmp_path: Path) -> None:
    """A file that is busy stops it with nothing half done; the next call does it."""
    lease = store.acquire("src")
    store.record_skipped("src", "schedule", 5, "skipped", "x")  # type: ignore[arg-type]
    with somebody_writing(tmp_path / "loader.db"), pytest.raises(StoreUnavailable, match="busy"):
        store.prune(lease, Cutoffs(readings=9, runs=9))
    assert len(store.runs("src", 9)) == 1
    assert store.prune(lease, Cutoffs(readings=9, runs=9))["run"] == 1


def test_an_event_of_no_series_is_refused(store: SQLiteStore) -> None:
    """Nothing is put for a series that is not there."""
    lease = store.acquire("src")
    event = LimitEvent(77, Severity.WARNING, 35.5, 1, None, 40.0, 3)
    with pytest.raises(StoreError, match=r"loader\.db"):
        store.put_limit_events(lease, 77, Window(0, 9), [event])
    assert store.limit_events(None, 0) == []
