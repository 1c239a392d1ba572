"""What was usual before: the rolling, season-aware reference that readings are measured against.

Time is cut into cells (an hour by default, (start, end] like every window). A cell is represented
by its last usable reading, which thins dense series to one reading an hour and leaves the
distribution of single readings as it is. Each cell has two references, both of earlier cells only:

  season  the same cell of the earlier periods and its neighbours: at 08:00 the hours 07:00, 08:00
          and 09:00 of each of the last 28 days. 28 days are four whole weeks, so that working
          days and weekends have their fixed shares in it.
  recent  the last two days, whatever the hour: what weather has made usual.

A reading counts as far out only as far as it is out of both: the season forgives what happens
every day, the recent days forgive an episode that has lasted.

Everything is pure, and finite: what lies further back than `Season.reach` is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loader.readings import DAY, HOUR, Bool, Flag, Float64, Int64, UInt8

ROWS = 8192
"""Cells worked on at a time: the samples of so many fit the processor's cache and little memory."""


@dataclass(frozen=True, slots=True)
class Season:
    """How far back to look, and where. Lengths are in microseconds.

    cell        the grain of time; one reading of each is kept
    period      the season, a multiple of `cell`: a day, or a week where weeks matter most
    periods     how many earlier periods are looked at
    neighbours  cells on either side of the same cell of an earlier period
    recent      how much of the latest time, whatever the season; a multiple of `cell`
    minimum     a reference of fewer readings says nothing
    """

    cell: int = HOUR
    period: int = DAY
    periods: int = 28
    neighbours: int = 1
    recent: int = 2 * DAY
    minimum: int = 12

    def __post_init__(self) -> None:
        if self.cell <= 0 or self.period % self.cell or self.recent % self.cell:
            raise ValueError("season: period and recent must be whole multiples of cell, and cell positive")
        if self.periods < 1 or self.recent < self.cell or self.minimum < 2:
            raise ValueError(
                "season: periods must be at least 1, recent at least a cell, minimum at least 2"
            )
        if not 0 <= self.neighbours < self.period // self.cell:
            raise ValueError("season: neighbours must be fewer than the cells of a period")

    @property
    def reach(self) -> int:
        """A score depends on no reading this much or more before its own (microseconds)."""
        return -min(int(self.same.min()), int(self.latest.min())) * self.cell + self.cell

    @property
    def same(self) -> Int64:
        """The season's cells, counted from the one that is judged."""
        step = self.period // self.cell
        near = np.arange(-self.neighbours, self.neighbours + 1)
        return (near[None, :] - step * np.arange(1, self.periods + 1)[:, None]).ravel().astype(np.int64)

    @property
    def latest(self) -> Int64:
        """The recent cells, counted from the one that is judged."""
        return np.arange(-(self.recent // self.cell), 0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Cells:
    """One series by cells: `ids` of the occupied ones, ascending, the value that stands for each, the
    ids of those with anything to judge (`wanted`), and for every usable reading to be judged (`where`,
    its position, in order of time) the index of its cell among these (`member`)."""

    ids: Int64
    values: Float64
    wanted: Int64
    where: Int64
    member: Int64


def usable(values: Float64, flags: UInt8 | None) -> Bool:
    """Which values may be judged by and judged: finite, and good or not evaluated (1, 2)."""
    good = np.isfinite(values)
    if flags is not None:
        good &= (flags == Flag.GOOD) | (flags == Flag.NOT_EVALUATED)
    return good


def cells(
    season: Season,
    times: Int64,
    values: Float64,
    flags: UInt8 | None = None,
    after: int | Int64 | None = None,
) -> Cells:
    """The cells of one series; readings may come in any order. Of equal times the last counts.
    With `after` only readings later than it (one time, or one for each reading) are to be judged."""
    where = np.flatnonzero(usable(values, flags)).astype(np.int64)
    if len(where) and np.any(np.diff(times[where]) < 0):
        where = where[np.argsort(times[where], kind="stable")]
    # The cell is (start, end]: a reading stamped 09:00 belongs to the hour that ends then.
    of = (times[where] - 1) // season.cell
    last = np.ones(len(of), bool)
    last[:-1] = of[1:] != of[:-1]
    ids, kept = of[last], values[where[last]]
    if after is not None:
        chosen = (times > after)[where]
        where, of = where[chosen], of[chosen]
    new = np.ones(len(of), bool)
    new[1:] = of[1:] != of[:-1]
    return Cells(ids, kept, of[new], where, np.cumsum(new) - 1)


def samples(grid: Cells, offsets: Int64) -> Iterator[tuple[slice, Float64]]:
    """For portions of the cells with something to judge, the values of the cells at `offsets` from
    each, sorted along the rows; NaN, at the end, where a cell is empty."""
    ids, n = grid.ids, len(grid.ids)
    if not len(grid.wanted):
        return
    span = int(ids[-1] - ids[0]) + 1
    dense: Float64 | None = None
    if span <= 16 * n + 100_000:
        dense = np.full(span + 1, np.nan)
        dense[ids - ids[0]] = grid.values
    for start in range(0, len(grid.wanted), ROWS):
        part = slice(start, start + ROWS)
        wanted = grid.wanted[part, None] + offsets[None, :]
        if dense is not None:
            # The place before the first cell is the extra, empty one at the end.
            rows = dense[np.maximum(wanted - ids[0], -1)]
        else:
            at = np.searchsorted(ids, wanted).clip(max=n - 1)
            rows = np.where(ids[at] == wanted, grid.values[at], np.nan)
        rows.sort(axis=1)
        yield part, rows


def quantile(rows: Float64, count: Int64, share: float | Float64, first: Int64 | int = 0) -> Float64:
    """A quantile of each sorted row's `count` values from position `first` on, interpolated;
    NaN where there are none."""
    last = rows.shape[1] - 1
    place = np.minimum(first + share * np.maximum(count - 1, 0), last)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, last)
    line = np.arange(len(rows))
    a, b = rows[line, low], rows[line, high]
    part = place - low
    found = np.where(part > 0, a + (b - a) * part, a)
    return np.where(count > 0, found, np.nan)


def column(values: Float64) -> npt.NDArray[np.float64]:
    """One value a row, to be set against the row's sample."""
    return values[:, None]
