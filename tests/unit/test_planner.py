"""The planner: what is read next, and what a read amounts to in the ledger."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from loader import planner
from loader.contracts import Survey
from loader.lateness import BUCKETS, EDGES
from loader.ledger import intersect, length, settle_holes, subtract, union
from loader.planner import CHUNK, Ledger, Policy
from loader.readings import DAY, HOUR, Hole, PartitionState, Progress, Series, Task, TaskKind, Window

NOW = 1_800_000_000_000_000
POLICY = Policy(start=lambda discovered: discovered - 7 * DAY)
SERIES = (Series("s1", "pm25", "µg/m³", "x", "s1", cadence_s=3600.0),)


def state(name: str = "s1", **more: object) -> PartitionState:
    plain = PartitionState(name, "x", discovered_at=NOW - DAY, listed_at=NOW - DAY, series=SERIES)
    return replace(plain, **more)  # type: ignore[arg-type]


def survey(**latest: int) -> Survey:
    return Survey((), frozenset(), latest, {})


def test_a_new_partition_is_read_from_its_start_as_a_sweep() -> None:
    """A partition without a watermark begins where its discovery fixed it."""
    (task,) = planner.live([state()], survey(), NOW, POLICY)
    assert task.window == Window(NOW - 8 * DAY, NOW)
    assert task.kind is TaskKind.LIVE
    assert task.sweep


def test_nothing_new_costs_nothing() -> None:
    """A partition whose newest reading is known and whose sweep is not due is skipped."""
    known = state(watermark=NOW - HOUR, swept_at=NOW - HOUR)
    assert planner.live([known], survey(s1=NOW - HOUR), NOW, POLICY) == []


def test_news_a_clock_ahead_or_silence_of_the_survey_are_read() -> None:
    """Latest only decides the live edge: when it is newer, in the future or unknown, we read."""
    known = state(watermark=NOW - HOUR, swept_at=NOW - HOUR)
    for said in (survey(s1=NOW - HOUR + 1), survey(s1=NOW + DAY), survey()):
        (task,) = planner.live([known], said, NOW, POLICY)
        assert task.window == Window(NOW - HOUR - 3 * DAY, NOW)


def test_a_sweep_is_due_in_time_and_with_zero_in_every_run() -> None:
    """What a short lookback cannot see is read back now and then, even with no news."""
    old = state(watermark=NOW - HOUR, swept_at=NOW - 6 * HOUR)
    (task,) = planner.live([old], survey(s1=NOW - HOUR), NOW, POLICY)
    assert task.sweep
    fresh = state(watermark=NOW - HOUR, swept_at=NOW - 1)
    (task,) = planner.live([fresh], survey(s1=NOW - HOUR), NOW, replace(POLICY, sweep=0))
    assert task.sweep


def test_the_lookback_is_learned_and_bounded() -> None:
    """Two hundred delays teach the lookback; fewer leave the maximum; min and max hold."""
    eight_hours = int((EDGES < 8 * 3600).sum())
    delays = [0] * BUCKETS
    delays[eight_hours] = 199
    assert planner.lookback(state(delays=tuple(delays)), (), POLICY) == POLICY.lookback_max
    delays[eight_hours] = 200
    learned = planner.lookback(state(delays=tuple(delays)), (), POLICY)
    assert 8 * HOUR <= learned <= 12 * HOUR
    assert planner.lookback(state(), delays, POLICY) == learned
    quick = (500, *[0] * (BUCKETS - 1))
    assert planner.lookback(state(delays=quick), (), POLICY) == POLICY.lookback_min
    slow = (*[0] * (BUCKETS - 1), 500)
    assert planner.lookback(state(delays=slow), (), POLICY) == POLICY.lookback_max


def test_looking_back_does_not_reach_before_the_beginning() -> None:
    """A lookback longer than the first read reads nothing that nobody asked for."""
    short = replace(POLICY, start=lambda discovered: discovered - HOUR)
    known = state(watermark=NOW - DAY, coverage=(Window(NOW - DAY - HOUR, NOW - DAY),))
    (task,) = planner.live([known], survey(), NOW, short)
    assert task.window.start == NOW - DAY - HOUR


def test_a_replacing_sensor_begins_where_its_predecessor_ended() -> None:
    """A new sensor id at a station continues the old one without a gap."""
    old = state(
        "old", watermark=NOW - 30 * DAY, series=(replace(SERIES[0], sensor="old", partition="old"),)
    )
    new = state("new", series=(replace(SERIES[0], sensor="new", partition="new", replaces="old"),))
    tasks = {t.partition: t for t in planner.live([old, new], survey(old=NOW - 30 * DAY), NOW, POLICY)}
    assert tasks["new"].window.start == NOW - 30 * DAY
    (task,) = planner.live([new], survey(), NOW, POLICY, known=[old])
    assert task.window.start == NOW - 30 * DAY, "the old one is not listed any more"


def test_expired_time_is_never_read_again() -> None:
    """What retention has removed is clipped from every task."""
    known = state(watermark=NOW - DAY, expired_to=NOW - 2 * DAY)
    (task,) = planner.live([known], survey(), NOW, POLICY)
    assert task.window.start == NOW - 2 * DAY
    (task,) = planner.stretch([known], Window(NOW - 9 * DAY, NOW), NOW, again=False)
    assert task.window.start == NOW - 2 * DAY


def test_holes_are_read_when_due_and_isolated_ones_are_read_around() -> None:
    """A due hole behind the live window is a task of its own; a waiting isolated one is skipped."""
    waiting = Hole(Window(NOW - 5 * HOUR, NOW - 4 * HOUR), "x", 1, NOW + 1, isolated=True)
    due = Hole(Window(NOW - 40 * DAY, NOW - 39 * DAY), "x", 1, NOW)
    given_up = Hole(Window(NOW - 50 * DAY, NOW - 49 * DAY), "x", 12, None)
    known = state(watermark=NOW - HOUR, swept_at=NOW - 1, holes=(given_up, due, waiting))
    live, hole = planner.live([known], survey(), NOW, POLICY)
    assert live.skip == (waiting.window,)
    assert (hole.kind, hole.window) == (TaskKind.HOLE, due.window)
    live, *holes = planner.live([known], survey(), NOW, POLICY, retry_holes=True)
    assert live.skip == ()
    assert [t.window for t in holes] == [given_up.window, due.window]


def test_a_hole_across_the_edge_of_the_live_window_is_read_once() -> None:
    """The part of a hole inside the live window is read with it, the rest by its own task."""
    hole = Hole(Window(NOW - 4 * DAY, NOW - 2 * HOUR), "x", 1, NOW)
    known = state(watermark=NOW - HOUR, swept_at=NOW - 1, holes=(hole,))
    live, task = planner.live([known], survey(), NOW, POLICY)
    assert task.window == Window(NOW - 4 * DAY, live.window.start)


def test_a_backfill_reads_only_what_is_not_covered_in_pieces_that_take_turns() -> None:
    """Coverage is subtracted, long stretches are cut, and partitions alternate."""
    covered = Window(NOW - 300 * DAY, NOW - 200 * DAY)
    states = [state("a", coverage=(covered,)), state("b")]
    tasks = planner.stretch(states, Window(NOW - 365 * DAY, NOW), NOW, again=False)
    assert [t.partition for t in tasks[:4]] == ["a", "b", "a", "b"]
    assert all(t.window.end - t.window.start <= CHUNK for t in tasks)
    assert union(t.window for t in tasks if t.partition == "a") == subtract(
        [Window(NOW - 365 * DAY, NOW)], [covered]
    )
    again = planner.stretch(states, covered, NOW, again=True)
    assert union(t.window for t in again if t.partition == "a") == (covered,)


def test_the_coverage_of_a_live_read_ends_at_its_newest_reading() -> None:
    """What is younger than the newest reading is not yet due, and never covered."""
    task = Task("s1", Window(NOW - DAY, NOW), TaskKind.LIVE, sweep=True, series=SERIES)
    ledger = Ledger(state(), NOW, POLICY)
    first = ledger.page(task, NOW - DAY, NOW - 9 * HOUR, NOW - 10 * HOUR)
    assert first.cover == (Window(NOW - DAY, NOW - 10 * HOUR),)
    assert first.watermark == NOW - 10 * HOUR
    second = ledger.page(task, NOW - 9 * HOUR, NOW, NOW - 2 * HOUR)
    assert union([*first.cover, *second.cover]) == (Window(NOW - DAY, NOW - 2 * HOUR),)
    assert ledger.ended(task, None, complete=True).swept_at == NOW


def test_the_watermark_never_passes_the_clock_or_what_was_read() -> None:
    """A stamp ahead of the clock, or beyond the window read, does not raise it further."""
    task = Task("s1", Window(NOW - DAY, NOW), TaskKind.LIVE, series=SERIES)
    assert Ledger(state(), NOW, POLICY).page(task, NOW - DAY, NOW, NOW + DAY).watermark == NOW
    read = Ledger(state(), NOW, POLICY).page(task, NOW - DAY, NOW - HOUR, NOW)
    assert read.watermark == NOW - HOUR


def test_only_a_live_read_raises_the_watermark() -> None:
    """A backfill adds coverage and nothing else."""
    task = Task("s1", Window(NOW - 30 * DAY, NOW - 20 * DAY), TaskKind.RANGE, series=SERIES)
    made = Ledger(state(), NOW, POLICY).page(task, task.window.start, task.window.end, NOW - 21 * DAY)
    assert made.watermark is None
    assert made.cover == (task.window,)


def test_a_failed_read_is_a_hole_only_where_nothing_was_read_before() -> None:
    """Failing to read again what is covered opens no hole; the pauses grow and end."""
    known = state(coverage=(Window(NOW - 3 * DAY, NOW - DAY),), watermark=NOW - DAY)
    task = Task("s1", Window(NOW - 2 * DAY, NOW), TaskKind.LIVE, series=SERIES)
    (hole,) = Ledger(known, NOW, POLICY).failed(task, task.window, "gone", isolated=False).holes
    assert hole == Hole(Window(NOW - DAY, NOW), "gone", 1, NOW + POLICY.pause)
    tried = replace(known, holes=(replace(hole, tries=3),))
    (hole,) = Ledger(tried, NOW, POLICY).failed(task, task.window, "gone", isolated=False).holes
    assert (hole.tries, hole.next_try) == (4, NOW + 8 * POLICY.pause)
    tried = replace(known, holes=(replace(hole, tries=11),))
    (hole,) = Ledger(tried, NOW, POLICY).failed(task, task.window, "gone", isolated=False).holes
    assert (hole.tries, hole.next_try) == (12, None)


STEP = HOUR
GRID = 96
windows = st.tuples(st.integers(0, GRID), st.integers(1, 30)).map(
    lambda t: Window(NOW - DAY * 30 + t[0] * STEP, NOW - DAY * 30 + min(t[0] + t[1], GRID + 1) * STEP)
)
steps = st.lists(st.tuples(windows, st.sampled_from(["read", "fail", "isolate"])), min_size=1, max_size=12)


def apply(known: PartitionState, progress: Progress) -> PartitionState:
    """What a store does with a progress, for this test."""
    marks = [m for m in (known.watermark, progress.watermark) if m is not None]
    return replace(
        known,
        coverage=union([*known.coverage, *progress.cover]),
        holes=settle_holes(known.holes, progress.read, progress.holes),
        watermark=max(marks, default=None),
    )


@given(steps, st.randoms(use_true_random=False))
def test_any_order_of_reads_gives_the_same_coverage(
    script: list[tuple[Window, str]], shuffle: object
) -> None:
    """Reads that succeed cover the same time in whatever order they and the failures come."""

    def play(order: list[tuple[Window, str]]) -> PartitionState:
        known = state()
        for window, what in order:
            ledger = Ledger(known, NOW, POLICY)
            task = Task("s1", window, TaskKind.RANGE, series=SERIES)
            if what == "read":
                middle = window.start + (window.end - window.start) // 2
                known = apply(known, ledger.page(task, window.start, middle, None))
                known = apply(known, ledger.page(task, middle, window.end, None))
            else:
                made = ledger.failed(task, window, "gone", isolated=what == "isolate")
                known = apply(known, made)
        return known

    shuffled = list(script)
    shuffle.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = play(script), play(shuffled)
    assert one.coverage == other.coverage == union(w for w, what in script if what == "read")
    for known in (one, other):
        holes = [h.window for h in known.holes]
        assert length(holes) == sum(h.end - h.start for h in holes), "holes overlap"
        failed = [w for w, what in script if what != "read"]
        assert subtract(failed, [*known.coverage, *holes]) == (), "a failure was forgotten"
        plain = [h.window for h in known.holes if not h.isolated]
        assert intersect(plain, known.coverage) == ()


@given(st.lists(windows, max_size=8), st.lists(windows, max_size=8))
def test_window_arithmetic_agrees_with_sets_of_hours(left: list[Window], right: list[Window]) -> None:
    """Union, subtraction and intersection are those of the sets of hours."""

    def hours(ws: object) -> set[int]:
        return {h for w in ws for h in range(w.start, w.end, STEP)}  # type: ignore[attr-defined]

    assert hours(union(left)) == hours(left)
    assert hours(subtract(left, right)) == hours(left) - hours(right)
    assert hours(intersect(left, right)) == hours(left) & hours(right)


def test_progress_of_several_pages_merges_into_one() -> None:
    """A batch holds one progress per partition that does what its pages did."""
    a = Progress("p", read=(Window(0, 1),), cover=(Window(0, 1),), watermark=1)
    b = Progress("q", read=(Window(0, 1),))
    c = Progress("p", read=(Window(1, 2),), cover=(Window(1, 2),), watermark=2, ended=True, swept_at=9)
    assert planner.merge([a, b, c]) == (
        Progress("p", (Window(0, 2),), (Window(0, 2),), (), 2, 9, ended=True),
        b,
    )
