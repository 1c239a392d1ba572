"""Labelled series as public sets have them: a CSV with a header, and labels in a column or in a JSON file.

Who reads a file that is none gets a SystemExit with the file, line, field and remedy.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TextIO

import numpy as np

from loader.readings import SECOND, Bool, Float64, Int64
from loader.settings.durations import parse_time

ANOMALOUS = frozenset({"1", "1.0", "true", "yes", "anomaly", "anomalous", "outlier", "attack"})
NORMAL = frozenset({"", "0", "0.0", "false", "no", "normal"})
MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "-"})
LABELS = ("label", "is_anomaly", "anomaly", "attack", "outlier")
TIMES = ("time", "timestamp", "datetime", "date")

DELIMITERS = ",;\t"
UNTIL = np.datetime64("2262-01-01", "us").astype(np.int64)
"""Times in microseconds beyond this, on either side of 1970, are mistakes."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A labelled series in order of time; `values` has a column a sensor."""

    times: Int64
    values: Float64
    label: Bool
    sensors: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read a file. Columns are found by their usual names where they are not given.

    time, label  names of columns
    values       names of the columns of values; all but `skip` and those that are named like a
                 label, if there are none
    anomalous    the labels of anomalies, any other being normal; empty takes the usual words
    windows      a JSON file that labels instead: {"folder/file.csv": [[from, to], ...]} as the
                 Numenta Anomaly Benchmark has it, both ends included, or the list alone
    """

    time: str | None = None
    label: str | None = None
    values: Sequence[str] = ()
    skip: Collection[str] = ()
    anomalous: Collection[str] = ()
    windows: Path | None = None


def read(path: Path, layout: Layout) -> Labelled:
    """The series in a file; .gz is unpacked."""
    with _text(path) as file:
        head = file.readline()
        delimiter = max(DELIMITERS, key=head.count)
        columns = [name.strip() for name in next(csv.reader([head], delimiter=delimiter), [])]
        if not columns:
            _refuse(path, "empty; it takes a line with the names of the columns, and readings")
        columns_of = _Columns.of(path, columns, layout)
        series = columns_of.series(path, csv.reader(file, delimiter=delimiter), layout)
    if layout.windows is not None:
        label = _within(path, series.times, layout.windows)
        return Labelled(series.times, series.values, label, series.sensors)
    return series


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where in a row things stand; `label` is None where a file of windows labels."""

    width: int
    time: int
    label: int | None
    values: tuple[int, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, path: Path, columns: Sequence[str], layout: Layout) -> _Columns:
        def at(option: str, name: str | None, usual: Sequence[str]) -> int:
            found = [
                i for i, c in enumerate(columns) if (c.lower() in usual if name is None else c == name)
            ]
            if found:
                return found[0]
            wanted = f"no column {name!r}" if name else f"no column named {' or '.join(usual)}"
            windows = "" if option != "label" or name else ", or give --windows"
            _refuse(
                path,
                f"{wanted}; name it with --{option}{windows}. The first line has: {', '.join(columns)}",
            )

        time = at("time", layout.time, TIMES)
        label = None if layout.windows else at("label", layout.label, LABELS)
        for name in layout.skip:
            at("skip", name, ())
        values = [at("value", name, ()) for name in layout.values] or [
            i
            for i, c in enumerate(columns)
            # A column without a name is the index that pandas writes.
            if c and c not in layout.skip and c.lower() not in LABELS and i not in (time, label)
        ]
        if not values:
            _refuse(path, "no column of values beside those of time and label; name one with --value")
        return cls(len(columns), time, label, tuple(values), tuple(columns))

    def series(self, path: Path, rows: Any, layout: Layout) -> Labelled:
        """What is in the rows of a csv.reader that has not seen the first line."""
        times, labels, values = array("q"), array("b"), array("d")
        anomalous = frozenset(text.strip().lower() for text in layout.anomalous)
        for row in rows:
            if not row:
                continue
            try:
                if len(row) != self.width:
                    raise ValueError(f"{len(row)} fields where the first line has {self.width}")
                times.append(_time(row[self.time]))
                labels.append(self.label is not None and _label(row[self.label], anomalous))
                for k in self.values:
                    values.append(_number(self.names[k], row[k]))
            except ValueError as error:
                _refuse(f"{path}:{rows.line_num + 1}", str(error))
        if not times:
            _refuse(path, "no readings behind the line of names")
        at = np.frombuffer(times, np.int64)
        order = np.argsort(at, kind="stable")
        return Labelled(
            at[order],
            np.frombuffer(values).reshape(len(at), len(self.values))[order],
            np.frombuffer(labels, np.int8)[order].astype(np.bool_),
            tuple(self.names[k] for k in self.values),
        )


def _time(text: str) -> int:
    """Microseconds of an ISO 8601 time, UTC where it names no zone, or of a number since 1970: by its
    size seconds, milliseconds (from 1e11, in the year 1973), microseconds or nanoseconds."""
    try:
        number = float(text)
    except ValueError:
        try:
            return parse_time(text)
        except ValueError:
            _no_time(text)
    size = abs(number)
    micros = number * SECOND
    for bound, each in ((1e11, 1e3), (1e14, 1.0), (1e17, 1e-3)):
        if size >= bound:
            micros = number * each
    # Not a number compares false.
    if not abs(micros) < UNTIL:
        _no_time(text)
    return round(micros)


def _no_time(text: str) -> NoReturn:
    raise ValueError(
        f"{text!r} is no time; write 2024-03-01T06:00:00Z, or seconds or milliseconds since 1970"
    )


def _label(text: str, anomalous: Collection[str]) -> bool:
    plain = text.strip().lower()
    if anomalous:
        return plain in anomalous
    if plain not in ANOMALOUS and plain not in NORMAL:
        raise ValueError(f"{text!r} is no label; write 1 or 0, or name those of anomalies with --anomalous")
    return plain in ANOMALOUS


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        if text.strip().lower() in MISSING:
            return float("nan")
    raise ValueError(f"{name}: {text!r} is no number; leave the column out with --skip={name}")


def _within(path: Path, times: Int64, windows: Path) -> Bool:
    """Which readings the windows for this file hold, ends included."""
    with _text(windows) as file:
        try:
            found = json.load(file)
        except ValueError as error:
            _refuse(windows, f"no JSON: {error}")
    if isinstance(found, dict):
        # The longest key that the path ends with.
        keys = [key for key in found if path.resolve().as_posix().endswith(f"/{key}")]
        if not keys:
            _refuse(windows, f"no windows for {path}; a key must be its name, or the end of its path")
        found = found[max(keys, key=len)]
    label = np.zeros(len(times), np.bool_)
    for begin, end in _pairs(windows, found):
        inside = (times >= begin) & (times <= end)
        if not inside.any():
            _refuse(windows, f"no reading of {path} is within {_shown(begin)} and {_shown(end)}")
        label |= inside
    return label


def _pairs(windows: Path, found: Any) -> Iterable[tuple[int, int]]:
    for pair in found if isinstance(found, list) else [found]:
        if not isinstance(pair, list) or len(pair) != 2:
            _refuse(windows, f"{pair!r:.80} is no window; write [from, to]")
        try:
            begin, end = (_time(str(one)) for one in pair)
        except ValueError as error:
            _refuse(windows, str(error))
        yield begin, end


def _shown(micros: int) -> str:
    return str(np.datetime64(micros, "us").astype("datetime64[s]"))


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    try:
        with (
            gzip.open(path) if path.suffix == ".gz" else path.open("rb") as raw,
            io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file,
        ):
            yield file
    except UnicodeDecodeError:
        _refuse(path, "no UTF-8; write it anew in that encoding")
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        _refuse(path, f"cannot be read: {getattr(error, 'strerror', None) or error}")


def _refuse(where: Path | str, text: str) -> NoReturn:
    raise SystemExit(f"{where}: {text}")
