"""Senders that share an outbox: a model of two of them, and real processes that race and are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from builders import at
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from stores import AnyStore, StoreCase
from test_store_alerts import HOLD, dispatch, keys

from loader.readings import SECOND

Reopen = Callable[[], AnyStore]
HERE = Path(__file__).parent
NUMBERS = count()
MODEL = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Outbox(RuleBasedStateMachine):
    """Two senders on one outbox. While a hold lasts, its dispatch is one sender's alone; whatever
    was recorded is delivered, given up, withdrawn, or comes due again."""

    books: tuple[AnyStore, AnyStore]

    @initialize()
    def start(self) -> None:
        self.now = at(0)
        self.mine: set[str] = set()
        self.waiting: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.tries: Counter[str] = Counter()
        self.ended: set[str] = set()
        self.arrived: set[str] = set()

    @rule(which=st.integers(0, 1), many=st.integers(1, 3), wait=st.integers(0, 5))
    def record(self, which: int, many: int, wait: int) -> None:
        # In step with their order in the store, whatever the number: Hypothesis wants an example
        # that is run again to be the same.
        made = [f"m{next(NUMBERS):06}" for _ in range(many)]
        due = self.now + wait * SECOND
        self.books[which].record([], [replace(dispatch(n), queued_at=self.now, next_try=due) for n in made])
        self.mine.update(made)
        self.waiting.update(dict.fromkeys(made, due))

    @rule(passed=st.integers(0, 4))
    def time_passes(self, passed: int) -> None:
        self.now += passed * SECOND
        self.held = {n: until for n, until in self.held.items() if until > self.now}

    @rule(which=st.integers(0, 1), hold=st.integers(1, 6), limit=st.integers(1, 4))
    def claim(self, which: int, hold: int, limit: int) -> None:
        until = self.now + hold * SECOND
        due = {n for n, next_try in self.waiting.items() if next_try <= self.now}
        claimed = self.books[which].claim(self.now, hold * SECOND, limit)
        got = [d.notice.id for d in claimed]
        assert len(set(got)) == len(got) == min(limit, len(due))
        assert set(got) <= due
        assert not set(got) & self.held.keys(), "held by two at once"
        assert [d.tries for d in claimed] == [self.tries[n] for n in got]
        for number in got:
            self.waiting[number] = self.held[number] = until

    @rule(which=st.integers(0, 1), end=st.sampled_from(["good", "later", "never"]), pick=st.randoms())
    def settle(self, which: int, end: str, pick: Any) -> None:
        if not self.held:
            return
        number = pick.choice(sorted(self.held))
        del self.held[number]
        self.tries[number] += 1
        if end == "good":
            self.arrived.add(number)
        if number in self.ended:  # withdrawn meanwhile
            what = {"good": {"delivered_at": self.now}, "later": {"next_try": self.now}, "never": {}}[end]
            self.books[which].settle(number, "slack", error=None, **what)
            return
        if end == "later":
            self.waiting[number] = self.now + SECOND
            self.books[which].settle(number, "slack", next_try=self.waiting[number], error="later")
            return
        del self.waiting[number]
        self.ended.add(number)
        self.books[which].settle(
            number, "slack", delivered_at=self.now if end == "good" else None, error=None
        )

    @rule(which=st.integers(0, 1), pick=st.randoms())
    def withdraw(self, which: int, pick: Any) -> None:
        if self.waiting:
            number = pick.choice(sorted(self.waiting))
            self.books[which].record([], [], [number])
            del self.waiting[number]
            self.ended.add(number)

    @invariant()
    def nothing_is_lost(self) -> None:
        if hasattr(self, "waiting"):
            listed = {d.notice.id: d.next_try for d in self.books[0].dispatches(10_000)}
            kept = {n: next_try for n, next_try in listed.items() if n in self.mine}
            assert kept == {**self.waiting, **dict.fromkeys(self.ended)}
            assert self.books[1].delivered(sorted(self.mine)) == self.arrived

    def teardown(self) -> None:
        for number in getattr(self, "waiting", ()):
            self.books[0].record([], [], [number])
        left = self.books[0].claim(at(10**6), HOLD)
        assert left == []


@pytest.mark.slow
def test_no_message_is_held_twice_or_lost(reopen: Reopen) -> None:
    """Any sequence of records, claims, ends and withdrawals of two senders, as time passes."""
    machine = type("Machine", (Outbox,), {"books": (reopen(), reopen())})
    run_state_machine_as_test(machine, settings=MODEL)


def sender(case: StoreCase, address: str, what: str) -> subprocess.Popen[str]:
    """A real process at the alert book; see sender.py."""
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    process = subprocess.Popen(
        [sys.executable, str(HERE / "sender.py"), case.name, address, what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=60)


def test_two_processes_share_an_outbox(case: StoreCase, address: str, reopen: Reopen) -> None:
    """Both claim as fast as they can: every message is claimed by exactly one of them."""
    store = reopen()
    store.record([], [dispatch(f"n{n}", channel) for n in range(100) for channel in ("a", "b")])
    both = [sender(case, address, "claim") for _ in range(2)]
    for process in both:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60)[0].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert Counter(told[0] + told[1]) == Counter(f"n{n} {c}" for n in range(100) for c in ("a", "b"))
    assert store.delivered([f"n{n}" for n in range(100)]) == {f"n{n}" for n in range(100)}
    assert {d.tries for d in store.dispatches(200)} == {1}


def test_what_a_killed_sender_held_comes_due_again(case: StoreCase, address: str, reopen: Reopen) -> None:
    """Nobody gets it while the hold lasts, and somebody does afterwards."""
    store = reopen()
    store.record([], [dispatch()])
    process = sender(case, address, "hold")
    assert process.stdout
    assert process.stdout.readline() == "n1 slack\n"
    end(process)
    assert store.claim(at(1) + HOLD - 1, HOLD) == []
    assert keys(store.claim(at(1) + HOLD, HOLD)) == [("n1", "slack")]


@pytest.mark.slow
@pytest.mark.parametrize("seen", [1, 20, 50])
def test_a_recorder_killed_midway_leaves_alerts_and_messages_in_step(
    case: StoreCase, address: str, reopen: Reopen, seen: int
) -> None:
    """Every alert is at the same step, and the messages of exactly the steps so far are there."""
    store = reopen()
    process = sender(case, address, "record")
    assert process.stdout
    for _ in range(seen):
        assert process.stdout.readline()
    end(process)
    alerts = store.alerts()
    (step,) = {a.count for a in alerts}
    assert len(alerts) == 20
    assert step >= seen
    expected = Counter({f"step{n}": 3 for n in range(1, step + 1)})
    assert Counter(d.notice.id for d in store.dispatches(10_000)) == expected
