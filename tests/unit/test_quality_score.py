"""The score: its formulas by example, its bounds and its direction at random."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from loader.quality.score import COMPONENT_NAMES, Weights, components, due, score
from loader.readings import HOUR, Window
from loader.records import Counts

PERFECT = Counts(fetched=100, new=100, due=100, observed=100)


def total(counts: Counts, weights: Weights | None = None) -> float:
    """The score, which must exist."""
    result = score(counts, weights)
    assert result is not None
    return result.total


def test_all_there_and_all_good_is_a_hundred() -> None:
    """A run that found everything in order scores 100 with all five components at 1."""
    result = score(PERFECT)
    assert result is not None
    assert result.total == 100
    assert [getattr(result.components, name) for name in COMPONENT_NAMES] == [1.0] * 5


def test_each_component_by_its_formula() -> None:
    """Each component is the share its formula says, on one example worked by hand."""
    counts = Counts(
        fetched=200, new=90, revised=10, duplicate=20, refetched=75, late=9, missing=20, suspect=3,
        failed=5, quarantined=5, due=120, observed=90, inconsistent=50,
    )  # fmt: skip
    parts = components(counts)
    assert parts.completeness == pytest.approx(90 / 120)
    assert parts.validity == pytest.approx(1 - 8 / 80)
    assert parts.timeliness == pytest.approx(1 - 9 / 90)
    assert parts.uniqueness == pytest.approx(1 - 20 / 200)
    assert parts.consistency == pytest.approx(1 - 50 / 200)
    expected = 100 * (0.35 * 0.75 + 0.30 * 0.9 + 0.15 * 0.9 + 0.10 * 0.9 + 0.10 * 0.75)
    assert total(counts) == pytest.approx(expected)
    assert total(counts, Weights(1, 0, 0, 0, 0)) == pytest.approx(75)


def test_nothing_expected_or_nothing_fetched_has_no_score() -> None:
    """Where there was nothing to do, or nothing came, there is no number that could mislead."""
    assert score(Counts()) is None
    assert score(replace(PERFECT, due=0, observed=0)) is None
    assert score(replace(PERFECT, fetched=0)) is None
    assert components(Counts(due=24)).completeness == 0
    assert components(replace(PERFECT, due=0)).completeness is None


def test_components_without_a_basis_do_not_weigh() -> None:
    """A run that only found known readings is scored by the components that exist."""
    counts = Counts(fetched=10, refetched=10, due=20, observed=10)
    parts = components(counts)
    assert (parts.validity, parts.timeliness) == (None, None)
    assert total(counts) == pytest.approx(100 * (0.35 * 0.5 + 0.10 + 0.10) / 0.55)


def test_weights_of_zero_leave_no_score() -> None:
    """If nothing that exists counts, there is no score, rather than a division by zero."""
    assert score(PERFECT, Weights(0, 0, 0, 0, 0)) is None


few = st.integers(0, 50)


@st.composite
def counted(draw: st.DrawFn) -> Counts:
    """Counts as a run may have them: parts never larger than what they are part of."""
    new, revised, refetched, duplicate, quarantined = (draw(few) for _ in range(5))
    written = new + revised
    missing = draw(st.integers(0, written))
    failed = draw(st.integers(0, written - missing))
    fetched = written + refetched + duplicate + quarantined
    wanted = draw(few)
    return Counts(
        fetched=fetched, new=new, duplicate=duplicate, refetched=refetched, revised=revised,
        late=draw(st.integers(0, new)), missing=missing, failed=failed,
        suspect=draw(st.integers(0, written - missing - failed)), quarantined=quarantined, due=wanted,
        observed=draw(st.integers(0, wanted)), inconsistent=draw(st.integers(0, fetched)),
    )  # fmt: skip


weights_st = st.builds(Weights, *[st.floats(0, 10)] * 5)


@given(counted(), weights_st)
def test_a_score_lies_between_0_and_100(counts: Counts, weights: Weights) -> None:
    """Neither score nor components ever leave their range."""
    result = score(counts, weights)
    assume(result is not None)
    assert result is not None
    assert 0 <= result.total <= 100
    for name in COMPONENT_NAMES:
        share = getattr(result.components, name)
        assert share is None or 0 <= share <= 1


@given(st.builds(Counts, *[st.integers(0, 10)] * 16))
def test_even_impossible_counts_give_no_impossible_score(counts: Counts) -> None:
    """Counts that contradict each other still give a number between 0 and 100, or none."""
    result = score(counts)
    assert result is None or 0 <= result.total <= 100


@given(counted(), weights_st, st.sampled_from(["observed", "suspect", "failed", "late", "inconsistent"]))
def test_worse_counts_never_score_better(counts: Counts, weights: Weights, name: str) -> None:
    """One reading fewer observed, or one more with a fault, never raises the score."""
    before = getattr(counts, name)
    worse = replace(counts, **{name: before - 1 if name == "observed" else before + 1})
    assume(worse.observed >= 0)
    a, b = score(counts, weights), score(worse, weights)
    assume(a is not None and b is not None)
    assert a is not None
    assert b is not None
    assert b.total <= a.total + 1e-9


@given(counted(), st.integers(1, 50))
def test_a_refetched_reading_does_not_lower_uniqueness(counts: Counts, more: int) -> None:
    """Reading again what is stored is not a duplicate: uniqueness never falls by it."""
    assume(counts.fetched > 0)
    again = replace(counts, fetched=counts.fetched + more, refetched=counts.refetched + more)
    before, after = components(counts).uniqueness, components(again).uniqueness
    assert before is not None
    assert after is not None
    assert after >= before


def test_stamps_due_are_counted_in_half_open_windows() -> None:
    """The window's start is not due, its end is; an unknown cadence or an empty window owes none."""
    assert due(Window(0, 24 * HOUR), HOUR) == 24
    assert due(Window(1, 24 * HOUR), HOUR) == 24
    assert due(Window(0, 24 * HOUR - 1), HOUR) == 23
    assert due(Window(0, HOUR), HOUR, phase=HOUR // 4) == 1
    assert due(Window(HOUR, HOUR), HOUR) == 0
    assert due(Window(2 * HOUR, HOUR), HOUR) == 0
    assert due(Window(0, HOUR), None) == 0


@given(st.integers(-(10**15), 10**15), st.integers(0, 10**6), st.integers(1, 10**5), st.integers(0, 10**5))
def test_stamps_due_are_those_of_the_grid(start: int, length: int, cadence: int, phase: int) -> None:
    """The count is that of the stamps one finds by walking through the window."""
    assume(length // cadence < 1000)
    first = start - (start - phase) % cadence + cadence
    walked = len(range(first, start + length + 1, cadence))
    assert due(Window(start, start + length), cadence, phase) == walked


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(1, 10**7))
def test_cutting_a_window_leaves_what_is_due(a: int, b: int, c: int, cadence: int) -> None:
    """Two halves owe together what the whole owes."""
    start, cut, end = sorted((a, b, c))
    halves = due(Window(start, cut), cadence) + due(Window(cut, end), cadence)
    assert halves == due(Window(start, end), cadence)
