"""Readings as they come out of files: held in few bytes, handed out series by series. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loader.readings import Int32, Int64, Readings, UInt32

CHUNK = 100_000
"""So many are put in order at once."""

_KINDS = (np.int64, np.float64, np.uint32, np.uint32, np.int32, np.int32)
"""Time, value, tests, line, part, place."""


@dataclass(frozen=True, slots=True, eq=False)
class Portion:
    """Readings of whole series, by series and within one as they were read.

    `readings.series` indexes `Collected.series`. Of each reading `line` is its line, `part` the index
    into `Collected.parts`, and `place` a number for where it was measured (-1: not said).
    """

    readings: Readings
    line: UInt32
    part: Int32
    place: Int32


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """Neighbouring readings sorted by series: which series there are, where each begins (and the
    last one ends), and the columns of `_KINDS`. A column that is the same throughout has one row."""

    present: Int64
    begin: Int64
    columns: tuple[Any, ...]

    def rows(self, first: int, last: int) -> list[Any]:
        """Series and columns of the series from `first` to before `last`."""
        part = slice(*np.searchsorted(self.present, (first, last)))
        length = np.diff(self.begin)[part]
        low, many = int(self.begin[part.start]), int(length.sum())
        whole = (np.broadcast_to(c, many) if len(c) == 1 else c[low : low + many] for c in self.columns)
        one = part.stop - part.start == 1
        series = np.broadcast_to(self.present[part], many) if one else np.repeat(self.present[part], length)
        return [series, *whole]


class Shelf:
    """Takes readings in the order of files and lines."""

    def __init__(self) -> None:
        self._loose: list[tuple[Any, ...]] = []
        self._chunks: list[_Chunk] = []
        self._waiting = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, *columns: Any) -> None:
        """Readings as columns: series, time, value, tests, line, part, place; one of them may be
        a single figure that holds for all."""
        many = len(columns[0])
        self._loose.append(columns)
        self._waiting += many
        self._count += many
        if self._waiting >= CHUNK:
            self._tidy()

    def _tidy(self) -> None:
        """What came since the last time becomes a chunk."""
        if not self._loose:
            return
        series = np.concatenate([columns[0].astype(np.int32) for columns in self._loose])
        order = np.argsort(series, kind="stable")
        columns = []
        for i, kind in enumerate(_KINDS, start=1):
            several = (np.broadcast_to(np.asarray(c[i], kind), len(c[0])) for c in self._loose)
            column = np.concatenate(list(several))
            columns.append(column[:1].copy() if (column == column[0]).all() else column[order])
        self._loose, self._waiting = [], 0
        series = series[order]
        begin = np.flatnonzero(np.append(True, series[1:] != series[:-1]))
        self._chunks.append(_Chunk(series[begin], np.append(begin, len(series)), tuple(columns)))

    def portions(self, size: int) -> Iterator[Portion]:
        """All readings, `size` together at most, or one series."""
        self._tidy()
        most = max((int(chunk.present[-1]) for chunk in self._chunks), default=-1)
        length = np.zeros(most + 2, np.int64)
        for chunk in self._chunks:
            length[chunk.present + 1] += np.diff(chunk.begin)
        end = np.cumsum(length)
        first = 0
        while first <= most:
            last = max(first, int(np.searchsorted(end, end[first] + size, side="right")) - 2) + 1
            if end[last] > end[first]:
                yield self._portion(first, last)
            first = last

    def _portion(self, first: int, last: int) -> Portion:
        parts = [chunk.rows(first, last) for chunk in self._chunks]
        columns = [_joined(one) for one in zip(*parts, strict=True)]
        if last - first > 1:
            order = np.argsort(columns[0], kind="stable")
            columns = [c[order] for c in columns]
        series, time, value, tests, line, part, place = columns
        return Portion(Readings.of(series, time, value, tests), line, part, place)


def _joined(parts: Sequence[Any]) -> Any:
    """Columns as one; what is the same throughout takes no memory."""
    one = [part for part in parts if len(part)]
    if all(part.strides == (0,) and part[0] == one[0][0] for part in one):
        return np.broadcast_to(one[0][:1], sum(map(len, one)))
    return np.concatenate(one)
