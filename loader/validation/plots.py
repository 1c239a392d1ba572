"""Plots of one series as inline SVG: its values with what was flagged, and how complete each day is.

Colours are classes, which the page's style sheet fills in for light and dark. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from math import floor, log10

import numpy as np

from loader.quality.checks import check_names
from loader.readings import DAY, SECOND, Flag, Float64, Int64, Readings
from loader.validation.result import when

WIDTH, HEIGHT = 900, 190
LEFT, RIGHT, TOP, BOTTOM = 64, 8, 8, 22
INNER = WIDTH - LEFT - RIGHT

LARGEST = 1.7e308

POINTS = 400
"""So many flagged readings are drawn at most, spread evenly."""

BARS = 300
"""More days than this share bars."""


def values(readings: Readings, unit: str, *, cadence_s: float | None, cycles: bool) -> str:
    """The values of one series over time, suspect and failed ones as points, missing ones as ticks
    below; the line is broken at gaps. `readings` are sorted by time."""
    time, value, flag = readings.time, readings.value, readings.flag
    real = (flag != Flag.MISSING) & np.isfinite(value)
    begin, end = int(time[0]), int(time[-1])
    x = LEFT + (time - begin) / max(end - begin, 1) * INNER
    low, high = (float(value[real].min()), float(value[real].max())) if real.any() else (0.0, 1.0)
    if not high / 2 - low / 2 > abs(high) * 1e-12:
        around = max(1.0, abs(low) / 1000)
        low, high = max(low - around, -LARGEST), min(high + around, LARGEST)
    y = np.full(len(time), np.nan)
    # Half of each first: the difference of two large numbers may be none.
    share = (value[real] / 2 - low / 2) / (high / 2 - low / 2)
    y[real] = TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)
    gap = 1.5 * (cadence_s or 0) * SECOND
    parts = [
        *_grid(low, high, unit),
        *_times(begin, end, cycles),
        f'<path class="line" d="{_path(x, y, time, np.flatnonzero(real), gap)}"/>',
        *_ticks(x[flag == Flag.MISSING]),
    ]
    for level, name in ((Flag.SUSPECT, "suspect"), (Flag.FAIL, "fail")):
        for i in _spread(np.flatnonzero((flag == level) & real), POINTS).tolist():
            names = ", ".join(check_names(int(readings.tests[i])))
            said = escape(f"{when(int(time[i]), cycles)}: {value[i]:g} {unit}, {names}")
            point = f'<circle class="{name}" cx="{x[i]:.1f}" cy="{y[i]:.1f}" r="3">'
            parts.append(f"{point}<title>{said}</title></circle>")
    label = f"{len(time):,} readings from {when(begin, cycles)} to {when(end, cycles)}"
    return _svg(HEIGHT, label, parts)


def completeness(days: Mapping[int, tuple[int, int]]) -> str:
    """A strip with a bar a day (several days where there are many): how many of the readings that
    were due came."""
    if not days:
        return ""
    first, last = min(days), max(days)
    each = -(-((last - first) // DAY + 1) // BARS)
    count = -(-((last - first) // DAY + 1) // each)
    due, came = [0] * count, [0] * count
    for day, (wanted, observed) in days.items():
        due[(day - first) // DAY // each] += wanted
        came[(day - first) // DAY // each] += observed
    parts = []
    for i, (wanted, observed) in enumerate(zip(due, came, strict=True)):
        if not wanted:
            continue
        share = observed / wanted
        date = when(first + i * each * DAY)[:10]
        said = f"{date}{f' and {each - 1} more days' if each > 1 else ''}: {observed:,} of {wanted:,}"
        x, wide = LEFT + i * INNER / count, INNER / count
        where = f'x="{x:.2f}" width="{wide:.2f}"'
        parts.append(
            f'<g><title>{said}</title><rect class="due" {where} y="0" height="24"/>'
            f'<rect class="came" {where} y="{24 - 24 * share:.1f}" height="{24 * share:.1f}"/></g>'
        )
    return _svg(26, "readings that came, of those due, by day", parts)


def _svg(height: int, label: str, parts: list[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def _path(x: Float64, y: Float64, time: Int64, at: Int64, gap: float) -> str:
    """The line through the rows `at`, thinned to the highest and the lowest of each pixel."""
    if not len(at):
        return ""
    broken = np.ones(len(at), bool)
    broken[1:] = (np.diff(time[at]) > gap) if gap > 0 else False
    kept = _thinned(x[at], y[at])
    # What begins after a gap stays the beginning of a line, though its first row be thinned out.
    line = np.cumsum(broken)[kept]
    opens = np.ones(len(kept), bool)
    opens[1:] = line[1:] != line[:-1]
    rows = at[kept]
    drawn = []
    for px, py, new in zip(x[rows].tolist(), y[rows].tolist(), opens.tolist(), strict=True):
        drawn.append(f"{'M' if new else 'L'}{px:.1f} {py:.1f}" + ("h.1" if new else ""))
    return "".join(drawn)


def _thinned(x: Float64, y: Float64) -> Int64:
    """Positions of the lowest and the highest row of each pixel, in their order."""
    n = len(x)
    if n <= 2 * INNER:
        return np.arange(n)
    pixel = np.floor(x).astype(np.int64)
    group = np.cumsum(np.append(True, pixel[1:] != pixel[:-1])) - 1
    order = np.lexsort((y, group))
    edge = np.flatnonzero(np.append(True, group[order][1:] != group[order][:-1]))
    last = np.append(edge[1:], n) - 1
    return np.unique(np.concatenate([order[edge], order[last]]))


def _spread(at: Int64, most: int) -> Int64:
    if len(at) <= most:
        return at
    chosen: Int64 = at[np.linspace(0, len(at) - 1, most).astype(np.int64)]
    return chosen


def _ticks(x: Float64) -> Iterator[str]:
    """Missing readings, one tick a pixel."""
    pixels = np.unique(np.floor(x)).tolist()
    if pixels:
        base = HEIGHT - BOTTOM
        yield '<path class="none" d="' + "".join(f"M{p:.0f} {base}v5" for p in pixels) + '"/>'


def _grid(low: float, high: float, unit: str) -> Iterator[str]:
    """Lines at round values."""
    inner = HEIGHT - TOP - BOTTOM
    for at in _round_values(low, high):
        y = TOP + (1 - (at / 2 - low / 2) / (high / 2 - low / 2)) * inner
        yield f'<path class="grid" d="M{LEFT} {y:.1f}h{INNER}"/>'
        yield f'<text class="right" x="{LEFT - 6}" y="{y + 4:.1f}">{at:g}</text>'
    yield f'<text x="2" y="{TOP + 4}">{escape(unit[:12])}</text>' if unit else ""


def _round_values(low: float, high: float) -> list[float]:
    """About four multiples of 1, 2 or 5 times a power of ten between low and high."""
    rough = high / 4 - low / 4
    if not 1e-300 < rough < 1e300:
        return [low, high]
    power = 10.0 ** floor(log10(rough))
    step = next(k * power for k in (1, 2, 5, 10) if k * power >= rough)
    first = -(-low // step)
    # Written anew, so that 3 * 0.1 is 0.3.
    return [float(f"{(first + i) * step:.12g}") for i in range(6) if (first + i) * step <= high]


def _times(begin: int, end: int, cycles: bool) -> Iterator[str]:
    """The time at five places."""
    for i in range(5):
        at = begin + (end - begin) * i // 4
        text = when(at, cycles)
        if not cycles:
            text = text[:10] if end - begin > 5 * DAY else text[5:16].replace("T", " ")
        place, x = ("left", "mid", "mid", "mid", "right")[i], LEFT + INNER * i // 4
        yield f'<text class="{place}" x="{x}" y="{HEIGHT - 4}">{escape(text)}</text>'
