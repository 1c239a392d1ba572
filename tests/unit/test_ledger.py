"""Window arithmetic against sets of unit steps."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from loader import ledger
from loader.readings import Hole, Window

windows = st.builds(Window, st.integers(-8, 20), st.integers(-8, 20))
lists = st.lists(windows, max_size=8)


def steps(given_windows: list[Window] | tuple[Window, ...]) -> set[int]:
    """The unit steps (n, n + 1] that lie in any of the windows."""
    return {n for w in given_windows for n in range(w.start, w.end)}


def normal(found: tuple[Window, ...]) -> bool:
    """Sorted, none empty, none touching the next."""
    return all(found) and all(left.end < right.start for left, right in pairwise(found))


@given(lists)
def test_union_is_the_same_time_in_normal_form(many: list[Window]) -> None:
    """Nothing is lost or added, and the form does not depend on the order."""
    found = ledger.union(many)
    assert normal(found)
    assert steps(found) == steps(many)
    assert ledger.union(reversed(many)) == found
    assert ledger.union(found) == found


@given(lists, lists)
def test_subtract_leaves_what_is_in_none_of_the_cuts(many: list[Window], cut: list[Window]) -> None:
    """As with sets."""
    found = ledger.subtract(many, cut)
    assert normal(found)
    assert steps(found) == steps(many) - steps(cut)


@given(lists, lists)
def test_intersect_is_what_lies_in_both(many: list[Window], others: list[Window]) -> None:
    """As with sets, from either side."""
    found = ledger.intersect(many, others)
    assert normal(found)
    assert steps(found) == steps(many) & steps(others)
    assert ledger.intersect(others, many) == found


@given(lists)
def test_length_counts_time_once(many: list[Window]) -> None:
    """Overlaps do not count twice, empty windows not at all."""
    assert ledger.length(many) == len(steps(many))


@given(st.lists(st.tuples(st.booleans(), windows), max_size=12), st.randoms(use_true_random=False))
def test_coverage_does_not_depend_on_the_order(events: list[tuple[bool, Window]], order: object) -> None:
    """Windows covered one after another, failures among them, make the same coverage in any order."""

    def covered(sequence: list[tuple[bool, Window]]) -> tuple[Window, ...]:
        coverage: tuple[Window, ...] = ()
        for succeeded, window in sequence:
            if succeeded:
                coverage = ledger.union([*coverage, window])
        return coverage

    shuffled = list(events)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert covered(shuffled) == covered(events) == ledger.union([w for ok, w in events if ok])


def apart(many: list[Window]) -> list[Window]:
    """Some windows without overlap, touching ones included."""
    kept: list[Window] = []
    for window in many:
        if window and not steps(kept) & steps([window]):
            kept.append(window)
    return sorted(kept)


@given(lists, lists, lists)
def test_settled_holes_are_what_was_not_read_and_what_was_found(
    stored: list[Window], read: list[Window], found: list[Window]
) -> None:
    """Step by step: found wins, read removes, all else keeps its cause, tries and next try."""
    old = [Hole(w, f"old {i}", i, i * 10, bool(i % 2)) for i, w in enumerate(apart(stored))]
    new = [Hole(w, f"new {i}", 1, None) for i, w in enumerate(apart(found))]
    expected: dict[int, tuple[object, ...]] = {}
    for hole in old:
        expected |= {n: hole_facts(hole) for n in steps([hole.window]) - steps(read)}
    for hole in new:
        expected |= {n: hole_facts(hole) for n in steps([hole.window])}
    settled = ledger.settle_holes(old, read, new)
    assert list(settled) == sorted(settled, key=lambda h: h.window)
    assert sum(h.window.end - h.window.start for h in settled) == len(expected), "they overlap"
    assert {n: hole_facts(h) for h in settled for n in steps([h.window])} == expected


def hole_facts(hole: Hole) -> tuple[object, ...]:
    return (hole.cause, hole.tries, hole.next_try, hole.isolated)
