"""Whether a series has slowly become another: its latest weeks against a reference.

What counts is how large the difference is, never how improbable: readings that follow one another
are alike, so a test that takes them for independent calls nearly everything significant. There are
four effect sizes, and it takes several of them, several times in a row, to call it drift:

  ks     the Kolmogorov-Smirnov distance: the largest difference of the two shares of readings up
         to a value; 0 the same, 1 nothing in common
  psi    the population stability index over tenths of the reference: sum((p - q) ln(p / q)), half
         a reading added to each tenth; from 0.25 on it is usually called a major change
  shift  the difference of the medians in robust standard deviations (MAD) of the reference
  scale  the robust standard deviation over that of the reference; 0 is a series that froze

Everything is pure; times are microseconds UTC, windows (start, end]. Both windows are whole weeks
and are thinned alike, so that time of day and day of the week have the same shares in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from loader.quality.anomaly import NORMAL_MAD
from loader.quality.reference import usable
from loader.readings import DAY, HOUR, Float64, Int64, UInt8, Window

DRIFT = "drift"
"""The name under which a series stands with drift."""

YEAR = 364 * DAY
"""52 weeks: the same season, hours and days of the week a year before."""


class Against(StrEnum):
    """What the latest weeks are compared with."""

    FIRST = "first"
    """The first weeks of the series. Seasons are drift to it: for what has none, and for short series."""
    SEASON = "season"
    """The same weeks of the year before, and as many on either side."""


@dataclass(frozen=True, slots=True)
class DriftRule:
    """When a difference is drift. Lengths are in microseconds.

    window       how much of the latest time is compared; whole weeks
    reference    how much of the series' first time is the reference of `Against.FIRST`
    thin         one reading (the last) of each so long a stretch is used: neighbours tell little
    minimum      readings, after thinning, that both sides must have; fewer are not compared
    psi          must be reached, and either
    ks, shift    this distance, by a median that has moved by as much, up or down, or
    scale        a spread that has grown or shrunk by this factor, and half that distance, because
                 no change of spread alone comes to more than 1/2
    persistence  comparisons in a row that must find it, before it alarms; and that must not
                 find it, before it is over. Make one comparison a day.
    """

    window: int = 14 * DAY
    reference: int = 14 * DAY
    thin: int = 6 * HOUR
    minimum: int = 28
    ks: float = 0.4
    psi: float = 0.5
    shift: float = 1.5
    scale: float = 4.0
    persistence: int = 3


@dataclass(frozen=True, slots=True)
class Drift:
    """A comparison: the effect sizes, of how many readings on either side, and the verdict."""

    window: Window
    reference: int
    current: int
    ks: float
    psi: float
    shift: float
    scale: float
    drifting: bool


@dataclass(frozen=True, slots=True)
class DriftState:
    """Where a series stands after a comparison; the start is `DriftState()`."""

    alerting: bool = False
    in_a_row: int = 0


def ks_distance(reference: Float64, current: Float64) -> float:
    """The two-sample Kolmogorov-Smirnov statistic D of finite values; ties are counted as ties."""
    a, b = np.sort(reference), np.sort(current)
    every = np.concatenate((a, b))
    below_a = np.searchsorted(a, every, side="right") / len(a)
    below_b = np.searchsorted(b, every, side="right") / len(b)
    return float(np.max(np.abs(below_a - below_b)))


def stability_index(reference: Float64, current: Float64, bins: int = 10) -> float:
    """The population stability index over quantile bins of the reference. Of equal bounds one is
    kept, and a bound belongs to a bin of its own, so that a series resting at 0 is seen to leave it."""
    bounds = np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))
    # Even positions lie between bounds, odd ones on a bound.
    shares = []
    for values in (reference, current):
        place = np.searchsorted(bounds, values, side="left") + np.searchsorted(bounds, values, side="right")
        shares.append(np.bincount(place, minlength=2 * len(bounds) + 1).astype(np.float64))
    used = (shares[0] + shares[1]) > 0
    p, q = ((count[used] + 0.5) / (count[used] + 0.5).sum() for count in shares)
    return float(np.sum((q - p) * np.log(q / p)))


def compare(rule: DriftRule, window: Window, reference: Float64, current: Float64) -> Drift | None:
    """The effect sizes of finite, thinned values; None where either side has too few."""
    if min(len(reference), len(current)) < max(2, rule.minimum):
        return None
    if max(np.abs(reference).max(), np.abs(current).max()) > 1e150:
        # No effect turns with the unit, and squares of these would leave float64.
        reference, current = reference * 1e-160, current * 1e-160
    middle, spread = _middle(reference)
    now, wide = _middle(current)
    # A series that hardly moved has no scale of its own: a fiftieth of its level must do.
    least = 0.02 * abs(middle)
    unit = max(spread, least)
    ks, psi = ks_distance(reference, current), stability_index(reference, current)
    shift = _ratio(now - middle, unit)
    scale = 1.0 if max(spread, wide) <= least else _ratio(wide, unit)
    moved = ks >= rule.ks and abs(shift) >= rule.shift
    widened = 2 * ks >= rule.ks and not 1 < scale * rule.scale < rule.scale**2
    drifting = psi >= rule.psi and (moved or widened)
    return Drift(window, len(reference), len(current), ks, psi, shift, scale, drifting)


def drift(
    rule: DriftRule,
    against: Against,
    times: Int64,
    values: Float64,
    flags: UInt8 | None = None,
    *,
    ends: Sequence[int],
    first: int | None = None,
) -> list[Drift | None]:
    """For each of `ends`, the weeks up to it against the reference; None where there is too little
    to compare, or where the weeks are not all behind the reference.

    first  the time of the series' first reading (`series.first_time`), which `Against.FIRST` counts
           from; without it, the first usable reading given
    """
    t, v = thinned(rule, times, values, flags)
    if not len(t):
        return [None] * len(ends)
    begin = (int(t[0]) if first is None else first) - 1
    found: list[Drift | None] = []
    for end in ends:
        window = Window(end - rule.window, end)
        if against is Against.FIRST:
            back = Window(begin, begin + rule.reference)
        else:
            back = Window(window.start - YEAR - rule.window, window.end - YEAR + rule.window)
        if back.end > window.start:
            found.append(None)
            continue
        found.append(compare(rule, window, _cut(t, v, back), _cut(t, v, window)))
    return found


def thinned(rule: DriftRule, times: Int64, values: Float64, flags: UInt8 | None) -> tuple[Int64, Float64]:
    """The last usable reading of each stretch of `rule.thin`, in order of time."""
    good = np.flatnonzero(usable(values, flags))
    good = good[np.argsort(times[good], kind="stable")]
    of = (times[good] - 1) // rule.thin
    last = np.ones(len(of), bool)
    last[:-1] = of[1:] != of[:-1]
    return times[good[last]], values[good[last]]


def after_comparison(rule: DriftRule, state: DriftState, found: Drift | None) -> DriftState:
    """The state after a comparison; one that could not be made changes nothing."""
    if found is None:
        return state
    if found.drifting == state.alerting:
        return DriftState(state.alerting, 0)
    in_a_row = state.in_a_row + 1
    if in_a_row >= rule.persistence:
        return DriftState(found.drifting, 0)
    return DriftState(state.alerting, in_a_row)


def _cut(times: Int64, values: Float64, window: Window) -> Float64:
    low, high = np.searchsorted(times, (window.start, window.end), side="right")
    return values[low:high]


def _middle(values: Float64) -> tuple[float, float]:
    """Median and spread: the MAD, made comparable to a standard deviation; where half of the
    values are equal, the standard deviation itself."""
    middle = float(np.median(values))
    mad = float(np.median(np.abs(values - middle))) / NORMAL_MAD
    return middle, mad if mad > 0 else float(np.std(values))


def _ratio(part: float, unit: float) -> float:
    if unit > 0:
        return part / unit
    return 0.0 if part == 0 else float(np.copysign(np.inf, part))
