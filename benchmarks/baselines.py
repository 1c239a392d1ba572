"""What else could write the same rows: `python -m benchmarks.baselines KIND FILE TARGET N`.

Each writes the first N rows of a file (0: all) into an empty table of the loader's own definition,
and prints the seconds that the writing alone took: starting, connecting and getting the rows into
memory are not counted against it. The rows stand in the order in which the loader meets them, each
key once.

  execute-values  psycopg2's execute_values, 1,000 rows a statement, ON CONFLICT DO UPDATE,
                  one transaction
  executemany     sqlite3's executemany, one transaction; WAL and synchronous = FULL as the loader
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

Row = tuple[Any, ...]

COLUMNS = "series_id, time, value, flag, tests, run_id"


def columns(path: Path) -> list[Any]:
    """The six columns of `reading` as arrays; times in microseconds UTC."""
    with np.load(path) as file:
        return [file[name] for name in COLUMNS.split(", ")]


def rows(path: Path, most: int) -> list[Row]:
    """The rows as tuples of Python's own numbers, None where there is no value."""
    series, time_, value, *rest = (column[: most or None].tolist() for column in columns(path))
    return list(zip(series, time_, [None if isnan(v) else v for v in value], *rest, strict=True))


def execute_values(data: Sequence[Row], url: str) -> float:
    import psycopg2
    from psycopg2.extras import execute_values

    connection = psycopg2.connect(url)
    began = time.monotonic()
    with connection.cursor() as cursor:
        execute_values(
            cursor,
            f"INSERT INTO reading ({COLUMNS}) VALUES %s ON CONFLICT (series_id, time) DO UPDATE "
            "SET value = excluded.value, flag = excluded.flag, tests = excluded.tests, "
            "run_id = excluded.run_id",
            data,
            template="(%s, to_timestamp(%s / 1000000.0), %s, %s, %s, %s)",
            page_size=1000,
        )
    connection.commit()
    return time.monotonic() - began


def executemany(data: Sequence[Row], path: str) -> float:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    began = time.monotonic()
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(f"INSERT INTO reading ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", data)
    connection.execute("COMMIT")
    return time.monotonic() - began


KINDS: dict[str, Callable[[Sequence[Row], str], float]] = {
    "execute-values": execute_values,
    "executemany": executemany,
}

if __name__ == "__main__":
    kind, path, target, most = sys.argv[1:]
    print(KINDS[kind](rows(Path(path), int(most)), target))
