"""QARTOD tests that look at a stretch of time behind each reading, for many series at once.

All look backwards only, so a later reading never changes a flag. See `loader.quality.kernels` for
what holds of all tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from loader.quality.rows import Rows
from loader.quality.stretches import counts, deviations, extremes, first_within
from loader.readings import Bool, Check, Flag, Float64, Int64, Reach, UInt8

MOST_DECIMALS = 6
"""More decimals than these count as these: values that were converted have all that fit."""


@dataclass(frozen=True, slots=True, eq=False)
class FlatLine:
    """Values that have not moved: with c = threshold // cadence (1 at least), the c + 1 rows that
    end here span less than `tolerance`, or nothing at all. Where rows come faster than the cadence
    says, these are all rows of c cadences, which have to reach back over more than c - 1 of them.

    suspect, fail  int64    microseconds the value may stand still; 0 is not given
    tolerance      float64  in units of the value; with 0 only equal values are flat
    cadence        int64    the usual microseconds between two rows; 0 is unknown: not evaluated
    gap            int64    rows further apart than this many microseconds end the run, and the
                            c + 1 rows have to lie within threshold + gap

    Rows without a value count among them; half of them have to have one, and two at least.
    Rows before there are so many are good.

    Reach: threshold + gap before.
    """

    suspect: Int64
    fail: Int64
    tolerance: Float64
    cadence: Int64
    gap: Int64

    @property
    def check(self) -> Check:
        return Check.FLAT

    @property
    def ruled(self) -> Bool:
        """By series, whether the test can be made."""
        ruled: Bool = (np.maximum(self.suspect, self.fail) > 0) & (self.cadence > 0)
        return ruled & (self.tolerance >= 0)

    def steps(self, threshold: Int64) -> Int64:
        """c by series; 0 where the threshold or the cadence is not given."""
        c = np.maximum(threshold // np.maximum(self.cadence, 1), 1)
        return np.where(self.ruled & (threshold > 0), c, 0)

    def reach(self, series: int) -> Reach:
        if not self.ruled[series]:
            return Reach()
        return Reach(before=int(max(self.suspect[series], self.fail[series]) + self.gap[series]))

    def flags(self, rows: Rows) -> UInt8:
        flag = np.full(len(rows), Flag.GOOD, np.uint8)
        levels = [(self.suspect, Flag.SUSPECT), (self.fail, Flag.FAIL)]
        steps = np.concatenate([self.steps(threshold)[rows.present] for threshold, _ in levels])
        steps = steps[steps > 0]
        if len(steps):
            tolerance = np.maximum(self.tolerance, np.nextafter(0, 1))
            broken = self._broken(rows)
            ends = _calm_ends(rows, broken, tolerance, int(steps.min()))
            if len(ends):
                start = np.flatnonzero(broken)
                start = start[np.searchsorted(start, ends, side="right") - 1]
                for threshold, level in levels:
                    flag[self._flat(rows, ends, start, threshold, tolerance)] = level
        return rows.finish(flag, self.ruled)

    def opening(self, rows: Rows, last: Int64, c: Int64) -> Int64:
        """The first row of the stretch that each row of `last` ends; it has c rows before it."""
        first = last - c
        since = rows.time[last] - c * _at(rows, last, self.cadence)
        fast = np.flatnonzero(rows.time[first] > since)
        run = np.searchsorted(rows.first, last[fast], side="right") - 1
        for number in np.unique(run).tolist():
            these, begin = fast[run == number], rows.first[number]
            time = rows.time[begin : begin + rows.length[number]]
            first[these] = begin + np.searchsorted(time, since[these], side="left")
        return first

    def _broken(self, rows: Rows) -> Bool:
        """Rows that no run goes back beyond: the first of a series, the first after a gap."""
        broken = np.empty(len(rows), bool)
        np.greater(rows.time[1:] - rows.time[:-1], _later(rows, self.gap), out=broken[1:])
        broken[rows.first] = True
        return broken

    def _flat(self, rows: Rows, ends: Int64, start: Int64, threshold: Int64, tolerance: Float64) -> Int64:
        """Those of `ends` that end a flat line of this threshold; `start` is how far each may go back."""
        c = np.broadcast_to(_at(rows, ends, self.steps(threshold)), ends.shape)
        kept = (c > 0) & (ends - c >= start)
        last, start, c = ends[kept], start[kept], c[kept]
        first, cadence = self.opening(rows, last, c), _at(rows, last, self.cadence)
        span = rows.time[last] - rows.time[first]
        kept = (first >= start) & (span > (c - 1) * cadence)
        kept &= span <= _at(rows, last, threshold + self.gap)
        if len(rows.absent):
            valued = counts(~np.isnan(rows.number), first, last)
            kept &= (valued >= 2) & (2 * valued > last - first)
        first, last = first[kept], last[kept]
        low, high = extremes(rows.number, first, last)
        with np.errstate(over="ignore"):
            flat: Int64 = last[high - low < _at(rows, last, tolerance)]
        return flat


@dataclass(frozen=True, slots=True, eq=False)
class AttenuatedSignal:
    """Values that move less than they should: over the rows of (time - period, time], the range
    (highest - lowest) or the standard deviation (of the population: divided by the number of
    values) is below `fail` or `suspect`.

    suspect, fail  float64  in units of the value
    period         int64    microseconds; 0 is not given
    least          int64    values needed in the period, 2 at least; with fewer the row is not
                            evaluated (2)

    Reach: period before.
    """

    suspect: Float64
    fail: Float64
    period: Int64
    least: Int64
    deviation: bool = False

    @property
    def check(self) -> Check:
        return Check.ATTENUATED

    @property
    def ruled(self) -> Bool:
        """By series, whether the test can be made."""
        ruled: Bool = self.period > 0
        return ruled & ~(np.isnan(self.suspect) & np.isnan(self.fail))

    def reach(self, series: int) -> Reach:
        return Reach(before=int(self.period[series])) if self.ruled[series] else Reach()

    def flags(self, rows: Rows) -> UInt8:
        if len(rows) == 0 or not self.ruled[rows.present].any():
            return rows.finish(np.empty(len(rows), np.uint8), np.zeros_like(self.ruled))
        first = first_within(rows, np.where(self.ruled, self.period, 0))
        last = np.arange(len(rows))
        movement = self.movement(rows.number, first, last)
        enough = counts(~np.isnan(rows.number), first, last) >= np.maximum(rows.each(self.least), 2)
        flag = rows.judged(movement < rows.each(self.suspect), movement < rows.each(self.fail))
        flag[~enough] = Flag.NOT_EVALUATED
        return rows.finish(flag, self.ruled)

    def movement(self, number: Float64, first: Int64, last: Int64) -> Float64:
        """The range or the standard deviation of each stretch [first, last]."""
        if self.deviation:
            return deviations(number, first, last)
        low, high = extremes(number, first, last)
        with np.errstate(over="ignore"):
            spans: Float64 = high - low
        return spans


@dataclass(frozen=True, slots=True, eq=False)
class PrecisionChange:
    """Values that have come with another number of decimals for a whole period: a changed unit,
    range or firmware.

    Compared are the values of (time - period, time] with those of the period before that. More:
    half of the later ones at least have more decimals than any of the earlier. Fewer: none of the
    later has as many as half of the earlier have at least. So a value that happens to end in
    zero, or an odd one that was converted, changes nothing. A row is suspect (3) from when the
    change is certain until the earlier period has it too.

    Decimals are those of the shortest decimal number that is this float64, 6 at most. A 0 is left
    out, since it looks the same in every precision.

    period  int64  microseconds; 0 is not given
    least   int64  values needed in each of the two periods, 2 at least; with fewer the row is not
                   evaluated (2)

    Reach: two periods before.
    """

    period: Int64
    least: Int64

    @property
    def check(self) -> Check:
        return Check.PRECISION

    def reach(self, series: int) -> Reach:
        return Reach(before=2 * int(self.period[series])) if self.period[series] > 0 else Reach()

    def flags(self, rows: Rows) -> UInt8:
        if len(rows) == 0 or not (self.period[rows.present] > 0).any():
            return rows.finish(np.empty(len(rows), np.uint8), np.zeros(len(self.period), bool))
        later, earlier, enough = self.decimals(rows)
        fewer = later[1] < earlier[0]
        flag = rows.judged((later[0] > earlier[1]) | fewer, None)
        flag[~enough] = Flag.NOT_EVALUATED
        return rows.finish(flag, self.period > 0)

    def decimals(self, rows: Rows) -> tuple[tuple[UInt8, UInt8], tuple[UInt8, UInt8], Bool]:
        """Of each row's later and earlier period the usual and the highest number of decimals,
        and whether both have values enough. Usual is the most that half of them have."""
        middle = first_within(rows, self.period)
        start = first_within(rows, self.period * 2)
        last = np.arange(len(rows))
        telling = ~np.isnan(rows.number) & (rows.number != 0)
        places = decimals(rows.number)
        of_all = [counts(telling, middle, last), counts(telling, start, middle - 1)]
        usual = [np.zeros(len(rows), np.uint8) for _ in of_all]
        most = [np.zeros(len(rows), np.uint8) for _ in of_all]
        for digits in range(1, MOST_DECIMALS + 1):
            having = telling & (places >= digits)
            of_these = (counts(having, middle, last), counts(having, start, middle - 1))
            for i, count in enumerate(of_these):
                usual[i] += (count > 0) & (2 * count >= of_all[i])
                most[i] += count > 0
        least = np.maximum(rows.each(self.least), 2)
        enough: Bool = (of_all[0] >= least) & (of_all[1] >= least)
        return (usual[0], most[0]), (usual[1], most[1]), enough


def decimals(number: Float64) -> UInt8:
    """How many decimals it takes to write each number, `MOST_DECIMALS` at most; of NaN the most."""
    places = np.zeros(len(number), np.uint8)
    with np.errstate(over="ignore", invalid="ignore"):
        for digits in range(MOST_DECIMALS):
            scale = 10.0**digits
            # A quotient of whole numbers is the float64 nearest to that decimal number.
            places += (np.rint(number * scale) / scale != number) & (np.abs(number) * scale < 2**53)
    return places


def _calm_ends(rows: Rows, broken: Bool, tolerance: Float64, steps: int) -> Int64:
    """Rows with a number before which `steps` steps in a row are unbroken and smaller than the
    tolerance: where a flat line of that many steps can end, and no row else."""
    calm = np.empty(len(rows), bool)
    with np.errstate(invalid="ignore", over="ignore"):
        step = rows.number[1:] - rows.number[:-1]
        np.abs(step, out=step)
        # A step to or from a missing value is NaN and not large: it breaks nothing.
        np.greater_equal(step, _later(rows, tolerance), out=calm[1:])
    calm[0] = True
    calm |= broken
    np.logical_not(calm, out=calm)
    done = 1
    while done < steps:
        shift = min(done, steps - done)
        calm[shift:] &= calm[:-shift]
        calm[:shift] = False
        done += shift
    ends = np.flatnonzero(calm)
    return ends[~np.isnan(rows.number[ends])] if len(rows.absent) else ends


def _at(rows: Rows, at: Int64, column: npt.NDArray[Any]) -> Any:
    """`Rows.each` for these rows."""
    each = rows.each(column)
    return each if np.ndim(each) == 0 else each[at]


def _later(rows: Rows, column: npt.NDArray[Any]) -> Any:
    """`Rows.each` for all rows but the first."""
    each = rows.each(column)
    return each if np.ndim(each) == 0 else each[1:]
