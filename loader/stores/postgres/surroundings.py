"""What is stored around the readings that a commit writes, and the flags that change there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from loader.context import ROWS, Stretch
from loader.readings import DAY, Bool, Float64, Int32, Int64, Readings
from loader.stores.postgres import copy
from loader.stores.postgres.rows import Known
from loader.stores.postgres.session import SQL, Cursor
from loader.stores.postgres.times import array, clamped, stamps

NEAR = 31 * DAY
"""How far the nearest readings are looked for at first: every month more is planned for."""

_AROUND = (np.int32, np.int64, np.float64, np.int16, np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Columns, a row a stretch: stored readings of a series from `first` to `last`, and the
    nearest ones on either side, `before` and `after` of them. `at`, ascending, comes back with
    each; the series has readings from `oldest` to `newest`, if any."""

    at: Int64
    id: Int64
    oldest: Int64
    newest: Int64
    first: Int64
    last: Int64
    before: Int64
    after: Int64

    def where(self, chosen: Bool) -> _Asked:
        columns = (
            self.at,
            self.id,
            self.oldest,
            self.newest,
            self.first,
            self.last,
            self.before,
            self.after,
        )
        return _Asked(*(column[chosen] for column in columns))

    def possible(self) -> _Asked:
        """Only what the series can have."""
        before = np.where(self.first > self.oldest, self.before, 0)
        after = np.where(self.last < self.newest, self.after, 0)
        inside = (self.first <= self.last) & (self.first <= self.newest) & (self.last >= self.oldest)
        stored = self.oldest <= self.newest
        chosen = stored & (inside | (before > 0) | (after > 0))
        return replace(self, before=before, after=after).where(chosen)

    def parameters(self, low: int, high: int) -> dict[str, object]:
        return {
            "at": array(self.at),
            "ids": array(self.id),
            "firsts": stamps(self.first),
            "lasts": stamps(self.last),
            "before": array(self.before),
            "after": array(self.after),
            # Said once more as constants, so that the planner opens only the months in question.
            "low": clamped(low),
            "high": clamped(high),
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    at: Int32
    time: Int64
    value: Float64
    flag: Int64
    tests: Int32


class Surroundings:
    """A `loader.context.Stored` inside a transaction; `series` are the batch's, in its order."""

    def __init__(self, cursor: Cursor, series: Sequence[Known]) -> None:
        self._cursor = cursor
        self._id = np.array([known.id for known in series], np.int64)
        self._oldest = np.array(
            [known.extent.start + 1 if known.extent else 0 for known in series], np.int64
        )
        self._newest = np.array([known.extent.end if known.extent else -1 for known in series], np.int64)

    def count(self, stretches: Sequence[Stretch]) -> list[int]:
        index, first, last, _ = _columns(stretches)
        none = np.zeros(len(index), np.int64)
        asked = self._asked(np.arange(len(index)), index, first, last, none, none)
        counts = [0] * len(stretches)
        if len(asked.at):
            parameters = asked.parameters(int(asked.first.min()), int(asked.last.max()))
            self._cursor.execute(SQL["count_between"], {**parameters, "limit": ROWS})
            for at, count in self._cursor:
                counts[at] = count
        return counts

    def edges(self, stretches: Sequence[Stretch]) -> list[tuple[int, int]]:
        index, first, last, rows = _columns(stretches)
        # What lies before and after each, as two stretches with nothing between first and last.
        sides = np.arange(2 * len(index))
        asked = self._asked(
            sides,
            np.repeat(index, 2),
            np.column_stack([first, last + 1]).ravel(),
            np.column_stack([first - 1, last]).ravel(),
            np.where(sides % 2 == 0, np.repeat(rows, 2), 0),
            np.where(sides % 2 == 1, np.repeat(rows, 2), 0),
        )
        edge = np.column_stack([first, last]).ravel()
        for found in self._fetch(asked):
            # No more than `rows` come, the nearest ones: the farthest of them is the one.
            before = found.at % 2 == 0
            np.minimum.at(edge, found.at[before], found.time[before])
            np.maximum.at(edge, found.at[~before], found.time[~before])
        return list(zip(edge[0::2].tolist(), edge[1::2].tolist(), strict=True))

    def readings(self, stretches: Sequence[Stretch]) -> Readings:
        index, first, last, rows = _columns(stretches)
        asked = self._asked(np.arange(len(index)), index, first, last, rows, rows)
        return Readings.concat(
            [
                Readings(
                    index[found.at].astype(np.int32),
                    found.time,
                    found.value,
                    found.flag.astype(np.uint8),
                    found.tests.view(np.uint32),
                )
                for found in self._fetch(asked)
            ]
        )

    def _asked(self, at: Int64, index: Int64, *rest: Int64) -> _Asked:
        return _Asked(at, self._id[index], self._oldest[index], self._newest[index], *rest).possible()

    def _fetch(self, asked: _Asked) -> list[_Found]:
        """What is asked for, first near the stretches, then wherever the series have readings."""
        if not len(asked.at):
            return []
        low, high = int(asked.first.min()) - NEAR, int(asked.last.max()) + NEAR
        near = self._copy(asked, low, high)
        far = _farther(asked, near, low, high)
        if not len(far.at):
            return [near]
        return [near, self._copy(far, int(far.oldest.min()), int(far.newest.max()))]

    def _copy(self, asked: _Asked, low: int, high: int) -> _Found:
        statement = self._cursor.mogrify(SQL["copy_around"], asked.parameters(low, high))
        at, time, value, flag, tests = copy.fetch(self._cursor, statement.decode(), _AROUND)
        return _Found(at, copy.from_server(time), value, flag, tests)


def _columns(stretches: Sequence[Stretch]) -> tuple[Int64, Int64, Int64, Int64]:
    rows = [(one.series, one.first, one.last, one.rows) for one in stretches]
    index, first, last, count = np.array(rows, np.int64).reshape(len(rows), 4).T
    return index, first, last, count


def _farther(asked: _Asked, near: _Found, low: int, high: int) -> _Asked:
    """What is still to be looked for beyond `low` and `high`: only the sides that lack some."""
    of = np.searchsorted(asked.at, near.at)
    before = np.bincount(of[near.time < asked.first[of]], minlength=len(asked.at))
    after = np.bincount(of[near.time > asked.last[of]], minlength=len(asked.at))
    short = (before < asked.before) & (asked.oldest < low)
    lacking = (after < asked.after) & (asked.newest > high)
    below = replace(asked, last=asked.first - 1, after=np.zeros_like(asked.after)).where(short)
    above = replace(asked, first=asked.last + 1, before=np.zeros_like(asked.before)).where(lacking)
    return _Asked(
        *(
            np.concatenate([getattr(below, name), getattr(above, name)])
            for name in ("at", "id", "oldest", "newest", "first", "last", "before", "after")
        )
    )


def reflag(cursor: Cursor, readings: Readings, ids: Int32) -> list[tuple[Any, ...]]:
    """Give stored readings, each once, other flags; (series id, time) of those that differed."""
    if not len(readings):
        return []
    cursor.execute(
        SQL["reflag_readings"],
        {
            "ids": array(ids[readings.series]),
            "times": stamps(readings.time),
            "flags": array(readings.flag),
            "tests": array(readings.tests.view(np.int32)),
            "low": clamped(int(readings.time.min())),
            "high": clamped(int(readings.time.max())),
        },
    )
    return cursor.fetchall()
