"""QARTOD tests that look at a reading and its neighbours, for many series at once, and the verdict
of several tests.

After the IOOS manuals for quality control of real-time data (QARTOD). All comparisons are strict:
a value on a threshold passes. Thresholds are columns by series; see `loader.quality.rows.Kernel`.
A series without any threshold is not evaluated (2); a row without a finite value is missing (9),
save that the gross range and the climatology fail infinities and the time gap looks at times only.
`loader.quality.windows` has the tests that look at a stretch of time.

Everything is pure and pointwise in the series: the flags of one do not depend on another's rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loader.quality.rows import Kernel, Rows
from loader.readings import DAY, HOUR, SECOND, Bool, Check, Flag, Float64, Int64, Reach, UInt8, UInt32

Span4 = tuple[float, float, float, float]
"""(fail low, suspect low, suspect high, fail high); NaN leaves a side open."""

GROUP = 65_536
"""Rows that are tested at once: a few of their columns fit the cache of one core."""


@dataclass(frozen=True, slots=True, eq=False)
class GrossRange:
    """Outside (fail_low, fail_high) fails, outside (suspect_low, suspect_high) is suspect; the
    bounds themselves pass, infinities fail. A span the wrong way round is turned.

    Reach: the row alone.
    """

    fail_low: Float64
    fail_high: Float64
    suspect_low: Float64
    suspect_high: Float64

    @property
    def check(self) -> Check:
        return Check.GROSS_RANGE

    def reach(self, series: int) -> Reach:  # noqa: ARG002
        return Reach()

    def flags(self, rows: Rows) -> UInt8:
        if len(rows) == 0:
            return np.empty(0, np.uint8)
        fail, suspect = self.spans
        flag = rows.judged(_outside(rows, *suspect), _outside(rows, *fail))
        given = np.asarray(~np.isnan((*fail, *suspect)).all(0), bool)
        rows.finish(flag, given)
        flag[rows.absent[np.isinf(rows.value[rows.absent])]] = Flag.FAIL
        return flag

    @property
    def spans(self) -> tuple[tuple[Float64, Float64], tuple[Float64, Float64]]:
        """The fail span and the suspect span, each the right way round."""
        return _turned(self.fail_low, self.fail_high), _turned(self.suspect_low, self.suspect_high)


@dataclass(frozen=True, slots=True, eq=False)
class Spike:
    """A row that stands out from both of its neighbours in its series, by d:

    average       d = |x - (previous + next) / 2|
    differential  d = the smaller of the two differences to the neighbours if the row is a peak
                  or a dip, else 0

    d > fail fails, d > suspect is suspect. Without a finite neighbour on both sides a row is not
    evaluated (2); so the newest row's flag is provisional until the next one comes. A step is
    seen by `average` on both of its sides, and not by `differential`.

    Reach: one row before and one after, however far away.
    """

    suspect: Float64
    fail: Float64
    differential: bool = False

    @property
    def check(self) -> Check:
        return Check.SPIKE

    def reach(self, series: int) -> Reach:
        return Reach(rows=1) if _given(self.suspect, self.fail)[series] else Reach()

    def flags(self, rows: Rows) -> UInt8:
        n = len(rows)
        if n == 0:
            return np.empty(0, np.uint8)
        d = np.empty(n)
        d[0] = d[-1] = 0
        x, inner = rows.number, d[1:-1]
        with np.errstate(invalid="ignore", over="ignore"):
            if n < 3:
                pass
            elif self.differential:
                rise = x[1:] - x[:-1]
                np.minimum(rise[:-1], np.negative(rise[1:]), out=inner)
                # A peak rises and then falls; a dip is a peak upside down.
                np.maximum(inner, np.minimum(-rise[:-1], rise[1:]), out=inner)
            else:
                _means(x[:-2], x[2:], inner)
                np.subtract(x[1:-1], inner, out=inner)
                np.abs(inner, out=inner)
            flag = rows.judged(_above(rows, d, self.suspect), _above(rows, d, self.fail))
        flag[rows.first] = Flag.NOT_EVALUATED
        flag[rows.last] = Flag.NOT_EVALUATED
        if len(rows.absent):
            # Over the end of a series this meets its neighbour's first or last row: 2 as well.
            flag[np.minimum(rows.absent + 1, n - 1)] = Flag.NOT_EVALUATED
            flag[np.maximum(rows.absent - 1, 0)] = Flag.NOT_EVALUATED
        return rows.finish(flag, _given(self.suspect, self.fail))


@dataclass(frozen=True, slots=True, eq=False)
class RateOfChange:
    """|difference to the row before| / |seconds since it| above `fail` or `suspect`, which are
    in units of the value per second. The first row, and one after a row without a finite value,
    is good. Seconds are exact to the microsecond.

    Reach: one row before, however far away.
    """

    suspect: Float64
    fail: Float64

    @property
    def check(self) -> Check:
        return Check.RATE

    def reach(self, series: int) -> Reach:
        return Reach(rows=1) if _given(self.suspect, self.fail)[series] else Reach()

    def flags(self, rows: Rows) -> UInt8:
        n = len(rows)
        if n == 0:
            return np.empty(0, np.uint8)
        x, rate = rows.number, np.empty(n)
        rate[0] = 0
        seconds = (rows.time[1:] - rows.time[:-1]) / SECOND
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            np.subtract(x[1:], x[:-1], out=rate[1:])
            rate[1:] /= seconds
            np.abs(rate, out=rate)
            flag = rows.judged(_above(rows, rate, self.suspect), _above(rows, rate, self.fail))
        flag[rows.first] = Flag.GOOD
        if len(rows.absent):
            after = rows.absent + 1
            flag[after[after < n]] = Flag.GOOD
        return rows.finish(flag, _given(self.suspect, self.fail))


@dataclass(frozen=True, slots=True, eq=False)
class TimeGap:
    """More than `limit` microseconds since the row before fails. A series' first row has the
    flag of its second; the only row of a series is not evaluated. Values do not matter: a row
    that came without one is no gap.

    Reach: one row before and one after, however far away.
    """

    limit: Int64

    @property
    def check(self) -> Check:
        return Check.GAP

    def reach(self, series: int) -> Reach:
        return Reach(rows=1) if self.limit[series] > 0 else Reach()

    def flags(self, rows: Rows) -> UInt8:
        n = len(rows)
        if n == 0:
            return np.empty(0, np.uint8)
        step = np.empty(n, np.int64)
        step[0] = 0
        np.subtract(rows.time[1:], rows.time[:-1], out=step[1:])
        flag = rows.judged(None, step > rows.each(self.limit))
        flag[rows.first] = flag[np.minimum(rows.first + 1, n - 1)]
        flag[rows.first[rows.length == 1]] = Flag.NOT_EVALUATED
        ruled = self.limit[rows.present] > 0
        if not ruled.all():
            flag[~np.repeat(ruled, rows.length)] = Flag.NOT_EVALUATED
        return flag


@dataclass(frozen=True, slots=True, eq=False)
class Climatology:
    """Outside what is usual in the month and the hour of the day.

    spans  float64  (tables, 12, 24, 4): by month and hour a `Span4`, as `climatology` makes it
    table  int64    by series, which of the tables; -1 for none
    shift  int64    by series, microseconds to add to UTC before month and hour are taken: a
                    fixed zone without summer time, which the weather does not keep either

    Outside the fail span fails, outside the suspect span is suspect, the bounds pass, infinities
    fail. A month and hour without a span is not evaluated, and says nothing of infinities either.

    Reach: the row alone.
    """

    spans: Float64
    table: Int64
    shift: Int64

    @property
    def check(self) -> Check:
        return Check.CLIMATOLOGY

    def reach(self, series: int) -> Reach:  # noqa: ARG002
        return Reach()

    def cells(self, rows: Rows) -> tuple[Int64, Int64]:
        """Month (0 is January) and hour of each row."""
        local = rows.time + rows.each(self.shift)
        days = local // DAY
        months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        return months % 12, (local - days * DAY) // HOUR

    def flags(self, rows: Rows) -> UInt8:
        if len(rows) == 0:
            return np.empty(0, np.uint8)
        if len(self.spans) == 0:
            return rows.finish(np.full(len(rows), Flag.NOT_EVALUATED, np.uint8), self.table < 0)
        month, hour = self.cells(rows)
        cell = (np.maximum(rows.each(self.table), 0) * 12 + month) * 24 + hour
        flat = self.spans.reshape(-1, 4)
        fail = _turned(flat[:, 0], flat[:, 3])
        suspect = _turned(flat[:, 1], flat[:, 2])
        x = rows.number
        far = (x < fail[0][cell]) | (x > fail[1][cell])
        flag = rows.judged((x < suspect[0][cell]) | (x > suspect[1][cell]), far)
        given = np.asarray(~np.isnan(flat).all(1), bool)
        flag[~given[cell]] = Flag.NOT_EVALUATED
        rows.finish(flag, self.table >= 0)
        # Only where there is a span: whose other series have one must not matter.
        at = rows.absent[np.isinf(rows.value[rows.absent])]
        flag[at[given[cell[at]] & (self.table[rows.series[at]] >= 0)]] = Flag.FAIL
        return flag


def _means(a: Float64, b: Float64, out: Float64) -> None:
    """(a + b) / 2, also where no float64 holds the sum."""
    try:
        with np.errstate(over="raise"):
            np.add(a, b, out=out)
        out *= 0.5
    except FloatingPointError:
        np.add(a * 0.5, b * 0.5, out=out)


def climatology(spans: Mapping[tuple[int | None, int | None], Span4]) -> Float64:
    """One table (12, 24, 4) from spans by (month 1 to 12, hour 0 to 23), where None is any.

    A month and hour take the span given for both, else the one of the month, else the one of
    the hour, else the one of (None, None), else none.
    """
    table = np.full((12, 24, 4), np.nan)
    for month, hour in sorted(spans, key=lambda key: (key[0] is not None, key[1] is not None)):
        months = slice(None) if month is None else month - 1
        hours = slice(None) if hour is None else hour
        table[months, hours] = spans[month, hour]
    return table


def aggregate(*flags: UInt8) -> UInt8:
    """The worst of several tests' flags, row by row: 4 before 3 before 1 before 2 before 9."""
    if not flags:
        raise ValueError("no flags to take the worst of; give those of one test at least")
    worst = _rank(flags[0])
    for more in flags[1:]:
        np.maximum(worst, _rank(more), out=worst)
    # Ranks 0 to 4 are the flags 9, 2, 1, 3, 4.
    low = worst - np.uint8(1) < 2
    worst ^= low.view(np.uint8) * np.uint8(3)
    worst[worst == 0] = Flag.MISSING
    return worst


def evaluate(rows: Rows, tests: Sequence[Kernel], failing: UInt32 | None = None) -> tuple[UInt8, UInt32]:
    """The verdict of these tests and the bits of those that object (3 or 4), row by row; the bits of
    those that fail a row (4) are set in `failing` as well.

    A row without a value is missing (9) whatever the tests say; their bits stay.
    """
    flag = np.empty(len(rows), np.uint8)
    bits = np.zeros(len(rows), np.uint32)
    for part, group in rows.groups(GROUP):
        flag[part] = _verdict(group, tests, bits[part], None if failing is None else failing[part])
    return flag, bits


def _verdict(rows: Rows, tests: Sequence[Kernel], bits: UInt32, failing: UInt32 | None) -> UInt8:
    """The worst flags of these tests; sets the bits of those that object, and of those that fail."""
    found = []
    for test in tests:
        flag = test.flags(rows)
        found.append(flag)
        objects = np.flatnonzero(flag - np.uint8(Flag.SUSPECT) < 2)
        bits[objects] |= np.uint32(test.check)
        if failing is not None:
            failing[flag == Flag.FAIL] |= np.uint32(test.check)
    flag = aggregate(*found) if found else np.full(len(rows), Flag.NOT_EVALUATED, np.uint8)
    flag[rows.absent[np.isnan(rows.value[rows.absent])]] = Flag.MISSING
    return flag


def _rank(flag: UInt8) -> UInt8:
    """How bad: 0 to 4 for the flags 9, 2, 1, 3, 4."""
    low = flag < 3
    rank = flag ^ (low.view(np.uint8) * np.uint8(3))
    rank *= (flag < 9).view(np.uint8)
    return rank


def _given(*thresholds: Float64) -> Bool:
    """By series, whether any of the thresholds is given."""
    given = ~np.isnan(thresholds[0])
    for more in thresholds[1:]:
        given |= ~np.isnan(more)
    return given


def _above(rows: Rows, quantity: Float64, threshold: Float64) -> Bool | None:
    """Where a quantity is above its series' threshold; None where no series has one."""
    if np.isnan(threshold[rows.present]).all():
        return None
    found: Bool = quantity > rows.each(threshold)
    return found


def _outside(rows: Rows, low: Float64, high: Float64) -> Bool | None:
    """Where a value is outside its series' span; None where no series has one."""
    if np.isnan(low[rows.present]).all() and np.isnan(high[rows.present]).all():
        return None
    found: Bool = rows.number < rows.each(low)
    found |= rows.number > rows.each(high)
    return found


def _turned(low: Float64, high: Float64) -> tuple[Float64, Float64]:
    wrong = low > high
    if not wrong.any():
        return low, high
    return np.where(wrong, high, low), np.where(wrong, low, high)
