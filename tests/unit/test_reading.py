"""Readers: pages in order, bad stretches cut out, a source that is down left alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.contracts import Finding, Survey, Usage
from loader.errors import AccessDenied, PageFailed, SourceUnavailable
from loader.ledger import length, subtract, union
from loader.planner import Ledger, Policy
from loader.reading import MAX_FAILED_PROBES, Piece, Reader
from loader.readings import DAY, HOUR, Page, PartitionState, Readings, Series, Task, TaskKind, Window

NOW = 1_800_000_000_000_000 // HOUR * HOUR
POLICY = Policy(start=lambda discovered: discovered - 7 * DAY)
PAGE = 10


@dataclass
class Hourly:
    """A source in memory: one reading an hour, pages of ten, and stretches that it refuses."""

    poison: Sequence[Window] = ()
    lost: frozenset[str] = frozenset()
    denied: bool = False
    unreachable: bool = False
    broken: bool = False
    name: str = "hourly"
    concurrency: int = 4
    asked: list[Task] = field(default_factory=list)

    def survey(self, known: Sequence[PartitionState], now: int) -> Survey:  # noqa: ARG002
        return Survey((), frozenset(), {}, {})

    def read(self, task: Task) -> Iterator[Page]:
        self.asked.append(task)
        at = task.window.start
        while at < task.window.end:
            if self.denied:
                raise AccessDenied("no such key")
            if self.unreachable:
                raise SourceUnavailable("connection refused")
            if task.partition in self.lost:
                raise PageFailed("HTTP 503", after=at, until=task.window.end, bisect=False)
            first = at // HOUR * HOUR + HOUR
            stamps = np.arange(first, task.window.end + 1, HOUR, dtype=np.int64)[:PAGE]
            until = int(stamps[-1]) if len(stamps) == PAGE else task.window.end
            if self.broken or any(((stamps > w.start) & (stamps <= w.end)).any() for w in self.poison):
                raise PageFailed("HTTP 500", after=at, until=until, bisect=True)
            readings = Readings.of(np.zeros(len(stamps)), stamps, stamps / HOUR)
            yield Page(readings, task.series, until, len(stamps))
            at = until

    def decode(self, partition: PartitionState, payload: bytes) -> Page:
        raise NotImplementedError

    def requests(self, task: Task) -> int:
        return (task.window.end - task.window.start) // (PAGE * HOUR) + 1

    def usage(self) -> Usage:
        return Usage()

    def check(self) -> list[Finding]:
        return []

    def close(self) -> None:
        pass


def states(count: int) -> list[PartitionState]:
    return [
        PartitionState(
            f"p{i}",
            "x",
            discovered_at=NOW,
            listed_at=NOW,
            series=(Series(f"p{i}", "pm25", "ppm", "x", f"p{i}", cadence_s=3600.0),),
        )
        for i in range(count)
    ]


def read(source: Hourly, windows: Sequence[Window], partitions: int = 1) -> tuple[list[Piece], Reader]:
    known = states(partitions)
    tasks = [Task(s.name, w, TaskKind.RANGE, series=s.series) for s in known for w in windows]
    ledgers = {s.name: Ledger(s, NOW, POLICY) for s in known}
    with Reader(source, tasks, known, ledgers) as reader:
        return [p for p in reader.pieces(threading.Event()) if p is not None], reader


def stamps(pieces: Sequence[Piece]) -> list[int]:
    return sorted(int(t) for p in pieces if p.page is not None for t in p.page.readings.time)


WEEK = Window(NOW - 30 * DAY, NOW - 23 * DAY)
hours = st.integers(0, 167)


@given(st.lists(st.tuples(hours, st.integers(1, 6)), max_size=4))
def test_everything_but_the_poisoned_hours_is_loaded(bad: list[tuple[int, int]]) -> None:
    """Bisection loads every reading outside the bad stretches, and each of those is a hole."""
    poison = union(
        Window(WEEK.start + h * HOUR, min(WEEK.start + (h + n) * HOUR, WEEK.end)) for h, n in bad
    )
    pieces, reader = read(Hourly(poison), [WEEK])
    wanted = list(range(WEEK.start + HOUR, WEEK.end + 1, HOUR))
    refused = {t for t in wanted if any(w.start < t <= w.end for w in poison)}
    got = stamps(pieces)
    assert got == [t for t in wanted if t not in refused], "lost, doubled or invented readings"
    holes = [h for p in pieces for h in p.progress.holes]
    assert all(h.isolated and h.cause == "fetch failed: HTTP 500" for h in holes)
    assert all(h.window.end - h.window.start <= HOUR for h in holes)
    assert len(holes) == len(refused)
    covered = union(w for p in pieces for w in p.progress.cover)
    assert length(covered) + length(h.window for h in holes) == WEEK.end - WEEK.start
    assert subtract([WEEK], [*covered, *(h.window for h in holes)]) == ()
    assert reader.down is None
    assert pieces[-1].progress.ended


def test_bisecting_one_bad_hour_costs_few_requests() -> None:
    """One poisoned hour in a week costs about two probes for each halving."""
    source = Hourly([Window(WEEK.start + 50 * HOUR, WEEK.start + 51 * HOUR)])
    read(source, [WEEK])
    assert len(source.asked) <= 2 * 4 + 2
    assert sum(t.probe for t in source.asked) >= 2


def test_what_waits_as_an_isolated_hole_is_not_asked_for() -> None:
    """The stretch in `skip` is neither covered nor made a hole again."""
    hole = Window(WEEK.start + 50 * HOUR, WEEK.start + 51 * HOUR)
    known = states(1)
    task = Task("p0", WEEK, TaskKind.RANGE, skip=(hole,), series=known[0].series)
    made = Ledger(known[0], NOW, POLICY).page(task, WEEK.start, WEEK.end, None)
    assert made.read == made.cover == subtract([WEEK], [hole])


def test_a_partition_that_cannot_be_had_leaves_a_hole_and_the_others_load() -> None:
    """One lost partition is not an outage."""
    pieces, reader = read(Hourly(lost=frozenset({"p1"})), [WEEK], partitions=4)
    assert reader.down is None
    assert {p.task.partition for p in pieces if p.failed} == {"p1"}
    (hole,) = [h for p in pieces for h in p.progress.holes]
    assert (hole.window, hole.isolated) == (WEEK, False)
    assert len(stamps(pieces)) == 3 * 168


def test_many_partitions_failing_alike_are_an_outage() -> None:
    """When nothing succeeds the source is down: reading stops instead of bisecting everything."""
    source = Hourly(broken=True)
    pieces, reader = read(source, [WEEK], partitions=40)
    assert reader.down is not None
    assert "failed alike" in reader.down
    # At the worst two partitions are probed to the end before a third one fails.
    assert len(source.asked) <= 2 * (MAX_FAILED_PROBES + 2) + 8
    assert not any(h.isolated for p in pieces for h in p.progress.holes)


def test_three_lost_partitions_in_a_row_are_an_outage() -> None:
    """A page that was retried in full counts for more than a probe."""
    source = Hourly(lost=frozenset(f"p{i}" for i in range(40)))
    _, reader = read(source, [WEEK], partitions=40)
    assert reader.down is not None
    assert len(source.asked) <= 8


def test_an_unreachable_source_is_left_at_once() -> None:
    """No connection: the task at hand becomes a hole, the rest is not tried."""
    source = Hourly(unreachable=True, concurrency=1)
    pieces, reader = read(source, [WEEK], partitions=10)
    assert reader.down == "connection refused"
    assert len(source.asked) == 1
    assert [h.window for p in pieces for h in p.progress.holes] == [WEEK]


def test_a_refused_key_is_raised() -> None:
    """What the user has to put right ends the run with its own error."""
    with pytest.raises(AccessDenied):
        read(Hourly(denied=True), [WEEK], partitions=3)


def test_a_stop_ends_the_readers_and_what_was_read_stands() -> None:
    """After a stop no further page is begun."""
    source, known, stop = Hourly(concurrency=1), states(1), threading.Event()
    long = Window(NOW - 4000 * DAY, NOW - 30 * DAY)
    tasks = [Task("p0", long, TaskKind.RANGE, series=known[0].series)]
    with Reader(source, tasks, known, {"p0": Ledger(known[0], NOW, POLICY)}) as reader:
        pieces = []
        for piece in reader.pieces(stop):
            if piece is not None:
                pieces.append(piece)
            if len(pieces) == 5:
                stop.set()
    assert 5 <= len(pieces) < 100
    assert not any(p.progress.ended for p in pieces)
    assert [t for p in pieces if p.page for t in p.page.readings.time] == stamps(pieces)


def test_an_abandoned_partition_is_read_no_further() -> None:
    """Its pages at hand are dropped, its later tasks not begun; the others are read to the end."""
    source, known = Hourly(concurrency=2), states(2)
    long = Window(NOW - 4000 * DAY, NOW - 30 * DAY)
    tasks = [
        Task("p0", long, TaskKind.RANGE),
        Task("p0", WEEK, TaskKind.RANGE),
        Task("p1", WEEK, TaskKind.RANGE),
    ]
    ledgers = {s.name: Ledger(s, NOW, POLICY) for s in known}
    seen: list[str] = []
    with Reader(source, tasks, known, ledgers) as reader:
        for piece in reader.pieces(threading.Event()):
            if piece is not None:
                seen.append(piece.task.partition)
                if seen.count("p0") == 3:
                    reader.abandon("p0")
    assert seen.count("p0") == 3
    assert seen.count("p1") == 17 + 1
    assert sorted(task.partition for task in source.asked) == ["p0", "p1"]
