"""What is missing of the stored series, and reading it once more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from loader import gaps
from loader.contracts import Lease, Reports
from loader.gaps import Gap
from loader.pipeline import Order, Pipeline
from loader.quality.cadence import Cadences
from loader.readings import Int64, PartitionState, Series, Task, TaskKind, Window
from loader.records import RunReport, StoredSeries

QUARANTINED = 5_000
"""So many of a source's rejected records, the newest, are looked at for causes."""

SetCadence = Callable[[str], Callable[[Series], float | None]]
"""By source, what cadence its configuration sets for a series, in seconds."""


def find(
    reports: Reports,
    series: Iterable[StoredSeries],
    set_cadence: SetCadence,
    *,
    since: int | None,
    until: int,
) -> Iterator[tuple[StoredSeries, Gap]]:
    """The gaps of each series in (since, until], by source, station, parameter and time; from where
    its loading began where `since` is None."""
    ordered = sorted(
        series,
        key=lambda s: (s.source, s.series.station, s.series.parameter, s.series.unit, s.series.sensor),
    )
    known: _Known | None = None
    for s in ordered:
        if known is None or s.source != known.source:
            known = _Known.of(reports, s.source, set_cadence(s.source))
        state = known.states.get(s.series.partition)
        if state is not None:
            whole = _expected(s, state, known.series, since, until)
            for gap in _of_series(reports, s, state, known, whole):
                yield s, gap


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a source: its partitions, the times of rejected records by partition, its
    series, and their cadences."""

    source: str
    states: dict[str, PartitionState]
    rejected: dict[str, list[int]]
    series: list[StoredSeries]
    cadences: Cadences

    @classmethod
    def of(cls, reports: Reports, source: str, set_s: Callable[[Series], float | None]) -> _Known:
        rejected: dict[str, list[int]] = {}
        for q in reports.quarantined(source, QUARANTINED):
            if q.time is not None and q.replayed_by is None:
                rejected.setdefault(q.partition, []).append(q.time)
        series = reports.series(source)
        found = reports.cadences(source)
        learned = {
            s.series.key: [(c.from_time, c.cadence_s) for c in found[s.id]] for s in series if s.id in found
        }
        states = {state.name: state for state in reports.partitions(source)}
        return cls(source, states, rejected, series, Cadences(set_s, learned))


def _of_series(
    reports: Reports, s: StoredSeries, state: PartitionState, known: _Known, whole: Window
) -> Iterator[Gap]:
    """The gaps of one series, its stamps read a piece at a time."""
    if not whole or all(not cadence_s for _, cadence_s in known.cadences.of(s.series, whole)):
        return
    start, before = whole.start, np.empty(0, np.int64)
    pieces: Iterable[Int64 | None] = chain((part.time for part in reports.scan([s.id], whole)), [None])
    for times in pieces:
        # A piece begins and ends with a stored stamp, so that no gap lies in two.
        stamps = before if times is None else np.concatenate([before, times])
        end = whole.end if times is None else int(stamps[-1])
        for window, cadence_s in known.cadences.of(s.series, Window(start, end)):
            yield from gaps.find(
                stamps,
                cadence_s,
                window,
                coverage=state.coverage,
                holes=state.holes,
                quarantined=known.rejected.get(state.name, ()),
                watermark=state.watermark,
                expired_to=state.expired_to,
            )
        if times is not None:
            before, start = stamps[-1:], end - 1


def _expected(
    s: StoredSeries,
    state: PartitionState,
    siblings: Sequence[StoredSeries],
    since: int | None,
    until: int,
) -> Window:
    """The window in which readings of the series may be expected; falsy where there is none.

    A sensor that another one of `siblings` continues is expected until that one's first reading,
    and the other from then on.
    """

    def continued(old: StoredSeries, new: StoredSeries) -> bool:
        return (
            new.series.replaces == old.series.sensor
            and new.series.parameter == old.series.parameter
            and new.first_time is not None
        )

    begins = [w.start for w in state.coverage] + [h.window.start for h in state.holes]
    if s.first_time is not None:
        begins.append(s.first_time - 1)
    begin = min(begins, default=state.discovered_at) if since is None else since
    ends = [t.first_time - 1 for t in siblings if t.first_time is not None and continued(s, t)]
    if s.first_time is not None and any(
        continued(old, s) for old in siblings if old.first_time is not None
    ):
        begin = max(begin, s.first_time - 1)
    return Window(begin, min([until, *ends]))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read once more: windows by partition, and the gaps that these may fill, with their
    series. `requests` estimates what it takes."""

    windows: dict[str, tuple[Window, ...]]
    gaps: tuple[tuple[StoredSeries, Gap], ...]
    requests: int

    @property
    def missing(self) -> int:
        return sum(gap.missing for _, gap in self.gaps)


@dataclass(frozen=True, slots=True)
class Healed:
    """How many readings were missing where it was read once more, and how many of them still are.
    `report` is the run's; None where there was nothing to read."""

    missing: int
    left: int
    report: RunReport | None


def plan(pipeline: Pipeline, series: Iterable[StoredSeries], *, since: int | None, until: int) -> Plan:
    """Which gaps of these series of the pipeline's source are worth another read.

    What the source did not have counts as settled once it lies further back than any run looks.
    Windows are joined where that takes no more requests.
    """
    source, now = pipeline.source, pipeline.clock()
    states = {state.name: state for state in pipeline.store.partitions(source.name)}
    found: list[tuple[StoredSeries, Gap]] = []
    by_partition: dict[str, list[Gap]] = {}
    for s, gap in _find(pipeline, series, since, until):
        state = states[s.series.partition]
        edge = now if state.watermark is None else min(state.watermark, now)
        worth = gaps.curable(gap, now=now, settled=edge - pipeline.policy.lookback_max)
        if worth is not None:
            found.append((s, worth))
            by_partition.setdefault(state.name, []).append(worth)
    windows: dict[str, tuple[Window, ...]] = {}
    total = 0
    for name, its in by_partition.items():

        def requests(window: Window, state: PartitionState = states[name]) -> int:
            return source.requests(Task(state.name, window, TaskKind.RANGE, series=state.series))

        def join(a: Window, b: Window, requests: Callable[[Window], int] = requests) -> bool:
            return requests(Window(a.start, b.end)) <= requests(a) + requests(b)

        windows[name] = gaps.windows(its, join)
        total += sum(map(requests, windows[name]))
    return Plan(windows, tuple(found), total)


def heal(
    pipeline: Pipeline, series: Iterable[StoredSeries], lease: Lease, *, since: int | None, until: int
) -> Healed:
    """Read the gaps that are worth it once more, under the caller's lease."""
    planned = plan(pipeline, series, since=since, until=until)
    if not planned.windows:
        return Healed(0, 0, None)
    report = pipeline.run(Order(trigger="backfill", windows=planned.windows), lease)
    return Healed(planned.missing, _left(pipeline, planned, since, until), report)


def _find(
    pipeline: Pipeline, series: Iterable[StoredSeries], since: int | None, until: int
) -> Iterator[tuple[StoredSeries, Gap]]:
    return find(pipeline.store, series, lambda _: pipeline.cadence_s, since=since, until=until)


def _left(pipeline: Pipeline, planned: Plan, since: int | None, until: int) -> int:
    """How many of the readings are missing still, for whatever cause."""
    before: dict[int, list[Window]] = {}
    for s, gap in planned.gaps:
        before.setdefault(s.id, []).append(gap.window)
    series = [s for s in pipeline.store.series(pipeline.source.name) if s.id in before]
    left = sum(
        _shared(gap, window) for s, gap in _find(pipeline, series, since, until) for window in before[s.id]
    )
    return min(left, planned.missing)


def _shared(gap: Gap, window: Window) -> int:
    """How many of the gap's readings lie in the window."""
    inside = gap.window.clip(window)
    if not inside:
        return 0
    return round(gap.missing * (inside.end - inside.start) / (gap.window.end - gap.window.start))
