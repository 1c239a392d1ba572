"""What is over leaves the journal after a while; what is open, waits or lasts stays however old."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from builders import Loading, at, span
from stores import AnyStore
from test_store_alerts import HOLD, alert, dispatch, keys
from test_store_limits import S1, event
from test_store_requests import FINAL, queue

from loader.journal import Mute, Phase, RequestState

Reopen = Callable[[], AnyStore]
NOTHING = {"outbox": 0, "request": 0, "mute": 0, "limit_event": 0}


def test_settled_messages_go(store: AnyStore) -> None:
    """Delivered, given up and withdrawn ones, where they were queued before the time; those that
    wait or are being sent stay."""
    ends = ("good", "never", "back", "waits", "sent")
    store.record([], [dispatch(f"{end}{hour}", hour=hour) for end in ends for hour in (1, 5)])
    for hour in (1, 5):
        store.settle(f"good{hour}", "slack", delivered_at=at(6))
        store.settle(f"never{hour}", "slack", error="refused")
        store.settle(f"waits{hour}", "slack", next_try=at(99), error="timed out")
    store.record([], [], ["back1", "back5"])
    assert sorted(keys(store.claim(at(7), HOLD))) == [("sent1", "slack"), ("sent5", "slack")]
    assert store.tidy(at(1)) == NOTHING
    assert store.tidy(at(5)) == {**NOTHING, "outbox": 3}
    left = {"good5", "never5", "back5", "waits1", "waits5", "sent1", "sent5"}
    assert {d.notice.id for d in store.dispatches(99)} == left
    assert store.tidy(at(5)) == NOTHING


def test_the_message_of_an_alert_that_lasts_stays(store: AnyStore) -> None:
    """Only by it is known, months later, that somebody waits to hear of the end."""
    lasting = alert(phase=Phase.ALERTING, notice="n1")
    store.record([lasting, alert("st1")], [dispatch("n1"), dispatch("n2")])
    for number in ("n1", "n2"):
        store.settle(number, "slack", delivered_at=at(1))
    assert store.tidy(at(9999)) == {**NOTHING, "outbox": 1}
    assert store.delivered(["n1", "n2"]) == {"n1"}
    store.record([replace(lasting, phase=Phase.OK)])
    assert store.tidy(at(9999)) == {**NOTHING, "outbox": 1}
    assert store.alerts() == [alert("st1")]


def test_requests_that_have_ended_go(store: AnyStore) -> None:
    """By when they ended, of every source; queued and running ones stay."""
    numbers = [queue(store, f"s{i}", hour=i) for i in range(8)]
    for number, state in zip(numbers, (*FINAL, *FINAL), strict=False):
        store.note_request(number, at(20 if number in numbers[:3] else 30), state=state)
    store.note_request(numbers[6], at(8), state=RequestState.RUNNING)
    assert store.tidy(at(20)) == NOTHING
    assert store.tidy(at(30)) == {**NOTHING, "request": 3}
    assert [r.id for r in store.requests()] == numbers[3:]
    assert store.tidy(at(9999)) == {**NOTHING, "request": 3}
    assert [r.id for r in store.requests()] == numbers[6:]


def test_mutes_that_are_over_go(store: AnyStore) -> None:
    """By their end, however long ago they were set."""
    for source, until in (("a", 5), ("b", 6)):
        store.mute(Mute(source, at(until), "", "x", at(1)))
    assert store.tidy(at(5)) == NOTHING
    assert store.tidy(at(6)) == {**NOTHING, "mute": 1}
    assert [m.source for m in store.mutes(at(2))] == ["b"]


def test_limit_events_that_have_ended_go(store: AnyStore) -> None:
    """By their end; one that lasts stays, and so does the series."""
    loading = Loading(store)
    loading.commit([(S1, 1, 1.0)])
    number = next(s.id for s in store.series("src"))
    events = [event(number, 1, 2), event(number, 2.5, 4), event(number, 3, None, threshold=50.0)]
    store.put_limit_events(loading.lease, number, span(0, 9), events)
    assert store.tidy(at(2)) == NOTHING
    assert store.tidy(at(4)) == {**NOTHING, "limit_event": 1}
    assert store.limit_events("src", at(0)) == events[1:]
    assert store.tidy(at(9999)) == {**NOTHING, "limit_event": 1}
    assert store.limit_events("src", at(0)) == events[2:]
    assert len(store.series("src")) == 1


def test_tidying_needs_no_lease_and_goes_through_many_rows(reopen: Reopen) -> None:
    """While another process holds the lease, more rows go than one transaction deletes."""
    first, second = reopen(), reopen()
    lease = first.acquire("src")
    many = 5_000 * 2 + 1
    second.record([], [replace(dispatch(f"n{n}"), next_try=None, error="x") for n in range(many)])
    second.record([], [dispatch("last")])
    assert second.tidy(at(1)) == {**NOTHING, "outbox": many}
    assert keys(first.dispatches(9)) == [("last", "slack")]
    lease.release()
