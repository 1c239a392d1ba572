"""The rows that a load left behind, for the others to write: read from the loader's SQLite file,
so that everybody writes exactly the same, in the order in which the loader met them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.baselines import COLUMNS
from loader.stores.postgres.copy import encode, to_server

TYPES = (np.int32, np.int64, np.float64, np.int16, np.int32, np.int32)


def save(database: Path, arrays: Path, binary: Path) -> int:
    """Write the rows of `database` as NumPy's .npz and as a binary COPY file; returns how many."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    cursor = connection.execute(f"SELECT {COLUMNS} FROM reading ORDER BY series_id, time")
    parts: list[list[Any]] = []
    while rows := cursor.fetchmany(50_000):
        parts.append([np.array(c, t) for c, t in zip(zip(*rows, strict=True), TYPES, strict=True)])
    connection.close()
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    named: dict[str, Any] = dict(zip(COLUMNS.split(", "), columns, strict=True))
    np.savez(arrays, **named)
    columns[1] = to_server(columns[1])
    binary.write_bytes(encode(columns).getvalue())
    return len(columns[0])
