"""The stores that the conformance suite runs on. A store joins by adding one `StoreCase` here."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from loader.contracts import Database
from tests import postgres


class AnyStore(Database, Protocol):
    """What every store offers in one object."""


def always() -> str | None:
    return None


def nothing(address: str) -> None:
    del address


@dataclass(frozen=True)
class StoreCase:
    """How the suite gets at one kind of store.

    fresh    makes a place for a store (a folder to use is handed in), with its tables where that is
             the quicker way; returns its address
    bare     the same, always without tables
    open     opens the store at an address and migrates it; called again to reopen, from other
             processes too, several at once included
    query    runs one SELECT on the tables behind the store's back, on its own connection, and
             returns the rows; the suite keeps to SQL that every store understands and never
             selects a time from a table
    drop     frees what `fresh` made
    missing  says why this kind of store cannot be tested here, None where it can
    slow     leaves it to the slow tests
    """

    name: str
    fresh: Callable[[Path], str]
    bare: Callable[[Path], str]
    open: Callable[[str], AnyStore]
    query: Callable[[str, str], list[tuple[Any, ...]]]
    drop: Callable[[str], None] = nothing
    missing: Callable[[], str | None] = always
    slow: bool = False


def open_sqlite(address: str) -> AnyStore:
    from loader.stores.sqlite import SQLiteStore

    store = SQLiteStore(Path(address))
    store.migrate()
    return store


def query_sqlite(address: str, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(address, timeout=30)) as connection:
        return connection.execute(sql).fetchall()


def open_postgres(address: str) -> AnyStore:
    from loader.stores.postgres import PostgresStore

    store = PostgresStore(address)
    store.migrate()
    return store


def postgres_case(major: int) -> StoreCase:
    return StoreCase(
        name=f"postgres{major}",
        fresh=lambda _: postgres.server(major).migrated(),
        bare=lambda _: postgres.server(major).create(),
        open=open_postgres,
        query=postgres.rows,
        drop=lambda address: postgres.server(major).drop(address),
        missing=postgres.missing,
        slow=major != postgres.majors()[-1],
    )


STORES: list[StoreCase] = [
    StoreCase(
        name="sqlite",
        fresh=lambda folder: str(folder / "loader.db"),
        bare=lambda folder: str(folder / "loader.db"),
        open=open_sqlite,
        query=query_sqlite,
    ),
    *map(postgres_case, postgres.binaries() or [0]),
]


def by_name(name: str) -> StoreCase:
    return next(case for case in STORES if case.name == name)
