"""Readings as text for other programs: CSV, NDJSON or JSON, long or wide, whatever their number.

Everything here is a stream that holds one stretch of one station at a time. Rows come by source,
station and time; within one time of one station by parameter, unit and sensor.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from enum import StrEnum
from itertools import groupby
from math import isnan

import numpy as np

from loader.contracts import Reports
from loader.readings import Flag, Int64, Readings, Window
from loader.records import StoredSeries
from loader.zones import stamps, zone_of

ROWS = 20_000
"""Readings held at once."""

CELLS = 400_000
"""Cells of a wide table held at once."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
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


class Form(StrEnum):
    """The language of the text."""

    CSV = "csv"
    NDJSON = "ndjson"
    JSON = "json"


class Layout(StrEnum):
    """A row for each reading, or one for each station and time."""

    LONG = "long"
    WIDE = "wide"


@dataclass(frozen=True, slots=True)
class Style:
    """How readings are to be written.

    `local` gives times in the station's zone with their offset instead of UTC with a Z (a
    station without a known zone stays in UTC); `flags` adds a flag column to each value column
    of the wide layout (the long one always has it).
    """

    form: Form = Form.CSV
    layout: Layout = Layout.LONG
    local: bool = False
    flags: bool = False


def export(
    reports: Reports, series: Sequence[StoredSeries], window: Window, style: Style
) -> Iterator[bytes]:
    """UTF-8 text of the readings of `series` in `window` (start, end], in pieces of bounded size.

    CSV has a header row, CRLF line ends and is quoted as RFC 4180 asks; JSON is one array, NDJSON
    an object a line. Missing values are an empty cell or null. Whatever the store raises passes.
    """
    filled = sorted((s for s in series if s.first_time is not None), key=_order)
    csv = style.form is Form.CSV
    layout: _Wide | _Long = _Wide(filled, style) if style.layout is Layout.WIDE else _Long(style)
    if csv:
        yield (",".join(map(cell, layout.header)) + "\r\n").encode()
    opening = "[\n"
    end = "\r\n" if csv else "\n"
    for _, members in groupby(filled, key=lambda s: (s.source, s.series.station)):
        station = list(members)
        places = reports.places([s.id for s in station]) if layout.placed else {}
        for block in ordered(reports, station, window, layout.rows):
            rows = layout.write(station, places, block)
            if style.form is Form.JSON:
                yield (opening + ",\n".join(rows)).encode()
                opening = ",\n"
            else:
                yield (end.join(rows) + end).encode()
    if style.form is Form.JSON:
        yield b"[]\n" if opening == "[\n" else b"\n]\n"


def ordered(
    reports: Reports, station: Sequence[StoredSeries], window: Window, rows: int = ROWS
) -> Iterator[Readings]:
    """The readings of one station by (time, position in `station`), no more than `rows` at once
    unless that many have the same time.

    `Readings.series` holds positions in `station`; no block is empty, and readings of one time
    are never in two. A store scans series after series; so that none has to be held back until
    the others are read, time is cut into slices, shorter where readings are dense.
    """
    window = window.clip(
        Window(
            min(s.first_time for s in station if s.first_time is not None) - 1,
            max(s.last_time for s in station if s.last_time is not None),
        )
    )
    ids = np.array([s.id for s in station], np.int64)
    if len(station) == 1:
        for part in reports.scan(ids.tolist(), window) if window else ():
            for at in range(0, len(part), rows):
                yield _at(part, np.arange(at, min(at + rows, len(part))), np.zeros(1, np.int64))
        return
    start, width = window.start, window.end - window.start
    while start < window.end:
        end = min(start + width, window.end)
        found = _slice(reports, ids.tolist(), Window(start, end), rows)
        if isinstance(found, int):
            width = found - start
            continue
        if len(found):
            by_id = np.argsort(ids)
            position = by_id[np.searchsorted(ids[by_id], found.series)]
            yield _at(found, np.lexsort((position, found.time)), position)
        width = (end - start) * (16 if len(found) * 32 <= rows else 2 if len(found) * 4 <= rows else 1)
        start = end


def _slice(reports: Reports, ids: list[int], window: Window, rows: int) -> Readings | int:
    """What lies in the window, or, as soon as it turns out to be too much, an earlier end."""
    parts: list[Readings] = []
    count = 0
    for part in reports.scan(ids, window):
        parts.append(part)
        count += len(part)
        if count > rows and window.end - window.start > 1:
            found = Readings.concat(parts)
            # The series not scanned yet are taken to be as dense as those that were.
            share = rows * len(np.unique(found.series)) // len(ids) // 2
            return min(int(np.sort(found.time)[share]), window.end - 1)
    return Readings.concat(parts)


def _at(readings: Readings, order: Int64, position: Int64) -> Readings:
    part = readings.take(order)
    return Readings(
        np.resize(position[order] if len(position) > 1 else position, len(order)).astype(np.int32),
        part.time,
        part.value,
        part.flag,
        part.tests,
    )


def _order(s: StoredSeries) -> tuple[str, str, str, str, str, int]:
    return (s.source, s.series.station, s.series.parameter, s.series.unit, s.series.sensor, s.id)


def cell(text: str) -> str:
    """A text cell of a CSV file: quoted where it must be, and where a spreadsheet would take it
    for a formula, with an apostrophe before it."""
    if text.startswith(_FORMULA):
        text = "'" + text
    if any(c in text for c in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def numbers(values: Sequence[float], empty: str) -> list[str]:
    """Each number's shortest text that reads back as the same; `empty` for NaN. An infinity,
    which JSON has no word for, is a number too large for a float: every reader takes it for one."""
    return [
        repr(v) if -_HUGE <= v <= _HUGE else empty if isnan(v) else "1e999" if v > 0 else "-1e999"
        for v in values
    ]


_HUGE = 1.7976931348623157e308


def _values(block: Readings, empty: str) -> list[str]:
    return numbers(np.where(block.flag == Flag.MISSING, np.nan, block.value).tolist(), empty)


def _zone(station: Sequence[StoredSeries], style: Style) -> tzinfo | None:
    """One zone for the whole station, so that one time is one row."""
    if not style.local:
        return None
    zones = (zone_of(s.series.timezone) for s in station)
    return next((z for z in zones if z is not None), None)


class _Long:
    """A row for each reading. What is the same for all readings of a series is made once a block."""

    header = _LONG
    rows = ROWS
    placed = True

    def __init__(self, style: Style) -> None:
        self._style = style

    def write(self, station: Sequence[StoredSeries], places: Places, block: Readings) -> list[str]:
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
            _values(block, "" if csv else "null"),
            block.flag.tolist(),
            tail.tolist(),
            strict=True,
        )
        if csv:
            return [f"{heads[s]}{t},{v},{f}{tails[p]}" for s, t, v, f, p in rows]
        return [f'{heads[s]}{t}","value":{v},"flag":{f}{tails[p]}' for s, t, v, f, p in rows]

    @staticmethod
    def _head(s: StoredSeries, csv: bool) -> str:
        texts = (s.source, s.series.station, s.series.sensor, s.series.parameter, s.series.unit)
        if csv:
            return "".join(cell(text) + "," for text in texts)
        pairs = (f'"{name}":{_quoted(text)},' for name, text in zip(_LONG, texts, strict=False))
        return "{" + "".join(pairs) + '"time":"'

    @staticmethod
    def _tail(place: tuple[float, float] | None, csv: bool) -> str:
        latitude, longitude = ("" if csv else "null",) * 2 if place is None else numbers(place, "")
        return f",{latitude},{longitude}" if csv else f',"latitude":{latitude},"longitude":{longitude}}}'


class _Wide:
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
        for _, members in groupby(series, key=lambda s: _order(s)[:4]):
            for s, slot in _slots(list(members)):
                parameter, unit = s.series.parameter, s.series.unit
                name = f"{parameter} [{unit}]" if len(units[parameter]) > 1 else parameter
                slots[s.id] = (name, slot)
        wanted = sorted(set(slots.values()))
        self._column = {id_: wanted.index(key) for id_, key in slots.items()}
        self._names = [name if slot == 0 else f"{name} #{slot + 1}" for name, slot in wanted]
        values = [h for n in self._names for h in ((n, f"{n} flag") if style.flags else (n,))]
        values = _apart(["source", "station", "time", *values])[3:]
        self.header = ("source", "station", "time", *values)
        self.rows = max(1, min(ROWS, CELLS // max(1, len(values))))
        csv = style.form is Form.CSV
        self._keys = ["" if csv else f"{_quoted(name)}:" for name in values]
        self._empty = np.array([key + ("" if csv else "null") for key in self._keys], object)

    def write(self, station: Sequence[StoredSeries], places: Places, block: Readings) -> list[str]:  # noqa: ARG002
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
        step = 2 if self._style.flags else 1
        cells = np.tile(self._empty, (keys.shape[1], 1))
        values = zip(
            row.tolist(), (columns * step).tolist(), _values(block, "" if csv else "null"), strict=True
        )
        for r, c, text in values:
            cells[r, c] = self._keys[c] + text
        if self._style.flags:
            for r, c, flag in zip(
                row.tolist(), (columns * step + 1).tolist(), block.flag.tolist(), strict=True
            ):
                cells[r, c] = f"{self._keys[c]}{flag}"

        source, name = station[0].source, station[0].series.station
        times = stamps(keys[0], _zone(station, self._style))
        if csv:
            head = f"{cell(source)},{cell(name)},"
            return [f"{head}{t},{','.join(c)}" for t, c in zip(times, cells.tolist(), strict=True)]
        head = f'{{"source":{_quoted(source)},"station":{_quoted(name)},"time":"'
        return [f'{head}{t}",{",".join(c)}}}' for t, c in zip(times, cells.tolist(), strict=True)]


def _slots(members: list[StoredSeries]) -> Iterator[tuple[StoredSeries, int]]:
    """Put series of one name into as few columns as keep those apart that overlap in time."""
    if len(members) == 1:
        yield members[0], 0
        return
    ends: list[int] = []
    for s in sorted(members, key=lambda s: (s.first_time or 0, _order(s))):
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


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
