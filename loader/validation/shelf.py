"""Readings as they come out of files: held in few bytes, handed out series by series. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from loader.readings import Int32, Int64, Readings, UInt32

CHUNK = 200_000
"""So many are put in order at once."""

_KINDS = (np.int32, np.int64, np.float64, np.uint32, np.uint32, np.int32, np.int32)
"""Series, time, value, tests, line, part, place."""


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
    last one ends), and the columns. A column that is the same throughout has one row."""

    present: Int64
    begin: Int64
    columns: tuple[Any, ...]

    def rows(self, first: int, last: int) -> list[Any]:
        """The columns of the series from `first` to before `last`."""
        low, high = self.begin[np.searchsorted(self.present, (first, last))].tolist()
        return [np.broadcast_to(c, high - low) if len(c) == 1 else c[low:high] for c in self.columns]


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
        whole = [
            np.concatenate([np.broadcast_to(np.asarray(c[i], kind), len(c[0])) for c in self._loose])
            for i, kind in enumerate(_KINDS)
        ]
        self._loose, self._waiting = [], 0
        order = np.argsort(whole[0], kind="stable")
        series = whole[0][order]
        begin = np.flatnonzero(np.append(True, series[1:] != series[:-1]))
        columns = (c[:1] if (c == c[0]).all() else c[order] for c in whole)
        self._chunks.append(
            _Chunk(series[begin].astype(np.int64), np.append(begin, len(series)), tuple(columns))
        )

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
        columns = [np.concatenate(one) for one in zip(*parts, strict=True)]
        if last - first > 1:
            order = np.argsort(columns[0], kind="stable")
            columns = [c[order] for c in columns]
        series, time, value, tests, line, part, place = columns
        return Portion(Readings.of(series, time, value, tests), line, part, place)
