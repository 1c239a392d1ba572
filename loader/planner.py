"""What to read next, decided from the ledger alone. Pure: states and the time go in, tasks come out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from loader.contracts import Survey
from loader.lateness import quantile
from loader.ledger import subtract, union
from loader.readings import DAY, HOUR, Hole, PartitionState, Progress, Task, TaskKind, Window

CHUNK = 90 * DAY
"""Longest window of one backfill task, so that long histories of many partitions take turns."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How far and how often to read, per source; durations in microseconds.

    start         first time a partition is interested in, from when it was discovered
    lookback_min, lookback_max, sweep   see `lookback`
    pause, max_pause, tries             of holes: the pause after the first failure doubles up
                                        to `max_pause`; after `tries` failures a hole is given up
    """

    start: Callable[[int], int]
    lookback_min: int = 2 * HOUR
    lookback_max: int = 3 * DAY
    sweep: int = 6 * HOUR
    pause: int = HOUR // 4
    max_pause: int = DAY
    tries: int = 12


def surveyed(known: Sequence[PartitionState], survey: Survey, now: int) -> list[PartitionState]:
    """The partitions to plan for: those the survey names, with what the store knows of them.

    The ones that the store has never seen begin now. What the store knows and the survey does
    not name is left alone: its configuration was taken out.
    """
    by_name = {state.name: state for state in known}
    return [
        replace(by_name[p.name], series=p.series)
        if p.name in by_name
        else PartitionState(p.name, p.station, discovered_at=now, listed_at=now, series=p.series)
        for p in survey.partitions
    ]


def select(
    states: Iterable[PartitionState], stations: Collection[str] = (), sensors: Collection[str] = ()
) -> list[PartitionState]:
    """The partitions of these stations and sensors; an empty collection means all."""
    return [
        s
        for s in states
        if (not stations or s.station in stations)
        and (not sensors or s.name in sensors or any(x.sensor in sensors for x in s.series))
    ]


def cadence(state: PartitionState) -> int:
    """The shortest usual distance of the partition's readings, in microseconds; an hour where
    nothing is known."""
    known = [s.cadence_s for s in state.series if s.cadence_s]
    return int(min(known) * 1e6) if known else HOUR


def lookback(state: PartitionState, source_delays: Sequence[int], policy: Policy) -> int:
    """How far behind the watermark a live run reads: what 99 % of the late readings needed.

    Learned from the partition's own delays, else from the whole source's; the maximum as long
    as too few have been seen.
    """
    learned = quantile(state.delays)
    if learned is None:
        learned = quantile(source_delays)
    if learned is None:
        return policy.lookback_max
    return min(max(learned, policy.lookback_min), policy.lookback_max)


def begin(state: PartitionState, states: Mapping[str, PartitionState], policy: Policy) -> int:
    """Where the partition's first read begins: its start, but not after the watermark of a
    sensor that it replaces, and not before what retention has expired."""
    start = policy.start(state.discovered_at)
    predecessors = {s.replaces for s in state.series if s.replaces}
    for other in states.values():
        if other.watermark is not None and any(s.sensor in predecessors for s in other.series):
            start = min(start, other.watermark)
    return max(start, state.expired_to or start)


def live(
    states: Sequence[PartitionState],
    survey: Survey,
    now: int,
    policy: Policy,
    *,
    known: Sequence[PartitionState] = (),
    source_delays: Sequence[int] = (),
    retry_holes: bool = False,
) -> list[Task]:
    """The tasks of an ordinary run: what is new, whatever may have come late, holes that are due.

    `known` is everything the store holds of the source: a sensor may continue one that is not
    among `states` any more.
    """
    by_name = {s.name: s for s in (*known, *states)}
    tasks: list[Task] = []
    for state in states:
        first = begin(state, by_name, policy)
        back = lookback(state, source_delays, policy)
        latest = survey.latest.get(state.name)
        task = _live_task(state, (first, latest, now), policy, back=back, retry_holes=retry_holes)
        if task is not None:
            tasks.append(task)
        tasks.extend(_hole_tasks(state, task, now, retry_holes))
    return tasks


def _live_task(
    state: PartitionState,
    times: tuple[int, int | None, int],
    policy: Policy,
    *,
    back: int,
    retry_holes: bool,
) -> Task | None:
    first, latest, now = times
    sweep = state.swept_at is None or now - state.swept_at >= policy.sweep
    news = (
        latest is None or latest > now or latest > (first if state.watermark is None else state.watermark)
    )
    if not sweep and not news:
        return None
    if state.watermark is None:
        start, sweep = first, True
    else:
        back = policy.lookback_max if sweep else back
        # Looking back never reaches before the beginning, unless more was asked for once.
        floor = min([first, *(w.start for w in state.coverage[:1])])
        start = min(max(state.watermark - back, floor), state.watermark)
    window = Window(max(start, state.expired_to or start), now)
    if not window:
        return None
    skip = tuple(
        part
        for hole in state.holes
        if hole.isolated and not _due(hole, now, retry_holes) and (part := hole.window.clip(window))
    )
    return Task(state.name, window, TaskKind.LIVE, sweep=sweep, skip=skip, series=state.series)


def _due(hole: Hole, now: int, retry: bool) -> bool:
    return retry or (hole.next_try is not None and hole.next_try <= now)


def _hole_tasks(state: PartitionState, task: Task | None, now: int, retry: bool) -> list[Task]:
    """A task per due hole, as far as the live task does not read it anyway."""
    due = union(h.window for h in state.holes if _due(h, now, retry))
    rest = subtract(due, [task.window] if task else [])
    return [Task(state.name, w, TaskKind.HOLE, series=state.series) for w in rest]


def stretch(
    states: Sequence[PartitionState], window: Window, now: int, *, again: bool, retry_holes: bool = False
) -> list[Task]:
    """Tasks for a window that somebody asked for: all of it (`again`), or only what the ledger
    does not have yet (a backfill, which so continues where it was interrupted)."""
    by_partition: list[list[Task]] = []
    for state in states:
        asked = window.clip(Window(state.expired_to or window.start, now))
        if not asked:
            continue
        waiting = [h.window for h in state.holes if h.isolated and not _due(h, now, retry_holes)]
        without = [] if again else [*state.coverage, *waiting]
        by_partition.append(
            [
                Task(state.name, part, TaskKind.RANGE, series=state.series)
                for whole in subtract([asked], without)
                for part in _chunks(whole)
            ]
        )
    rounds = max(map(len, by_partition), default=0)
    return [tasks[i] for i in range(rounds) for tasks in by_partition if i < len(tasks)]


def _chunks(window: Window) -> list[Window]:
    """The window in pieces of at most CHUNK, the newest first."""
    pieces = []
    end = window.end
    while end > window.start:
        start = max(window.start, end - CHUNK)
        pieces.append(Window(start, end))
        end = start
    return pieces


class Ledger:
    """What one partition's reads amount to, page by page; one for each partition and run.

    Not thread-safe: pages of one partition are read in order, by one thread.
    """

    def __init__(self, state: PartitionState, now: int, policy: Policy) -> None:
        self._state = state
        self._now = now
        self._policy = policy
        self._watermark = state.watermark
        self._read: tuple[Window, ...] = ()

    def page(self, task: Task, after: int, covered_to: int, newest: int | None) -> Progress:
        """A page was read: (after, covered_to], whose newest accepted reading is `newest`."""
        read = subtract([Window(after, covered_to)], task.skip)
        if task.kind is TaskKind.LIVE:
            # Nothing is known of what is younger than the newest reading: it may be late.
            if newest is not None:
                newest = min(newest, covered_to, self._now)
                self._watermark = newest if self._watermark is None else max(self._watermark, newest)
            edge = self._watermark
        else:
            # What lies further back than the longest lookback no longer counts as late.
            settled = self._now - self._policy.lookback_max
            edge = max(settled, *(x for x in (newest, self._watermark) if x is not None), settled)
        self._read = union([*self._read, *read])
        if edge is None:
            return Progress(task.partition, read=read)
        cover = tuple(w for r in self._read if (w := Window(r.start, min(r.end, edge))))
        self._read = subtract(self._read, cover)
        return Progress(
            task.partition,
            read=read,
            cover=cover,
            watermark=self._watermark if task.kind is TaskKind.LIVE else None,
        )

    def failed(self, task: Task, window: Window, cause: str, *, isolated: bool) -> Progress:
        """A window could not be read: it becomes a hole, as far as it was never read before.

        A stretch that bisection isolated is a hole even where it was read before: what it holds
        now is not known.
        """
        unread = subtract([window], task.skip)
        if not isolated:
            unread = subtract(unread, [*self._state.coverage, *self._read])
        return Progress(task.partition, holes=tuple(self._hole(w, cause, isolated) for w in unread))

    def ended(self, task: Task, error: str | None, *, complete: bool) -> Progress:
        """The task is over; `complete` when its window was read to the end, holes or not."""
        swept = self._now if task.sweep and complete else None
        return Progress(task.partition, swept_at=swept, ended=True, error=error)

    def _hole(self, window: Window, cause: str, isolated: bool) -> Hole:
        before = [h.tries for h in self._state.holes if h.window.clip(window)]
        tries = max(before, default=0) + 1
        if tries >= self._policy.tries:
            return Hole(window, cause, tries, None, isolated)
        pause = min(self._policy.pause * 2 ** (tries - 1), self._policy.max_pause)
        return Hole(window, cause, tries, self._now + pause, isolated)


def merge(parts: Iterable[Progress]) -> tuple[Progress, ...]:
    """One progress per partition, in order of first appearance; applied together they do what
    the parts do one after the other."""
    out: dict[str, Progress] = {}
    for part in parts:
        so_far = out.get(part.partition)
        if so_far is None:
            out[part.partition] = part
            continue
        marks = [m for m in (so_far.watermark, part.watermark) if m is not None]
        out[part.partition] = Progress(
            part.partition,
            read=union([*so_far.read, *part.read]),
            cover=union([*so_far.cover, *part.cover]),
            holes=(*so_far.holes, *part.holes),
            watermark=max(marks, default=None),
            swept_at=part.swept_at if part.swept_at is not None else so_far.swept_at,
            ended=so_far.ended or part.ended,
            error=part.error or so_far.error,
        )
    return tuple(out.values())
