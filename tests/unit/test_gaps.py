"""What is missing and why: by example, and against a walk over the expected stamps at random."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader import gaps
from loader.gaps import Gap
from loader.ledger import union
from loader.readings import HOUR, SECOND, Hole, Window


def hours(*at: float) -> list[int]:
    return [round(h * HOUR) for h in at]


def between(start: float, end: float) -> Window:
    return Window(round(start * HOUR), round(end * HOUR))


def hole(start: float, end: float, cause: str = "HTTP 500") -> Hole:
    return Hole(between(start, end), cause, tries=1, next_try=None)


DAY_WINDOW = between(0, 24)


def gap(window: Window, missing: int, cause: str, cadence_s: float = 3600.0) -> Gap:
    return Gap(window, missing, cause, cadence_s)


def test_a_full_series_has_no_gap() -> None:
    """Every expected stamp stored means nothing to report."""
    assert gaps.find(hours(*range(1, 25)), 3600, DAY_WINDOW, coverage=[DAY_WINDOW]) == []


def test_a_gap_in_the_middle_and_at_both_ends() -> None:
    """Stretches before, between and after the stored stamps are gaps of the stamps they lack."""
    found = gaps.find(hours(*range(4, 10), *range(13, 22)), 3600, DAY_WINDOW, coverage=[DAY_WINDOW])
    assert found == [
        gap(between(0, 3), 3, gaps.SOURCE_HAD_NOTHING),
        gap(between(9, 12), 3, gaps.SOURCE_HAD_NOTHING),
        gap(between(21, 24), 3, gaps.SOURCE_HAD_NOTHING),
    ]


def test_one_and_a_half_cadences_are_no_gap_yet() -> None:
    """Stamps that wander are not gaps until a whole reading would fit between them."""
    assert gaps.find(hours(1, 2.5, 3.5), 3600, between(0, 4), coverage=[DAY_WINDOW]) == []
    found = gaps.find(hours(1, 2.51, 3.5), 3600, between(0, 4), coverage=[DAY_WINDOW])
    assert [(gap.missing, gap.window) for gap in found] == [(1, between(1, 2))]


def test_a_stamp_just_inside_the_windows_start_is_not_missed() -> None:
    """Stamps a few seconds past the hour owe none at the window's first seconds."""
    stamps = [h * HOUR + 3 * SECOND for h in range(1, 24)]
    assert gaps.find(stamps, 3600, DAY_WINDOW, coverage=[DAY_WINDOW]) == []


def test_each_cause() -> None:
    """Every stretch has the cause that fits it, the strongest first where several do."""
    found = gaps.find(
        hours(3, 21),
        3600,
        between(0, 30),
        coverage=[between(0, 12)],
        holes=[hole(6, 8), hole(25, 26, "fetch failed: timed out")],
        quarantined=hours(9.1),
        watermark=21 * HOUR,
        expired_to=1 * HOUR,
    )
    assert found == [
        gap(between(0, 1), 1, gaps.EXPIRED),
        gap(between(1, 2), 1, gaps.SOURCE_HAD_NOTHING),
        gap(between(3, 6), 3, gaps.SOURCE_HAD_NOTHING),
        gap(between(6, 8), 2, "fetch failed: HTTP 500"),
        gap(between(8, 9), 1, gaps.QUARANTINED),
        gap(between(9, 12), 3, gaps.SOURCE_HAD_NOTHING),
        gap(between(12, 20), 8, gaps.NOT_ASKED_FOR),
        gap(between(21, 25), 4, gaps.NOT_YET_DUE),
        gap(between(25, 26), 1, "fetch failed: timed out"),
        gap(between(26, 30), 4, gaps.NOT_YET_DUE),
    ]


def test_holes_that_touch_stay_apart_by_cause_only() -> None:
    """Neighbouring holes that failed alike are one gap; another cause begins another."""
    found = gaps.find([], 3600, between(0, 6), holes=[hole(0, 2), hole(2, 4), hole(4, 6, "timed out")])
    assert [(gap.window, gap.cause) for gap in found] == [
        (between(0, 4), "fetch failed: HTTP 500"),
        (between(4, 6), "fetch failed: timed out"),
    ]


def test_a_cause_without_an_expected_stamp_splits_nothing() -> None:
    """A sliver that was not asked for between two stamps does not cut a gap in two."""
    covered = [between(0, 2.2), between(2.4, 6)]
    assert gaps.find(hours(6), 3600, between(0, 6), coverage=covered) == [
        gap(between(0, 5), 5, gaps.SOURCE_HAD_NOTHING)
    ]


def test_a_series_that_never_reported_is_missing_as_a_whole() -> None:
    """Without a stored stamp the grid goes through the watermark, or lies at whole cadences."""
    assert gaps.find([], 3600, between(0.5, 3), coverage=[DAY_WINDOW]) == [
        gap(between(0.5, 3), 3, gaps.SOURCE_HAD_NOTHING)
    ]
    found = gaps.find([], 3600, between(0, 3), watermark=round(10.25 * HOUR), coverage=[DAY_WINDOW])
    assert found == [gap(between(0, 2.25), 3, gaps.SOURCE_HAD_NOTHING)]


@pytest.mark.parametrize("cadence", [None, 0.0])
def test_an_unknown_cadence_has_no_gaps(cadence: float | None) -> None:
    """Where nobody knows what to expect nothing is missing."""
    assert gaps.find([], cadence, DAY_WINDOW) == []


@pytest.mark.parametrize("window", [Window(5, 5), Window(9, 5), Window(1, HOUR // 2)])
def test_a_window_without_stamps_has_no_gaps(window: Window) -> None:
    """An empty window, or one between two stamps, is not asked for anything."""
    assert gaps.find([], 3600, window) == []


def reference_cause(
    at: int,
    *,
    coverage: list[Window],
    holes: list[Hole],
    rejected: set[int],
    marks: tuple[int | None, int | None],
) -> str:
    """The cause of one missing stamp, one question after the other."""
    watermark, expired_to = marks
    if expired_to is not None and at <= expired_to:
        return gaps.EXPIRED
    if at in rejected:
        return gaps.QUARANTINED
    for h in holes:
        if h.window.start < at <= h.window.end:
            return f"fetch failed: {h.cause}"
    if any(w.start < at <= w.end for w in coverage):
        return gaps.SOURCE_HAD_NOTHING
    if watermark is not None and at > watermark:
        return gaps.NOT_YET_DUE
    return gaps.NOT_ASKED_FOR


spans = st.tuples(st.integers(0, 2000), st.integers(1, 500)).map(lambda t: Window(t[0], t[0] + t[1]))
STEP = 10


@given(
    window=spans,
    phase=st.integers(0, STEP - 1),
    stored=st.sets(st.integers(0, 260), max_size=120),
    coverage=st.lists(spans, max_size=5),
    broken=st.lists(spans, max_size=4),
    quarantined=st.lists(st.integers(0, 260), max_size=5),
    watermark=st.none() | st.integers(0, 2500),
    expired_to=st.none() | st.integers(0, 2500),
)
def test_gaps_and_readings_share_out_the_expected_stamps(
    *,
    window: Window,
    phase: int,
    stored: set[int],
    coverage: list[Window],
    broken: list[Window],
    quarantined: list[int],
    watermark: int | None,
    expired_to: int | None,
) -> None:
    """Each expected stamp is stored or in exactly one gap, which has its cause; joined to the full."""
    stamps = sorted(phase + STEP * k for k in stored)
    inside = [t for t in stamps if window.start < t <= window.end]
    anchor = inside[0] if inside else (watermark or 0)
    first = window.start + STEP // 10
    grid = [t for t in range(first + 1, window.end + 1) if (t - anchor) % STEP == 0]
    holes = [Hole(w, f"cause {i % 2}", 1, None) for i, w in enumerate(union(broken))]
    rejected = {anchor % STEP + STEP * k for k in quarantined}

    found = gaps.find(
        stamps, STEP / SECOND, window, coverage=coverage, holes=holes, quarantined=[*rejected],
        watermark=watermark, expired_to=expired_to,
    )  # fmt: skip

    absent = [t for t in grid if t not in set(inside)]
    reported = [(t, gap.cause) for gap in found for t in absent if gap.window.start < t <= gap.window.end]

    def why(at: int) -> str:
        marks = (watermark, expired_to)
        return reference_cause(at, coverage=coverage, holes=holes, rejected=rejected, marks=marks)

    assert reported == [(t, why(t)) for t in absent]
    assert sum(gap.missing for gap in found) == len(absent)
    for gap in found:
        assert gap.window
        assert gap.window.clip(window) == gap.window
        assert gap.missing == sum(gap.window.start < t <= gap.window.end for t in grid)
        assert not any(gap.window.start < t <= gap.window.end for t in inside)
    for a, b in pairwise(found):
        assert a.window.end <= b.window.start
        touching = a.window.end == b.window.start
        assert not (touching and a.cause == b.cause)


def test_ten_years_of_minutes_are_searched_in_one_go() -> None:
    """Five million stored stamps with ten thousand gaps: each is found."""
    rng = np.random.default_rng(7)
    minute = 60 * SECOND
    stamps = np.arange(1, 5_000_000, dtype=np.int64) * minute
    dropped = np.unique(rng.integers(1, len(stamps) - 1, 10_000))
    window = Window(0, int(stamps[-1]))
    found = gaps.find(np.delete(stamps, dropped), 60, window, coverage=[window])
    assert sum(gap.missing for gap in found) == len(dropped)


@given(
    window=spans,
    asked=spans,
    phase=st.integers(0, STEP - 1),
    settled=st.integers(0, 2500),
    now=st.integers(0, 2500),
    cause=st.sampled_from([gaps.SOURCE_HAD_NOTHING, "fetch failed: HTTP 500", gaps.NOT_ASKED_FOR]),
)
def test_what_another_read_may_fill(
    *, window: Window, asked: Window, phase: int, settled: int, now: int, cause: str
) -> None:
    """Of each gap those stamps that are not in the future nor settled, counted one by one."""
    coverage = [window] if cause == gaps.SOURCE_HAD_NOTHING else []
    holes = [Hole(window, "HTTP 500", 1, None)] if cause.startswith("fetch failed") else []
    stamps = [asked.start // STEP * STEP + phase, asked.end // STEP * STEP + phase]
    for found in gaps.find(stamps, STEP / SECOND, window, coverage=coverage, holes=holes):
        assert found.cause == cause
        last = found.window.end
        grid = [last - STEP * k for k in range(found.missing)]
        start = settled if cause == gaps.SOURCE_HAD_NOTHING else 0
        wanted = [t for t in grid if start < t <= now]
        cured = gaps.curable(found, now=now, settled=settled)
        if not wanted:
            assert cured is None
            continue
        assert cured is not None
        assert cured.missing == len(wanted)
        assert all(cured.window.start < t <= cured.window.end for t in wanted)
        assert cured.window.clip(found.window) == cured.window


@pytest.mark.parametrize("cause", [gaps.QUARANTINED, gaps.EXPIRED, gaps.NOT_YET_DUE])
def test_what_another_read_cannot_fill(cause: str) -> None:
    """What is here already, what is pruned, and what is not due is not asked for."""
    assert gaps.curable(gap(between(1, 2), 1, cause), now=10 * HOUR, settled=0) is None


def test_windows_are_wider_than_gaps_and_joined_where_that_is_better() -> None:
    """By half a cadence, since stamps wander; two series of one partition share theirs."""
    nothing = gaps.SOURCE_HAD_NOTHING
    found = [
        gap(between(20, 21), 1, nothing),
        gap(between(1, 4), 3, nothing),
        gap(between(3, 5), 2, nothing),
        gap(between(7, 8), 4, nothing, 900.0),
    ]
    apart = gaps.windows(found, lambda a, b: False)  # noqa: ARG005
    assert apart == (between(1, 5.5), between(7, 8.125), between(20, 21.5))
    near = gaps.windows(found, lambda a, b: b.start - a.end < 2 * HOUR)
    assert near == (between(1, 8.125), between(20, 21.5))
    assert gaps.windows([], lambda a, b: True) == ()  # noqa: ARG005
