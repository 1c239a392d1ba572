"""The request budget on a real journal: shared, small lots, closed when the server says so."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Answer, Scripted, until

from loader.budget import JournalBudget, Unlimited, budget_key
from loader.errors import Interrupted
from loader.http import Http, Limits
from loader.journalcontracts import Grant
from loader.readings import SECOND
from loader.stores.sqlite import SQLiteStore

HOUR_START = 1_800_000_000 // 3600 * 3600 * SECOND
LIMITS = {60: 60, 3600: 2000}
KEY = "k"


class Time:
    """A clock that stands until it is moved."""

    def __init__(self, now: int = HOUR_START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "journal.db")
    store.migrate()
    yield store
    store.close()


def headers(limit: int, remaining: int, reset: int, at: int, **more: str) -> dict[str, str]:
    """Rate-limit headers of a response sent at second `at` of a server's clock."""
    from email.utils import formatdate

    return {
        "x-ratelimit-limit": str(limit),
        "x-ratelimit-remaining": str(remaining),
        "x-ratelimit-reset": str(reset),
        "date": formatdate(at, usegmt=True),
        **{name.replace("_", "-"): value for name, value in more.items()},
    }


def left(journal: SQLiteStore, clock: Time, limits: dict[int, int] | None = None) -> int:
    """How many requests the journal would still grant now."""
    return journal.take(KEY, 10_000, limits or LIMITS, 0.0, clock()).count


def blocked_until(journal: SQLiteStore, clock: Time) -> int:
    """When the journal grants again; 0 where it grants now."""
    now = clock()
    grant: Grant = journal.take(KEY, 1, {60: 10_000}, 0.0, now)
    journal.give_back(KEY, grant.count, now)
    return 0 if grant.count else grant.retry_at


def test_lots_are_small_and_the_rest_is_given_back(journal: SQLiteStore) -> None:
    """Seven requests take two lots of five; closing gives three back."""
    clock = Time()
    budget = JournalBudget(journal, KEY, LIMITS, clock, threading.Event())
    for _ in range(7):
        budget.acquire()
    budget.close()
    assert left(journal, clock) == 60 - 7


def test_what_was_not_closed_costs_a_lot_at_most(journal: SQLiteStore) -> None:
    """A killed process loses the rest of its lot, no more, and its successor goes on counting."""
    clock = Time()
    JournalBudget(journal, KEY, LIMITS, clock, threading.Event()).acquire()
    after = JournalBudget(journal, KEY, LIMITS, clock, threading.Event())
    after.acquire()
    after.close()
    assert left(journal, clock) == 60 - 5 - 1


def test_limit_is_shared_and_waited_for(journal: SQLiteStore) -> None:
    """Many threads of two processes send as many requests a minute as allowed, then wait for the
    next minute."""
    clock = Time()
    stop = threading.Event()
    budgets = [JournalBudget(journal, KEY, {60: 20}, clock, stop) for _ in range(2)]
    sent: Counter[int] = Counter()
    lock = threading.Lock()

    def work(budget: JournalBudget) -> None:
        for _ in range(4):
            budget.acquire()
            with lock:
                sent[clock() // (60 * SECOND)] += 1

    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(work, budgets[i % 2]) for i in range(8)]
        first = clock() // (60 * SECOND)
        until(lambda: sent[first] == 20)
        # Nothing more comes before the minute is over.
        assert not all(job.done() for job in jobs)
        clock.now += 60 * SECOND
        for job in jobs:
            job.result(timeout=60)
    assert sent == {first: 20, first + 1: 12}


def test_lot_does_not_outlive_its_minute(journal: SQLiteStore) -> None:
    """Requests granted in one minute are not sent in the next, where they would count again."""
    clock = Time(HOUR_START + 59 * SECOND)
    budget = JournalBudget(journal, KEY, LIMITS, clock, threading.Event())
    budget.acquire()
    clock.now += 2 * SECOND
    budget.acquire()
    budget.close()
    assert left(journal, clock) == 60 - 1


def test_hour_counts_too(journal: SQLiteStore) -> None:
    """The hour's limit holds although the minute has requests left."""
    clock = Time()
    stop = threading.Event()
    budget = JournalBudget(journal, KEY, {60: 60, 3600: 7}, clock, stop)
    for _ in range(7):
        budget.acquire()
    waiting = threading.Thread(target=budget.acquire)
    waiting.start()
    clock.now = HOUR_START + 60 * SECOND
    waiting.join(0.3)
    assert waiting.is_alive()
    clock.now = HOUR_START + 3600 * SECOND
    waiting.join(60)
    assert not waiting.is_alive()


def test_background_leaves_a_reserve(journal: SQLiteStore) -> None:
    """Background work stops at four fifths of the limit; live work has the rest."""
    clock = Time()
    stop = threading.Event()
    budget = JournalBudget(journal, KEY, {60: 20}, clock, stop)
    for _ in range(16):
        budget.acquire(background=True)
    ended: list[BaseException] = []

    def more() -> None:
        try:
            budget.acquire(background=True)
        except Interrupted as error:
            ended.append(error)

    waiting = threading.Thread(target=more)
    waiting.start()
    for _ in range(4):
        budget.acquire()
    assert waiting.is_alive()
    stop.set()
    waiting.join(60)
    assert len(ended) == 1


def test_stop_ends_waiting(journal: SQLiteStore) -> None:
    """A stop ends the wait for the next minute at once."""
    clock, stop = Time(), threading.Event()
    budget = JournalBudget(journal, KEY, {60: 1}, clock, stop)
    budget.acquire()
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(Interrupted):
        budget.acquire()
    with pytest.raises(Interrupted):
        Unlimited(stop).acquire()


SERVER = HOUR_START // SECOND


@pytest.mark.parametrize(
    ("status", "said", "seconds"),
    [
        # The window is the calendar minute: reset claims too much.
        (429, headers(60, 0, 60, SERVER + 50), 10),
        (200, headers(60, 0, 60, SERVER + 50), 10),
        # Reset knows of an end before the minute's.
        (429, headers(60, 0, 3, SERVER + 50), 3),
        # The minute of the server counts, whose clock is 20 s ahead of ours.
        (429, headers(60, 0, 60, SERVER + 70), 50),
        # Another limit than configured, by a minute's reset.
        (429, headers(5, 0, 60, SERVER + 40), 20),
        # The hour's limit.
        (429, headers(2000, 0, 1200, SERVER + 50), 1200),
        (429, headers(500, 0, 900, SERVER + 50), 900),
        (429, headers(2000, 0, 99_999, SERVER + 50), 3600),
        # Retry-After goes before all.
        (429, headers(60, 0, 60, SERVER + 50, retry_after="33"), 33),
        (429, {"retry-after": "99999999"}, 3600),
        # Not exhausted, or not said.
        (200, headers(60, 1, 60, SERVER + 50), 0),
        (200, {}, 0),
        (200, {"x-ratelimit-remaining": "none", "x-ratelimit-reset": "-4"}, 0),
        (500, {}, 0),
        # A cached response speaks of another minute.
        (200, headers(60, 0, 60, SERVER + 50, age="300"), 0),
        # One refusal without a word may pass by itself.
        (429, {}, 0),
    ],
)
def test_what_the_server_says(
    journal: SQLiteStore, status: int, said: dict[str, str], seconds: int
) -> None:
    """An exhausted window closes the key for everybody until it is over, and not longer."""
    clock = Time(HOUR_START + 50 * SECOND)
    budget = JournalBudget(journal, KEY, LIMITS, clock, threading.Event())
    budget.observe(status, said)
    assert blocked_until(journal, clock) == (clock() + seconds * SECOND if seconds else 0)


def test_refusals_without_a_word(journal: SQLiteStore) -> None:
    """Three refusals in a row without headers mean that the minute is exhausted; a success between
    them starts the count again."""
    clock = Time(HOUR_START + 50 * SECOND)
    budget = JournalBudget(journal, KEY, LIMITS, clock, threading.Event())
    for status in (429, 429, 200, 429, 429):
        budget.observe(status, {})
    assert blocked_until(journal, clock) == 0
    budget.observe(429, {})
    assert blocked_until(journal, clock) == HOUR_START + 60 * SECOND


def test_reset_is_believed_when_the_minute_was_too_short(journal: SQLiteStore) -> None:
    """A refusal right after the calendar minute ended is waited out as long as `reset` says."""
    clock = Time(HOUR_START + 50 * SECOND)
    budget = JournalBudget(journal, KEY, LIMITS, clock, threading.Event())
    budget.observe(429, headers(60, 0, 60, SERVER + 50))
    clock.now = HOUR_START + 61 * SECOND
    budget.observe(429, headers(60, 0, 49, SERVER + 61))
    assert blocked_until(journal, clock) == clock() + 49 * SECOND


def test_what_is_left_is_not_ours_alone(journal: SQLiteStore) -> None:
    """When the server has fewer requests left than are held, the held ones are given up."""
    clock = Time()
    budget = JournalBudget(journal, KEY, LIMITS, clock, threading.Event())
    budget.acquire()
    budget.observe(200, headers(60, 1, 60, SERVER))
    budget.acquire()
    budget.close()
    # Of the lot of five one was sent before, one after, and three were given up, not back.
    assert left(journal, clock) == 60 - 5


def test_key_is_a_digest() -> None:
    """The budget's key differs by server and secret, and shows neither."""
    keys = {budget_key(url, secret) for url in ("https://a", "https://b") for secret in ("x1y2z3", "other")}
    assert len(keys) == 4
    assert budget_key("https://a/", "x1y2z3") == budget_key("https://a", "x1y2z3")
    assert all("x1y2z3" not in key and "http" not in key for key in keys)


def test_over_http_with_an_enforced_limit(journal: SQLiteStore) -> None:
    """Against a server that enforces fewer requests than configured, all requests get through,
    and none is lost."""
    clock = Time()
    stop = threading.Event()
    used: Counter[int] = Counter()

    def script(_: object) -> Answer:
        minute = clock() // (60 * SECOND)
        allowed = used[minute] < 5
        used[minute] += allowed
        said = headers(5, 5 - used[minute], 60, clock() // SECOND)
        return Answer(200 if allowed else 429, b"{}", said)

    with Scripted(script) as server:
        budget = JournalBudget(journal, KEY, LIMITS, clock, stop)
        http = Http(
            server.url,
            budget=budget,
            stop=stop,
            clock=clock,
            limits=Limits(backoff_s=0.01, longest_wait_s=0.05),
        )
        done: list[int] = []

        def work(n: int) -> None:
            done.append(http.get(f"/{n}", parse=lambda reply: reply.status))

        with ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(work, n) for n in range(12)]

            def pushed() -> bool:
                # Time passes only while everybody waits for it.
                if blocked_until(journal, clock):
                    clock.now += 60 * SECOND
                return len(done) == 12

            try:
                until(pushed)
                for job in jobs:
                    job.result()
            finally:
                # Whatever went wrong, no thread goes on waiting for a clock that stands.
                stop.set()
        http.close()
    assert done == [200] * 12
    assert max(used.values()) == 5


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_never_more_than_allowed(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """However time moves and whoever asks, no minute and no hour has more requests than allowed."""
    rng = random.Random(seed)
    store = SQLiteStore(tmp_path_factory.mktemp("budget") / "journal.db")
    store.migrate()
    clock, stop = Time(), threading.Event()
    limits = {60: rng.randint(1, 12), 3600: rng.randint(5, 40)}
    budgets = [JournalBudget(store, KEY, limits, clock, stop, lot=rng.randint(1, 6)) for _ in range(2)]
    sent: dict[int, Counter[int]] = {60: Counter(), 3600: Counter()}
    for _ in range(60):
        budget = rng.choice(budgets)
        if budget._try(rng.random() < 0.3) is None:
            for seconds in limits:
                sent[seconds][clock() // (seconds * SECOND)] += 1
        if rng.random() < 0.1:
            budget.close()
        clock.now += rng.choice([0, 0, 1, 20, 61, 600]) * SECOND
    store.close()
    for seconds, limit in limits.items():
        assert max(sent[seconds].values(), default=0) <= limit, f"seed {seed}"
