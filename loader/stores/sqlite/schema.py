"""Bringing the file's schema up to date, one numbered migration at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from loader import sqltext
from loader.contracts import Clock
from loader.errors import StoreError
from loader.sqltext import Migration
from loader.stores.sqlite.database import transaction

MIGRATIONS = sqltext.migrations(Path(__file__).with_name("migrations"))

_VERSIONS = """
CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT
"""


def version(connection: sqlite3.Connection) -> int:
    """The schema's version; 0 for an empty file. Raises StoreError for somebody else's tables."""
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "schema_version" in names:
        newest: int | None = connection.execute("SELECT max(version) FROM schema_version").fetchone()[0]
        return newest or 0
    if names:
        raise StoreError(f"{_file(connection)}: belongs to another program; name another file in `store`")
    return 0


def _file(connection: sqlite3.Connection) -> str:
    return str(connection.execute("PRAGMA database_list").fetchone()[2])


def refuse_others(connection: sqlite3.Connection, steps: Sequence[Migration] = MIGRATIONS) -> int:
    """The schema's version. Raises StoreError where it is not this program's to work with."""
    found = version(connection)
    if found > len(steps):
        raise StoreError(
            f"{_file(connection)}: has schema version {found}, this loader knows {len(steps)} at most; "
            "use the newer loader that made it"
        )
    return found


def migrate(connection: sqlite3.Connection, clock: Clock, steps: Sequence[Migration] = MIGRATIONS) -> None:
    """Apply what is missing of `steps`, each in one transaction together with its number.

    Raises StoreError when the file was written by a newer program.
    """
    found = refuse_others(connection, steps)
    if found == len(steps):
        return
    # A migration that rebuilds a table drops the one that others refer to.
    connection.execute("PRAGMA foreign_keys = OFF")
    try:
        for step in steps[found:]:
            _apply(connection, clock, step)
    finally:
        connection.execute("PRAGMA foreign_keys = ON")


def _apply(connection: sqlite3.Connection, clock: Clock, step: Migration) -> None:
    with transaction(connection):
        connection.execute(_VERSIONS)
        done = connection.execute(
            "SELECT 1 FROM schema_version WHERE version = ?", (step.number,)
        ).fetchone()
        if done:
            return
        for statement in statements(step.sql):
            connection.execute(statement)
        broken = connection.execute("PRAGMA foreign_key_check").fetchone()
        if broken:
            raise StoreError(f"migration {step.number} ({step.name}) leaves table {broken[0]} inconsistent")
        connection.execute("INSERT INTO schema_version VALUES (?, ?)", (step.number, clock()))


def statements(script: str) -> Iterator[str]:
    """The statements of a script, each ending at a line's end."""
    part = ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            yield part
            part = ""
