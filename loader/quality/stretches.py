"""What lies in many overlapping stretches of rows: lowest, highest, standard deviation, counts. Pure.

Stretches are given by their first and last row. Extremes and deviations of stretches of w rows
take log2(w) passes over the columns, and depend on the rows of the stretch alone, to the last bit.
"""

from __future__ import annotations

import numpy as np

from loader.quality.rows import Rows
from loader.readings import Bool, Float64, Int64


def extremes(number: Float64, first: Int64, last: Int64) -> tuple[Float64, Float64]:
    """The lowest and the highest of each stretch [first, last] of rows, NaN left out. Neither
    column may fall: only rows within stretches are worked on.

    Two overlapping stretches of 2^k rows, whose extremes are known from shorter ones, make up
    any stretch of up to 2^(k+1) rows.
    """
    if len(last) == 0:
        return np.empty(0), np.empty(0)
    rows, first, last = _together(first, last)
    low = number[rows]
    high = low.copy()
    level = np.frexp(last - first + 1)[1] - 1
    lowest, highest = np.empty(len(first)), np.empty(len(first))
    with np.errstate(invalid="ignore"):
        for k in range(int(level.max()) + 1):
            size = 1 << k
            chosen = np.flatnonzero(level == k)
            if len(chosen):
                right, left = last[chosen], first[chosen] + (size - 1)
                lowest[chosen] = np.fmin(low[right], low[left])
                highest[chosen] = np.fmax(high[right], high[left])
            if size < len(low):
                low[size:] = np.fmin(low[size:], low[:-size])
                high[size:] = np.fmax(high[size:], high[:-size])
    return lowest, highest


def _together(first: Int64, last: Int64) -> tuple[Int64, Int64, Int64]:
    """The rows within any of the stretches, and the stretches as positions among those rows."""
    apart = np.flatnonzero(first[1:] > last[:-1]) + 1
    opening, closing = np.append(0, apart), np.append(apart, len(first))
    begin, end = first[opening], last[closing - 1] + 1
    start = np.cumsum(end - begin) - (end - begin)
    rows = np.arange(int((end - begin).sum())) + np.repeat(begin - start, end - begin)
    moved = np.repeat(begin - start, closing - opening)
    return rows, first - moved, last - moved


_Moments = tuple[Float64, Float64, Float64]
"""Number of values, their mean, and the sum of squared distances from it."""


def deviations(number: Float64, first: Int64, last: Int64) -> Float64:
    """The standard deviation (of the population) of each stretch [first, last] of rows, NaN left
    out; NaN where none is left.

    Put together from blocks of 2^k rows by the formula of Chan, Golub and LeVeque (1979), which
    loses no digits to large means, and takes nothing from rows outside the stretch: running sums
    would carry their rounding on.
    """
    given = ~np.isnan(number)
    block: _Moments = (given.astype(np.float64), np.where(given, number, 0.0), np.zeros(len(number)))
    total: _Moments = (np.zeros(len(last)), np.zeros(len(last)), np.zeros(len(last)))
    length, end, size = last - first + 1, last.copy(), 1
    with np.errstate(over="ignore", invalid="ignore"):
        while (length >= size).any():
            chosen = np.flatnonzero(length & size)
            at = end[chosen]
            merged = _merge([a[chosen] for a in total], [b[at] for b in block])
            for a, m in zip(total, merged, strict=True):
                a[chosen] = m
            end[chosen] -= size
            if size < len(number):
                merged = _merge([b[:-size] for b in block], [b[size:] for b in block])
                for b, m in zip(block, merged, strict=True):
                    b[size:] = m
            size *= 2
        variance: Float64 = total[2] / np.where(total[0] > 0, total[0], np.nan)
        return np.sqrt(variance)


def _merge(a: list[Float64], b: list[Float64]) -> _Moments:
    n = a[0] + b[0]
    apart = b[1] - a[1]
    share = b[0] / np.maximum(n, 1)
    # The root first: the square of a large distance from a block without values is infinite.
    return n, a[1] + apart * share, a[2] + b[2] + (apart * np.sqrt(a[0] * share)) ** 2


def first_within(rows: Rows, period: Int64) -> Int64:
    """The first row of the same series in (time - period, time] of each row."""
    first = np.empty(len(rows), np.int64)
    for series, begin, length in zip(rows.present, rows.first, rows.length, strict=True):
        run = slice(begin, begin + length)
        time = rows.time[run]
        first[run] = np.searchsorted(time, time - max(int(period[series]), 1), side="right") + begin
    return first


def counts(what: Bool, first: Int64, last: Int64) -> Int64:
    """How many rows of each stretch [first, last] are marked."""
    upto = np.zeros(len(what) + 1, np.int64)
    np.cumsum(what, out=upto[1:])
    marked: Int64 = upto[last + 1] - upto[first]
    return marked
