"""The alert book: alerts and outbox in one transaction, claims and how they end, mutes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from builders import at
from stores import AnyStore

from loader.journal import Alert, Dispatch, Mute, Notice, NoticeKind, Phase, Severity
from loader.journalcontracts import WITHDRAWN
from loader.readings import SECOND

Reopen = Callable[[], AnyStore]
Query = Callable[[str], list[tuple[Any, ...]]]
HOLD = 60 * SECOND


def alert(subject: str = "", **more: Any) -> Alert:
    given = {
        "source": "src",
        "rule": "freshness",
        "phase": Phase.FAILING,
        "severity": Severity.WARNING,
        "count": 1,
        "since": at(1),
        "updated": at(2),
        **more,
    }
    return Alert(subject=subject, **given)


def notice(number: str = "n1", **more: Any) -> Notice:
    given = {
        "kind": NoticeKind.ALERT,
        "severity": Severity.CRITICAL,
        "rule": "freshness",
        "sources": ("src",),
        "subjects": ("st1", "पाटन"),
        "title": "st1 is silent",
        "lines": ("since 3 h", 'last error: "timed out" – 504'),
        "facts": (("stations", "2"), ("runs failed", "3")),
        "command": "loader status src",
        "at": at(3),
        **more,
    }
    return Notice(number, **given)


def dispatch(number: str = "n1", channel: str = "slack", hour: float = 0, **more: Any) -> Dispatch:
    return Dispatch(notice(number), channel, queued_at=at(hour), **{"next_try": at(hour), **more})


def keys(dispatches: list[Dispatch]) -> list[tuple[str, str]]:
    return [(d.notice.id, d.channel) for d in dispatches]


def test_alerts_come_back_as_they_were_recorded(reopen: Reopen) -> None:
    """By key, every field with its type, in another process too."""
    first, second = reopen(), reopen()
    full = alert(
        "st1 – पाटन",
        phase=Phase.ALERTING,
        severity=Severity.CRITICAL,
        count=7,
        alerted_at=at(2),
        sent=3,
        last_sent=at(3),
        notice="n1",
        cause="network",
        value=12.5,
        detail="silent for 3 h",
    )
    bare, own = alert(), alert(source="", rule="disk")
    first.record([full, bare, own])
    expected = [own, bare, full]
    assert first.alerts() == second.alerts() == expected
    kept = second.alerts()[-1]
    assert (type(kept.phase), type(kept.severity), type(kept.value)) == (Phase, Severity, float)


def test_an_alert_takes_the_place_of_its_row(store: AnyStore) -> None:
    """The same key is one row; another subject, rule or source is another alert."""
    others = [alert("a"), alert(rule="failures"), alert(source="other")]
    store.record([alert(), *others])
    later = alert(phase=Phase.ALERTING, count=2, alerted_at=at(3), updated=at(3), value=1.0, detail="x")
    store.record([later])
    store.record([later])
    assert sorted(store.alerts(), key=lambda a: a.key) == sorted([later, *others], key=lambda a: a.key)
    store.record([alert()])
    assert alert() in store.alerts(), "every field is replaced, also by None"


def test_what_is_well_has_no_row(store: AnyStore) -> None:
    """`ok` deletes the row, and is no error where there is none."""
    store.record([alert("a"), alert("b")])
    store.record([alert("a", phase=Phase.OK), alert("c", phase=Phase.OK)])
    assert store.alerts() == [alert("b")]
    store.record([])
    assert store.alerts() == [alert("b")]


def test_messages_come_back_as_they_were_queued(store: AnyStore) -> None:
    """A claimed dispatch carries the whole notice, whatever its kind."""
    for number, kind in enumerate(NoticeKind):
        made = notice(f"n{number}", kind=kind, since=at(1) if number else None)
        made = made if number else replace(made, sources=(), subjects=(), lines=(), facts=())
        store.record([], [Dispatch(made, "mail", at(number), at(number))])
        (claimed,) = store.claim(at(number), HOLD)
        assert claimed.notice == made
        assert isinstance(claimed.notice.kind, NoticeKind)
        assert isinstance(claimed.notice.facts, tuple)
        assert (claimed.channel, claimed.queued_at) == ("mail", at(number))
        assert (claimed.tries, claimed.delivered_at, claimed.error) == (0, None, None)
        store.settle(made.id, "mail", delivered_at=at(number))


def test_alert_and_message_are_recorded_together(store: AnyStore, query: Query) -> None:
    """When any part of a record cannot be written, nothing of it is."""
    store.record([alert("before")], [dispatch("n0")])
    broken = replace(dispatch("n2"), queued_at=None)  # type: ignore[arg-type]
    with pytest.raises(Exception):  # noqa: B017, PT011 - how a store refuses it is its own business
        store.record([alert("before", phase=Phase.OK), alert("new")], [dispatch(), broken], ["n0"])
    assert store.alerts() == [alert("before")]
    assert keys(store.dispatches(9)) == [("n0", "slack")]
    assert query("SELECT count(*) FROM outbox") == [(1,)]


def test_recording_a_message_again_does_not_send_it_again(store: AnyStore) -> None:
    """A record repeated after its answer was lost leaves what happened to the message meanwhile."""
    store.record([], [dispatch(), dispatch(channel="mail")])
    store.claim(at(0), HOLD)
    store.settle("n1", "slack", delivered_at=at(1))
    store.record([], [dispatch(), dispatch(channel="mail")])
    assert [d.delivered_at for d in store.dispatches(9) if d.channel == "slack"] == [at(1)]
    assert store.claim(at(0) + HOLD - 1, HOLD) == []
    assert keys(store.claim(at(0) + HOLD, HOLD)) == [("n1", "mail")]


def test_withdrawn_messages_are_taken_back_while_they_wait(store: AnyStore) -> None:
    """They stay as history and are never sent; what had ended before, and other notices, are as
    they were."""
    store.record([], [dispatch("n1", c) for c in ("a", "b", "c")] + [dispatch("n2", "a")])
    store.settle("n1", "a", delivered_at=at(1))
    store.settle("n1", "b", error="gone")
    store.record([], [dispatch("n3", "a")], ["n1", "unknown"])
    found = {(d.notice.id, d.channel): (d.delivered_at, d.error) for d in store.dispatches(9)}
    assert found == {
        ("n1", "a"): (at(1), None),
        ("n1", "b"): (None, "gone"),
        ("n1", "c"): (None, WITHDRAWN),
        ("n2", "a"): (None, None),
        ("n3", "a"): (None, None),
    }
    store.record([], [dispatch("n1", "c")])
    assert sorted(keys(store.claim(at(9), HOLD))) == [("n2", "a"), ("n3", "a")]


def test_a_message_withdrawn_while_it_is_sent_may_still_arrive(store: AnyStore) -> None:
    """Its sender notes that it did, and then it is known; a failure does not bring it back."""
    store.record([], [dispatch("n1", c) for c in ("good", "later", "never")])
    assert len(store.claim(at(1), HOLD)) == 3
    store.record([], [], ["n1"])
    assert store.delivered(["n1"]) == set()
    store.settle("n1", "later", next_try=at(2), error="timed out")
    store.settle("n1", "never", error="refused")
    assert store.delivered(["n1"]) == set()
    store.settle("n1", "good", delivered_at=at(2))
    assert store.delivered(["n1"]) == {"n1"}
    assert store.claim(at(99), HOLD) == []
    found = {d.channel: (d.delivered_at, d.error, d.tries) for d in store.dispatches(9)}
    assert found == {
        "good": (at(2), None, 1),
        "later": (None, WITHDRAWN, 0),
        "never": (None, WITHDRAWN, 0),
    }


def test_a_message_can_take_the_place_of_a_withdrawn_one(store: AnyStore) -> None:
    """In one transaction: what is withdrawn is so before anything is added."""
    store.record([], [dispatch("n1")])
    store.record([], [dispatch("n2")], ["n1", "n2"])
    assert keys(store.claim(at(9), HOLD)) == [("n2", "slack")]


def test_claims_come_due_and_are_held(store: AnyStore) -> None:
    """Not before their time, the oldest first, no more than asked for, and nobody else's meanwhile."""
    store.record([], [dispatch("n3", hour=3), dispatch("n1", hour=1), dispatch("n2", hour=2)])
    assert store.claim(at(1) - 1, HOLD) == []
    first = store.claim(at(9), HOLD, 2)
    assert keys(first) == [("n1", "slack"), ("n2", "slack")]
    assert [d.next_try for d in first] == [at(9) + HOLD] * 2
    assert keys(store.claim(at(9), HOLD)) == [("n3", "slack")]
    assert store.claim(at(9) + HOLD - 1, HOLD) == []
    assert keys(store.claim(at(9) + HOLD, HOLD)) == [(n, "slack") for n in ("n1", "n2", "n3")]


def test_an_attempt_ends_in_one_of_three_ways(store: AnyStore) -> None:
    """Delivered, to be tried again, or given up; each is one more attempt."""
    store.record([], [dispatch("n1", c) for c in ("good", "later", "never")])
    store.claim(at(0), HOLD)
    store.settle("n1", "good", delivered_at=at(1))
    store.settle("n1", "later", next_try=at(2), error="timed out")
    store.settle("n1", "never", error="no such channel")
    ended = {d.channel: (d.tries, d.next_try, d.delivered_at, d.error) for d in store.dispatches(9)}
    assert ended == {
        "good": (1, None, at(1), None),
        "later": (1, at(2), None, "timed out"),
        "never": (1, None, None, "no such channel"),
    }
    assert store.claim(at(2) - 1, HOLD) == []
    (again,) = store.claim(at(2), HOLD)
    assert (again.channel, again.tries, again.error) == ("later", 1, "timed out")
    store.settle("n1", "later", delivered_at=at(3))
    assert store.claim(at(99), HOLD) == []
    (last,) = [d for d in store.dispatches(9) if d.channel == "later"]
    assert (last.tries, last.delivered_at, last.error) == (2, at(3), None)


def test_a_late_failure_does_not_undo_a_delivery(store: AnyStore) -> None:
    """Of two senders, after a hold ran out, one got it through: it is not sent a third time, nor is
    what was given up; but a delivery that succeeded after all is noted."""
    store.record([], [dispatch("n1", c) for c in ("a", "b")])
    store.settle("n1", "a", delivered_at=at(1))
    store.settle("n1", "a", next_try=at(2), error="timed out")
    store.settle("n1", "a", error="refused")
    store.settle("n1", "a", delivered_at=at(3))
    store.settle("n1", "b", error="refused")
    store.settle("n1", "b", next_try=at(2), error="timed out")
    assert store.claim(at(99), HOLD) == []
    assert store.delivered(["n1"]) == {"n1"}
    by_channel = {d.channel: d for d in store.dispatches(9)}
    assert (by_channel["a"].delivered_at, by_channel["a"].error) == (at(1), None)
    assert (by_channel["b"].delivered_at, by_channel["b"].error) == (None, "refused")
    store.settle("n1", "b", delivered_at=at(3))
    assert {d.channel: d.delivered_at for d in store.dispatches(9)} == {"a": at(1), "b": at(3)}


def test_delivered_through_any_channel_counts(store: AnyStore) -> None:
    """One that reached somebody did, however the other channels fared."""
    store.record([], [dispatch(n, c) for n in ("n1", "n2", "n3") for c in ("a", "b")])
    store.settle("n1", "a", delivered_at=at(1))
    store.settle("n1", "b", error="refused")
    store.settle("n2", "a", next_try=at(2), error="x")
    assert store.delivered(["n1", "n2", "n3", "n4"]) == {"n1"}
    assert store.delivered(["n2"]) == set()
    assert store.delivered([]) == set()


def test_dispatches_come_newest_first(store: AnyStore) -> None:
    """By when they were queued, no more than asked for, delivered ones included."""
    store.record([], [dispatch(f"n{h}", hour=h) for h in (2, 1, 3)])
    store.settle("n3", "slack", delivered_at=at(4))
    assert keys(store.dispatches(9)) == [("n3", "slack"), ("n2", "slack"), ("n1", "slack")]
    assert keys(store.dispatches(1)) == [("n3", "slack")]


def test_odd_text_does_not_stop_an_alert(store: AnyStore) -> None:
    """An error that quotes bytes no database stores is recorded and sent all the same."""
    odd = "a\x00b\ud800c"
    told = notice(title=odd, lines=(odd,), facts=((odd, odd),))
    store.record([alert(detail=odd, cause=odd)], [Dispatch(told, "slack", at(0), at(0))])
    (claimed,) = store.claim(at(0), HOLD)
    store.settle("n1", "slack", next_try=at(1), error=odd)
    (kept,) = store.alerts()
    for text in (kept.detail, claimed.notice.title, *claimed.notice.lines, store.dispatches(1)[0].error):
        assert text is not None
        assert (text[0], text[-1]) == ("a", "c")
        assert text.encode()


def test_mutes_hold_until_their_time(store: AnyStore) -> None:
    """By source, one each, the latest in force; ended by hand or by time."""
    one, two = Mute("b", at(5), "maintenance – पाटन", "anna", at(1)), Mute("a", at(9), "", "ben", at(2))
    store.mute(one)
    store.mute(two)
    assert store.mutes(at(3)) == [two, one]
    assert store.mutes(at(5)) == [two], "it does not hold at its end any more"
    shorter = replace(two, until=at(4), reason="soon over", by="anna", at=at(3))
    store.mute(shorter)
    assert store.mutes(at(3)) == [shorter, one]
    assert store.unmute("b")
    assert not store.unmute("b")
    assert not store.unmute("nobody")
    assert store.mutes(at(3)) == [shorter]


def test_the_alert_book_needs_no_lease(reopen: Reopen) -> None:
    """While another process loads, and from any thread."""
    first, second = reopen(), reopen()
    lease = first.acquire("src")
    failed: list[BaseException] = []

    def use() -> None:
        try:
            second.record([alert()], [dispatch()])
            assert len(second.claim(at(1), HOLD)) == 1
            second.settle("n1", "slack", delivered_at=at(1))
            second.mute(Mute("src", at(5), "", "x", at(1)))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(60)
    assert failed == []
    assert first.alerts() == [alert()]
    assert first.delivered(["n1"]) == {"n1"}
    lease.release()


def test_forgetting_a_source_leaves_its_messages(store: AnyStore) -> None:
    """What is on its way is delivered; its alerts and its mute go, those of others stay."""
    lease = store.acquire("src")
    other, own = alert(source="other"), alert(source="", rule="disk")
    store.record([alert(), alert("st1"), other, own], [dispatch()])
    for source in ("src", "other"):
        store.mute(Mute(source, at(9), "", "x", at(1)))
    deleted = store.forget(lease)
    assert (deleted["alert"], deleted["mute"]) == (2, 1)
    assert store.alerts() == [own, other]
    assert [m.source for m in store.mutes(at(2))] == ["other"]
    assert keys(store.claim(at(1), HOLD)) == [("n1", "slack")]
