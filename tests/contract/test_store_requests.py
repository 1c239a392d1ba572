"""Requests for work: queued by anybody, worked by the holder of the lease, seen by both."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from builders import at
from stores import AnyStore

from loader.journal import Request, RequestState

Reopen = Callable[[], AnyStore]
FINAL = (RequestState.DONE, RequestState.FAILED, RequestState.CANCELLED)


def queue(store: AnyStore, source: str = "src", hour: float = 0, kind: str = "backfill") -> int:
    return store.queue(source, kind, {}, "somebody", at(hour))


def the(store: AnyStore, number: int) -> Request:
    found = store.request(number)
    assert found is not None
    return found


def test_a_request_comes_back_as_it_was_queued(reopen: Reopen) -> None:
    """Its arguments keep their types and texts, and another process sees the same."""
    first, second = reopen(), reopen()
    arguments = {
        "since": at(1),
        "stations": ["Kathmandu – पाटन", 'with "quotes"'],
        "force": True,
        "share": 0.5,
        "until": None,
        "nested": {"a": [1, {"b": []}]},
    }
    number = first.queue("src", "backfill", arguments, "anna@host", at(3))
    expected = Request(number, "src", "backfill", arguments, "anna@host", at(3))
    assert first.request(number) == expected
    assert second.request(number) == expected
    assert second.requests() == [expected]
    assert number > 0


def test_unknown_requests_are_none(store: AnyStore) -> None:
    """Asking for one or cancelling one that is not there is no error, however odd its number."""
    for number in (1, 0, -1, 2**40, 2**70):
        assert store.request(number) is None
        assert store.cancel_request(number, at(1)) is None
    store.note_request(7, at(1), progress="x")
    assert store.requests() == []


def test_queueing_needs_no_lease(reopen: Reopen) -> None:
    """While another holds the lease, a request is queued, noted and cancelled."""
    first, second = reopen(), reopen()
    lease = first.acquire("src")
    number = queue(second)
    assert [r.id for r in first.requests("src")] == [number]
    first.note_request(number, at(1), state=RequestState.RUNNING)
    second.cancel_request(number, at(2))
    assert the(first, number).cancelling
    lease.release()


def test_the_life_of_a_request(store: AnyStore) -> None:
    """Running sets the start once, each note writes what it names only, the end sets the finish."""
    number = queue(store)
    store.note_request(number, at(1), state=RequestState.RUNNING)
    store.note_request(number, at(2), progress="1 of 2")
    seen = the(store, number)
    assert (seen.state, seen.started, seen.finished) == (RequestState.RUNNING, at(1), None)
    assert (seen.progress, seen.result, seen.error) == ("1 of 2", {}, None)
    store.note_request(number, at(3), state=RequestState.RUNNING, result={"new": 5})
    seen = the(store, number)
    assert (seen.started, seen.progress, seen.result) == (at(1), "1 of 2", {"new": 5})
    store.note_request(
        number, at(4), state=RequestState.DONE, progress="", result={"new": 7, "runs": [1, 2]}
    )
    seen = the(store, number)
    assert (seen.state, seen.started, seen.finished) == (RequestState.DONE, at(1), at(4))
    assert (seen.progress, seen.result, seen.error) == ("", {"new": 7, "runs": [1, 2]}, None)
    assert isinstance(seen.state, RequestState)


def test_a_request_can_go_back_to_the_queue(store: AnyStore) -> None:
    """One whose worker died is queued again; its start stays the first."""
    number = queue(store)
    store.note_request(number, at(1), state=RequestState.RUNNING)
    store.note_request(number, at(2), state=RequestState.QUEUED)
    assert (the(store, number).state, the(store, number).finished) == (RequestState.QUEUED, None)
    store.note_request(number, at(3), state=RequestState.RUNNING)
    assert the(store, number).started == at(1)


@pytest.mark.parametrize("end", FINAL)
def test_an_ended_request_does_not_change(store: AnyStore, end: RequestState) -> None:
    """Whatever is noted after a final state, or cancelled, leaves it as it is."""
    number = queue(store)
    store.note_request(number, at(1), state=end, error="why")
    ended = the(store, number)
    assert (ended.state, ended.started, ended.finished, ended.error) == (end, None, at(1), "why")
    for state in RequestState:
        store.note_request(number, at(2), state=state, progress="p", result={"a": 1}, error="e")
    assert store.cancel_request(number, at(3)) == ended
    assert the(store, number) == ended


def test_a_queued_request_is_cancelled_at_once(store: AnyStore) -> None:
    """It ends without having begun, and who would have worked it cannot begin it."""
    number = queue(store)
    cancelled = store.cancel_request(number, at(1))
    assert cancelled == the(store, number)
    assert (cancelled.state, cancelled.started, cancelled.finished) == (
        RequestState.CANCELLED,
        None,
        at(1),
    )
    store.note_request(number, at(2), state=RequestState.RUNNING)
    assert the(store, number) == cancelled


def test_a_running_request_is_asked_to_end(store: AnyStore) -> None:
    """It goes on until its worker ends it, as cancelled or as done."""
    number, other = queue(store), queue(store)
    for each in (number, other):
        store.note_request(each, at(1), state=RequestState.RUNNING)
    asked = store.cancel_request(number, at(2))
    assert asked == the(store, number)
    assert (asked.state, asked.finished, asked.cancelling) == (RequestState.RUNNING, None, True)
    assert not the(store, other).cancelling
    store.note_request(number, at(3), state=RequestState.CANCELLED)
    ended = the(store, number)
    assert (ended.state, ended.finished, ended.cancelling) == (RequestState.CANCELLED, at(3), True)


def test_requests_are_listed_by_source_and_age(store: AnyStore) -> None:
    """The newest few, the oldest of them first; of one source or of all."""
    numbers = [queue(store, source) for source in ("a", "b", "a", "a")]
    assert numbers == sorted(set(numbers))
    assert [r.id for r in store.requests()] == numbers
    assert [r.id for r in store.requests("a")] == [numbers[0], numbers[2], numbers[3]]
    assert [r.id for r in store.requests("a", limit=2)] == numbers[2:]
    assert [r.id for r in store.requests(limit=1)] == numbers[3:]
    assert store.requests("nobody") == []


def test_open_requests_are_worked_in_order(store: AnyStore) -> None:
    """Without the final ones what is queued or running comes, the oldest first, also of a queue
    longer than the limit."""
    numbers = [queue(store) for _ in range(6)]
    other = queue(store, "other")
    store.note_request(numbers[0], at(1), state=RequestState.DONE)
    store.note_request(numbers[1], at(1), state=RequestState.RUNNING)
    store.cancel_request(numbers[2], at(1))
    store.note_request(numbers[3], at(1), state=RequestState.FAILED, error="x")
    left = [numbers[1], numbers[4], numbers[5]]
    assert [r.id for r in store.requests("src", final=False)] == left
    assert [r.id for r in store.requests(final=False)] == [*left, other]
    assert [r.id for r in store.requests("src", final=False, limit=2)] == left[:2]


def test_odd_text_is_kept_readable(store: AnyStore) -> None:
    """What no database stores does not keep a note from being written."""
    number = store.queue("src", "drop", {"odd": "a\x00b"}, "x", at(0))
    store.note_request(number, at(1), progress="a\x00b\ud800", error="\x00", result={"\ud800": "\x00"})
    seen = the(store, number)
    assert seen.progress.startswith("a")
    assert seen.progress.encode()
    assert seen.error
    assert len(seen.result) == 1


def test_forgetting_leaves_requests_that_are_open(store: AnyStore) -> None:
    """Whoever asked to forget a source still learns what came of it, and what waits behind is
    worked; what has ended goes, another source's stays."""
    lease = store.acquire("src")
    store.register(lease, [], at(0))
    ended, other = [queue(store) for _ in FINAL], queue(store, "other")
    for number, state in zip([*ended, other], [*FINAL, RequestState.DONE], strict=True):
        store.note_request(number, at(1), state=state)
    number, behind = queue(store, kind="forget"), queue(store)
    store.note_request(number, at(1), state=RequestState.RUNNING)
    assert store.forget(lease)["request"] == len(FINAL)
    store.note_request(number, at(2), state=RequestState.DONE, result={"reading": 0})
    assert the(store, number).result == {"reading": 0}
    assert [r.id for r in store.requests()] == [other, number, behind]
    assert [r.id for r in store.requests(final=False)] == [behind]


def test_numbers_are_never_used_twice(reopen: Reopen) -> None:
    """Threads on two stores queue at once: every request is there, each with a number of its own."""
    stores = [reopen(), reopen()]
    numbers: list[int] = []

    def ask(store: AnyStore, source: str) -> None:
        for _ in range(10):
            numbers.append(queue(store, source))

    threads = [threading.Thread(target=ask, args=(stores[i % 2], f"s{i}")) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(numbers)) == 40
    assert [len(stores[0].requests(f"s{i}")) for i in range(4)] == [10] * 4
