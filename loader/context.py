"""What a commit looks at around the readings it writes, so that flags depend neither on how the
data was cut nor on the order in which it came. Pure: a store hands in what it has stored.

A reading that is new or revised can change the flags of stored neighbours. Those are its
*affected* readings: all that have it in their reach. To flag them anew takes everything in their
own reach. So around each stretch of changed readings are loaded: the affected ones, and around
these once more the reach.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from loader.columns import sort_keys
from loader.contracts import Checker
from loader.readings import Bool, Int64, Reach, Readings, Series, Window

ROWS = 250_000
"""About so many stored readings are looked at together; of one stretch always all."""

NEAR = 100
"""Changed readings with no more than about so many stored ones between them are one stretch."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Times `first` to `last`, both included, of the series with this index; and `rows` stored
    readings on either side of them."""

    series: int
    first: int
    last: int
    rows: int


class Stored(Protocol):
    """What a store has, inside the transaction of the commit."""

    def count(self, stretches: Sequence[Stretch]) -> Sequence[int]:
        """For each stretch how many readings are stored from `first` to `last`; ROWS, and no
        more are counted, where there are more."""

    def edges(self, stretches: Sequence[Stretch]) -> Sequence[tuple[int, int]]:
        """For each stretch the times of the `rows`-th stored reading before `first` and of the
        `rows`-th after `last`; of the farthest where there are fewer, `first` and `last`
        themselves where there are none."""

    def readings(self, stretches: Sequence[Stretch]) -> Readings:
        """The stored readings in the stretches and the `rows` nearest ones on either side of each,
        flags and tests as stored; `series` is the index. In any order, one may come twice."""


@dataclass(frozen=True, slots=True, eq=False)
class Flagged:
    """What is to be written.

    readings    the changed readings, with their flags
    neighbours  stored readings whose flag or tests change, with the new ones; one may come twice
    touched     by series index the window in which anything changed, from the reading before it on
    """

    readings: Readings
    neighbours: Readings
    touched: dict[int, Window]


def flagged(check: Checker, series: Sequence[Series], changed: Readings, stored: Stored) -> Flagged:
    """Flag changed readings (sorted by series and time, each once), and their stored neighbours."""
    flag, tests = changed.flag.copy(), changed.tests.copy()
    neighbours: list[Readings] = []
    touched: dict[int, Window] = {}
    reaches = [check.reach(one) for one in series]
    for parts, around in _groups(reaches, changed, stored):
        own = np.zeros(len(changed) + 1, bool)
        for part in parts:
            own[part] = True
        # All that changed in these series, whichever group it is flagged in: it is context.
        present = np.zeros(len(series), bool)
        present[[one.series for one in around]] = True
        merged, origin = _merge(stored.readings(around), changed, np.flatnonzero(present[changed.series]))
        written = own[origin]
        found, bits = check(series, merged, written)
        if len(found) != len(merged) or len(bits) != len(merged):
            raise ValueError(f"the checker answered {len(found)} flags for {len(merged)} readings")
        flag[origin[written]], tests[origin[written]] = found[written], bits[written]
        differs = np.flatnonzero((origin < 0) & ((found != merged.flag) | (bits != merged.tests)))
        differs = differs[affected(reaches, merged, written, differs)]
        neighbours.append(merged.with_flags(found, bits).take(differs))
        written[differs] = True
        for index, window in _touched(merged, written):
            before = touched.get(index, window)
            touched[index] = Window(min(before.start, window.start), max(before.end, window.end))
    return Flagged(changed.with_flags(flag, tests), Readings.concat(neighbours), touched)


def affected(reaches: Sequence[Reach], readings: Readings, changed: Bool, some: Int64) -> Bool:
    """Which of `some` readings, ascending positions, have a changed one in their reach. The readings
    are sorted by series and time."""
    found = np.zeros(len(some), bool)
    for index, part in _runs(readings):
        mine = slice(*np.searchsorted(some, [part.start, part.stop]))
        at = np.flatnonzero(changed[part])
        if mine.start == mine.stop or not len(at):
            continue
        reach, time, rows = reaches[index], readings.time[part], some[mine] - part.start
        low = np.searchsorted(time[at], time[rows] - reach.before, side="left")
        high = np.searchsorted(time[at], time[rows] + reach.after, side="right")
        near = high > low
        if reach.rows:
            below = np.searchsorted(at, rows - reach.rows, side="left")
            near |= np.searchsorted(at, rows + reach.rows, side="right") > below
        found[mine] = near
    return found


def _groups(
    reaches: Sequence[Reach], changed: Readings, stored: Stored
) -> Iterator[tuple[list[slice], list[Stretch]]]:
    """Parts of the changed readings that are looked at together, and what has to be loaded around
    them."""
    parts: list[slice] = []
    around: list[Stretch] = []
    rows = 0
    all_parts = _parts(reaches, changed, stored)
    if not all_parts:
        return
    stretches = [_stretch(reaches, changed, part) for part in all_parts]
    widened = _widened(reaches, stretches, stored)
    for part, one, inside in zip(all_parts, widened, stored.count(widened), strict=True):
        if parts and rows + inside > ROWS:
            yield parts, around
            parts, around, rows = [], [], 0
        parts.append(part)
        around.append(one)
        rows += inside
    if parts:
        yield parts, around


def _parts(reaches: Sequence[Reach], changed: Readings, stored: Stored) -> list[slice]:
    """The changed readings, cut between series, and where much is stored between two of them.

    It is correct to cut anywhere: what lies around a part is loaded with it.
    """
    done = []
    waiting = [part for _, part in _runs(changed)]
    while waiting:
        whole = [_stretch(reaches, changed, part) for part in waiting]
        halves = []
        for part, one, inside in zip(waiting, whole, stored.count(whole), strict=True):
            if inside >= ROWS and part.stop - part.start > 1:
                middle = (part.start + part.stop) // 2
                halves += [slice(part.start, middle), slice(middle, part.stop)]
            elif inside:
                reach = reaches[one.series]
                # Gaps no wider than what both of their sides load anyway are no reason to cut.
                far = max(2 * (reach.before + reach.after), NEAR * (one.last - one.first) // inside)
                cuts = np.flatnonzero(np.diff(changed.time[part]) > far) + part.start + 1
                edges = [part.start, *cuts.tolist(), part.stop]
                done += [slice(start, stop) for start, stop in pairwise(edges)]
            else:
                done.append(part)
        waiting = halves
    return done


def _stretch(reaches: Sequence[Reach], changed: Readings, part: slice) -> Stretch:
    index = int(changed.series[part.start])
    first, last = int(changed.time[part.start]), int(changed.time[part.stop - 1])
    return Stretch(index, first, last, max(1, reaches[index].rows))


def _widened(reaches: Sequence[Reach], stretches: list[Stretch], stored: Stored) -> list[Stretch]:
    """What has to be loaded: from the affected readings on both sides once more the reach."""
    widened = []
    for one, (first, last) in zip(stretches, stored.edges(stretches), strict=True):
        reach = reaches[one.series]
        low, high = min(first, one.first - reach.after), max(last, one.last + reach.before)
        widened.append(Stretch(one.series, low - reach.before, high + reach.after, one.rows))
    return widened


def _merge(stored: Readings, changed: Readings, mine: Int64) -> tuple[Readings, Int64]:
    """Stored readings and the changed ones at the positions `mine`, sorted, each (series, time)
    once: a changed one replaces the stored one. And of each its position in `changed`, -1 if stored."""
    if not len(stored):
        return changed.take(mine), mine
    every = Readings.concat([stored, changed.take(mine)])
    origin = np.concatenate([np.full(len(stored), -1, np.int64), mine])
    order, _ = sort_keys(every.series.astype(np.int64), every.time)
    s, t = every.series[order], every.time[order]
    last = np.ones(len(order), bool)
    np.logical_or(s[1:] != s[:-1], t[1:] != t[:-1], out=last[:-1])
    kept = order[last]
    return every.take(kept), origin[kept]


def _runs(readings: Readings) -> Iterator[tuple[int, slice]]:
    """(series index, where its readings are), for those that have any."""
    if not len(readings):
        return
    series = readings.series
    starts = [0, *(np.flatnonzero(series[1:] != series[:-1]) + 1).tolist()]
    ends = [*starts[1:], len(series)]
    for start, end in zip(starts, ends, strict=True):
        yield int(series[start]), slice(start, end)


def _touched(readings: Readings, changed: Bool) -> Iterator[tuple[int, Window]]:
    for index, part in _runs(readings):
        at = np.flatnonzero(changed[part])
        if len(at):
            time = readings.time[part]
            before = int(time[at[0] - 1]) if at[0] else int(time[0]) - 1
            yield index, Window(before, int(time[at[-1]]))
