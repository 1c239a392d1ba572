"""PostgreSQL's binary COPY format, written and read as NumPy structured arrays.

A row is a count of columns, then for each its length in bytes and its bytes, all big-endian; a
NULL is the length -1 and nothing else. So rows with the same columns NULL have one fixed layout,
and a whole block of them is one array.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg2.extensions import cursor as Cursor
from psycopg2.sql import Composed

from loader.readings import Int64

SERVER_EPOCH = 946_684_800 * 1_000_000
"""2000-01-01, from which the server counts microseconds, in microseconds since 1970."""

CHUNK = 1 << 18
"""Bytes handed to the server at once."""

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEADER = _SIGNATURE + bytes(8)
_TRAILER = b"\xff\xff"

Column = npt.NDArray[np.int16] | npt.NDArray[np.int32] | npt.NDArray[np.int64] | npt.NDArray[np.float64]


def run(cursor: Cursor, statement: str | Composed, stream: io.BytesIO | Decoder) -> None:
    """Send or fetch a COPY stream. Raises the driver's errors, and leaves it at that."""
    # When a server goes away during COPY it says so twice. The driver raises the first error and
    # prints the second one on stderr, as if it were the program's end.
    hook, sys.excepthook = sys.excepthook, lambda *_: None
    try:
        cursor.copy_expert(statement, stream, size=CHUNK)
    finally:
        sys.excepthook = hook


def _layout(kinds: Sequence[np.dtype[Any]], absent: frozenset[int] = frozenset()) -> np.dtype[Any]:
    fields: list[tuple[str, str]] = [("columns", ">i2")]
    for i, kind in enumerate(kinds):
        fields.append((f"size{i}", ">i4"))
        if i not in absent:
            fields.append((f"data{i}", kind.newbyteorder(">").str))
    return np.dtype(fields)


def _block(columns: Sequence[Column], absent: frozenset[int]) -> memoryview:
    kinds = [column.dtype for column in columns]
    rows = np.empty(len(columns[0]), _layout(kinds, absent))
    rows["columns"] = len(columns)
    for i, column in enumerate(columns):
        if i in absent:
            rows[f"size{i}"] = -1
        else:
            rows[f"size{i}"] = column.dtype.itemsize
            rows[f"data{i}"] = column
    return rows.view(np.uint8).data


def encode(columns: Sequence[Column]) -> io.BytesIO:
    """Columns of one length as a COPY stream; NaN in a float column becomes NULL.

    The type of each array (int16, int32, int64, float64) must be that of the table's column;
    times are int64 microseconds counted from SERVER_EPOCH. Rows keep their order, except that
    those with NULLs follow those without.
    """
    pattern = np.zeros(len(columns[0]), np.int64)
    for i, column in enumerate(columns):
        if column.dtype == np.float64:
            pattern |= np.isnan(column).astype(np.int64) << i
    stream = io.BytesIO()
    stream.write(_HEADER)
    if not pattern.any():
        if len(pattern):
            stream.write(_block(columns, frozenset()))
    else:
        for bits in np.unique(pattern).tolist():
            chosen = pattern == bits
            absent = frozenset(i for i in range(len(columns)) if bits >> i & 1)
            stream.write(_block([column[chosen] for column in columns], absent))
    stream.write(_TRAILER)
    stream.seek(0)
    return stream


class Decoder:
    """Reads a COPY stream without NULLs as it arrives: a file to write to, for the driver.

    `take` gets the columns, in the machine's byte order, whenever `limit` bytes have come
    together; `rest` gives what is left at the end. Both raise ValueError when the stream is of
    another layout.
    """

    def __init__(
        self,
        kinds: Sequence[npt.DTypeLike],
        take: Callable[[list[npt.NDArray[Any]]], None] | None = None,
        limit: int = 1 << 22,
    ) -> None:
        self._kinds = [np.dtype(kind) for kind in kinds]
        self._layout = _layout(self._kinds)
        self._take = take
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._begun = False

    def write(self, data: bytes) -> int:
        self._parts.append(data)
        self._size += len(data)
        if self._take is not None and self._size >= self._limit:
            self._take(self._columns(self._joined()))
        return len(data)

    def rest(self) -> list[npt.NDArray[Any]]:
        found = self._columns(self._joined())
        if self._joined() != _TRAILER:
            raise ValueError("the COPY stream does not end where it should")
        return found

    def _joined(self) -> bytes:
        data = b"".join(self._parts)
        if not self._begun:
            if not data.startswith(_SIGNATURE):
                raise ValueError("not a binary COPY stream")
            data, self._begun = data[len(_HEADER) :], True
        return data

    def _columns(self, data: bytes) -> list[npt.NDArray[Any]]:
        count = len(data) // self._layout.itemsize
        self._parts = [data[count * self._layout.itemsize :]]
        self._size = len(self._parts[0])
        rows = np.frombuffer(data, self._layout, count)
        for i, kind in enumerate(self._kinds):
            if not bool(np.all(rows[f"size{i}"] == kind.itemsize)):
                raise ValueError(f"column {i} of the COPY stream is not {kind.itemsize} bytes wide")
        return [rows[f"data{i}"].astype(kind) for i, kind in enumerate(self._kinds)]


def fetch(cursor: Cursor, statement: str, kinds: Sequence[npt.DTypeLike]) -> list[npt.NDArray[Any]]:
    """The columns of a COPY stream without NULLs, held as a whole. The driver hands over every row
    by itself, which is cheaper to collect here than in a Decoder."""
    whole = io.BytesIO()
    run(cursor, statement, whole)
    decoder = Decoder(kinds)
    decoder.write(whole.getvalue())
    return decoder.rest()


def to_server(time: Int64) -> Int64:
    return time - SERVER_EPOCH


def from_server(time: Int64) -> Int64:
    return time + SERVER_EPOCH
