"""Gathering pages of many partitions into one batch for the store."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from loader import planner, putaside
from loader.columns import deduplicate
from loader.contracts import Checker
from loader.errors import LoaderError, Objection
from loader.quality.cadence import Cadences, off_grid
from loader.quality.score import due
from loader.reading import Piece
from loader.readings import (
    SECOND,
    Bool,
    Check,
    Flag,
    Int64,
    Page,
    Place,
    Progress,
    Readings,
    Series,
    Window,
)
from loader.records import Batch, Counts

MAX_READINGS = 20_000
"""Readings in a batch: larger ones cost memory and gain nothing measurable."""

MAX_AGE_S = 2.0
"""Seconds that a page waits at most for others before it is committed."""

ROUNDS = 20
"""So often rules may object to further readings of a series once others are out of the batch; then
all of its readings are kept out."""

Key = tuple[str, str, str]
Refusals = Mapping[Key, Mapping[int, Objection]]
"""The objections by the key of their series and by time."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What was taken in of one partition: a page that answers for the windows `read` (`first` of
    its task or not), or only progress. `digest` is that of the quarantined record it comes from.

    `repeated` are readings of the page that came again later, and were then kept out.
    """

    partition: str
    page: Page | None = None
    read: tuple[Window, ...] = ()
    first: bool = False
    progress: Progress | None = None
    digest: str | None = None
    repeated: tuple[tuple[Series, Readings], ...] = ()


class Gathering:
    """The pages of the batch to come. Used by the writing thread alone."""

    def __init__(self, check: Checker, cadences: Cadences) -> None:
        self._check = check
        self._cadences = cadences
        self.clear()

    def clear(self) -> None:
        """Begin the next batch."""
        self._parts: list[_Part] = []
        self._rows = 0
        self._since: float | None = None
        self._rounds: Counter[Key] = Counter()
        self.kept_out = 0
        """Records of a replay that rules have kept out of this batch."""

    def add(self, piece: Piece) -> None:
        """Take a piece in."""
        if self._since is None:
            self._since = time.monotonic()
        page = piece.page if piece.window is not None else None
        part = _Part(
            piece.task.partition, page, piece.progress.read, first=piece.first, progress=piece.progress
        )
        self._add(part)

    def add_record(self, partition: str, page: Page, digest: str) -> None:
        """Take a quarantined record in that has become a reading."""
        self._add(_Part(partition, page, digest=digest))

    def _add(self, part: _Part) -> None:
        if part.page is not None:
            self._rows += len(part.page.readings) + len(part.page.rejects)
        self._parts.append(part)

    def _counts(self, series: Sequence[Series], readings: Readings) -> Counts:
        """What can be counted before the store is asked, of the parts' readings in their order.
        Inconsistent is what comes in a foreign unit, or between the stamps of its series' cadence."""
        flag, tests = self._check.alone(series, readings)
        inconsistent = (tests & np.uint32(Check.UNIT)) != 0
        present = flag != Flag.MISSING
        fetched = quarantined = duplicate = expected = observed = start = 0
        for part in self._parts:
            duplicate += sum(len(again) for _, again in part.repeated)
            if part.page is None:
                continue
            fetched += part.page.fetched
            quarantined += len(part.page.rejects)
            rows = np.arange(start, start + len(part.page.readings))
            start += len(rows)
            for number, one in enumerate(part.page.series):
                mine = rows[part.page.readings.series == number]
                if not len(mine):
                    continue
                times = readings.time[mine]
                inconsistent[mine] |= self._strays(one, times)
                wanted, came = self._due(one, times, present[mine], part)
                expected += wanted
                observed += came
        return Counts(
            fetched=fetched,
            duplicate=duplicate,
            quarantined=quarantined,
            due=expected,
            observed=observed,
            inconsistent=int(np.count_nonzero(inconsistent)),
        )

    def _strays(self, series: Series, times: Int64) -> Bool:
        """Which of a series' stamps do not fit their neighbours by the cadence."""
        odd = np.zeros(len(times), bool)
        for piece, cadence_s in self._cadences.of(series, Window(int(times.min()) - 1, int(times.max()))):
            if cadence_s:
                inside = (times > piece.start) & (times <= piece.end)
                odd[inside] = off_grid(times[inside], cadence_s)
        return odd

    def _due(self, series: Series, stamps: Int64, present: Bool, part: _Part) -> tuple[int, int]:
        """(how many readings of the series were due, how many of these came with a value).

        They are due up to the newest one that came: younger ones may be late. On the first page of
        a task they are due from the oldest one that came: the window may begin before the sensor
        did.
        """
        oldest, newest = int(stamps.min()), int(stamps.max())
        times = np.sort(stamps[present])
        # Not np.unique: it hashes, and takes longer than all the rest of this together.
        times = times[np.append(times[1:] != times[:-1], True)[: len(times)]]
        expected = observed = 0
        for window in part.read:
            asked = Window(window.start, min(window.end, newest))
            for piece, cadence_s in self._cadences.of(series, asked):
                step = int((cadence_s or 0) * SECOND)
                start = max(piece.start, oldest - step) if part.first else piece.start
                if not step or start >= piece.end:
                    continue
                # Where the cadence changes there is a stamp that both grids go through.
                phase = newest if piece.end == asked.end else piece.end
                wanted = due(Window(start, piece.end), step, phase)
                before, through = np.searchsorted(times, [start, piece.end], side="right").tolist()
                expected += wanted
                observed += min(through - before, wanted)
        return expected, observed

    @property
    def empty(self) -> bool:
        return not self._parts

    @property
    def ripe(self) -> bool:
        """True when the batch is large or old enough to be committed."""
        return self._rows >= MAX_READINGS or (
            self._since is not None and time.monotonic() - self._since >= MAX_AGE_S
        )

    def batch(self, *, run_id: int, seq: int, source: str, read_at: int, used: Counts) -> Batch:
        """What was taken in, as one batch. `used` carries requests and bytes."""
        numbering = _Numbering()
        readings: list[Readings] = []
        repeated: list[Readings] = []
        places: list[Place] = []
        for part in self._parts:
            repeated += [numbering.moved((one,), again) for one, again in part.repeated]
            if part.page is None:
                continue
            if len(part.page.readings):
                readings.append(numbering.moved(part.page.series, part.page.readings))
            of = numbering.numbers(part.page.series)
            places += [replace(p, series=int(of[p.series])) for p in part.page.places]
        every = Readings.concat(readings)
        counts = self._counts(numbering.series, every)
        kept, dropped = deduplicate(every)
        return Batch(
            run_id=run_id,
            seq=seq,
            source=source,
            read_at=read_at,
            series=tuple(numbering.series),
            readings=kept,
            places=tuple(places),
            rejects=tuple(r for part in self._parts if part.page for r in part.page.rejects),
            progress=planner.merge(part.progress for part in self._parts if part.progress is not None),
            counts=used + counts + Counts(duplicate=len(dropped)),
            replay=tuple(part.digest for part in self._parts if part.digest is not None),
            repeated=Readings.concat([*repeated, dropped]),
        )

    def refuse(self, series: Sequence[Series], objections: Iterable[Objection]) -> dict[str, str]:
        """Take out what rules keep out of the store; `series` are those of the batch.

        Of a partition with a reading whose rule is to stop, everything goes and its task is over:
        these partitions are given back, with what to tell. Other readings become rejects; a
        record of a replay stays where it is.
        """
        refusals: dict[Key, dict[int, Objection]] = {}
        for one in objections:
            refusals.setdefault(series[one.series].key, {})[one.time] = one
        self._rounds.update(refusals.keys())
        whole = {key for key in refusals if self._rounds[key] > ROUNDS}
        stopped: dict[str, str] = {}
        parts: list[_Part] = []
        answered: set[tuple[Key, int]] = set()
        changed = False
        # Of a reading that came more than once the last one counts: the others were repeated.
        for part in reversed(self._parts):
            hits = _hits(part, refusals, whole)
            changed = changed or bool(hits)
            stop = next(((one, row) for row, one in hits.items() if one.stop), None)
            if stop is not None and part.page is not None:
                stopped.setdefault(part.partition, _message(part.page, *stop))
            if hits and part.digest is not None:
                self.kept_out += 1
                continue
            parts.append(_without(part, hits, answered) if hits else part)
        if not changed:
            raise LoaderError("the checker keeps readings out that are not in the batch")
        parts.reverse()
        self.kept_out += sum(p.digest is not None for p in parts if p.partition in stopped)
        live = {p.partition for p in parts if p.progress is not None}
        self._parts = [p for p in parts if p.partition not in stopped] + [
            _Part(name, progress=Progress(name, ended=True, error=why))
            for name, why in stopped.items()
            if name in live
        ]
        return stopped


class _Numbering:
    """The series of a batch, each once, in order of first appearance."""

    def __init__(self) -> None:
        self.series: list[Series] = []
        self._index: dict[Key, int] = {}

    def numbers(self, series: Sequence[Series]) -> list[int]:
        out = []
        for one in series:
            number = self._index.setdefault(one.key, len(self.series))
            if number == len(self.series):
                self.series.append(one)
            out.append(number)
        return out

    def moved(self, series: Sequence[Series], readings: Readings) -> Readings:
        """The readings with the batch's numbers instead of their page's."""
        return replace(readings, series=np.array(self.numbers(series), np.int32)[readings.series])


def _hits(part: _Part, refusals: Refusals, whole: Container[Key]) -> dict[int, Objection]:
    """The rows of the part's page that are objected to; of the series in `whole` that is all."""
    if part.page is None:
        return {}
    hits: dict[int, Objection] = {}
    readings = part.page.readings
    for number, series in enumerate(part.page.series):
        by_time = refusals.get(series.key)
        if by_time is None:
            continue
        for row in np.flatnonzero(readings.series == number).tolist():
            one = by_time.get(int(readings.time[row]))
            if one is None and series.key in whole:
                first = next(iter(by_time.values()))
                one = replace(
                    first, reason=f"{first.rule} objects to one reading of its series after another"
                )
            if one is not None:
                hits[row] = one
    return hits


def _without(part: _Part, hits: Mapping[int, Objection], answered: set[tuple[Key, int]]) -> _Part:
    """The part without these readings. Those in `answered` came again later; the rest becomes
    rejects and is added to `answered`."""
    page = part.page
    assert page is not None  # noqa: S101 (a part without a page has no readings to object to)
    readings, rejects, repeated = page.readings, [], list(part.repeated)
    for row in sorted(hits, reverse=True):
        series = page.series[int(readings.series[row])]
        time = int(readings.time[row])
        if (series.key, time) in answered:
            again = replace(readings.take(np.array([row])), series=np.zeros(1, np.int32))
            repeated.append((series, again))
            continue
        answered.add((series.key, time))
        rejects.append(putaside.reject(part.partition, series, readings, row, hits[row]))
    kept = np.ones(len(readings), bool)
    kept[list(hits)] = False
    page = replace(page, readings=readings.take(kept), rejects=(*page.rejects, *reversed(rejects)))
    return replace(part, page=page, repeated=tuple(repeated))


def _message(page: Page, objection: Objection, row: int) -> str:
    series = page.series[int(page.readings.series[row])]
    return (
        f"stopped by the rule {objection.rule}: {objection.reason} (sensor {series.sensor}, "
        f"{series.parameter} at {putaside.stamp(objection.time)}, value {objection.value:.10g})"
    )
