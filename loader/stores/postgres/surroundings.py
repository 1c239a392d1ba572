"""What is stored around the readings that a commit writes, and the flags that change there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from loader.context import ROWS, Stretch
from loader.readings import DAY, Int32, Int64, Readings
from loader.stores.postgres import copy
from loader.stores.postgres.rows import Known
from loader.stores.postgres.session import SQL, Cursor, clamped

NEAR = 31 * DAY
"""How far the nearest readings are looked for at first: every month more is planned for."""

_AROUND = (np.int32, np.int64, np.float64, np.int16, np.int32)


@dataclass(frozen=True, slots=True)
class _Ask:
    """Stored readings in [first, last], and on either side the nearest ones, `before` and `after`
    of them. `at` comes back with each; of several asked at once it ascends."""

    at: int
    known: Known
    first: int
    last: int
    before: int
    after: int


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    at: Int32
    time: Int64
    value: npt.NDArray[np.float64]
    flag: npt.NDArray[np.int16]
    tests: Int32


class Surroundings:
    """A `loader.context.Stored` inside a transaction; `series` are the batch's, in its order."""

    def __init__(self, cursor: Cursor, series: Sequence[Known]) -> None:
        self._cursor = cursor
        self._series = series

    def count(self, stretches: Sequence[Stretch]) -> list[int]:
        counts = [0] * len(stretches)
        asked = [
            ask
            for i, one in enumerate(stretches)
            if (ask := _possible(_Ask(i, self._series[one.series], one.first, one.last, 0, 0)))
        ]
        if asked:
            low, high = min(one.first for one in asked), max(one.last for one in asked)
            self._cursor.execute(SQL["count_between"], {**_parameters(asked, low, high), "limit": ROWS})
            for at, count in self._cursor:
                counts[at] = count
        return counts

    def edges(self, stretches: Sequence[Stretch]) -> list[tuple[int, int]]:
        asked = []
        for i, one in enumerate(stretches):
            known = self._series[one.series]
            asked.append(_Ask(2 * i, known, one.first, one.first - 1, one.rows, 0))
            asked.append(_Ask(2 * i + 1, known, one.last + 1, one.last, 0, one.rows))
        edge = np.array([t for one in stretches for t in (one.first, one.last)], np.int64)
        for found in self._fetch(asked):
            # No more than `rows` come, the nearest ones: the farthest of them is the one.
            before = found.at % 2 == 0
            np.minimum.at(edge, found.at[before], found.time[before])
            np.maximum.at(edge, found.at[~before], found.time[~before])
        return list(zip(edge[0::2].tolist(), edge[1::2].tolist(), strict=True))

    def readings(self, stretches: Sequence[Stretch]) -> Readings:
        asked = [
            _Ask(i, self._series[one.series], one.first, one.last, one.rows, one.rows)
            for i, one in enumerate(stretches)
        ]
        index = np.array([one.series for one in stretches], np.int32)
        return Readings.concat(
            [
                Readings(
                    index[found.at],
                    found.time,
                    found.value,
                    found.flag.astype(np.uint8),
                    found.tests.view(np.uint32),
                )
                for found in self._fetch(asked)
            ]
        )

    def _fetch(self, asked: Sequence[_Ask]) -> list[_Found]:
        """What is asked for, first near the stretches, then wherever the series have readings."""
        asked = [one for ask in asked if (one := _possible(ask))]
        if not asked:
            return []
        low, high = min(one.first for one in asked) - NEAR, max(one.last for one in asked) + NEAR
        near = self._copy(asked, low, high)
        far = _farther(asked, near, low, high)
        if not far:
            return [near]
        extents = [one.known.extent for one in far if one.known.extent]
        low, high = min(e.start for e in extents), max(e.end for e in extents)
        return [near, self._copy(far, low, high)]

    def _copy(self, asked: Sequence[_Ask], low: int, high: int) -> _Found:
        parameters = _parameters(asked, low, high)
        stream = copy.Decoder(_AROUND)
        copy.run(self._cursor, self._cursor.mogrify(SQL["copy_around"], parameters).decode(), stream)
        at, time, value, flag, tests = stream.rest()
        return _Found(at, copy.from_server(time), value, flag, tests)


def _parameters(asked: Sequence[_Ask], low: int, high: int) -> dict[str, object]:
    return {
        "at": [one.at for one in asked],
        "ids": [one.known.id for one in asked],
        "firsts": [clamped(one.first) for one in asked],
        "lasts": [clamped(one.last) for one in asked],
        "before": [one.before for one in asked],
        "after": [one.after for one in asked],
        # Said once more as constants, so that the planner opens only the months in question.
        "low": clamped(low),
        "high": clamped(high),
    }


def _possible(ask: _Ask) -> _Ask | None:
    """Without the sides on which the series has nothing; None where nothing is left."""
    extent = ask.known.extent
    if extent is None:
        return None
    left = replace(
        ask,
        before=ask.before if ask.first - 1 > extent.start else 0,
        after=ask.after if ask.last < extent.end else 0,
    )
    apart = ask.last < ask.first or ask.last <= extent.start or ask.first > extent.end
    return None if apart and not left.before and not left.after else left


def _farther(asked: Sequence[_Ask], near: _Found, low: int, high: int) -> list[_Ask]:
    """What is still to be looked for beyond `low` and `high`: only the sides that lack some."""
    at = np.array([one.at for one in asked], np.int64)
    index = np.searchsorted(at, near.at)
    first = np.array([one.first for one in asked], np.int64)[index]
    last = np.array([one.last for one in asked], np.int64)[index]
    before = np.bincount(index[near.time < first], minlength=len(asked)).tolist()
    after = np.bincount(index[near.time > last], minlength=len(asked)).tolist()
    far = []
    for one, below, above in zip(asked, before, after, strict=True):
        extent = one.known.extent
        if extent is None:
            continue
        if below < one.before and extent.start + 1 < low:
            far.append(replace(one, last=one.first - 1, after=0))
        if above < one.after and extent.end > high:
            far.append(replace(one, first=one.last + 1, before=0))
    return far


def reflag(cursor: Cursor, readings: Readings, ids: Int32) -> list[tuple[Any, ...]]:
    """Give stored readings, each once, other flags; (series id, time) of those that differed."""
    if not len(readings):
        return []
    cursor.execute(SQL["look_up"])
    cursor.execute(
        SQL["reflag_readings"],
        {
            "ids": ids[readings.series].tolist(),
            "times": readings.time.tolist(),
            "flags": readings.flag.tolist(),
            "tests": readings.tests.view(np.int32).tolist(),
            "low": clamped(int(readings.time.min())),
            "high": clamped(int(readings.time.max())),
        },
    )
    return cursor.fetchall()
