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
from typing import Protocol

import numpy as np

from loader.columns import sort_keys
from loader.contracts import Checker
from loader.readings import SECOND, Bool, Int64, Reach, Readings, Series, Window

ROWS = 250_000
"""About so many stored readings are looked at at once, by the cadence of their series."""

UNKNOWN_CADENCE = 60 * SECOND

NEAR = 100
"""Changed readings that are not more than so many cadences apart are loaded around together."""


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
    neighbours  stored readings whose flag or tests change, with the new ones
    touched     by series index the window in which anything changed, from the reading before it on
    """

    readings: Readings
    neighbours: Readings
    touched: dict[int, Window]


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Stretches that are looked at together; `changed` are positions in the changed readings."""

    stretches: list[Stretch]
    changed: list[Int64]


def flagged(check: Checker, series: Sequence[Series], changed: Readings, stored: Stored) -> Flagged:
    """Flag changed readings (sorted by series and time, each once), and their stored neighbours."""
    flag, tests = changed.flag.copy(), changed.tests.copy()
    neighbours: list[Readings] = []
    touched: dict[int, Window] = {}
    reaches = [check.reach(one) for one in series]
    for group in _groups(series, reaches, changed):
        around = _around(group, reaches, stored)
        merged, origin = _merge(stored.readings(around), changed, group)
        own = np.zeros(len(changed) + 1, bool)
        own[np.concatenate(group.changed)] = True
        written = own[origin]
        found, bits = check(series, merged, written)
        if len(found) != len(merged) or len(bits) != len(merged):
            raise ValueError(f"the checker answered {len(found)} flags for {len(merged)} readings")
        flag[origin[written]], tests[origin[written]] = found[written], bits[written]
        touches = affected(reaches, merged, written) & (origin < 0)
        differs = touches & ((found != merged.flag) | (bits != merged.tests))
        neighbours.append(merged.with_flags(found, bits).take(differs))
        for index, window in _touched(merged, written | differs):
            before = touched.get(index, window)
            touched[index] = Window(min(before.start, window.start), max(before.end, window.end))
    return Flagged(changed.with_flags(flag, tests), Readings.concat(neighbours), touched)


def affected(reaches: Sequence[Reach], readings: Readings, changed: Bool) -> Bool:
    """Which readings (sorted by series and time) have a changed one in their reach, or are one."""
    found = changed.copy()
    for index, part in _runs(readings):
        reach, time = reaches[index], readings.time[part]
        at = np.flatnonzero(changed[part])
        if not len(at):
            continue
        moved = time[at]
        low = np.searchsorted(moved, time - reach.before, side="left")
        high = np.searchsorted(moved, time + reach.after, side="right")
        near = high > low
        if reach.rows:
            rows = np.arange(len(time))
            below = np.searchsorted(at, rows - reach.rows, side="left")
            near |= np.searchsorted(at, rows + reach.rows, side="right") > below
        found[part] |= near
    return found


def _groups(series: Sequence[Series], reaches: Sequence[Reach], changed: Readings) -> Iterator[_Group]:
    stretches: list[Stretch] = []
    members: list[Int64] = []
    rows = 0.0
    for index, part in _runs(changed):
        reach, time = reaches[index], changed.time[part]
        wide = 2 * (reach.before + reach.after)
        cadence = (series[index].cadence_s or 0) * SECOND or UNKNOWN_CADENCE
        # Where a gap is not longer than what both sides load anyway, they are one stretch.
        cuts = np.flatnonzero(np.diff(time) > max(wide, NEAR * cadence)) + 1
        for positions in np.split(np.arange(part.start, part.stop), cuts):
            first, last = int(changed.time[positions[0]]), int(changed.time[positions[-1]])
            stretches.append(Stretch(index, first, last, max(1, reach.rows)))
            members.append(positions)
            rows += (last - first + wide) / cadence
            if rows >= ROWS:
                yield _Group(stretches, members)
                stretches, members, rows = [], [], 0.0
    if stretches:
        yield _Group(stretches, members)


def _around(group: _Group, reaches: Sequence[Reach], stored: Stored) -> list[Stretch]:
    """What has to be loaded: from the affected readings on both sides once more the reach."""
    widened = []
    for one, (first, last) in zip(group.stretches, stored.edges(group.stretches), strict=True):
        reach = reaches[one.series]
        low, high = min(first, one.first - reach.after), max(last, one.last + reach.before)
        widened.append(Stretch(one.series, low - reach.before, high + reach.after, one.rows))
    return widened


def _merge(stored: Readings, changed: Readings, group: _Group) -> tuple[Readings, Int64]:
    """Stored and changed readings of the group's series, sorted, each (series, time) once: a
    changed one replaces the stored one. And of each its position in `changed`, -1 if stored."""
    present = np.unique(np.array([s.series for s in group.stretches]))
    # All that changed in these series, whichever group it is flagged in: it is context.
    mine = np.flatnonzero(np.isin(changed.series, present))
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
    series = readings.series
    starts = np.concatenate([[0], np.flatnonzero(series[1:] != series[:-1]) + 1]) if len(series) else []
    ends = [*starts[1:], len(series)]
    for start, end in zip(starts, ends, strict=True):
        yield int(series[start]), slice(int(start), int(end))


def _touched(readings: Readings, changed: Bool) -> Iterator[tuple[int, Window]]:
    for index, part in _runs(readings):
        at = np.flatnonzero(changed[part])
        if len(at):
            time = readings.time[part]
            before = int(time[at[0] - 1]) if at[0] else int(time[0]) - 1
            yield index, Window(before, int(time[at[-1]]))
