"""The journal in PostgreSQL when connections are lost and others are at work."""

from __future__ import annotations

import psycopg2
import pytest
from test_postgres_trouble import proxied

from loader.journal import Alert, Dispatch, Notice, NoticeKind, Phase, Severity
from loader.readings import SECOND
from loader.stores.postgres import PostgresStore
from tests import postgres

ZERO = 1_706_659_200_000_000
"""2024-01-31T00:00:00Z."""

HOLD = 60 * SECOND


def dispatch(number: str, title: str = "st1 is silent") -> Dispatch:
    notice = Notice(
        number, NoticeKind.ALERT, Severity.WARNING, "freshness", ("src",), (), title, (), (), "", ZERO
    )
    return Dispatch(notice, "slack", ZERO, ZERO)


@pytest.mark.parametrize("arrives", [True, False])
def test_a_request_is_queued_once(
    server: postgres.Server, url: str, store: PostgresStore, arrives: bool
) -> None:
    """Whether the COMMIT whose answer was lost arrived or not; two that are alike stay two."""
    with proxied(server, url) as (proxy, remote):
        first = remote.queue("src", "backfill", {"since": 1}, "somebody", ZERO)
        proxy.cut = lambda forward: forward() if arrives else None
        second = remote.queue("src", "backfill", {"since": 1}, "somebody", ZERO)
        assert proxy.cut is None, "nothing was cut"
    assert [r.id for r in store.requests()] == [first, second]


@pytest.mark.parametrize("arrives", [True, False])
def test_an_attempt_is_counted_once(
    server: postgres.Server, url: str, store: PostgresStore, arrives: bool
) -> None:
    """Whether the COMMIT whose answer was lost arrived or not, it is one attempt."""
    store.record([], [dispatch("n1")])
    with proxied(server, url) as (proxy, remote):
        remote.claim(ZERO, HOLD)
        proxy.cut = lambda forward: forward() if arrives else None
        remote.settle("n1", "slack", next_try=ZERO + 1, error="timed out")
        assert proxy.cut is None, "nothing was cut"
    (kept,) = store.dispatches(9)
    assert (kept.tries, kept.next_try, kept.error) == (1, ZERO + 1, "timed out")


def test_claiming_does_not_wait_for_another_process(url: str, store: PostgresStore) -> None:
    """What somebody has under a lock at this moment is left to them, the rest is claimed."""
    store.record([], [dispatch("n1"), dispatch("n2")])
    other = psycopg2.connect(url)
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT FROM outbox WHERE notice = 'n1' FOR UPDATE")
        assert [d.notice.id for d in store.claim(ZERO, HOLD)] == ["n2"]
        other.rollback()
        assert [d.notice.id for d in store.claim(ZERO, HOLD)] == ["n1"]
    finally:
        other.close()


def test_due_messages_are_found_by_an_index(url: str, store: PostgresStore) -> None:
    """However many have been delivered before."""
    store.record([], [dispatch(f"n{i}") for i in range(500)])
    postgres.execute(url, "UPDATE outbox SET delivered_at = queued_at, next_try = NULL; ANALYZE outbox")
    store.record([], [dispatch("new")])
    plan = postgres.rows(url, "EXPLAIN SELECT FROM outbox WHERE next_try <= now() AND delivered_at IS NULL")
    assert "outbox_due" in str(plan)


def test_unstorable_text_is_replaced_wherever_it_stands(store: PostgresStore) -> None:
    """In keys of JSON and in rows, in channels and subjects: what is written can be settled."""
    odd = "a\x00b\ud800c\\u0000"
    clean = "a\ufffdb\ufffdc\\u0000"
    store.record([_alert(odd)], [Dispatch(dispatch(odd, odd).notice, odd, ZERO, ZERO)])
    (claimed,) = store.claim(ZERO, HOLD)
    assert (claimed.notice.id, claimed.notice.title, claimed.channel) == (clean, clean, clean)
    store.settle(odd, odd, delivered_at=ZERO)
    assert store.delivered([odd, "other"]) == {odd}
    assert [a.subject for a in store.alerts()] == [clean]
    store.record([_alert(odd, Phase.OK)])
    assert store.alerts() == []
    number = store.queue("src", "drop", {odd: [odd, {odd: float("inf")}]}, odd, ZERO)
    found = store.request(number)
    assert found is not None
    assert found.arguments == {clean: [clean, {clean: None}]}


def _alert(subject: str, phase: Phase = Phase.FAILING) -> Alert:
    return Alert("src", "freshness", subject, phase, Severity.WARNING, 1, ZERO, ZERO)
