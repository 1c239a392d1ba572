"""Reads files into readings as columns; what cannot become one is a trouble with its line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from loader.readings import Check, Float64, Int64, Series
from loader.validation.columns import Layout, NotUnderstood, kind, layout, plain, plain_number
from loader.validation.csvfile import open_csv
from loader.validation.files import Collected, File, Wishes
from loader.validation.jsonfile import is_lines, open_json, open_ndjson
from loader.validation.lines import head
from loader.validation.parquetfile import open_parquet
from loader.validation.shelf import Shelf
from loader.validation.stamps import NONE, Clock, ambiguous, composed, day_first, is_time
from loader.validation.tables import Opened, Table
from loader.validation.trouble import Trouble, Troubles, Unreadable, shown
from loader.validation.values import numbers

READINGS = 25_000_000
"""So many are held at most; a million takes about 150 MB while it is sorted and checked."""

PLACES = 100_000
"""So many different places are told apart."""


class Collector:
    """Takes in files one after the other; `done` hands over."""

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self._units = {plain(parameter): unit for parameter, unit in wishes.units.items()}
        self._files: list[File] = []
        self._troubles: list[Trouble] = []
        self._parts: list[tuple[int, int]] = []
        self._series: list[Series] = []
        self._index: dict[tuple[str, ...], int] = {}
        self._places: dict[tuple[str, str], int] = {}
        self._shelf = Shelf()

    def add(self, path: Path) -> File:
        """Read a file. What is wrong with it is in what is returned; UsageError is raised where the
        user's wishes do not fit it."""
        file = File(str(path))
        self._files.append(file)
        troubles = Troubles()
        try:
            self._read(path, file, troubles)
            if not file.readings:
                self._nothing(path, file, troubles)
        except Unreadable as error:
            file.error = str(error)
        file.cut = troubles.cut
        file.failing = dict(troubles.counts)
        self._troubles += troubles.first
        return file

    def _nothing(self, path: Path, file: File, troubles: Troubles) -> None:
        if troubles.first:
            raise Unreadable(f"{path}: no line of it can be read; the first: {troubles.first[0]}")
        if not self._wishes.parameters:
            raise Unreadable(f"{path}: has no reading")
        file.notes.append(f"has no reading of {', '.join(self._wishes.parameters)}")

    def done(self) -> Collected:
        places = [(float(latitude), float(longitude)) for latitude, longitude in self._places]
        return Collected(self._files, self._series, self._shelf, self._parts, places, self._troubles)

    def _read(self, path: Path, file: File, troubles: Troubles) -> None:
        wishes = self._wishes
        opened = _opened(path, wishes, troubles)
        file.format, file.header, file.sampled = opened.format, opened.header, opened.sampled
        file.facts = opened.facts
        first = next(opened.tables, None)
        if first is None:
            if troubles.first:
                return
            raise Unreadable(f"{path}:1: has only a header" if opened.names else f"{path}:1: has no record")
        names = list(dict.fromkeys([*opened.names, *first.columns]))
        if not names:
            raise Unreadable(f"{path}:{first.numbers[0]}: its records have no fields")
        file.types = {name: kind(first.columns.get(name, ())) for name in names}
        try:
            laid = layout(names, first.columns, wishes.columns, wishes.known, header=opened.header)
        except NotUnderstood as error:
            raise Unreadable(_remedy(path, first, opened, str(error))) from None
        file.layout = laid
        clock = Clock(wishes.zone, cycles=laid.cycle)
        _settle_days(file, clock, _times(laid, first))
        reader = _FileReader(self, opened, file=file, laid=laid, clock=clock, troubles=troubles)
        try:
            for table in chain([first], opened.tables):
                reader.take(table)
                if len(self._shelf) > READINGS:
                    raise Unreadable(
                        f"{path}:{table.numbers[-1]}: more than {READINGS:,} readings are not held at once;"
                        " take --sample, --parameter, or fewer files"
                    )
        finally:
            file.naive = clock.naive
            if clock.shifted:
                what = "times stand in an hour that clocks skip or have twice: taken for the first"
                file.notes.append(f"{clock.shifted:,} {what}")

    def part(self, block: int) -> int:
        """The index of this block of the file at hand."""
        key = (len(self._files) - 1, block)
        if not self._parts or self._parts[-1] != key:
            self._parts.append(key)
        return len(self._parts) - 1

    def series_of(self, key: tuple[str, ...], station: str, sensor: str, file: File) -> int:
        """The index of (station, sensor, parameter, unit); -1 where the parameter is not wanted."""
        found = self._index.get(key)
        if found is None:
            parameter = self._named(key[2])
            wanted = {plain(p) for p in self._wishes.parameters}
            found = -1
            if not wanted or plain(parameter) in wanted or plain(key[2]) in wanted:
                unit = key[3] or self._units.get(plain(parameter), "")
                found = len(self._series)
                self._series.append(
                    Series(sensor or station, parameter, unit, station=station, partition=file.path)
                )
            self._index[key] = found
        return found

    def _named(self, parameter: str) -> str:
        """The name that the rules know it by."""
        return next((one for one in self._wishes.known if plain(one) == plain(parameter)), parameter)

    def places(self, latitude: Sequence[Any], longitude: Sequence[Any]) -> list[int]:
        """A number for each place; -1 where none is said."""
        known, out = self._places, []
        for place in zip(map(str, latitude), map(str, longitude), strict=True):
            number = known.get(place)
            if number is None:
                number = -1
                if len(known) < PLACES and all(plain_number(one) is not None for one in place):
                    number = known[place] = len(known)
            out.append(number)
        return out

    def keep(self, *columns: Any) -> None:
        """Readings, as `Shelf.put` takes them."""
        self._shelf.put(*columns)


class _FileReader:
    """Turns the tables of one file into readings."""

    def __init__(
        self,
        into: Collector,
        opened: Opened,
        *,
        file: File,
        laid: Layout,
        clock: Clock,
        troubles: Troubles,
    ) -> None:
        self._into, self._file, self._laid, self._clock = into, file, laid, clock
        self._text, self._comma = opened.text, opened.comma
        self._troubles = troubles
        self._stem = Path(file.path).name.split(".")[0]
        self._wishes = into._wishes

    def take(self, table: Table) -> None:
        """The table's readings go into the collector."""
        laid, file = self._laid, self._file
        file.records += len(table)
        new = [name for name in table.columns if name not in file.types]
        file.types.update({name: kind(table.columns[name]) for name in new})
        raw = _times(laid, table)
        time = self._clock.read(raw)
        usable = self._stamped(table, raw, time)
        line = np.asarray(table.numbers, np.int64)
        part = self._into.part(table.block)
        place = np.full(len(table), -1, np.int64)
        if laid.latitude and laid.longitude:
            latitude, longitude = _column(table, laid.latitude), _column(table, laid.longitude)
            place = np.array(self._into.places(latitude, longitude))
        tests = np.zeros(len(table), np.uint32)
        if laid.flagged:
            flagged = np.array([v in (True, "true", "True", "1") for v in _column(table, laid.flagged)])
            tests[flagged] = Check.UPSTREAM
        for column, series in self._measured(table):
            if not (series >= 0).any():
                continue
            value, good = self._values(table, column, usable & (series >= 0))
            count = int(np.count_nonzero(good))
            file.readings += count
            if count:
                self._into.keep(
                    series[good],
                    time[good],
                    value[good],
                    tests[good],
                    line[good],
                    part,
                    place[good],
                )

    def _measured(self, table: Table) -> Iterator[tuple[str, Int64]]:
        """(column of values, index of the series of each record): one in the long form, one a
        parameter in the wide form."""
        laid, n = self._laid, len(table)
        stations = self._station(table)
        sensors = _texts(_column(table, laid.sensor)) if laid.sensor else [""] * n
        if laid.value is not None:
            parameters = _texts(_column(table, laid.parameter)) if laid.parameter else ["value"] * n
            units = _texts(_column(table, laid.unit)) if laid.unit else [""] * n
            keys = list(zip(stations, sensors, parameters, units, strict=True))
            yield laid.value, self._indices(keys)
            return
        for column, parameter in laid.parameters.items():
            unit = laid.units.get(column, "")
            keys = [(a, b, parameter, unit) for a, b in zip(stations, sensors, strict=True)]
            yield column, self._indices(keys)

    def _indices(self, keys: list[tuple[str, str, str, str]]) -> Int64:
        index = {key: self._into.series_of(key, key[0], key[1], self._file) for key in dict.fromkeys(keys)}
        return np.array([index[key] for key in keys], np.int64)

    def _station(self, table: Table) -> list[str]:
        columns = [_texts(_column(table, name)) for name in self._laid.station]
        if not columns:
            # Without a name, files of several stations would be taken for one.
            return [self._stem] * len(table)
        if self._laid.cycle:
            # Unit 1 of one file is another engine than unit 1 of the next.
            columns.insert(0, [self._stem] * len(table))
        if len(columns) == 1:
            return columns[0]
        return [", ".join(filter(None, parts)) for parts in zip(*columns, strict=True)]

    def _stamped(self, table: Table, raw: Sequence[Any], time: Int64) -> Any:
        """Which records have a time that would be loaded; the others are troubles."""
        name = "+".join(self._laid.time)
        bad = time == NONE
        early = ~bad & (time < self._wishes.earliest) & (not self._laid.cycle)
        late = ~bad & (time > self._wishes.latest) & (not self._laid.cycle)
        what = "number of a cycle" if self._laid.cycle else "time"
        self._tell(table, bad, name, "timestamp", lambda i: f"{shown(raw[i])} is no {what}")
        self._tell(table, early, name, "early", lambda i: f"{raw[i]} is earlier than readings can be")
        self._tell(table, late, name, "future", lambda i: f"{raw[i]} lies in the future")
        return ~(bad | early | late)

    def _values(self, table: Table, column: str, wanted: Any) -> tuple[Float64, Any]:
        raw = _column(table, column)
        value, wrong = numbers(raw, self._text, self._comma, wanted, self._file.values)
        self._tell(table, wrong, column, "value", lambda i: f"{shown(raw[i])} is no number")
        return value, wanted & ~wrong

    def _tell(self, table: Table, bad: Any, name: str, rule: str, why: Any) -> None:
        at = np.flatnonzero(bad).tolist()
        for n, i in enumerate(at):
            if not self._troubles.wants(rule):
                self._troubles.count(rule, len(at) - n)
                return
            where = table.where[i] if table.where else ""
            self._troubles.add(Trouble(self._file.path, table.numbers[i], f"{where}{name}", rule, why(i)))


def _opened(path: Path, wishes: Wishes, troubles: Troubles) -> Opened:
    begin = head(path)
    start = begin.lstrip()[:1]
    form = wishes.format
    if form is None:
        if begin.startswith(b"PAR1"):
            form = "parquet"
        elif start == b"[":
            form = "json"
        elif start == b"{":
            form = "ndjson" if is_lines(begin) else "json"
        else:
            form = "csv"
    if form == "parquet":
        return open_parquet(path, wishes.lines, wishes.sample, troubles)
    if begin.startswith(b"PAR1"):
        raise Unreadable(f"{path}: is a Parquet file, not {form}")
    reads = {"csv": open_csv, "json": open_json, "ndjson": open_ndjson}[form]
    return reads(path, wishes.encoding, wishes.lines, wishes.sample, troubles)


def _column(table: Table, name: str) -> list[Any]:
    return table.columns.get(name) or [None] * len(table)


def _texts(values: list[Any]) -> list[str]:
    return [v.strip() if isinstance(v, str) else "" if v is None else str(v) for v in values]


def _times(laid: Layout, table: Table) -> Sequence[Any]:
    parts = [_column(table, name) for name in laid.time]
    return parts[0] if len(parts) == 1 else composed(parts)


def _settle_days(file: File, clock: Clock, times: Sequence[Any]) -> None:
    told = day_first(times)
    clock.dayfirst = told is not False
    if told is None and ambiguous(times):
        file.notes.append("days and months cannot be told apart: 03/04 was taken for the 3rd of April")


def _remedy(path: Path, first: Table, opened: Opened, why: str) -> str:
    """What is missing, and the options that would say it."""
    known = {
        name: [v for v in column[:50] if v not in (None, "")] for name, column in first.columns.items()
    }
    times = [name for name, some in known.items() if some and all(is_time(str(v)) for v in some)]
    values = [name for name, some in known.items() if some and kind(some) in ("number", "whole number")]
    hints = [f"--column {role}={some[0]}" for role, some in (("time", times), ("value", values)) if some]
    hint = " ".join(hints) or "--column time=COLUMN --column value=COLUMN"
    if opened.header:
        line, seen = 1, f"there are: {', '.join(list(first.columns)[:12])}"
    else:
        line, seen = first.numbers[0], f"its columns are numbered, 1 to {len(first.columns)}"
    if lists := [name for name, some in known.items() if some and isinstance(some[0], list)]:
        return f"{path}:{line}: {why}; {lists[0]} holds a list: give an array of records, one a time"
    return (
        f"{path}:{line}: {why}; {seen}. Say which is which, such as {hint} (also parameter, unit,"
        " station, sensor)"
    )
