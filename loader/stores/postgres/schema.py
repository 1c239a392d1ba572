"""The version of the tables, and the way to the newest one."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from loader.errors import StoreError
from loader.sqltext import Migration, migrations
from loader.stores.postgres.session import SQL, Cursor, Session, one

_TABLE = re.compile(r"^\s*CREATE (?:TABLE|VIEW) (\w+)", re.MULTILINE)


@cache
def steps() -> tuple[Migration, ...]:
    return migrations(Path(__file__).with_name("migrations"))


def version(cursor: Cursor) -> int:
    """The schema's version; 0 where there is none yet."""
    cursor.execute(SQL["find_version_table"])
    if not one(cursor)[0]:
        return 0
    cursor.execute(SQL["schema_version"])
    return int(one(cursor)[0])


def migrate(session: Session) -> None:
    """Take every step that is missing, each in its own transaction, one loader at a time.

    Raises StoreError for a schema from a newer loader and for tables that are not the loader's.
    """
    if not steps():
        raise StoreError("the loader's migrations are missing from its installation")
    newest = steps()[-1].number
    found = session.run(version)
    while found < newest:
        found = session.run(_step)
    if found > newest:
        raise StoreError(
            f"the database has schema version {found}, this loader knows {newest}: use a newer loader"
        )


def _step(cursor: Cursor) -> int:
    cursor.execute(SQL["lock_schema"])
    found = version(cursor)
    step = next((s for s in steps() if s.number == found + 1), None)
    if step is None:
        return found
    cursor.execute(SQL["foreign_tables"], {"names": _TABLE.findall(step.sql)})
    foreign = [name for (name,) in cursor]
    if foreign:
        raise StoreError(
            f"the database has tables of that name which are not the loader's ({', '.join(foreign)}): "
            "give it a database or a schema of its own"
        )
    cursor.execute(SQL["ensure_version"])
    cursor.execute(step.sql)
    cursor.execute(SQL["add_version"], {"number": step.number, "name": step.name})
    return step.number
