"""Gathering pages of many partitions into one batch for the store."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from loader import planner
from loader.columns import deduplicate
from loader.contracts import Checker
from loader.quality.score import due
from loader.reading import Piece
from loader.readings import SECOND, Check, Flag, Page, Place, Progress, Readings, Reject, Series, Window
from loader.records import Batch, Counts

MAX_READINGS = 20_000
"""Readings in a batch: larger ones cost memory and gain nothing measurable."""

MAX_AGE_S = 2.0
"""Seconds that a page waits at most for others before it is committed."""


class Gathering:
    """The pages of the batch to come. Used by the writing thread alone."""

    def __init__(self, check: Checker) -> None:
        self._check = check
        self._clear()

    def _clear(self) -> None:
        self._index: dict[tuple[str, str, str], int] = {}
        self._series: list[Series] = []
        self._readings: list[Readings] = []
        self._places: list[Place] = []
        self._rejects: list[Reject] = []
        self._progress: list[Progress] = []
        self._counts = Counts()
        self._rows = 0
        self._since: float | None = None

    def add(self, piece: Piece) -> None:
        """Take a piece in."""
        if self._since is None:
            self._since = time.monotonic()
        self._progress.append(piece.progress)
        if piece.page is not None and piece.window is not None:
            self.add_page(piece.page, piece.progress.read, first=piece.first)

    def add_page(self, page: Page, read: Sequence[Window], *, first: bool = False) -> None:
        """Take a page in that answers for the windows `read`; `first` of its task or not."""
        numbers = np.array([self._number(s) for s in page.series], np.int32)
        readings = page.readings
        if len(readings):
            readings = replace(readings, series=numbers[readings.series])
            self._readings.append(readings)
        self._places.extend(replace(p, series=int(numbers[p.series])) for p in page.places)
        self._rejects.extend(page.rejects)
        self._rows += len(readings) + len(page.rejects)
        self._counts += self._expected(page, read, first)

    def _number(self, series: Series) -> int:
        number = self._index.setdefault(series.key, len(self._series))
        if number == len(self._series):
            self._series.append(series)
        return number

    def _expected(self, page: Page, read: Sequence[Window], first: bool) -> Counts:
        """What can be counted before the store is asked: what was due, and what came of it.

        A series' readings are due up to the newest one that came: younger ones may be late. On
        the first page of a task they are due from the oldest one that came: the window may begin
        before the sensor did.
        """
        readings = page.readings
        flag, tests = self._check.alone(page.series, readings)
        expected = observed = 0
        for number, series in enumerate(page.series):
            mine = readings.series == number
            if not series.cadence_s or not mine.any():
                continue
            step = int(series.cadence_s * SECOND)
            newest = int(readings.time[mine].max())
            oldest = int(readings.time[mine].min()) - step
            times = np.sort(readings.time[mine & (flag != Flag.MISSING)])
            # Not np.unique: it hashes, and takes longer than all the rest of this together.
            times = times[np.append(times[1:] != times[:-1], True)[: len(times)]]
            for window in read:
                start = max(window.start, oldest) if first else window.start
                asked = Window(start, min(window.end, newest))
                wanted = due(asked, step, newest) if asked else 0
                came = int(np.count_nonzero((times > asked.start) & (times <= asked.end)))
                expected += wanted
                observed += min(came, wanted)
        return Counts(
            fetched=page.fetched,
            quarantined=len(page.rejects),
            due=expected,
            observed=observed,
            inconsistent=int(np.count_nonzero(tests & np.uint32(Check.UNIT))),
        )

    @property
    def empty(self) -> bool:
        return not self._progress and not self._rows

    @property
    def ripe(self) -> bool:
        """True when the batch is large or old enough to be committed."""
        return self._rows >= MAX_READINGS or (
            self._since is not None and time.monotonic() - self._since >= MAX_AGE_S
        )

    def batch(
        self, *, run_id: int, seq: int, source: str, read_at: int, used: Counts, replay: Iterable[str] = ()
    ) -> Batch:
        """Close the batch and begin the next. `used` carries requests and bytes."""
        readings, repeated = deduplicate(Readings.concat(self._readings))
        batch = Batch(
            run_id=run_id,
            seq=seq,
            source=source,
            read_at=read_at,
            series=tuple(self._series),
            readings=readings,
            places=tuple(self._places),
            rejects=tuple(self._rejects),
            progress=planner.merge(self._progress),
            counts=self._counts + used + Counts(duplicate=repeated),
            replay=tuple(replay),
        )
        self._clear()
        return batch
