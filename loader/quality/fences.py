"""Fences around figures by their quantiles. Pure.

All are made alike, after Tukey's (Exploratory Data Analysis, 1977, 2D): beyond an edge by a multiple of
a spread, 1.5 times for the inner fence and 3 times for the outer. His edge and spread are the quartiles,
which suits normal data; sensor values have long tails, so here the edge is the quantile that all but
`TAIL` of the figures keep within, and the spread its distance from the median. No more than `TAIL` of
them can so lie beyond one fence, whatever their distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, isfinite, log10

import numpy as np

from loader.readings import Float64

TAIL = 0.001
"""The share of figures beyond the edge on one side."""

SUSPECT, FAIL = 1.5, 3.0
"""How many spreads the fences lie beyond the edge: Tukey's inner and outer fence."""

LEAST = 500
"""Figures that a fence is made of, at least."""

DIGITS = 4
"""Significant digits of a fence; it is rounded away from the figures."""

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on a quantity is suspect, and from where on it fails."""

    suspect: float
    fail: float


def spans(value: Float64, tail: float, bounds: Span) -> tuple[Span | None, Span | None]:
    """The fail and the suspect span of values; None where they hardly ever move."""
    low, middle, high = (float(q) for q in np.quantile(value, [tail, 0.5, 1 - tail]))
    if low == high:
        return None, None
    # A side without a spread of its own (most values are 0, say) takes that of the other.
    down, up = middle - low or high - middle, high - middle or middle - low

    def fence(spreads: float) -> Span:
        least, most = rounded(low - spreads * down, up=False), rounded(high + spreads * up, up=True)
        # A bound counts where the readings respect it.
        return (
            max(least, bounds[0]) if bounds[0] <= low else least,
            min(most, bounds[1]) if bounds[1] >= high else most,
        )

    fail, suspect = fence(FAIL), fence(SUSPECT)
    return (fail, suspect) if np.isfinite(fail).all() else (None, None)


def limits_above(figures: Float64) -> Limits | None:
    """Fences above figures that cannot be negative; None where they have no spread."""
    figures = figures[np.isfinite(figures)]
    if len(figures) < LEAST:
        return None
    middle, edge = (float(q) for q in np.quantile(figures, [0.5, 1 - TAIL]))
    spread = edge - middle
    limits = Limits(rounded(edge + SUSPECT * spread, up=True), rounded(edge + FAIL * spread, up=True))
    return limits if spread > 0 and isfinite(limits.fail) else None


def limits_below(figures: Float64) -> Limits | None:
    """A half and a quarter of what all but `TAIL` of the figures, none of them negative, reach; None where
    that is nothing. Fences that lie spreads below the edge would be negative."""
    figures = figures[np.isfinite(figures)]
    if len(figures) < LEAST:
        return None
    edge = float(np.quantile(figures, TAIL))
    return Limits(rounded(edge / 2, up=False), rounded(edge / 4, up=False)) if edge > 0 else None


def rounded(number: float, *, up: bool) -> float:
    """To `DIGITS` significant digits, upwards or downwards."""
    if number == 0 or not isfinite(number):
        return number
    scale = DIGITS - 1 - floor(log10(abs(number)))
    near = float(f"{number:.{DIGITS - 1}e}")
    if (near < number) if up else (near > number):
        near += 10.0**-scale if up else -(10.0**-scale)
    return float(f"{near:.{DIGITS - 1}e}")
