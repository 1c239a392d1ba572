"""What is stored around the readings of a batch."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loader.context import ROWS, Stretch
from loader.readings import Readings
from loader.stores.sqlite.database import SQL

CHUNK = 20_000
"""Stored rows turned into columns at once: as Python numbers they take ten times the room."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A `loader.context.Stored` inside the transaction of a commit.

    ids    id of each of the batch's series
    fresh  ids that this transaction inserted: nothing is stored of them
    """

    connection: sqlite3.Connection
    ids: Sequence[int]
    fresh: frozenset[int]

    def count(self, stretches: Sequence[Stretch]) -> list[int]:
        return [self._count(one) for one in stretches]

    def _count(self, one: Stretch) -> int:
        number = self.ids[one.series]
        if number in self.fresh:
            return 0
        found = self.connection.execute(
            SQL["count_between"], (number, one.first, one.last, ROWS)
        ).fetchone()
        return int(found[0])

    def edges(self, stretches: Sequence[Stretch]) -> list[tuple[int, int]]:
        return [self._edges(one) for one in stretches]

    def _edges(self, one: Stretch) -> tuple[int, int]:
        number = self.ids[one.series]
        if number in self.fresh:
            return one.first, one.last
        before, after = self.connection.execute(
            SQL["stored_edges"], (number, one.first, one.rows, number, one.last, one.rows)
        ).fetchone()
        return one.first if before is None else before, one.last if after is None else after

    def readings(self, stretches: Sequence[Stretch]) -> Readings:
        parts: list[Readings] = []
        rows: list[tuple[int, int, float | None, int, int]] = []
        for one in stretches:
            number = self.ids[one.series]
            if number in self.fresh:
                continue
            before, after = (number, one.first, one.rows, one.first), (number, one.last, one.rows, one.last)
            cursor = self.connection.execute(SQL["stored_readings"], (one.series, number, *before, *after))
            rows += cursor.fetchmany(CHUNK)
            while len(rows) >= CHUNK:
                parts.append(_columns(rows))
                rows = cursor.fetchmany(CHUNK)
        return Readings.concat([*parts, _columns(rows)])


def _columns(rows: list[tuple[int, int, float | None, int, int]]) -> Readings:
    if not rows:
        return Readings.empty()
    series, time, value, flag, tests = zip(*rows, strict=True)
    return Readings.of(series, time, np.array(value, np.float64), tests, flag)
