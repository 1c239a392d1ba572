"""Rows of text: one for each reading, or one for each station and time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import tzinfo
from itertools import groupby
from operator import add

import numpy as np

from loader.export.cells import cell, numbers, quoted, values
from loader.export.order import ROWS
from loader.export.style import Form, Style
from loader.readings import Readings
from loader.records import StoredSeries
from loader.zones import stamps, zone_of

CELLS = 400_000
"""Cells of a wide table held at once."""

_LONG = (
    "source",
    "station",
    "sensor",
    "parameter",
    "unit",
    "time",
    "value",
    "flag",
    "latitude",
    "longitude",
)

Places = dict[int, list[tuple[int, float, float]]]


def order_of(s: StoredSeries) -> tuple[str, str, str, str, str, int]:
    return (s.source, s.series.station, s.series.parameter, s.series.unit, s.series.sensor, s.id)


def _zone(station: Sequence[StoredSeries], style: Style) -> tzinfo | None:
    """One zone for the whole station, so that one time is one row."""
    if not style.local:
        return None
    zones = (zone_of(s.series.timezone) for s in station)
    return next((z for z in zones if z is not None), None)


class Long:
    """A row for each reading. What is the same for all readings of a series is made once a block."""

    rows = ROWS
    placed = True

    def __init__(self, style: Style) -> None:
        self._style = style
        self.header = (*_LONG, *style.extras)

    def write(
        self, station: Sequence[StoredSeries], places: Places, block: Readings, extras: list[list[str]]
    ) -> list[str]:
        """Rows of texts; `extras` are the texts of the extra columns, a list each."""
        csv = self._style.form is Form.CSV
        heads = [self._head(s, csv) for s in station]
        tails: list[str] = []
        tail = np.zeros(len(block), np.int64)
        for position in np.unique(block.series).tolist():
            here = block.series == position
            known = places.get(station[position].id, [])
            since = np.array([p[0] for p in known], np.int64)
            tail[here] = len(tails) + np.searchsorted(since, block.time[here], side="right")
            tails += [self._tail(None, csv), *(self._tail(p[1:], csv) for p in known)]
        times = stamps(block.time, _zone(station, self._style))
        rows = zip(
            block.series.tolist(),
            times,
            values(block, "" if csv else "null"),
            block.flag.tolist(),
            tail.tolist(),
            self._more(extras, csv) if extras else [""] * len(block),
            strict=True,
        )
        if csv:
            return [f"{heads[s]}{t},{v},{f}{tails[p]}{more}" for s, t, v, f, p, more in rows]
        return [f'{heads[s]}{t}","value":{v},"flag":{f}{tails[p]}{more}}}' for s, t, v, f, p, more in rows]

    def _more(self, extras: list[list[str]], csv: bool) -> list[str]:
        before = [","] * len(extras) if csv else [f',"{name}":' for name in self._style.extras]
        return ["".join(map(add, before, texts)) for texts in zip(*extras, strict=True)]

    @staticmethod
    def _head(s: StoredSeries, csv: bool) -> str:
        texts = (s.source, s.series.station, s.series.sensor, s.series.parameter, s.series.unit)
        if csv:
            return "".join(cell(text) + "," for text in texts)
        pairs = (f'"{name}":{quoted(text)},' for name, text in zip(_LONG, texts, strict=False))
        return "{" + "".join(pairs) + '"time":"'

    @staticmethod
    def _tail(place: tuple[float, float] | None, csv: bool) -> str:
        latitude, longitude = ("" if csv else "null",) * 2 if place is None else numbers(place, "")
        return f",{latitude},{longitude}" if csv else f',"latitude":{latitude},"longitude":{longitude}'


class Wide:
    """A row for each station and time, a column for each parameter.

    Where a parameter comes in several units, each has its column, with the unit in its name.
    Where a station has several sensors of one parameter at the same time, the second one's
    column is called `pm25 #2` and so on, in the order in which they began; sensors that followed
    each other share a column.
    """

    placed = False

    def __init__(self, series: Sequence[StoredSeries], style: Style) -> None:
        self._style = style
        units: dict[str, set[str]] = {}
        for s in series:
            units.setdefault(s.series.parameter, set()).add(s.series.unit)
        slots: dict[int, tuple[str, int]] = {}
        for _, members in groupby(series, key=lambda s: order_of(s)[:4]):
            for s, slot in _slots(list(members)):
                parameter, unit = s.series.parameter, s.series.unit
                name = f"{parameter} [{unit}]" if len(units[parameter]) > 1 else parameter
                slots[s.id] = (name, slot)
        wanted = sorted(set(slots.values()))
        self._column = {id_: wanted.index(key) for id_, key in slots.items()}
        self._names = [name if slot == 0 else f"{name} #{slot + 1}" for name, slot in wanted]
        kinds = ["", *([" flag"] if style.flags else []), *(f"_{extra}" for extra in style.extras)]
        titles = _apart(["source", "station", "time", *(n + kind for n in self._names for kind in kinds)])[
            3:
        ]
        self.header = ("source", "station", "time", *titles)
        self.rows = max(1, min(ROWS, CELLS // max(1, len(titles))))
        csv = style.form is Form.CSV
        self._keys = ["" if csv else f"{quoted(name)}:" for name in titles]
        self._empty = np.array([key + ("" if csv else "null") for key in self._keys], object)

    def write(
        self,
        station: Sequence[StoredSeries],
        places: Places,  # noqa: ARG002 - as of the long layout
        block: Readings,
        extras: list[list[str]],
    ) -> list[str]:
        """Rows of texts; `extras` are the texts of the extra columns, a list each."""
        csv = self._style.form is Form.CSV
        columns = np.array([self._column[s.id] for s in station], np.int64)[block.series]
        # A reading that came in while the export ran may meet another one in its cell: it gets
        # a row of its own rather than be lost.
        order = np.lexsort((columns, block.time))
        time, columns = block.time[order], columns[order]
        first = np.ones(len(time), bool)
        first[1:] = (time[1:] != time[:-1]) | (columns[1:] != columns[:-1])
        start = np.flatnonzero(first)
        turn = np.arange(len(time)) - start[np.cumsum(first) - 1]
        keys, row = np.unique(np.stack([time, turn]), axis=1, return_inverse=True)

        block = block.take(order)
        texts = [values(block, "" if csv else "null")]
        if self._style.flags:
            texts.append(list(map(str, block.flag.tolist())))
        texts += [[column[i] for i in order.tolist()] for column in extras]
        cells = np.tile(self._empty, (keys.shape[1], 1))
        for kind, column in enumerate(texts):
            at = (columns * len(texts) + kind).tolist()
            for r, c, text in zip(row.tolist(), at, column, strict=True):
                cells[r, c] = self._keys[c] + text

        source, name = station[0].source, station[0].series.station
        times = stamps(keys[0], _zone(station, self._style))
        if csv:
            head = f"{cell(source)},{cell(name)},"
            return [f"{head}{t},{','.join(c)}" for t, c in zip(times, cells.tolist(), strict=True)]
        head = f'{{"source":{quoted(source)},"station":{quoted(name)},"time":"'
        return [f'{head}{t}",{",".join(c)}}}' for t, c in zip(times, cells.tolist(), strict=True)]


def _slots(members: list[StoredSeries]) -> Iterator[tuple[StoredSeries, int]]:
    """Put series of one name into as few columns as keep those apart that overlap in time."""
    if len(members) == 1:
        yield members[0], 0
        return
    ends: list[int] = []
    for s in sorted(members, key=lambda s: (s.first_time or 0, order_of(s))):
        slot = next((i for i, end in enumerate(ends) if end < (s.first_time or 0)), len(ends))
        ends[slot : slot + 1] = [s.last_time or 0]
        yield s, slot


def _apart(names: list[str]) -> list[str]:
    """Names made unique: a parameter may be called `time`, or as another one's flag column is."""
    out: list[str] = []
    for name in names:
        unique = name
        while unique in out:
            unique += "_"
        out.append(unique)
    return out
