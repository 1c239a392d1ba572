"""The quality of a series, day by day, from its stored readings. Pure.

A day is (00:00, 24:00] UTC. Readings are due by the cadence of their time, on a grid through the
middle one of the day's stamps, so that neither stamps that wander nor one that strays shift it; where
the day is silent, through the last one before. They are due from the first reading of the series on,
and not beyond the newest. Observed is how many places of the grid have a value: a reading counts for
the place nearest to it, and what comes more often than expected counts once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loader.assess.columns import Columns
from loader.findings import QualityDay
from loader.quality.cadence import WANDER, Episode, off_grid, stretches
from loader.quality.score import Weights, day_score
from loader.readings import DAY, SECOND, Bool, Check, Flag, Int64, Window

_FLAGS = [Flag.GOOD, Flag.NOT_EVALUATED, Flag.SUSPECT, Flag.FAIL, Flag.MISSING]
"""In the order of the fields of `QualityDay`."""

Shortcomings = Mapping[int, tuple[int, int]]
"""By day (late, duplicate), as commits have counted them."""


def quality_days(
    series_id: int,
    span: Window,
    columns: Columns,
    *,
    known: tuple[int, int],
    episodes: Sequence[Episode],
    declared_s: float | None,
    moves: Int64,
    shortcomings: Shortcomings,
    weights: Weights,
) -> tuple[QualityDay, ...]:
    """The days of `span` (whole days) on which there is a reading or one was due.

    columns   holds all readings of the span
    known     times of the first and the newest reading of the series
    moves     times from which the series has been at another place
    """
    low, high = np.searchsorted(columns.time, (span.start, span.end), side="right")
    inside = slice(int(low), int(high))
    time, flag = columns.time[inside], columns.flag[inside]
    count = (span.end - span.start) // DAY
    day = (time - 1 - span.start) // DAY
    flags = np.bincount(day * 10 + flag, minlength=count * 10).reshape(count, 10)
    pieces = _pieces(span, known, episodes, declared_s)
    value = (flag != Flag.MISSING) & np.isfinite(columns.value[inside])
    if low:
        before = int(columns.time[low - 1])
    else:
        before = int(columns.stamps[-1]) if len(columns.stamps) else known[0]
    due, observed = np.zeros(count, np.int64), np.zeros(count, np.int64)
    wanted, came = _expected(pieces, np.append(time, before), time[value])
    np.add.at(due, (pieces.start - span.start) // DAY, wanted)
    np.add.at(observed, (pieces.start - span.start) // DAY, came)
    odd = (columns.tests[inside] & np.uint32(Check.UNIT)) != 0
    odd |= _strayed(pieces, time)
    moved = np.searchsorted(time, moves[(moves > span.start) & (moves <= span.end)])
    odd[moved[moved < len(odd)]] = True
    inconsistent = np.bincount(day[odd], minlength=count)
    table = np.column_stack((due, observed, flags[:, _FLAGS], inconsistent))
    found = []
    # Most days of a series are alike.
    scores: dict[tuple[int, ...], float | None] = {}
    for i in np.flatnonzero((flags.sum(axis=1) > 0) | (due > 0)).tolist():
        start = span.start + i * DAY
        *counts, odd_ones = table[i].tolist()
        key = (*counts, *shortcomings.get(start, (0, 0)), odd_ones)
        if key not in scores:
            scores[key] = day_score(QualityDay(series_id, start, *key), weights)
        row: tuple[Any, ...] = (series_id, start, *key, scores[key])
        found.append(QualityDay(*row))
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class _Pieces:
    """The span cut at midnights and where the cadence changes: (start, end] and step of each, in
    microseconds, ascending; what has no cadence is left out."""

    start: Int64
    end: Int64
    step: Int64

    def of(self, time: Int64) -> tuple[Int64, Bool]:
        """The piece that each time lies in, and whether there is one."""
        if not len(self.end):
            return np.zeros(len(time), np.int64), np.zeros(len(time), bool)
        at = np.searchsorted(self.end, time, side="left")
        inside = at < len(self.end)
        at = np.where(inside, at, 0)
        return at, inside & (time > self.start[at])


def _pieces(
    span: Window, known: tuple[int, int], episodes: Sequence[Episode], declared_s: float | None
) -> _Pieces:
    owed = span.clip(Window(known[0] - 1, known[1]))
    start, end, step = [], [], []
    if owed:
        for window, cadence_s in stretches(owed, episodes, declared_s):
            if not cadence_s or round(cadence_s * SECOND) <= 0:
                continue
            first = window.start // DAY * DAY + DAY
            edges = np.unique(np.append(np.arange(first, window.end, DAY), (window.start, window.end)))
            start.append(edges[:-1])
            end.append(edges[1:])
            step.append(np.full(len(edges) - 1, round(cadence_s * SECOND)))
    nothing = [np.empty(0, np.int64)]
    return _Pieces(*(np.concatenate(part or nothing).astype(np.int64) for part in (start, end, step)))


def _expected(pieces: _Pieces, stamps: Int64, valued: Int64) -> tuple[Int64, Int64]:
    """(due, observed) of each piece. `stamps` are those of all readings, and behind them the one
    before the first; `valued` those of readings with a value.

    Where stamps wander, a place that lies as near to an end of its piece and has no reading is not
    due: its reading may have come on the other side, and each day is counted by itself.
    """
    phase, step, many = _phases(pieces, stamps), pieces.step, len(pieces.start)
    before, last = (pieces.start - phase) // step, (pieces.end - phase) // step
    piece, inside = pieces.of(valued)
    piece, valued = piece[inside], valued[inside]
    place = (valued - phase[piece] + step[piece] // 2) // step[piece]
    off = np.abs(valued - phase[piece] - place * step[piece])
    steady = off <= WANDER / 2 * step[piece]
    wander = np.zeros(many, np.int64)
    np.maximum.at(wander, piece[steady], off[steady])
    place = np.clip(place, before[piece] + 1, last[piece])
    new = np.ones(len(place), bool)
    new[1:] = (place[1:] != place[:-1]) | (piece[1:] != piece[:-1])
    new &= (last > before)[piece]
    piece, place = piece[new], place[new]
    came = np.bincount(piece, minlength=many)
    due = last - before
    for edge, room in (
        (before + 1, phase + (before + 1) * step - pieces.start - 1),
        (last, pieces.end - phase - last * step),
    ):
        spared = (room < wander) & (last > before)
        spared[piece[place == edge[piece]]] = False
        due -= spared
    return np.maximum(due, came), came


def _phases(pieces: _Pieces, stamps: Int64) -> Int64:
    """A place of each piece's grid: see the head of this file. `stamps` as in `_expected`."""
    start, end, step = pieces.start, pieces.end, pieces.step
    time = stamps[:-1]
    at = np.searchsorted(time, start, side="right")
    phase = stamps[at]
    silent = (at == len(time)) | (phase > end)
    phase = np.where(silent, stamps[at - 1], phase)
    piece, inside = pieces.of(time)
    piece, half = piece[inside], step[piece[inside]] // 2
    off = (time[inside] - phase[piece] + half) % step[piece] - half
    if off.any():
        order = np.lexsort((off, piece))
        many = np.bincount(piece, minlength=len(start))
        middle = np.cumsum(many) - many + (many - 1) // 2
        phase[many > 0] += off[order[middle[many > 0]]]
    return phase


def _strayed(pieces: _Pieces, time: Int64) -> Bool:
    """Readings off the grid on which most of their piece's lie."""
    odd = np.zeros(len(time), bool)
    piece, inside = pieces.of(time)
    where = np.flatnonzero(inside)
    if not len(where):
        return odd
    piece = piece[where]
    low = np.flatnonzero(np.append(True, piece[1:] != piece[:-1]))
    high = np.append(low[1:], len(piece))
    step = pieces.step[piece[low]]
    phase = time[where] % pieces.step[piece]
    # Where all phases lie close together, as nearly always, nothing strays.
    spread = np.maximum.reduceat(phase, low) - np.minimum.reduceat(phase, low)
    for i in np.flatnonzero(spread > step // 10):
        mine = where[low[i] : high[i]]
        odd[mine] = off_grid(time[mine], float(step[i]) / SECOND)
    return odd
