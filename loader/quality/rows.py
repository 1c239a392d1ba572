"""Readings of many series laid out for tests that look at neighbours, and how far tests look. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from loader.readings import Bool, Check, Flag, Float64, Int32, Int64, Reach, UInt8

NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Readings sorted by series and, within one, by time; no (series, time) twice.

    The rows of one series must lie together and in the order of their times. A value that only
    stands for none (a sentinel) must be NaN here, or it would be taken for a spike.

    series   int32    index into the thresholds of the tests
    time     int64    microseconds UTC
    value    float64  NaN where there is none
    number   float64  the same with infinities as NaN: no instrument measures them
    absent   int64    positions where `number` is NaN
    first    int64    position of each series' first row
    length   int64    and how many rows it has
    present  int32    the series that occur, in their order here
    """

    series: Int32
    time: Int64
    value: Float64
    number: Float64
    absent: Int64
    first: Int64
    length: Int64
    present: Int32

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def of(cls, series: Int32, time: Int64, value: Float64) -> Self:
        """Columns that are in order already; this is not looked at again."""
        n = len(time)
        if n == 0:
            return cls(series, time, value, value, NONE, NONE, NONE, series)
        changes = np.flatnonzero(series[1:] != series[:-1])
        first = np.empty(len(changes) + 1, np.int64)
        first[0] = 0
        np.add(changes, 1, out=first[1:])
        finite = np.isfinite(value)
        number, absent = value, NONE
        if not finite.all():
            absent = np.flatnonzero(~finite)
            if not np.isnan(value[absent]).all():
                number = value.copy()
                number[absent] = np.nan
        length = np.empty_like(first)
        np.subtract(first[1:], first[:-1], out=length[:-1])
        length[-1] = n - first[-1]
        return cls(series, time, value, number, absent, first, length, series[first])

    @property
    def last(self) -> Int64:
        """Position of each series' last row."""
        return self.first + self.length - 1

    def groups(self, size: int) -> Iterator[tuple[slice, Rows]]:
        """The rows in groups of whole series, of `size` rows or a little more, and where each
        group stands: work on columns that fit the processor's cache is several times faster."""
        end = self.first + self.length
        begin, run = 0, 0
        while run < len(self.first):
            until = min(int(np.searchsorted(end, begin + size)) + 1, len(self.first))
            part = slice(begin, int(end[until - 1]))
            inside = slice(*np.searchsorted(self.absent, (part.start, part.stop)))
            yield (
                part,
                Rows(
                    self.series[part],
                    self.time[part],
                    self.value[part],
                    self.number[part],
                    self.absent[inside] - begin,
                    self.first[run:until] - begin,
                    self.length[run:until],
                    self.present[run:until],
                ),
            )
            begin, run = part.stop, until

    def each(self, column: npt.NDArray[Any]) -> Any:
        """A column of values by series as one value a row, or one for all where they are equal."""
        of_present = column[self.present]
        if (of_present == of_present[0]).all():
            return of_present[0]
        return np.repeat(of_present, self.length)

    def judged(self, over: Bool | None, far_over: Bool | None) -> UInt8:
        """1 good; 3 where `over`; 4 where `far_over`. The masks are used up."""
        if far_over is None:
            if over is None:
                return np.full(len(self), Flag.GOOD, np.uint8)
            flag = over.view(np.uint8)
            flag += flag
        elif over is None:
            flag = far_over.view(np.uint8)
            flag *= np.uint8(3)
        else:
            over |= far_over
            flag = over.view(np.uint8)
            flag += flag
            flag += far_over.view(np.uint8)
        flag += np.uint8(1)
        return flag

    def finish(self, flag: UInt8, ruled: Bool) -> UInt8:
        """Not evaluated (2) where no threshold is given for the series (`ruled` by series is
        false), missing (9) where there is no number; in place."""
        of_present = ruled[self.present]
        if not of_present.all():
            flag[~np.repeat(of_present, self.length)] = Flag.NOT_EVALUATED
        flag[self.absent] = Flag.MISSING
        return flag


class Kernel(Protocol):
    """One test with its thresholds, as columns by series: NaN, or 0 for a time, is not given.

    `flags` gives every row 1 good, 2 not evaluated, 3 suspect, 4 fail or 9 missing; it depends
    on nothing outside `reach(series)` of the row.
    """

    @property
    def check(self) -> Check: ...

    def flags(self, rows: Rows) -> UInt8: ...

    def reach(self, series: int) -> Reach: ...


def reach(tests: Iterable[Kernel], series: int) -> Reach:
    """How far all of these tests together look, in one series."""
    total = Reach()
    for test in tests:
        total |= test.reach(series)
    return total
