"""Plots of one series as inline SVG: its values with what was flagged, and how complete each day is.

Colours are classes, which the page's style sheet fills in for light and dark. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loader.quality.checks import check_names
from loader.quality.rules import OPEN, Span
from loader.readings import DAY, SECOND, Bool, Flag, Float64, Int64, Readings, UInt8
from loader.validation.axes import LARGEST, cycles, round_values, times
from loader.validation.html import text
from loader.validation.result import Tally, when

Float32 = npt.NDArray[np.float32]

WIDTH, HEIGHT = 720, 190
LEFT, RIGHT, TOP, BOTTOM = 58, 8, 20, 22
INNER, BASE = WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM

AT_ONCE = 250_000
"""So many readings are placed together."""

POINTS = 400
"""So many flagged readings are drawn at most, spread evenly."""

BARS = 300
"""More days than this share bars."""

BEYOND = 3
"""What is not usual is drawn at the plot's edge where it would make the axis more than so many times as
long as the rest needs."""


@dataclass(frozen=True, slots=True, eq=False)
class _Scale:
    """From times and values to the plane; values outside `low` to `high` lie on its edge."""

    begin: int
    end: int
    low: float
    high: float

    def x(self, time: Int64) -> Float64:
        return np.asarray(LEFT + (time - self.begin) / max(self.end - self.begin, 1) * INNER)

    def y(self, value: Float64) -> Float64:
        # Half of each first: the difference of two large numbers may be none.
        share = (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return np.asarray(TOP + (1 - np.clip(share, 0, 1)) * (BASE - TOP))


def values(tally: Tally, readings: Readings, fail: Span = OPEN, suspect: Span = OPEN) -> str:
    """The values of one series over time: suspect readings as rings, those that fail as crosses, missing
    ones as ticks below; gaps are shaded, and the line is broken there. `fail` and `suspect` are the
    ranges it was checked against (NaN: open)."""
    time, value, flag = readings.time, readings.value, readings.flag
    if (time[1:] < time[:-1]).any():
        # The blocks of a sample, of a file that runs backwards.
        return values(tally, readings.take(np.argsort(time, kind="stable")), fail, suspect)
    real = (flag != Flag.MISSING) & np.isfinite(value)
    scale = _Scale(int(time[0]), int(time[-1]), *_span(value[real], _usual(tally, value, flag)[real]))
    x, y = np.empty(len(time), np.float32), np.empty(len(time), np.float32)
    for low in range(0, len(time), AT_ONCE):
        part = slice(low, low + AT_ONCE)
        x[part], y[part] = scale.x(time[part]), scale.y(np.where(real[part], value[part], np.nan))
    unit = tally.series.unit
    parts = [
        *_gaps(tally, time, scale),
        *_grid(scale, unit, tally.cycles),
        *_limits(scale, fail, "fail"),
        *_limits(scale, suspect, "suspect"),
        f'<path class="line" d="{_path(x, y, np.flatnonzero(real), _broken(tally, time) | ~real)}"/>',
        *_ticks(x[flag == Flag.MISSING]),
    ]
    for level, name in ((Flag.SUSPECT, "suspect"), (Flag.FAIL, "fail")):
        for i in _spread(np.flatnonzero((flag == level) & real), POINTS).tolist():
            names = ", ".join(check_names(int(readings.tests[i])))
            said = text(f"{when(int(time[i]), tally.cycles)}: {value[i]:g} {unit}, {names}")
            parts.append(_mark(name, float(x[i]), float(y[i]), said))
    counts, series = tally.counts, tally.series
    label = (
        f"{series.parameter} of {series.station}: {len(time):,} readings"
        f" from {when(scale.begin, tally.cycles)} to {when(scale.end, tally.cycles)};"
        f" {counts.suspect:,} suspect, {counts.failed:,} fail, {counts.missing:,} missing,"
        f" {tally.gaps.count:,} gaps"
    )
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
        share = min(observed / wanted, 1)
        date = when(first + i * each * DAY)[:10]
        said = f"{date}{f' and {each - 1} more days' if each > 1 else ''}: {observed:,} of {wanted:,}"
        x, wide = LEFT + i * INNER / count, INNER / count
        where = f'x="{x:.2f}" width="{wide:.2f}"'
        parts.append(
            f'<g><title>{said}</title><rect class="due" {where} y="0" height="14"/>'
            f'<rect class="came" {where} y="{14 - 14 * share:.1f}" height="{14 * share:.1f}"/></g>'
        )
    said = f"readings that came, of those due, by day: {sum(came):,} of {sum(due):,}"
    return _svg(16, said, parts)


def _svg(height: int, label: str, parts: list[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{text(label)}">{"".join(parts)}</svg>'
    )


def _usual(tally: Tally, value: Float64, flag: UInt8) -> Bool:
    """What the axis is made for: what does not fail and is not suspected of being a code."""
    usual: Bool = flag != Flag.FAIL
    return usual if tally.code is None else usual & (value != tally.code[0])


def _span(value: Float64, usual: Bool) -> tuple[float, float]:
    """The lowest and the highest value that the axis shows."""
    low, high = (float(value.min()), float(value.max())) if len(value) else (0.0, 1.0)
    good = value[usual]
    if len(good):
        bottom, top = float(good.min()), float(good.max())
        room = max(top / 2 - bottom / 2, abs(top) / 20, 1e-9)
        if high / 2 - low / 2 > BEYOND * room:
            low, high = max(low, bottom - room), min(high, top + room)
    if not high / 2 - low / 2 > abs(high) * 1e-12:
        around = max(1.0, abs(low) / 1000)
        low, high = max(low - around, -LARGEST), min(high + around, LARGEST)
    return low, high


def _mark(name: str, x: float, y: float, said: str) -> str:
    if name == "fail":
        shape = f'<path class="fail" d="M{x - 3:.1f} {y - 3:.1f}l6 6m0-6l-6 6">'
        return f"{shape}<title>{said}</title></path>"
    return f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{said}</title></circle>'


def _broken(tally: Tally, time: Int64) -> Bool:
    """Before which readings the line is broken: what follows a gap, or a block of a sample."""
    broken = np.zeros(len(time), bool)
    if tally.cadences:
        starts, seconds = (np.array(column) for column in zip(*tally.cadences, strict=True))
        if len(starts) > 1:
            seconds = seconds[np.maximum(np.searchsorted(starts, time[1:], side="left") - 1, 0)]
        broken[1:] = np.diff(time) > 1.5 * SECOND * seconds
    broken[np.searchsorted(time, [first for first, _ in tally.pieces])] = True
    return broken


def _gaps(tally: Tally, time: Int64, scale: _Scale) -> Iterator[str]:
    """Shades over gaps that are a pixel wide at least; over what lies between blocks of a sample
    none, for it was not looked at."""
    begins = {first for first, _ in tally.pieces}
    at = np.flatnonzero(_broken(tally, time))
    at = at[at > 0]
    left, right = scale.x(time[at - 1]), scale.x(time[at])
    wide = right - left >= 1
    for i, a, b in zip(at[wide].tolist(), left[wide].tolist(), right[wide].tolist(), strict=True):
        if int(time[i]) in begins:
            continue
        said = f"nothing from {when(int(time[i - 1]), tally.cycles)} to {when(int(time[i]), tally.cycles)}"
        where = f'x="{a:.1f}" width="{b - a:.1f}" y="{TOP}" height="{BASE - TOP}"'
        yield f'<rect class="gap" {where}><title>{said}</title></rect>'


def _path(x: Float32, y: Float32, at: Int64, broken: Bool) -> str:
    """The line through the rows `at`, thinned to the highest and the lowest of each pixel."""
    if not len(at):
        return ""
    line = np.cumsum(broken)[at]
    kept = _thinned(x[at], y[at])
    # What begins after a gap stays the beginning of a line, though its first row be thinned out.
    opens = np.ones(len(kept), bool)
    opens[1:] = line[kept][1:] != line[kept][:-1]
    rows = at[kept]
    drawn = []
    for px, py, new in zip(x[rows].tolist(), y[rows].tolist(), opens.tolist(), strict=True):
        drawn.append(f"{'M' if new else 'L'}{px:.1f} {py:.1f}" + ("h.1" if new else ""))
    return "".join(drawn)


def _thinned(x: Float32, y: Float32) -> Int64:
    """Positions of the lowest and the highest row of each pixel, in their order."""
    if len(x) <= 2 * INNER:
        return np.arange(len(x))
    kept = []
    for low in range(0, len(x), AT_ONCE):
        pixel = np.floor(x[low : low + AT_ONCE])
        order = np.lexsort((y[low : low + AT_ONCE], pixel))
        edge = np.flatnonzero(np.append(True, np.diff(pixel[order]) != 0))
        last = np.append(edge[1:], len(order)) - 1
        kept += [low + order[edge], low + order[last]]
    return np.unique(np.concatenate(kept))


def _spread(at: Int64, most: int) -> Int64:
    if len(at) <= most:
        return at
    chosen: Int64 = at[np.linspace(0, len(at) - 1, most).astype(np.int64)]
    return chosen


def _ticks(x: Float32) -> Iterator[str]:
    """Missing readings, one tick a pixel."""
    pixels = np.unique(np.floor(x)).tolist()
    if pixels:
        yield '<path class="none" d="' + "".join(f"M{p:.0f} {BASE}v5" for p in pixels) + '"/>'


def _grid(scale: _Scale, unit: str, counts_cycles: bool) -> Iterator[str]:
    """Lines at round values and times, with what they stand for."""
    rounded = round_values(scale.low, scale.high)
    for at, y in zip(rounded, scale.y(np.array(rounded)).tolist(), strict=True):
        yield f'<path class="grid" d="M{LEFT} {y:.1f}h{INNER}"/>'
        yield f'<text class="right" x="{LEFT - 6}" y="{y + 4:.1f}">{at:g}</text>'
    ticks = (cycles if counts_cycles else times)(scale.begin, scale.end)
    places = scale.x(np.array([at for at, _ in ticks], np.int64)).tolist()
    for i, (x, (_, said)) in enumerate(zip(places, ticks, strict=True)):
        side = "left" if x < LEFT + 30 else "right" if x > LEFT + INNER - 30 else "mid"
        yield f'<path class="grid" d="M{x:.1f} {TOP}V{BASE + 4}"/>'
        yield f'<text class="{side}{" odd" if i % 2 else ""}" x="{x:.1f}" y="{HEIGHT - 5}">{said}</text>'
    yield f'<path class="axis" d="M{LEFT} {TOP}V{BASE}H{WIDTH - RIGHT}"/>'
    yield f'<text class="unit" x="{LEFT}" y="12">{text(unit, 40) or "no unit"}</text>'


def _limits(scale: _Scale, span: Sequence[float], name: str) -> Iterator[str]:
    """Dashed lines at the ends of a range, where the axis reaches them."""
    for at, what in zip(span, ("lowest", "highest"), strict=True):
        if scale.low < at < scale.high:
            y = float(scale.y(np.array([at]))[0])
            said = f"{what} value that does not {name}: {at:g}" if name == "fail" else ""
            said = said or f"{what} value that is not suspect: {at:g}"
            yield f'<path class="{name} limit" d="M{LEFT} {y:.1f}h{INNER}"><title>{said}</title></path>'
