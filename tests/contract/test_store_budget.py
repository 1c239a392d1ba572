"""The request budget: windows, lots, reserve, blocks; shared by threads and processes."""

from __future__ import annotations

import threading
from collections.abc import Callable

from stores import AnyStore

from loader.readings import SECOND

NOW = 1_706_659_200_000_000 + 10 * SECOND
"""Ten seconds into a minute, into an hour and into a day."""

MINUTE = 60 * SECOND
PER_MINUTE = {60: 10}


def test_lots_are_granted_until_the_window_is_used_up(store: AnyStore) -> None:
    """Whole lots, then what is left, then nothing until the window's end, then afresh."""
    granted = [store.take("k", 4, PER_MINUTE, 0.0, NOW).count for _ in range(4)]
    assert granted == [4, 4, 2, 0]
    refused = store.take("k", 4, PER_MINUTE, 0.0, NOW + 30 * SECOND)
    assert (refused.count, refused.retry_at) == (0, NOW + 50 * SECOND)
    assert store.take("k", 4, PER_MINUTE, 0.0, refused.retry_at).count == 4


def test_every_window_has_to_agree(store: AnyStore) -> None:
    """The tightest window decides how much; the last one to open decides when."""
    limits = {60: 10, 3600: 13}
    assert store.take("k", 50, limits, 0.0, NOW).count == 10
    assert store.take("k", 50, limits, 0.0, NOW).retry_at == NOW + 50 * SECOND
    later = NOW + MINUTE
    assert store.take("k", 50, limits, 0.0, later).count == 3
    refused = store.take("k", 50, limits, 0.0, later)
    assert (refused.count, refused.retry_at) == (0, NOW - 10 * SECOND + 60 * MINUTE)


def test_the_longest_wait_counts_whatever_the_order(store: AnyStore) -> None:
    """With several windows used up, the one that ends last says when to come again."""
    for key, limits in (("a", {60: 10, 3600: 10}), ("b", {3600: 10, 60: 10})):
        store.take(key, 10, limits, 0.0, NOW)
        assert store.take(key, 1, limits, 0.0, NOW).retry_at == NOW - 10 * SECOND + 60 * MINUTE


def test_a_reserve_is_left_for_others(store: AnyStore) -> None:
    """Whoever leaves a reserve stops earlier; the rest is there for who leaves none."""
    assert store.take("k", 50, PER_MINUTE, 0.5, NOW).count == 5
    assert store.take("k", 50, PER_MINUTE, 0.5, NOW).count == 0
    assert store.take("k", 50, PER_MINUTE, 0.5, NOW).retry_at == NOW + 50 * SECOND
    assert store.take("k", 50, PER_MINUTE, 0.0, NOW).count == 5
    assert store.take("k", 50, {60: 1}, 0.5, NOW + MINUTE).count == 1, "a small limit still grants one"


def test_keys_have_their_own_budgets(store: AnyStore) -> None:
    """What one key uses, gives back or has blocked leaves another alone."""
    store.take("a", 10, PER_MINUTE, 0.0, NOW)
    store.block("a", NOW + MINUTE)
    assert store.take("b", 10, PER_MINUTE, 0.0, NOW).count == 10
    store.give_back("a", 5, NOW)
    assert store.take("b", 10, PER_MINUTE, 0.0, NOW).count == 0


def test_unused_requests_can_be_given_back(store: AnyStore) -> None:
    """Within their window they are there again, and never more than were taken."""
    limits = {60: 10, 3600: 100}
    store.take("k", 8, limits, 0.0, NOW)
    store.give_back("k", 3, NOW)
    assert store.take("k", 50, limits, 0.0, NOW).count == 5
    store.give_back("k", 500, NOW)
    assert store.take("k", 50, limits, 0.0, NOW).count == 10


def test_giving_back_too_late_is_ignored(store: AnyStore) -> None:
    """Requests of a window that is over do not add to the one that follows."""
    store.take("k", 8, PER_MINUTE, 0.0, NOW)
    store.take("k", 8, PER_MINUTE, 0.0, NOW + MINUTE)
    store.give_back("k", 8, NOW)
    assert store.take("k", 50, PER_MINUTE, 0.0, NOW + MINUTE).count == 2
    store.give_back("unknown", 1, NOW)


def test_a_block_holds_until_its_time(store: AnyStore) -> None:
    """Nothing is granted before, whatever is left; a shorter block does not shorten it."""
    store.block("k", NOW + 3 * MINUTE)
    store.block("k", NOW + MINUTE)
    refused = store.take("k", 1, PER_MINUTE, 0.0, NOW)
    assert (refused.count, refused.retry_at) == (0, NOW + 3 * MINUTE)
    assert store.take("k", 1, PER_MINUTE, 0.0, NOW + 3 * MINUTE - 1).count == 0
    assert store.take("k", 1, PER_MINUTE, 0.0, NOW + 3 * MINUTE).count == 1


def test_the_budget_outlives_the_process(reopen: Callable[[], AnyStore]) -> None:
    """A store opened again, or a second one beside it, sees what was taken."""
    first, second = reopen(), reopen()
    assert first.take("k", 6, PER_MINUTE, 0.0, NOW).count == 6
    assert second.take("k", 6, PER_MINUTE, 0.0, NOW).count == 4
    first.block("k", NOW + 2 * MINUTE)
    first.close()
    second.close()
    assert reopen().take("k", 1, PER_MINUTE, 0.0, NOW + MINUTE).retry_at == NOW + 2 * MINUTE


def test_a_clock_a_little_behind_does_not_double_the_budget(reopen: Callable[[], AnyStore]) -> None:
    """Two machines on either side of a window's edge do not reset each other's count."""
    ahead, behind = reopen(), reopen()
    edge = NOW + 50 * SECOND
    granted = 0
    for _ in range(10):
        granted += ahead.take("k", 4, PER_MINUTE, 0.0, edge).count
        granted += behind.take("k", 4, PER_MINUTE, 0.0, edge - 1).count
    assert granted <= 20


def test_threads_and_processes_share_without_overdrawing(reopen: Callable[[], AnyStore]) -> None:
    """Many takers at once on two stores together get the limit, no more and no less."""
    stores = [reopen(), reopen()]
    granted: list[int] = []

    def take(store: AnyStore) -> None:
        for _ in range(10):
            granted.append(store.take("k", 3, {60: 100}, 0.0, NOW).count)

    threads = [threading.Thread(target=take, args=(stores[i % 2],)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(granted) == 60
    assert sum(granted) == 100


def test_a_journal_call_goes_through_between_commits(store: AnyStore) -> None:
    """It needs no lease, and holding one does not stop it."""
    lease = store.acquire("src")
    store.begin_run(lease, "test", NOW)
    assert store.take("k", 1, PER_MINUTE, 0.0, NOW).count == 1
    lease.release()
